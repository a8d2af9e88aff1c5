//! B's clock against A's: the only place where their time stamps meet.
//!
//! With `d = time_b - time_a` of matched packets, the smallest `d` of outbound packets is the offset plus the shortest
//! transit, the largest `d` of inbound ones the offset minus the shortest transit the other way; the true offset lies
//! between them (Paxson 1998; the minimum filter of NTP). Drift is the slope of that middle over time (Moon, Skelly and
//! Towsley 1999 fit the same envelope).

use crate::facts::Delays;
use crate::point::Point;
use crate::report;
use crate::time::{EARLIEST, LATEST, MILLISECOND, SECOND, Time, shifted};

/// What part of time each capture covers, on A's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Overlap {
    /// First time covered, by point.
    pub from: [i64; 2],
    /// Last time covered, by point; `i64::MAX` while the capture is still being read.
    pub to: [i64; 2],
    /// Times in which a capture did not run, by point: between the files of a set. Unused places are empty.
    pub holes: [[(i64, i64); MAX_HOLES]; 2],
}

/// Most holes in one capture; the longest count.
pub const MAX_HOLES: usize = 16;
/// A hole in which no time lies.
const NO_HOLE: (i64, i64) = (i64::MAX, i64::MIN);

/// Packets within this time of the end of a capture may have missed it.
pub const GUARD: i64 = 100 * MILLISECOND;
/// On a bridge, B's tap may come some microseconds before A's, whichever way the packet goes (measured: up to 8 µs).
pub const BRIDGE_NOISE: i64 = 20_000;

impl Default for Overlap {
    fn default() -> Self {
        Self { from: [i64::MIN; 2], to: [i64::MAX; 2], holes: [[NO_HOLE; MAX_HOLES]; 2] }
    }
}

impl Overlap {
    /// Whether a point's capture ran at a time, with a guard at both edges.
    #[inline]
    pub fn covers(&self, point: usize, time: i64) -> bool {
        self.covers_to_the_end(point, time) && time <= self.to[point].saturating_sub(GUARD)
    }

    /// The same without the guard at the end, for what came before something that the capture still shows.
    #[inline]
    pub fn covers_to_the_end(&self, point: usize, time: i64) -> bool {
        let in_hole = |&(from, to): &(i64, i64)| time > from.saturating_sub(GUARD) && time < to.saturating_add(GUARD);
        (self.from[point].saturating_add(GUARD)..=self.to[point]).contains(&time)
            && !self.holes[point].iter().any(in_hole)
    }

    /// Adds a time in which a point's capture did not run.
    pub fn add_hole(&mut self, point: usize, hole: (i64, i64)) {
        let holes = &mut self.holes[point];
        // The same one again, as the clocks' offset became better known.
        if holes.iter().any(|&(from, to)| from < hole.1 && hole.0 < to) {
            return;
        }
        let length = |hole: &(i64, i64)| hole.1.saturating_sub(hole.0);
        if let Some(least) = holes.iter_mut().min_by_key(|hole| length(hole))
            && length(least) < length(&hole)
        {
            *least = hole;
        }
    }

    /// The times in which a point's capture did not run, in order.
    pub fn holes(&self, point: usize) -> Vec<(i64, i64)> {
        let mut holes: Vec<_> = self.holes[point].iter().copied().filter(|hole| *hole != NO_HOLE).collect();
        holes.sort_unstable();
        holes
    }
}

/// What the matching goes by while the captures are read: B's clock minus A's, and how that changes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Coarse {
    /// B minus A at `reference`, nanoseconds.
    pub offset: i64,
    /// Change of the offset per nanosecond.
    pub drift: f64,
    /// Where the offset holds, on A's clock.
    pub reference: i64,
}

impl Coarse {
    /// An offset that does not change.
    pub const fn fixed(offset: i64) -> Self {
        Self { offset, drift: 0.0, reference: 0 }
    }

    /// B minus A at a time of A's clock.
    #[inline]
    pub fn at(&self, time_a: i64) -> i64 {
        if self.drift == 0.0 {
            // Asked for every packet, and the clocks of one host do not drift apart.
            return self.offset;
        }
        self.offset.saturating_add((time_a.saturating_sub(self.reference) as f64 * self.drift) as i64)
    }

    /// A time of B's clock on A's.
    #[inline]
    pub fn to_a(&self, time_b: i64) -> i64 {
        // The drift is a few hundred millionths, so which of the two clocks measures the distance does not matter.
        shifted(time_b, self.at(time_b.saturating_sub(self.offset)))
    }

    /// A time of a point (0 for A, 1 for B) on A's clock.
    #[inline]
    pub fn on_a(&self, point: usize, time: i64) -> i64 {
        if point == 1 { self.to_a(time) } else { time }
    }

    /// A time of A's clock on a point's.
    #[inline]
    pub fn from_a(&self, point: usize, time: i64) -> i64 {
        if point == 1 { time.saturating_add(self.at(time)) } else { time }
    }
}

/// The estimate of one analysis.
#[derive(Clone, Copy, Debug, Default)]
pub struct ClockMap {
    /// B minus A at `reference`, nanoseconds.
    pub offset: f64,
    /// Change of the offset per nanosecond of A.
    pub drift: f64,
    /// Where the offset holds, on A's clock.
    pub reference: i64,
    /// Half the distance between the two envelopes.
    pub uncertainty: Option<f64>,
    /// Matched packets.
    pub samples: u64,
}

impl ClockMap {
    /// A moment of A's clock, on a point's clock.
    pub fn from_a(&self, point: Point, time: Time) -> i64 {
        match point {
            Point::A => time.0,
            Point::B => {
                let elapsed = time.0.saturating_sub(self.reference) as f64;
                let error = (self.offset + self.drift * elapsed).round() as i64;
                time.0.saturating_add(error).clamp(EARLIEST, LATEST)
            }
        }
    }

    /// A moment of a point's clock, on A's clock.
    pub fn to_a(&self, point: Point, time: i64) -> Time {
        match point {
            Point::A => Time(time),
            Point::B => {
                let elapsed = time.saturating_sub(self.reference) as f64 - self.offset;
                Time(shifted(time, (self.offset + self.drift * elapsed).round() as i64))
            }
        }
    }

    /// The estimate in the report's units.
    pub fn report(&self) -> report::Clock {
        report::Clock {
            offset_seconds: self.offset / SECOND as f64,
            drift_ppm: (self.drift * 1e6 * 1000.0).round() / 1000.0,
            uncertainty_seconds: self.uncertainty.map(|bound| bound / SECOND as f64),
            samples: self.samples,
        }
    }

    /// The estimate from the delays of all shards; `coarse` is the offset that the matching went by.
    pub fn estimate(shards: &[&Delays], coarse: i64) -> Self {
        let samples = shards.iter().map(|delays| delays.samples[0] + delays.samples[1]).sum();
        let bins = merge(shards);
        let outbound = bins.iter().filter(|bin| bin.1 != i64::MAX).map(|bin| bin.1.saturating_sub(coarse)).min();
        let inbound = bins.iter().filter(|bin| bin.2 != i64::MIN).map(|bin| bin.2.saturating_sub(coarse)).max();
        let reference = bins.first().map_or(0, |bin| bin.0);
        let fallback = Self { offset: coarse as f64, reference, samples, ..Self::default() };
        let (Some(low_out), Some(high_in)) = (outbound, inbound) else {
            // One direction only: the transit cannot be told from the offset.
            let only = outbound.or(inbound);
            return only.map_or(fallback, |difference| Self { offset: coarse as f64 + difference as f64, ..fallback });
        };
        // Bins where both directions crossed give the middle over time.
        let half = shards.iter().map(|delays| delays.width()).max().unwrap_or(0) / 2;
        let middles: Vec<(f64, f64, f64)> = bins
            .iter()
            .filter(|bin| bin.1 != i64::MAX && bin.2 != i64::MIN)
            .map(|bin| {
                let (out, back) = (bin.1.saturating_sub(coarse) as f64, bin.2.saturating_sub(coarse) as f64);
                // What drifts within a bin is right at its middle.
                let time = bin.0.saturating_sub(reference).saturating_add(half) as f64;
                (time, f64::midpoint(out, back), (out - back).abs() / 2.0)
            })
            .collect();
        let span = middles.last().map_or(0.0, |last| last.0) - middles.first().map_or(0.0, |first| first.0);
        let straight = Self {
            offset: coarse as f64 + f64::midpoint(low_out as f64, high_in as f64),
            uncertainty: Some((low_out as f64 - high_in as f64).abs() / 2.0),
            ..fallback
        };
        if middles.len() < 8 || span < 2.0 * SECOND as f64 {
            return straight;
        }
        let (slope, intercept) = robust_line(&middles);
        let mut residuals: Vec<f64> =
            middles.iter().map(|&(time, middle, _)| (middle - intercept - slope * time).abs()).collect();
        residuals.sort_unstable_by(f64::total_cmp);
        let mut widths: Vec<f64> = middles.iter().map(|&(.., width)| width).collect();
        widths.sort_unstable_by(f64::total_cmp);
        let bound = residuals[residuals.len() / 2] + widths[widths.len() / 4];
        // A slope that moves the line by less than its own noise is no drift.
        if (slope * span).abs() <= 4.0 * bound {
            return straight;
        }
        Self { offset: coarse as f64 + intercept, drift: slope, uncertainty: Some(bound), ..fallback }
    }
}

/// Bins of all shards on one grid: start, smallest outbound, largest inbound difference.
fn merge(shards: &[&Delays]) -> Vec<(i64, i64, i64)> {
    let width = shards.iter().map(|delays| delays.width()).max().unwrap_or(1);
    let mut cells: std::collections::BTreeMap<i64, (i64, i64)> = std::collections::BTreeMap::new();
    for (start, out, back) in shards.iter().flat_map(|delays| delays.quickest()) {
        let cell = cells.entry(start.div_euclid(width).saturating_mul(width)).or_insert((i64::MAX, i64::MIN));
        *cell = (cell.0.min(out), cell.1.max(back));
    }
    cells
        .into_iter()
        .filter(|(_, cell)| *cell != (i64::MAX, i64::MIN))
        .map(|(start, cell)| (start, cell.0, cell.1))
        .collect()
}

/// The line through the middles by least squares, weighted by how narrow each bin's envelope is, refitted twice without
/// what lies far off.
fn robust_line(points: &[(f64, f64, f64)]) -> (f64, f64) {
    let mut kept: Vec<(f64, f64, f64)> = points.to_vec();
    let mut line = (0.0, 0.0);
    for _ in 0..3 {
        let weight = |width: f64| 1.0 / (width + 1000.0);
        let total: f64 = kept.iter().map(|point| weight(point.2)).sum();
        let mean_time = kept.iter().map(|point| point.0 * weight(point.2)).sum::<f64>() / total;
        let mean = kept.iter().map(|point| point.1 * weight(point.2)).sum::<f64>() / total;
        let (mut covariance, mut variance) = (0.0, 0.0);
        for point in &kept {
            covariance += weight(point.2) * (point.0 - mean_time) * (point.1 - mean);
            variance += weight(point.2) * (point.0 - mean_time) * (point.0 - mean_time);
        }
        let slope = if variance > 0.0 { covariance / variance } else { 0.0 };
        line = (slope, mean - slope * mean_time);
        let mut residuals: Vec<f64> = kept.iter().map(|point| (point.1 - line.1 - line.0 * point.0).abs()).collect();
        residuals.sort_unstable_by(f64::total_cmp);
        let limit = 3.0 * residuals[residuals.len() / 2] + 1000.0;
        let next: Vec<_> =
            kept.iter().copied().filter(|point| (point.1 - line.1 - line.0 * point.0).abs() <= limit).collect();
        if next.len() < 4 {
            break;
        }
        kept = next;
    }
    line
}

/// A packet that stands in both captures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Match {
    /// When, on A's clock.
    pub time: i64,
    /// B's time stamp minus A's.
    pub difference: i64,
    /// Its flow's number, times two, and in the lowest bit which end sent it.
    pub way: u32,
}

/// Where and by how much the times of packets with the same content differ, from the head of both captures: the coarse
/// offset is where the differences gather, or the line along which they do.
pub fn coarse_offset(matches: &mut [Match]) -> Option<Coarse> {
    /// Matches that must agree: fewer may be chance, unless there are no others.
    const ENOUGH: usize = 3;
    /// How close they must lie: beyond any queue, far below the distance of unrelated repetitions.
    const CLOSE: i64 = 250 * MILLISECOND;
    /// Clocks this close are taken for one, unless both ways say otherwise: NTP keeps two hosts no closer.
    const SAME_CLOCK: i64 = MILLISECOND;
    matches.sort_unstable_by_key(|found| (found.difference, found.time));
    let mut best = (0, 0);
    let mut low = 0;
    for high in 0..matches.len() {
        while matches[high].difference.saturating_sub(matches[low].difference) > CLOSE {
            low += 1;
        }
        if high + 1 - low > best.1 {
            best = (low, high + 1 - low);
        }
    }
    let needed = ENOUGH.min(matches.len()).max(matches.len() / 3).max(1);
    if best.1 < needed {
        return None;
    }
    let gathered = &mut matches[best.0..best.0 + best.1];
    let median = gathered[gathered.len() / 2].difference;
    gathered.sort_unstable_by_key(|found| (found.time, found.difference));
    if let Some(line) = common_slope(gathered) {
        return Some(line);
    }
    if median.saturating_abs() > SAME_CLOCK {
        return Some(Coarse::fixed(median));
    }
    // One host has one clock: what is left is the transit of the direction that has more packets.
    Some(Coarse::fixed(between_ways(gathered).unwrap_or(0)))
}

/// The offset of two clocks that are close, when packets of both ways prove that they are two. The way there makes B's
/// clock seem ahead by its transit and the way back behind, so that of one clock the differences enclose zero.
fn between_ways(matches: &[Match]) -> Option<i64> {
    let mut ways: std::collections::BTreeMap<u32, (i64, i64)> = std::collections::BTreeMap::new();
    for found in matches {
        let range = ways.entry(found.way).or_insert((i64::MAX, i64::MIN));
        *range = (range.0.min(found.difference), range.1.max(found.difference));
    }
    let (mut low, mut high) = (i64::MIN, i64::MAX);
    for (way, one) in ways.iter().filter(|(way, _)| *way % 2 == 0) {
        let Some(other) = ways.get(&(way + 1)) else { continue };
        let (there, back) = if one.0 >= other.0 { (one, other) } else { (other, one) };
        (low, high) = (low.max(back.1), high.min(there.0));
    }
    let two =
        low != i64::MIN && low <= high.saturating_add(BRIDGE_NOISE) && (low > BRIDGE_NOISE || high < -BRIDGE_NOISE);
    two.then(|| i64::midpoint(low, high))
}

/// The line that the smallest and the largest differences follow alike: a clock that drifts moves both, a queue that fills
/// in one direction only one of them.
fn common_slope(matches: &[Match]) -> Option<Coarse> {
    /// Parts of the time that are compared.
    const PARTS: usize = 12;
    /// Quartz is within 200 millionths, and a clock that NTP slews within 500 more.
    const STEEPEST: f64 = 700e-6;
    let (first, last) = (matches.first()?.time, matches.last()?.time);
    let width = (last - first) / PARTS as i64 + 1;
    let mut parts = [(i64::MAX, i64::MIN, 0_u32); PARTS];
    let base = matches[0].difference;
    for &Match { time, difference, .. } in matches {
        let part = &mut parts[((time - first) / width) as usize % PARTS];
        *part = (part.0.min(difference - base), part.1.max(difference - base), part.2 + 1);
    }
    let envelope = |upper: bool| -> Vec<(f64, f64, f64)> {
        let full = parts.iter().enumerate().filter(|(_, part)| part.2 >= 2);
        full.map(|(index, part)| {
            let middle = width * index as i64 + width / 2;
            (middle as f64, if upper { part.1 } else { part.0 } as f64, 0.0)
        })
        .collect()
    };
    let (lower, upper) = (envelope(false), envelope(true));
    if lower.len() < PARTS / 2 {
        return None;
    }
    let (low, high) = (robust_line(&lower), robust_line(&upper));
    let slope = f64::midpoint(low.0, high.0);
    let noise = |points: &[(f64, f64, f64)], line: (f64, f64)| {
        let sum: f64 = points.iter().map(|point| (point.1 - line.1 - line.0 * point.0).powi(2)).sum();
        (sum / points.len() as f64).sqrt()
    };
    let bound = noise(&lower, low).max(noise(&upper, high));
    let rise = slope.abs() * (last - first) as f64;
    let agree = (low.0 - high.0).abs() <= 0.2 * slope.abs();
    if !agree || slope.abs() > STEEPEST || rise < 6.0 * bound {
        return None;
    }
    let middle = base + f64::midpoint(low.1, high.1) as i64;
    Some(Coarse { offset: middle, drift: slope, reference: first })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(time: i64, difference: i64) -> Match {
        Match { time, difference, way: 0 }
    }

    fn delays(offset: i64, drift_ppm: f64) -> Delays {
        let mut delays = Delays::default();
        for step in 0..60_000_i64 {
            let time = 1_700_000_000 * SECOND + step * MILLISECOND;
            let error = offset + ((step * MILLISECOND) as f64 * drift_ppm * 1e-6) as i64;
            let queue = (step * 7919 % 101) * 1000;
            delays.add(0, time, error + 8_000 + queue);
            delays.add(1, time, error - 9_000 - queue);
        }
        delays
    }

    #[test]
    fn finds_offset_and_drift() {
        for (offset, drift) in [(0, 0.0), (37 * SECOND, 200.0), (-400 * 86_400 * SECOND, -200.0), (5_000_000, 20.0)] {
            let delays = delays(offset, drift);
            let map = ClockMap::estimate(&[&delays], offset);
            assert!((map.drift * 1e6 - drift).abs() < 1.0, "{drift}: {map:?}");
            let bound = map.uncertainty.unwrap();
            assert!((map.offset - offset as f64).abs() <= bound + 1000.0, "{offset}: {map:?}");
            assert!(bound < 100_000.0, "{map:?}");
        }
    }

    #[test]
    fn gathers_the_coarse_offset_among_chance_matches() {
        let mut matches: Vec<Match> = (0..50).map(|n| at(n * SECOND, 37 * SECOND + n * 7919 % 50 * 1000)).collect();
        matches.extend((0..40).map(|n| at(n * SECOND, n * 3 * SECOND)));
        let found = coarse_offset(&mut matches).unwrap();
        assert!((found.offset - 37 * SECOND).abs() < MILLISECOND);
        assert_eq!(coarse_offset(&mut [at(0, 0), at(1, 5 * SECOND), at(2, 9 * SECOND)]), None);
        assert_eq!(coarse_offset(&mut []), None);
    }

    #[test]
    fn takes_few_matches_that_nothing_contradicts() {
        assert_eq!(coarse_offset(&mut [at(7, 5 * SECOND)]), Some(Coarse::fixed(5 * SECOND)));
        assert_eq!(coarse_offset(&mut [at(7, 5 * SECOND), at(8, 9 * SECOND)]), None);
    }

    #[test]
    fn a_drift_moves_both_edges_and_a_queue_one() {
        let when = |n: i64| n * 10 * MILLISECOND;
        let both = |n: i64| if n % 2 == 0 { 9_000 } else { -9_000 };
        let mut drifting: Vec<Match> = (0..2000).map(|n| at(when(n), SECOND + when(n) / 5000 + both(n))).collect();
        let line = coarse_offset(&mut drifting).unwrap();
        assert!((line.drift * 1e6 - 200.0).abs() < 1.0, "{line:?}");
        assert!((line.at(when(1000)) - SECOND - when(1000) / 5000).abs() < 2_000, "{line:?}");
        // There and back is wrong by the square of the drift.
        assert!((line.to_a(line.from_a(1, when(500))) - when(500)).abs() < 1_000);
        let filling = |n: i64| if n % 2 == 0 { when(n) / 5000 } else { -9_000 };
        let mut queue: Vec<Match> = (0..2000).map(|n| at(when(n), filling(n))).collect();
        assert_eq!(coarse_offset(&mut queue).unwrap().drift, 0.0);
    }

    #[test]
    fn clocks_that_are_close_are_two_only_when_both_ways_say_so() {
        let both = |offset: i64| -> Vec<Match> {
            let way = |n: i64| if n % 2 == 0 { 7_000 + n * 100 } else { -6_000 };
            (0..40).map(|n| Match { way: (n % 2) as u32, ..at(n, offset + way(n)) }).collect()
        };
        let offset = |matches: &mut [Match]| coarse_offset(matches).unwrap().offset;
        assert!((offset(&mut both(-300_000)) + 300_000).abs() < 2_000);
        assert_eq!(offset(&mut both(0)), 0);
        // One way alone cannot tell its transit from an offset.
        let mut there: Vec<Match> = both(-300_000).into_iter().filter(|found| found.way == 0).collect();
        assert_eq!(offset(&mut there), 0);
    }

    #[test]
    fn guards_the_edges_of_the_overlap() {
        let mut overlap = Overlap { from: [0, SECOND], to: [10 * SECOND, 9 * SECOND], ..Overlap::default() };
        assert!(overlap.covers(0, 5 * SECOND) && overlap.covers(1, 5 * SECOND));
        assert!(!overlap.covers(1, SECOND + GUARD - 1) && overlap.covers(1, SECOND + GUARD));
        assert!(!overlap.covers(1, 9 * SECOND));
        overlap.add_hole(0, (4 * SECOND, 6 * SECOND));
        assert!(!overlap.covers(0, 5 * SECOND) && overlap.covers(1, 5 * SECOND) && overlap.covers(0, 7 * SECOND));
        assert_eq!(overlap.holes(0), [(4 * SECOND, 6 * SECOND)]);
    }
}
