//! Where results and messages go.

use anyhow::Context;
use std::fs::File;
use std::io::{ErrorKind, IsTerminal, Write};
use std::path::{Path, PathBuf};

use crate::args::When;
use crate::render::text::printable;

/// Columns to assume where nobody can tell.
const USUAL_WIDTH: usize = 80;

/// Where the result goes.
pub(crate) enum Destination {
    /// Standard output.
    Stdout,
    /// A file, made or overwritten when the result is there.
    File(PathBuf),
}

impl Destination {
    /// What `--output` names; `-` is standard output, as for inputs.
    ///
    /// Refuses to overwrite one of `inputs`, and a folder that does not exist is reported now rather than after hours.
    pub(crate) fn new(output: Option<&Path>, inputs: &[PathBuf]) -> anyhow::Result<Self> {
        let Some(path) = output.filter(|path| *path != Path::new("-")) else {
            return Ok(Self::Stdout);
        };
        let name = path.display();
        if let Ok(real) = path.canonicalize() {
            let overwritten = inputs.iter().find(|input| input.canonicalize().is_ok_and(|input| input == real));
            if overwritten.is_some() {
                anyhow::bail!("{name}: is one of the inputs");
            }
            if real.is_dir() {
                anyhow::bail!("{name}: is a directory");
            }
        }
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        if let Some(folder) = folder {
            folder.metadata().with_context(|| format!("{}", folder.display()))?;
        }
        Ok(Self::File(path.to_owned()))
    }

    /// A file of its own, for what is too large to be put together in memory first.
    pub(crate) fn file(path: &Path, inputs: &[PathBuf]) -> anyhow::Result<PathBuf> {
        match Self::new(Some(path), inputs)? {
            Self::File(path) => Ok(path),
            Self::Stdout => anyhow::bail!("standard output is for the report; name a file"),
        }
    }

    /// Whether ANSI colours belong there.
    pub(crate) fn colours(&self, when: When) -> bool {
        match (when, self) {
            (When::Always, _) => true,
            (When::Never, _) | (When::Auto, Self::File(_)) => false,
            // Knows NO_COLOR, CLICOLOR, TERM=dumb and whether it is a terminal.
            (When::Auto, Self::Stdout) => {
                anstream::AutoStream::choice(&std::io::stdout()) != anstream::ColorChoice::Never
            }
        }
    }

    /// Columns of prose.
    pub(crate) fn width(&self) -> usize {
        let terminal = match self {
            Self::Stdout if std::io::stdout().is_terminal() => terminal_size::terminal_size(),
            Self::Stdout | Self::File(_) => None,
        };
        terminal.map_or(USUAL_WIDTH, |(columns, _)| usize::from(columns.0))
    }

    /// Writes text for people, with its colours where they belong.
    pub(crate) fn write_styled(&self, text: &str, when: When) -> anyhow::Result<()> {
        if self.colours(when) {
            return self.write(text.as_bytes());
        }
        self.write(anstream::adapter::strip_str(text).to_string().as_bytes())
    }

    /// Writes the result. A reader that has seen enough (`| head`) is no error.
    pub(crate) fn write(&self, bytes: &[u8]) -> anyhow::Result<()> {
        match self {
            Self::Stdout => {
                // On a Windows console this turns escape sequences into calls where they are not understood.
                let mut stream = anstream::AutoStream::always(std::io::stdout().lock());
                match stream.write_all(bytes).and_then(|()| stream.flush()) {
                    Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
                    result => result.context("standard output"),
                }
            }
            Self::File(path) => {
                // Written in one call and synced by nobody: what a full disk refuses is said by `write` or `flush`.
                let write = || -> std::io::Result<()> {
                    let mut file = File::create(path)?;
                    file.write_all(bytes)?;
                    file.flush()
                };
                write().with_context(|| format!("{}", path.display()))
            }
        }
    }
}

/// Says something on standard error, in the form of every Unix tool: the program, then what. Never fails.
pub(crate) fn message(text: &str) {
    // There is nobody to tell when standard error is closed.
    let _ = writeln!(std::io::stderr(), "pcapdiff: {}", printable(text));
}
