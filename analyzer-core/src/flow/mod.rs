//! Rows → flows at one point: the flow table, and TCP's view of a direction.

pub mod ingest;
mod queue;
pub mod table;
pub mod tcp;

/// Shards that rows are sorted into by flow, so that each is matched by itself. A constant, so that the report does not
/// depend on the number of threads.
pub const SHARDS: usize = 8;

/// Flows that there is room for from the start. Room that is not used costs no memory, and lists that grow leave holes behind
/// in the heap.
pub const USUAL_FLOWS: usize = 128 * 1024;
