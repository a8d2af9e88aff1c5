//! Places from which a capture can be read on: for a second look at a few frames of a large one.

use super::{CaptureReader, Format};
use std::fs::File;
use std::io::{Seek, SeekFrom};

/// Most marks of one capture; then every other one goes, and new ones are twice as far apart.
const MOST: usize = 2048;
/// Bytes between two marks, at first: a few milliseconds of reading.
const DISTANCE: u64 = 1 << 20;

/// A place between two records of a plain file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Place {
    offset: u64,
    frames: u64,
    time: i64,
    /// Interfaces and sections of a pcapng file that were known there: without them it cannot be read on.
    known: (u32, u32),
}

impl Place {
    pub(super) fn frames(&self) -> u64 {
        self.frames
    }

    pub(super) fn time(&self) -> i64 {
        self.time
    }
}

/// A place between two records of a capture, which may be of several files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mark {
    /// The last frame before it.
    pub frame: u32,
    /// The time of that frame, in the capture's clock.
    pub time: i64,
    /// Bytes of the capture before it.
    pub(super) decoded: u64,
    pub(super) file: usize,
    pub(super) base: i64,
    pub(super) place: Place,
}

/// Marks of one capture, in order.
#[derive(Clone, Debug, Default)]
pub struct Marks {
    list: Vec<Mark>,
    /// Doublings of the distance.
    doublings: u32,
}

impl Marks {
    /// Takes a mark, if it is far enough from the last one.
    pub fn add(&mut self, mark: Mark) {
        let last = self.list.last().map_or(0, |mark| mark.decoded);
        if mark.decoded < last.saturating_add(DISTANCE << self.doublings) {
            return;
        }
        if self.list.len() == MOST {
            self.doublings += 1;
            let mut place = 0;
            self.list.retain(|_| {
                place += 1;
                place % 2 == 0
            });
        }
        self.list.push(mark);
    }

    /// The last mark with at least `lead` frames between it and a frame.
    pub fn before_frame(&self, frame: u32, lead: u32) -> Option<&Mark> {
        let frame = frame.checked_sub(lead)?;
        self.list[..self.list.partition_point(|mark| mark.frame < frame)].last()
    }

    /// The last mark before a time of the capture's clock.
    pub fn before_time(&self, time: i64) -> Option<&Mark> {
        self.list[..self.list.partition_point(|mark| mark.time < time)].last()
    }
}

impl CaptureReader {
    /// Where reading stands, in a file that can be read on from there.
    pub(super) fn place(&self) -> Option<Place> {
        if self.path.is_none() || self.compression.is_some() {
            return None;
        }
        let (frames, time, known) = match &self.format {
            Format::Pcap(pcap) | Format::PcapOnly(pcap) => (pcap.packets(), pcap.last_time(), (0, 0)),
            Format::PcapNg(pcapng) | Format::PcapNgOnly(pcapng) => pcapng.place(),
        };
        Some(Place { offset: self.input.offset(), frames, time, known })
    }

    /// Goes on from a place further on in the same file; false, and nothing done, where that is not possible.
    pub(super) fn skip_to(&mut self, place: &Place) -> bool {
        let Some(path) = &self.path else { return false };
        let Ok(mut file) = File::open(path) else { return false };
        // The interfaces stand before the first record.
        self.next(i64::MIN);
        let known = match &self.format {
            Format::Pcap(_) | Format::PcapOnly(_) => (0, 0),
            Format::PcapNg(pcapng) | Format::PcapNgOnly(pcapng) => pcapng.place().2,
        };
        if known != place.known || self.compression.is_some() || file.seek(SeekFrom::Start(place.offset)).is_err() {
            return false;
        }
        self.input.resume(Box::new(file), place.offset);
        match &mut self.format {
            Format::Pcap(pcap) | Format::PcapOnly(pcap) => pcap.resume(place.frames, place.time),
            Format::PcapNg(pcapng) | Format::PcapNgOnly(pcapng) => pcapng.resume(place.frames, place.time),
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_stay_few_and_are_found_by_frame_and_time() {
        let mut marks = Marks::default();
        for number in 1..=10_000_u32 {
            let mark = Mark {
                frame: number,
                time: i64::from(number) * 10,
                decoded: u64::from(number) << 20,
                ..Mark::default()
            };
            marks.add(mark);
        }
        assert!(marks.list.len() <= MOST);
        let near = |mark: Option<&Mark>| mark.map_or(0, |mark| mark.frame);
        assert!((4980..4990).contains(&near(marks.before_frame(5000, 10))));
        assert!((4990..5000).contains(&near(marks.before_time(50_000))));
        assert_eq!(near(marks.before_frame(5, 10)), 0);
    }
}
