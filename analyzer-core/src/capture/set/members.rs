//! The files of a set in their turn.

use super::files::Files;
use super::gather::{problem, reason, select};
use super::hole::Hole;
use super::merge::{Held, Merged};
use super::sum::add;
use crate::capture::{CaptureReader, CaptureSummary, Next, Only, Record};
use crate::report::Problem;
use crate::time::SECOND;
use std::collections::VecDeque;
use std::path::PathBuf;

/// Most holes between files that are kept: the surest, then the longest.
const MAX_HOLES: usize = 64;

/// A silence between two files that is shorter needs no word.
pub(super) const SILENCE: i64 = SECOND;

/// A silence between two files is out of the ordinary from so many times the usual distance of packets on.
const UNUSUAL: i64 = 50;

/// A file that has not been opened yet.
pub(super) struct Waiting {
    pub(super) path: PathBuf,
    pub(super) first: i64,
    pub(super) size: u64,
    /// Files missing before it, by its number.
    pub(super) missing: u64,
}

/// The files of a set, as far as they are read.
pub(super) struct Members {
    pub(super) waiting: VecDeque<Waiting>,
    pub(super) only: Option<Only>,
    /// What the finished files said.
    pub(super) sum: CaptureSummary,
    pub(super) done_position: u64,
    pub(super) done_decoded: u64,
    pub(super) size: u64,
    /// Place of the current file in the names.
    pub(super) file: usize,
    /// Added to the current file's own frame numbers.
    pub(super) base: i64,
    pub(super) first_time: i64,
    pub(super) last_time: i64,
    pub(super) last_frame: u32,
    /// The current file's own number of its last frame, and its records.
    pub(super) last_own: u32,
    pub(super) records: u64,
    pub(super) finished: bool,
    /// Whether the file that was read to its end last is cut off.
    pub(super) cut: bool,
    /// Files that are read at once because they overlap; empty otherwise.
    pub(super) merged: Vec<Merged>,
    /// The record lent while merging.
    pub(super) lent: Held,
    /// Where the first file began that overlaps another.
    pub(super) overlap_since: i64,
    pub(super) noted_overlap: bool,
}

impl Members {
    /// The next record of the files in turn.
    pub(super) fn next<'a>(
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
    pub(super) fn open(&mut self, files: &mut Files, left_out: &mut Vec<Problem>) -> Option<(CaptureReader, Waiting)> {
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
    pub(super) fn finish(&mut self, reader: &CaptureReader, name: &str) {
        self.done_position += reader.position();
        self.done_decoded += reader.decoded_bytes();
        let summary = reader.summary();
        self.cut = summary.truncated_at.is_some();
        add(&mut self.sum, summary, name);
    }

    pub(super) fn note(&mut self, hole: Hole) {
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
}
