//! Several files of one point, read as one capture: the files of a ring buffer (`tcpdump -C`, `-G`, `-W`, dumpcap `-b`).
//!
//! The files are read by the time of their first records, whatever their names say: a ring that has gone round has its
//! newest file in the middle. Frames are counted through the whole set, so that one number names a frame everywhere in
//! the analysis; [`Files::place`] tells file and number for the report. Files that overlap in time (one for each member
//! of a bond, say) are merged by time stamp, as mergecap does.
//!
//! - `gather`, `number`: which files make up a set, in which order, and what is missing of it
//! - `members`, `hole`: one file after the other, and the times between them
//! - `merge`: files that overlap
//! - `files`: the names of frames
//! - `sum`: what the files say of themselves

mod files;
mod gather;
mod hole;
mod members;
mod merge;
mod number;
mod sum;

pub use self::files::Files;
pub use self::hole::Hole;

use self::gather::select;
use self::members::Members;
use self::merge::Merged;
use self::sum::add;
use super::{CaptureReader, CaptureSummary, Interface, Mark, Next, Only, Record, Steps, expand};
use crate::Error;
use crate::report::Problem;
use std::io::Read;
use std::path::PathBuf;

/// Reads the records of one point in time order of its files; of a single file, exactly as [`CaptureReader`] does.
pub struct CaptureSet {
    current: CaptureReader,
    /// None for a single file.
    set: Option<Box<Members>>,
    files: Files,
    /// Files that were left out.
    left_out: Vec<Problem>,
    /// Whether records are given as they stand in a single file, which is all that most captures need.
    plain: bool,
    /// What the capture's clock was set by while it ran, to be undone.
    steps: Steps,
    /// The last frame read.
    last_frame: u32,
}

impl CaptureSet {
    /// Opens what the names stand for: files, directories of files, patterns; `-` alone is standard input. Files of a set
    /// that cannot be read or hold no packets are left out and named in the problems.
    pub fn open(paths: &[PathBuf], only: Option<&Only>) -> Result<Self, Error> {
        let files = expand(paths)?;
        match files.as_slice() {
            [] => Err(Error::Usage("no capture is named".into())),
            [file] => Self::single(CaptureReader::open(file)?, only, file.display().to_string()),
            several => Self::several(several, only),
        }
    }

    /// Reads from anything; `name` is for messages.
    pub fn from_reader(name: &str, reader: Box<dyn Read + Send>, only: Option<&Only>) -> Result<Self, Error> {
        Self::single(CaptureReader::from_reader(name, reader)?, only, name.to_owned())
    }

    fn single(reader: CaptureReader, only: Option<&Only>, name: String) -> Result<Self, Error> {
        let current = select(reader, only)?;
        let files = Files::of(name);
        Ok(Self {
            current,
            set: None,
            files,
            left_out: Vec::new(),
            plain: true,
            steps: Steps::default(),
            last_frame: 0,
        })
    }
    /// Gives the times of records as if the clock had not been set while the capture ran; to be said before the first
    /// record is read.
    #[must_use]
    pub fn undo(mut self, steps: Steps) -> Self {
        self.plain = self.set.is_none() && steps.is_empty();
        self.steps = steps;
        self
    }

    /// The next record if its time is below `until`; [`Next::Later`] and [`Next::End`] are final only once
    /// [`turn`](Self::turn) has said so.
    #[inline]
    pub fn next(&mut self, until: i64) -> Next<'_> {
        if self.plain {
            return self.current.next(until);
        }
        self.next_of_any(until)
    }

    /// Shows the next records below `until`, at most `most`; how many there were. Where it is fewer,
    /// [`next`](Self::next) gives no record.
    #[inline]
    pub fn each(&mut self, until: i64, most: usize, mut show: impl FnMut(&Record<'_>)) -> usize {
        if self.plain {
            return self.current.each(until, most, show);
        }
        let mut count = 0;
        while count < most {
            let Next::Record(record) = self.next_of_any(until) else { break };
            show(&record);
            count += 1;
        }
        count
    }

    fn next_of_any(&mut self, until: i64) -> Next<'_> {
        let until = self.stamped(until);
        let Self { current, set, files, left_out, steps, last_frame, .. } = self;
        let next = match set.as_deref_mut() {
            None => current.next(until),
            Some(set) => set.next(current, files, left_out, until),
        };
        match next {
            Next::Record(record) => {
                *last_frame = record.frame;
                Next::Record(Record { time: steps.undo(record.frame, record.time), ..record })
            }
            other => other,
        }
    }

    /// A moment as the clock showed it, at the frame that comes next.
    fn stamped(&self, time: i64) -> i64 {
        match time {
            i64::MIN | i64::MAX => time,
            _ => time.saturating_add(self.steps.offset(self.last_frame.saturating_add(1))),
        }
    }

    /// To be called when [`next`](Self::next) gave no record: opens the next file when it is its turn. Whether another
    /// call of `next` may give a record.
    #[cold]
    pub fn turn(&mut self, until: i64) -> bool {
        let until = self.stamped(until);
        let Some(set) = self.set.as_deref_mut() else { return false };
        if !set.merged.is_empty() {
            return false;
        }
        if matches!(self.current.next(i64::MIN), Next::Later) {
            // It goes on beyond the first record of the next file, or nobody wants to know yet.
            let overlaps = set.waiting.front().is_some_and(|next| next.first < until);
            return overlaps && set.merge(&mut self.current, &mut self.files, &mut self.left_out);
        }
        if !set.finished {
            set.finished = true;
            set.finish(&self.current, &self.files.names[set.file]);
        }
        let before = self.files.names[set.file].clone();
        let Some((reader, next)) = set.open(&mut self.files, &mut self.left_out) else { return false };
        set.file = self.files.names.len() - 1;
        let after = self.files.names[set.file].clone();
        set.note(Hole { before, after, from: set.last_time, to: next.first, missing: next.missing, cut: set.cut });
        self.current = reader;
        set.finished = false;
        (set.first_time, set.last_own, set.records) = (next.first, 0, 0);
        set.base = i64::from(set.last_frame);
        self.files.turn_to(set.last_frame.saturating_add(1), set.file, 1);
        true
    }

    /// Whether reading ended because the analysis is to end, not because the stream did.
    pub(crate) fn gave_up(&self) -> bool {
        self.current.gave_up()
    }

    /// Bytes of the stored input consumed so far, for a progress bar.
    pub fn position(&self) -> u64 {
        self.sum(|set| set.done_position, CaptureReader::position)
    }

    /// Bytes of the capture consumed so far, decompressed.
    pub fn decoded_bytes(&self) -> u64 {
        self.sum(|set| set.done_decoded, CaptureReader::decoded_bytes)
    }

    fn sum(&self, done: fn(&Members) -> u64, of: fn(&CaptureReader) -> u64) -> u64 {
        match self.set.as_deref() {
            None => of(&self.current),
            Some(set) if !set.merged.is_empty() => {
                let reader = |merged| Merged::reader(merged, &self.current);
                done(set) + set.merged.iter().map(reader).map(of).sum::<u64>()
            }
            Some(set) if set.finished => done(set),
            Some(set) => done(set) + of(&self.current),
        }
    }

    /// Size of the stored input, when it is files.
    pub fn input_size(&self) -> Option<u64> {
        match self.set.as_deref() {
            None => self.current.input_size(),
            Some(set) => Some(set.size),
        }
    }

    /// Where reading stands, in a file that can be read on from there.
    pub fn mark(&self) -> Option<Mark> {
        let place = self.current.place()?;
        let decoded = self.decoded_bytes();
        let Some(set) = self.set.as_deref() else {
            let frame = u32::try_from(place.frames()).unwrap_or(u32::MAX);
            return Some(Mark { frame, time: place.time(), decoded, file: 0, base: 0, place });
        };
        let plain = set.merged.is_empty() && !set.finished;
        let (frame, time) = (set.last_frame, set.last_time);
        plain.then_some(Mark { frame, time, decoded, file: set.file, base: set.base, place })
    }

    /// Goes on from a mark of the same capture that lies further on; false where that is not possible, and then nothing
    /// more can be read.
    pub fn skip_to(&mut self, mark: &Mark) -> bool {
        if let Some(set) = self.set.as_deref_mut() {
            while set.file < mark.file {
                let Some((reader, next)) = set.open(&mut self.files, &mut self.left_out) else { return false };
                self.current = reader;
                (set.file, set.first_time, set.finished) = (self.files.names.len() - 1, next.first, false);
            }
            (set.base, set.last_frame, set.last_time) = (mark.base, mark.frame, mark.time);
        }
        self.last_frame = mark.frame;
        self.current.skip_to(&mark.place)
    }

    /// Place of the file of the last record in the names of [`files`](Self::files).
    pub fn file(&self) -> usize {
        self.set.as_deref().map_or(0, |set| set.file)
    }

    /// The interfaces of the file of the last record, as far as they are known.
    pub fn interfaces(&self) -> Vec<Interface> {
        let reader = match self.set.as_deref() {
            Some(set) if !set.merged.is_empty() => {
                set.merged.iter().find(|merged| merged.file == set.file).map(|merged| merged.reader(&self.current))
            }
            _ => Some(&self.current),
        };
        // A file that ended with this record has left its interfaces with those of the set.
        reader.map_or_else(|| self.summary().interfaces, |reader| reader.summary().interfaces)
    }

    /// Names the frames.
    pub fn files(&self) -> &Files {
        &self.files
    }

    /// Times so far in which the capture may not have run.
    pub fn holes(&self) -> &[Hole] {
        self.set.as_deref().map_or(&[], |set| &set.sum.holes)
    }

    /// What is known so far: complete once the end was reached.
    pub fn summary(&self) -> CaptureSummary {
        let mut summary = match self.set.as_deref() {
            None => self.current.summary(),
            Some(set) => {
                let mut sum = set.sum.clone();
                if set.merged.is_empty() && !set.finished {
                    add(&mut sum, self.current.summary(), &self.files.names[set.file]);
                }
                for merged in &set.merged {
                    add(&mut sum, merged.reader(&self.current).summary(), &self.files.names[merged.file]);
                }
                sum
            }
        };
        summary.problems.extend(self.left_out.iter().cloned());
        summary
    }
}
