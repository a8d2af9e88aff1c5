//! The way through, window by window: reads both captures in step, pairs, matches.

use super::Progress;
use super::lives::{IDLE_TIME, MAX_CLOSED};
use crate::align::clock::{Coarse, Match, Overlap, coarse_offset};
use crate::align::matching::{Shard, Window};
use crate::align::offers::content;
use crate::align::pairing::Pairing;
use crate::align::steps;
use crate::align::survey::{distinctive, is_double};
use crate::capture::{CaptureSet, Marks};
use crate::detect::{Detector, Finished};
use crate::error::Error;
use crate::evidence::{FlowStats, Matches};
use crate::facts::{GivenUp, Room, Series, Tally};
use crate::flow::SHARDS;
use crate::flow::ingest::{Ingest, Stop};
use crate::flow::table::fingerprint;
use crate::hash::Hashed;
use crate::packet::row::bits;
use crate::point::{Direction, Point};
use crate::time::{MILLISECOND, Moment, SECOND};
use rayon::prelude::*;
use std::sync::atomic::{AtomicBool, Ordering};

/// Bytes of each capture that are looked at before anything is decided.
const PEEK: u64 = 1 << 20;
/// Bytes of the first window; windows double from there, so that flows are paired before much is held for them.
const FIRST_WINDOW: u64 = 128 << 10;
/// Time of the first window; it grows or shrinks from there to what holds a window's bytes.
const FIRST_STEP: i64 = MILLISECOND;
/// Windows that a burst may fill before it is cut by bytes rather than by time.
const MOST: u64 = 4;

/// An analysis under way.
pub(super) struct Engine<'a> {
    pub(super) points: [Ingest; 2],
    pub(super) shards: Vec<Shard>,
    pub(super) pairing: Pairing,
    pub(super) overlap: Overlap,
    /// The time asked for, on A's clock.
    pub(super) bounds: Option<(i64, i64)>,
    /// Up to where both captures had been read when the caller asked to stop.
    pub(super) interrupted: Option<i64>,
    pub(super) coarse: Coarse,
    /// Whether `coarse` has been the same throughout.
    pub(super) steady: bool,
    pub(super) closed: std::collections::VecDeque<(u32, u32, i64)>,
    pub(super) finished: Vec<Finished>,
    pub(super) idle_time: i64,
    /// The detectors of the caller.
    pub(super) detectors: &'a [Box<dyn Detector>],
    pub(super) finished_count: u64,
    pub(super) finished_paired: u64,
    /// How much may be kept.
    pub(super) room: Room,
    /// What was not.
    pub(super) given_up: GivenUp,
    /// Whether `flows` is asked for.
    pub(super) every_flow: bool,
    /// Every finished flow in numbers, up to a bound.
    pub(super) flows: Vec<FlowStats>,
    /// Where the captures can be read on from.
    pub(super) marks: [Marks; 2],
    /// The frames that matched, if asked for.
    pub(super) matches: Option<Matches>,
    pub(super) progress: Option<&'a (dyn Fn(Progress) + Send + Sync)>,
    pub(super) cancel: Option<&'a AtomicBool>,
}

impl<'a> Engine<'a> {
    pub(super) fn new(
        readers: [CaptureSet; 2],
        room: Room,
        progress: Option<&'a (dyn Fn(Progress) + Send + Sync)>,
        cancel: Option<&'a AtomicBool>,
        every_flow: bool,
    ) -> Self {
        Self {
            points: readers.map(|reader| {
                let mut point = Ingest::new(reader);
                point.traffic = every_flow.then(Series::default);
                point
            }),
            shards: (0..SHARDS).map(|_| Shard::new(&room)).collect(),
            pairing: Pairing::new(&room),
            overlap: Overlap::default(),
            bounds: None,
            interrupted: None,
            coarse: Coarse::default(),
            steady: true,
            closed: std::collections::VecDeque::new(),
            finished: Vec::new(),
            idle_time: IDLE_TIME,
            detectors: &[],
            finished_count: 0,
            finished_paired: 0,
            room,
            given_up: GivenUp::default(),
            every_flow,
            flows: Vec::new(),
            marks: Default::default(),
            matches: None,
            progress,
            cancel,
        }
    }

    /// Whether the captures contradict each other in a way that a clock explains which was set meanwhile: one goes back
    /// in time; or packets left the host that had not entered it; or packets are missing, and as if in their place there
    /// are some beyond the end of the other capture.
    pub(super) fn doubts_the_clocks(&self) -> bool {
        /// Fewest such packets, and their share of those matched: a capture that drops packets may lead here too, and then
        /// nothing but time is lost.
        const FEWEST: u64 = 2;
        const SHARE: u64 = 200;
        let back = self.points.iter().any(|point| point.set_back.is_some_and(|(_, by)| by >= steps::SMALLEST));
        let many = FEWEST.max(self.matched() / SHARE);
        let unmatched = |point: fn(Direction) -> Point| -> u64 {
            let of = |tally: &Tally| Direction::BOTH.map(|direction| tally.unmatched(direction, point(direction)));
            self.shards.iter().flat_map(|shard| of(&shard.tally)).sum()
        };
        let beyond = || -> u64 {
            let finished = self.finished.iter().map(|flow| &flow.facts);
            let all = self.shards.iter().flat_map(|shard| &shard.facts).chain(finished);
            all.flat_map(|facts| facts.more.iter().flatten().flatten()).map(|more| u64::from(more.edge)).sum()
        };
        back || unmatched(Direction::exit) >= many || (unmatched(Direction::entry) >= many && beyond() >= many)
    }

    pub(super) fn keep_matches(&mut self) {
        self.matches = Some(Matches::default());
        for shard in &mut self.shards {
            shard.matches = Some(Vec::new());
        }
    }

    pub(super) fn matched(&self) -> u64 {
        self.shards.iter().map(|shard| shard.tally.matched[0]).sum()
    }

    pub(super) fn run(mut self, coarse: Option<Coarse>, time: [Option<Moment>; 2]) -> Result<Self, Error> {
        self.coarse = match coarse {
            Some(coarse) => coarse,
            None => self.head_offset().unwrap_or_default(),
        };
        if time != [None, None] {
            self.bound(time);
            if coarse.is_none() {
                self.coarse = self.head_offset().unwrap_or(self.coarse);
            }
        }
        let mut until = self
            .points
            .iter()
            .enumerate()
            .filter_map(|(point, ingest)| ingest.first_time().map(|time| self.on_a(point, time)))
            .min()
            .unwrap_or(0);
        let (mut step, mut target) = (FIRST_STEP, FIRST_WINDOW);
        let mut last_look = i64::MIN;
        let mut common = None;
        loop {
            if self.cancel.is_some_and(|cancel| cancel.load(Ordering::Relaxed)) && !self.draining() {
                self.interrupt(common.ok_or(Error::Cancelled)?);
            }
            for (marks, point) in self.marks.iter_mut().zip(&self.points) {
                point.reader.mark().into_iter().for_each(|mark| marks.add(mark));
            }
            if self.points.iter().all(|point| point.stop != Stop::Bytes) {
                until = until.saturating_add(step);
            }
            let before = [0, 1].map(|point| self.points[point].reader.decoded_bytes());
            let limits = [until, self.coarse.from_a(1, until)];
            let [a, b] = &mut self.points;
            rayon::join(|| a.window(limits[0], MOST * target), || b.window(limits[1], MOST * target));

            let read_to = [0, 1].map(|point| match self.points[point].stop {
                Stop::Time => until,
                // Nothing has come yet.
                Stop::Bytes if self.points[point].reached == i64::MIN => i64::MIN,
                Stop::Bytes => self.on_a(point, self.points[point].reached),
                Stop::End => i64::MAX,
            });
            let horizon = read_to[0].min(read_to[1]);
            let ended = self.points.iter().all(|point| point.stop == Stop::End);
            self.update_overlap();
            self.pairing.run(&mut self.points, &mut self.shards, self.coarse, horizon);
            if ended {
                self.pairing.finish(&mut self.points, &mut self.shards);
            }
            self.account();
            self.update_overlap();
            self.match_window(read_to);
            self.tell();
            if ended {
                break;
            }
            common = (horizon > i64::MIN).then_some(horizon);
            self.follow_clock();
            if horizon.saturating_sub(last_look) >= 10 * SECOND || self.closed.len() > MAX_CLOSED {
                last_look = horizon;
                self.retire(horizon);
            }
            if self.pairing.live > self.room.pairs {
                self.relieve();
            }
            // The next window's time is chosen so that the busier capture reads about the bytes of a window.
            let read = (0..2).map(|point| self.points[point].reader.decoded_bytes() - before[point]).max().unwrap_or(0);
            if read == 0 {
                step = step.saturating_mul(2);
            } else {
                let factor = (target as f64 / read as f64).clamp(0.5, 2.0);
                step = ((step as f64 * factor) as i64).max(MILLISECOND / 10);
            }
            target = (target * 2).min(self.room.window);
        }
        self.end_before_the_other();
        let overlap = self.overlap;
        self.shards.par_iter_mut().for_each(|shard| shard.finish(&overlap));
        Ok(self)
    }

    /// Whether a stream that nobody waits for any more has given packets that are still to be taken.
    fn draining(&self) -> bool {
        self.points.iter().any(|point| point.stop == Stop::Time && point.reader.gave_up())
    }

    /// Takes both captures for ended, what is common to them at this time of A's clock.
    #[cold]
    pub(super) fn interrupt(&mut self, common: i64) {
        self.interrupted = Some(common);
        for point in &mut self.points {
            point.stop = Stop::End;
        }
    }

    /// Leaves out what is before or after the time asked for.
    pub(super) fn bound(&mut self, time: [Option<Moment>; 2]) {
        self.points.iter_mut().for_each(|point| point.peek(1));
        let firsts = [0, 1].map(|point| self.points[point].first_time().map(|time| self.on_a(point, time)));
        // Times of day and spans are of the inner capture; when it is empty there is nothing to find anyway.
        let first = firsts[0].or(firsts[1]).unwrap_or(0);
        let [from, to] = time.map(|moment| moment.map(|moment| moment.resolve(first)));
        let (from, to) = (from.unwrap_or(i64::MIN), to.unwrap_or(i64::MAX));
        self.bounds = Some((from, to));
        for point in 0..2 {
            let coarse = self.coarse;
            let shifted =
                |time: i64| if matches!(time, i64::MIN | i64::MAX) { time } else { coarse.from_a(point, time) };
            self.points[point].bound(shifted(from), shifted(to));
        }
    }

    /// B's clock minus A's by packets with the same content at the head of both captures.
    pub(super) fn head_offset(&mut self) -> Option<Coarse> {
        /// What is known of a content.
        struct Known {
            /// When and which way it passed A; nothing for what repeats, which says nothing of when.
            first: Option<(i64, u32)>,
            /// How often B has it.
            seen: u32,
            /// When B had it last.
            last: i64,
        }
        let mut known: Hashed<Known> = Hashed::default();
        let mut flows: Hashed<u32> = Hashed::default();
        let [a, b] = &mut self.points;
        rayon::join(|| a.peek(PEEK), || b.peek(PEEK));
        for (row, key) in a.ahead().filter(|(row, _)| distinctive(row)) {
            let next = flows.len() as u32;
            let way = *flows.entry(fingerprint(key)).or_insert(next) * 2 + u32::from(row.has(bits::FROM_HIGH));
            known
                .entry(content(row))
                .and_modify(|known| known.first = known.first.filter(|(time, _)| is_double(*time, row.time)))
                .or_insert(Known { first: Some((row.time, way)), seen: 0, last: 0 });
        }
        let mut pairs = Vec::new();
        for (row, _) in b.ahead().filter(|(row, _)| distinctive(row)) {
            let key = content(row);
            let Some(Known { first, seen, last }) = known.get_mut(&key) else { continue };
            let before = std::mem::replace(last, row.time);
            if *seen > 0 && is_double(before, row.time) {
                continue;
            }
            *seen += 1;
            if let Some((time, way)) = *first {
                pairs.push((key, Match { time, difference: row.time.saturating_sub(time), way }));
            }
        }
        let once = |(key, found): (u64, Match)| (known.get(&key)?.seen == 1).then_some(found);
        let mut matches: Vec<Match> = pairs.into_iter().filter_map(once).collect();
        coarse_offset(&mut matches)
    }

    pub(super) fn on_a(&self, point: usize, time: i64) -> i64 {
        self.coarse.on_a(point, time)
    }

    /// Accounts the packets of a window over time.
    fn account(&mut self) {
        /// Packets that take as long as it takes to wake a thread (measured: some 20 µs).
        const FEW: usize = 8 * 1024;
        let [a, b] = &mut self.points;
        if a.batch.marks.len().min(b.batch.marks.len()) < FEW {
            a.account();
            b.account();
        } else {
            rayon::join(|| a.account(), || b.account());
        }
    }

    pub(super) fn match_window(&mut self, read_to: [i64; 2]) {
        let (a, b) = (&self.points[0].batch, &self.points[1].batch);
        let (coarse, overlap) = (self.coarse, &self.overlap);
        self.shards.par_iter_mut().enumerate().for_each(|(number, shard)| {
            shard.run(&Window {
                rows: [&a.rows[number], &b.rows[number]],
                details: [&a.details, &b.details],
                coarse,
                read_to,
                overlap,
            });
        });
        for shard in 0..SHARDS {
            for (slot, at) in std::mem::take(&mut self.shards[shard].closed) {
                let pair = slot * SHARDS as u32 + shard as u32;
                self.closed.push_back((pair, self.pairing.members[pair as usize].serial, at));
            }
            if let (Some(all), Some(own)) = (&mut self.matches, &mut self.shards[shard].matches) {
                own.drain(..).for_each(|frames| all.note(frames));
            }
        }
    }

    pub(super) fn tell(&self) {
        if let Some(progress) = self.progress {
            let [a, b] = &self.points;
            progress(Progress {
                bytes_read: a.reader.position() + b.reader.position(),
                bytes_total: a.reader.input_size().zip(b.reader.input_size()).map(|(a, b)| a + b),
                packets: a.packets + b.packets,
            });
        }
    }
}
