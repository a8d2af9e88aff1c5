//! What is hard on memory is analyzed within a limit of it, says what was given up, and is the same with any number of threads.

use analyzer_core::report::{Report, Severity};
use analyzer_core::{Analysis, Options};
use pcapdiff_benches::{STRESSES, Stress, stress};
use std::collections::BTreeSet;
use std::io::Cursor;

/// Packets of each kind: several times what there is room for.
const PACKETS: u64 = 120_000;

fn captures(kind: Stress) -> [Vec<u8>; 2] {
    [0, 1].map(|point| {
        let mut bytes = Vec::new();
        stress(kind, point, PACKETS, &mut bytes).expect("memory takes everything");
        bytes
    })
}

fn analyze([a, b]: [Vec<u8>; 2], threads: usize, memory: Option<u64>) -> Report {
    let mut options = Options::default();
    (options.threads, options.memory) = (threads, memory);
    let analysis = Analysis::builder().a_reader("a", Cursor::new(a)).b_reader("b", Cursor::new(b)).options(options);
    analysis.run().expect("valid captures")
}

fn given_up(report: &Report, what: &str) -> u64 {
    let entry = report.coverage.iter().find(|entry| entry.id == "memory");
    entry.and_then(|entry| entry.details[what].as_u64()).unwrap_or(0)
}

#[test]
fn the_report_does_not_depend_on_the_number_of_threads() {
    for (name, kind) in STRESSES {
        let captures = captures(kind);
        let text = |threads| {
            let report = analyze(captures.clone(), threads, Some(64 << 20));
            serde_json::to_string(&report).expect("a report is plain data")
        };
        assert!(text(1) == text(3), "{name}");
    }
}

#[test]
fn floods_and_scans_go_before_what_lives() {
    for kind in [Stress::SynFlood, Stress::UdpScan] {
        let report = analyze(captures(kind), 2, Some(64 << 20));
        assert!(given_up(&report, "flows") > PACKETS / 2, "{kind:?}: {:?}", report.coverage);
        let plenty = analyze(captures(kind), 2, Some(8 << 30));
        assert_eq!(given_up(&plenty, "flows"), 0, "{kind:?}");
        // Packets that could not wait are not judged, and nothing is said that would not be said with more memory.
        let matched = report.totals.matched + given_up(&report, "packets");
        assert!(matched >= plenty.totals.matched, "{kind:?}: {matched} of {}", plenty.totals.matched);
        let serious = |report: &Report| -> BTreeSet<&str> {
            report
                .findings
                .iter()
                .filter(|finding| finding.severity != Severity::Info)
                .map(|finding| finding.id)
                .collect()
        };
        assert!(serious(&report).is_subset(&serious(&plenty)), "{kind:?}: {:?}", serious(&report));
    }
}

#[test]
fn what_has_room_is_not_given_up() {
    for kind in [Stress::OneFlow, Stress::OneMicrosecond, Stress::TimeJumps] {
        let report = analyze(captures(kind), 2, None);
        assert!(report.coverage.iter().all(|entry| entry.id != "memory"), "{kind:?}: {:?}", report.coverage);
    }
}

#[test]
fn the_losses_of_one_flow_are_all_found() {
    let captures = captures(Stress::OneFlow);
    let records = |bytes: &[u8]| {
        let (mut at, mut count) = (24, 0_u64);
        while at < bytes.len() {
            let length = u32::from_le_bytes([bytes[at + 8], bytes[at + 9], bytes[at + 10], bytes[at + 11]]);
            (at, count) = (at + 16 + length as usize, count + 1);
        }
        count
    };
    let lost = records(&captures[0]) - records(&captures[1]);
    let report = analyze(captures, 2, Some(64 << 20));
    assert!(lost > PACKETS / 25);
    assert_eq!(report.totals.unmatched_a.abs_diff(lost), 0, "{:?}", report.totals);
}
