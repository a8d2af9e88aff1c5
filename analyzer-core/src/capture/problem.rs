//! Damage met while reading one capture: kept as a bounded list, never an abort.

use crate::report::Problem;
use std::fmt;
use std::io;

/// Most problems that are listed; beyond that they are only counted, because a hostile file can have millions.
const MAX_LISTED: usize = 100;

/// The problems of one capture.
pub(super) struct Problems {
    file: String,
    listed: Vec<Problem>,
    unlisted: u64,
    last: (u64, u64),
    truncated_at: Option<u64>,
}

impl Problems {
    /// No problems yet in the capture named `file`.
    pub(super) fn new(file: &str) -> Self {
        Self { file: file.to_owned(), listed: Vec::new(), unlisted: 0, last: (0, 0), truncated_at: None }
    }

    /// The capture's name.
    pub(super) fn file(&self) -> &str {
        &self.file
    }

    /// Adds a problem at a byte `offset` of the (decompressed) capture, at the 1-based `frame`.
    pub(super) fn note(&mut self, offset: u64, frame: u64, message: fmt::Arguments<'_>) {
        if self.listed.len() < MAX_LISTED {
            self.listed.push(Problem { file: self.file.clone(), offset, frame, message: message.to_string() });
        } else {
            self.unlisted += 1;
            self.last = (offset, frame);
        }
    }

    /// Says that the capture ends at `end` in the middle of something (`what`, a record or a block) that starts at
    /// `offset`, or that `failure` stopped reading there.
    pub(super) fn cut(
        &mut self,
        what: &str,
        frame: u64,
        offset: u64,
        end: u64,
        size: Option<u64>,
        failure: Option<&io::Error>,
    ) {
        self.truncated_at = Some(end);
        let place = Place { what, offset, frame };
        let there = Grouped(end - offset);
        if let Some(error) = failure {
            self.note(offset, frame, format_args!("{place}: reading stopped at byte {}: {error}", Grouped(end)));
        } else if let Some(size) = size {
            self.note(
                offset,
                frame,
                format_args!("{place}: cut off, {there} of its {} bytes are there", Grouped(size)),
            );
        } else {
            self.note(offset, frame, format_args!("{place}: cut off in its header, {there} bytes are there"));
        }
    }

    /// Says that reading stopped for good at `offset`, before the end.
    pub(super) fn stopped_at(&mut self, offset: u64) {
        self.truncated_at = Some(offset);
    }

    /// Where the capture was cut, or where reading had to stop.
    pub(super) fn truncated_at(&self) -> Option<u64> {
        self.truncated_at
    }

    /// The problems in order, with a last one that counts those that are not listed.
    pub(super) fn list(&self) -> Vec<Problem> {
        let mut list = self.listed.clone();
        if self.unlisted > 0 {
            list.push(Problem {
                file: self.file.clone(),
                offset: self.last.0,
                frame: self.last.1,
                message: format!("{} more problems up to here are not listed", Grouped(self.unlisted)),
            });
        }
        list
    }
}

/// `record at byte 81,920 (frame 412)`.
pub(super) struct Place<'a> {
    /// `record` or `block`.
    pub(super) what: &'a str,
    /// Where it starts.
    pub(super) offset: u64,
    /// The frame that it is, or that comes next.
    pub(super) frame: u64,
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at byte {} (frame {})", self.what, Grouped(self.offset), Grouped(self.frame))
    }
}

/// A number with its thousands set apart: `4,294,967,280`.
pub(super) struct Grouped(pub(super) u64);

impl fmt::Display for Grouped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = self.0.to_string();
        for (index, digit) in digits.chars().enumerate() {
            if index > 0 && (digits.len() - index).is_multiple_of(3) {
                f.write_str(",")?;
            }
            write!(f, "{digit}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_thousands() {
        for (number, text) in [(0, "0"), (999, "999"), (1000, "1,000"), (4_294_967_280, "4,294,967,280")] {
            assert_eq!(Grouped(number).to_string(), text);
        }
    }

    #[test]
    fn the_list_is_bounded_and_the_rest_is_counted() {
        let mut problems = Problems::new("a.pcap");
        for frame in 1..=250 {
            problems.note(frame * 10, frame, format_args!("odd"));
        }
        let list = problems.list();
        assert_eq!(list.len(), MAX_LISTED + 1);
        assert_eq!(list[MAX_LISTED].message, "150 more problems up to here are not listed");
        assert_eq!((list[MAX_LISTED].offset, list[MAX_LISTED].frame), (2500, 250));
    }
}
