//! Time stamps, in whatever unit an interface counts.

use crate::time::{EARLIEST, LATEST, SECOND};

/// How the time stamps of an interface become nanoseconds.
#[derive(Clone, Copy)]
pub(super) struct Clock {
    resolution: Resolution,
    /// Added, in nanoseconds.
    offset: i128,
}

#[derive(Clone, Copy)]
enum Resolution {
    /// Nanoseconds in a unit: 10^-9 seconds or coarser.
    Times(u64),
    /// Units in a nanosecond: finer than 10^-9 seconds.
    Over(u64),
    /// The unit is this power of one half of a second.
    Halvings(u32),
}

impl Clock {
    /// From the `if_tsresol` octet and the `if_tsoffset` seconds.
    pub(super) fn new(resolution: u8, offset: i64) -> Self {
        let exponent = u32::from(resolution & 0x7f);
        let resolution = if resolution & 0x80 != 0 {
            Resolution::Halvings(exponent)
        } else if exponent <= 9 {
            Resolution::Times(10_u64.pow(9 - exponent))
        } else {
            // Beyond 64 bits every time stamp is less than a nanosecond.
            10_u64.checked_pow(exponent - 9).map_or(Resolution::Halvings(127), Resolution::Over)
        };
        Self { resolution, offset: i128::from(offset) * i128::from(SECOND) }
    }

    /// Nanoseconds since 1970, held to the bounds of believable time stamps.
    #[inline]
    pub(super) fn time(self, ticks: u64) -> i64 {
        // Nearly always: 64 bits are enough and there is no offset.
        if let Resolution::Times(factor) = self.resolution
            && self.offset == 0
            && let Some(nanoseconds) = ticks.checked_mul(factor)
            && nanoseconds <= LATEST as u64
        {
            return nanoseconds as i64;
        }
        self.exact_time(ticks)
    }

    #[cold]
    fn exact_time(self, ticks: u64) -> i64 {
        let nanoseconds = match self.resolution {
            Resolution::Times(factor) => u128::from(ticks) * u128::from(factor),
            Resolution::Over(divisor) => u128::from(ticks / divisor),
            Resolution::Halvings(shift) => (u128::from(ticks) * SECOND as u128) >> shift,
        };
        let time = nanoseconds as i128 + self.offset;
        time.clamp(i128::from(EARLIEST), i128::from(LATEST)) as i64
    }

    /// For the summary.
    pub(super) fn ticks_per_second(self) -> Option<u64> {
        match self.resolution {
            Resolution::Times(factor) => Some(SECOND as u64 / factor),
            Resolution::Over(divisor) => divisor.checked_mul(SECOND as u64),
            Resolution::Halvings(shift) => 1_u64.checked_shl(shift),
        }
    }
}
