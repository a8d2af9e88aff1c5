//! What must hold for every frame, however odd: no panic, no dependence on what was decoded before, and agreement with
//! etherparse's own dispatcher wherever that one can follow.

use analyzer_core::capture::{LinkType, Record};
use analyzer_core::packet::link::SUPPORTED;
use analyzer_core::packet::row::bits;
use analyzer_core::packet::{Checksum, Decoder, Detail, Endpoint, Family, FlowKey, Kind, Row};
use etherparse::{NetSlice, PacketBuilder, SlicedPacket, TcpOptionElement, TransportSlice, VlanId};
use proptest::prelude::*;

/// The fields of a row, comparable.
fn debug(row: &Row, key: &FlowKey, detail: Option<&Detail>) -> String {
    format!("{row:?} {key:?} {detail:?}")
}

/// Decodes, and checks what holds for every record.
fn decode(record: &Record<'_>) -> (Row, FlowKey, Option<Detail>) {
    let mut details = Vec::new();
    let (row, key) = Decoder::new().decode(record, &mut details);
    assert!(details.len() <= 1);
    assert_eq!(row.detail as usize, details.len());
    assert_eq!((row.time, row.frame, row.wirelen, row.flow), (record.time, record.frame, record.wirelen, 0));
    assert!(key.low <= key.high);
    assert!(row.len == 0 || row.head != 0 || row.has(bits::CUT | bits::MALFORMED), "{row:?}");

    // Whatever was in the caller's row before is gone.
    let end = Endpoint { address: 3, port: 4 };
    let mut used = Row { seq: 1, len: 2, bits: 0xffff, detail: 9, sum: 7, head: 8, kind: Kind::Arp, ..row };
    let mut used_key = FlowKey { low: end, high: end, protocol: 99, family: Family::Link };
    let mut again = Vec::new();
    Decoder::new().decode_into(record, &mut again, &mut used, &mut used_key);
    assert_eq!(debug(&row, &key, details.last()), debug(&used, &used_key, again.last()));

    // The short way for plain packets is not another way to read them.
    again.clear();
    Decoder::new().decode_general(record, &mut again, &mut used, &mut used_key);
    assert_eq!(debug(&row, &key, details.last()), debug(&used, &used_key, again.last()));
    (row, key, details.pop())
}

fn record(link_type: LinkType, data: &[u8], missing: u32) -> Record<'_> {
    Record { time: 1, frame: 1, wirelen: data.len() as u32 + missing, interface: 0, link_type, fcs_len: 0, data }
}

fn whole(data: &[u8]) -> (Row, FlowKey, Option<Detail>) {
    decode(&record(LinkType(1), data, 0))
}

/// Options of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Options {
    None,
    /// As nearly every system sends them (RFC 7323, appendix A).
    Timestamps,
    TimestampsAndSack,
}

/// What to build a frame from.
#[derive(Clone, Debug)]
struct Shape {
    vlans: usize,
    v6: bool,
    transport: u8,
    ports: (u16, u16),
    numbers: (u32, u32, u16),
    flags: u8,
    options: Options,
    payload: Vec<u8>,
}

fn shapes() -> impl Strategy<Value = Shape> {
    (
        (0..3_usize, any::<bool>(), 0..3_u8),
        (prop_oneof![Just(53), Just(443), Just(4789), Just(6081), Just(67), any::<u16>()], any::<u16>()),
        any::<(u32, u32, u16)>(),
        (any::<u8>(), prop_oneof![Just(Options::None), Just(Options::Timestamps), Just(Options::TimestampsAndSack)]),
        proptest::collection::vec(any::<u8>(), 0..200),
    )
        .prop_map(|((vlans, v6, transport), (to, from), numbers, (flags, options), payload)| Shape {
            vlans,
            v6,
            transport,
            ports: (from, to),
            numbers,
            flags,
            options,
            payload,
        })
}

impl Shape {
    fn build(&self) -> Vec<u8> {
        let builder = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]);
        let vlan = |id| VlanId::try_new(id).unwrap();
        let mut frame = Vec::new();
        let (v4, v6) = (([10, 0, 0, 1], [192, 0, 2, 7], 64), ([0xfd; 16], [0x20; 16], 63));
        let builder = match (self.vlans, self.v6) {
            (0, false) => builder.ipv4(v4.0, v4.1, v4.2),
            (0, true) => builder.ipv6(v6.0, v6.1, v6.2),
            (1, false) => builder.single_vlan(vlan(5)).ipv4(v4.0, v4.1, v4.2),
            (1, true) => builder.single_vlan(vlan(5)).ipv6(v6.0, v6.1, v6.2),
            (_, false) => builder.double_vlan(vlan(6), vlan(7)).ipv4(v4.0, v4.1, v4.2),
            (_, true) => builder.double_vlan(vlan(6), vlan(7)).ipv6(v6.0, v6.1, v6.2),
        };
        let (seq, ack, window) = self.numbers;
        match self.transport {
            0 => {
                let mut tcp = builder.tcp(self.ports.0, self.ports.1, seq, window);
                if self.flags & 2 != 0 {
                    tcp = tcp.syn();
                }
                if self.flags & 1 != 0 {
                    tcp = tcp.fin();
                }
                if self.flags & 16 != 0 {
                    tcp = tcp.ack(ack);
                }
                let timestamps = TcpOptionElement::Timestamp(seq, ack);
                let sack = TcpOptionElement::SelectiveAcknowledgement((seq, ack), [None; 3]);
                let noop = TcpOptionElement::Noop;
                tcp = match self.options {
                    Options::None => tcp,
                    Options::Timestamps => tcp.options(&[noop.clone(), noop, timestamps]).unwrap(),
                    Options::TimestampsAndSack => tcp.options(&[timestamps, sack]).unwrap(),
                };
                tcp.write(&mut frame, &self.payload).unwrap();
            }
            1 => builder.udp(self.ports.0, self.ports.1).write(&mut frame, &self.payload).unwrap(),
            _ if self.v6 => builder.icmpv6_echo_request(window, 9).write(&mut frame, &self.payload).unwrap(),
            _ => builder.icmpv4_echo_request(window, 9).write(&mut frame, &self.payload).unwrap(),
        }
        frame
    }
}

/// A damage to do to a frame: bytes to overwrite, and how much to keep.
fn damages() -> impl Strategy<Value = (Vec<(prop::sample::Index, u8)>, prop::sample::Index, u32)> {
    (
        proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        any::<prop::sample::Index>(),
        0..90_u32,
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn noise_of_any_link_type_makes_a_row(
        data in proptest::collection::vec(any::<u8>(), 0..160),
        missing in prop_oneof![Just(0), 0..3000_u32],
        fcs_len in prop_oneof![Just(0), any::<u8>()],
        wirelen in prop_oneof![Just(None), any::<u32>().prop_map(Some)],
    ) {
        for link in SUPPORTED.iter().map(|(link, _)| *link).chain([LinkType(147), LinkType(u16::MAX)]) {
            let mut record = Record { fcs_len, ..record(link, &data, missing) };
            record.wirelen = wirelen.unwrap_or(record.wirelen);
            decode(&record);
        }
    }

    #[test]
    fn noise_behind_every_header_makes_a_row(
        ether_type in prop_oneof![
            Just(0x0800_u16), Just(0x86dd), Just(0x0806), Just(0x8100), Just(0x8847), Just(0x8864), Just(0x880b), 0..1600_u16
        ],
        first in prop_oneof![Just(0x45_u8), Just(0x4f), Just(0x60), Just(0x42), Just(0xaa), any::<u8>()],
        protocol in prop_oneof![Just(1_u8), Just(4), Just(6), Just(17), Just(41), Just(43), Just(44), Just(47), Just(51), Just(58), any::<u8>()],
        mut data in proptest::collection::vec(any::<u8>(), 1..160),
        missing in 0..100_u32,
    ) {
        data[0] = first;
        for at in [6, 9] {
            if let Some(byte) = data.get_mut(at) {
                *byte = protocol;
            }
        }
        let frame = [&[2; 12][..], &ether_type.to_be_bytes(), &data].concat();
        decode(&record(LinkType(1), &frame, missing));
    }

    #[test]
    fn damaged_frames_make_rows((shape, (edits, keep, missing)) in (shapes(), damages())) {
        let mut frame = shape.build();
        for (at, byte) in edits {
            let at = at.index(frame.len());
            frame[at] = byte;
        }
        frame.truncate(keep.index(frame.len() + 1));
        decode(&record(LinkType(1), &frame, missing));
    }

    #[test]
    fn nested_tunnels_of_anything_make_rows(
        (shape, (edits, keep, missing)) in (shapes(), damages()),
        wraps in proptest::collection::vec(0..4_u8, 0..6),
    ) {
        let mut frame = shape.build();
        for wrap in wraps {
            let builder = PacketBuilder::ethernet2([2; 6], [4; 6]).ipv4([1, 1, 1, 1], [2, 2, 2, 2], 9);
            let mut outer = Vec::new();
            match wrap {
                0 => builder.udp(1, 4789).write(&mut outer, &[&[8, 0, 0, 0, 0, 0, 1, 0], &frame[..]].concat()).unwrap(),
                1 => builder.udp(1, 6081).write(&mut outer, &[&[0, 0, 0x65, 0x58, 0, 0, 1, 0], &frame[..]].concat()).unwrap(),
                2 => builder.write(&mut outer, 47.into(), &[&[0xb0, 0, 0x65, 0x58, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], &frame[..]].concat()).unwrap(),
                _ => builder.write(&mut outer, 4.into(), frame.get(14..).unwrap_or_default()).unwrap(),
            }
            frame = outer;
        }
        for (at, byte) in edits {
            let at = at.index(frame.len());
            frame[at] = byte;
        }
        frame.truncate(keep.index(frame.len() + 1));
        decode(&record(LinkType(1), &frame, missing));
    }

    #[test]
    fn whole_frames_are_read_as_etherparse_reads_them(shape in shapes()) {
        let frame = shape.build();
        let (row, key, _) = whole(&frame);
        prop_assume!(!row.has(bits::TUNNEL));
        let sliced = SlicedPacket::from_ethernet(&frame).unwrap();
        prop_assert!(!row.has(bits::MALFORMED | bits::CUT | bits::TRAILER));
        let vlan = sliced.vlan_ids().first().map_or(0, |id| id.value());
        prop_assert_eq!(row.l2 & 0xffff, u64::from(vlan));
        let ends = match &sliced.net {
            Some(NetSlice::Ipv4(ip)) => {
                prop_assert_eq!((row.ttl, row.l3_checksum, key.family), (ip.header().ttl(), Checksum::Right, Family::V4));
                prop_assert_eq!(row.ip_len, u32::from(ip.header().total_len()));
                prop_assert_eq!(row.ip_id, ip.header().identification());
                (ip.header().source_addr().to_ipv6_mapped().to_bits(), ip.header().destination_addr().to_ipv6_mapped().to_bits())
            }
            Some(NetSlice::Ipv6(ip)) => {
                prop_assert_eq!((row.ttl, key.family), (ip.header().hop_limit(), Family::V6));
                prop_assert_eq!(row.ip_len, u32::from(ip.header().payload_length()) + 40);
                (ip.header().source_addr().to_bits(), ip.header().destination_addr().to_bits())
            }
            _ => panic!("no network layer"),
        };
        let (ports, payload) = match &sliced.transport {
            Some(TransportSlice::Tcp(tcp)) => {
                prop_assert_eq!((row.kind, row.seq, row.ack), (Kind::Tcp, tcp.sequence_number(), tcp.acknowledgment_number()));
                prop_assert_eq!((row.window, row.flags), (tcp.window_size(), tcp.slice()[13]));
                ((tcp.source_port(), tcp.destination_port()), tcp.payload())
            }
            Some(TransportSlice::Udp(udp)) => {
                prop_assert_eq!(row.kind, Kind::Udp);
                ((udp.source_port(), udp.destination_port()), udp.payload())
            }
            Some(TransportSlice::Icmpv4(icmp)) => ((shape.numbers.2, shape.numbers.2), icmp.payload()),
            Some(TransportSlice::Icmpv6(icmp)) => ((shape.numbers.2, shape.numbers.2), icmp.payload()),
            _ => panic!("no transport"),
        };
        prop_assert_eq!(row.len as usize, payload.len());
        prop_assert_eq!(row.l4_checksum, Checksum::Right);
        let (source, destination) = if row.has(bits::FROM_HIGH) { (key.high, key.low) } else { (key.low, key.high) };
        prop_assert_eq!((source.address, destination.address), ends);
        prop_assert_eq!((source.port, destination.port), ports);
    }

    #[test]
    fn cutting_a_segment_keeps_what_is_there(shape in shapes(), keep in any::<prop::sample::Index>()) {
        let frame = Shape { transport: 0, ..shape }.build();
        let (full, full_key, _) = whole(&frame);
        let header = frame.len() - full.len as usize;
        let ip = frame.len() - full.ip_len as usize;
        let ports = ip + if full.has(bits::V6) { 40 } else { 20 };
        // From the sequence number's end on, the flow, the place in it, and the length are known.
        let keep = ports + 16 + keep.index(frame.len() - ports - 16);
        let missing = (frame.len() - keep) as u32;
        let (row, key, _) = decode(&record(LinkType(1), &frame[..keep], missing));
        prop_assert_eq!(key, full_key);
        prop_assert_eq!((row.seq, row.ack, row.flags, row.window, row.len), (full.seq, full.ack, full.flags, full.window, full.len));
        prop_assert_eq!((row.ttl, row.ip_id, row.ip_len), (full.ttl, full.ip_id, full.ip_len));
        prop_assert!(row.has(bits::CUT) && !row.has(bits::MALFORMED));
        // One checksum in 65,536 is by chance what offload would have left there.
        prop_assert!(matches!(row.l4_checksum, Checksum::Unverifiable | Checksum::Partial));
        prop_assert_eq!(row.sum, 0);
        prop_assert!(row.head == full.head || (row.head == 0 && keep < header + 16));
    }

    #[test]
    fn one_wrong_bit_is_never_right(shape in shapes(), at in any::<prop::sample::Index>(), bit in 0..8_u8) {
        prop_assume!(!shape.payload.is_empty());
        let mut frame = shape.build();
        prop_assume!(!whole(&frame).0.has(bits::TUNNEL));
        let at = frame.len() - shape.payload.len() + at.index(shape.payload.len());
        frame[at] ^= 1 << bit;
        let (row, ..) = whole(&frame);
        prop_assume!(!row.has(bits::TUNNEL));
        prop_assert!(matches!(row.l4_checksum, Checksum::Wrong | Checksum::Partial));
    }

    #[test]
    fn the_sums_of_segments_add_up_to_their_superframe(payload in proptest::collection::vec(any::<u8>(), 2..400), cut in any::<prop::sample::Index>()) {
        let cut = cut.index(payload.len()) & !1;
        let sum = |payload: &[u8]| {
            let shape = Shape {
                vlans: 0, v6: false, transport: 0, ports: (1, 2), numbers: (3, 4, 5), flags: 16, options: Options::None, payload: payload.to_vec(),
            };
            u32::from(whole(&shape.build()).0.sum)
        };
        let both = sum(&payload[..cut]) + sum(&payload[cut..]);
        prop_assert_eq!(sum(&payload), (both & 0xffff) + (both >> 16));
    }
}
