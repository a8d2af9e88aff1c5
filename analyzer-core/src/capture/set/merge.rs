//! Files that overlap in time, read at once and merged by time stamp.

use super::files::Files;
use super::members::{Members, SILENCE};
use crate::capture::{CaptureReader, LinkType, Next, Record};
use crate::report::Problem;

/// A record that waits for its turn, with its data copied.
#[derive(Default)]
pub(super) struct Held {
    pub(super) time: i64,
    pub(super) frame: u32,
    pub(super) wirelen: u32,
    pub(super) interface: u16,
    pub(super) link_type: LinkType,
    pub(super) fcs_len: u8,
    pub(super) data: Vec<u8>,
}

/// A file that overlaps others.
pub(super) struct Merged {
    /// None for the one that is the set's current reader.
    pub(super) reader: Option<CaptureReader>,
    pub(super) file: usize,
    pub(super) held: Held,
}

impl Merged {
    pub(super) fn reader<'a>(&'a self, current: &'a CaptureReader) -> &'a CaptureReader {
        self.reader.as_ref().unwrap_or(current)
    }
}

impl Members {
    /// Begins to read the current file and the next one at once. Whether there is a next one.
    pub(super) fn merge(
        &mut self,
        current: &mut CaptureReader,
        files: &mut Files,
        left_out: &mut Vec<Problem>,
    ) -> bool {
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
    pub(super) fn next_merged(
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
    pub(super) fn take(&mut self, reader: &mut CaptureReader) -> bool {
        let Next::Record(record) = reader.next(i64::MAX) else { return false };
        self.data.clear();
        self.data.extend_from_slice(record.data);
        (self.time, self.frame, self.wirelen) = (record.time, record.frame, record.wirelen);
        (self.interface, self.link_type, self.fcs_len) = (record.interface, record.link_type, record.fcs_len);
        true
    }
}
