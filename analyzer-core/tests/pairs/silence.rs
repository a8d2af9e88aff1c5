//! Connections that were silent for hours before something happened to them.

use crate::case;
use crate::judge;
use analyzer_core::{Analysis, Options};
use std::io::Cursor;

/// A classic little-endian capture whose records from a time on come later by some time; both in microseconds.
pub(crate) fn later(mut file: Vec<u8>, from: i64, by: i64) -> Vec<u8> {
    const SECOND: i64 = 1_000_000;
    assert_eq!(file[..4], [0xd4, 0xc3, 0xb2, 0xa1], "microseconds, little-endian");
    let word = |file: &[u8], at: usize| u32::from_le_bytes(file[at..at + 4].try_into().expect("four bytes"));
    let mut at = 24;
    while at < file.len() {
        let time = i64::from(word(&file, at)) * SECOND + i64::from(word(&file, at + 4));
        if time >= from {
            file[at..at + 4].copy_from_slice(&(((time + by) / SECOND) as u32).to_le_bytes());
            file[at + 4..at + 8].copy_from_slice(&(((time + by) % SECOND) as u32).to_le_bytes());
        }
        at += 16 + word(&file, at + 8) as usize;
    }
    file
}

#[test]
fn a_reset_after_hours_of_silence_belongs_to_its_connection() {
    const HOURS: i64 = 5 * 3_600_000_000;
    for case in case::named(&["rst_host_1flow"]) {
        let findings = case.report(Options::default()).expect("a report").findings;
        // A little before the segment that the reset answers.
        let from = findings[0].first.0 / 1000 - 1000;
        let [a, b] = [0, 1].map(|point| {
            Cursor::new(later(std::fs::read(case.input(point)).expect("the capture can be read"), from, HOURS))
        });
        let report = Analysis::builder().a_reader("a", a).b_reader("b", b).run().expect("a report");
        let report = serde_json::to_value(report).expect("a report serialises");
        let faults = judge::judge(&case.truth, &report);
        assert!(faults.is_empty(), "{faults:?}");
    }
}
