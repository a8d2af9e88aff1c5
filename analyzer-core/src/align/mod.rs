//! Pairs the flows of A and B through NAT, maps the clocks, and says of each packet or byte range where it was seen.

pub mod clock;
mod hold;
pub mod matching;
pub mod offers;
pub mod pairing;
pub mod steps;
pub mod survey;
pub mod topology;
