//! Rows → flows at one point: the flow table, and TCP's view of a direction.

pub mod ingest;
pub mod ranges;
pub mod table;
pub mod tcp;
