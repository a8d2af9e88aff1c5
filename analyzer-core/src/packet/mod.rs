//! Record → row: decodes a frame into a small plain [`Row`], its [`FlowKey`] and, rarely, a [`Detail`].
//!
//! Decoding never fails: what cannot be understood becomes a row of a lesser kind.

pub mod detail;
pub mod key;
pub mod row;

pub use detail::Detail;
pub use key::{Endpoint, Family, FlowKey};
pub use row::{Checksum, Kind, Row};
