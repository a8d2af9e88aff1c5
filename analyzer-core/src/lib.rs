//! Aligns two packet captures of the same traffic, taken at two points, and says what happened between them.

pub mod align;
mod analysis;
pub mod capture;
pub mod detect;
mod error;
pub mod evidence;
pub mod facts;
pub mod flow;
pub mod hash;
mod options;
pub mod packet;
mod point;
pub mod report;
pub mod seq;
pub mod time;
pub mod witness;

pub use analysis::{Analysis, Progress};
pub use error::Error;
pub use options::Options;
pub use point::{Direction, Point};
pub use time::{Moment, Time};
