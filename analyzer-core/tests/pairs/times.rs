//! Time stamps that no clock has: at the ends of what a file can hold, and jumping back and forth by decades.

use crate::case;
use crate::each::each;
use crate::sane;
use analyzer_core::Analysis;
use analyzer_core::capture::{CaptureReader, Next};
use std::io::Cursor;

/// The frames of a capture.
fn frames(bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut reader = CaptureReader::from_reader("frames", Box::new(Cursor::new(bytes.to_vec()))).expect("a capture");
    let mut frames = Vec::new();
    while let Next::Record(record) = reader.next(i64::MAX) {
        frames.push(record.data.to_vec());
    }
    frames
}

/// A pcapng file of Ethernet frames with these times, in units and from an origin that the interface names.
fn pcapng(frames: &[Vec<u8>], unit: u8, origin: i64, time: impl Fn(usize) -> u64) -> Vec<u8> {
    let mut file = Vec::new();
    let mut block = |kind: u32, body: Vec<u8>| {
        let length = (body.len() as u32 + 12).to_le_bytes();
        file.extend([&kind.to_le_bytes()[..], &length, &body, &length].concat());
    };
    let section = [&0x1a2b_3c4d_u32.to_le_bytes()[..], &[1, 0, 0, 0], &[0xff; 8]].concat();
    block(0x0a0d_0d0a, section);
    // if_tsresol, if_tsoffset, end of options
    let options = [&[9, 0, 1, 0, unit, 0, 0, 0, 14, 0, 8, 0][..], &origin.to_le_bytes(), &[0; 4]].concat();
    block(1, [&[1, 0, 0, 0, 0, 0, 4, 0][..], &options].concat());
    for (nth, frame) in frames.iter().enumerate() {
        let (time, length) = (time(nth), (frame.len() as u32).to_le_bytes());
        let times = [((time >> 32) as u32).to_le_bytes(), (time as u32).to_le_bytes()].concat();
        let padding = vec![0; (4 - frame.len() % 4) % 4];
        block(6, [&[0; 4][..], &times, &length, &length, frame, &padding].concat());
    }
    file
}

/// Seconds, microseconds, nanoseconds, the finest decimal and binary ones, and what is beyond 64 bits.
const UNITS: [u8; 7] = [0, 6, 9, 19, 0x80, 0xbf, 0xff];

/// Times of the nth packet.
const TIMES: [fn(usize) -> u64; 8] = [
    |_| 0,
    |_| u64::MAX,
    |nth| u64::MAX - nth as u64,
    |nth| if nth % 2 == 0 { 0 } else { u64::MAX },
    |nth| if nth % 3 == 0 { i64::MAX as u64 } else { 1 << 63 },
    |nth| (nth as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15),
    // Thirty years on and back with every tenth packet, in microseconds.
    |nth| 1_700_000_000_000_000 + nth as u64 * 1000 + (nth as u64 / 10 % 2) * 946_080_000_000_000,
    // And with every packet, in nanoseconds.
    |nth| 1_700_000_000_000_000_000 + nth as u64 * 1000 - (nth as u64 % 2) * 946_080_000_000_000_000,
];

#[test]
fn no_time_stamp_upsets_anything() {
    for case in case::named(&["rst_by_host", "ok_mix"]) {
        let frames = [0, 1].map(|point| frames(&std::fs::read(case.input(point)).expect("the capture can be read")));
        let mut tried = Vec::new();
        for unit in UNITS {
            for origin in [0, i64::MIN, i64::MAX] {
                for a in 0..TIMES.len() {
                    // The same times at both points, and one point whose clock is in its right mind.
                    tried.extend([(unit, origin, a, a), (unit, origin, a, 6), (unit, origin, 0, a)]);
                }
            }
        }
        let wrong = each(&tried, |&(unit, origin, a, b)| {
            let capture = |point: usize, times| Cursor::new(pcapng(&frames[point], unit, origin, times));
            let analysis = Analysis::builder().a_reader("a", capture(0, TIMES[a])).b_reader("b", capture(1, TIMES[b]));
            let report = match analysis.run() {
                Ok(report) => serde_json::to_value(report).expect("a report serialises"),
                Err(error) => return vec![format!("{error}")],
            };
            let mut wrong = sane::faults(&report);
            let counted = [("a", 0), ("b", 1)]
                .map(|(point, at)| report["inputs"][point]["packets"].as_u64() == Some(frames[at].len() as u64));
            wrong.extend((counted != [true; 2]).then(|| "packets are missing".to_owned()));
            wrong.into_iter().map(|text| format!("{} {unit} {origin} {a} {b}: {text}", case.name)).collect()
        });
        assert!(wrong.is_empty(), "\n{}\n", wrong[..wrong.len().min(10)].join("\n"));
    }
}
