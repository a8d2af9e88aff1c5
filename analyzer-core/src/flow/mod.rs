//! Rows → flows at one point: the flow table, and TCP's view of a direction.

pub mod ingest;
mod queue;
pub mod table;
pub mod tcp;

/// Shards that rows are sorted into by flow, so that each is matched by itself. A constant, so that the report does not
/// depend on the number of threads.
pub const SHARDS: usize = 8;
