//! The packet layer seen from outside: frames as they are found in captures, and the rows that they become.

use analyzer_core::capture::{LinkType, Record};
use analyzer_core::packet::row::{bits, tcp_flags};
use analyzer_core::packet::{Checksum, Decoder, Detail, Endpoint, Family, FlowKey, Kind, Row};
use etherparse::{PacketBuilder, PacketBuilderStep, TcpOptionElement};

const ETHERNET: LinkType = LinkType(1);
const RAW: LinkType = LinkType(101);

fn record(link_type: LinkType, data: &[u8]) -> Record<'_> {
    Record { time: 1_000, frame: 7, wirelen: data.len() as u32, interface: 0, link_type, fcs_len: 0, data }
}

/// Decodes one record alone.
fn decode_record(record: &Record<'_>) -> (Row, FlowKey, Option<Detail>) {
    let mut details = Vec::new();
    let (row, key) = Decoder::new().decode(record, &mut details);
    assert!(details.len() <= 1);
    assert_eq!(row.detail as usize, details.len());
    (row, key, details.pop())
}

fn decode(link_type: LinkType, data: &[u8]) -> (Row, FlowKey, Option<Detail>) {
    decode_record(&record(link_type, data))
}

/// The same frame with only `caplen` bytes kept.
fn decode_cut(data: &[u8], caplen: usize) -> (Row, FlowKey, Option<Detail>) {
    decode_record(&Record { wirelen: data.len() as u32, ..record(ETHERNET, &data[..caplen]) })
}

fn ethernet() -> PacketBuilderStep<etherparse::Ethernet2Header> {
    PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2])
}

fn ipv4() -> PacketBuilderStep<etherparse::IpHeaders> {
    ethernet().ipv4([192, 168, 122, 10], [1, 2, 3, 4], 64)
}

fn tcp_frame(payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    ipv4().tcp(40_000, 443, 1000, 500).ack(77).psh().write(&mut frame, payload).unwrap();
    frame
}

fn udp_frame(ports: (u16, u16), payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    ipv4().udp(ports.0, ports.1).write(&mut frame, payload).unwrap();
    frame
}

/// Where things are in a plain Ethernet and IPv4 frame.
const IP: usize = 14;
const L4: usize = 34;

/// Recomputes the IPv4 header checksum of a frame with a plain header.
fn fix_ip(frame: &mut [u8]) {
    frame[IP + 10..IP + 12].fill(0);
    let sum = ones_sum(&frame[IP..L4]);
    frame[IP + 10..IP + 12].copy_from_slice(&(!sum).to_be_bytes());
}

fn ones_sum(bytes: &[u8]) -> u16 {
    let mut sum = 0_u32;
    for pair in bytes.chunks(2) {
        sum += u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

/// The folded pseudo-header sum of a plain frame's transport.
fn pseudo(frame: &[u8], len: u16) -> u16 {
    let mut bytes = frame[IP + 12..L4].to_vec();
    bytes.extend([0, frame[IP + 9]]);
    bytes.extend(len.to_be_bytes());
    ones_sum(&bytes)
}

#[test]
fn a_tcp_segment() {
    let payload = b"hello, hello, hello";
    let (row, key, detail) = decode(ETHERNET, &tcp_frame(payload));
    assert_eq!((row.time, row.frame, row.wirelen), (1_000, 7, 73));
    assert_eq!(row.kind, Kind::Tcp);
    assert_eq!((row.seq, row.ack, row.len, row.window), (1000, 77, 19, 500));
    assert_eq!(row.flags, tcp_flags::ACK | tcp_flags::PSH);
    assert_eq!((row.ttl, row.protocol, row.ip_len), (64, 6, 59));
    assert_eq!((row.l3_checksum, row.l4_checksum), (Checksum::Right, Checksum::Right));
    assert_eq!(row.sum, ones_sum(payload));
    assert_ne!(row.head, 0);
    assert_eq!(row.l2, 0x0200_0000_0001_0000);
    assert_eq!(key.low, Endpoint::v4(0x0102_0304, 443));
    assert_eq!(key.high, Endpoint::v4(0xc0a8_7a0a, 40_000));
    assert_eq!((key.protocol, key.family), (6, Family::V4));
    assert!(row.has(bits::FROM_HIGH));
    assert_eq!(detail, None);
}

#[test]
fn ethernet_padding_is_not_payload() {
    let mut frame = tcp_frame(b"");
    frame.resize(60, 0);
    let (row, ..) = decode(ETHERNET, &frame);
    assert_eq!((row.len, row.head, row.sum, row.l4_checksum), (0, 0, 0, Checksum::Right));
    assert!(!row.has(bits::TRAILER));
    frame[59] = 1;
    assert!(decode(ETHERNET, &frame).0.has(bits::TRAILER));
}

#[test]
fn a_declared_check_sequence_is_not_a_trailer() {
    let mut frame = tcp_frame(b"x");
    frame.extend([1, 2, 3, 4]);
    let with = |fcs_len| decode_record(&Record { fcs_len, ..record(ETHERNET, &frame) }).0;
    assert!(with(0).has(bits::TRAILER));
    assert!(!with(4).has(bits::TRAILER));
}

#[test]
fn checksums_are_right_wrong_or_partial() {
    for frame in [tcp_frame(b"payload"), udp_frame((1, 2), b"payload")] {
        let field = if frame[IP + 9] == 6 { L4 + 16 } else { L4 + 6 };
        assert_eq!(decode(ETHERNET, &frame).0.l4_checksum, Checksum::Right);
        let mut wrong = frame.clone();
        wrong[field] ^= 0x10;
        assert_eq!(decode(ETHERNET, &wrong).0.l4_checksum, Checksum::Wrong);
        let mut partial = frame.clone();
        let seed = pseudo(&frame, (frame.len() - L4) as u16);
        partial[field..field + 2].copy_from_slice(&seed.to_be_bytes());
        assert_eq!(decode(ETHERNET, &partial).0.l4_checksum, Checksum::Partial);
    }
    let mut frame = tcp_frame(b"");
    frame[IP + 8] = 63;
    assert_eq!(decode(ETHERNET, &frame).0.l3_checksum, Checksum::Wrong);
    frame[IP + 10..IP + 12].fill(0);
    assert_eq!(decode(ETHERNET, &frame).0.l3_checksum, Checksum::Wrong);
    let mut frame = udp_frame((1, 2), b"payload");
    frame[L4 + 6..L4 + 8].fill(0);
    assert_eq!(decode(ETHERNET, &frame).0.l4_checksum, Checksum::Absent);
}

#[test]
fn a_syn_keeps_its_options() {
    let mut frame = Vec::new();
    ipv4()
        .tcp(1, 2, 3, 4)
        .syn()
        .options(&[
            TcpOptionElement::MaximumSegmentSize(1400),
            TcpOptionElement::SelectiveAcknowledgementPermitted,
            TcpOptionElement::Timestamp(1, 0),
            TcpOptionElement::WindowScale(9),
        ])
        .unwrap()
        .write(&mut frame, &[])
        .unwrap();
    let (row, _, Some(Detail::Tcp(options))) = decode(ETHERNET, &frame) else { panic!() };
    assert_eq!(row.len, 0);
    assert_eq!((options.mss, options.window_scale), (Some(1400), Some(9)));
    assert!(options.sack_permitted && options.timestamps);

    // Cut inside its options: what names the flow and its start is still there.
    let (row, key, detail) = decode_cut(&frame, L4 + 24);
    assert_eq!((row.kind, row.seq, row.flags, row.len), (Kind::Tcp, 3, tcp_flags::SYN, 0));
    assert_eq!((key.low.port, key.high.port), (2, 1));
    assert_eq!(row.l4_checksum, Checksum::Unverifiable);
    assert!(row.has(bits::CUT) && !row.has(bits::MALFORMED));
    let Some(Detail::Tcp(options)) = detail else { panic!() };
    assert_eq!((options.mss, options.window_scale), (Some(1400), None));
}

#[test]
fn sack_blocks_are_kept_and_lone_timestamps_are_not() {
    let with = |options: &[TcpOptionElement]| {
        let mut frame = Vec::new();
        ipv4().tcp(1, 2, 3, 4).ack(5).options(options).unwrap().write(&mut frame, &[]).unwrap();
        decode(ETHERNET, &frame).2
    };
    let timestamp = [TcpOptionElement::Noop, TcpOptionElement::Noop, TcpOptionElement::Timestamp(1, 2)];
    assert_eq!(with(&timestamp), None);
    let sack = TcpOptionElement::SelectiveAcknowledgement((10, 20), [Some((30, 40)), None, None]);
    let Some(Detail::Tcp(options)) = with(&[TcpOptionElement::Timestamp(1, 2), sack]) else { panic!() };
    assert_eq!((options.sack_blocks, options.sack[0], options.sack[1]), (2, (10, 20), (30, 40)));
    assert!(options.timestamps);
}

#[test]
fn a_superframe_without_a_length_is_as_long_as_it_was_on_the_wire() {
    let mut frame = tcp_frame(&[9; 3000]);
    frame[IP + 2..IP + 4].fill(0);
    fix_ip(&mut frame);
    let (row, ..) = decode(ETHERNET, &frame);
    assert_eq!((row.len, row.ip_len), (3000, 3040));
    assert_eq!(row.l4_checksum, Checksum::Right);
}

#[test]
fn another_version_than_announced_is_not_parsed() {
    let mut frame = tcp_frame(b"x");
    frame[IP] = 0x65;
    let (row, key, _) = decode(ETHERNET, &frame);
    assert_eq!((row.kind, key.family), (Kind::Link, Family::Link));
    assert!(row.has(bits::MALFORMED));
}

#[test]
fn an_unknown_link_type_still_makes_a_row() {
    let (row, ..) = decode(LinkType(147), &[1, 2, 3]);
    assert_eq!((row.kind, row.len), (Kind::Link, 3));
    assert!(row.has(bits::MALFORMED));
    assert!(!analyzer_core::packet::supported(LinkType(147)));
    assert!(analyzer_core::packet::supported(RAW));
}
