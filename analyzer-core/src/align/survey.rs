//! A look through the whole of both captures, for when the first reading shows that their clocks are not what they seemed:
//! their heads share nothing, or one of them was set meanwhile.

use super::clock::{Coarse, Match, coarse_offset};
use super::offers::content;
use super::steps::{self, Leaps, Sample};
use crate::capture::{CaptureSet, Steps};
use crate::flow::ingest::Ingest;
use crate::flow::tcp::AT_ONCE;
use crate::packet::row::tcp_flags;
use crate::packet::{Kind, Row};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};

/// What both captures hold of packets that are unlike any other.
pub struct Survey {
    leaps: [Leaps; 2],
    samples: Vec<Sample>,
}

impl Survey {
    /// Reads both captures to their ends, and remembers so many packets of each; nothing when the caller asks to stop.
    pub fn new(readers: [CaptureSet; 2], most: usize, cancel: Option<&AtomicBool>) -> Option<Self> {
        let [a, b] = readers.map(|reader| look(reader, most, cancel));
        let ((a, leaps_a), (b, leaps_b)) = (a?, b?);
        let once = |place: &Place| place.frame != REPEATED;
        let both = a.into_iter().filter_map(|(content, a)| Some((a, *b.get(&content)?)));
        let mut samples: Vec<Sample> = both
            .filter(|(a, b)| once(a) && once(b))
            .map(|(a, b)| Sample { frames: [a.frame, b.frame], times: [a.time, b.time] })
            .collect();
        samples.sort_unstable_by_key(|sample| sample.frames);
        Some(Self { leaps: [leaps_a, leaps_b], samples })
    }

    /// Where the clocks were set.
    pub fn steps(&self) -> [Steps; 2] {
        steps::find(&self.leaps, &self.samples)
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

/// Where a packet stands in its capture.
#[derive(Clone, Copy, Debug)]
struct Place {
    time: i64,
    /// [`REPEATED`] for content that the capture holds more than once.
    frame: u32,
}

/// No frame has this number: they are counted from 1.
const REPEATED: u32 = 0;

/// Packets by content.
type Places = HashMap<u64, Place>;

/// Packets of one capture, and where its clock leaps; nothing when the caller asks to stop. When there are too many, one in a
/// few is remembered, chosen by content so that both captures choose the same.
fn look(reader: CaptureSet, most: usize, cancel: Option<&AtomicBool>) -> Option<(Places, Leaps)> {
    let cancelled = || cancel.is_some_and(|cancel| cancel.load(Ordering::Relaxed));
    let (mut seen, mut leaps, mut mask) = (HashMap::new(), Leaps::default(), 0);
    Ingest::new(reader).scan(&mut |row| {
        leaps.observe(row.frame, row.time);
        let key = content(row);
        if key & mask == 0 && distinctive(row) {
            let place = Place { time: row.time, frame: row.frame };
            let repeats = |first: &mut Place| {
                if !is_double(first.time, row.time) {
                    first.frame = REPEATED;
                }
            };
            seen.entry(key).and_modify(repeats).or_insert(place);
        }
        while seen.len() > most && mask != u64::MAX {
            mask = mask << 1 | 1;
            seen.retain(|key, _| key & mask == 0);
        }
        !cancelled()
    });
    (!cancelled()).then_some((seen, leaps))
}

/// Whether two packets with the same content are one that the capture holds twice (`-i any`, two interfaces in one file), and
/// not one that was sent again.
pub fn is_double(time: i64, other: i64) -> bool {
    time.abs_diff(other) < AT_ONCE as u64
}

/// Whether a packet's content is likely to be its own.
pub fn distinctive(row: &Row) -> bool {
    match row.kind {
        Kind::Tcp => row.seq != 0 && (row.len > 0 || row.ack != 0 || row.flags & tcp_flags::SYN != 0),
        Kind::Udp | Kind::IcmpEcho => row.len >= 16,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::SECOND;
    use std::io::Cursor;

    /// Datagrams of different contents, ten milliseconds apart; from the middle on the clock is ahead by so much.
    fn capture(packets: u32, step: i64) -> CaptureSet {
        let mut bytes = [0xa1b2_3c4d, 0x0004_0002, 0, 0, 65535, 1].map(u32::to_le_bytes).concat();
        for number in 0..packets {
            let time = i64::from(number) * SECOND / 100 + if number >= packets / 2 { step } else { 0 };
            let (seconds, rest) = (1_700_000_000 + time / SECOND, time % SECOND);
            let mut frame = [&[2; 12][..], &[8, 0, 0x45, 0, 0, 60, 0, 0, 0x40, 0, 64, 17, 0, 0]].concat();
            frame.extend([10, 0, 0, 1, 10, 0, 0, 2, 0x9c, 0x40, 0x13, 0x88, 0, 40, 0, 0]);
            frame.extend(number.to_be_bytes().repeat(8));
            let length = frame.len() as u32;
            bytes.extend([seconds as u32, rest as u32, length, length].map(u32::to_le_bytes).concat());
            bytes.extend(frame);
        }
        CaptureSet::from_reader("test", Box::new(Cursor::new(bytes)), None).unwrap()
    }

    #[test]
    fn a_few_packets_of_many_tell_when_a_clock_was_set() {
        const PACKETS: u32 = 20_000;
        let survey = Survey::new([capture(PACKETS, 0), capture(PACKETS, 5 * SECOND)], 500, None).unwrap();
        // Both captures chose the same ones, and no more than asked for.
        assert!((100..=500).contains(&survey.samples.len()), "{}", survey.samples.len());
        assert!(survey.samples.iter().all(|sample| sample.frames[0] == sample.frames[1]));
        let [a, b] = survey.steps();
        assert!(a.is_empty(), "{a:?}");
        assert_eq!(
            b.list().iter().map(|step| (step.frame, step.by)).collect::<Vec<_>>(),
            [(PACKETS / 2 + 1, 5 * SECOND)]
        );
    }
}
