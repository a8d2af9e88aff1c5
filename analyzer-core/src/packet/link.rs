//! The link layer: from a captured frame to the network protocol in it, over every tag and label on the way.
//!
//! Knows no network protocol but by the first nibble of its header.

use etherparse::{Ethernet2HeaderSlice, SingleVlanHeaderSlice};

use crate::capture::{LinkType, Record};

use super::row::{Row, bits};
use super::span::Span;

/// EtherTypes (IANA, IEEE).
pub(super) mod ether_type {
    pub(in super::super) const IPV4: u16 = 0x0800;
    pub(in super::super) const ARP: u16 = 0x0806;
    pub(in super::super) const IPV6: u16 = 0x86dd;
    pub(in super::super) const VLAN: u16 = 0x8100;
    pub(in super::super) const VLAN_PROVIDER: u16 = 0x88a8;
    pub(in super::super) const VLAN_OLD_PROVIDER: u16 = 0x9100;
    pub(in super::super) const MPLS: u16 = 0x8847;
    pub(in super::super) const MPLS_UPSTREAM: u16 = 0x8848;
    pub(in super::super) const PPPOE_SESSION: u16 = 0x8864;
    /// A whole Ethernet frame inside GRE or Geneve (RFC 1701).
    pub(in super::super) const TRANSPARENT_ETHERNET: u16 = 0x6558;
    /// PPP inside something (RFC 7042).
    pub(in super::super) const PPP: u16 = 0x880b;
    /// Smaller values are lengths (IEEE 802.3, section 3.2.6).
    pub(in super::super) const MIN: u16 = 0x0600;
}

/// LLC's service access point of the spanning tree, which stands in for the EtherType that such frames lack.
pub(super) const LLC_SPANNING_TREE: u16 = 0x42;
const LLC_SNAP: u8 = 0xaa;

/// Link types that can be decoded, by libpcap's number and name (<https://www.tcpdump.org/linktypes.html>).
pub const SUPPORTED: [(LinkType, &str); 14] = [
    (LinkType(0), "NULL"),
    (LinkType(1), "ETHERNET"),
    (LinkType(9), "PPP"),
    // Some systems write their own DLT_RAW.
    (LinkType(12), "RAW (BSD)"),
    (LinkType(14), "RAW (OpenBSD)"),
    (LinkType(50), "PPP_HDLC"),
    (LinkType(51), "PPP_ETHER"),
    (LinkType(101), "RAW"),
    (LinkType(104), "C_HDLC"),
    (LinkType(108), "LOOP"),
    (LinkType(113), "LINUX_SLL"),
    (LinkType(228), "IPV4"),
    (LinkType(229), "IPV6"),
    (LinkType(276), "LINUX_SLL2"),
];

/// Whether frames of this link type can be decoded.
pub fn supported(link: LinkType) -> bool {
    SUPPORTED.iter().any(|(known, _)| *known == link)
}

/// The index of the interface that a frame of a capture on "any" came by (`LINUX_SLL2` only).
pub fn interface_index(record: &Record<'_>) -> Option<u32> {
    let index = record.data.get(4..)?.first_chunk()?;
    (record.link_type.0 == SLL2).then(|| u32::from_be_bytes(*index))
}

const SLL2: u16 = 276;
const ETHERNET_HEADER: usize = 14;

/// What a frame carries.
#[derive(Clone, Copy, Debug)]
pub(super) struct Carried<'a> {
    /// EtherType; below [`ether_type::MIN`] LLC's destination service access point; 0 unknown.
    pub(super) protocol: u16,
    /// The network packet, with whatever padding follows it.
    pub(super) span: Span<'a>,
    /// Source MAC, 0 if there is none.
    pub(super) source: u64,
    /// Destination MAC, 0 if there is none.
    pub(super) destination: u64,
}

impl<'a> Carried<'a> {
    const fn bare(protocol: u16, span: Span<'a>) -> Self {
        Self { protocol, span, source: 0, destination: 0 }
    }
}

/// The frame without its check sequence.
#[inline]
pub(super) fn frame<'a>(record: &Record<'a>) -> Span<'a> {
    let span = Span::new(record.data, record.wirelen as usize);
    if record.fcs_len == 0 { span } else { span.with_len(span.len.saturating_sub(usize::from(record.fcs_len))) }
}

/// Opens a frame.
#[inline(always)]
#[expect(clippy::inline_always, reason = "part of the hot path, see `Decoder::decode_into`")]
pub(super) fn open<'a>(link: LinkType, frame: Span<'a>, row: &mut Row) -> Carried<'a> {
    if link.0 == 1 { ethernet(frame, row) } else { open_other(link, frame, row) }
}

#[cold]
fn open_other<'a>(link: LinkType, frame: Span<'a>, row: &mut Row) -> Carried<'a> {
    match link.0 {
        0 | 108 => loopback(frame, row),
        9 | 50 => serial(frame, row),
        104 => cisco_hdlc(frame, row),
        51 => resolve(ether_type::PPPOE_SESSION, frame, row),
        12 | 14 | 101 => {
            let carried = by_version(frame);
            row.bits |= to_group(&carried);
            carried
        }
        113 => cooked(frame, &Cooked::V1, row),
        228 => Carried::bare(ether_type::IPV4, frame),
        229 => Carried::bare(ether_type::IPV6, frame),
        SLL2 => cooked(frame, &Cooked::V2, row),
        _ => {
            row.bits |= bits::MALFORMED;
            Carried::bare(0, frame)
        }
    }
}

/// Opens what a tunnel or tag announces by an EtherType.
#[cold]
pub(super) fn open_inner<'a>(ether_type: u16, span: Span<'a>, row: &mut Row) -> Carried<'a> {
    if ether_type == ether_type::TRANSPARENT_ETHERNET { ethernet(span, row) } else { resolve(ether_type, span, row) }
}

#[inline]
fn mac(bytes: [u8; 6]) -> u64 {
    let [a, b, c, d, e, f] = bytes;
    u64::from_be_bytes([0, 0, a, b, c, d, e, f])
}

#[inline(always)]
#[expect(clippy::inline_always, reason = "part of the hot path, see `Decoder::decode_into`")]
fn ethernet<'a>(frame: Span<'a>, row: &mut Row) -> Carried<'a> {
    let Ok(header) = Ethernet2HeaderSlice::from_slice(frame.bytes) else {
        row.bits |= frame.shortage(ETHERNET_HEADER);
        return Carried::bare(0, frame);
    };
    let (source, destination) = (mac(header.source()), mac(header.destination()));
    row.l2 = source << 16;
    row.bits |= if header.destination()[0] & 1 == 0 { 0 } else { bits::GROUP };
    let span = frame.skip(ETHERNET_HEADER);
    let protocol = header.ether_type().0;
    if matches!(protocol, ether_type::IPV4 | ether_type::IPV6) {
        return Carried { protocol, span, source, destination };
    }
    Carried { source, destination, ..resolve(protocol, span, row) }
}

/// Follows tags, labels and encapsulations of the link layer to the protocol behind them. Ends, because each takes bytes.
#[cold]
fn resolve<'a>(mut protocol: u16, mut span: Span<'a>, row: &mut Row) -> Carried<'a> {
    let mut tagged = false;
    loop {
        match protocol {
            ether_type::VLAN | ether_type::VLAN_PROVIDER | ether_type::VLAN_OLD_PROVIDER => {
                let Ok(tag) = SingleVlanHeaderSlice::from_slice(span.bytes) else {
                    row.bits |= span.shortage(4);
                    return Carried::bare(protocol, span);
                };
                if !tagged {
                    tagged = true;
                    row.l2 |= u64::from(tag.vlan_identifier().value());
                }
                protocol = tag.ether_type().0;
                span = span.skip(4);
            }
            ether_type::MPLS | ether_type::MPLS_UPSTREAM => return labels(protocol, span),
            ether_type::PPPOE_SESSION => return pppoe(span, row),
            ether_type::PPP => return ppp(span, row),
            ether_type::MIN.. => return Carried::bare(protocol, span),
            length => {
                span = span.with_len(span.len.min(usize::from(length)));
                match llc(span, row) {
                    Llc::EtherType(behind, rest) => (protocol, span) = (behind, rest),
                    Llc::Other(carried) => return carried,
                }
            }
        }
    }
}

enum Llc<'a> {
    EtherType(u16, Span<'a>),
    Other(Carried<'a>),
}

/// IEEE 802.2, and its sub-network access protocol (RFC 1042).
fn llc<'a>(span: Span<'a>, row: &mut Row) -> Llc<'a> {
    let spanning_tree = LLC_SPANNING_TREE as u8;
    match *span.bytes {
        [LLC_SNAP, LLC_SNAP, 3, 0, 0, 0 | 0xf8, high, low, ..] => match u16::from_be_bytes([high, low]) {
            behind @ ether_type::MIN.. => Llc::EtherType(behind, span.skip(8)),
            _ => Llc::Other(Carried::bare(u16::from(LLC_SNAP), span)),
        },
        // Cisco's spanning tree for each VLAN.
        [LLC_SNAP, LLC_SNAP, 3, 0x00, 0x00, 0x0c, 0x01, 0x0b, ..] => {
            Llc::Other(Carried::bare(LLC_SPANNING_TREE, span.skip(8)))
        }
        [a, b, 3, ..] if a == spanning_tree && b == spanning_tree => {
            Llc::Other(Carried::bare(LLC_SPANNING_TREE, span.skip(3)))
        }
        [point, _, _, ..] => Llc::Other(Carried::bare(u16::from(point), span)),
        _ => {
            row.bits |= span.shortage(3);
            Llc::Other(Carried::bare(0, span))
        }
    }
}

/// An MPLS label stack (RFC 3032): the label behind the last says nothing, so the first nibble must.
fn labels(protocol: u16, mut span: Span<'_>) -> Carried<'_> {
    let stack = span;
    while let Some(entry) = span.be32(0) {
        span = span.skip(4);
        if entry & 0x100 != 0 {
            let carried = by_version(span);
            if carried.protocol != 0 {
                return carried;
            }
            break;
        }
    }
    Carried::bare(protocol, stack)
}

/// PPP over Ethernet (RFC 2516, section 4).
fn pppoe<'a>(span: Span<'a>, row: &mut Row) -> Carried<'a> {
    match (span.be16(0), span.be16(4)) {
        (Some(0x1100), Some(length)) => {
            let session = span.skip(6);
            let carried = ppp(session.with_len(session.len.min(usize::from(length))), row);
            if carried.protocol == ether_type::PPP { Carried::bare(ether_type::PPPOE_SESSION, span) } else { carried }
        }
        // Discovery, when the link type is PPP_ETHER.
        (Some(_), Some(_)) => Carried::bare(ether_type::PPPOE_SESSION, span),
        _ => {
            row.bits |= span.shortage(6);
            Carried::bare(ether_type::PPPOE_SESSION, span)
        }
    }
}

/// PPP's protocol field (RFC 1661, section 2), perhaps compressed to one byte (section 6.5).
fn ppp<'a>(span: Span<'a>, row: &mut Row) -> Carried<'a> {
    let (protocol, len) = match *span.bytes {
        [low, ..] if low & 1 != 0 => (u16::from(low), 1),
        [high, low, ..] => (u16::from_be_bytes([high, low]), 2),
        _ => {
            row.bits |= span.shortage(2);
            return Carried::bare(ether_type::PPP, span);
        }
    };
    match protocol {
        0x0021 => Carried::bare(ether_type::IPV4, span.skip(len)),
        0x0057 => Carried::bare(ether_type::IPV6, span.skip(len)),
        0x0281 => labels(ether_type::PPP, span.skip(len)),
        _ => Carried::bare(ether_type::PPP, span),
    }
}

/// PPP on a serial line (RFC 1662): with or without address and control; or Cisco's framing under the same link type.
fn serial<'a>(frame: Span<'a>, row: &mut Row) -> Carried<'a> {
    match frame.be16(0) {
        Some(0xff03) => ppp(frame.skip(2), row),
        Some(0x0f00 | 0x8f00) => cisco_hdlc(frame, row),
        _ => ppp(frame, row),
    }
}

fn cisco_hdlc<'a>(frame: Span<'a>, row: &mut Row) -> Carried<'a> {
    match frame.be16(2) {
        Some(protocol @ ether_type::MIN..) => resolve(protocol, frame.skip(4), row),
        Some(_) => Carried::bare(0, frame),
        None => {
            row.bits |= frame.shortage(4);
            Carried::bare(0, frame)
        }
    }
}

/// BSD loopback: an address family in the byte order of the capturing host (`NULL`) or of the network (`LOOP`).
fn loopback<'a>(frame: Span<'a>, row: &mut Row) -> Carried<'a> {
    let Some(family) = frame.be32(0) else {
        row.bits |= frame.shortage(4);
        return Carried::bare(0, frame);
    };
    // Families are small numbers, so the order shows.
    let family = if family > 0xffff { family.swap_bytes() } else { family };
    let span = frame.skip(4);
    match family {
        2 => Carried::bare(ether_type::IPV4, span),
        // NetBSD and Linux, FreeBSD, macOS.
        10 | 24 | 28 | 30 => Carried::bare(ether_type::IPV6, span),
        _ => Carried::bare(0, span),
    }
}

/// Raw IP, told by its version.
fn by_version(span: Span<'_>) -> Carried<'_> {
    let protocol = match span.byte(0).map(|byte| byte >> 4) {
        Some(4) => ether_type::IPV4,
        Some(6) => ether_type::IPV6,
        _ => 0,
    };
    Carried::bare(protocol, span)
}

/// Where a Linux cooked header (<https://www.tcpdump.org/linktypes/LINKTYPE_LINUX_SLL2.html>) keeps its fields.
struct Cooked {
    len: usize,
    packet_type: usize,
    address_len: usize,
    address: usize,
    hardware: usize,
    protocol: usize,
}

impl Cooked {
    const V1: Self = Self { len: 16, packet_type: 1, address_len: 5, address: 6, hardware: 2, protocol: 14 };
    const V2: Self = Self { len: 20, packet_type: 10, address_len: 11, address: 12, hardware: 8, protocol: 0 };
}

fn cooked<'a>(frame: Span<'a>, layout: &Cooked, row: &mut Row) -> Carried<'a> {
    const BROADCAST: u8 = 1;
    const MULTICAST: u8 = 2;
    const OUTGOING: u8 = 4;
    const NETLINK: u16 = 824;
    const LLC: u16 = 4;
    if frame.bytes.len() < layout.len {
        row.bits |= frame.shortage(layout.len);
        return Carried::bare(0, frame);
    }
    let outgoing = frame.bytes[layout.packet_type] == OUTGOING;
    row.bits |= match frame.bytes[layout.packet_type] {
        BROADCAST | MULTICAST => bits::GROUP,
        OUTGOING => bits::OUTGOING,
        _ => 0,
    };
    let span = frame.skip(layout.len);
    let source = match frame.bytes[layout.address..].first_chunk::<6>() {
        Some(address) if frame.bytes[layout.address_len] == 6 => mac(*address),
        _ => 0,
    };
    row.l2 = source << 16;
    let (Some(hardware), Some(protocol)) = (frame.be16(layout.hardware), frame.be16(layout.protocol)) else {
        return Carried::bare(0, span);
    };
    let carried = match protocol {
        // Another namespace of numbers.
        _ if hardware == NETLINK => Carried::bare(0, span),
        LLC => match llc(span, row) {
            Llc::EtherType(behind, rest) => resolve(behind, rest, row),
            Llc::Other(carried) => carried,
        },
        ether_type::MIN.. => resolve(protocol, span, row),
        _ => Carried::bare(0, span),
    };
    if outgoing {
        row.bits |= to_group(&carried);
    }
    Carried { source, ..carried }
}

/// [`bits::GROUP`] when the network layer says so: of what leaves, a cooked header does not tell to whom, and raw IP has no
/// header at all.
fn to_group(carried: &Carried<'_>) -> u16 {
    const LIMITED_BROADCAST: [u8; 4] = [255; 4];
    const ARP_REQUEST: u16 = 1;
    let group = match carried.protocol {
        ether_type::IPV4 => carried.span.bytes.get(16..).and_then(<[u8]>::first_chunk).is_some_and(|destination| {
            *destination == LIMITED_BROADCAST || std::net::Ipv4Addr::from(*destination).is_multicast()
        }),
        ether_type::IPV6 => carried.span.byte(24) == Some(0xff),
        ether_type::ARP => carried.span.be16(6) == Some(ARP_REQUEST),
        _ => false,
    };
    if group { bits::GROUP } else { 0 }
}
