//! The record reader: pcap and pcapng, plain and compressed. Whatever is read must be consistent in itself, and the same
//! when it arrives in pieces.

#![no_main]

use analyzer_core::capture::{CaptureReader, CaptureSummary, Next};
use libfuzzer_sys::fuzz_target;
use std::io::{Cursor, Read};

/// Most records that are read: a bomb of a few kilobytes may hold millions, and they are alike.
const MOST: u32 = 1 << 16;

/// Delivers so many bytes at a time.
struct Pieces(Cursor<Vec<u8>>, usize);

impl Read for Pieces {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        let most = into.len().min(self.1);
        self.0.read(&mut into[..most])
    }
}

fn read(source: Box<dyn Read + Send>) -> Option<(u64, CaptureSummary)> {
    let mut reader = CaptureReader::from_reader("input", source).ok()?;
    let (mut digest, mut last, mut count) = (0_u64, 0, 0);
    while let Next::Record(record) = reader.next(i64::MAX) {
        assert!(record.wirelen as usize >= record.data.len());
        assert!(record.frame > last, "frame {} after {last}", record.frame);
        last = record.frame;
        for value in [record.time as u64, u64::from(record.frame), record.data.len() as u64] {
            digest = (digest ^ value).wrapping_mul(0x100_0000_01b3).rotate_left(5);
        }
        digest = record.data.iter().fold(digest, |digest, &byte| digest.rotate_left(7) ^ u64::from(byte));
        count += 1;
        if count == MOST {
            return None;
        }
    }
    assert!(matches!(reader.next(i64::MAX), Next::End | Next::Later));
    let summary = reader.summary();
    assert!(reader.decoded_bytes() >= summary.truncated_at.unwrap_or(0) || !summary.problems.is_empty());
    Some((digest, summary))
}

fuzz_target!(|data: &[u8]| {
    let whole = read(Box::new(Cursor::new(data.to_vec())));
    let pieces = read(Box::new(Pieces(Cursor::new(data.to_vec()), 1 + data.len() % 61)));
    // The zstd library does not tell what it unpacked in the call that met damage, and where calls begin depends on the
    // pieces: up to one buffer of what precedes the damage may be missing.
    let zstd = data.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) || data.get(1..4) == Some(&[0x2a, 0x4d, 0x18]);
    assert!(zstd || whole == pieces, "{whole:?} {pieces:?}");
});
