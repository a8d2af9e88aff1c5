//! Damaged captures: what precedes the damage is intact, what follows it is found again, and nothing panics.

use crate::build::{Bytes, block, enhanced, interface, pcap_header, record, section, small_pcap, small_pcapng};
use crate::{Owned, messages, read};
use analyzer_core::capture::CaptureReader;
use proptest::prelude::*;
use std::io::{self, Cursor, Read};

/// The records of a capture cut at every byte must be those before the cut, with a problem unless the cut falls between
/// two of them.
fn cut_everywhere(bytes: &[u8], header: usize) {
    let (whole, _) = read(bytes);
    let mut clean = 0;
    for end in header..bytes.len() {
        let (records, summary) = read(&bytes[..end]);
        assert_eq!(records, whole[..records.len()]);
        let problems = messages(&summary);
        if problems.is_empty() {
            clean += 1;
            assert_eq!(summary.truncated_at, None);
        } else {
            assert_eq!(problems.len(), 1, "{problems:?}");
            assert!(problems[0].contains("cut off"), "{problems:?}");
            assert_eq!(summary.truncated_at, Some(end as u64));
            assert_eq!(summary.problems[0].frame, records.len() as u64 + 1);
        }
    }
    assert!(clean >= whole.len());
}

#[test]
fn pcap_cut_at_every_byte() {
    cut_everywhere(&small_pcap(12), 24);
}

#[test]
fn pcapng_cut_at_every_byte() {
    cut_everywhere(&small_pcapng(12), 28);
}

/// Overwrites a little-endian word.
fn put(bytes: &mut [u8], at: usize, value: u32) {
    bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
}

/// Same records but for their frame numbers.
fn same_but_frames(records: &[Owned], expected: &[Owned]) -> bool {
    let strip = |record: &Owned| Owned { frame: 0, ..record.clone() };
    records.iter().map(strip).eq(expected.iter().map(strip))
}

#[test]
fn a_lying_length_in_a_pcap_costs_its_record_only() {
    let good = small_pcap(40);
    let (whole, _) = read(&good);
    // The fifth record; too long to be one, and too long for what is left of the file.
    let at = 24 + (0..4).map(|nth| 16 + 20 + nth).sum::<usize>();
    for (lie, says) in [
        (0xffff_fff0, "length 4,294,967,280 is more than a record can have (33,554,432)"),
        (50_000, "length 50,000 reaches beyond the end"),
        (500_000, "length 500,000 reaches beyond the end"),
    ] {
        let mut bytes = good.clone();
        put(&mut bytes, at + 8, lie);
        let (records, summary) = read(&bytes);
        let mut expected = whole.clone();
        expected.remove(4);
        assert!(same_but_frames(&records, &expected), "{lie}");
        let next = at + 16 + 24;
        let message = format!(
            "record at byte {at} (frame 5): {says}; 40 bytes skipped, the record at byte {next} is counted as frame 5"
        );
        assert_eq!(messages(&summary), [message]);
        assert_eq!((summary.problems[0].offset, summary.problems[0].frame), (at as u64, 5));
        assert_eq!(summary.truncated_at, None);
    }
}

#[test]
fn lost_and_inserted_bytes_in_a_pcap_cost_few_records() {
    let good = small_pcap(60);
    let (whole, _) = read(&good);
    let mut lost = good.clone();
    lost.drain(1000..1123);
    let mut inserted = good.clone();
    inserted.splice(1000..1000, [0xee; 77]);
    for bytes in [lost, inserted] {
        let (records, summary) = read(&bytes);
        assert!(records.len() >= 54 && records.len() <= 60, "{} records", records.len());
        assert_eq!(records[..15], whole[..15]);
        assert!(same_but_frames(&records[records.len() - 30..], &whole[30..]));
        assert_eq!(summary.truncated_at, None);
        assert!(!summary.problems.is_empty());
    }
}

#[test]
fn a_big_endian_nanosecond_pcap_is_found_again_as_well() {
    let mut bytes = pcap_header(true, 0xa1b2_3c4d, 65535, 1);
    for second in 0..20 {
        if second == 7 {
            bytes.extend([0x5a; 1000]);
        }
        bytes.extend(record(true, 1_700_000_000 + second, 999_999_999, 60, &[0; 60]));
    }
    let (records, summary) = read(&bytes);
    assert_eq!(records.len(), 20);
    assert_eq!(summary.problems.len(), 1);
}

#[test]
fn zero_bytes_are_no_records() {
    // What a power failure leaves at the end of a file.
    let mut bytes = small_pcap(5);
    let end = bytes.len();
    bytes.resize(end + 100_000, 0);
    let (records, summary) = read(&bytes);
    assert_eq!(records.len(), 5);
    assert_eq!(summary.truncated_at, Some(end as u64));
    assert!(messages(&summary)[0].contains("only zero bytes where a record header should be; no record found"));
    // And in the middle of one.
    bytes.extend(&small_pcap(20)[24..]);
    let (records, summary) = read(&bytes);
    assert_eq!(records.len(), 25);
    assert_eq!(summary.problems.len(), 1);
}

#[test]
fn pcapng_blocks_that_do_not_fit_together_cost_themselves_only() {
    let good = small_pcapng(40);
    let (whole, _) = read(&good);
    // The fifth packet.
    let at = 48 + (0..4).map(|nth: usize| 32 + (20 + nth).next_multiple_of(4)).sum::<usize>();
    let length = 32 + 24;
    for (place, lie, says) in [
        (at + 4, 17, "length 17 is not a multiple of 4"),
        (at + 4, 8, "length 8 is less than a block has (12)"),
        (at + 4, 0xffff_fff0, "length 4,294,967,280 is more than a block can have (33,554,432)"),
        (at + 4, 100_000, "length 100,000 reaches beyond the end"),
        (at + length - 4, 60, "length 56 at its start but 60 at its end"),
    ] {
        let mut bytes = good.clone();
        put(&mut bytes, place, lie);
        let (records, summary) = read(&bytes);
        let mut expected = whole.clone();
        expected.remove(4);
        assert!(same_but_frames(&records, &expected), "{says}");
        let next = at + length;
        let message = format!(
            "block at byte {at} (frame 5): {says}; 56 bytes skipped to the block at byte {next}, counting on from frame 5"
        );
        assert_eq!(messages(&summary), [message]);
    }
}

#[test]
fn pcapng_packets_with_nonsense_inside_are_skipped() {
    let mut bytes = section(false);
    bytes.extend(block(6, &Bytes::new(false).word(0).word(0).word(1).word(4).word(4).raw(&[1; 4])));
    bytes.extend(block(3, &Bytes::new(false).word(4).raw(&[1; 4])));
    bytes.extend(block(5, &Bytes::new(false).word(9).word(0).word(1)));
    bytes.extend(interface(1, 0, Bytes::new(false)));
    bytes.extend(block(6, &Bytes::new(false).word(0).word(0).word(1).word(65_536).word(65_536).raw(&[1; 4])));
    bytes.extend(block(6, &Bytes::new(false).word(0).word(0)));
    bytes.extend(block(3, &Bytes::new(false)));
    bytes.extend(block(5, &Bytes::new(false)));
    bytes.extend(enhanced(false, 0, 7, &[1; 4]));
    let (records, summary) = read(&bytes);
    assert_eq!(records.len(), 1);
    let says: Vec<_> = messages(&summary).into_iter().map(|m| m.split_once("): ").unwrap().1.to_owned()).collect();
    assert_eq!(
        says,
        [
            "of interface 0, which its section does not describe; skipped",
            "of interface 0, which its section does not describe; skipped",
            "of interface 9, which its section does not describe; skipped",
            "65,536 captured bytes do not fit its length 36; skipped",
            "length 20 is too short for a packet; skipped",
            "length 12 is too short for a simple packet; skipped",
            "length 12 is too short for interface statistics; skipped",
        ]
    );
}

#[test]
fn garbage_without_end_is_given_up() {
    for (good, byte) in [(small_pcap(5), 0), (small_pcap(5), 0xff), (small_pcapng(5), 0), (small_pcapng(5), 0x55)] {
        let endless = Cursor::new(good).chain(io::repeat(byte));
        let mut reader = CaptureReader::from_reader("test", Box::new(endless)).unwrap();
        assert_eq!(crate::drain(&mut reader).len(), 5);
        let summary = reader.summary();
        assert_eq!(summary.problems.len(), 1);
        assert!(summary.problems[0].message.contains("bytes from there, reading stopped"), "{summary:?}");
        assert!(summary.truncated_at.is_some());
        assert!(reader.position() < 64 << 20);
    }
}

#[test]
fn an_error_of_the_source_ends_reading_with_its_reason() {
    struct Failing;
    impl Read for Failing {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("the disk is on fire"))
        }
    }
    for (good, keep, left) in [(small_pcap(5), 4, 10), (small_pcap(5), 5, 0), (small_pcapng(5), 4, 30)] {
        let end = if left == 0 { good.len() } else { good.len() - left };
        let source = Cursor::new(good[..end].to_vec()).chain(Failing);
        let mut reader = CaptureReader::from_reader("test", Box::new(source)).unwrap();
        assert_eq!(crate::drain(&mut reader).len(), keep);
        let summary = reader.summary();
        assert_eq!(summary.problems.len(), 1);
        assert!(summary.problems[0].message.ends_with(": the disk is on fire"), "{summary:?}");
        assert_eq!(summary.truncated_at, Some(end as u64));
    }
}

proptest! {
    #[test]
    fn flipped_bytes_never_panic(
        ng: bool,
        flips in proptest::collection::vec((0_usize..3000, any::<u8>()), 1..20),
    ) {
        let mut bytes = if ng { small_pcapng(50) } else { small_pcap(50) };
        let size = bytes.len();
        for (at, value) in flips {
            // The magic stays, or there is nothing to read.
            bytes[28 + at % (size - 28)] = value;
        }
        let (records, _) = read(&bytes);
        prop_assert!(records.len() <= 200);
    }

    #[test]
    fn garbage_behind_a_header_never_panics(ng: bool, garbage in proptest::collection::vec(any::<u8>(), 0..2000)) {
        let mut bytes = if ng { small_pcapng(1) } else { small_pcap(1) };
        bytes.extend(garbage);
        let (records, _) = read(&bytes);
        prop_assert!(!records.is_empty());
    }
}
