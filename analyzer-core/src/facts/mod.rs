//! What the hot loop leaves behind: counters, bounded histograms, rare events and a track for each flow, direction and point.
//!
//! Facts know no fault. They are plain data and each has a bound on its memory; the facts of shards merge into the
//! facts of the whole. Times are in the clock of the point where they were taken.

mod activity;
mod bins;
mod ends;
mod event;
mod handful;
mod holes;
mod latest;
mod link;
mod message;
mod pair;
mod room;
mod tally;
mod track;

pub use activity::{Activity, Gap, Series};
pub use ends::{Fate, IcmpSeen, MAX_ICMP, MAX_RESETS, MAX_TOLD, Reset, Turn};
pub use event::{Event, EventIndex, EventKind, Events, Thinned};
pub use handful::Handful;
pub use holes::Holes;
pub use latest::Latest;
pub use link::{Asked, Echo, LinkFacts, SpanningTree, Unanswered};
pub use message::{DnsFacts, EchoPace, Question};
pub use pair::{PairFacts, Rare, Talk, pair_flags};
pub use room::{GivenUp, Room};
pub use tally::{DelayHistogram, Delays, Passing, SIZE_CLASSES, STEPS_OF_SIZE, Tally, size_class, size_step};
pub use track::{Head, NO_NODE, Run, Seldom, Stamp, SynOptions, Track, TrackMore, state};
