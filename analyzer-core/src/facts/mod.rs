//! What the hot loop leaves behind: counters, bounded histograms, rare events and a track for each flow, direction and point.
//!
//! Facts know no fault. They are plain data and each has a bound on its memory; the facts of shards merge into the
//! facts of the whole. Times are in the clock of the point where they were taken.

mod activity;
mod event;
mod handful;
mod holes;
mod link;
mod message;
mod pair;
mod room;
mod tally;

pub use activity::{Activity, Gap, Series};
pub use event::{Event, EventIndex, EventKind, Events, Thinned};
pub use handful::Handful;
pub use holes::Holes;
pub use link::{Asked, Echo, LinkFacts, SpanningTree, Unanswered};
pub use message::{DnsFacts, EchoPace, Question};
pub use pair::{
    Fate, Head, IcmpSeen, MAX_ICMP, MAX_RESETS, NO_NODE, PairFacts, Rare, Reset, Run, Seldom, Stamp, SynOptions, Track,
    TrackMore, Turn, pair_flags, state,
};
pub use room::{GivenUp, Room};
pub use tally::{DelayHistogram, Delays, Passing, SIZE_CLASSES, STEPS_OF_SIZE, Tally, size_class, size_step};
