//! `pcapdiff`: what happened between two captures of the same traffic, who did it, and what to change.

fn main() {}
