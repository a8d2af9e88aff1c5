//! Variants of the classic format.

use crate::build::{Bytes, pcap_header, record};
use crate::{Owned, drain, messages, read, read_whole};
use analyzer_core::capture::{CaptureReader, Next};
use std::io::Cursor;

const MICRO: u32 = 0xa1b2_c3d4;
const NANO: u32 = 0xa1b2_3c4d;
const MODIFIED: u32 = 0xa1b2_cd34;

#[test]
fn both_byte_orders_and_both_units_of_time() {
    for big in [false, true] {
        for (magic, time) in [(MICRO, 1_700_000_000_000_123_000), (NANO, 1_700_000_000_000_000_123)] {
            let mut bytes = pcap_header(big, magic, 262_144, 1);
            bytes.extend(record(big, 1_700_000_000, 123, 60, &[7; 60]));
            bytes.extend(record(big, 1_700_000_001, 5, 1514, &[8; 96]));
            let records = read_whole(&bytes);
            assert_eq!(records.len(), 2);
            let first =
                Owned { time, frame: 1, wirelen: 60, interface: 0, link_type: 1, fcs_len: 0, data: vec![7; 60] };
            assert_eq!(records[0], first);
            assert_eq!((records[1].wirelen, records[1].data.len(), records[1].frame), (1514, 96, 2));
        }
    }
}

#[test]
fn the_modified_format_has_longer_record_headers() {
    for big in [false, true] {
        let mut bytes = pcap_header(big, MODIFIED, 1500, 1);
        for second in 1..=3 {
            let header = Bytes::new(big).word(second).word(9).word(40).word(40);
            bytes.extend(header.word(2).half(0x0800).raw(&[0, 0]).raw(&[second as u8; 40]).bytes);
        }
        let records = read_whole(&bytes);
        assert_eq!(records.len(), 3);
        assert_eq!((records[2].time, &records[2].data), (3_000_009_000, &vec![3; 40]));
    }
}

#[test]
fn the_link_type_word_may_hold_the_length_of_the_check_sequence() {
    for big in [false, true] {
        let mut bytes = pcap_header(big, MICRO, 1500, 0x2400_0001);
        bytes.extend(record(big, 1, 0, 64, &[1; 64]));
        let (records, summary) = read(&bytes);
        assert_eq!((records[0].link_type, records[0].fcs_len), (1, 4));
        assert_eq!((summary.interfaces[0].link_type.0, summary.interfaces[0].fcs_len), (1, 4));
        assert_eq!(messages(&summary), [""; 0]);
    }
}

#[test]
fn version_2_3_and_before_may_have_the_lengths_in_the_other_order() {
    let mut bytes = Bytes::new(false).word(MICRO).half(2).half(3).word(0).word(0).word(68).word(1).bytes;
    bytes.extend(Bytes::new(false).word(1).word(0).word(100).word(68).raw(&[1; 68]).bytes);
    bytes.extend(record(false, 2, 0, 100, &[2; 68]));
    let records = read_whole(&bytes);
    assert_eq!(records.iter().map(|r| (r.data.len(), r.wirelen)).collect::<Vec<_>>(), [(68, 100), (68, 100)]);
}

#[test]
fn the_data_count_and_not_the_snap_length() {
    // Snap length 0, and records longer than the snap length, are both met in merged and edited files.
    for snaplen in [0, 50] {
        let mut bytes = pcap_header(false, MICRO, snaplen, 1);
        bytes.extend(record(false, 1, 0, 1500, &[1; 1500]));
        let (records, summary) = read(&bytes);
        assert_eq!(records[0].data.len(), 1500);
        assert_eq!(messages(&summary), [""; 0]);
        assert_eq!(summary.interfaces[0].snaplen, snaplen);
    }
}

#[test]
fn fractions_of_a_second_or_more_are_carried() {
    let mut bytes = pcap_header(false, MICRO, 1500, 1);
    bytes.extend(record(false, 10, 1_000_001, 4, &[1; 4]));
    bytes.extend(record(false, u32::MAX, u32::MAX, 4, &[1; 4]));
    let records = read_whole(&bytes);
    assert_eq!(records[0].time, 11_000_001_000);
    assert_eq!(records[1].time, i64::from(u32::MAX) * 1_000_000_000 + i64::from(u32::MAX) * 1000);
}

#[test]
fn more_bytes_than_on_the_wire_are_accepted_and_noted_once() {
    let mut bytes = pcap_header(false, MICRO, 1500, 1);
    for second in 1..=3 {
        bytes.extend(record(false, second, 0, 40, &[1; 60]));
    }
    let (records, summary) = read(&bytes);
    assert_eq!(records.iter().map(|r| (r.data.len(), r.wirelen)).collect::<Vec<_>>(), [(60, 60); 3]);
    let expected =
        "record at byte 24 (frame 1): has 60 bytes but a length on the wire of 40; accepted, here and in later records";
    assert_eq!(messages(&summary), [expected]);
}

#[test]
fn a_record_larger_than_the_buffer_is_read_and_noted_once() {
    let mut bytes = pcap_header(false, MICRO, 262_144, 1);
    bytes.extend(record(false, 1, 0, 60, &[1; 60]));
    for second in 2..=3 {
        bytes.extend(record(false, second, 0, 9_000_000, &vec![2; 9_000_000]));
    }
    bytes.extend(record(false, 4, 0, 60, &[3; 60]));
    let (records, summary) = read(&bytes);
    assert_eq!(records.iter().map(|r| r.data.len()).collect::<Vec<_>>(), [60, 9_000_000, 9_000_000, 60]);
    let expected = "record at byte 100 (frame 2): has 9,000,000 bytes, more than the snap length 262,144; accepted";
    assert_eq!(messages(&summary), [expected]);
}

#[test]
fn a_header_alone_is_a_capture_without_packets() {
    assert_eq!(read_whole(&pcap_header(true, NANO, 65535, 113)), []);
}

#[test]
fn records_wait_until_their_time_is_asked_for() {
    let mut bytes = pcap_header(false, NANO, 65535, 1);
    for nanosecond in [5, 10, 7] {
        bytes.extend(record(false, 0, nanosecond, 4, &[1; 4]));
    }
    let mut reader = CaptureReader::from_reader("test", Box::new(Cursor::new(bytes))).unwrap();
    assert!(matches!(reader.next(5), Next::Later));
    assert!(matches!(reader.next(5), Next::Later));
    assert_eq!((reader.decoded_bytes(), reader.position()), (24, 24));
    assert!(matches!(reader.next(6), Next::Record(record) if record.time == 5));
    assert_eq!((reader.decoded_bytes(), reader.position()), (44, 44));
    assert!(matches!(reader.next(10), Next::Later));
    assert_eq!(drain_times(&mut reader), [10, 7]);
    assert_eq!(reader.summary().packets, 3);
}

fn drain_times(reader: &mut CaptureReader) -> Vec<i64> {
    let mut times = Vec::new();
    while let Next::Record(record) = reader.next(i64::MAX) {
        times.push(record.time);
    }
    times
}

#[test]
fn agrees_with_another_writer() {
    use pcap_file::pcap::{PcapHeader, PcapPacket, PcapTsResolution, PcapWriter};
    use pcap_file::{DataLink, Endianness};
    use std::time::Duration;
    for endianness in [Endianness::Big, Endianness::Little] {
        for ts_resolution in [PcapTsResolution::MicroSecond, PcapTsResolution::NanoSecond] {
            let header =
                PcapHeader { endianness, ts_resolution, datalink: DataLink::LINUX_SLL2, ..PcapHeader::default() };
            let mut writer = PcapWriter::with_header(Vec::new(), header).unwrap();
            for nth in 0..20_u8 {
                let data = vec![nth; usize::from(nth) + 1];
                let time = Duration::new(1_700_000_000, u32::from(nth) * 1000);
                writer.write_packet(&PcapPacket::new(time, 100, &data).unwrap()).unwrap();
            }
            let bytes = writer.into_inner();
            let mut reader = CaptureReader::from_reader("test", Box::new(Cursor::new(bytes))).unwrap();
            let records = drain(&mut reader);
            assert_eq!(records.len(), 20);
            for (nth, record) in (0..).zip(&records) {
                assert_eq!(record.time, 1_700_000_000_000_000_000 + nth * 1000);
                assert_eq!((record.wirelen, record.link_type), (100, 276));
                assert_eq!(record.data, vec![nth as u8; nth as usize + 1]);
            }
            assert_eq!(reader.summary().interfaces[0].link_type.name(), "LINUX_SLL2");
        }
    }
}
