//! What the host itself says, besides the captures: its log of connection tracking, and its settings.
//!
//! Witnesses raise or refute causes; they are not needed. Plain data and parsers; what they mean for a flow is told by
//! [`crate::detect`].

pub mod conntrack;
mod lines;
pub mod sysctl;

use crate::capture;
use crate::error::Error;
use crate::options::Options;
use crate::packet::FlowKey;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

pub use conntrack::Log;
pub use sysctl::Host;

/// Bytes of a log that are looked at before the captures are read.
const PEEK: usize = 1 << 16;

/// The witnesses that the caller named, opened so that a wrong name is told at once.
#[derive(Debug, Default)]
pub(crate) struct Witnesses {
    log: Option<(PathBuf, BufReader<File>)>,
    pub(crate) host: Host,
}

impl Witnesses {
    pub(crate) fn open(options: &Options) -> Result<Self, Error> {
        let log = options.conntrack.as_deref().map(open_log).transpose()?;
        let host = match &options.sysctl {
            Some(path) => Host::read(path, open(path)?)?,
            None => Host::default(),
        };
        Ok(Self { log, host })
    }

    /// Reads the log for the flows that are `wanted`. Timers that it shows stand in for settings that nobody told.
    pub(crate) fn read(self, wanted: impl Fn(&FlowKey, &FlowKey) -> bool) -> Result<(Option<Log>, Host), Error> {
        let mut host = self.host;
        let Some((path, reader)) = self.log else { return Ok((None, host)) };
        let log = Log::read(&path, reader, wanted)?;
        for (setting, told) in log.learned() {
            host.learn(setting, told.clone());
        }
        Ok((Some(log), host))
    }
}

fn open(path: &Path) -> Result<BufReader<File>, Error> {
    let failed = |source| Error::Io { path: path.to_owned(), source };
    let mut reader = BufReader::with_capacity(PEEK, File::open(path).map_err(failed)?);
    match capture::not_text(reader.fill_buf().map_err(failed)?) {
        Some(what) => {
            Err(Error::Witness { path: path.to_owned(), line: 1, reason: format!("{what}, not what the host printed") })
        }
        None => Ok(reader),
    }
}

fn open_log(path: &Path) -> Result<(PathBuf, BufReader<File>), Error> {
    let mut reader = open(path)?;
    let head = reader.fill_buf().map_err(|source| Error::Io { path: path.to_owned(), source })?;
    if let Err(lines) = conntrack::sniff(head) {
        let reason = format!("none of the first {lines} lines is an event of `conntrack -E`");
        return Err(Error::Witness { path: path.to_owned(), line: 1, reason });
    }
    Ok((path.to_owned(), reader))
}
