//! `pcapdiff`: what happened between two captures of the same traffic, who did it, and what to change.
//!
//! Results go to standard output, messages to standard error, and the exit status is that of `diff`: 0 nothing found,
//! 1 findings that somebody should act on, 2 trouble. The analysis itself is the library `analyzer-core`; this crate
//! knows the command line and the forms of the report.

mod args;
mod commands;
mod config;
mod engine;
mod inputs;
mod memory;
mod output;
mod progress;
mod render;
mod schema;
mod select;
mod suggest;
mod takeaway;
mod version;

use analyzer_core::Options;
use analyzer_core::evidence::Traced;
use analyzer_core::report::{Coverage, Report};
use clap::{ArgMatches, CommandFactory, FromArgMatches};
use std::panic::AssertUnwindSafe;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::available_parallelism;

use args::{Analyze, Cli, Command};
use engine::{Beside, Core, Engine};
use inputs::Inputs;
use output::{Destination, message};
use progress::Meter;
use render::{Format, Material, View};
use takeaway::Takeaway;

/// Nothing found.
const NOTHING: u8 = 0;
/// Findings of severity warning or error.
const FINDINGS: u8 = 1;
/// Unreadable input, bad usage, no room for the output, an analysis that was interrupted.
const TROUBLE: u8 = 2;
/// As a shell reports SIGINT: the second one, which leaves no report.
const INTERRUPTED: u8 = 130;

/// Damaged places named on standard error for each input.
const MOST_PROBLEMS: usize = 10;

fn main() -> ExitCode {
    let matches = Cli::command().get_matches();
    let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    let result = match &cli.command {
        Some(Command::Detectors) => commands::detectors().map(|()| NOTHING),
        Some(Command::Explain { id }) => commands::explain(id).map(|()| NOTHING),
        Some(Command::Schema) => commands::schema().map(|()| NOTHING),
        Some(Command::Completions { shell }) => commands::completions(*shell).map(|()| NOTHING),
        Some(Command::Man) => commands::man().map(|()| NOTHING),
        None => configured(cli.analyze, &matches).and_then(|asked| analyze(&asked, &Core)),
    };
    ExitCode::from(result.unwrap_or_else(|error| {
        message(&told(&error));
        TROUBLE
    }))
}

/// An error and its causes, unless what was said has them already.
fn told(error: &anyhow::Error) -> String {
    error.chain().map(ToString::to_string).fold(String::new(), |said, cause| match said.as_str() {
        "" => cause,
        said if said.ends_with(&cause) => said.to_owned(),
        said => format!("{said}: {cause}"),
    })
}

/// What is asked for, with the defaults of a settings file.
fn configured(mut asked: Analyze, matches: &ArgMatches) -> anyhow::Result<Analyze> {
    let file = config::apply(&mut asked, matches)?;
    if let Some(file) = file.filter(|_| asked.verbose) {
        message(&format!("settings of {}", file.display()));
    }
    Ok(asked)
}

/// Analyses the pair, delivers the report, and says how it went.
fn analyze(asked: &Analyze, engine: &dyn Engine) -> anyhow::Result<u8> {
    let inputs = Inputs::new(asked)?;
    let mut files = inputs.files();
    files.extend([&asked.conntrack, &asked.sysctl].into_iter().flatten().cloned());
    let destination = Destination::new(asked.output.as_deref(), &files)?;
    let page = asked.html.as_deref().map(|path| Destination::new(Some(path), &files)).transpose()?;

    let mut takeaway = Takeaway::new(asked, &inputs, &files)?;
    if (1..available_parallelism().map_or(1, Into::into)).contains(&asked.threads) {
        // What is written after the analysis takes the threads that all share; if they are at work already, they stay.
        let _ = rayon::ThreadPoolBuilder::new().num_threads(asked.threads).build_global();
    }

    let meter = Arc::new(Meter::new(asked.progress, asked.quiet));
    let (Traced { mut report, trace }, swapped) = run_engine(asked, engine, &inputs, &meter)?;
    if swapped {
        takeaway.swap();
    }
    if !asked.quiet {
        say_problems(&report, asked.verbose);
        say_swapped(&report);
    }

    let hidden = select::select(&mut report, asked);
    let view = View { width: destination.width(), verbose: asked.verbose, quiet: asked.quiet, hidden };
    let drawn = page.is_some() || asked.format == Format::Html;
    let ladders = if drawn { takeaway.ladders(&report, &trace, asked.threads)? } else { Vec::new() };
    let material = Material { trace: &trace, ladders: &ladders };
    let mut bytes = render::render(asked.format, &report, material, view)?;
    if asked.format == Format::Human && !destination.colours(asked.color) {
        bytes = anstream::adapter::strip_bytes(&bytes).into_vec();
    }
    destination.write(&bytes)?;
    if let Some(page) = page {
        page.write(&render::render(Format::Html, &report, material, view)?)?;
    }
    takeaway.write(&report, &trace, asked.quiet, &meter)?;
    if report.interrupted() {
        message("interrupted: the report is of what had been read by then");
        return Ok(TROUBLE);
    }
    Ok(if report.findings.iter().any(select::actionable) { FINDINGS } else { NOTHING })
}

/// Runs the analysis with a progress bar, and lets Ctrl-C end the reading: what was found so far is reported. Also says
/// whether the captures were taken the other way round, since they had been given so.
fn run_engine(
    asked: &Analyze,
    engine: &dyn Engine,
    inputs: &Inputs,
    meter: &Arc<Meter>,
) -> anyhow::Result<(Traced, bool)> {
    let mut options = Options::default();
    options.threads = asked.threads;
    options.memory = asked.memory.or_else(memory::usual);
    options.thresholds = asked.thresholds.iter().cloned().collect();
    options.conntrack.clone_from(&asked.conntrack);
    options.sysctl.clone_from(&asked.sysctl);
    (options.hosts, options.ports) = (asked.hosts.clone(), asked.ports.clone());
    (options.from, options.to) = (asked.from, asked.to);

    let cancel = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&cancel);
    // The second Ctrl-C, or one while a pager is slow to take the result, ends it at once. Without a handler the
    // default action ends it as well, so a failure to install one is no reason to stop.
    let _ = ctrlc::set_handler(move || {
        if flag.swap(true, Ordering::SeqCst) {
            std::process::exit(INTERRUPTED.into());
        }
    });

    let every_flow = asked.flows.is_some() || asked.html.is_some() || asked.format == Format::Html;
    let traced = every_flow || asked.matches || asked.merged.is_some() || asked.evidence.is_some();
    let beside = Beside { traced, every_flow, matches: asked.matches };
    let analyze = |inputs: &Inputs| {
        let told = Arc::clone(meter);
        let on_progress = Box::new(move |progress| told.update(progress));
        engine.analyze(inputs, options.clone(), beside, on_progress, Arc::clone(&cancel))
    };
    let run = || -> Result<(Traced, bool), analyzer_core::Error> {
        let traced = analyze(inputs)?;
        let Some(limit) = swapped(&traced.report).filter(|_| inputs.stream().is_none() && !traced.report.interrupted())
        else {
            return Ok((traced, false));
        };
        let mut right = analyze(&inputs.swapped())?;
        right.report.coverage.insert(0, Coverage { summary: SWAPPED.into(), ..limit.clone() });
        Ok((right, true))
    };
    // A mistake in the analysis is trouble like any other: the panic hook has said where it is.
    let result = std::panic::catch_unwind(AssertUnwindSafe(run));
    meter.finish();
    // From here on there is nothing left to cancel.
    cancel.store(true, Ordering::SeqCst);
    match result {
        Ok(result) => Ok(result?),
        Err(_) => anyhow::bail!("internal error: please report this, with the captures if you may share them"),
    }
}

/// What is said of captures that were given the wrong way round, once they have been turned: the TTL has shown it.
const SWAPPED: &str = "The captures were given the wrong way round, as the TTL of their packets shows: the second one is A \
                       here, the inner point, and the first one B.";

/// The limit that says that the captures were given the wrong way round.
fn swapped(report: &Report) -> Option<&Coverage> {
    report.coverage.iter().find(|limit| limit.id == "points-swapped")
}

/// The mistake that everybody makes once is worth more than a line below the findings.
fn say_swapped(report: &Report) {
    if let Some(limit) = swapped(report) {
        message(&limit.summary);
    }
}

/// Names the damaged places of the inputs: they limit what the report can say.
fn say_problems(report: &Report, all: bool) {
    let most = if all { usize::MAX } else { MOST_PROBLEMS };
    for input in [&report.inputs.a, &report.inputs.b] {
        for problem in input.problems.iter().take(most) {
            message(&render::describe::problem(problem));
        }
        if input.problems.len() > most {
            message(&format!("{} more damaged places in the same input (-v names them)", input.problems.len() - most));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::sample;
    use analyzer_core::Error;
    use clap::Parser;

    /// An engine whose report is known.
    struct Fixed(fn() -> Report);

    impl Engine for Fixed {
        fn analyze(
            &self,
            _inputs: &Inputs,
            _options: Options,
            _beside: Beside,
            progress: engine::OnProgress,
            _cancel: Arc<AtomicBool>,
        ) -> Result<Traced, Error> {
            progress(analyzer_core::Progress::default());
            let report = (self.0)();
            let trace = sample::trace(&report);
            Ok(Traced { report, trace })
        }
    }

    /// The exit status and the result of an analysis that finds `report`.
    fn run(report: fn() -> Report, arguments: &[&str]) -> (anyhow::Result<u8>, String) {
        let folder = tempfile::tempdir().unwrap();
        let output = folder.path().join("result");
        let output_name = output.to_str().unwrap();
        let common = ["pcapdiff", "a.pcap", "b.pcap", "--progress", "never", "--output", output_name];
        let cli = Cli::try_parse_from(common.into_iter().chain(arguments.iter().copied())).unwrap();
        let status = analyze(&cli.analyze, &Fixed(report));
        (status, std::fs::read_to_string(output).unwrap_or_default())
    }

    #[test]
    fn the_exit_status_is_that_of_diff() {
        assert_eq!(run(sample::healthy, &[]).0.unwrap(), NOTHING);
        assert_eq!(run(sample::resets, &[]).0.unwrap(), FINDINGS);
        // Context alone calls for nothing.
        assert_eq!(run(sample::resets, &["--only", "offload-artifact"]).0.unwrap(), NOTHING);
    }

    #[test]
    fn filters_decide_what_is_reported() {
        for (arguments, kept) in [
            (&["--ignore", "tcp-reset"][..], 1),
            (&["--min-severity", "warning"], 1),
            (&["--min-severity", "info"], 2),
            (&["--min-confidence", "0.98"], 1),
            (&["--only", "udp-stall"], 0),
        ] {
            let (_, text) = run(sample::resets, &[arguments, &["--format", "json"]].concat());
            let value: serde_json::Value = serde_json::from_str(&text).unwrap();
            assert_eq!(value["findings"].as_array().unwrap().len(), kept, "{arguments:?}");
        }
    }

    #[test]
    fn a_page_can_be_had_besides() {
        let folder = tempfile::tempdir().unwrap();
        let page = folder.path().join("page.html");
        let (status, text) = run(sample::resets, &["--html", page.to_str().unwrap()]);
        assert_eq!(status.unwrap(), FINDINGS);
        assert!(text.starts_with("pcapdiff"));
        assert!(std::fs::read_to_string(page).unwrap().starts_with("<!doctype html>"));
    }

    #[test]
    fn a_file_gets_no_colours_unless_asked_for() {
        assert!(!run(sample::resets, &[]).1.contains('\x1b'));
        assert!(run(sample::resets, &["--color", "always"]).1.contains('\x1b'));
    }

    #[test]
    fn what_cannot_be_written_is_trouble_and_says_where() {
        for (output, reason) in [("no/such/folder/x", "no/such/folder: "), (".", ".: is a directory")] {
            let cli = Cli::parse_from(["pcapdiff", "a", "b", "-o", output]);
            let error = format!("{:#}", analyze(&cli.analyze, &Fixed(sample::healthy)).unwrap_err());
            assert!(error.starts_with(reason), "{error}");
        }
    }

    #[test]
    fn an_input_is_never_overwritten() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let name = file.path().to_str().unwrap();
        let cli = Cli::parse_from(["pcapdiff", name, "b", "-o", name]);
        let error = analyze(&cli.analyze, &Fixed(sample::healthy)).unwrap_err().to_string();
        assert!(error.ends_with("is one of the inputs"), "{error}");
    }

    #[test]
    fn a_mistake_in_the_analysis_is_trouble() {
        let cli = Cli::parse_from(["pcapdiff", "a", "b"]);
        assert!(analyze(&cli.analyze, &Fixed(|| panic!("on purpose"))).is_err());
    }

    #[test]
    fn standard_input_can_be_one_capture_only() {
        let cli = Cli::parse_from(["pcapdiff", "-", "-"]);
        assert!(analyze(&cli.analyze, &Fixed(sample::healthy)).is_err());
    }
}
