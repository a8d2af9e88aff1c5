//! However the bytes arrive, the records are the same.

use crate::build::{Bytes, small_pcap, small_pcapng};
use crate::{drain, read};
use analyzer_core::capture::CaptureReader;
use proptest::prelude::*;
use std::io::{self, ErrorKind, Read};

/// Delivers bytes in pieces of given sizes, over and over, interrupted before every piece.
struct Pieces {
    bytes: Vec<u8>,
    at: usize,
    sizes: Vec<usize>,
    nth: usize,
    interrupted: bool,
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.interrupted = !self.interrupted;
        if self.interrupted {
            return Err(ErrorKind::Interrupted.into());
        }
        let size = self.sizes[self.nth % self.sizes.len()];
        self.nth += 1;
        let size = size.min(buffer.len()).min(self.bytes.len() - self.at);
        buffer[..size].copy_from_slice(&self.bytes[self.at..self.at + size]);
        self.at += size;
        Ok(size)
    }
}

/// Reads a capture that arrives in pieces of these sizes.
pub(crate) fn in_pieces(bytes: &[u8], sizes: &[usize]) -> CaptureReader {
    let pieces = Pieces { bytes: bytes.to_vec(), at: 0, sizes: sizes.to_vec(), nth: 0, interrupted: false };
    CaptureReader::from_reader("test", Box::new(pieces)).expect("the bytes are a capture")
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn any_split_gives_the_same_records(
        ng: bool,
        cut in 0_usize..100,
        sizes in proptest::collection::vec(1_usize..400, 1..30),
    ) {
        let bytes = if ng { small_pcapng(60) } else { small_pcap(60) };
        let bytes = &bytes[..bytes.len() - cut];
        let (expected, summary) = read(bytes);
        let mut reader = in_pieces(bytes, &sizes);
        prop_assert_eq!(drain(&mut reader), expected);
        prop_assert_eq!(reader.summary(), summary);
        prop_assert_eq!(reader.position(), bytes.len() as u64);
    }

    #[test]
    fn any_split_of_more_than_a_buffer_gives_the_same_records(
        ng: bool,
        sizes in proptest::collection::vec(1_usize..700_000, 1..6),
    ) {
        let bytes = if ng { large(small_pcapng(1), ng) } else { large(small_pcap(1), ng) };
        let (expected, summary) = read(&bytes);
        prop_assert!(summary.problems.is_empty());
        let sizes: Vec<_> = sizes.into_iter().map(|size| size.max(5000)).collect();
        let mut reader = in_pieces(&bytes, &sizes);
        prop_assert_eq!(drain(&mut reader), expected);
    }
}

/// Adds three megabytes of records, which no buffer holds at once.
fn large(mut bytes: Vec<u8>, ng: bool) -> Vec<u8> {
    for nth in 0..60_u32 {
        let size = if nth == 30 { 260_000 } else { 1 + nth * 700 };
        let data = vec![nth as u8; size as usize];
        bytes.extend(if ng {
            crate::build::enhanced(false, 0, u64::from(nth), &data)
        } else {
            Bytes::new(false).word(1_700_000_000).word(nth).word(size).word(size).raw(&data).bytes
        });
    }
    bytes
}
