//! Triage of a folder of pairs: a line for each, the worst first.
//!
//! Each pair is a folder with a capture of the inside and one of the outside:
//! `cargo run --example triage -- testdata/pairs`

use analyzer_core::{Analysis, Report, Severity};
use std::error::Error;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

fn main() -> Result<(), Box<dyn Error>> {
    let folder = std::env::args().nth(1).ok_or("usage: triage FOLDER")?;
    run(Path::new(&folder), &mut io::stdout().lock())
}

/// Analyzes every pair in `folder` and prints what is worst in each.
pub(crate) fn run(folder: &Path, out: &mut dyn Write) -> Result<(), Box<dyn Error>> {
    let mut names: Vec<PathBuf> = Vec::new();
    for entry in folder.read_dir()? {
        names.push(entry?.path());
    }
    names.sort();

    let mut lines = Vec::new();
    for pair in names {
        let (a, b) = (pair.join("virbr0.pcap"), pair.join("uplink.pcap"));
        if !a.is_file() || !b.is_file() {
            continue;
        }
        let name = pair.file_name().unwrap_or_default().to_string_lossy().into_owned();
        // A pair that cannot be read must not keep the others from being judged.
        match Analysis::builder().a_path(a).b_path(b).run() {
            Ok(report) => lines.push((rank(&report), format!("{name}: {}", verdict(&report)))),
            Err(error) => lines.push((3, format!("{name}: {error}"))),
        }
    }
    // Stable: pairs of one rank stay in the order of their names.
    lines.sort_by_key(|(rank, _)| *rank);
    for (_, line) in lines {
        writeln!(out, "{line}")?;
    }
    Ok(())
}

/// Findings come worst first, so the first one ranks the pair.
fn rank(report: &Report) -> u8 {
    match report.actionable().next().map(|finding| finding.severity) {
        Some(Severity::Error) => 0,
        Some(_) => 1,
        None => 2,
    }
}

fn verdict(report: &Report) -> String {
    let Some(worst) = report.actionable().next() else { return "nothing found".to_owned() };
    let more = report.actionable().count() - 1;
    let more = if more > 0 { format!(" ({more} more)") } else { String::new() };
    format!("{} [{}]{more}", worst.summary, worst.id)
}
