//! The programs of `examples` do what they are there to show.

#![allow(dead_code, reason = "each example has a `main` of its own")]

#[path = "../examples/custom_detector.rs"]
mod custom_detector;
#[path = "../examples/stream.rs"]
mod stream;
#[path = "../examples/triage.rs"]
mod triage;

use analyzer_core::Options;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

fn testdata(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata").join(name)
}

fn capture(name: &str) -> String {
    testdata("pairs/rst_by_host").join(name).to_str().expect("a name in UTF-8").to_owned()
}

fn text(out: Vec<u8>) -> String {
    String::from_utf8(out).expect("text")
}

#[test]
fn triage_lists_every_pair_the_worst_first() {
    let mut out = Vec::new();
    triage::run(&testdata("pairs"), &mut out).unwrap();
    let text = text(out);
    let place = |name: &str| text.lines().position(|line| line.starts_with(name)).expect(name);
    assert!(place("rst_by_host: The host itself reset 3 live connections") < place("healthy_mix: nothing found"));
    assert_eq!(text.lines().count(), testdata("pairs").read_dir().unwrap().count());
}

#[test]
fn findings_stream_as_lines_of_json() {
    let mut out = Vec::new();
    let go_on = Arc::new(AtomicBool::new(false));
    stream::run(&capture("virbr0.pcap"), &capture("uplink.pcap"), go_on, &mut out).unwrap();
    let text = text(out);
    let first: serde_json::Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    assert_eq!((&first["id"], &first["severity"]), (&"tcp-reset".into(), &"error".into()));

    let stop = Arc::new(AtomicBool::new(true));
    let stopped = stream::run(&capture("virbr0.pcap"), &capture("uplink.pcap"), stop, &mut Vec::new());
    assert!(stopped.unwrap_err().to_string().starts_with("interrupted"));
}

#[test]
fn a_custom_detector_reports_what_it_was_made_for() {
    let run = |milliseconds: f64| {
        let mut options = Options::default();
        options.thresholds.insert("slow-handshake.milliseconds".into(), milliseconds);
        let mut out = Vec::new();
        custom_detector::run(&capture("virbr0.pcap"), &capture("uplink.pcap"), options, &mut out).unwrap();
        text(out)
    };
    assert_eq!(run(300.0), "");
    // The captures show 119, 81 and 91 µs from the SYN to its answer at A.
    let found = run(0.05);
    assert!(found.starts_with("3 connections took up to 0.1 ms to open"), "{found}");
    assert_eq!(found.matches("the guest's SYN").count(), 3, "{found}");
    assert!(run(0.1).starts_with("1 connection took"));
}
