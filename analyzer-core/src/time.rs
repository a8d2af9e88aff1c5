//! Time stamps: nanoseconds since 1970-01-01 00:00:00 UTC in a signed 64-bit number (years 1677 to 2262).
//!
//! A's and B's stamps are of different clocks. Only `align::clock` may turn one into the other.

use serde::{Serialize, Serializer};
use std::fmt;

/// A moment, in nanoseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(pub i64);

/// The earliest time stamp that is believed, in November 1968: captures of devices whose clock starts at the epoch, with
/// any time zone taken off. Earlier ones are held to it.
pub const EARLIEST: i64 = -(1 << 55);
/// The latest time stamp that is believed, in the year 2113 (a classic capture can say no later one than 2106). With these
/// bounds the difference of any two time stamps fits, and so does its sum with a third.
pub const LATEST: i64 = (1 << 62) - (1 << 56);

/// A time stamp of another clock: `time` less the difference of the clocks, within the bounds of time stamps.
#[inline]
pub const fn shifted(time: i64, offset: i64) -> i64 {
    let mapped = time.saturating_sub(offset);
    if mapped < EARLIEST {
        EARLIEST
    } else if mapped > LATEST {
        LATEST
    } else {
        mapped
    }
}

/// Nanoseconds in a second.
pub const SECOND: i64 = 1_000_000_000;
/// Nanoseconds in a millisecond.
pub const MILLISECOND: i64 = 1_000_000;
/// Nanoseconds in a microsecond.
pub const MICROSECOND: i64 = 1_000;

impl Time {
    /// Seconds from `earlier` to `self`.
    pub fn seconds_since(self, earlier: Self) -> f64 {
        self.0.saturating_sub(earlier.0) as f64 / SECOND as f64
    }
}

/// RFC 3339 in UTC with nanoseconds: `2026-11-21T00:52:07.455012000Z`.
impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seconds, nanos) = (self.0.div_euclid(SECOND), self.0.rem_euclid(SECOND));
        let (days, second_of_day) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
        let (year, month, day) = civil_from_days(days);
        let (hour, minute, second) = (second_of_day / 3600, second_of_day / 60 % 60, second_of_day % 60);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{nanos:09}Z")
    }
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The proleptic Gregorian date of a day counted from 1970-01-01 (Howard Hinnant's `civil_from_days`).
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let day_of_era = z.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_rfc_3339_before_and_after_the_epoch() {
        assert_eq!(Time(0).to_string(), "1970-01-01T00:00:00.000000000Z");
        assert_eq!(Time(-1).to_string(), "1969-12-31T23:59:59.999999999Z");
        assert_eq!(Time(1_709_210_096_000_000_005).to_string(), "2024-02-29T12:34:56.000000005Z");
        assert_eq!(Time(i64::MAX).to_string(), "2262-04-11T23:47:16.854775807Z");
    }
}
