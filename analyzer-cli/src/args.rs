//! The command line: what can be asked for, checked before anything is read.

use analyzer_core::Moment;
use analyzer_core::detect::SPECS;
use analyzer_core::report::Severity;
use clap::builder::PossibleValuesParser;
use clap::{Args, Parser, Subcommand, ValueEnum};
use serde::Deserialize;
use std::net::IpAddr;
use std::path::PathBuf;

use crate::render::Format;
use crate::suggest::did_you_mean;

/// Below the short help, which fits a screen.
const EXAMPLES: &str = "\
Examples:
  pcapdiff virbr0.pcap uplink.pcap               what happened, and what to do
  pcapdiff -f json a.pcap b.pcap | jq .findings  the same for programs
  pcapdiff ring/virbr0/ 'ring/uplink*.pcap'      ring-buffer files of each point
  pcapdiff explain tcp-reset                     what it is and how it looks
Exit status: 0 nothing found, 1 findings, 2 trouble. --help has all options.";

/// Below the long one. Paragraphs are one line each, which clap wraps to the terminal; examples fit 80 columns unwrapped.
const MORE_EXAMPLES: &str = "\
Examples:
  pcapdiff virbr0.pcap uplink.pcap
      what happened between the two, and what to do
  pcapdiff --format json a.pcap b.pcap | jq .findings
      the same for programs
  pcapdiff --only tcp-reset -v a.pcap b.pcap
      one kind of fault, with every frame that proves it
  pcapdiff ring/virbr0/ 'ring/uplink*.pcap'
      ring-buffer files (tcpdump -C/-G/-W) of each point
  pcapdiff --a in1.pcap in2.pcap --b out*.pcap
      the same, file by file
  pcapdiff both.pcapng --a-interface virbr0 --b-interface eth0
      both points in one file (dumpcap -i virbr0 -i eth0)
  pcapdiff any.pcap --a-interface 4 --b-interface 2
      the same by interface number (tcpdump -i any)
  pcapdiff --host 192.168.122.10 --from +30s a.pcap b.pcap
      one guest, from 30 s after the start on
  pcapdiff explain tcp-reset
      how it looks, what is mistaken for it, what to do

Settings: the nearest pcapdiff.toml in this folder or one above it, else pcapdiff/pcapdiff.toml in $XDG_CONFIG_HOME or \
~/.config, may set defaults for --format, --color, --progress, --quiet, --verbose, --only, --ignore, --min-severity, \
--min-confidence, --threads, --memory (each by its name) and, under [thresholds], for --threshold.

Exit status: 0 nothing found, 1 findings of severity warning or error, 2 trouble. Ctrl-C ends the reading; what was \
found so far is reported, with status 2.";

/// What happened between two captures of the same traffic, who did it, and what to change.
#[derive(Debug, Parser)]
#[command(
    name = "pcapdiff",
    version,
    about = "What happened between two captures of the same traffic, and who did it",
    long_version = crate::version::LONG,
    override_usage = "pcapdiff [OPTIONS] <A> <B>\n       pcapdiff <COMMAND>",
    after_help = EXAMPLES,
    after_long_help = MORE_EXAMPLES,
    disable_help_subcommand = true,
    max_term_width = 100,
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    arg_required_else_help = true
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    #[command(flatten)]
    pub(crate) analyze: Analyze,
}

/// What can be asked besides an analysis.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Print the table of all detectors
    Detectors,
    /// Say what a finding is, how it looks, and what to do
    Explain {
        /// The id of the finding
        #[arg(value_name = "FINDING-ID", value_parser = PossibleValuesParser::new(SPECS.iter().map(|spec| spec.id)))]
        id: String,
    },
    /// Print the JSON Schema of --format json
    Schema,
    /// Print a completion script for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Print the manual page (pcapdiff man | man -l -)
    Man,
}

/// An analysis of one pair.
#[derive(Args, Debug)]
pub(crate) struct Analyze {
    /// The inner capture (guest's side): a file, a directory, a 'pattern', or -
    ///
    /// A bridge or tap such as virbr0. A directory or a pattern in quotes stands for the files of a ring buffer, `-` for
    /// standard input.
    #[arg(value_name = "A")]
    pub(crate) a: Option<PathBuf>,
    /// The outer capture (the uplink), likewise
    #[arg(value_name = "B")]
    pub(crate) b: Option<PathBuf>,
    /// Too many; taken in so that the answer can say what to write instead.
    #[arg(hide = true)]
    pub(crate) surplus: Vec<PathBuf>,

    /// Files of the inner point, read as one capture by the time of their first packets
    #[arg(long = "a", value_name = "FILE", num_args = 1.., help_heading = "Input", hide_short_help = true)]
    pub(crate) a_files: Vec<PathBuf>,
    /// Files of the outer point
    #[arg(long = "b", value_name = "FILE", num_args = 1.., help_heading = "Input", hide_short_help = true)]
    pub(crate) b_files: Vec<PathBuf>,
    /// The interface of the inner point, where a file holds several
    ///
    /// Its name or number in a pcapng file, its number (`ip link`) in a capture on `any` (SLL2).
    #[arg(long, value_name = "NAME|INDEX", help_heading = "Input", hide_short_help = true)]
    pub(crate) a_interface: Option<String>,
    /// The interface of the outer point
    #[arg(long, value_name = "NAME|INDEX", help_heading = "Input", hide_short_help = true)]
    pub(crate) b_interface: Option<String>,

    /// Only flows of this address, at either point (repeatable)
    #[arg(long = "host", value_name = "ADDR", help_heading = "Selection")]
    pub(crate) hosts: Vec<IpAddr>,
    /// Only flows of this TCP or UDP port (repeatable)
    #[arg(long = "port", value_name = "N", help_heading = "Selection")]
    pub(crate) ports: Vec<u16>,
    /// Only packets from this time on: 00:52:07 (UTC), +10s, …
    ///
    /// On A's clock: 2026-11-21T00:52:07Z, 00:52:07 (UTC), or +10s, ten seconds after A's first packet.
    #[arg(long, value_name = "TIME", help_heading = "Selection")]
    pub(crate) from: Option<Moment>,
    /// Only packets before this time
    #[arg(long, value_name = "TIME", help_heading = "Selection", hide_short_help = true)]
    pub(crate) to: Option<Moment>,

    /// What the host's connection tracking said meanwhile: the output of `conntrack -E -o timestamp`
    #[arg(long, value_name = "FILE", help_heading = "Witnesses", hide_short_help = true)]
    pub(crate) conntrack: Option<PathBuf>,
    /// The host's own timers and switches: the output of `sysctl -a`
    #[arg(long, value_name = "FILE", help_heading = "Witnesses", hide_short_help = true)]
    pub(crate) sysctl: Option<PathBuf>,

    /// Form of the result
    #[arg(long, short = 'f', value_enum, default_value_t = Format::Human, help_heading = "Output")]
    pub(crate) format: Format,
    /// Write the result to FILE instead of standard output
    #[arg(long, short = 'o', value_name = "FILE", help_heading = "Output", hide_short_help = true)]
    pub(crate) output: Option<PathBuf>,
    /// Write the result as a page for a browser besides
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub(crate) html: Option<PathBuf>,
    /// Write the frames that prove each finding into DIR
    ///
    /// With the frames around them, one capture of each point for each finding, and an index.
    #[arg(long, value_name = "DIR", help_heading = "Output")]
    pub(crate) evidence: Option<PathBuf>,
    /// Write both captures as one pcapng file: interfaces A and B, both on A's clock, with the findings as comments
    #[arg(long, value_name = "FILE", help_heading = "Output", hide_short_help = true)]
    pub(crate) merged: Option<PathBuf>,
    /// With --merged: a comment on every frame that names the frame it was matched with
    #[arg(long, requires = "merged", help_heading = "Output", hide_short_help = true)]
    pub(crate) matches: bool,
    /// Write a table of all flows with their counters to FILE (CSV)
    #[arg(long, value_name = "FILE", help_heading = "Output", hide_short_help = true)]
    pub(crate) flows: Option<PathBuf>,
    /// Colours; NO_COLOR in the environment turns `auto` off
    #[arg(long, value_enum, value_name = "WHEN", default_value_t = When::Auto, help_heading = "Output", hide_short_help = true)]
    pub(crate) color: When,
    /// Progress on standard error; `auto` shows it on a terminal, after a second
    #[arg(long, value_enum, value_name = "WHEN", default_value_t = When::Auto, help_heading = "Output", hide_short_help = true)]
    pub(crate) progress: When,
    /// Only the verdict and a line for each finding
    ///
    /// And no messages but errors.
    #[arg(long, short, conflicts_with = "verbose", help_heading = "Output")]
    pub(crate) quiet: bool,
    /// Every frame, flow and detail that a finding has
    #[arg(long, short, help_heading = "Output")]
    pub(crate) verbose: bool,

    /// Only findings of this kind (repeatable)
    #[arg(long, value_name = "ID", value_delimiter = ',', hide_possible_values = true,
          value_parser = PossibleValuesParser::new(SPECS.iter().map(|spec| spec.id)), help_heading = "Selection")]
    pub(crate) only: Vec<String>,
    /// Do not report this kind of finding (repeatable)
    #[arg(long, value_name = "ID", value_delimiter = ',', hide_possible_values = true,
          value_parser = PossibleValuesParser::new(SPECS.iter().map(|spec| spec.id)), help_heading = "Findings", hide_short_help = true)]
    pub(crate) ignore: Vec<String>,
    /// Report findings of this severity or worse
    #[arg(long, value_enum, value_name = "SEVERITY", default_value_t = MinSeverity::Info, help_heading = "Findings", hide_short_help = true)]
    pub(crate) min_severity: MinSeverity,
    /// Report findings of this confidence or more, from 0 to 1
    #[arg(long, value_name = "NUMBER", default_value_t = 0.0, value_parser = confidence, help_heading = "Findings", hide_short_help = true)]
    pub(crate) min_confidence: f64,
    /// Change a threshold; `pcapdiff explain ID` lists those of a detector
    #[arg(long = "threshold", value_name = "NAME=VALUE", value_parser = threshold, help_heading = "Findings", hide_short_help = true)]
    pub(crate) thresholds: Vec<(String, f64)>,

    /// Take defaults from FILE instead of the nearest pcapdiff.toml
    #[arg(long, value_name = "FILE", help_heading = "Settings", hide_short_help = true)]
    pub(crate) config: Option<PathBuf>,
    /// Read no settings file
    #[arg(long, conflicts_with = "config", help_heading = "Settings", hide_short_help = true)]
    pub(crate) no_config: bool,

    /// Worker threads; 0 takes one for each processor
    #[arg(
        long,
        short = 'j',
        value_name = "N",
        default_value_t = 0,
        help_heading = "Resources",
        hide_short_help = true
    )]
    pub(crate) threads: usize,
    /// Memory to get by with, such as 512M or 4G [default: a quarter of what there is]
    ///
    /// What does not fit goes, the oldest and least informative first, and the report's coverage says what.
    #[arg(long, value_name = "LIMIT", value_parser = crate::memory::size, help_heading = "Resources",
          hide_short_help = true)]
    pub(crate) memory: Option<u64>,
}

/// When to do what only suits a terminal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum When {
    /// On a terminal.
    #[default]
    Auto,
    /// Wherever it goes.
    Always,
    /// Not at all.
    Never,
}

/// The least severity worth reporting.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum MinSeverity {
    /// Everything.
    #[default]
    Info,
    /// What a person should look at.
    Warning,
    /// What somebody must act on.
    Error,
}

impl From<MinSeverity> for Severity {
    fn from(minimum: MinSeverity) -> Self {
        match minimum {
            MinSeverity::Info => Self::Info,
            MinSeverity::Warning => Self::Warning,
            MinSeverity::Error => Self::Error,
        }
    }
}

fn confidence(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if (0.0..=1.0).contains(&value) => Ok(value),
        _ => Err("expected a number from 0 to 1".into()),
    }
}

fn threshold(text: &str) -> Result<(String, f64), String> {
    let Some((name, value)) = text.split_once('=') else {
        return Err("expected NAME=VALUE".into());
    };
    let name = name.trim();
    known_threshold(name)?;
    match value.trim().parse::<f64>() {
        Ok(value) if value.is_finite() => Ok((name.to_owned(), value)),
        _ => Err("expected NAME=VALUE with a number".into()),
    }
}

/// Refuses a threshold that no detector has.
pub(crate) fn known_threshold(name: &str) -> Result<(), String> {
    let names = || SPECS.iter().flat_map(|spec| spec.thresholds).map(|threshold| threshold.name);
    if names().any(|known| known == name) {
        return Ok(());
    }
    // A detector's own thresholds are few enough to be named.
    let detector = name.split('.').next().unwrap_or_default();
    let own: Vec<&str> = names().filter(|known| known.split('.').next() == Some(detector)).collect();
    let meant = did_you_mean(name, names());
    Err(if own.is_empty() {
        format!("no threshold is called `{name}`{meant} (`pcapdiff explain ID` lists those of a detector)")
    } else {
        format!("no threshold is called `{name}`{meant} ({detector} has {})", own.join(", "))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn parse(arguments: &[&str]) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(std::iter::once("pcapdiff").chain(arguments.iter().copied()))
    }

    #[test]
    fn the_table_of_arguments_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_pair_is_two_files() {
        let cli = parse(&[
            "a.pcap",
            "b.pcap",
            "--threshold",
            "one-sided-retransmission.ranges=2.5",
            "--only",
            "tcp-reset,udp-stall",
        ])
        .unwrap();
        assert_eq!(cli.analyze.a, Some("a.pcap".into()));
        assert_eq!(cli.analyze.b, Some("b.pcap".into()));
        assert_eq!(cli.analyze.thresholds, [("one-sided-retransmission.ranges".to_owned(), 2.5)]);
        assert_eq!(cli.analyze.only, ["tcp-reset", "udp-stall"]);
    }

    #[test]
    fn witnesses_are_files() {
        let cli = parse(&["--conntrack", "conntrack.log", "--sysctl", "sysctl.txt", "a.pcap", "b.pcap"]).unwrap();
        assert_eq!(cli.analyze.conntrack, Some("conntrack.log".into()));
        assert_eq!(cli.analyze.sysctl, Some("sysctl.txt".into()));
    }

    #[test]
    fn subcommands_need_no_files() {
        assert!(matches!(parse(&["detectors"]).unwrap().command, Some(Command::Detectors)));
        assert!(matches!(parse(&["explain", "tcp-reset"]).unwrap().command, Some(Command::Explain { .. })));
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for wrong in [
            &[][..],
            &["a", "b", "--host", "guest"],
            &["a", "b", "--from", "yesterday"],
            &["a", "b", "--only", "tcp-rest"],
            &["a", "b", "--min-confidence", "1.5"],
            &["a", "b", "--threshold", "stall"],
            &["a", "b", "--threshold", "one-sided-retransmission.ranges=soon"],
            &["a", "b", "--threshold", "one-sided-retransmission.ranges=inf"],
            &["a", "b", "--threshold", "nonsense=1"],
            &["a", "b", "-q", "-v"],
            &["a", "b", "--memory", "10M"],
            &["a", "b", "--memory", "much"],
            &["explain", "nonsense"],
        ] {
            assert_eq!(parse(wrong).unwrap_err().exit_code(), 2, "{wrong:?}");
        }
    }
}
