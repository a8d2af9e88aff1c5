//! A look through the whole of both captures, for when the first reading shows that their clocks are not what they seemed:
//! their heads share nothing, or one of them was set meanwhile.

use super::clock::{Coarse, Match, coarse_offset};
use super::pairing::content;
use super::steps::{self, Leaps, Sample};
use crate::capture::{CaptureSet, Steps};
use crate::flow::ingest::Ingest;
use crate::packet::row::tcp_flags;
use crate::packet::{Kind, Row};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};

/// Most packets remembered of each capture: one in a few, chosen by content so that both captures choose the same.
const MOST: usize = 1 << 18;

/// What both captures hold of packets that are unlike any other.
pub struct Survey {
    leaps: [Leaps; 2],
    samples: Vec<Sample>,
}

impl Survey {
    /// Reads both captures to their ends; nothing when the caller asks to stop.
    pub fn new(readers: [CaptureSet; 2], cancel: Option<&AtomicBool>) -> Option<Self> {
        let [a, b] = readers.map(|reader| look(reader, cancel));
        let ((a, leaps_a), (b, leaps_b)) = (a?, b?);
        let both = a.into_iter().filter_map(|(content, a)| Some((a?, (*b.get(&content)?)?)));
        let samples = both.map(|(a, b)| Sample { frames: [a.0, b.0], times: [a.1, b.1] }).collect();
        Some(Self { leaps: [leaps_a, leaps_b], samples })
    }

    /// Where the clocks were set.
    pub fn steps(&self) -> [Steps; 2] {
        steps::find(&self.leaps, self.samples.clone())
    }

    /// B's clock minus A's, once their steps are undone.
    pub fn offset(&self, steps: &[Steps; 2]) -> Option<Coarse> {
        let undone = |sample: &Sample| {
            let [a, b] = [0, 1].map(|point| steps[point].undo(sample.frames[point], sample.times[point]));
            Match { time: a, difference: b.saturating_sub(a), way: 0 }
        };
        coarse_offset(&mut self.samples.iter().map(undone).collect::<Vec<_>>())
    }
}

/// Frame and time of packets by content; none for what a capture holds more than once.
type Places = HashMap<u64, Option<(u32, i64)>>;

/// The packets of one capture, and where its clock leaps; nothing when the caller asks to stop.
fn look(reader: CaptureSet, cancel: Option<&AtomicBool>) -> Option<(Places, Leaps)> {
    let cancelled = || cancel.is_some_and(|cancel| cancel.load(Ordering::Relaxed));
    let (mut seen, mut leaps, mut mask) = (HashMap::new(), Leaps::default(), 0);
    Ingest::new(reader).scan(&mut |row| {
        leaps.observe(row.frame, row.time);
        let key = content(row);
        if key & mask == 0 && distinctive(row) {
            seen.entry(key).and_modify(|place| *place = None).or_insert(Some((row.frame, row.time)));
        }
        if seen.len() > MOST {
            mask = mask << 1 | 1;
            seen.retain(|key, _| key & mask == 0);
        }
        !cancelled()
    });
    (!cancelled()).then_some((seen, leaps))
}

/// Whether a packet's content is likely to be its own.
pub fn distinctive(row: &Row) -> bool {
    match row.kind {
        Kind::Tcp => row.seq != 0 && (row.len > 0 || row.ack != 0 || row.flags & tcp_flags::SYN != 0),
        Kind::Udp | Kind::IcmpEcho => row.len >= 16,
        _ => false,
    }
}
