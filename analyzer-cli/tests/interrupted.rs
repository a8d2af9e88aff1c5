//! Ctrl-C, and captures without end.

#![cfg(unix)]

use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;

/// The header of a pcap file in little-endian with microseconds, Ethernet.
const HEADER: [u8; 24] = [0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 1, 0, 0, 0];

/// Feeds a capture with a hundred packets a second to the child until it wants no more.
fn feed(child: &mut Child) -> thread::JoinHandle<()> {
    let mut input = child.stdin.take().expect("standard input is a pipe");
    thread::spawn(move || {
        let mut bytes = HEADER.to_vec();
        for packet in 0_u32.. {
            bytes.extend((1_700_000_000 + packet / 100).to_le_bytes());
            bytes.extend((packet % 100 * 10_000).to_le_bytes());
            bytes.extend([[60, 0, 0, 0], [60, 0, 0, 0]].concat());
            bytes.extend([2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0x88, 0xb5]);
            bytes.extend([0; 46]);
            if bytes.len() > 60_000 {
                if input.write_all(&bytes).is_err() {
                    return;
                }
                bytes.clear();
            }
        }
    })
}

fn other() -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/pairs/rst_by_host/uplink.pcap");
    folder.to_str().expect("UTF-8").to_owned()
}

/// Starts the program on a capture without end and waits until it has read some of it.
fn started(arguments: &[&str]) -> (Child, thread::JoinHandle<()>) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_pcapdiff"))
        .args(arguments)
        .args(["-", &other()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let feeder = feed(&mut child);
    // The handler is there long before a pipe's worth has been read; the time is what a slow machine takes to start.
    thread::sleep(std::time::Duration::from_millis(1500));
    (child, feeder)
}

fn signal(child: &Child, name: &str) {
    let status = Command::new("kill").args([name, &child.id().to_string()]).status();
    assert!(status.expect("kill is there").success());
}

#[test]
fn an_endless_capture_that_is_interrupted_is_reported_as_far_as_it_was_read() {
    for (name, format) in [("-INT", "json"), ("-TERM", "human")] {
        let (child, feeder) = started(&["--format", format, "--progress", "never"]);
        signal(&child, name);
        let output = child.wait_with_output().expect("the program ends");
        feeder.join().expect("the feeder ends when nobody reads");
        let (result, messages) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
        assert_eq!(output.status.code(), Some(2), "{messages}");
        assert_eq!(messages, "pcapdiff: interrupted: the report is of what had been read by then\n");
        if format == "json" {
            let report: serde_json::Value = serde_json::from_str(&result).expect("a whole report");
            assert_eq!(report["coverage"][0]["id"], "interrupted");
            assert!(report["totals"]["packets_a"].as_u64() > Some(100));
        } else {
            assert!(result.contains("The analysis was interrupted: "), "{result}");
        }
    }
}

#[test]
fn memory_does_not_grow_with_a_capture_that_has_no_end() {
    let (mut child, feeder) = started(&["--format", "json"]);
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
    signal(&child, "-INT");
    let mut result = String::new();
    child.stdout.take().expect("a pipe").read_to_string(&mut result).expect("UTF-8");
    let _ = child.wait();
    feeder.join().expect("the feeder ends when nobody reads");
    let packets = serde_json::from_str::<serde_json::Value>(&result).expect("a report")["totals"]["packets_a"].clone();
    let Some(line) = status.lines().find(|line| line.starts_with("VmHWM:")) else {
        eprintln!("skipped: this system does not tell how much memory a process takes");
        return;
    };
    let kilobytes: u64 = line.split_whitespace().nth(1).and_then(|text| text.parse().ok()).expect("a number");
    assert!(kilobytes < 200_000, "{kilobytes} kB for {packets} packets");
}
