//! What IPv4 and IPv6 have in common once their headers are read: a packet from, to, of a protocol, perhaps a fragment.
//! Chooses the transport.

use super::checksum::{self, Sum};
use super::detail::Detail;
use super::digest;
use super::fragments::{Fragments, Name};
use super::key::{Endpoint, Family, FlowKey};
use super::row::{Checksum, Kind, Row, bits};
use super::span::Span;
use super::tunnel::{self, Inner};
use super::{icmp, tcp, udp};

/// IP protocol numbers (IANA).
pub(super) mod protocol {
    pub(in super::super) const HOP_BY_HOP: u8 = 0;
    pub(in super::super) const ICMP: u8 = 1;
    pub(in super::super) const IPV4: u8 = 4;
    pub(in super::super) const TCP: u8 = 6;
    pub(in super::super) const UDP: u8 = 17;
    pub(in super::super) const IPV6: u8 = 41;
    pub(in super::super) const ROUTING: u8 = 43;
    pub(in super::super) const FRAGMENT: u8 = 44;
    pub(in super::super) const GRE: u8 = 47;
    pub(in super::super) const AH: u8 = 51;
    pub(in super::super) const ICMPV6: u8 = 58;
    pub(in super::super) const DESTINATION: u8 = 60;
    pub(in super::super) const MOBILITY: u8 = 135;
}

/// An IP packet behind its headers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Packet<'a> {
    /// Source address, IPv4 mapped.
    pub(super) source: u128,
    /// Destination address, IPv4 mapped.
    pub(super) destination: u128,
    /// Which IP.
    pub(super) family: Family,
    /// Protocol of the payload.
    pub(super) protocol: u8,
    /// Sum of both addresses, for the pseudo-header.
    pub(super) addresses: Sum,
    /// What is known of it as a fragment.
    pub(super) fragment: Fragment,
    /// The destination that the pseudo-header covers is not the one in the header (source routing).
    pub(super) routed: bool,
    /// What the packet carries.
    pub(super) payload: Span<'a>,
}

/// No plain Ethernet frame has more than this behind an IPv4 header: what has may be a superframe (or a jumbo frame).
pub(super) const PLAIN: usize = 1480;

/// The fragmentation fields.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Fragment {
    /// Identification of the datagram.
    pub(super) id: u32,
    /// Offset of this part, in bytes.
    pub(super) offset: u32,
    /// More parts follow.
    pub(super) more: bool,
}

impl Packet<'_> {
    /// The flow's key with these ports, and whether the source is the high end.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "part of the hot path, see `Decoder::decode_into`")]
    pub(super) fn key(&self, source_port: u16, destination_port: u16) -> (FlowKey, bool) {
        FlowKey::new(
            Endpoint { address: self.source, port: source_port },
            Endpoint { address: self.destination, port: destination_port },
            u16::from(self.protocol),
            self.family,
        )
    }

    /// Names the flow in `key` and says in `row` who sent this packet.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "part of the hot path, see `Decoder::decode_into`")]
    pub(super) fn name(&self, ports: (u16, u16), row: &mut Row, key: &mut FlowKey) {
        let (named, from_high) = self.key(ports.0, ports.1);
        *key = named;
        row.bits |= bits::from_high(from_high);
    }

    /// Sum of the pseudo-header without its length (RFC 9293, section 3.1; RFC 8200, section 8.1).
    #[inline]
    pub(super) const fn pseudo(&self) -> Sum {
        self.addresses + checksum::word(self.protocol as u16)
    }

    /// Whether a transport checksum can be verified at all.
    #[inline]
    pub(super) const fn is_whole(&self) -> bool {
        !self.fragment.more && !self.routed && !self.payload.is_cut()
    }

    /// The verdict on a transport's checksum `field`, where `covered` is the sum of its header and payload, `len` bytes.
    ///
    /// Offload that is yet to happen is recognised without the payload, so also when the capture was cut.
    #[inline]
    pub(super) fn judge(&self, field: u16, covered: Sum, len: usize, verifiable: bool) -> Checksum {
        let pseudo = self.pseudo();
        if verifiable && checksum::adds_up(covered + pseudo + checksum::long(len as u32)) {
            return Checksum::Right;
        }
        self.judge_failed(field, pseudo, len, verifiable)
    }

    #[inline(never)]
    fn judge_failed(&self, field: u16, pseudo: Sum, len: usize, verifiable: bool) -> Checksum {
        match (is_unfinished(field, pseudo, len, self.payload.len), verifiable) {
            (true, _) if !self.fragment.more => Checksum::Partial,
            (_, true) => Checksum::Wrong,
            (_, false) => Checksum::Unverifiable,
        }
    }

    fn datagram(&self) -> Name {
        Name { source: self.source, destination: self.destination, id: self.fragment.id, protocol: self.protocol }
    }
}

/// Whether a checksum `field` is what offload leaves for the device to finish: the folded sum of the pseudo-header, not
/// complemented. Where the device is to segment as well, its length may be left out, because it differs for each segment
/// (Windows LSO). The transport covers `len` bytes of the `behind` that IP carries.
#[inline]
pub(super) fn is_unfinished(field: u16, pseudo: Sum, len: usize, behind: usize) -> bool {
    let field = field.to_be();
    field == checksum::fold(pseudo + checksum::long(len as u32))
        || (behind > PLAIN && field == checksum::fold(pseudo + checksum::long(behind as u32)))
        || (behind > PLAIN && field == checksum::fold(pseudo))
}

/// Describes the payload in `row`: its length, digest and sum, and whether it was cut. Returns the unfolded sum.
#[inline]
pub(super) fn describe(payload: Span<'_>, row: &mut Row) -> Sum {
    row.len = payload.len as u32;
    row.head = digest::head(payload);
    if payload.is_cut() {
        row.bits |= bits::CUT;
        return 0;
    }
    let sum = checksum::sum(payload.bytes);
    row.sum = checksum::fold_be(sum);
    sum
}

/// Decodes what the packet carries. Returns what is inside, if it is a tunnel.
#[inline(always)]
#[expect(clippy::inline_always, reason = "part of the hot path, see `Decoder::decode_into`")]
pub(super) fn transport<'a>(
    packet: &Packet<'a>,
    fragments: &mut Fragments,
    row: &mut Row,
    key: &mut FlowKey,
    details: &mut Vec<Detail>,
) -> Option<Inner<'a>> {
    row.protocol = packet.protocol;
    if packet.fragment.offset != 0 || packet.fragment.more {
        fragment(packet, fragments, row, key, details);
        return None;
    }
    match packet.protocol {
        protocol::TCP => tcp::decode(packet, row, key, details),
        protocol::UDP => return udp::decode(packet, row, key, details),
        _ => return uncommon(packet, fragments, row, key, details),
    }
    None
}

/// [`transport`] as a function of its own, for all but the hottest path.
#[inline(never)]
pub(super) fn transport_slow<'a>(
    packet: &Packet<'a>,
    fragments: &mut Fragments,
    row: &mut Row,
    key: &mut FlowKey,
    details: &mut Vec<Detail>,
) -> Option<Inner<'a>> {
    transport(packet, fragments, row, key, details)
}

#[inline(never)]
fn uncommon<'a>(
    packet: &Packet<'a>,
    fragments: &Fragments,
    row: &mut Row,
    key: &mut FlowKey,
    details: &mut Vec<Detail>,
) -> Option<Inner<'a>> {
    if let (protocol::ICMP, Family::V4) | (protocol::ICMPV6, Family::V6) = (packet.protocol, packet.family) {
        icmp::decode(packet, fragments, row, key, details);
        return None;
    }
    row.kind = Kind::Ip;
    packet.name((0, 0), row, key);
    describe(packet.payload, row);
    tunnel::ip(packet, row)
}

#[cold]
fn fragment(
    packet: &Packet<'_>,
    fragments: &mut Fragments,
    row: &mut Row,
    key: &mut FlowKey,
    details: &mut Vec<Detail>,
) {
    if packet.fragment.offset == 0 {
        row.bits |= bits::FIRST_FRAGMENT;
        // A tunnel's payload would be cut in two here: the outer row is what can be said of it.
        match packet.protocol {
            protocol::TCP => tcp::decode_slow(packet, row, key, details),
            protocol::UDP => drop(udp::decode_slow(packet, row, key, details)),
            _ => drop(uncommon(packet, fragments, row, key, details)),
        }
        fragments.learn(packet.datagram(), row.time, *key, row.has(bits::FROM_HIGH));
        return;
    }
    row.kind = Kind::Fragment;
    row.seq = packet.fragment.offset;
    row.ack = packet.fragment.id;
    row.l4_checksum = Checksum::Unverifiable;
    describe(packet.payload, row);
    if let Some((known, from_high)) = fragments.find(packet.datagram(), row.time) {
        *key = known;
        row.bits |= bits::from_high(from_high);
    } else {
        packet.name((0, 0), row, key);
    }
}

/// The row of a packet whose header is damaged past `source` and `destination`: named, but not read further.
#[cold]
pub(super) fn damaged(source: u128, destination: u128, family: Family, row: &mut Row, key: &mut FlowKey) {
    row.kind = Kind::Ip;
    let ends = (Endpoint { address: source, port: 0 }, Endpoint { address: destination, port: 0 });
    let (named, from_high) = FlowKey::new(ends.0, ends.1, u16::from(row.protocol), family);
    *key = named;
    row.bits |= bits::from_high(from_high);
}
