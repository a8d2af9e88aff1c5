//! The whole way, from two captures to the report and the captures of its evidence, on real pairs that were changed:
//! byte by byte, and record by record.

#![no_main]

use analyzer_core::capture::CaptureSet;
use analyzer_core::{evidence, Analysis, Options, Point};
use analyzer_fuzz::{join, split, Numbers};
use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};
use std::io::{sink, Cursor};
use std::ops::Range;

fuzz_target!(|data: &[u8]| {
    let Some([a, b]) = split(data) else { return };
    let mut options = Options::default();
    options.threads = 1;
    let analysis = Analysis::builder().options(options).every_flow(data.len() % 2 == 0);
    let reader = |bytes: &[u8]| Cursor::new(bytes.to_vec());
    let Ok(traced) = analysis.a_reader("a", reader(a)).b_reader("b", reader(b)).run_traced() else { return };
    let report = &traced.report;
    let totals = &report.totals;
    assert!(totals.matched <= totals.packets_a && totals.matched <= totals.packets_b.saturating_mul(64));
    for finding in &report.findings {
        assert!((0.0..=1.0).contains(&finding.confidence), "{} {}", finding.id, finding.confidence);
        assert!(finding.duration_seconds >= 0.0 && finding.duration_seconds.is_finite(), "{}", finding.id);
        assert!(!finding.evidence.is_empty(), "{} cites nothing", finding.id);
        for cited in &finding.evidence {
            let most = [totals.packets_a, totals.packets_b][cited.point.index()];
            assert!(cited.frame >= 1 && most > 0, "{} cites frame {} of {most}", finding.id, cited.frame);
        }
    }
    let open = |point: Point| CaptureSet::from_reader("again", Box::new(reader([a, b][point.index()])), None);
    if let Ok(extracts) = evidence::select(&report.findings, &traced.trace, &open) {
        let _ = evidence::write(&report.findings, &extracts, &traced.trace, &open, |_, _| Ok(sink()));
    }
    let _ = evidence::merge(report, &traced.trace, &open, sink());
});

/// The records of a pcap file with little-endian numbers (headers included), as far as they can be told.
fn records(capture: &[u8]) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut at = 24;
    while let Some(length) = capture.get(at + 8..at + 12) {
        let length = u32::from_le_bytes([length[0], length[1], length[2], length[3]]) as usize;
        let end = at + 16 + length;
        if end > capture.len() {
            break;
        }
        found.push(at..end);
        at = end;
    }
    found
}

/// Changes one record: takes it away, repeats it, moves it, shifts time from there on, writes into its packet.
fn change(capture: &mut Vec<u8>, numbers: &mut Numbers) {
    let records = records(capture);
    let Some(record) = records.get(numbers.below(records.len())).cloned() else { return };
    match numbers.below(6) {
        0 => drop(capture.drain(record)),
        1 => {
            let copy = capture[record.clone()].to_vec();
            capture.splice(record.end..record.end, copy);
        }
        2 => {
            let other = records[numbers.below(records.len())].start;
            let copy = capture[record.clone()].to_vec();
            if other <= record.start {
                drop(capture.drain(record));
                capture.splice(other..other, copy);
            } else {
                capture.splice(other..other, copy);
                drop(capture.drain(record));
            }
        }
        3 => {
            let step = [1, 30, 300, 86_400, u32::MAX / 2][numbers.below(5)];
            for later in records.iter().filter(|later| later.start >= record.start) {
                let seconds: [u8; 4] = capture[later.start..later.start + 4].try_into().expect("four bytes");
                let moved = u32::from_le_bytes(seconds).wrapping_add(step);
                capture[later.start..later.start + 4].copy_from_slice(&moved.to_le_bytes());
            }
        }
        // Headers are worth more than payload.
        4 => {
            let place = record.start + numbers.below(record.len().min(16 + 80));
            capture[place] = [0, 1, 0x7f, 0x80, 0xff, numbers.below(256) as u8][numbers.below(6)];
        }
        _ => {
            let place = record.start + numbers.below(record.len());
            capture[place] ^= 1 << numbers.below(8);
        }
    }
}

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    let mut numbers = Numbers::new(seed);
    if numbers.below(4) == 0 {
        return fuzzer_mutate(data, size, max_size);
    }
    let Some([a, b]) = split(&data[..size]) else { return fuzzer_mutate(data, size, max_size) };
    let mut captures = [a.to_vec(), b.to_vec()];
    for _ in 0..=numbers.below(4) {
        change(&mut captures[numbers.below(2)], &mut numbers);
    }
    let changed = join(&captures[0], &captures[1]);
    let length = changed.len().min(max_size);
    data[..length].copy_from_slice(&changed[..length]);
    length
});
