//! Synthesises large pairs of captures for the benchmarks: what a guest says to the world, seen on the bridge (A) and,
//! after the host's NAT, on the uplink (B), with the truth about it.
//!
//! The traffic is made to be as hard on an analyzer as real traffic is, not to look like a given network: tens of
//! thousands of connections open and close while others live, addresses and ports are translated, every checksum is
//! right (or rightly unfinished, where offload is on), each segment has bytes of its own, the host takes some
//! microseconds to forward, and loses a packet now and then, which is then sent again after three duplicate ACKs or a
//! timeout. The same plan gives the same bytes.

mod packet;
mod pcap;
mod random;
mod stress;
mod traffic;

pub use stress::{STRESSES, Stress, stress};
pub use traffic::{Plan, Shape, Truth, synthesise};

use std::fs::File;
use std::io::{self, BufWriter};
use std::path::{Path, PathBuf};

/// The shapes and their names, for benches that go through all of them.
pub const SHAPES: [(&str, Shape); 3] = [("large", Shape::Large), ("small", Shape::Small), ("offload", Shape::Offload)];

/// Writes a pair of files into `folder`, and returns their paths and what is true about them.
pub fn write_pair(folder: &Path, plan: &Plan) -> io::Result<(PathBuf, PathBuf, Truth)> {
    let (a, b) = (folder.join("a.pcap"), folder.join("b.pcap"));
    let truth = synthesise(plan, BufWriter::new(File::create(&a)?), BufWriter::new(File::create(&b)?))?;
    Ok((a, b, truth))
}
