//! Several files of one point, read as one capture: the files of a ring buffer (`tcpdump -C`, `-G`, `-W`, dumpcap `-b`).
//!
//! The files are read by the time of their first records, whatever their names say: a ring that has gone round has its
//! newest file in the middle. Frames are counted through the whole set, so that one number names a frame everywhere in
//! the analysis; [`Files::place`] tells file and number for the report. Files that overlap in time (one for each member
//! of a bond, say) are merged by time stamp, as mergecap does.

use super::{CaptureReader, CaptureSummary, Interface, Mark, Next, Only, Record, Steps, expand};
use crate::Error;
use crate::report::Problem;
use crate::time::SECOND;
use std::collections::VecDeque;
use std::io::Read;
use std::path::{Path, PathBuf};

/// Most places at which the merged order turns to another file. Beyond them frames are named by their number in the
/// merged order: 16 MB that no ring buffer ever needs.
const MAX_RUNS: usize = 1 << 20;

/// Most holes between files that are kept: the surest, then the longest.
const MAX_HOLES: usize = 64;

/// A silence between two files that is shorter needs no word.
const SILENCE: i64 = SECOND;

/// A silence between two files is out of the ordinary from so many times the usual distance of packets on.
const UNUSUAL: i64 = 50;

/// Most problems listed of a set.
const MAX_PROBLEMS: usize = 1000;

/// A time between two files of a set in which the capture may not have run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hole {
    /// The file before.
    pub before: String,
    /// The file after.
    pub after: String,
    /// Time of the last record before.
    pub from: i64,
    /// Time of the first record after.
    pub to: i64,
    /// Files missing between the two by their numbers.
    pub missing: u64,
    /// Whether the file before is cut off.
    pub cut: bool,
}

impl Hole {
    /// Whether the files themselves show that records are missing; else it may be a silence.
    pub fn proven(&self) -> bool {
        self.missing > 0 || self.cut
    }

    fn length(&self) -> i64 {
        self.to.saturating_sub(self.from)
    }
}

/// Names the frames of a set.
#[derive(Clone, Debug, Default)]
pub struct Files {
    names: Vec<String>,
    /// Where the numbers of the set turn to another file, by the set's number.
    runs: Vec<Run>,
    /// From this number on, frames have no other name.
    unnamed: Option<u32>,
}

#[derive(Clone, Copy, Debug)]
struct Run {
    frame: u32,
    file: u32,
    own: u32,
}

impl Files {
    /// File names in reading order.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Whether a frame needs a file's name beside its number.
    pub fn is_set(&self) -> bool {
        self.names.len() > 1
    }

    /// The file of a frame and its number there; none for a capture of one file, where numbers are those of the file.
    pub fn place(&self, frame: u32) -> Option<(&str, u32)> {
        if !self.is_set() || self.unnamed.is_some_and(|unnamed| frame >= unnamed) {
            return None;
        }
        let run = self.runs[..self.runs.partition_point(|run| run.frame <= frame)].last()?;
        Some((self.names.get(run.file as usize)?, run.own + (frame - run.frame)))
    }

    /// The number in the set of a frame of a file; of a capture of one file, the number as it is.
    pub fn frame(&self, file: Option<&str>, own: u32) -> u32 {
        let Some(file) = file.filter(|_| self.is_set()) else { return own };
        let ends = self.runs.iter().skip(1).map(|run| run.frame).chain([self.unnamed.unwrap_or(u32::MAX)]);
        let own_of = |run: &Run, end: u32| {
            let place = own.checked_sub(run.own)?.checked_add(run.frame)?;
            let named = self.names.get(run.file as usize).is_some_and(|name| name == file);
            (named && place < end).then_some(place)
        };
        self.runs.iter().zip(ends).find_map(|(run, end)| own_of(run, end)).unwrap_or(own)
    }

    fn turn_to(&mut self, frame: u32, file: usize, own: u32) {
        if self.runs.len() < MAX_RUNS {
            self.runs.push(Run { frame, file: file as u32, own });
        } else {
            self.unnamed.get_or_insert(frame);
        }
    }
}

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

/// A file that has not been opened yet.
struct Waiting {
    path: PathBuf,
    first: i64,
    size: u64,
    /// Files missing before it, by its number.
    missing: u64,
}

/// A record that waits for its turn, with its data copied.
#[derive(Default)]
struct Held {
    time: i64,
    frame: u32,
    wirelen: u32,
    interface: u16,
    link_type: super::LinkType,
    fcs_len: u8,
    data: Vec<u8>,
}

/// A file that overlaps others.
struct Merged {
    /// None for the one that is the set's current reader.
    reader: Option<CaptureReader>,
    file: usize,
    held: Held,
}

impl Merged {
    fn reader<'a>(&'a self, current: &'a CaptureReader) -> &'a CaptureReader {
        self.reader.as_ref().unwrap_or(current)
    }
}

struct Members {
    waiting: VecDeque<Waiting>,
    only: Option<Only>,
    /// What the finished files said.
    sum: CaptureSummary,
    done_position: u64,
    done_decoded: u64,
    size: u64,
    /// Place of the current file in the names.
    file: usize,
    /// Added to the current file's own frame numbers.
    base: i64,
    first_time: i64,
    last_time: i64,
    last_frame: u32,
    /// The current file's own number of its last frame, and its records.
    last_own: u32,
    records: u64,
    finished: bool,
    /// Whether the file that was read to its end last is cut off.
    cut: bool,
    /// Files that are read at once because they overlap; empty otherwise.
    merged: Vec<Merged>,
    /// The record lent while merging.
    lent: Held,
    /// Where the first file began that overlaps another.
    overlap_since: i64,
    noted_overlap: bool,
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
        let files = Files { names: vec![name], ..Files::default() };
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

    fn several(paths: &[PathBuf], only: Option<&Only>) -> Result<Self, Error> {
        if paths.iter().any(|path| path == Path::new("-")) {
            return Err(Error::Usage("standard input cannot be one of several files: join them with mergecap".into()));
        }
        let (mut waiting, mut left_out, mut first_error) = (Vec::new(), Vec::new(), None);
        let mut heads: Vec<(i64, u32, Vec<u8>, usize)> = Vec::new();
        for path in paths {
            match probe(path, only) {
                Ok(Some(head)) => {
                    heads.push((head.time, head.wirelen, head.data, waiting.len()));
                    let size = path.metadata().map_or(0, |metadata| metadata.len());
                    waiting.push(Waiting { path: path.clone(), first: head.time, size, missing: 0 });
                }
                Ok(None) => left_out.push(problem(path, "holds no packets; left out")),
                Err(error) => {
                    left_out.push(problem(path, &format!("{}; left out", reason(path, &error))));
                    first_error.get_or_insert(error);
                }
            }
        }
        // The same file twice, compressed and not, say.
        heads.sort();
        let copies: Vec<(usize, usize)> = heads
            .windows(2)
            .filter(|pair| (pair[0].0, pair[0].1, &pair[0].2) == (pair[1].0, pair[1].1, &pair[1].2))
            .map(|pair| (pair[0].3, pair[1].3))
            .collect();
        for &(original, copy) in &copies {
            let same = format!("begins with the same frame as {}: a copy; left out", waiting[original].path.display());
            left_out.push(problem(&waiting[copy].path, &same));
        }
        let mut at = 0..;
        waiting.retain(|_| at.next().is_some_and(|place| !copies.iter().any(|&(_, copy)| copy == place)));
        waiting.sort_by(|one, other| (one.first, &one.path).cmp(&(other.first, &other.path)));
        number(&mut waiting);
        let mut waiting = VecDeque::from(waiting);
        let size = waiting.iter().map(|file| file.size).sum();
        let Some(first) = waiting.pop_front() else {
            if let Some(error) = first_error {
                return Err(error);
            }
            // All of them are captures without packets: as one of them alone.
            let mut single = Self::single(CaptureReader::open(&paths[0])?, only, paths[0].display().to_string())?;
            single.left_out = left_out.split_off(1);
            return Ok(single);
        };
        let mut files = Files { names: vec![first.path.display().to_string()], ..Files::default() };
        files.turn_to(1, 0, 1);
        let set = Members {
            waiting,
            only: only.cloned(),
            sum: CaptureSummary::default(),
            done_position: 0,
            done_decoded: 0,
            size,
            file: 0,
            base: 0,
            first_time: first.first,
            last_time: first.first,
            last_frame: 0,
            last_own: 0,
            records: 0,
            finished: false,
            cut: false,
            merged: Vec::new(),
            lent: Held::default(),
            overlap_since: i64::MAX,
            noted_overlap: false,
        };
        let set = Some(Box::new(set));
        let current = select(CaptureReader::open(&first.path)?, only)?;
        Ok(Self { current, set, files, left_out, plain: false, steps: Steps::default(), last_frame: 0 })
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

impl Members {
    /// The next record of the files in turn.
    fn next<'a>(
        &'a mut self,
        current: &'a mut CaptureReader,
        files: &mut Files,
        left_out: &mut Vec<Problem>,
        until: i64,
    ) -> Next<'a> {
        if !self.merged.is_empty() {
            return self.next_merged(current, files, left_out, until);
        }
        let limit = self.waiting.front().map_or(i64::MAX, |next| next.first);
        match current.next(until.min(limit)) {
            Next::Record(record) => {
                self.last_own = record.frame;
                self.last_frame = (self.base + i64::from(record.frame)).clamp(1, i64::from(u32::MAX)) as u32;
                self.last_time = record.time;
                self.records += 1;
                Next::Record(Record { frame: self.last_frame, ..record })
            }
            other => other,
        }
    }

    /// Opens the next file that can be opened.
    fn open(&mut self, files: &mut Files, left_out: &mut Vec<Problem>) -> Option<(CaptureReader, Waiting)> {
        let mut missing = 0;
        while let Some(mut next) = self.waiting.pop_front() {
            match CaptureReader::open(&next.path).and_then(|reader| select(reader, self.only.as_ref())) {
                Ok(reader) => {
                    files.names.push(next.path.display().to_string());
                    next.missing += missing;
                    return Some((reader, next));
                }
                // It was there a moment ago: a ring that still turns.
                Err(error) => {
                    left_out.push(problem(
                        &next.path,
                        &format!("is no longer what it was: {}", reason(&next.path, &error)),
                    ));
                    missing += next.missing + 1;
                }
            }
        }
        None
    }

    /// Keeps what a file that is read to its end has said.
    fn finish(&mut self, reader: &CaptureReader, name: &str) {
        self.done_position += reader.position();
        self.done_decoded += reader.decoded_bytes();
        let summary = reader.summary();
        self.cut = summary.truncated_at.is_some();
        add(&mut self.sum, summary, name);
    }

    fn note(&mut self, hole: Hole) {
        let usual = self.last_time.saturating_sub(self.first_time) / (self.records.max(2) as i64 - 1);
        let unusual = hole.length() >= SILENCE.max(usual.saturating_mul(UNUSUAL));
        if hole.length() <= 0 || !(hole.proven() || unusual) {
            return;
        }
        let holes = &mut self.sum.holes;
        holes.push(hole);
        if holes.len() > MAX_HOLES {
            let least = (0..holes.len()).min_by_key(|&at| (holes[at].proven(), holes[at].length())).unwrap_or(0);
            holes.remove(least);
        }
    }

    /// Begins to read the current file and the next one at once. Whether there is a next one.
    fn merge(&mut self, current: &mut CaptureReader, files: &mut Files, left_out: &mut Vec<Problem>) -> bool {
        let since = self.waiting.front().map_or(i64::MAX, |next| next.first);
        self.overlap_since = since;
        let mut own = Merged { reader: None, file: self.file, held: Held::default() };
        if !own.held.take(current) {
            return false;
        }
        self.merged.push(own);
        self.join(files, left_out);
        true
    }

    /// Lets the next file join those that are read at once.
    fn join(&mut self, files: &mut Files, left_out: &mut Vec<Problem>) {
        let Some((mut reader, _)) = self.open(files, left_out) else { return };
        let (mut held, file) = (Held::default(), files.names.len() - 1);
        if held.take(&mut reader) {
            self.merged.push(Merged { reader: Some(reader), file, held });
        } else {
            self.finish(&reader, &files.names[file]);
        }
    }

    /// The earliest record of the files that overlap.
    fn next_merged(
        &mut self,
        current: &mut CaptureReader,
        files: &mut Files,
        left_out: &mut Vec<Problem>,
        until: i64,
    ) -> Next<'_> {
        let earliest = |merged: &[Merged]| {
            (0..merged.len()).min_by_key(|&at| (merged[at].held.time, merged[at].file)).unwrap_or(0)
        };
        let mut at = earliest(&self.merged);
        while self.waiting.front().is_some_and(|next| next.first < self.merged[at].held.time) {
            self.join(files, left_out);
            at = earliest(&self.merged);
        }
        if self.merged[at].held.time >= until {
            return Next::Later;
        }
        let alone = self.merged.len() == 1;
        let merged = &mut self.merged[at];
        std::mem::swap(&mut self.lent, &mut merged.held);
        self.last_frame = self.last_frame.saturating_add(1);
        if merged.file != self.file || self.lent.frame != self.last_own + 1 {
            files.turn_to(self.last_frame, merged.file, self.lent.frame);
        }
        (self.file, self.last_own, self.last_time) = (merged.file, self.lent.frame, self.lent.time);
        self.records += 1;
        if alone {
            // From here on it is read as a file of its own again.
            if let Some(reader) = merged.reader.take() {
                *current = reader;
            }
            self.merged.clear();
            self.base = i64::from(self.last_frame) - i64::from(self.last_own);
        } else if !merged.held.take(merged.reader.as_mut().unwrap_or(current)) {
            let ended = self.merged.remove(at);
            self.finish(ended.reader.as_ref().unwrap_or(current), &files.names[ended.file]);
            self.cut = false;
        }
        if self.last_time.saturating_sub(self.overlap_since) > SILENCE && !alone && !self.noted_overlap {
            self.noted_overlap = true;
            left_out.push(Problem {
                file: files.names[self.file].clone(),
                offset: 0,
                frame: u64::from(self.last_own),
                message: "overlaps another file of the set in time; merged by time stamp, as of one point".into(),
            });
        }
        let Held { time, frame: _, wirelen, interface, link_type, fcs_len, ref data } = self.lent;
        Next::Record(Record { time, frame: self.last_frame, wirelen, interface, link_type, fcs_len, data })
    }
}

impl Held {
    /// Takes the next record of a file; whether there was one.
    fn take(&mut self, reader: &mut CaptureReader) -> bool {
        let Next::Record(record) = reader.next(i64::MAX) else { return false };
        self.data.clear();
        self.data.extend_from_slice(record.data);
        (self.time, self.frame, self.wirelen) = (record.time, record.frame, record.wirelen);
        (self.interface, self.link_type, self.fcs_len) = (record.interface, record.link_type, record.fcs_len);
        true
    }
}

fn select(reader: CaptureReader, only: Option<&Only>) -> Result<CaptureReader, Error> {
    match only {
        Some(only) => reader.select(only),
        None => Ok(reader),
    }
}

/// The first record of a file.
fn probe(path: &Path, only: Option<&Only>) -> Result<Option<Held>, Error> {
    if !path.metadata().is_ok_and(|metadata| metadata.is_file() || metadata.is_dir()) && path.exists() {
        return Err(Error::NotACapture {
            path: path.to_owned(),
            reason: "is a pipe or device, which cannot be one of several files".into(),
        });
    }
    let mut reader = select(CaptureReader::open(path)?, only)?;
    let mut held = Held::default();
    Ok(held.take(&mut reader).then_some(held))
}

fn problem(path: &Path, message: &str) -> Problem {
    Problem { file: path.display().to_string(), offset: 0, frame: 0, message: message.to_owned() }
}

/// An error without the file's name.
fn reason(path: &Path, error: &Error) -> String {
    let text = error.to_string();
    text.strip_prefix(&format!("{}: ", path.display())).unwrap_or(&text).to_owned()
}

/// Adds a file's summary to that of the set.
fn add(sum: &mut CaptureSummary, file: CaptureSummary, name: &str) {
    if !sum.format.split(", ").any(|known| known == file.format) {
        let comma = if sum.format.is_empty() { "" } else { ", " };
        sum.format = format!("{}{comma}{}", sum.format, file.format);
    }
    for interface in file.interfaces {
        let Some(known) = sum.interfaces.iter_mut().find(|known| known.same(&interface)) else {
            sum.interfaces.push(interface);
            continue;
        };
        known.packets += interface.packets;
        known.dropped_between = known.dropped_between.saturating_add(interface.dropped_between);
        // The files of a ring repeat what has run up since the capture began.
        known.received = known.received.max(interface.received);
        known.dropped = known.dropped.max(interface.dropped);
        known.dropped_by_os = known.dropped_by_os.max(interface.dropped_by_os);
    }
    sum.packets += file.packets;
    sum.truncated_files.extend(file.truncated_at.map(|offset| (name.to_owned(), offset)));
    let room = MAX_PROBLEMS.saturating_sub(sum.problems.len());
    sum.problems.extend(file.problems.into_iter().take(room));
    for comment in file.comments {
        if !sum.comments.contains(&comment) && sum.comments.len() < 100 {
            sum.comments.push(comment);
        }
    }
    sum.application = sum.application.take().or(file.application);
}

/// The numbers in a file name.
fn numbers(path: &Path) -> (Vec<u64>, String) {
    let name = path.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
    let (mut numbers, mut text, mut digits) = (Vec::new(), String::new(), String::new());
    for c in name.chars().chain(['.']) {
        if c.is_ascii_digit() {
            digits.push(c);
            continue;
        }
        if !digits.is_empty() {
            numbers.push(digits.parse().unwrap_or(u64::MAX));
            digits.clear();
            text.push('0');
        }
        text.push(c);
    }
    (numbers, text)
}

/// Finds the number in the names that goes up by one from file to file, and what is missing of its row. A ring that has
/// gone round starts over, which is no gap.
fn number(files: &mut [Waiting]) {
    let names: Vec<(Vec<u64>, String)> = files.iter().map(|file| numbers(&file.path)).collect();
    let steps = |place: usize| -> Vec<Option<u64>> {
        let step = |pair: &[(Vec<u64>, String)]| {
            let alike = pair[0].1 == pair[1].1;
            let (before, after) = (pair[0].0.get(place)?, pair[1].0.get(place)?);
            alike.then(|| after.checked_sub(*before))?
        };
        names.windows(2).map(step).collect()
    };
    let places = names.iter().map(|name| name.0.len()).max().unwrap_or(0);
    let count = |row: &[Option<u64>], fits: fn(u64) -> bool| row.iter().flatten().filter(|step| fits(**step)).count();
    let rows = (0..places).rev().map(steps).map(|row| {
        // A date may go up by one as often, but it also stands still.
        let quality = (count(&row, |step| step == 1), count(&row, |step| step > 0));
        (quality, row)
    });
    let Some(((regular, _), row)) = rows.max_by_key(|row| row.0) else { return };
    // Two thirds of the steps, so that a single date in the names is not taken for a number.
    if regular < 2 || regular * 3 < row.iter().flatten().count() * 2 {
        return;
    }
    for (file, step) in files.iter_mut().skip(1).zip(row) {
        file.missing = step.unwrap_or(0).saturating_sub(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn missing(names: &[&str]) -> Vec<u64> {
        let mut files: Vec<Waiting> =
            names.iter().map(|name| Waiting { path: PathBuf::from(name), first: 0, size: 0, missing: 0 }).collect();
        number(&mut files);
        files.iter().map(|file| file.missing).collect()
    }

    #[test]
    fn files_missing_from_a_ring_are_counted_by_their_numbers() {
        assert_eq!(missing(&["r3", "r4", "r0", "r1", "r2"]), [0; 5], "a ring that went round");
        assert_eq!(missing(&["r.pcap", "r.pcap1", "r.pcap2", "r.pcap4", "r.pcap5"]), [0, 0, 0, 1, 0]);
        assert_eq!(
            missing(&[
                "x_00007_20260101",
                "x_00008_20260101",
                "x_00009_20260102",
                "x_00013_20260102",
                "x_00014_20260103"
            ]),
            [0, 0, 0, 3, 0]
        );
        assert_eq!(missing(&["x-0100", "x-0200", "x-0500"]), [0; 3], "times are no row");
        assert_eq!(missing(&["a1", "b9"]), [0; 2]);
        assert_eq!(missing(&["r_0_26", "r_2_26", "r_3_27", "r_4_28"]), [0, 1, 0, 0], "the date goes up as often");
    }
}
