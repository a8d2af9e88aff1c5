//! From a report to bytes: one file for each form, and what they share.
//!
//! The report is plain data and already ordered; nothing here judges. Whatever a renderer prints of names, notes and
//! messages may have been chosen by whoever sent the packets, so each form escapes every string in its own way.

mod human;
mod json;
pub(crate) mod text;
mod verdict;

#[cfg(test)]
pub(crate) mod sample;

use analyzer_core::report::{FlowName, Input, Report};
use clap::ValueEnum;

/// The forms in which a report can be had.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For reading on a terminal
    #[default]
    Human,
    /// One JSON object, schema pcapdiff/1
    Json,
}

/// How the reader wants to see it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct View {
    /// Columns of the terminal.
    pub(crate) width: usize,
    /// Every frame, flow and detail.
    pub(crate) verbose: bool,
    /// The verdict and a line for each finding.
    pub(crate) quiet: bool,
    /// Findings that the filters of the command line removed from the report.
    pub(crate) hidden: usize,
}

/// The report in the form asked for. The human form has ANSI colours, which the caller removes where they do not belong.
pub(crate) fn render(format: Format, report: &Report, view: View) -> anyhow::Result<Vec<u8>> {
    Ok(match format {
        Format::Human => human::render(report, view).into_bytes(),
        Format::Json => json::render(report)?,
    })
}

/// The name of an input as people call it: the file name without its folder, and how many files follow it.
fn input_name(input: &Input) -> String {
    let Some(first) = input.files.first() else {
        return "(none)".into();
    };
    let name = first.rsplit(std::path::is_separator).find(|part| !part.is_empty()).unwrap_or(first);
    let name = if name == "-" { "standard input" } else { name };
    match input.files.len() {
        1 => name.to_owned(),
        more => format!("{name} and {} more", more - 1),
    }
}

/// Seconds between the first and the last packet of an input.
fn input_seconds(input: &Input) -> Option<f64> {
    Some(input.last?.seconds_since(input.first?))
}

/// A flow by its endpoints: those at A, and what the inside endpoint is called at B where that differs.
fn flow_name(flow: &FlowName) -> String {
    let arrow = |name: &str| name.replacen(' ', " ↔ ", 1);
    match (&flow.a, &flow.b) {
        (Some(a), Some(b)) if a == b => arrow(a),
        (Some(a), Some(b)) => match (a.split_once(' '), b.split_once(' ')) {
            (Some((_, peer)), Some((outer, same))) if peer == same => format!("{} (at B: {outer})", arrow(a)),
            _ => format!("{} (at B: {})", arrow(a), arrow(b)),
        },
        (Some(a), None) => format!("{} (at A only)", arrow(a)),
        (None, Some(b)) => format!("{} (at B only)", arrow(b)),
        (None, None) => "(unnamed)".into(),
    }
}
