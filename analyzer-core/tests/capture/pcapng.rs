//! Variants of the pcapng format.

use crate::build::{Bytes, block, enhanced, enhanced_with, interface, section, section_with};
use crate::{messages, read, read_whole};
use analyzer_core::time::{EARLIEST, LATEST};

/// A capture of one packet with these ticks on an interface with these options.
fn time_of(big: bool, ticks: u64, options: Bytes) -> i64 {
    let mut bytes = section(big);
    bytes.extend(interface(1, 0, options));
    bytes.extend(enhanced(big, 0, ticks, &[1; 5]));
    read_whole(&bytes)[0].time
}

#[test]
fn units_of_time_from_a_second_to_the_finest() {
    for big in [false, true] {
        let unit = |resolution: u8| Bytes::new(big).option(9, &[resolution]);
        assert_eq!(time_of(big, 1_700_000_000_123_456, Bytes::new(big)), 1_700_000_000_123_456_000);
        assert_eq!(time_of(big, 1_700_000_000, unit(0)), 1_700_000_000_000_000_000);
        assert_eq!(time_of(big, 1_700_000_000_123, unit(3)), 1_700_000_000_123_000_000);
        assert_eq!(time_of(big, 1_700_000_000_123_456_789, unit(9)), 1_700_000_000_123_456_789);
        assert_eq!(time_of(big, 12_345, unit(10)), 1234);
        assert_eq!(time_of(big, u64::MAX, unit(19)), 1_844_674_407);
        assert_eq!(time_of(big, u64::MAX, unit(127)), 0);
        assert_eq!(time_of(big, 3, unit(0x81)), 1_500_000_000);
        assert_eq!(time_of(big, (7 << 30) + (1 << 29), unit(0x9e)), 7_500_000_000);
        assert_eq!(time_of(big, u64::MAX, unit(0xbf)), 1_999_999_999);
        assert_eq!(time_of(big, u64::MAX, unit(0xff)), 0);
    }
}

#[test]
fn times_out_of_range_are_held_to_what_is_believed() {
    let seconds = Bytes::new(false).option(9, &[0]);
    assert_eq!(time_of(false, u64::MAX, seconds.clone()), LATEST);
    let low = seconds.option(14, &i64::MIN.to_le_bytes());
    assert_eq!(time_of(false, 0, low), EARLIEST);
}

#[test]
fn the_offset_of_time_is_signed_and_in_the_section_s_byte_order() {
    for big in [false, true] {
        let offset = |seconds: i64| Bytes::new(big).half(14).half(8).long(seconds as u64);
        assert_eq!(time_of(big, 5_000_000, offset(-7)), -2_000_000_000);
        assert_eq!(time_of(big, 5, offset(1_700_000_000)), 1_700_000_000_000_005_000);
    }
}

#[test]
fn sections_have_their_own_byte_order_and_interfaces() {
    let nano = Bytes::new(true).option(9, &[9]).option(2, b"vnet0\0");
    let mut bytes = section(false);
    bytes.extend(interface(1, 1500, Bytes::new(false).option(2, b"eth0")));
    bytes.extend(interface(113, 96, Bytes::new(false)));
    bytes.extend(enhanced(false, 1, 1_000_000, &[1; 3]));
    bytes.extend(enhanced(false, 0, 2_000_000, &[2; 4]));
    bytes.extend(section(true));
    bytes.extend(interface(276, 0, nano));
    bytes.extend(enhanced(true, 0, 3_000_000_000, &[3; 5]));
    let (records, summary) = read(&bytes);
    let seen: Vec<_> =
        records.iter().map(|r| (r.time / 1_000_000_000, r.interface, r.link_type, r.data.len())).collect();
    assert_eq!(seen, [(1, 1, 113, 3), (2, 0, 1, 4), (3, 0, 276, 5)]);
    let interfaces: Vec<_> = summary
        .interfaces
        .iter()
        .map(|i| (i.section, i.index, i.name.as_str(), i.link_type.0, i.snaplen, i.packets, i.ticks_per_second))
        .collect();
    assert_eq!(
        interfaces,
        [
            (0, 0, "eth0", 1, 1500, 1, Some(1_000_000)),
            (0, 1, "", 113, 96, 1, Some(1_000_000)),
            (1, 0, "vnet0", 276, 0, 1, Some(1_000_000_000)),
        ]
    );
    assert_eq!(summary.format, "pcapng");
    assert_eq!(messages(&summary), [""; 0]);
}

#[test]
fn simple_packets_have_the_snap_length_the_first_link_type_and_the_last_time() {
    for big in [false, true] {
        let mut bytes = section(big);
        bytes.extend(interface(1, 61, Bytes::new(big)));
        bytes.extend(enhanced(big, 0, 9_000_000, &[1; 8]));
        bytes.extend(block(3, &Bytes::new(big).word(61).padded(&[2; 61])));
        bytes.extend(block(3, &Bytes::new(big).word(1514).padded(&[3; 61])));
        bytes.extend(block(3, &Bytes::new(big).word(7).padded(&[4; 7])));
        let records = read_whole(&bytes);
        let seen: Vec<_> = records.iter().map(|r| (r.time, r.wirelen, r.data.clone())).collect();
        assert_eq!(
            seen,
            [
                (9_000_000_000, 8, vec![1; 8]),
                (9_000_000_000, 61, vec![2; 61]),
                (9_000_000_000, 1514, vec![3; 61]),
                (9_000_000_000, 7, vec![4; 7]),
            ]
        );
    }
}

#[test]
fn obsolete_packet_blocks_are_read_with_their_drops() {
    for big in [false, true] {
        let mut bytes = section(big);
        bytes.extend(interface(1, 0, Bytes::new(big)));
        bytes.extend(interface(113, 0, Bytes::new(big)));
        for drops in [3, 0xffff] {
            let body = Bytes::new(big).half(1).half(drops).word(0).word(5).word(6).word(60).padded(&[9; 6]);
            bytes.extend(block(2, &body.option(2, &[0, 0, 0, 0])));
        }
        let (records, summary) = read(&bytes);
        let seen: Vec<_> =
            records.iter().map(|r| (r.time, r.interface, r.link_type, r.wirelen, r.data.len())).collect();
        assert_eq!(seen, [(5000, 1, 113, 60, 6); 2]);
        assert_eq!(summary.interfaces[1].dropped_between, 3);
    }
}

#[test]
fn options_of_packets_tell_of_drops_and_check_sequences() {
    for big in [false, true] {
        let mut bytes = section(big);
        bytes.extend(interface(1, 0, Bytes::new(big).option(13, &[4])));
        let flags = Bytes::new(big).word(2 << 5).bytes;
        let drops = Bytes::new(big).long(17).bytes;
        bytes.extend(enhanced(big, 0, 1, &[1; 60]));
        let options = Bytes::new(big).option(1, b"a comment").option(2, &flags).option(4, &drops).half(0).half(0);
        bytes.extend(enhanced_with(0, 2, &[1; 61], options));
        // Without opt_endofopt, and with one that does not fit.
        bytes.extend(enhanced_with(0, 3, &[1; 62], Bytes::new(big).option(4, &drops).half(1).half(999)));
        let (records, summary) = read(&bytes);
        assert_eq!(records.iter().map(|r| (r.data.len(), r.fcs_len)).collect::<Vec<_>>(), [(60, 4), (61, 2), (62, 4)]);
        assert_eq!(summary.interfaces[0].dropped_between, 34);
        assert_eq!(messages(&summary), [""; 0]);
    }
}

#[test]
fn statistics_comments_and_application_are_summarised() {
    let big = true;
    let options = Bytes::new(big).option(1, b"first").option(1, b"bad \xff utf-8").option(4, b"dumpcap 4.2");
    let mut bytes = section_with(options);
    let filter = Bytes::new(big).option(3, "Büro".as_bytes()).option(11, b"\0tcp port 443");
    bytes.extend(interface(1, 0, filter));
    let statistics = |received: u64, dropped: u64| {
        let body = Bytes::new(big).word(0).word(0).word(9).option(1, b"Counters provided by dumpcap");
        let body = body.half(4).half(8).long(received).half(5).half(8).long(dropped).half(7).half(8).long(1);
        block(5, &body.half(0).half(0))
    };
    bytes.extend(statistics(10, 2));
    bytes.extend(block(0x0bad, &Bytes::new(big).word(32473).raw(b"whatever")));
    bytes.extend(block(4, &Bytes::new(big).word(0)));
    bytes.extend(block(0x8000_1234, &Bytes::new(big)));
    bytes.extend(statistics(20, 5));
    let (records, summary) = read(&bytes);
    assert_eq!(records, []);
    assert_eq!(summary.comments, ["first", "bad \u{fffd} utf-8"]);
    assert_eq!(summary.application.as_deref(), Some("dumpcap 4.2"));
    let interface = &summary.interfaces[0];
    assert_eq!((interface.received, interface.dropped, interface.dropped_by_os), (Some(20), Some(5), Some(1)));
    assert_eq!((interface.filter.as_str(), interface.description.as_str()), ("tcp port 443", "Büro"));
    assert_eq!(messages(&summary), [""; 0]);
}

#[test]
fn frames_are_numbered_as_wireshark_does() {
    let mut bytes = section(false);
    bytes.extend(interface(1, 0, Bytes::new(false)));
    bytes.extend(enhanced(false, 0, 1, &[1; 4]));
    for kind in [0x0bad, 0x4000_0bad, 9, 4, 10, 0x7777] {
        bytes.extend(block(kind, &Bytes::new(false).word(32473).word(0)));
    }
    bytes.extend(enhanced(false, 0, 2, &[1; 4]));
    let records = read_whole(&bytes);
    assert_eq!(records.iter().map(|r| r.frame).collect::<Vec<_>>(), [1, 5]);
}

#[test]
fn odd_interface_descriptions_are_accepted() {
    let mut bytes = section(false);
    // A reserved field that is not zero.
    bytes.extend(block(1, &Bytes::new(false).half(1).half(0xbeef).word(0)));
    // Too short, but it takes its number.
    bytes.extend(block(1, &Bytes::new(false).half(1).half(0)));
    bytes.extend(block(1, &Bytes::new(false).half(113).half(0).word(0)));
    bytes.extend(enhanced(false, 0, 1, &[1; 4]));
    bytes.extend(enhanced(false, 2, 2, &[1; 4]));
    let (records, summary) = read(&bytes);
    assert_eq!(records.iter().map(|r| r.link_type).collect::<Vec<_>>(), [1, 113]);
    assert_eq!(
        messages(&summary),
        ["block at byte 48 (frame 1): length 16 is too short for an interface description; skipped"]
    );
}

#[test]
fn more_captured_than_on_the_wire_is_accepted_and_noted_once() {
    let mut bytes = section(false);
    bytes.extend(interface(1, 0, Bytes::new(false)));
    for _ in 0..2 {
        bytes.extend(block(6, &Bytes::new(false).word(0).word(0).word(1).word(8).word(4).raw(&[1; 8])));
    }
    let (records, summary) = read(&bytes);
    assert_eq!(records.iter().map(|r| (r.data.len(), r.wirelen)).collect::<Vec<_>>(), [(8, 8); 2]);
    assert_eq!(summary.problems.len(), 1);
}

#[test]
fn a_section_of_an_unknown_version_is_skipped_as_a_whole() {
    let mut bytes = section(false);
    bytes.extend(interface(1, 0, Bytes::new(false)));
    bytes.extend(enhanced(false, 0, 1, &[1; 4]));
    bytes.extend(block(0x0a0d_0d0a, &Bytes::new(false).word(0x1a2b_3c4d).half(2).half(0).long(u64::MAX)));
    bytes.extend(interface(1, 0, Bytes::new(false)));
    bytes.extend(enhanced(false, 0, 2, &[2; 4]));
    bytes.extend(section(true));
    bytes.extend(interface(1, 0, Bytes::new(true)));
    bytes.extend(enhanced(true, 0, 3, &[3; 4]));
    let (records, summary) = read(&bytes);
    assert_eq!(records.iter().map(|r| r.time).collect::<Vec<_>>(), [1000, 3000]);
    let expected = "block at byte 84 (frame 2): section of version 2.0, which is not known; skipped as a whole";
    assert_eq!(messages(&summary), [expected]);
}

#[test]
fn interfaces_beyond_the_numbers_of_a_record_are_not_taken_in() {
    let mut bytes = section(false);
    for _ in 0..65_540 {
        bytes.extend(interface(1, 0, Bytes::new(false)));
    }
    bytes.extend(enhanced(false, 65_535, 1, &[1; 4]));
    bytes.extend(enhanced(false, 65_536, 1, &[1; 4]));
    let (records, summary) = read(&bytes);
    assert_eq!(records.iter().map(|r| r.interface).collect::<Vec<_>>(), [65_535]);
    assert_eq!(summary.problems.len(), 2);
    assert!(summary.interfaces.len() < 10_000);
}

#[test]
fn agrees_with_another_writer() {
    use pcap_file::DataLink;
    use pcap_file::pcapng::PcapNgWriter;
    use pcap_file::pcapng::blocks::enhanced_packet::EnhancedPacketBlock;
    use pcap_file::pcapng::blocks::interface_description::InterfaceDescriptionBlock;
    use std::borrow::Cow;
    use std::time::Duration;
    let mut writer = PcapNgWriter::new(Vec::new()).unwrap();
    writer.write_pcapng_block(InterfaceDescriptionBlock::new(DataLink::ETHERNET, 0xffff)).unwrap();
    for nth in 0..20_u8 {
        let block = EnhancedPacketBlock {
            interface_id: 0,
            timestamp: Duration::new(1_700_000_000, u32::from(nth) * 1000),
            original_len: 100,
            data: Cow::Owned(vec![nth; usize::from(nth)]),
            options: vec![],
        };
        writer.write_pcapng_block(block).unwrap();
    }
    let records = read_whole(&writer.into_inner());
    assert_eq!(records.len(), 20);
    for (nth, record) in (0..).zip(&records) {
        assert_eq!(record.time, 1_700_000_000_000_000_000 + nth * 1000);
        assert_eq!((record.wirelen, &record.data), (100, &vec![nth as u8; nth as usize]));
    }
}
