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

/// An Ethernet frame with any EtherType.
fn framed(ether_type: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1];
    frame.extend(ether_type.to_be_bytes());
    frame.extend(payload);
    frame
}

/// The IP packet of [`tcp_frame`].
fn ip_packet() -> Vec<u8> {
    tcp_frame(b"payload").split_off(IP)
}

/// That the TCP segment of [`ip_packet`] was found.
fn assert_found((row, key, _): (Row, FlowKey, Option<Detail>), note: &str) -> Row {
    assert_eq!((row.kind, row.seq, row.len), (Kind::Tcp, 1000, 7), "{note}");
    assert_eq!(row.l4_checksum, Checksum::Right, "{note}");
    assert_eq!(key.high, Endpoint::v4(0xc0a8_7a0a, 40_000), "{note}");
    row
}

#[test]
fn tags_stack_without_limit() {
    let mut tagged = Vec::new();
    for (vlan, next) in [(0x2064_u16, 0x8100_u16), (7, 0x9100), (8, 0x8100), (9, 0x88a8), (10, 0x0800)] {
        tagged.extend(vlan.to_be_bytes());
        tagged.extend(next.to_be_bytes());
    }
    tagged.extend(ip_packet());
    let row = assert_found(decode(ETHERNET, &framed(0x88a8, &tagged)), "five tags");
    assert_eq!(row.l2 & 0xffff, 100);
}

#[test]
fn every_link_type_leads_to_the_packet() {
    let with = |header: &[u8]| [header, &ip_packet()].concat();
    let snap = [0xaa, 0xaa, 3, 0, 0, 0, 8, 0];
    let length = (snap.len() + ip_packet().len()) as u16;
    let pppoe = [&[0x11, 0, 0, 1][..], &(ip_packet().len() as u16 + 2).to_be_bytes(), &[0, 0x21]].concat();
    let cases: &[(&str, u16, Vec<u8>)] = &[
        ("802.3 with SNAP", 1, framed(length, &with(&snap))),
        ("PPPoE", 1, framed(0x8864, &with(&pppoe))),
        ("MPLS, two labels", 1, framed(0x8847, &with(&[0, 1, 0, 64, 0, 2, 1, 64]))),
        ("null, little endian", 0, with(&[2, 0, 0, 0])),
        ("null, big endian", 0, with(&[0, 0, 0, 2])),
        ("loop", 108, with(&[0, 0, 0, 2])),
        ("raw", 101, ip_packet()),
        ("raw 12", 12, ip_packet()),
        ("raw 14", 14, ip_packet()),
        ("IPv4", 228, ip_packet()),
        ("PPP", 9, with(&[0xff, 3, 0, 0x21])),
        ("PPP, compressed", 9, with(&[0x21])),
        ("PPP in HDLC", 50, with(&[0xff, 3, 0, 0x21])),
        ("Cisco HDLC as PPP", 50, with(&[0x0f, 0, 8, 0])),
        ("Cisco HDLC", 104, with(&[0x0f, 0, 8, 0])),
        ("PPPoE session", 51, with(&pppoe)),
        ("cooked", 113, with(&[0, 4, 0, 1, 0, 6, 2, 0, 0, 0, 0, 1, 0, 0, 8, 0])),
        ("cooked, tagged", 113, with(&[0, 4, 0, 1, 0, 6, 2, 0, 0, 0, 0, 1, 0, 0, 0x81, 0, 0, 5, 8, 0])),
        ("cooked 2", 276, with(&[8, 0, 0, 0, 0, 0, 0, 9, 0, 1, 4, 6, 2, 0, 0, 0, 0, 1, 0, 0])),
    ];
    for (note, link, frame) in cases {
        let row = assert_found(decode(LinkType(*link), frame), note);
        assert!(!row.has(bits::MALFORMED | bits::CUT | bits::TRAILER), "{note}");
        assert_eq!(row.has(bits::OUTGOING), note.starts_with("cooked"), "{note}");
        assert!(analyzer_core::packet::supported(LinkType(*link)), "{note}");
    }
    let cooked = &cases.last().unwrap().2;
    assert_eq!(analyzer_core::packet::link::interface_index(&record(LinkType(276), cooked)), Some(9));
}

#[test]
fn tunnels_are_opened() {
    let inner = ip_packet();
    let ethernet_inside = tcp_frame(b"payload");
    let gre = |flags: u16, protocol: u16, optional: &[u8], inner: &[u8]| {
        [&flags.to_be_bytes()[..], &protocol.to_be_bytes(), optional, inner].concat()
    };
    let over_udp = |port, header: &[u8], inner: &[u8]| udp_frame((50_000, port), &[header, inner].concat());
    let over_ip = |protocol: u8, payload: &[u8]| {
        let mut frame = Vec::new();
        ipv4().write(&mut frame, protocol.into(), payload).unwrap();
        frame
    };
    let mut over_v6 = Vec::new();
    ethernet().ipv6([1; 16], [2; 16], 64).write(&mut over_v6, 4.into(), &inner).unwrap();
    let vxlan = [8, 0, 0, 0, 0, 0, 1, 0];
    let cases = [
        ("VXLAN", over_udp(4789, &vxlan, &ethernet_inside)),
        ("VXLAN on Linux's port", over_udp(8472, &vxlan, &ethernet_inside)),
        ("VXLAN with a policy", over_udp(4789, &[0x88, 0, 0, 9, 0, 0, 1, 7], &ethernet_inside)),
        ("Geneve", over_udp(6081, &[0, 0, 0x65, 0x58, 0, 0, 1, 0], &ethernet_inside)),
        ("Geneve with options", over_udp(6081, &[1, 0, 8, 0, 0, 0, 1, 0, 9, 9, 9, 0], &inner)),
        ("GRE", over_ip(47, &gre(0, 0x0800, &[], &inner))),
        ("GRE with key and sequence", over_ip(47, &gre(0x3000, 0x0800, &[0; 8], &inner))),
        ("GRE with Ethernet", over_ip(47, &gre(0, 0x6558, &[], &ethernet_inside))),
        ("IP in IP", over_ip(4, &inner)),
        ("IPv4 in IPv6", over_v6),
        ("VXLAN in IP in IP", over_ip(4, &over_udp(4789, &vxlan, &ethernet_inside)[IP..])),
    ];
    for (note, frame) in &cases {
        let row = assert_found(decode(ETHERNET, frame), note);
        assert!(row.has(bits::TUNNEL) && !row.has(bits::OUTER_WRONG), "{note}");
    }
    let mut frame = cases[0].1.clone();
    frame[L4 + 6] ^= 1;
    assert!(assert_found(decode(ETHERNET, &frame), "outer checksum").has(bits::OUTER_WRONG));

    let mut v6_inside = Vec::new();
    PacketBuilder::ipv6([1; 16], [2; 16], 64).tcp(1, 2, 3, 4).write(&mut v6_inside, &[]).unwrap();
    let (row, key, _) = decode(ETHERNET, &over_ip(41, &v6_inside));
    assert_eq!((row.kind, row.seq, key.family), (Kind::Tcp, 3, Family::V6));
    assert!(row.has(bits::TUNNEL));
}

#[test]
fn what_only_looks_like_a_tunnel_stays_what_it_is() {
    let (row, key, _) = decode(ETHERNET, &udp_frame((443, 4789), &[8; 60]));
    assert_eq!((row.kind, row.len, key.low.port), (Kind::Udp, 60, 4789));
    assert!(!row.has(bits::TUNNEL));
    let mut deep = ip_packet();
    for _ in 0..6 {
        let mut outer = Vec::new();
        PacketBuilder::ipv4([1, 1, 1, 1], [2, 2, 2, 2], 9).write(&mut outer, 4.into(), &deep).unwrap();
        deep = outer;
    }
    let (row, ..) = decode(RAW, &deep);
    assert_eq!((row.kind, row.protocol), (Kind::Ip, 4));
}

/// Sets flags and offset (in units of eight bytes) of a plain frame's fragmentation field, and its identification.
fn fragment(frame: &[u8], id: u16, more: bool, offset: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = [&frame[..L4], payload].concat();
    let total = (frame.len() - IP) as u16;
    frame[IP + 2..IP + 4].copy_from_slice(&total.to_be_bytes());
    frame[IP + 4..IP + 6].copy_from_slice(&id.to_be_bytes());
    frame[IP + 6..IP + 8].copy_from_slice(&(u16::from(more) << 13 | offset).to_be_bytes());
    fix_ip(&mut frame);
    frame
}

#[test]
fn fragments_follow_their_first() {
    let datagram = udp_frame((5000, 6000), &[7; 100]);
    let first = fragment(&datagram, 77, true, 0, &datagram[L4..L4 + 48]);
    let second = fragment(&datagram, 77, false, 6, &datagram[L4 + 48..]);
    let mut decoder = Decoder::new();
    let mut details = Vec::new();
    let (head, key) = decoder.decode(&record(ETHERNET, &first), &mut details);
    assert_eq!((head.kind, head.len, head.l4_checksum), (Kind::Udp, 40, Checksum::Unverifiable));
    assert!(head.has(bits::FIRST_FRAGMENT) && !head.has(bits::MALFORMED));
    let (tail, tail_key) = decoder.decode(&record(ETHERNET, &second), &mut details);
    assert_eq!((tail.kind, tail.seq, tail.ack, tail.len), (Kind::Fragment, 48, 77, 60));
    assert_eq!(tail_key, key);
    assert_eq!(tail.has(bits::FROM_HIGH), head.has(bits::FROM_HIGH));
    // Without its first, only the addresses are known.
    let (tail, key, _) = decode(ETHERNET, &second);
    assert_eq!((tail.kind, key.low.port, key.high.port), (Kind::Fragment, 0, 0));
}

#[test]
fn ipv6_extension_headers_are_stepped_over() {
    let mut packet = Vec::new();
    ethernet().ipv6([1; 16], [2; 16], 64).tcp(40_000, 443, 1000, 500).write(&mut packet, b"payload").unwrap();
    let transport = packet.split_off(IP + 40);
    let extensions: [(u8, Vec<u8>); 4] = [
        (0, vec![60, 0, 1, 4, 0, 0, 0, 0]),
        (60, [vec![43, 1], vec![0; 14]].concat()),
        (43, vec![44, 0, 4, 0, 0, 0, 0, 0]),
        (44, vec![6, 0, 0, 0, 0, 0, 0, 9]),
    ];
    packet[IP + 6] = extensions[0].0;
    let chain: Vec<u8> = extensions.iter().flat_map(|(_, bytes)| bytes.clone()).collect();
    let length = (chain.len() + transport.len()) as u16;
    packet[IP + 4..IP + 6].copy_from_slice(&length.to_be_bytes());
    let frame = [packet.clone(), chain, transport].concat();
    let (row, key, _) = decode(ETHERNET, &frame);
    assert_eq!((row.kind, row.seq, row.len, row.l4_checksum), (Kind::Tcp, 1000, 7, Checksum::Right));
    assert_eq!((key.family, key.protocol), (Family::V6, 6));
    assert!(row.has(bits::V6) && !row.has(bits::FIRST_FRAGMENT));

    let fragment = [6, 0, 0x05, 0xa8 | 1, 0, 0, 0, 9];
    packet[IP + 6] = 44;
    packet[IP + 4..IP + 6].copy_from_slice(&28_u16.to_be_bytes());
    let frame = [packet, fragment.to_vec(), vec![5; 20]].concat();
    let (row, ..) = decode(ETHERNET, &frame);
    assert_eq!((row.kind, row.seq, row.ack, row.len), (Kind::Fragment, 0x05a8, 9, 20));
}

#[test]
fn echoes_are_named_by_their_identifier() {
    let mut frame = Vec::new();
    ipv4().icmpv4_echo_reply(0x1234, 5).write(&mut frame, b"ping data").unwrap();
    let (row, key, _) = decode(ETHERNET, &frame);
    assert_eq!((row.kind, row.seq, row.len, row.window), (Kind::IcmpEcho, 0x1234_0005, 9, 0));
    assert_eq!((key.low.port, key.high.port, key.protocol), (0x1234, 0x1234, 1));
    assert!(row.has(bits::REPLY));
    assert_eq!(row.l4_checksum, Checksum::Right);
    assert_eq!(row.sum, ones_sum(b"ping data"));
    let mut frame = Vec::new();
    ethernet().ipv6([1; 16], [2; 16], 64).icmpv6_echo_request(7, 8).write(&mut frame, b"ping").unwrap();
    let (row, key, _) = decode(ETHERNET, &frame);
    assert_eq!((row.kind, row.seq, row.l4_checksum), (Kind::IcmpEcho, 0x0007_0008, Checksum::Right));
    assert_eq!(key.protocol, 58);
}

/// "Fragmentation needed" about `quote`, from a router to `to`.
fn needs_fragmentation(to: [u8; 4], mtu: u16, quote: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    ethernet()
        .ipv4([9, 9, 9, 9], to, 60)
        .icmpv4_raw(3, 4, [0, 0, (mtu >> 8) as u8, mtu as u8])
        .write(&mut frame, quote)
        .unwrap();
    frame
}

#[test]
fn errors_belong_to_the_flow_that_they_quote() {
    let (sent, flow, _) = decode(ETHERNET, &tcp_frame(b"payload"));
    // The minimum of RFC 792 and a longer quote.
    for quoted in [28, 40] {
        let frame = needs_fragmentation([192, 168, 122, 10], 1400, &ip_packet()[..quoted]);
        let (row, key, Some(Detail::IcmpError(error))) = decode(ETHERNET, &frame) else { panic!("{quoted}") };
        assert_eq!((row.kind, row.ack, row.window), (Kind::IcmpError, 1400, 0x0304));
        assert_eq!((key, error.quoted), (flow, flow));
        // It travels against the packet that it is about.
        assert_ne!(row.has(bits::FROM_HIGH), sent.has(bits::FROM_HIGH));
        assert_eq!((error.quoted_seq, error.quoted_len, error.quoted_ttl, error.mtu), (1000, 47, 64, 1400));
        assert_eq!(error.reporter, { Endpoint::v4(0x0909_0909, 0).address });
    }
}

#[test]
fn the_digest_of_an_error_survives_address_translation() {
    let inside = ip_packet();
    let mut outside = inside.clone();
    outside[12..16].copy_from_slice(&[5, 6, 7, 8]);
    outside[20..22].copy_from_slice(&[0xab, 0xcd]);
    outside[36..38].copy_from_slice(&[0x11, 0x22]);
    outside[8] -= 1;
    let head = |to, mtu, quote: &[u8]| {
        let row = decode(ETHERNET, &needs_fragmentation(to, mtu, quote)).0;
        (row.head, row.seq)
    };
    let there = head([192, 168, 122, 10], 1400, &inside);
    assert_eq!(there, head([5, 6, 7, 8], 1400, &outside));
    assert_ne!(there, head([5, 6, 7, 8], 1300, &outside));
    outside[27] ^= 1;
    assert_ne!(there, head([5, 6, 7, 8], 1400, &outside));
}

#[test]
fn an_error_without_a_readable_quote_is_a_message_like_any_other() {
    let (row, _, detail) = decode(ETHERNET, &needs_fragmentation([1, 1, 1, 1], 1400, &[0x60; 28]));
    assert_eq!((row.kind, detail), (Kind::IcmpOther, None));
    assert!(row.has(bits::MALFORMED));
    let whole = needs_fragmentation([1, 1, 1, 1], 1400, &ip_packet());
    let (row, ..) = decode_cut(&whole, L4 + 8 + 12);
    assert_eq!(row.kind, Kind::IcmpOther);
    assert!(row.has(bits::CUT) && !row.has(bits::MALFORMED));
}

#[test]
fn arp_is_named_by_its_hardware_addresses() {
    let mut message = vec![0, 1, 8, 0, 6, 4, 0, 2, 2, 0, 0, 0, 0, 1, 10, 0, 0, 1, 2, 0, 0, 0, 0, 2, 10, 0, 0, 2];
    message.resize(46, 0);
    let (row, key, Some(Detail::Arp(arp))) = decode(ETHERNET, &framed(0x0806, &message)) else { panic!() };
    assert_eq!((row.kind, row.len), (Kind::Arp, 28));
    assert!(row.has(bits::REPLY) && !row.has(bits::TRAILER));
    assert_eq!((arp.operation, arp.sender_ip, arp.target_ip), (2, 0x0a00_0001, 0x0a00_0002));
    assert_eq!((arp.sender_mac, key.family, key.protocol), (0x0200_0000_0001, Family::Link, 0x0806));
    assert_eq!((key.low.address, key.high.address), (0x0200_0000_0001, 0x0200_0000_0002));
    message[45] = 9;
    let (padded, ..) = decode(ETHERNET, &framed(0x0806, &message));
    assert!(padded.has(bits::TRAILER));
    assert_eq!(padded.head, row.head);
}

#[test]
fn spanning_tree_frames_are_read() {
    let mut bpdu = vec![0x42, 0x42, 3, 0, 0, 0, 0, 1];
    bpdu.extend([0x80, 0, 2, 0, 0, 0, 0, 9]);
    bpdu.extend([0; 4]);
    bpdu.extend([0x80, 0, 2, 0, 0, 0, 0, 8]);
    bpdu.extend([0; 10]);
    let mut frame = framed(bpdu.len() as u16, &bpdu);
    frame.resize(60, 0);
    let (row, key, Some(Detail::Bpdu(detail))) = decode(ETHERNET, &frame) else { panic!() };
    assert_eq!((row.kind, row.len as usize, key.protocol), (Kind::Link, bpdu.len() - 3, 0x42));
    assert_eq!((detail.bpdu_type, detail.flags), (0, 1));
    assert_eq!((detail.root, detail.bridge), (0x8000_0200_0000_0009, 0x8000_0200_0000_0008));
}

#[test]
fn the_same_unknown_frame_has_the_same_digests() {
    let (a, ..) = decode(ETHERNET, &framed(0x88cc, b"a neighbour's announcement"));
    let mut other_way = framed(0x88cc, b"a neighbour's announcement");
    other_way[5] = 77;
    let (b, ..) = decode(ETHERNET, &other_way);
    assert_eq!((a.kind, a.head, a.sum), (Kind::Link, b.head, b.sum));
}

fn quic_long(version: u32, id_lengths: (u8, u8), rest: &[u8]) -> Vec<u8> {
    let mut payload = vec![0xc3];
    payload.extend(version.to_be_bytes());
    payload.push(id_lengths.0);
    payload.extend(vec![0xaa; usize::from(id_lengths.0)]);
    payload.push(id_lengths.1);
    payload.extend(vec![0xbb; usize::from(id_lengths.1)]);
    payload.extend(rest);
    payload
}

#[test]
fn quic_headers_are_recognised() {
    let decode = |payload: &[u8]| decode(ETHERNET, &udp_frame((50_000, 443), payload));
    for version in [1, 0x6b33_43cf, 0xff00_001d, 0x5130_3436, 0x1a2a_3a4a] {
        let (row, _, Some(Detail::Quic(quic))) = decode(&quic_long(version, (8, 5), &[0; 40])) else { panic!() };
        assert!(row.has(bits::QUIC_LONG) && !row.has(bits::QUIC_SHORT));
        assert_eq!((quic.version, quic.destination.1, quic.source.1, quic.first_byte), (version, 8, 5, 0xc3));
        assert_eq!((quic.destination.0[7], quic.destination.0[8], quic.source.0[0]), (0xaa, 0, 0xbb));
    }
    assert!(decode(&quic_long(0, (8, 8), &[0, 0, 0, 1])).0.has(bits::QUIC_LONG));
    for other in [
        quic_long(2, (8, 8), &[0; 40]),
        quic_long(1, (21, 8), &[0; 40]),
        quic_long(0, (8, 8), &[0, 0, 0]),
        quic_long(1, (20, 20), &[])[..30].to_vec(),
    ] {
        assert!(!decode(&other).0.has(bits::QUIC_LONG | bits::QUIC_SHORT), "{other:?}");
    }
    let (row, ..) = decode(&[0x41, 1, 2, 3, 4, 5]);
    assert!(row.has(bits::QUIC_SHORT));
    assert_eq!((row.flags, row.seq), (0x41, 0x0102_0304));
    assert_eq!(decode(&[0x41, 1]).0.seq, 0x0100_0000);
}

#[test]
fn dns_and_dhcp_headers_are_read() {
    let query = [&[0xab, 0xcd, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0][..], b"\x03www\x07example\x00", &[0, 28, 0, 1]].concat();
    let (_, _, Some(Detail::Dns(dns))) = decode(ETHERNET, &udp_frame((50_000, 53), &query)) else { panic!() };
    assert_eq!((dns.id, dns.response, dns.question_type), (0xabcd, false, 28));
    let mut discover = vec![1, 1, 6, 0, 0xde, 0xad, 0xbe, 0xef];
    discover.resize(28, 0);
    discover.extend([2, 0, 0, 0, 0, 1]);
    discover.resize(236, 0);
    discover.extend([0x63, 0x82, 0x53, 0x63, 12, 2, b'v', b'm', 0, 53, 1, 5, 255]);
    let (_, _, Some(Detail::Dhcp(dhcp))) = decode(ETHERNET, &udp_frame((68, 67), &discover)) else { panic!() };
    assert_eq!((dhcp.xid, dhcp.message, dhcp.client_mac), (0xdead_beef, 5, 0x0200_0000_0001));
}

#[test]
fn lengths_that_disagree() {
    let with_length = |payload: &[u8], length: u16| {
        let mut frame = udp_frame((1, 2), payload);
        frame[L4 + 4..L4 + 6].copy_from_slice(&length.to_be_bytes());
        decode(ETHERNET, &frame).0
    };
    // Shorter than IP's: the rest is padding. Longer, or shorter than a header: no receiver takes it.
    assert_eq!(with_length(&[1; 50], 20).len, 12);
    assert!(with_length(&[1; 50], 99).has(bits::MALFORMED));
    assert!(with_length(&[1; 50], 3).has(bits::MALFORMED));
    // Superframes: no length, or that of one segment.
    assert_eq!(with_length(&[1; 50], 0).len, 50);
    assert_eq!(with_length(&[1; 5000], 1208).len, 5000);
    assert!(!with_length(&[1; 5000], 1208).has(bits::MALFORMED));
}
