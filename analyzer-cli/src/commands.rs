//! The commands that need no capture.

use clap::CommandFactory;
use clap_complete::Shell;
use std::fmt::Write;

use crate::args::Cli;
use crate::catalogue::{self, ENTRIES};
use crate::output::Destination;
use crate::render::text::wrap;
use crate::schema;

/// `pcapdiff detectors`: one finding a line.
pub(crate) fn detectors() -> anyhow::Result<()> {
    let column = ENTRIES.iter().map(|entry| entry.id.len()).max().unwrap_or(0) + 2;
    let mut out = String::new();
    for entry in ENTRIES {
        let _ = writeln!(out, "{:column$}{} [{}]", entry.id, entry.says, entry.severity);
    }
    Destination::Stdout.write(out.as_bytes())
}

/// `pcapdiff explain ID`.
pub(crate) fn explain(id: &str) -> anyhow::Result<()> {
    let Some(entry) = catalogue::find(id) else {
        anyhow::bail!("{id}: no such finding; `pcapdiff detectors` lists them");
    };
    let mut out = format!("{}\n\n{}\n", entry.id, wrap(entry.says, 80).join("\n"));
    let _ = writeln!(out, "\nSeverity: {}", entry.severity);
    if !entry.causes.is_empty() {
        let _ = writeln!(out, "{}", wrap(&format!("Causes: {}", entry.causes.join(", ")), 80).join("\n"));
    }
    Destination::Stdout.write(out.as_bytes())
}

/// `pcapdiff schema`.
pub(crate) fn schema() -> anyhow::Result<()> {
    Destination::Stdout.write(schema::TEXT.as_bytes())
}

/// `pcapdiff completions SHELL`.
pub(crate) fn completions(shell: Shell) -> anyhow::Result<()> {
    let mut out = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "pcapdiff", &mut out);
    Destination::Stdout.write(&out)
}

/// `pcapdiff man`: the manual page in roff.
pub(crate) fn man() -> anyhow::Result<()> {
    let mut out = Vec::new();
    clap_mangen::Man::new(Cli::command()).render(&mut out)?;
    Destination::Stdout.write(&out)
}
