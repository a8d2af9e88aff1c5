//! Pairs the flows of A and B through NAT, maps the clocks, and says of each packet or byte range where it was seen.

pub mod clock;
pub mod matching;
pub mod pairing;
pub mod topology;

/// Shards of the matcher. A constant, so that the report does not depend on the number of threads.
pub const SHARDS: usize = 8;
