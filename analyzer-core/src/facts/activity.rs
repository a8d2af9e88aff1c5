//! What passed one point over time, by direction: kept while decoding, where each point has a single owner.

use super::bins::{Bin, Bins};
use crate::point::Direction;
use crate::time::MILLISECOND;

/// Shortest silence of a whole direction that is remembered: well above the spacing of any traffic worth judging, well
/// below the second after which a person notices.
const MIN_GAP: i64 = 100 * MILLISECOND;
/// Most silences remembered for one direction; the longest stay.
const MAX_GAPS: usize = 256;
/// Packets within this time after a silence count as its burst (a stalled vhost thread hands over what has piled up within 500 ms).
const BURST_WINDOW: i64 = 500 * MILLISECOND;
/// Most bins of a series.
const MAX_BINS: usize = 8192;

/// A time in which nothing of one direction passed a point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Gap {
    /// Last packet before.
    pub start: i64,
    /// First packet after.
    pub end: i64,
    /// Frame of the last packet before.
    pub start_frame: u32,
    /// Frame of the first packet after.
    pub end_frame: u32,
    /// Packets of the other direction that passed meanwhile.
    pub opposite: u32,
    /// Packets of this direction in the half second before the silence.
    pub before: u32,
    /// Packets of this direction in the half second after it.
    pub burst: u32,
}

/// Packets and bytes over time.
#[derive(Clone, Debug)]
pub struct Series(Bins<Passed>);

/// Packets and their bytes.
#[derive(Clone, Copy, Debug)]
struct Passed(u32, u64);

impl Bin for Passed {
    const EMPTY: Self = Self(0, 0);

    fn absorb(&mut self, next: &Self) {
        *self = Self(self.0.saturating_add(next.0), self.1 + next.1);
    }
}

impl Default for Series {
    fn default() -> Self {
        Self(Bins::new(MILLISECOND, MAX_BINS))
    }
}

impl Series {
    /// Counts a packet of `bytes` at `time`. Times before the first count into the first bin.
    #[inline]
    pub fn add(&mut self, time: i64, bytes: u32) {
        self.0.at(time).absorb(&Passed(1, bytes.into()));
    }

    /// Width of a bin in nanoseconds.
    pub fn width(&self) -> i64 {
        self.0.width()
    }

    /// The bins: start time, packets, bytes.
    pub fn iter(&self) -> impl Iterator<Item = (i64, u32, u64)> + '_ {
        self.0.iter().map(|(start, &Passed(packets, bytes))| (start, packets, bytes))
    }

    /// Packets in `[from, to)`, to the resolution of the bins.
    pub fn packets_between(&self, from: i64, to: i64) -> u64 {
        self.iter().filter(|&(start, ..)| start >= from && start < to).map(|(_, packets, _)| u64::from(packets)).sum()
    }
}

/// Before any time stamp, and so far that the distance to each still fits.
const NEVER: i64 = i64::MIN / 2;

#[derive(Clone, Debug)]
struct Flowing {
    first: Option<i64>,
    /// Time ([`NEVER`] for none) and frame of the latest packet.
    last: (i64, u32),
    /// Packets of the other direction since `last`.
    opposite: u32,
    /// Times of recent packets, as two counters over half-second windows.
    window_start: i64,
    window: u32,
    previous_window: u32,
    gaps: Vec<Gap>,
    open: Option<Gap>,
    series: Series,
}

impl Default for Flowing {
    fn default() -> Self {
        Self {
            first: None,
            last: (NEVER, 0),
            opposite: 0,
            window_start: 0,
            window: 0,
            previous_window: 0,
            gaps: Vec::new(),
            open: None,
            series: Series::default(),
        }
    }
}

/// Both directions of one point.
#[derive(Clone, Debug, Default)]
pub struct Activity {
    directions: [Flowing; 2],
}

impl Activity {
    /// A packet of a paired flow passed.
    #[inline]
    pub fn observe(&mut self, direction: Direction, time: i64, frame: u32, bytes: u32) {
        let other = &mut self.directions[direction.reverse().index()];
        other.opposite = other.opposite.saturating_add(1);
        let own = &mut self.directions[direction.index()];
        own.series.add(time, bytes);
        if time - own.last.0 >= MIN_GAP || time - own.window_start >= BURST_WINDOW {
            own.pause(time, frame);
        }
        own.window = own.window.saturating_add(1);
        own.last = (time, frame);
        own.opposite = 0;
    }

    /// A packet whose direction was learned only now passed earlier.
    pub fn began(&mut self, direction: Direction, time: i64) {
        let first = &mut self.directions[direction.index()].first;
        *first = Some(first.map_or(time, |known| known.min(time)));
    }

    /// Silences of a direction, by start.
    pub fn gaps(&self, direction: Direction) -> Vec<Gap> {
        let own = &self.directions[direction.index()];
        let mut gaps = own.gaps.clone();
        gaps.extend(own.open.map(|open| Gap { burst: open.burst.max(own.window), ..open }));
        gaps.sort_unstable_by_key(|gap| (gap.start, gap.end));
        gaps
    }

    /// Forgets the silences of a time in which the capture did not run.
    pub fn forget(&mut self, from: i64, to: i64) {
        for own in &mut self.directions {
            own.finish_open();
            own.gaps.retain(|gap| gap.start >= to || gap.end <= from);
        }
    }

    /// First packet of a direction.
    pub fn first(&self, direction: Direction) -> Option<i64> {
        self.directions[direction.index()].first
    }

    /// Last packet of a direction.
    pub fn last(&self, direction: Direction) -> Option<i64> {
        let (time, _) = self.directions[direction.index()].last;
        (time != NEVER).then_some(time)
    }

    /// The longest time within `[from, to]` in which nothing of a direction passed.
    pub fn silence_within(&self, direction: Direction, from: i64, to: i64) -> i64 {
        let own = &self.directions[direction.index()];
        let (Some(first), Some(last)) = (own.first, self.last(direction)) else { return to.saturating_sub(from) };
        own.gaps
            .iter()
            .chain(&own.open)
            .map(|gap| (gap.start, gap.end))
            .chain([(i64::MIN, first), (last, i64::MAX)])
            .map(|(start, end)| end.min(to).saturating_sub(start.max(from)))
            .max()
            .unwrap_or(0)
            .max(0)
    }

    /// Packets of the other direction since the last of this one.
    pub fn opposite_since_last(&self, direction: Direction) -> u32 {
        self.directions[direction.index()].opposite
    }

    /// Packets and bytes of a direction over time.
    pub fn series(&self, direction: Direction) -> &Series {
        &self.directions[direction.index()].series
    }
}

impl Flowing {
    /// The first packet, one after a silence, or one of the next half second.
    #[cold]
    #[inline(never)]
    fn pause(&mut self, time: i64, frame: u32) {
        let (last, last_frame) = self.last;
        self.first.get_or_insert(time);
        if last != NEVER && time - last >= MIN_GAP {
            self.silence(last, last_frame, time, frame);
        }
        if time - self.window_start >= BURST_WINDOW {
            self.roll(time);
        }
    }

    fn silence(&mut self, last: i64, last_frame: u32, time: i64, frame: u32) {
        self.finish_open();
        let before = self.window.max(self.previous_window);
        self.open = Some(Gap {
            start: last,
            end: time,
            start_frame: last_frame,
            end_frame: frame,
            opposite: self.opposite,
            before,
            burst: 0,
        });
        self.window_start = time;
        self.window = 0;
        self.previous_window = 0;
    }

    fn roll(&mut self, time: i64) {
        if let Some(open) = &mut self.open {
            open.burst = self.window;
        }
        self.finish_open();
        self.previous_window = if time - self.window_start < 2 * BURST_WINDOW { self.window } else { 0 };
        self.window = 0;
        self.window_start = time;
    }

    fn finish_open(&mut self) {
        let Some(mut gap) = self.open.take() else { return };
        gap.burst = gap.burst.max(self.window);
        if self.gaps.len() == MAX_GAPS {
            let shortest =
                (0..MAX_GAPS).min_by_key(|&index| self.gaps[index].end - self.gaps[index].start).unwrap_or(0);
            if gap.end - gap.start <= self.gaps[shortest].end - self.gaps[shortest].start {
                return;
            }
            self.gaps.swap_remove(shortest);
        }
        self.gaps.push(gap);
    }
}
