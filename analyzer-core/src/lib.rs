//! Aligns two packet captures of the same traffic, taken at two points, and says what happened between them.
//!
//! Point A is the inner one (a guest's bridge or tap), B the outer one (the uplink). Between them is the host: a bridge, a
//! router, NAT, a firewall, offload. The two captures need not share a clock, an address or a packet boundary.
//!
//! ```
//! # std::env::set_current_dir("../testdata/pairs/rst_by_host")?;
//! use analyzer_core::Analysis;
//!
//! let report = Analysis::builder().a_path("virbr0.pcap").b_path("uplink.pcap").run()?;
//! for finding in report.actionable() {
//!     println!("{} ({:?}): {}", finding.id, finding.place, finding.summary);
//! }
//! # assert_eq!(report.actionable().map(|finding| finding.id).collect::<Vec<_>>(), ["tcp-reset"]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # A tour
//! [`Analysis`] is the way in: captures from paths, sets of ring-buffer files or any [`Read`](std::io::Read), then
//! [`Options`], a progress callback, a flag that cancels. The [`Report`] is plain data in the shape of the JSON that
//! `pcapdiff --format json` prints, and serialises to it.
//!
//! ```
//! # std::env::set_current_dir("../testdata/pairs/rst_by_host")?;
//! use analyzer_core::{Analysis, Options, Time};
//! use std::fs::File;
//!
//! let mut options = Options::default();
//! options.ports = vec![443];
//! options.from = Some("+1s".parse()?);
//! options.thresholds.insert("tcp-reset.answer".into(), 20.0);
//!
//! let report = Analysis::builder()
//!     .a_reader("inside", File::open("virbr0.pcap")?)
//!     .b_reader("outside", File::open("uplink.pcap")?)
//!     .options(options)
//!     .progress(|progress| eprintln!("{} packets", progress.packets))
//!     .run()?;
//! let reset = &report.findings[0];
//! assert_eq!((reset.id, reset.cause), ("tcp-reset", Some("nat-state-lost")));
//! for cited in &reset.evidence {
//!     println!("frame {} of {:?} at {}: {}", cited.frame, cited.point, cited.time, cited.note);
//! }
//! println!("{}", serde_json::to_string(&report)?);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! A fault that only your network has is a [`Detector`] of your own: it goes the same way as those that come with the
//! library, which [`detect::SPECS`] lists. What it sees is the [`Scene`](detect::Scene) with its [`facts`]. The folder
//! `examples` has one, beside two other small programs.
//!
//! Damage inside a capture is no error: it is listed in `report.inputs`, and what could be read is judged. An
//! [`Error`] means that there is no report. Nothing here panics on any input, prints, or reads a clock; with the same input the
//! report is the same, whatever the number of threads.
//!
//! # Features
//! All are on by default.
//! - `gzip`, `zstd`, `lz4`: captures compressed in these ways. Without one of them such a capture is an error that
//!   says so.
//!
//! # What may change
//! Versions follow semantic versioning. Structs and enumerations that will grow are `#[non_exhaustive]`; the names of
//! findings, causes and thresholds, and the JSON, are covered as well. [`align`] and [`flow`] are public for this project's
//! own benchmarks and are not.

// For the project's own tests and benchmarks.
#[doc(hidden)]
pub mod align;
mod analysis;
pub mod capture;
pub mod detect;
mod error;
pub mod evidence;
pub mod facts;
// For the project's own tests and benchmarks.
#[doc(hidden)]
pub mod flow;
mod hash;
mod options;
pub mod packet;
mod point;
mod prefetch;
pub mod report;
mod seq;
pub mod time;
pub mod witness;

pub use analysis::{Analysis, Progress};
pub use detect::Detector;
pub use error::Error;
pub use options::Options;
pub use point::{Direction, Point};
pub use report::{Finding, Report, Severity};
pub use time::{Moment, Time};
