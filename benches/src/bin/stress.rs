//! Writes what one point sees of traffic that is hard on memory to standard output: one process for each of two pipes.

use clap::Parser;
use pcapdiff_benches::{STRESSES, stress};
use std::io::{BufWriter, stdout};

/// Write one point's capture of traffic that is hard on memory to standard output
#[derive(Parser)]
struct Args {
    /// `syn-flood`, `udp-scan`, `one-flow`, `unmatched`, `one-microsecond` or `time-jumps`
    kind: String,
    /// `a` or `b`
    point: String,
    /// Packets, about
    #[arg(long, default_value_t = 1_000_000)]
    packets: u64,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let kind = STRESSES.iter().find(|(name, _)| *name == args.kind);
    let (Some((_, kind)), Some(point)) = (kind, ["a", "b"].iter().position(|point| *point == args.point)) else {
        anyhow::bail!("unknown kind or point: see --help");
    };
    stress(*kind, point, args.packets, BufWriter::with_capacity(1 << 20, stdout()))?;
    Ok(())
}
