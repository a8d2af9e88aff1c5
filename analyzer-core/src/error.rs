//! What can stop an analysis. Damage inside a capture does not: it is reported under `inputs.problems`.

use std::path::PathBuf;

/// Why an analysis could not be made at all.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The input could not be opened or read.
    #[error("{}: {source}", path.display())]
    Io {
        /// The input as the user named it.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The input is not a capture.
    #[error("{}: {reason}", path.display())]
    NotACapture {
        /// The input as the user named it.
        path: PathBuf,
        /// What it is instead, as far as it can be told.
        reason: String,
    },
    /// A witness cannot be used.
    #[error("{}:{line}: {reason}", path.display())]
    Witness {
        /// The file as the user named it.
        path: PathBuf,
        /// The line, 1-based.
        line: u64,
        /// What is wrong with it.
        reason: String,
    },
    /// What was asked for could not be written.
    #[error("cannot be written: {0}")]
    Output(#[source] std::io::Error),
    /// The options contradict one another or cannot be carried out.
    #[error("{0}")]
    Usage(String),
    /// The caller asked to stop before anything could be said.
    #[error("interrupted before anything could be said")]
    Cancelled,
}
