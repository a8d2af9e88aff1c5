//! What a caller can set.

use std::collections::BTreeMap;

/// Options of an analysis. `Options::default()` suits a pair from one host.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Options {
    /// Worker threads; 0 takes one for each processor.
    pub threads: usize,
    /// Thresholds that differ from their defaults, by name.
    pub thresholds: BTreeMap<String, f64>,
}
