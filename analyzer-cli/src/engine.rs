//! The only file that calls the analysis. Everything else of this crate works on a finished [`Report`].

use analyzer_core::report::Report;
use analyzer_core::{Analysis, Error, Options};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// How far the reading is: bytes read, bytes in all where that is known, packets.
pub(crate) type OnProgress = Box<dyn Fn(u64, Option<u64>, u64) + Send + Sync>;

/// Analyses a pair. A type of its own so that tests can put a finished report in its place.
pub(crate) trait Engine {
    /// Reads both captures and says what happened between them.
    fn analyze(
        &self,
        a: &Path,
        b: &Path,
        options: Options,
        progress: OnProgress,
        cancel: Arc<AtomicBool>,
    ) -> Result<Report, Error>;
}

/// The real one.
pub(crate) struct Core;

impl Engine for Core {
    fn analyze(
        &self,
        a: &Path,
        b: &Path,
        options: Options,
        progress: OnProgress,
        cancel: Arc<AtomicBool>,
    ) -> Result<Report, Error> {
        Analysis::builder()
            .a_path(a)
            .b_path(b)
            .options(options)
            .progress(move |now| progress(now.bytes_read, now.bytes_total, now.packets))
            .cancel(cancel)
            .run()
    }
}
