//! The way through: reads both captures in step, pairs, matches, and hands the facts to the detectors. The only module
//! that names every layer.
//!
//! - `engine`: window by window
//! - `clocks`: what part of time each capture covers
//! - `lives`: flows that are over
//! - `conclude`: from facts to the report

mod clocks;
mod conclude;
mod engine;
mod lives;

use self::engine::Engine;
use self::lives::IDLE_TIME;
use crate::align::clock::Coarse;
use crate::align::survey::Survey;
use crate::capture::{self, CaptureSet, Live, Only, Steps, is_stream};
use crate::detect::{self, Detector};
use crate::error::Error;
use crate::evidence::Traced;
use crate::facts::Room;
use crate::options::{Options, pool};
use crate::report::Report;
use crate::time::SECOND;
use crate::witness::Witnesses;
use crate::witness::sysctl::UDP_STREAM;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// How far an analysis is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Bytes of both inputs that have been read, as stored.
    pub bytes_read: u64,
    /// Bytes of both inputs, when both sizes are known.
    pub bytes_total: Option<u64>,
    /// Packets of both inputs.
    pub packets: u64,
}

type OnProgress = Box<dyn Fn(Progress) + Send + Sync>;

enum Source {
    Paths(Vec<PathBuf>),
    Reader(String, Box<dyn Read + Send>),
}

impl Source {
    fn open(self, only: Option<&Only>) -> Result<CaptureSet, Error> {
        match self {
            Self::Paths(paths) => CaptureSet::open(&paths, only),
            Self::Reader(name, reader) => CaptureSet::from_reader(&name, reader, only),
        }
    }

    /// The path, when it is the only one.
    fn path(&self) -> Option<&Path> {
        let Self::Paths(paths) = self else { return None };
        if let [path] = paths.as_slice() { Some(path) } else { None }
    }

    /// The paths, when they can be read more than once.
    fn again(&self) -> Option<Vec<PathBuf>> {
        let Self::Paths(paths) = self else { return None };
        (!paths.iter().any(|path| is_stream(path))).then(|| paths.clone())
    }
}

/// Opens what comes through pipes.
fn live(sources: [Source; 2], cancel: Option<&Arc<AtomicBool>>) -> Result<[Source; 2], Error> {
    let [a, b] = Live::open([sources[0].path(), sources[1].path()], cancel.cloned());
    let [source_a, source_b] = sources;
    let one = |source: Source, live: io::Result<Option<Live>>| {
        let Some(path) = source.path().map(Path::to_owned) else { return Ok(source) };
        match live {
            Ok(None) => Ok(source),
            Ok(Some(live)) => Ok(Source::Reader(path.display().to_string(), Box::new(live))),
            Err(source) => Err(Error::Io { path, source }),
        }
    };
    Ok([one(source_a, a)?, one(source_b, b)?])
}

/// An analysis to be run. Made by [`Analysis::builder`].
///
/// ```no_run
/// let report = analyzer_core::Analysis::builder().a_path("virbr0.pcap").b_path("uplink.pcap").run()?;
/// for finding in &report.findings {
///     println!("{}: {}", finding.id, finding.summary);
/// }
/// # Ok::<(), analyzer_core::Error>(())
/// ```
#[derive(Default)]
pub struct Analysis {
    a: Option<Source>,
    b: Option<Source>,
    interfaces: [Option<Only>; 2],
    options: Options,
    progress: Option<OnProgress>,
    cancel: Option<Arc<AtomicBool>>,
    every_flow: bool,
    matches: bool,
    detectors: Vec<Box<dyn Detector>>,
}

impl Analysis {
    /// An analysis with nothing set.
    pub fn builder() -> Self {
        Self::default()
    }

    /// The capture of point A, the inner one; `-` is standard input. A directory stands for the files in it, a pattern
    /// for those that match, as in [`a_paths`](Self::a_paths).
    #[must_use]
    pub fn a_path(self, path: impl AsRef<Path>) -> Self {
        self.a_paths([path])
    }

    /// The capture of point B, the outer one; as [`a_path`](Self::a_path).
    #[must_use]
    pub fn b_path(self, path: impl AsRef<Path>) -> Self {
        self.b_paths([path])
    }

    /// The files of point A, read as one capture by the time of their first records, whatever the order here.
    #[must_use]
    pub fn a_paths(mut self, paths: impl IntoIterator<Item = impl AsRef<Path>>) -> Self {
        self.a = Some(Source::Paths(paths.into_iter().map(|path| path.as_ref().to_owned()).collect()));
        self
    }

    /// The files of point B, as [`a_paths`](Self::a_paths).
    #[must_use]
    pub fn b_paths(mut self, paths: impl IntoIterator<Item = impl AsRef<Path>>) -> Self {
        self.b = Some(Source::Paths(paths.into_iter().map(|path| path.as_ref().to_owned()).collect()));
        self
    }

    /// Takes only what came by this interface for point A: by name, by its number in a pcapng file as Wireshark counts
    /// (from 0), or by the system's number in a capture on `any` (`LINUX_SLL2`). Both points may be of one file then.
    #[must_use]
    pub fn a_interface(mut self, interface: &str) -> Self {
        self.interfaces[0] = Some(Only::new(interface));
        self
    }

    /// Takes only what came by this interface for point B, as [`a_interface`](Self::a_interface).
    #[must_use]
    pub fn b_interface(mut self, interface: &str) -> Self {
        self.interfaces[1] = Some(Only::new(interface));
        self
    }

    /// The capture of point A from any reader; `name` stands for it in messages.
    #[must_use]
    pub fn a_reader(mut self, name: impl Into<String>, reader: impl Read + Send + 'static) -> Self {
        self.a = Some(Source::Reader(name.into(), Box::new(reader)));
        self
    }

    /// The capture of point B from any reader; `name` stands for it in messages.
    #[must_use]
    pub fn b_reader(mut self, name: impl Into<String>, reader: impl Read + Send + 'static) -> Self {
        self.b = Some(Source::Reader(name.into(), Box::new(reader)));
        self
    }

    /// Sets the options.
    #[must_use]
    pub fn options(mut self, options: Options) -> Self {
        self.options = options;
        self
    }

    /// Adds a detector to those that come with the library.
    #[must_use]
    pub fn detector(mut self, detector: impl Detector + 'static) -> Self {
        self.detectors.push(Box::new(detector));
        self
    }

    /// Is called after every window, from the thread that runs the analysis.
    #[must_use]
    pub fn progress(mut self, progress: impl Fn(Progress) + Send + Sync + 'static) -> Self {
        self.progress = Some(Box::new(progress));
        self
    }

    /// Stops reading soon after the flag is set: at the end of the window that is being read, or at once where a pipe or
    /// standard input has nothing to give; a [reader](Self::a_reader) is waited for. What has been read by then is judged as if both captures ended there, and
    /// the report says so ([`Report::interrupted`]). [`Error::Cancelled`] when nothing can be said yet: nothing had been read, or
    /// the captures turned out to need a second reading, of which the first alone proves nothing.
    #[must_use]
    pub fn cancel(mut self, cancel: Arc<AtomicBool>) -> Self {
        self.cancel = Some(cancel);
        self
    }

    /// Keeps the counters of every flow for [`run_traced`](Self::run_traced), not only of those that may be of interest,
    /// and what can be drawn of the whole.
    #[must_use]
    pub fn every_flow(mut self, every: bool) -> Self {
        self.every_flow = every;
        self
    }

    /// Remembers for [`run_traced`](Self::run_traced) which frame of A is which of B: eight bytes a frame.
    #[must_use]
    pub fn matches(mut self, matches: bool) -> Self {
        self.matches = matches;
        self
    }

    /// Reads both captures and reports.
    pub fn run(self) -> Result<Report, Error> {
        Ok(self.analyze(false)?.report)
    }

    /// Reads both captures, reports, and tells what it takes to find the report's frames again (see
    /// [`evidence`](crate::evidence)).
    pub fn run_traced(self) -> Result<Traced, Error> {
        self.analyze(true)
    }

    /// Without what is told beside the report, unless it is to be `traced`.
    fn analyze(self, traced: bool) -> Result<Traced, Error> {
        let (Some(a), Some(b)) = (self.a, self.b) else {
            return Err(Error::Usage("two captures are needed".into()));
        };
        detect::check(&self.detectors, &self.options)?;
        let again = a.again().zip(b.again());
        let pool = pool(self.options.threads)?;
        let (progress, cancel, options) = (self.progress, self.cancel, self.options);
        let witnesses = Witnesses::open(&options)?;
        let (every_flow, matches, detectors) = (self.every_flow, self.matches, &self.detectors);
        let idle_time = IDLE_TIME.max(2 * SECOND * witnesses.host.value(&UDP_STREAM));
        let interfaces = self.interfaces;
        let time = [options.from, options.to];
        let room = Room::new(options.memory);
        let run = |readers: [CaptureSet; 2], offset: Option<Coarse>| {
            let mut engine = Engine::new(readers, room, progress.as_deref(), cancel.as_deref(), every_flow);
            engine.idle_time = idle_time;
            if matches {
                engine.keep_matches();
            }
            engine.detectors = detectors;
            engine.run(offset, time)
        };
        pool.install(|| {
            let [a, b] = live([a, b], cancel.as_ref())?;
            let mut done = run([a.open(interfaces[0].as_ref())?, b.open(interfaces[1].as_ref())?], None)?;
            let mut steps = <[Steps; 2]>::default();
            if let Some((a, b)) = &again
                && done.interrupted.is_none()
                && (done.matched() == 0 || done.doubts_the_clocks())
            {
                let open = || -> Result<_, Error> {
                    let [a, b] =
                        [(0, a), (1, b)].map(|(point, paths)| CaptureSet::open(paths, interfaces[point].as_ref()));
                    Ok([a?, b?])
                };
                done.forget_packets();
                let survey = Survey::new(open()?, room.surveyed, cancel.as_deref()).ok_or(Error::Cancelled)?;
                steps = survey.steps();
                let offset = if done.matched() == 0 { survey.offset(&steps) } else { None };
                if offset.is_some() || steps.iter().any(|steps| !steps.is_empty()) {
                    // Two analyses at a time would take twice the memory.
                    drop(done);
                    let [a, b] = open()?;
                    done = run([a.undo(steps[0].clone()), b.undo(steps[1].clone())], offset)?;
                }
                for (point, paths) in [a, b].into_iter().enumerate() {
                    if let Some(only) = &interfaces[point]
                        && time == [None, None]
                        && done.points[point].packets == 0
                    {
                        return Err(no_such_interface(paths, only));
                    }
                }
            }
            let mut done = done.report(&options, witnesses, steps, traced)?;
            done.report.inputs.a.interface = interfaces[0].as_ref().map(ToString::to_string);
            done.report.inputs.b.interface = interfaces[1].as_ref().map(ToString::to_string);
            Ok(done)
        })
    }
}

/// Says which interfaces there are, when none of them is the one asked for.
fn no_such_interface(paths: &[PathBuf], only: &Only) -> Error {
    let files = capture::expand(paths).unwrap_or_default();
    let listed = files.first().and_then(|file| capture::interfaces(file).ok()).unwrap_or_default();
    let names: Vec<String> = listed.iter().map(ToString::to_string).collect();
    let name = paths.first().map(|path| path.display().to_string()).unwrap_or_default();
    let there = if names.is_empty() { "no packets of any".into() } else { names.join(", ") };
    Error::Usage(format!("{name}: no packets of an interface `{only}`; the capture has {there}"))
}
