//! What a caller can set.

use crate::error::Error;
use crate::time::Moment;
use rayon::{ThreadPool, ThreadPoolBuilder};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::thread::available_parallelism;

/// Options of an analysis. `Options::default()` suits a pair from one host.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Options {
    /// Worker threads; 0 takes one for each processor, and more than that there never are.
    pub threads: usize,
    /// Thresholds that differ from their defaults, by name.
    pub thresholds: BTreeMap<String, f64>,
    /// The log of `conntrack -E` (with or without `-o timestamp`) on the host between the points, meanwhile.
    pub conntrack: Option<PathBuf>,
    /// The output of `sysctl -a` on that host.
    pub sysctl: Option<PathBuf>,
    /// Report only what concerns flows of these hosts, by their address at either point; empty for all.
    pub hosts: Vec<IpAddr>,
    /// Report only what concerns flows with these ports at either end; empty for all.
    pub ports: Vec<u16>,
    /// Analyze packets from this time on, on A's clock.
    pub from: Option<Moment>,
    /// Analyze packets before this time, on A's clock.
    pub to: Option<Moment>,
    /// Bytes of memory that the analysis should get by with; none for 1 GiB. What does not fit goes, the oldest and least
    /// informative first, and `coverage` says what. Below some 64 MiB it cannot go.
    pub memory: Option<u64>,
}

/// Threads to work with, see [`Options::threads`].
pub(crate) fn pool(threads: usize) -> Result<ThreadPool, Error> {
    // There is always work for every thread: more than there are processors would only wait for one another.
    let most = available_parallelism().map_or(threads, Into::into);
    let cannot = |error| Error::Usage(format!("cannot start {threads} threads: {error}"));
    ThreadPoolBuilder::new().num_threads(threads.min(most)).build().map_err(cannot)
}
