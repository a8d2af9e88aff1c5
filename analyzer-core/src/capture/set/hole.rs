//! Times between two files in which nothing may have been captured.

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

    pub(super) fn length(&self) -> i64 {
        self.to.saturating_sub(self.from)
    }
}
