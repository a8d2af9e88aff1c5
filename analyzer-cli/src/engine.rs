//! The only file that calls the analysis. Everything else of this crate works on a finished report.

use analyzer_core::evidence::{Trace, Traced};
use analyzer_core::{Analysis, Error, Options, Progress};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crate::inputs::Inputs;

/// Is told how far the reading is.
pub(crate) type OnProgress = Box<dyn Fn(Progress) + Send + Sync>;

/// What is wanted beside the report.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Beside {
    /// Anything at all.
    pub(crate) traced: bool,
    /// The counters of every flow.
    pub(crate) every_flow: bool,
    /// Which frame was matched with which.
    pub(crate) matches: bool,
}

/// Analyses a pair. A type of its own so that tests can put a finished report in its place.
pub(crate) trait Engine {
    /// Reads both captures and says what happened between them.
    fn analyze(
        &self,
        inputs: &Inputs,
        options: Options,
        beside: Beside,
        progress: OnProgress,
        cancel: Arc<AtomicBool>,
    ) -> Result<Traced, Error>;
}

/// The real one.
pub(crate) struct Core;

impl Engine for Core {
    fn analyze(
        &self,
        inputs: &Inputs,
        options: Options,
        beside: Beside,
        progress: OnProgress,
        cancel: Arc<AtomicBool>,
    ) -> Result<Traced, Error> {
        let [a_interface, b_interface] = &inputs.interfaces;
        let mut analysis = Analysis::builder().a_paths(&inputs.a).b_paths(&inputs.b);
        if let Some(interface) = a_interface {
            analysis = analysis.a_interface(interface);
        }
        if let Some(interface) = b_interface {
            analysis = analysis.b_interface(interface);
        }
        let Beside { traced, every_flow, matches } = beside;
        let analysis = analysis.options(options).every_flow(every_flow).matches(matches);
        let analysis = analysis.progress(progress).cancel(cancel);
        if traced {
            return analysis.run_traced();
        }
        Ok(Traced { report: analysis.run()?, trace: Trace::default() })
    }
}
