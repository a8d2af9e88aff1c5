//! Findings as a stream: JSON objects, one a line, for a log or a queue; with progress on standard error.
//!
//! `cargo run --example stream -- virbr0.pcap uplink.pcap`; one of them may be `-`, standard input.

use analyzer_core::Analysis;
use std::error::Error;
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

fn main() -> Result<(), Box<dyn Error>> {
    let [a, b] = std::env::args().skip(1).collect::<Vec<_>>().try_into().map_err(|_| "usage: stream A B")?;
    // Gives up after a minute. A service would set the flag when its client goes away.
    let cancel = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&cancel);
    std::thread::spawn(move || {
        std::thread::sleep(Duration::from_mins(1));
        flag.store(true, Ordering::Relaxed);
    });
    run(&a, &b, cancel, &mut io::stdout().lock())
}

/// Analyzes a pair and writes its findings.
pub(crate) fn run(a: &str, b: &str, cancel: Arc<AtomicBool>, out: &mut dyn Write) -> Result<(), Box<dyn Error>> {
    let report = Analysis::builder()
        .a_path(a)
        .b_path(b)
        .progress(|progress| eprintln!("{} packets, {} bytes read", progress.packets, progress.bytes_read))
        .cancel(cancel)
        .run()?;
    for finding in &report.findings {
        serde_json::to_writer(&mut *out, finding)?;
        writeln!(out)?;
    }
    Ok(())
}
