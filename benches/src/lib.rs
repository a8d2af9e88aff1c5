//! Synthesises large pairs of captures for the benchmarks.
