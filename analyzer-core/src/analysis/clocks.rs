//! What part of time each capture covers, and the clocks of long captures.

use super::engine::Engine;
use crate::align::clock::{Coarse, GUARD};
use crate::flow::ingest::Stop;
use crate::point::Direction;
use crate::time::{MILLISECOND, SECOND};

/// Packets that must have passed a capture, to prove that it did not run; a single one may be the host's own.
const PROOF: u64 = 3;

impl Engine<'_> {
    /// What each capture covers of the other's time. A capture that is read to its end covers up to its last record; but
    /// when the other point shows nothing afterwards that must have passed here first, its silence may be the fault
    /// itself, and it counts as covering all.
    pub(super) fn update_overlap(&mut self) {
        /// Captures of one host that were started together see its first packet this close to one another: crossing it
        /// takes well below a millisecond.
        const START: i64 = 10 * MILLISECOND;
        /// The last packets of a capture that was killed may be missing: the kernel hands a block of them over once it is full
        /// or after libpcap's timeout (`tp_retire_blk_tov`, packet_mmap.rst), which is a second in tcpdump
        /// (`timeout`, tcpdump.c 4.99).
        const BLOCK: i64 = SECOND;
        for point in 0..2 {
            let Some((first, last)) = self.points[point].presence.span else { continue };
            let other = 1 - point;
            // What leaves the host at the other point has entered it here.
            let through = if point == 1 { Direction::Inbound } else { Direction::Outbound };
            let activity = &self.points[other].activity;
            let (first, last) = (self.on_a(point, first), self.on_a(point, last));
            let started_late = activity.first(through).is_some_and(|time| self.on_a(other, time) < first - START);
            self.overlap.from[point] = if started_late { first } else { i64::MIN };
            if self.points[point].stop == Stop::End {
                let passed = activity.last(through).map(|time| self.on_a(other, time));
                // Nor does silence prove a fault where nothing had been coming back for a block's time before it either.
                let ended_early = passed.is_none_or(|time| time > last + GUARD || time < last - BLOCK);
                self.overlap.to[point] = if ended_early { last } else { i64::MAX };
            }
            if let Some((from, to)) = self.bounds {
                self.overlap.from[point] = self.overlap.from[point].max(from);
                self.overlap.to[point] = self.overlap.to[point].min(to);
            }
            if let Some(common) = self.interrupted {
                self.overlap.to[point] = self.overlap.to[point].min(common);
            }
            if !self.points[point].reader.holes().is_empty() {
                self.update_holes(point);
            }
        }
    }

    /// The end of both captures: when packets of flows that a capture knows left the host at the other point after its last
    /// record, it had been stopped, however shortly before.
    #[cold]
    pub(super) fn end_before_the_other(&mut self) {
        for point in 0..2 {
            let Some((_, last)) = self.points[point].presence.span else { continue };
            let last = self.on_a(point, last);
            let left: u64 = self.shards.iter().map(|shard| shard.left_after(1 - point, last)).sum();
            if left >= PROOF {
                self.overlap.to[point] = self.overlap.to[point].min(last);
            }
        }
    }

    /// Times between the files of a set in which the capture did not run: the files show that something is missing, or
    /// the other point shows packets that must have passed here.
    #[cold]
    pub(super) fn update_holes(&mut self, point: usize) {
        let other = 1 - point;
        let through = if point == 1 { Direction::Inbound } else { Direction::Outbound };
        for hole in self.points[point].reader.holes() {
            let (from, to) = (self.on_a(point, hole.from), self.on_a(point, hole.to));
            let shift = |time: i64| self.coarse.from_a(other, time);
            let (start, end) = (shift(from).saturating_add(GUARD), shift(to).saturating_sub(GUARD));
            let activity = &self.points[other].activity;
            let passed = || {
                let series = activity.series(through);
                series.packets_between(start, end.saturating_sub(series.width())) >= PROOF
                    && activity.silence_within(through, start, end) < end.saturating_sub(start)
            };
            if hole.proven() || passed() {
                self.overlap.add_hole(point, (from, to));
            }
        }
    }

    /// Follows a drifting clock, so that a long capture stays in step.
    pub(super) fn follow_clock(&mut self) {
        /// Smaller errors do not matter to the matching.
        const NOTICEABLE: i64 = 50 * MILLISECOND;
        let latest = self.shards.iter().filter_map(|shard| shard.delays.latest()).max_by_key(|latest| latest.0);
        let Some((start, ..)) = latest else { return };
        let (mut out, mut back) = (i64::MAX, i64::MIN);
        for (at, low, high) in self.shards.iter().filter_map(|shard| shard.delays.latest()) {
            if at >= start - SECOND {
                (out, back) = (out.min(low), back.max(high));
            }
        }
        if out == i64::MAX || back == i64::MIN {
            return;
        }
        let middle = back + (out - back) / 2;
        if middle.abs_diff(self.coarse.at(start)) > NOTICEABLE as u64 {
            self.coarse = Coarse { offset: middle, reference: start, ..self.coarse };
            self.steady = false;
        }
    }
}
