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
