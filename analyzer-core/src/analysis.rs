//! The way through: reads both captures in step, pairs, matches, and hands the facts to the detectors. The only file
//! that names every layer.

use crate::align::clock::{ClockMap, Coarse, GUARD, Match, Overlap, coarse_offset};
use crate::align::matching::{Shard, Window};
use crate::align::pairing::{Pairing, content};
use crate::align::steps;
use crate::align::survey::{Survey, distinctive};
use crate::align::topology;
use crate::capture::{self, CaptureSet, CaptureSummary, Marks, Only, Steps};
use crate::detect::{self, Boundary, Detector, PairView, Scene, Selection, Witness};
use crate::error::Error;
use crate::evidence::{Charts, FlowStats, Matches, Trace, Traced};
use crate::facts::{Delays, EventIndex, GivenUp, PairFacts, Room, Series, Tally, state};
use crate::flow::SHARDS;
use crate::flow::ingest::{Ingest, Stop};
use crate::options::Options;
use crate::packet::FlowKey;
use crate::packet::row::bits;
use crate::point::{Direction, Point};
use crate::report::{Input, Inputs, Report, SCHEMA, Totals};
use crate::time::{MILLISECOND, Moment, SECOND, Time};
use crate::witness::Witnesses;
use crate::witness::sysctl::UDP_STREAM;
use rayon::prelude::*;
use std::cell::LazyCell;
use std::collections::{HashMap, HashSet};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Bytes of each capture that are looked at before anything is decided.
const PEEK: u64 = 1 << 20;
/// Bytes of the first window; windows double from there, so that flows are paired before much is held for them.
const FIRST_WINDOW: u64 = 128 << 10;
/// Time of the first window; it grows or shrinks from there to what holds a window's bytes.
const FIRST_STEP: i64 = MILLISECOND;
/// Windows that a burst may fill before it is cut by bytes rather than by time.
const MOST: u64 = 4;
/// Closed connections that are kept for late packets; the oldest go first.
const MAX_CLOSED: usize = 4096;
/// How long a closed connection is kept for late packets.
const CLOSED_TIME: i64 = 30 * SECOND;
/// How long a flow may be silent before it is closed, unless the host remembers datagrams for longer: Linux forgets them
/// after 120 s, before 5.0 after 180 s.
const IDLE_TIME: i64 = 600 * SECOND;
/// How long a connection may be silent that both points saw opened and answered, and nobody closed. Linux forgets those
/// after five days; a day holds the NAT timers in use (RFC 5382 asks for 124 minutes) and bounds what is kept.
const IDLE_CONNECTION_TIME: i64 = 24 * 3600 * SECOND;

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

    /// The paths, when they can be read more than once.
    fn again(&self) -> Option<Vec<PathBuf>> {
        let Self::Paths(paths) = self else { return None };
        let lasting = |path: &PathBuf| path.is_file() || path.is_dir() || !path.exists();
        (paths.iter().all(lasting) && !paths.iter().any(|path| is_stdin(path))).then(|| paths.clone())
    }
}

fn is_stdin(path: &Path) -> bool {
    path == Path::new("-")
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

    /// Stops reading soon after the flag is set: at the end of the window that is being read, so not while the source of a
    /// capture has nothing to give. What has been read by then is judged as if both captures ended there, and
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
        Ok(self.run_traced()?.report)
    }

    /// Reads both captures, reports, and tells what it takes to find the report's frames again (see
    /// [`evidence`](crate::evidence)).
    pub fn run_traced(self) -> Result<Traced, Error> {
        let (Some(a), Some(b)) = (self.a, self.b) else {
            return Err(Error::Usage("two captures are needed".into()));
        };
        detect::check(&self.detectors, &self.options)?;
        let again = a.again().zip(b.again());
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(self.options.threads)
            .build()
            .map_err(|error| Error::Usage(format!("cannot start {} threads: {error}", self.options.threads)))?;
        let (progress, cancel, options) = (self.progress, self.cancel, self.options);
        let witnesses = Witnesses::open(&options)?;
        let (every_flow, matches, detectors) = (self.every_flow, self.matches, &self.detectors);
        let idle_time = IDLE_TIME.max(2 * SECOND * witnesses.host.value(&UDP_STREAM));
        let interfaces = self.interfaces;
        let time = [options.from, options.to];
        let run = |readers: [CaptureSet; 2], offset: Option<Coarse>| {
            let room = Room::new(options.memory);
            let mut engine = Engine::new(readers, room, progress.as_deref(), cancel.as_deref(), every_flow);
            engine.idle_time = idle_time;
            if matches {
                engine.keep_matches();
            }
            engine.detectors = detectors;
            engine.run(offset, time)
        };
        pool.install(|| {
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
                let survey = Survey::new(open()?, cancel.as_deref()).ok_or(Error::Cancelled)?;
                steps = survey.steps();
                let offset = if done.matched() == 0 { survey.offset(&steps) } else { None };
                if offset.is_some() || steps.iter().any(|steps| !steps.is_empty()) {
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
            let mut traced = done.report(&options, witnesses, steps)?;
            traced.report.inputs.a.interface = interfaces[0].as_ref().map(ToString::to_string);
            traced.report.inputs.b.interface = interfaces[1].as_ref().map(ToString::to_string);
            Ok(traced)
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

struct Engine<'a> {
    points: [Ingest; 2],
    shards: Vec<Shard>,
    pairing: Pairing,
    overlap: Overlap,
    /// The time asked for, on A's clock.
    bounds: Option<(i64, i64)>,
    /// Up to where both captures had been read when the caller asked to stop.
    interrupted: Option<i64>,
    coarse: Coarse,
    /// Whether `coarse` has been the same throughout.
    steady: bool,
    closed: std::collections::VecDeque<(u32, u32, i64)>,
    finished: Vec<PairView>,
    idle_time: i64,
    /// The detectors of the caller.
    detectors: &'a [Box<dyn Detector>],
    finished_count: u64,
    finished_paired: u64,
    /// How much may be kept.
    room: Room,
    /// What was not.
    given_up: GivenUp,
    /// Whether `flows` is asked for.
    every_flow: bool,
    /// Every finished flow in numbers, up to a bound.
    flows: Vec<FlowStats>,
    /// Where the captures can be read on from.
    marks: [Marks; 2],
    /// The frames that matched, if asked for.
    matches: Option<Matches>,
    progress: Option<&'a (dyn Fn(Progress) + Send + Sync)>,
    cancel: Option<&'a AtomicBool>,
}

impl<'a> Engine<'a> {
    fn new(
        readers: [CaptureSet; 2],
        room: Room,
        progress: Option<&'a (dyn Fn(Progress) + Send + Sync)>,
        cancel: Option<&'a AtomicBool>,
        every_flow: bool,
    ) -> Self {
        Self {
            points: readers.map(|reader| {
                let mut point = Ingest::new(reader);
                point.traffic = every_flow.then(Series::default);
                point
            }),
            shards: (0..SHARDS).map(|_| Shard::new(&room)).collect(),
            pairing: Pairing::new(&room),
            overlap: Overlap::default(),
            bounds: None,
            interrupted: None,
            coarse: Coarse::default(),
            steady: true,
            closed: std::collections::VecDeque::new(),
            finished: Vec::new(),
            idle_time: IDLE_TIME,
            detectors: &[],
            finished_count: 0,
            finished_paired: 0,
            room,
            given_up: GivenUp::default(),
            every_flow,
            flows: Vec::new(),
            marks: Default::default(),
            matches: None,
            progress,
            cancel,
        }
    }

    /// Whether the captures contradict each other in a way that a clock explains which was set meanwhile: one goes back
    /// in time; or packets left the host that had not entered it; or packets are missing, and as if in their place there
    /// are some beyond the end of the other capture.
    fn doubts_the_clocks(&self) -> bool {
        /// Fewest such packets, and their share of those matched: a capture that drops packets may lead here too, and then
        /// nothing but time is lost.
        const FEWEST: u64 = 2;
        const SHARE: u64 = 200;
        let back = self.points.iter().any(|point| point.set_back.is_some_and(|(_, by)| by >= steps::SMALLEST));
        let many = FEWEST.max(self.matched() / SHARE);
        let unmatched = |point: fn(Direction) -> Point| -> u64 {
            let of = |tally: &Tally| Direction::BOTH.map(|direction| tally.unmatched(direction, point(direction)));
            self.shards.iter().flat_map(|shard| of(&shard.tally)).sum()
        };
        let beyond = || -> u64 {
            let finished = self.finished.iter().map(|view| &view.facts);
            let all = self.shards.iter().flat_map(|shard| &shard.facts).chain(finished);
            all.flat_map(|facts| facts.more.iter().flatten().flatten()).map(|more| u64::from(more.edge)).sum()
        };
        back || unmatched(Direction::exit) >= many || (unmatched(Direction::entry) >= many && beyond() >= many)
    }

    fn keep_matches(&mut self) {
        self.matches = Some(Matches::default());
        for shard in &mut self.shards {
            shard.matches = Some(Vec::new());
        }
    }

    fn matched(&self) -> u64 {
        self.shards.iter().map(|shard| shard.tally.matched[0]).sum()
    }

    fn run(mut self, coarse: Option<Coarse>, time: [Option<Moment>; 2]) -> Result<Self, Error> {
        self.coarse = match coarse {
            Some(coarse) => coarse,
            None => self.head_offset().unwrap_or_default(),
        };
        if time != [None, None] {
            self.bound(time);
            if coarse.is_none() {
                self.coarse = self.head_offset().unwrap_or(self.coarse);
            }
        }
        let mut until = self
            .points
            .iter()
            .enumerate()
            .filter_map(|(point, ingest)| ingest.first_time().map(|time| self.on_a(point, time)))
            .min()
            .unwrap_or(0);
        let (mut step, mut target) = (FIRST_STEP, FIRST_WINDOW);
        let mut last_look = i64::MIN;
        let mut common = None;
        loop {
            if self.cancel.is_some_and(|cancel| cancel.load(Ordering::Relaxed)) {
                self.interrupt(common.ok_or(Error::Cancelled)?);
            }
            for (marks, point) in self.marks.iter_mut().zip(&self.points) {
                point.reader.mark().into_iter().for_each(|mark| marks.add(mark));
            }
            if self.points.iter().all(|point| point.stop != Stop::Bytes) {
                until = until.saturating_add(step);
            }
            let before = [0, 1].map(|point| self.points[point].reader.decoded_bytes());
            let limits = [until, self.coarse.from_a(1, until)];
            let [a, b] = &mut self.points;
            rayon::join(|| a.window(limits[0], MOST * target), || b.window(limits[1], MOST * target));

            let read_to = [0, 1].map(|point| match self.points[point].stop {
                Stop::Time => until,
                Stop::Bytes => self.on_a(point, self.points[point].reached),
                Stop::End => i64::MAX,
            });
            let horizon = read_to[0].min(read_to[1]);
            let ended = self.points.iter().all(|point| point.stop == Stop::End);
            self.update_overlap();
            self.pairing.run(&mut self.points, &mut self.shards, self.coarse, horizon);
            if ended {
                self.pairing.finish(&mut self.points, &mut self.shards);
            }
            let [a, b] = &mut self.points;
            rayon::join(|| a.account(), || b.account());
            self.update_overlap();
            self.match_window(read_to);
            self.tell();
            if ended {
                break;
            }
            common = Some(horizon);
            self.follow_clock();
            if horizon.saturating_sub(last_look) >= 10 * SECOND || self.closed.len() > MAX_CLOSED {
                last_look = horizon;
                self.retire(horizon);
            }
            if self.pairing.live > self.room.pairs {
                self.relieve();
            }
            // The next window's time is chosen so that the busier capture reads about the bytes of a window.
            let read = (0..2).map(|point| self.points[point].reader.decoded_bytes() - before[point]).max().unwrap_or(0);
            if read == 0 {
                step = step.saturating_mul(2);
            } else {
                let factor = (target as f64 / read as f64).clamp(0.5, 2.0);
                step = ((step as f64 * factor) as i64).max(MILLISECOND / 10);
            }
            target = (target * 2).min(self.room.window);
        }
        let overlap = self.overlap;
        self.shards.par_iter_mut().for_each(|shard| shard.finish(&overlap));
        Ok(self)
    }

    /// Takes both captures for ended, what is common to them at this time of A's clock.
    #[cold]
    fn interrupt(&mut self, common: i64) {
        self.interrupted = Some(common);
        for point in &mut self.points {
            point.stop = Stop::End;
        }
    }

    /// Leaves out what is before or after the time asked for.
    fn bound(&mut self, time: [Option<Moment>; 2]) {
        self.points.iter_mut().for_each(|point| drop(point.peek(1)));
        let firsts = [0, 1].map(|point| self.points[point].first_time().map(|time| self.on_a(point, time)));
        // Times of day and spans are of the inner capture; when it is empty there is nothing to find anyway.
        let first = firsts[0].or(firsts[1]).unwrap_or(0);
        let [from, to] = time.map(|moment| moment.map(|moment| moment.resolve(first)));
        let (from, to) = (from.unwrap_or(i64::MIN), to.unwrap_or(i64::MAX));
        self.bounds = Some((from, to));
        for point in 0..2 {
            let coarse = self.coarse;
            let shifted =
                |time: i64| if matches!(time, i64::MIN | i64::MAX) { time } else { coarse.from_a(point, time) };
            self.points[point].bound(shifted(from), shifted(to));
        }
    }

    /// B's clock minus A's by packets with the same content at the head of both captures.
    fn head_offset(&mut self) -> Option<Coarse> {
        let mut times: HashMap<u64, Option<(i64, u32)>> = HashMap::new();
        let mut flows: HashMap<FlowKey, u32> = HashMap::new();
        for (row, key) in self.points[0].peek(PEEK) {
            if distinctive(row) {
                let next = flows.len() as u32;
                let way = *flows.entry(*key).or_insert(next) * 2 + u32::from(row.has(bits::FROM_HIGH));
                // What repeats says nothing of when.
                times.entry(content(row)).and_modify(|time| *time = None).or_insert(Some((row.time, way)));
            }
        }
        let mut seen: HashMap<u64, u32> = HashMap::new();
        let mut pairs = Vec::new();
        for (row, _) in self.points[1].peek(PEEK) {
            if !distinctive(row) {
                continue;
            }
            let key = content(row);
            *seen.entry(key).or_default() += 1;
            if let Some(&Some((time, way))) = times.get(&key) {
                pairs.push((key, Match { time, difference: row.time.saturating_sub(time), way }));
            }
        }
        let once = |(key, found): (u64, Match)| (seen.get(&key) == Some(&1)).then_some(found);
        let mut matches: Vec<Match> = pairs.into_iter().filter_map(once).collect();
        coarse_offset(&mut matches)
    }

    fn on_a(&self, point: usize, time: i64) -> i64 {
        self.coarse.on_a(point, time)
    }

    fn match_window(&mut self, read_to: [i64; 2]) {
        let (a, b) = (&self.points[0].batch, &self.points[1].batch);
        let (coarse, overlap) = (self.coarse, &self.overlap);
        self.shards.par_iter_mut().enumerate().for_each(|(number, shard)| {
            shard.run(&Window {
                rows: [&a.rows[number], &b.rows[number]],
                details: [&a.details, &b.details],
                coarse,
                read_to,
                overlap,
            });
        });
        for shard in 0..SHARDS {
            for (slot, at) in std::mem::take(&mut self.shards[shard].closed) {
                let pair = slot * SHARDS as u32 + shard as u32;
                self.closed.push_back((pair, self.pairing.members[pair as usize].serial, at));
            }
            if let (Some(all), Some(own)) = (&mut self.matches, &mut self.shards[shard].matches) {
                own.drain(..).for_each(|frames| all.note(frames));
            }
        }
    }

    /// What each capture covers of the other's time. A capture that is read to its end covers up to its last record; but
    /// when the other point shows nothing afterwards that must have passed here first, its silence may be the fault
    /// itself, and it counts as covering all.
    fn update_overlap(&mut self) {
        /// Captures of one host that were started together see its first packet this close to one another: crossing it
        /// takes well below a millisecond.
        const START: i64 = 10 * MILLISECOND;
        for point in 0..2 {
            let Some((first, last)) = self.points[point].presence.span else { continue };
            let other = 1 - point;
            // What leaves the host at the other point has entered it here.
            let through = if point == 1 { Direction::Inbound } else { Direction::Outbound };
            let activity = &self.points[other].activity;
            let (first, last) = (self.on_a(point, first), self.on_a(point, last));
            let margin = 500 * MILLISECOND;
            let started_late = activity.first(through).is_some_and(|time| self.on_a(other, time) < first - START);
            self.overlap.from[point] = if started_late { first } else { i64::MIN };
            if self.points[point].stop == Stop::End {
                let passed = activity.last(through).map(|time| self.on_a(other, time));
                // Nor does silence prove a fault where nothing had been coming back before it either.
                let ended_early = passed.is_none_or(|time| time > last + margin / 5 || time < last - 2 * margin);
                self.overlap.to[point] = if ended_early { last } else { i64::MAX };
            }
            if let Some((from, to)) = self.bounds {
                self.overlap.from[point] = self.overlap.from[point].max(from);
                self.overlap.to[point] = self.overlap.to[point].min(to);
            }
            if let Some(common) = self.interrupted {
                self.overlap.to[point] = self.overlap.to[point].min(common);
            }
            if !self.points[point].reader.holes().is_empty() {
                self.update_holes(point);
            }
        }
    }

    /// Times between the files of a set in which the capture did not run: the files show that something is missing, or
    /// the other point shows packets that must have passed here.
    #[cold]
    fn update_holes(&mut self, point: usize) {
        /// Packets that must have passed; a single one may be the host's own.
        const PROOF: u64 = 3;
        let other = 1 - point;
        let through = if point == 1 { Direction::Inbound } else { Direction::Outbound };
        for hole in self.points[point].reader.holes() {
            let (from, to) = (self.on_a(point, hole.from), self.on_a(point, hole.to));
            let shift = |time: i64| self.coarse.from_a(other, time);
            let (start, end) = (shift(from).saturating_add(GUARD), shift(to).saturating_sub(GUARD));
            let activity = &self.points[other].activity;
            let passed = || {
                let series = activity.series(through);
                series.packets_between(start, end.saturating_sub(series.width())) >= PROOF
                    && activity.silence_within(through, start, end) < end.saturating_sub(start)
            };
            if hole.proven() || passed() {
                self.overlap.add_hole(point, (from, to));
            }
        }
    }

    /// Follows a drifting clock, so that a long capture stays in step.
    fn follow_clock(&mut self) {
        /// Smaller errors do not matter to the matching.
        const NOTICEABLE: i64 = 50 * MILLISECOND;
        let latest = self.shards.iter().filter_map(|shard| shard.delays.latest()).max_by_key(|latest| latest.0);
        let Some((start, ..)) = latest else { return };
        let (mut out, mut back) = (i64::MAX, i64::MIN);
        for (at, low, high) in self.shards.iter().filter_map(|shard| shard.delays.latest()) {
            if at >= start - SECOND {
                (out, back) = (out.min(low), back.max(high));
            }
        }
        if out == i64::MAX || back == i64::MIN {
            return;
        }
        let middle = back + (out - back) / 2;
        if middle.abs_diff(self.coarse.at(start)) > NOTICEABLE as u64 {
            self.coarse = Coarse { offset: middle, reference: start, ..self.coarse };
            self.steady = false;
        }
    }

    /// Closes flows that are over, so that memory follows the live ones.
    fn retire(&mut self, horizon: i64) {
        while let Some(&(pair, serial, at)) = self.closed.front() {
            if self.closed.len() <= MAX_CLOSED && horizon.saturating_sub(at) < CLOSED_TIME {
                break;
            }
            self.closed.pop_front();
            let members = self.pairing.members[pair as usize];
            if members.live && members.serial == serial {
                self.close(pair);
            }
        }
        for pair in 0..self.pairing.members.len() as u32 {
            let members = self.pairing.members[pair as usize];
            if !members.live {
                continue;
            }
            let tracks = &self.shards[pair as usize % SHARDS].tracks[(pair / SHARDS as u32) as usize];
            let last = tracks
                .iter()
                .flat_map(|direction| direction.iter().enumerate())
                .filter(|(_, track)| track.packets > 0)
                .map(|(point, track)| self.on_a(point, track.last_time))
                .max();
            // A connection without end may be silent for hours; datagrams' NAT entries may not.
            let open = |point: usize| {
                let state = |direction: usize| tracks[direction][point].state;
                (state(0) & state(1)) & state::ACK != 0 && (state(0) | state(1)) & (state::FIN | state::RST) == 0
            };
            let patience = match members.both() {
                true if open(0) && open(1) => IDLE_CONNECTION_TIME,
                true => self.idle_time,
                false => self.idle_time / 5,
            };
            if last.is_some_and(|last| horizon.saturating_sub(last) > patience) {
                self.close(pair);
            }
        }
    }

    /// There are more live flows than there is room for: a quarter of them goes, of one point before of both, those of a
    /// packet or two first, then the longest silent.
    #[cold]
    fn relieve(&mut self) {
        /// Packets of a flow that is hardly one: a probe, a SYN of a flood and its repetition.
        const FEW: u32 = 2;
        let mut live = Vec::with_capacity(self.pairing.live);
        for (pair, members) in self.pairing.members.iter().enumerate().filter(|(_, members)| members.live) {
            let tracks = self.shards[pair % SHARDS].tracks[pair / SHARDS].iter();
            let tracks = tracks.flat_map(|direction| direction.iter().enumerate());
            let (mut last, mut packets) = (i64::MIN, 0_u32);
            for (point, track) in tracks.filter(|(_, track)| track.packets > 0) {
                last = last.max(self.on_a(point, track.last_time));
                packets = packets.saturating_add(track.packets);
            }
            live.push((members.both(), packets > FEW, last, members.serial, pair as u32));
        }
        let count = live.len().saturating_sub(self.room.pairs / 4 * 3);
        if count < live.len() {
            live.select_nth_unstable(count);
        }
        live.truncate(count);
        // The order in which they go decides what is kept of them.
        live.sort_unstable_by_key(|flow| flow.3);
        for (.., pair) in live {
            self.given_up.flows += 1;
            self.close(pair);
        }
    }

    /// Keeps a flow that is over for the detectors. When there is no room, half of those kept go: the least informative,
    /// the oldest of them first.
    fn keep(&mut self, view: PairView) {
        if self.finished.len() >= self.room.finished {
            let half = self.finished.len() / 2;
            self.given_up.finished += (self.finished.len() - half) as u64;
            self.finished.sort_by_key(|view| std::cmp::Reverse((view.weight(), view.serial)));
            self.finished.truncate(half);
        }
        self.finished.push(view);
    }

    fn close(&mut self, pair: u32) {
        let overlap = self.overlap;
        let view = self.view(pair);
        let (tracks, facts) = self.shards[pair as usize % SHARDS].close(pair / SHARDS as u32, &overlap);
        let members = self.pairing.members[pair as usize];
        for (point, flow) in [members.a, members.b].into_iter().enumerate() {
            if let Some(flow) = flow
                && self.points[point].table.flows[flow as usize].pair >> 1 == pair
            {
                self.points[point].table.close(flow);
            }
        }
        self.pairing.close(pair);
        self.finished_count += 1;
        self.finished_paired += u64::from(members.both());
        let Some(mut view) = view else { return };
        view.tracks = tracks;
        view.facts = facts;
        if self.every_flow && self.flows.len() < self.room.listed {
            self.flows.push(FlowStats::new(&view));
        }
        if view.notable() || self.detectors.iter().any(|detector| detector.keeps(&view)) {
            self.keep(view);
        }
    }

    /// A pair as detectors see it, without its tracks and facts.
    fn view(&self, pair: u32) -> Option<PairView> {
        let members = self.pairing.members[pair as usize];
        let key = |point: usize, flow: Option<u32>| flow.map(|flow| self.points[point].table.flows[flow as usize].key);
        let (a, b) = (key(0, members.a), key(1, members.b));
        (members.live && (a.is_some() || b.is_some())).then(|| PairView {
            serial: members.serial,
            successor_of: members.successor_of,
            a,
            b,
            inside_is_high: members.inside_is_high,
            macs: [0, 1].map(|point| {
                let flow = &self.points[point].table.flows[[members.a, members.b][point]? as usize];
                let (mac, from_high) = flow.mac;
                let outbound = from_high == members.inside_is_high[point];
                (mac != 0).then_some((mac, if outbound { Direction::Outbound } else { Direction::Inbound }))
            }),
            tracks: Default::default(),
            facts: PairFacts::default(),
        })
    }

    fn tell(&self) {
        if let Some(progress) = self.progress {
            let [a, b] = &self.points;
            progress(Progress {
                bytes_read: a.reader.position() + b.reader.position(),
                bytes_total: a.reader.input_size().zip(b.reader.input_size()).map(|(a, b)| a + b),
                packets: a.packets + b.packets,
            });
        }
    }

    fn report(mut self, options: &Options, witnesses: Witnesses, steps: [Steps; 2]) -> Result<Traced, Error> {
        // From here on only facts are needed; the rest makes room for what is made of them.
        self.points.iter_mut().for_each(Ingest::forget_rows);
        self.pairing.forget_packets();
        let mut pairs = std::mem::take(&mut self.finished);
        let finished = pairs.len();
        let (mut flows, mut paired) = (self.finished_count, self.finished_paired);
        pairs.reserve_exact(self.pairing.members.iter().filter(|members| members.live).count());
        for shard in 0..SHARDS {
            let tracks = std::mem::take(&mut self.shards[shard].tracks);
            let facts = std::mem::take(&mut self.shards[shard].facts);
            for (slot, (tracks, facts)) in tracks.into_iter().zip(facts).enumerate() {
                let Some(view) = self.view((slot * SHARDS + shard) as u32) else { continue };
                flows += 1;
                paired += u64::from(view.both());
                pairs.push(PairView { tracks, facts, ..view });
            }
        }
        self.points.iter_mut().for_each(Ingest::forget_flows);
        let finished: HashSet<u32> =
            if self.every_flow { pairs[..finished].iter().map(|view| view.serial).collect() } else { HashSet::new() };
        pairs.sort_unstable_by_key(|view| view.serial);

        let mut tally = Tally::default();
        for shard in &self.shards {
            tally.merge(&shard.tally);
            self.given_up.packets += shard.hurried;
        }
        let delays: Vec<Delays> = self.shards.iter_mut().map(|shard| std::mem::take(&mut shard.delays)).collect();
        let delays: Vec<&Delays> = delays.iter().collect();
        let clock = ClockMap::estimate(&delays, self.coarse.offset);
        let summaries = [self.points[0].reader.summary(), self.points[1].reader.summary()];
        let seen = [0, 1].map(|point| self.points[point].packets);
        let same_times = tally.matched[0] > 0
            && tally.matched[0] == seen[0]
            && delays.iter().all(|delays| delays.all_equal(self.coarse.offset));
        let paired_flows = pairs.iter().filter_map(PairView::paired);
        let mut topology = topology::judge(paired_flows, seen[0] > 0 && seen[1] > 0, same_times);
        topology.vlan = topology::vlans(&self.points[0].presence.vlans, &self.points[1].presence.vlans);
        let unmatched = [0, 1].map(|point| seen[point].saturating_sub(tally.matched[point]));
        let totals = Totals {
            packets_a: seen[0],
            packets_b: seen[1],
            matched: tally.matched[0],
            unmatched_a: unmatched[0],
            unmatched_b: unmatched[1],
            flows,
            paired_flows: paired,
        };
        let inputs = {
            let [a, b] = [0, 1].map(|point| self.input(point, &summaries[point]));
            Inputs { a, b }
        };
        for point in 0..2 {
            let shift = if point == 1 { self.coarse.offset } else { 0 };
            for (from, to) in self.overlap.holes(point) {
                self.points[point].activity.forget(from.saturating_add(shift), to.saturating_add(shift));
            }
        }
        let files = [0, 1].map(|point| self.points[point].reader.files().clone());
        let set_back = [0, 1].map(|point| self.points[point].set_back);
        let [a, b] = self.points;
        let known =
            LazyCell::new(|| pairs.iter().flat_map(|view| [view.a, view.b]).flatten().collect::<HashSet<FlowKey>>());
        let (log, host) = witnesses.read(|one, other| known.contains(one) || known.contains(other))?;
        let witness = Witness::new(log, host, &pairs, &clock);
        let coarse = self.steady.then_some(self.coarse);
        let mut scene = Scene {
            pairs,
            events: EventIndex::new(self.shards.into_iter().map(|shard| shard.events).collect()),
            tally,
            activity: [a.activity, b.activity],
            presence: [a.presence, b.presence],
            link: [a.link, b.link],
            clock,
            steps,
            set_back,
            overlap: self.overlap,
            boundary: Boundary::new(&topology),
            topology,
            totals,
            summaries,
            files,
            selection: Selection { hosts: options.hosts.clone(), ports: options.ports.clone(), time: self.bounds },
            interrupted: self.interrupted,
            thresholds: options.thresholds.clone(),
            missed: [0; 2],
            given_up: self.given_up,
            coverage: Vec::new(),
            witness,
        };
        scene.missed = detect::missed(&scene);
        scene.coverage = detect::coverage(&scene);
        let findings = detect::run(&scene, self.detectors);
        let pairs = std::mem::take(&mut scene.pairs);
        let listed = self.flows.iter().filter_map(|flow| Some([flow.keys[0]?, flow.keys[1]?]));
        let keys = pairs.iter().filter_map(|view| Some([view.a?, view.b?])).chain(listed).collect();
        // Finished flows are among the numbers already when all were asked for.
        let wanted = |view: &PairView| if self.every_flow { !finished.contains(&view.serial) } else { view.eventful() };
        let mut stats = self.flows;
        let room = self.room.listed.saturating_sub(stats.len());
        stats.reserve_exact(pairs.iter().filter(|view| wanted(view)).count().min(room));
        stats.extend(pairs.into_iter().filter(wanted).take(room).map(|view| FlowStats::new(&view)));
        stats.sort_unstable_by_key(|flow| flow.serial);
        for flow in &mut stats {
            flow.settle(&clock);
        }
        let charts = match [a.traffic, b.traffic] {
            [Some(a), Some(b)] => Charts::new(&scene, &[a, b], &delays, coarse),
            _ => Charts::default(),
        };
        let trace = Trace {
            clock,
            bounds: self.bounds,
            steps: scene.steps,
            flows_left_out: flows.saturating_sub(stats.len() as u64),
            flows: stats,
            keys,
            files: scene.files,
            matches: self.matches,
            charts,
            marks: self.marks,
        };
        let report = Report {
            schema: SCHEMA,
            tool_version: env!("CARGO_PKG_VERSION"),
            inputs,
            topology: scene.topology,
            clock: clock.report(),
            coverage: scene.coverage,
            totals: scene.totals,
            findings,
        };
        Ok(Traced { report, trace })
    }

    fn input(&self, point: usize, summary: &CaptureSummary) -> Input {
        let ingest = &self.points[point];
        let busiest = |interface: &&capture::Interface| interface.packets > 0;
        let interface = summary.interfaces.iter().find(busiest).or_else(|| summary.interfaces.first());
        Input {
            files: ingest.reader.files().names().to_vec(),
            format: summary.format.clone(),
            link_type: interface.map(|interface| interface.link_type.name().to_string()).unwrap_or_default(),
            packets: ingest.packets,
            bytes: ingest.reader.input_size().unwrap_or_else(|| ingest.reader.position()),
            first: ingest.presence.span.map(|span| Time(span.0)),
            last: ingest.presence.span.map(|span| Time(span.1)),
            snaplen: interface.map_or(0, |interface| interface.snaplen),
            truncated_at: summary.truncated_at,
            problems: summary.problems.clone(),
            interface: None,
        }
    }
}
