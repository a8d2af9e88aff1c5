//! Which files make up a set, in which order, and which of them are left out.

use super::CaptureSet;
use super::files::Files;
use super::members::{Members, Waiting};
use super::merge::Held;
use super::number::number;
use crate::Error;
use crate::capture::{CaptureReader, CaptureSummary, Only, Steps, is_stream};
use crate::report::Problem;
use std::collections::VecDeque;
use std::path::{Path, PathBuf};

impl CaptureSet {
    pub(super) fn several(paths: &[PathBuf], only: Option<&Only>) -> Result<Self, Error> {
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
        let mut files = Files::of(first.path.display().to_string());
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
}

pub(super) fn select(reader: CaptureReader, only: Option<&Only>) -> Result<CaptureReader, Error> {
    match only {
        Some(only) => reader.select(only),
        None => Ok(reader),
    }
}

/// The first record of a file.
fn probe(path: &Path, only: Option<&Only>) -> Result<Option<Held>, Error> {
    if is_stream(path) {
        return Err(Error::NotACapture {
            path: path.to_owned(),
            reason: "is a pipe or device, which cannot be one of several files".into(),
        });
    }
    let mut reader = select(CaptureReader::open(path)?, only)?;
    let mut held = Held::default();
    Ok(held.take(&mut reader).then_some(held))
}

pub(super) fn problem(path: &Path, message: &str) -> Problem {
    Problem { file: path.display().to_string(), offset: 0, frame: 0, message: message.to_owned() }
}

/// An error without the file's name.
pub(super) fn reason(path: &Path, error: &Error) -> String {
    let text = error.to_string();
    text.strip_prefix(&format!("{}: ", path.display())).unwrap_or(&text).to_owned()
}
