//! Captures that end in the middle of something: a full disk, a killed tcpdump, a copy that was broken off.

use crate::case::{self, Case};
use crate::each::each;
use crate::{judge, sane};
use analyzer_core::{Analysis, Error};
use serde_json::Value;
use std::io::Cursor;

/// What the report says of the captures cut to these lengths, or `None` when there is not enough of one to know its format.
fn report(files: &[Vec<u8>; 2], lengths: [usize; 2]) -> Option<Value> {
    let part = |point: usize| Cursor::new(files[point][..lengths[point]].to_vec());
    match Analysis::builder().a_reader("a", part(0)).b_reader("b", part(1)).run() {
        Ok(report) => Some(serde_json::to_value(report).expect("a report serialises")),
        Err(Error::NotACapture { .. } | Error::Io { .. }) => None,
        Err(error) => panic!("cut at {lengths:?}: {error}"),
    }
}

fn files(case: &Case) -> [Vec<u8>; 2] {
    [0, 1].map(|point| std::fs::read(case.input(point)).expect("the capture can be read"))
}

/// Pairs of lengths: each file cut in its head at every seventh byte, and both at places of all kinds.
fn cuts(files: &[Vec<u8>; 2]) -> Vec<[usize; 2]> {
    let whole = [files[0].len(), files[1].len()];
    let mut cuts = Vec::new();
    for place in (0..2048).step_by(7) {
        cuts.push([place, whole[1]]);
        cuts.push([whole[0], place]);
    }
    // Numerical Recipes' generator: the places are the same in each run.
    let mut state = 20_261_121_u64;
    let mut below = |limit: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % limit
    };
    for _ in 0..50 {
        cuts.push([below(whole[0]), whole[1]]);
        cuts.push([whole[0], below(whole[1])]);
        cuts.push([below(whole[0]), below(whole[1])]);
    }
    cuts
}

#[test]
fn a_healthy_pair_stays_healthy_wherever_it_is_cut() {
    for case in case::named(&["ok_mix", "partial_ok"]) {
        let files = files(&case);
        let wrong = each(&cuts(&files), |&lengths| {
            let Some(report) = report(&files, lengths) else {
                assert!(lengths.iter().any(|&length| length < 24), "{lengths:?}: a header is enough to go on");
                return Vec::new();
            };
            let mut faults = sane::faults(&report);
            faults.extend(judge::judge(&serde_json::json!({}), &report));
            faults.into_iter().map(|fault| format!("{} cut to {lengths:?}: {fault}", case.name)).collect()
        });
        assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
    }
}

#[test]
fn a_part_of_a_pair_shows_no_fault_that_the_whole_has_not() {
    for case in case::named(&["rst_by_host", "udp_expiry_3flows"]) {
        let files = files(&case);
        let allowed: Vec<Value> = ["expect", "also"]
            .iter()
            .flat_map(|key| case.truth[key].as_array().cloned().unwrap_or_default())
            .map(|entry| if entry.is_string() { entry } else { entry["id"].clone() })
            .collect();
        let truth = serde_json::json!({ "also": allowed });
        let wrong = each(&cuts(&files), |&lengths| {
            let Some(report) = report(&files, lengths) else { return Vec::new() };
            let mut faults = sane::faults(&report);
            faults.extend(judge::judge(&truth, &report));
            faults.into_iter().map(|fault| format!("{} cut to {lengths:?}: {fault}", case.name)).collect()
        });
        assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
    }
}

/// A classic capture without what was captured before a time, or from it on; in microseconds.
fn part(file: &[u8], keep: impl Fn(i64) -> bool) -> Vec<u8> {
    let word = |at: usize| u32::from_le_bytes(file[at..at + 4].try_into().expect("four bytes"));
    let (mut part, mut at) = (file[..24].to_vec(), 24);
    while at + 16 <= file.len() {
        let end = at + 16 + word(at + 8) as usize;
        if keep(i64::from(word(at)) * 1_000_000 + i64::from(word(at + 4))) {
            part.extend_from_slice(&file[at..end]);
        }
        at = end;
    }
    part
}

/// Cuts that look like a fault after all: why.
const LOOKS_LIKE_A_FAULT: &[(&str, &str)] = &[
    (
        "ok_pmtu_host_bottleneck",
        "B ends between the segments that were too large and the smaller ones that replace them",
    ),
    ("ok_reorder_between", "both end between a repetition and the original that it overtook"),
];

#[test]
fn healthy_captures_that_start_and_end_at_other_times_stay_healthy() {
    let cases: Vec<Case> = case::all().into_iter().filter(|case| case.healthy() && case.plain()).collect();
    let wrong = each(&cases, |case| {
        let files = files(case);
        // Microseconds, little-endian, like nearly all.
        if files.iter().any(|file| file[..4] != [0xd4, 0xc3, 0xb2, 0xa1]) || !case.truth["args"].is_null() {
            return Vec::new();
        }
        let inputs = case.report(analyzer_core::Options::default()).expect("a report").inputs;
        let (first, last) = (inputs.a.first.expect("packets").0 / 1000, inputs.a.last.expect("packets").0 / 1000);
        let mut faults = Vec::new();
        for share in [0.05, 0.1, 0.2, 0.35, 0.5] {
            let length = ((last - first) as f64 * share) as i64;
            for shorter in [[true, false], [false, true], [true, true]] {
                for head in [true, false] {
                    let keep = |time: i64| if head { time >= first + length } else { time <= last - length };
                    let parts = [0, 1].map(|point| part(&files[point], |time| !shorter[point] || keep(time)));
                    let whole = parts.each_ref().map(Vec::len);
                    let report = report(&parts, whole).expect("a header is there");
                    faults.extend(
                        judge::judge(&serde_json::json!({}), &report)
                            .into_iter()
                            .map(|fault| format!("{}, {share} of {shorter:?} off (head: {head}): {fault}", case.name)),
                    );
                }
            }
        }
        let excused = LOOKS_LIKE_A_FAULT.iter().any(|(name, _)| *name == case.name);
        if excused && faults.len() <= 2 { Vec::new() } else { faults }
    });
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}
