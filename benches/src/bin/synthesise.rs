//! Writes a large pair of captures to two files and prints what is true about them as JSON.

use anyhow::Context;
use clap::{Parser, ValueEnum};
use pcapdiff_benches::{Plan, Shape, synthesise};
use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};

/// Synthesise a large pair of captures, and print what is true about it
#[derive(Parser)]
struct Args {
    /// What the packets are like
    #[arg(value_enum)]
    shape: ShapeName,
    /// The inner capture
    a: PathBuf,
    /// The outer capture
    b: PathBuf,
    /// Size of both together, in millions of bytes
    #[arg(long, default_value_t = 100)]
    mb: u64,
    /// The same seed gives the same bytes
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Flows that live at the same time
    #[arg(long)]
    flows: Option<usize>,
    /// The host loses one packet in so many; 0 for none
    #[arg(long, value_name = "N", default_value_t = 1_000)]
    loss_one_in: u64,
}

#[derive(Clone, Copy, ValueEnum)]
enum ShapeName {
    /// Full segments
    Large,
    /// Payloads of 20 to 120 bytes
    Small,
    /// Superframes at A, their segments at B
    Offload,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let shape = match args.shape {
        ShapeName::Large => Shape::Large,
        ShapeName::Small => Shape::Small,
        ShapeName::Offload => Shape::Offload,
    };
    let mut plan = Plan::new(shape, args.mb * 1_000_000);
    plan.seed = args.seed;
    plan.loss_one_in = args.loss_one_in;
    plan.flows = args.flows.unwrap_or(plan.flows);
    let truth = synthesise(&plan, create(&args.a)?, create(&args.b)?)?;
    println!("{}", serde_json::to_string(&truth)?);
    Ok(())
}

fn create(path: &Path) -> anyhow::Result<BufWriter<File>> {
    let file = File::create(path).with_context(|| path.display().to_string())?;
    Ok(BufWriter::with_capacity(1 << 20, file))
}
