//! Clocks that were set while the captures ran (by NTP after a start without network, by a hypervisor after a pause).

use crate::case::{self, Case};
use crate::each::each;
use crate::judge;
use crate::silence::later;
use analyzer_core::Options;
use serde_json::Value;
use std::path::PathBuf;

const MINUTE: i64 = 60_000_000;

/// Who is set, at which share of the time, by how many microseconds.
const STEPS: [([bool; 2], f64, i64); 7] = [
    ([false, true], 0.5, 3_000_000),
    ([false, true], 0.4, -3_000_000),
    ([false, true], 0.6, 60 * MINUTE),
    ([true, false], 0.5, 400_000),
    ([true, false], 0.4, -60 * MINUTE),
    // One host, one clock.
    ([true, true], 0.5, -5_000_000),
    ([true, true], 0.5, -60 * MINUTE),
];

/// The report of a case whose clocks are set so.
fn report(case: &Case, (who, share, by): ([bool; 2], f64, i64)) -> Value {
    let folder = tempfile::tempdir().expect("a folder");
    let found = case.report(Options::default()).expect("a report");
    let input = &found.inputs.a;
    let (first, last) = (input.first.expect("packets").0, input.last.expect("packets").0);
    let at = (first + ((last - first) as f64 * share) as i64) / 1000;
    let paths: [PathBuf; 2] = [0, 1].map(|point| {
        let file = std::fs::read(case.input(point)).expect("the capture can be read");
        let path = folder.path().join(["a.pcap", "b.pcap"][point]);
        std::fs::write(&path, if who[point] { later(file, at, by) } else { file }).expect("a file");
        path
    });
    let report = case::analyze(&paths[0], &paths[1], Options::default()).expect("a report");
    serde_json::to_value(report).expect("a report serialises")
}

#[test]
fn clocks_that_are_set_change_no_verdict() {
    let cases = case::named(&[
        "healthy_mix",
        "ok_mix_bridged_gso",
        "ok_idle",
        "ok_mix",
        "partial_ok",
        "rst_by_host",
        "rst_by_peer",
        "loss_tcp_out",
        "loss_bursty",
        "partial_leak",
        "pmtu_not_relayed",
        "udp_expiry_3flows",
    ]);
    let wrong = each(&cases, |case| {
        let judged = STEPS.iter().flat_map(|&step| {
            let faults = judge::judge(&case.truth, &report(case, step));
            faults.into_iter().map(move |fault| format!("{} {step:?}: {fault}", case.name))
        });
        judged.collect()
    });
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

#[test]
fn what_a_clock_was_set_by_is_named_with_its_frame() {
    let [case] = case::named(&["healthy_mix"]).try_into().unwrap_or_else(|_| panic!("one case"));
    for (who, share, by) in STEPS {
        let report = report(&case, (who, share, by));
        let steps: Vec<&Value> =
            report["coverage"].as_array().expect("a list").iter().filter(|limit| limit["id"] == "clock-step").collect();
        let points: Vec<&str> = steps.iter().filter_map(|step| step["point"].as_str()).collect();
        let set = |point: usize| who[point].then_some(["a", "b"][point]);
        assert_eq!(points, [set(0), set(1)].into_iter().flatten().collect::<Vec<_>>(), "{who:?} {by}");
        for step in steps {
            let said = step["step_seconds"].as_f64().expect("a number");
            // Where both are set, what passed meanwhile can be told by neither.
            let sure = if who == [true, true] { 0.3 } else { 0.002 };
            assert!((said - by as f64 / 1e6).abs() < sure, "{said} s for {by} µs");
        }
    }
}
