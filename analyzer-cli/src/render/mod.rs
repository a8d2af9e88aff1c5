//! From a report to bytes: one file for each form, and what they share.
//!
//! The report is plain data and already ordered; nothing here judges. Whatever a renderer prints of names, notes and
//! messages may have been chosen by whoever sent the packets, so each form escapes every string in its own way.

mod csv;
pub(crate) mod describe;
pub(crate) mod flows;
mod html;
mod human;
pub(crate) mod index;
mod json;
mod markdown;
mod ndjson;
mod next;
pub(crate) mod page;
mod pictures;
pub(crate) mod text;
mod verdict;

#[cfg(test)]
pub(crate) mod sample;

use analyzer_core::evidence::{Ladder, Trace};
use analyzer_core::report::Report;
use clap::ValueEnum;
use serde::Deserialize;

/// The forms in which a report can be had.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Format {
    /// For reading on a terminal
    #[default]
    Human,
    /// One JSON object, schema pcapdiff/1
    Json,
    /// One JSON object a line: the report without its lists, then each limit and each finding
    Ndjson,
    /// One line for each finding, for a spreadsheet
    Csv,
    /// For a ticket or a chat
    Markdown,
    /// One self-contained page for a browser
    Html,
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

/// What some forms show beside the report.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Material<'a> {
    pub(crate) trace: &'a Trace,
    /// By finding.
    pub(crate) ladders: &'a [Option<Ladder>],
}

#[cfg(test)]
impl<'a> Material<'a> {
    /// Without ladders.
    pub(crate) fn of(trace: &'a Trace) -> Self {
        Self { trace, ladders: &[] }
    }
}

/// The report in the form asked for. The human form has ANSI colours, which the caller removes where they do not belong.
pub(crate) fn render(format: Format, report: &Report, material: Material<'_>, view: View) -> anyhow::Result<Vec<u8>> {
    Ok(match format {
        Format::Human => human::render(report, view).into_bytes(),
        Format::Json => text::harmless(json::render(report)?)?,
        Format::Ndjson => text::harmless(ndjson::render(report)?)?,
        Format::Csv => csv::render(report)?,
        Format::Html => html::render(report, material, view)?.into_bytes(),
        Format::Markdown => markdown::render(report, view).into_bytes(),
    })
}
