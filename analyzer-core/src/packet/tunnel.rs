//! Packets inside packets: VXLAN (RFC 7348), Geneve (RFC 8926), GRE (RFC 2784, RFC 2890), and IP in IP (RFC 2003, RFC 2473, RFC 4213).
//!
//! Only finds where the inner packet starts. Anyone may use these ports, so a header that is odd needs an inner packet that is not.

use super::checksum;
use super::ip::{Packet, protocol};
use super::link::ether_type;
use super::row::{Checksum, Row};
use super::span::Span;

/// How many tunnels are opened, one inside the other.
pub(super) const MAX_DEPTH: usize = 3;

const VXLAN: u16 = 4789;
/// What Linux used before a port was assigned.
const VXLAN_LINUX: u16 = 8472;
const GENEVE: u16 = 6081;

/// What a tunnel carries.
#[derive(Clone, Copy, Debug)]
pub(super) struct Inner<'a> {
    /// Its EtherType; [`ether_type::TRANSPARENT_ETHERNET`] for a whole frame.
    pub(super) ether_type: u16,
    /// Its bytes.
    pub(super) span: Span<'a>,
    /// The tunnel's header leaves no doubt; else it takes a known network protocol inside to believe it.
    pub(super) certain: bool,
}

/// Whether datagrams to this port may be a tunnel's.
#[inline]
pub(super) const fn is_port(port: u16) -> bool {
    matches!(port, VXLAN | VXLAN_LINUX | GENEVE)
}

/// The packet inside a UDP tunnel.
#[cold]
pub(super) fn udp(payload: Span<'_>, port: u16) -> Option<Inner<'_>> {
    let header: &[u8; 8] = payload.bytes.first_chunk()?;
    if port == GENEVE {
        let [version_and_length, flags, high, low, _, _, _, reserved] = *header;
        let ether_type = u16::from_be_bytes([high, low]);
        if version_and_length >> 6 != 0 || flags & 0x3f != 0 || reserved != 0 || !is_network(ether_type) {
            return None;
        }
        return Some(Inner {
            ether_type,
            span: payload.skip(8 + usize::from(version_and_length & 0x3f) * 4),
            certain: true,
        });
    }
    // All but the I flag and the identifier is zero, unless an extension uses it: receivers ignore it (section 5).
    let [flags, a, b, c, _, _, _, reserved] = *header;
    let certain = (flags, a, b, c, reserved) == (0x08, 0, 0, 0, 0);
    let ether_type = ether_type::TRANSPARENT_ETHERNET;
    (flags & 0x08 != 0).then(|| Inner { ether_type, span: payload.skip(8), certain })
}

/// The packet inside an IP protocol. Judges GRE's checksum in `row`.
#[cold]
pub(super) fn ip<'a>(packet: &Packet<'a>, row: &mut Row) -> Option<Inner<'a>> {
    match packet.protocol {
        protocol::IPV4 => Some(Inner { ether_type: ether_type::IPV4, span: packet.payload, certain: true }),
        protocol::IPV6 => Some(Inner { ether_type: ether_type::IPV6, span: packet.payload, certain: true }),
        protocol::GRE => gre(packet, row),
        _ => None,
    }
}

fn gre<'a>(packet: &Packet<'a>, row: &mut Row) -> Option<Inner<'a>> {
    const CHECKSUM: u16 = 0x8000;
    const ROUTING: u16 = 0x4000;
    const KEY: u16 = 0x2000;
    const SEQUENCE: u16 = 0x1000;
    let span = packet.payload;
    let (flags, ether_type) = (span.be16(0)?, span.be16(2)?);
    // Bits 5 to 12 are reserved, and source routing (RFC 1701) is obsolete; version 1 is PPTP's.
    if flags & !(CHECKSUM | KEY | SEQUENCE) & !ROUTING != 0 || flags & ROUTING != 0 || !is_network(ether_type) {
        return None;
    }
    if flags & CHECKSUM != 0 {
        row.l4_checksum = if !packet.is_whole() {
            Checksum::Unverifiable
        } else if checksum::adds_up(checksum::sum(span.bytes)) {
            Checksum::Right
        } else {
            Checksum::Wrong
        };
    }
    let optional = (flags & (CHECKSUM | KEY | SEQUENCE)).count_ones() as usize;
    Some(Inner { ether_type, span: span.skip(4 + optional * 4), certain: true })
}

/// Whether something that can be decoded is announced.
const fn is_network(ether_type: u16) -> bool {
    matches!(
        ether_type,
        ether_type::TRANSPARENT_ETHERNET | ether_type::IPV4 | ether_type::IPV6 | ether_type::ARP | ether_type::MPLS
    )
}
