//! Ctrl-C, and captures that come through pipes: without end, silent, or both from one writer.

#![cfg(unix)]

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

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
    thread::sleep(Duration::from_millis(1500));
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

/// A folder with two FIFOs.
fn fifos() -> (tempfile::TempDir, [PathBuf; 2]) {
    let folder = tempfile::tempdir().expect("a folder");
    let paths = ["a", "b"].map(|name| folder.path().join(name));
    assert!(Command::new("mkfifo").args(&paths).status().expect("mkfifo is there").success());
    (folder, paths)
}

fn pcapdiff() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pcapdiff"));
    command.args(["--format", "json", "--progress", "never"]).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

#[test]
fn who_writes_both_captures_by_turns_is_not_waited_for_in_vain() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/pairs/healthy_mix");
    let stored = ["virbr0.pcap", "uplink.pcap"].map(|name| folder.join(name));
    let expected = pcapdiff().args(&stored).output().expect("the program runs").stdout;
    for threads in ["1", "2"] {
        let (_folder, paths) = fifos();
        let child = pcapdiff().args(["--threads", threads]).args(&paths).spawn().expect("the program starts");
        let id = child.id();
        let (done, output) = channel();
        let stored = stored.clone();
        thread::spawn(move || {
            // B is opened first, and each is written in one go, which is far more than a pipe holds: A waits for all of B.
            for point in [1, 0] {
                let bytes = std::fs::read(&stored[point]).expect("the capture is there");
                assert!(bytes.len() > 4 * 65536, "too short to fill a pipe");
                let mut pipe = std::fs::OpenOptions::new().write(true).open(&paths[point]).expect("the FIFO opens");
                pipe.write_all(&bytes).expect("all of it is read");
            }
            done.send(child.wait_with_output().expect("the program ends")).expect("somebody waits");
        });
        let output = output.recv_timeout(Duration::from_mins(1)).unwrap_or_else(|_| {
            let _ = Command::new("kill").args(["-KILL", &id.to_string()]).status();
            panic!("the program and the writer wait for each other");
        });
        let [expected, found] = [&expected, &output.stdout].map(|bytes| {
            let mut report: serde_json::Value = serde_json::from_slice(bytes).expect("a report");
            report["inputs"].take();
            report["meta"].take();
            report
        });
        assert_eq!(found, expected);
    }
}

#[test]
fn a_silent_stream_can_be_interrupted() {
    let whole = std::fs::read(other().replace("uplink", "virbr0")).expect("the capture is there");
    for written in [whole.len() / 2 + 1, 24, 10, 0] {
        let (_folder, paths) = fifos();
        let child = pcapdiff().arg(&paths[0]).arg(other()).spawn().expect("the program starts");
        let mut pipe = std::fs::OpenOptions::new().write(true).open(&paths[0]).expect("the FIFO opens");
        pipe.write_all(&whole[..written]).expect("it is read");
        // The handler is there long before; the time is what a slow machine takes to start.
        thread::sleep(Duration::from_millis(1500));
        signal(&child, "-INT");
        let output = child.wait_with_output().expect("the program ends");
        let messages = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{written}: {messages}");
        if written <= 24 {
            assert!(messages.contains("interrupted before anything could be said"), "{written}: {messages}");
        } else {
            let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("a whole report");
            assert_eq!(report["coverage"][0]["id"], "interrupted");
            assert!(report["totals"]["matched"].as_u64() > Some(10), "{}", report["totals"]);
            // That a record was half there is no damage.
            assert_eq!(report["inputs"]["a"]["problems"], serde_json::json!([]));
        }
    }
}
