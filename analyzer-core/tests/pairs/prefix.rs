//! A capture that ends in the middle of a record tells what its whole records tell, wherever it ends.

use crate::case;
use crate::each::each;
use analyzer_core::{Analysis, Error, Options};
use serde_json::Value;
use std::collections::HashMap;
use std::io::Cursor;
use std::sync::Mutex;

/// Bytes at whose every place the heads are cut.
const HEAD: usize = 4096;
/// Further places, anywhere.
const PLACES: usize = 500;
/// Length of a pcap file's header.
const HEADER: usize = 24;

/// What the captures cut to these lengths show, without what is said of the cut itself; none when one is no capture.
fn shown(files: &[Vec<u8>; 2], lengths: [usize; 2]) -> Option<Value> {
    let part = |point: usize| Cursor::new(files[point][..lengths[point]].to_vec());
    let mut options = Options::default();
    options.threads = 1;
    let report = match Analysis::builder().a_reader("a", part(0)).b_reader("b", part(1)).options(options).run() {
        Ok(report) => report,
        Err(Error::NotACapture { .. }) => return None,
        Err(error) => panic!("cut to {lengths:?}: {error}"),
    };
    for (input, length) in [&report.inputs.a, &report.inputs.b].into_iter().zip(lengths) {
        assert!(input.truncated_at.is_none_or(|at| at <= length as u64));
        assert_eq!(input.truncated_at.is_some(), !input.problems.is_empty(), "cut to {lengths:?}");
    }
    let mut report = serde_json::to_value(report).expect("a report serialises");
    for point in ["a", "b"] {
        for said in ["bytes", "truncated_at", "problems"] {
            report["inputs"][point][said] = Value::Null;
        }
    }
    let coverage = report["coverage"].as_array_mut().expect("a list");
    coverage.retain(|limit| limit["id"] != "truncated-file");
    Some(report)
}

/// Where the records of a pcap file end, its header first.
fn ends(file: &[u8]) -> Vec<usize> {
    let mut ends = vec![HEADER];
    while let Some(length) = ends.last().and_then(|end| file.get(end + 8..end + 12)) {
        let length = u32::from_le_bytes(length.try_into().expect("four bytes")) as usize;
        ends.push(ends[ends.len() - 1] + 16 + length);
    }
    assert_eq!(ends.last(), Some(&file.len()), "the file is whole");
    ends
}

fn cuts(files: &[Vec<u8>; 2]) -> Vec<[usize; 2]> {
    let whole = [files[0].len(), files[1].len()];
    let mut cuts: Vec<[usize; 2]> = (0..HEAD).map(|place| whole.map(|whole| place.min(whole))).collect();
    // Numerical Recipes' generator: the places are the same in each run.
    let mut state = 20_261_121_u64;
    let mut below = |limit: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % limit
    };
    cuts.extend((0..PLACES).map(|nth| match nth % 3 {
        0 => [below(whole[0]), whole[1]],
        1 => [whole[0], below(whole[1])],
        _ => [below(whole[0]), below(whole[1])],
    }));
    cuts
}

#[test]
fn a_capture_that_is_cut_anywhere_shows_what_its_whole_records_show() {
    for case in case::named(&["rst_by_host", "udp_expiry_3flows", "qemu_ok"]) {
        let files = [0, 1].map(|point| std::fs::read(case.input(point)).expect("the capture can be read"));
        let ends = [ends(&files[0]), ends(&files[1])];
        let known: Mutex<HashMap<[usize; 2], Option<Value>>> = Mutex::default();
        let wrong = each(&cuts(&files), |&lengths| {
            let cut = shown(&files, lengths);
            if lengths.iter().any(|&length| length < HEADER) {
                return if cut.is_none() { Vec::new() } else { vec![format!("{lengths:?}: there is no header")] };
            }
            let whole = [0, 1].map(|point| {
                let past = ends[point].partition_point(|&end| end <= lengths[point]);
                ends[point][past - 1]
            });
            let found = known.lock().expect("no thread panicked").get(&whole).cloned();
            let expected = found.unwrap_or_else(|| {
                let shown = shown(&files, whole);
                known.lock().expect("no thread panicked").insert(whole, shown.clone());
                shown
            });
            if cut == expected {
                Vec::new()
            } else {
                vec![format!("{} cut to {lengths:?} differs from {whole:?}", case.name)]
            }
        });
        assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
    }
}
