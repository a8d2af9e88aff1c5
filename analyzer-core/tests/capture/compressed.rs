//! Compressed captures.

#![cfg(all(feature = "gzip", feature = "zstd", feature = "lz4"))]

use crate::build::{pcap_header, record, small_pcap, small_pcapng};
use crate::pieces::in_pieces;
use crate::{drain, messages, read};
use analyzer_core::Error;
use analyzer_core::capture::{CaptureReader, Next};
use std::io::{Cursor, Read, Write};

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// With a checksum of the content, as the command does it.
fn zstd(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = zstd::stream::Encoder::new(Vec::new(), 1).unwrap();
    encoder.include_checksum(true).unwrap();
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// With a checksum of the content, as the command does it.
fn lz4(bytes: &[u8]) -> Vec<u8> {
    use lz4_flex::frame::{BlockSize, FrameEncoder, FrameInfo};
    let info = FrameInfo::new().content_checksum(true).block_size(BlockSize::Max64KB);
    let mut encoder = FrameEncoder::with_frame_info(info, Vec::new());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

type Pack = fn(&[u8]) -> Vec<u8>;

const PACKERS: [(&str, Pack); 3] = [("gzip", gzip), ("zstd", zstd), ("lz4", lz4)];

/// Records with data that do not compress away, so that the packed bytes are many.
fn noise() -> Vec<u8> {
    let mut bytes = pcap_header(false, 0xa1b2_c3d4, 65535, 1);
    let mut state = 1_u32;
    for nth in 0..4000_u32 {
        let data: Vec<u8> = (0..300)
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 24) as u8
            })
            .collect();
        bytes.extend(record(false, 1_700_000_000 + nth, 0, 300, &data));
    }
    bytes
}

#[test]
fn each_compression_gives_the_same_records() {
    for plain in [small_pcap(30), small_pcapng(30), noise()] {
        let (expected, summary) = read(&plain);
        for (name, pack) in PACKERS {
            let packed = pack(&plain);
            let size = packed.len() as u64;
            let mut reader = CaptureReader::from_reader("test", Box::new(Cursor::new(packed))).unwrap();
            assert_eq!(drain(&mut reader), expected);
            assert_eq!(reader.decoded_bytes(), plain.len() as u64);
            assert_eq!(reader.position(), size);
            assert_eq!(reader.summary().format, format!("{}+{name}", summary.format));
            assert_eq!(reader.summary().problems, []);
        }
    }
}

#[test]
fn several_members_or_frames_are_one_capture() {
    let plain = noise();
    let (expected, _) = read(&plain);
    for (_, pack) in PACKERS {
        let (first, rest) = plain.split_at(500_001);
        let (second, third) = rest.split_at(10);
        let packed = [pack(first), pack(second), pack(&[]), pack(third)].concat();
        let (records, summary) = read(&packed);
        assert!(records == expected);
        assert_eq!(messages(&summary), [""; 0]);
    }
}

#[test]
fn what_stands_behind_the_compressed_data_is_ignored() {
    let plain = small_pcap(30);
    let (expected, _) = read(&plain);
    for (_, pack) in PACKERS {
        for tail in [vec![0; 1], vec![0; 10_000], b"appended".to_vec()] {
            let (records, summary) = read(&[pack(&plain), tail].concat());
            assert_eq!(records, expected);
            assert_eq!(messages(&summary), [""; 0]);
        }
    }
}

#[test]
fn skippable_frames_are_skipped() {
    let plain = small_pcap(30);
    let (expected, _) = read(&plain);
    let skippable = [&[0x5a, 0x2a, 0x4d, 0x18, 7, 0, 0, 0][..], b"comment"].concat();
    for (_, pack) in &PACKERS[1..] {
        let (first, second) = plain.split_at(333);
        let packed = [pack(first), skippable.clone(), pack(second), skippable.clone()].concat();
        let (records, summary) = read(&packed);
        assert_eq!(records, expected);
        assert_eq!(messages(&summary), [""; 0]);
    }
}

#[test]
fn a_cut_compressed_capture_gives_what_precedes_the_cut() {
    let plain = noise();
    let (expected, _) = read(&plain);
    for (name, pack) in PACKERS {
        let packed = pack(&plain);
        for part in 1..=3 {
            let cut = packed.len() * part / 4;
            let (records, summary) = read(&packed[..cut]);
            assert!(records == expected[..records.len()]);
            // What a decoder holds back is a block of at most 128 KiB that it has not got whole.
            assert!(records.len() > 1000 * part - 450, "{name}: {} records", records.len());
            let problems = messages(&summary);
            assert_eq!(problems.len(), 1, "{name}");
            assert!(problems[0].ends_with(&format!("the {name} data are cut off")), "{problems:?}");
            assert!(summary.truncated_at.is_some());
        }
    }
}

#[test]
fn a_damaged_compressed_capture_gives_what_precedes_the_damage() {
    let plain = noise();
    let (expected, _) = read(&plain);
    for (name, pack) in PACKERS {
        let mut packed = pack(&plain);
        let middle = packed.len() / 2;
        packed[middle..middle + 64].fill(0xff);
        let (records, summary) = read(&packed);
        let same = records.iter().zip(&expected).take_while(|(a, b)| a == b).count();
        assert!(same > 1000, "{name}: {same} records");
        let damaged = format!("the {name} data are damaged");
        assert!(
            messages(&summary).iter().any(|message| message.contains(&damaged)),
            "{name}: {:?}",
            messages(&summary)
        );
    }
}

#[test]
fn bombs_are_given_up_long_before_they_are_unpacked() {
    // A member or frame of 16 MiB is a few kilobytes; a thousand of them are 16 GiB.
    for (name, pack) in PACKERS {
        for nonsense in [0, 0xff] {
            let packed = [pack(&small_pcap(5)), pack(&vec![nonsense; 16 << 20]).repeat(1000)].concat();
            let mut reader = CaptureReader::from_reader("test", Box::new(Cursor::new(packed))).unwrap();
            assert_eq!(drain(&mut reader).len(), 5, "{name}");
            let problems = messages(&reader.summary()).join(" ");
            assert!(problems.contains("reading stopped"), "{name}: {problems}");
            assert!(reader.decoded_bytes() < 64 << 20, "{name}");
        }
    }
}

#[test]
fn gzip_that_breaks_off_with_nonsense_gives_all_that_precedes_it() {
    let plain = small_pcap(30);
    let (expected, _) = read(&plain);
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(&plain).unwrap();
    // Ends a block at a full byte.
    encoder.flush().unwrap();
    // A block of the reserved type (RFC 1951, section 3.2.3).
    let packed = [encoder.get_ref().as_slice(), &[0x07; 20]].concat();
    let (records, summary) = read(&packed);
    assert_eq!(records, expected);
    assert!(messages(&summary)[0].contains("the gzip data are damaged"), "{summary:?}");
}

#[test]
fn zstd_that_breaks_off_with_nonsense_gives_all_that_precedes_it() {
    let plain = noise();
    let (expected, _) = read(&plain);
    let mut encoder = zstd::stream::Encoder::new(Vec::new(), 1).unwrap();
    for piece in plain.chunks(3000) {
        encoder.write_all(piece).unwrap();
        // Ends a block.
        encoder.flush().unwrap();
    }
    // A block of the reserved type (RFC 8878, section 3.1.1.2.2).
    let packed = [encoder.get_ref().as_slice(), &[0x06; 20]].concat();
    for size in [usize::MAX, 4096, 7] {
        let mut reader = in_pieces(&packed, &[size]);
        assert!(drain(&mut reader) == expected, "in pieces of {size}");
        let summary = reader.summary();
        assert!(messages(&summary)[0].contains("the zstd data are damaged"), "{summary:?}");
    }
}

#[test]
fn an_lz4_frame_cut_between_two_blocks_is_noticed() {
    let plain = small_pcap(30);
    let packed = lz4(&plain);
    // Without the end mark and the checksum behind it.
    let (records, summary) = read(&packed[..packed.len() - 8]);
    assert_eq!(records.len(), 30);
    assert!(messages(&summary)[0].ends_with("the lz4 data are cut off"), "{summary:?}");
}

#[test]
fn what_is_inside_must_be_a_capture() {
    let cases = [
        (gzip(b"hello, world, how are you?"), "is compressed with gzip, and what is inside is text that starts with"),
        (gzip(&zstd(&small_pcap(1))), "is compressed with gzip, and what is inside is compressed with zstd"),
        (lz4(&[]), "is compressed with lz4, and what is inside is empty"),
    ];
    for (bytes, expected) in cases {
        let Err(Error::NotACapture { reason, .. }) = CaptureReader::from_reader("x", Box::new(Cursor::new(bytes)))
        else {
            panic!("{expected}")
        };
        assert!(reason.starts_with(expected), "{reason}");
    }
    let Err(Error::Io { source, .. }) =
        CaptureReader::from_reader("x", Box::new(Cursor::new(gzip(&small_pcap(1))[..12].to_vec())))
    else {
        panic!("a cut header of gzip is an error of reading")
    };
    assert_eq!(source.to_string(), "the gzip data are cut off");
}

#[test]
fn a_reader_dropped_early_lets_its_thread_end() {
    struct Counted(Cursor<Vec<u8>>, std::sync::mpsc::Sender<()>);
    impl Read for Counted {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            self.0.read(buffer)
        }
    }
    impl Drop for Counted {
        fn drop(&mut self) {
            let _ = self.1.send(());
        }
    }
    let (sender, dropped) = std::sync::mpsc::channel();
    let packed: Vec<u8> = zstd(&noise()).repeat(20);
    let mut reader = CaptureReader::from_reader("x", Box::new(Counted(Cursor::new(packed), sender))).unwrap();
    assert!(matches!(reader.next(i64::MAX), Next::Record(_)));
    drop(reader);
    dropped.recv_timeout(std::time::Duration::from_secs(20)).expect("the thread gave its source back");
}
