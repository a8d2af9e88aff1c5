//! What a caller can set.

use std::collections::BTreeMap;
use std::path::PathBuf;

/// Options of an analysis. `Options::default()` suits a pair from one host.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Options {
    /// Worker threads; 0 takes one for each processor.
    pub threads: usize,
    /// Thresholds that differ from their defaults, by name.
    pub thresholds: BTreeMap<String, f64>,
    /// The log of `conntrack -E` (with or without `-o timestamp`) on the host between the points, meanwhile.
    pub conntrack: Option<PathBuf>,
    /// The output of `sysctl -a` on that host.
    pub sysctl: Option<PathBuf>,
}
