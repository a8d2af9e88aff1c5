//! Counters and histograms of one shard; they add up.

use super::bins::{Bin, Bins};
use super::track::Stamp;
use crate::packet::{Checksum, Kind};
use crate::point::{Direction, Point};

/// Upper bounds of the size classes of loss, in bytes of the IP packet: 64, 512, 1400, an Ethernet MTU, and above it
/// (superframes and jumbo frames).
pub const SIZE_CLASSES: [u32; 4] = [64, 512, 1400, 1500];

/// The size class of an IP packet.
#[inline]
pub const fn size_class(ip_len: u32) -> usize {
    (ip_len > SIZE_CLASSES[0]) as usize
        + (ip_len > SIZE_CLASSES[1]) as usize
        + (ip_len > SIZE_CLASSES[2]) as usize
        + (ip_len > SIZE_CLASSES[3]) as usize
}

/// Steps of 64 bytes up to an Ethernet MTU, and one for what is larger.
pub const STEPS_OF_SIZE: usize = 25;

/// The 64-byte step of an IP packet's size: step `n` holds sizes above `64 * (n - 1)` up to `64 * n`.
#[inline]
pub const fn size_step(ip_len: u32) -> usize {
    let step = ip_len.div_ceil(64) as usize;
    if step < STEPS_OF_SIZE { step } else { STEPS_OF_SIZE - 1 }
}

/// Number of [`Kind`]s.
const KINDS: usize = Kind::Link as usize + 1;

/// Counters of what passed, and of what was found at one point only.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Tally {
    /// Packets of paired flows by direction, point and kind.
    pub packets: [[[u64; KINDS]; 2]; 2],
    /// Transport checksums by direction, point and class.
    pub checksums: [[[u64; 5]; 2]; 2],
    /// Frames larger than an Ethernet MTU by direction and point.
    pub superframes: [[u64; 2]; 2],
    /// First of them.
    pub first_superframe: [[Option<Stamp>; 2]; 2],
    /// First packet with a partial checksum by direction and point.
    pub first_partial: [[Option<Stamp>; 2]; 2],
    /// Packets by direction, point and size class.
    pub sizes: [[[u64; 5]; 2]; 2],
    /// Packets found at this point only, by direction, point and size class.
    pub unmatched_sizes: [[[u64; 5]; 2]; 2],
    /// Packets by direction, point and 64-byte step of size: finer, for the size at which loss begins.
    pub steps: [[[u64; STEPS_OF_SIZE]; 2]; 2],
    /// As `steps`, of packets found at this point only.
    pub unmatched_steps: [[[u64; STEPS_OF_SIZE]; 2]; 2],
    /// Packets found at this point only, by direction, point and kind.
    pub unmatched: [[[u64; KINDS]; 2]; 2],
    /// Packets of the point found at the other, whole or in parts.
    pub matched: [u64; 2],
    /// Delay from entry to exit by direction.
    pub delays: [DelayHistogram; 2],
}

impl Tally {
    /// Adds another shard's counts.
    pub fn merge(&mut self, other: &Self) {
        for direction in 0..2 {
            for point in 0..2 {
                add(&mut self.packets[direction][point], &other.packets[direction][point]);
                add(&mut self.checksums[direction][point], &other.checksums[direction][point]);
                add(&mut self.sizes[direction][point], &other.sizes[direction][point]);
                add(&mut self.unmatched_sizes[direction][point], &other.unmatched_sizes[direction][point]);
                add(&mut self.steps[direction][point], &other.steps[direction][point]);
                add(&mut self.unmatched_steps[direction][point], &other.unmatched_steps[direction][point]);
                add(&mut self.unmatched[direction][point], &other.unmatched[direction][point]);
                earlier(&mut self.first_superframe[direction][point], other.first_superframe[direction][point]);
                earlier(&mut self.first_partial[direction][point], other.first_partial[direction][point]);
                self.superframes[direction][point] += other.superframes[direction][point];
            }
            self.delays[direction].merge(&other.delays[direction]);
        }
        add(&mut self.matched, &other.matched);
    }

    /// Packets of paired flows in a direction at a point, of all kinds.
    pub fn packets(&self, direction: Direction, point: Point) -> u64 {
        self.packets[direction.index()][point.index()].iter().sum()
    }

    /// Packets of a direction seen at this point only, of all kinds.
    pub fn unmatched(&self, direction: Direction, point: Point) -> u64 {
        self.unmatched[direction.index()][point.index()].iter().sum()
    }

    /// Transport checksums of a class.
    pub fn checksums(&self, direction: Direction, point: Point, class: Checksum) -> u64 {
        self.checksums[direction.index()][point.index()][class as usize]
    }
}

/// What every packet counts into: two counters, from which the [`Tally`] tells all that it says of kinds and sizes.
#[derive(Clone, Debug)]
pub struct Passing {
    /// By direction and point, then kind and class of the transport checksum.
    kinds: [[[u64; KINDS * CHECKSUMS]; 2]; 2],
    /// By direction and point, then length of the IP packet.
    lengths: [[[u64; LENGTHS]; 2]; 2],
}

/// Classes of checksum.
const CHECKSUMS: usize = Checksum::Unverifiable as usize + 1;
/// Bytes of a step of [`Passing::lengths`]: the largest that all bounds of size classes and of their finer steps are
/// multiples of.
const LENGTH_STEP: u32 = 4;
/// Steps up to an Ethernet MTU, and one for what is larger.
const LENGTHS: usize = SIZE_CLASSES[3].div_ceil(LENGTH_STEP) as usize + 2;

impl Default for Passing {
    fn default() -> Self {
        Self { kinds: [[[0; KINDS * CHECKSUMS]; 2]; 2], lengths: [[[0; LENGTHS]; 2]; 2] }
    }
}

impl Passing {
    /// Counts a packet.
    #[inline]
    pub fn add(&mut self, direction: usize, point: usize, kind: Kind, checksum: Checksum, ip_len: u32) {
        self.kinds[direction][point][kind as usize * CHECKSUMS + checksum as usize] += 1;
        self.lengths[direction][point][(ip_len.div_ceil(LENGTH_STEP) as usize).min(LENGTHS - 1)] += 1;
    }
}

impl Tally {
    /// Moves the counts of single packets here.
    pub fn take(&mut self, passing: &mut Passing) {
        for direction in 0..2 {
            for point in 0..2 {
                for (index, count) in passing.kinds[direction][point].iter().enumerate() {
                    self.packets[direction][point][index / CHECKSUMS] += *count;
                    self.checksums[direction][point][index % CHECKSUMS] += *count;
                }
                for (index, count) in passing.lengths[direction][point].iter().enumerate() {
                    let length = index as u32 * LENGTH_STEP;
                    self.sizes[direction][point][size_class(length)] += *count;
                    self.steps[direction][point][size_step(length)] += *count;
                }
            }
        }
        *passing = Passing::default();
    }
}

fn earlier(first: &mut Option<Stamp>, other: Option<Stamp>) {
    *first = first.iter().copied().chain(other).min();
}

fn add<const N: usize>(sum: &mut [u64; N], more: &[u64; N]) {
    for (sum, more) in sum.iter_mut().zip(more) {
        *sum += more;
    }
}

/// A log-linear histogram of delays: eight steps to each doubling, from a microsecond to a minute, with the negative ones apart.
#[derive(Clone, Debug)]
pub struct DelayHistogram {
    counts: Vec<u64>,
    /// Delays below zero (a bridge may show B's copy first; or the clocks disagree).
    pub negative: u64,
    /// All delays.
    pub count: u64,
    /// Smallest, in nanoseconds.
    pub min: i64,
    /// Largest, in nanoseconds.
    pub max: i64,
}

/// Steps to each doubling.
const STEPS: u32 = 8;
/// Doublings above a microsecond.
const DOUBLINGS: u32 = 26;

impl Default for DelayHistogram {
    fn default() -> Self {
        Self { counts: vec![0; (STEPS * DOUBLINGS + 1) as usize], negative: 0, count: 0, min: i64::MAX, max: i64::MIN }
    }
}

impl DelayHistogram {
    /// Adds a delay in nanoseconds.
    #[inline]
    pub fn add(&mut self, delay: i64) {
        self.count += 1;
        self.min = self.min.min(delay);
        self.max = self.max.max(delay);
        if delay < 0 {
            self.negative += 1;
            return;
        }
        let index = Self::index(delay as u64);
        self.counts[index] += 1;
    }

    fn index(delay: u64) -> usize {
        // Units of 128 ns put the eight steps of the first doubling into one microsecond.
        let units = (delay >> 7).max(u64::from(STEPS));
        let doubling = units.ilog2() - STEPS.ilog2();
        let step = (units >> doubling) as u32 - STEPS;
        ((doubling * STEPS + step).min(STEPS * DOUBLINGS)) as usize
    }

    /// The delay below which the given share (0 to 1) lies, in nanoseconds: the lower bound of its step.
    pub fn quantile(&self, share: f64) -> Option<i64> {
        if self.count == 0 {
            return None;
        }
        let rank = (share * self.count as f64).ceil().max(1.0) as u64;
        let mut sum = self.negative;
        if sum >= rank {
            return Some(self.min);
        }
        for (index, &count) in self.counts.iter().enumerate() {
            sum += count;
            if sum >= rank {
                let (doubling, step) = (index as u32 / STEPS, index as u32 % STEPS);
                return Some((i64::from(STEPS + step) << (7 + doubling)).clamp(self.min, self.max));
            }
        }
        Some(self.max)
    }

    /// The steps that have delays in them: middle in nanoseconds, and how many. Negative ones are not among them.
    pub fn steps(&self) -> impl Iterator<Item = (i64, u64)> + '_ {
        let middle = |index: usize| {
            let (doubling, step) = (index as u32 / STEPS, index as u32 % STEPS);
            // Below a microsecond there are no steps.
            if index == 0 { 512 } else { (i64::from(2 * (STEPS + step) + 1) << (6 + doubling)).min(self.max.max(0)) }
        };
        let used = self.counts.iter().enumerate().filter(|(_, count)| **count > 0);
        used.map(move |(index, count)| (middle(index), *count))
    }

    /// Adds another histogram.
    pub fn merge(&mut self, other: &Self) {
        for (sum, more) in self.counts.iter_mut().zip(&other.counts) {
            *sum += more;
        }
        self.negative += other.negative;
        self.count += other.count;
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
    }
}

/// Smallest delays over time, for the clock.
#[derive(Clone, Debug)]
pub struct Delays {
    bins: Bins<Extremes>,
    /// Matched packets that went in.
    pub samples: [u64; 2],
}

/// Most bins of [`Delays`].
const MAX_DELAY_BINS: usize = 2048;

/// Smallest and largest `time_b - time_a` by direction; the smallest is above the largest where there was no packet.
#[derive(Clone, Copy, Debug)]
struct Extremes([(i64, i64); 2]);

impl Bin for Extremes {
    const EMPTY: Self = Self([(i64::MAX, i64::MIN); 2]);

    fn absorb(&mut self, next: &Self) {
        for (own, next) in self.0.iter_mut().zip(next.0) {
            *own = (own.0.min(next.0), own.1.max(next.1));
        }
    }
}

impl Extremes {
    /// Smallest difference of an outbound packet, largest of an inbound one: those of the quickest.
    fn quickest(&self) -> (i64, i64) {
        (self.0[0].0, self.0[1].1)
    }
}

impl Default for Delays {
    fn default() -> Self {
        Self { bins: Bins::new(100 * crate::time::MILLISECOND, MAX_DELAY_BINS), samples: [0; 2] }
    }
}

impl Delays {
    /// Adds a matched pair of times: A's and `time_b - time_a`.
    #[inline]
    pub fn add(&mut self, direction: usize, time_a: i64, difference: i64) {
        self.samples[direction] += 1;
        let (least, most) = &mut self.bins.at(time_a).0[direction];
        (*least, *most) = ((*least).min(difference), (*most).max(difference));
    }

    /// Width of a bin in nanoseconds.
    pub fn width(&self) -> i64 {
        self.bins.width()
    }

    /// The bins: start, smallest outbound and largest inbound difference (`i64::MAX` and `i64::MIN` for none).
    pub fn quickest(&self) -> impl DoubleEndedIterator<Item = (i64, i64, i64)> + '_ {
        self.bins.iter().map(|(start, bin)| (start, bin.quickest().0, bin.quickest().1))
    }

    /// Bins with samples of a direction: start, smallest and largest difference.
    pub fn envelope(&self, direction: Direction) -> impl Iterator<Item = (i64, i64, i64)> + '_ {
        let bins = self.bins.iter().map(move |(start, bin)| (start, bin.0[direction.index()]));
        bins.filter(|(_, (least, most))| least <= most).map(|(start, (least, most))| (start, least, most))
    }

    /// The latest bin: its start, smallest outbound and largest inbound difference.
    pub fn latest(&self) -> Option<(i64, i64, i64)> {
        self.quickest().next_back()
    }

    /// Whether every matched packet had exactly this difference, but for slower ones of the same stretch of time.
    pub fn all_equal(&self, difference: i64) -> bool {
        self.quickest().all(|(_, out, back)| [out, back].iter().all(|d| [difference, i64::MAX, i64::MIN].contains(d)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_within_an_eighth() {
        let mut histogram = DelayHistogram::default();
        for microsecond in 1..=1000 {
            histogram.add(microsecond * 1000);
        }
        let median = histogram.quantile(0.5).unwrap() as f64;
        assert!((median / 500_000.0 - 1.0).abs() < 0.13, "{median}");
        assert_eq!(histogram.quantile(0.0).map(|low| low <= 1100), Some(true));
        assert_eq!((histogram.min, histogram.max), (1000, 1_000_000));
        assert!(DelayHistogram::index(u64::MAX >> 1) < histogram.counts.len());
    }
}
