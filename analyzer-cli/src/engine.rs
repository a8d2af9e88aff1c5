//! The only file that calls the analysis. Everything else of this crate works on a finished [`Report`].

use analyzer_core::evidence::Traced;
use analyzer_core::{Analysis, Error, Options, Progress};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// Is told how far the reading is.
pub(crate) type OnProgress = Box<dyn Fn(Progress) + Send + Sync>;

/// Analyses a pair. A type of its own so that tests can put a finished report in its place.
pub(crate) trait Engine {
    /// Reads both captures and says what happened between them; with the counters of every flow if asked for.
    fn analyze(
        &self,
        a: &Path,
        b: &Path,
        options: Options,
        every_flow: bool,
        progress: OnProgress,
        cancel: Arc<AtomicBool>,
    ) -> Result<Traced, Error>;
}

/// The real one.
pub(crate) struct Core;

impl Engine for Core {
    fn analyze(
        &self,
        a: &Path,
        b: &Path,
        options: Options,
        every_flow: bool,
        progress: OnProgress,
        cancel: Arc<AtomicBool>,
    ) -> Result<Traced, Error> {
        let analysis = Analysis::builder().a_path(a).b_path(b).options(options).every_flow(every_flow);
        analysis.progress(progress).cancel(cancel).run_traced()
    }
}
