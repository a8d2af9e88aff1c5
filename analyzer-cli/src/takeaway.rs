//! What can be had besides the report: `--flows`, `--merged`, `--evidence`.

use analyzer_core::capture::{CaptureSet, Only};
use analyzer_core::evidence::{self, Ladder, Trace};
use analyzer_core::report::Report;
use analyzer_core::{Error, Point};
use anyhow::Context;
use std::fs::{self, File};
use std::io::{BufWriter, ErrorKind, Write};
use std::path::{Path, PathBuf};

use crate::args::Analyze;
use crate::inputs::Inputs;
use crate::output::{Destination, message};
use crate::progress::{Counted, Meter};
use crate::render::text::count;
use crate::render::{flows, index};

/// Most findings whose frames are written out; the worst come first.
const MOST_FINDINGS: usize = 100;

/// What was asked for, checked before anything is read.
pub(crate) struct Takeaway {
    captures: Inputs,
    inputs: Vec<PathBuf>,
    flows: Option<PathBuf>,
    merged: Option<PathBuf>,
    evidence: Option<PathBuf>,
}

impl Takeaway {
    /// Refuses what cannot be done: captures that can be read only once, places that cannot be written to.
    pub(crate) fn new(asked: &Analyze, captures: &Inputs, inputs: &[PathBuf]) -> anyhow::Result<Self> {
        for (option, wanted) in [("--evidence", asked.evidence.is_some()), ("--merged", asked.merged.is_some())] {
            if !wanted {
                continue;
            }
            if let Some(stream) = captures.stream() {
                let name =
                    if stream == Path::new("-") { "standard input".into() } else { stream.display().to_string() };
                anyhow::bail!(
                    "{option} reads the captures a second time, which {name} does not allow: save it to a file"
                );
            }
        }
        let file = |option: &str, path: Option<&Path>| {
            path.map(|path| Destination::file(path, inputs).with_context(|| option.to_owned())).transpose()
        };
        if let Some(folder) = &asked.evidence {
            make(folder)?;
        }
        Ok(Self {
            captures: captures.clone(),
            inputs: inputs.to_vec(),
            flows: file("--flows", asked.flows.as_deref())?,
            merged: file("--merged", asked.merged.as_deref())?,
            evidence: asked.evidence.clone(),
        })
    }

    /// Writes it all.
    pub(crate) fn write(&self, report: &Report, trace: &Trace, quiet: bool, meter: &Meter) -> anyhow::Result<()> {
        if let Some(path) = &self.flows {
            let write = || flows::write(report, trace, BufWriter::new(File::create(path)?));
            write().with_context(|| path.display().to_string())?;
            if trace.flows_left_out > 0 && !quiet {
                message(&format!("{}: {} left out", path.display(), count(trace.flows_left_out, "more flow")));
            }
        }
        let open = |point| self.open(point);
        if let Some(path) = &self.merged {
            let file = File::create(path).with_context(|| path.display().to_string())?;
            // About what is read; nobody knows how much that is of a part or of what is compressed.
            let inputs = [&report.inputs.a, &report.inputs.b];
            let whole = trace.bounds.is_none() && !inputs.iter().any(|input| input.format.contains('+'));
            let total = whole.then(|| inputs.iter().map(|input| input.bytes).sum());
            meter.writing(&format!("writing {}", path.display()), total);
            let written = evidence::merge(report, trace, &open, Counted::new(file, meter));
            meter.finish();
            written.map_err(|error| name(error, path))?;
        }
        if let Some(folder) = &self.evidence {
            meter.writing(&format!("writing {}", folder.display()), None);
            let written = self.write_evidence(folder, report, trace, &open);
            meter.finish();
            written?;
        }
        Ok(())
    }

    /// Takes A for B and B for A from here on.
    pub(crate) fn swap(&mut self) {
        self.captures = self.captures.swapped();
    }

    /// The captures again, from their start.
    fn open(&self, point: Point) -> Result<CaptureSet, Error> {
        let Inputs { a, b, interfaces } = &self.captures;
        let only = interfaces[point.index()].as_deref().map(Only::new);
        CaptureSet::open([a, b][point.index()], only.as_ref())
    }

    /// The flow around the fault of each finding, where the captures can be read again.
    pub(crate) fn ladders(
        &self,
        report: &Report,
        trace: &Trace,
        threads: usize,
    ) -> anyhow::Result<Vec<Option<Ladder>>> {
        if self.captures.stream().is_some() {
            return Ok(Vec::new());
        }
        Ok(evidence::ladders(&report.findings, trace, &|point| self.open(point), threads)?)
    }

    fn write_evidence(
        &self,
        folder: &Path,
        report: &Report,
        trace: &Trace,
        open: &evidence::Open<'_>,
    ) -> anyhow::Result<()> {
        make(folder)?;
        let findings = &report.findings[..report.findings.len().min(MOST_FINDINGS)];
        let path = |number: usize, point| folder.join(index::file_name(number, &findings[number], point));
        let extracts = evidence::select(findings, trace, open)?;
        // An earlier run's evidence may be what is analyzed now.
        for number in 0..findings.len() {
            for point in Point::BOTH {
                Destination::file(&path(number, point), &self.inputs)?;
            }
        }
        evidence::write(findings, &extracts, trace, open, |number, point| File::create(path(number, point)))
            .map_err(|error| name(error, folder))?;
        let path = Destination::file(&folder.join("index.md"), &self.inputs)?;
        let write = || File::create(&path)?.write_all(index::render(report, &extracts, trace).as_bytes());
        write().with_context(|| path.display().to_string())
    }
}

/// Makes the last folder of a path; that it is there already is no mistake.
fn make(folder: &Path) -> anyhow::Result<()> {
    match fs::create_dir(folder) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists || !folder.is_dir() => {
            Err(error).with_context(|| folder.display().to_string())
        }
        _ => Ok(()),
    }
}

/// Says which file could not be written.
fn name(error: Error, path: &Path) -> anyhow::Error {
    match error {
        Error::Output(error) => anyhow::Error::new(error).context(path.display().to_string()),
        other => other.into(),
    }
}
