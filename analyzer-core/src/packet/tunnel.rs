//! Packets inside packets: VXLAN (RFC 7348), Geneve (RFC 8926), GRE (RFC 2784, RFC 2890), and IP in IP (RFC 2003, RFC 2473, RFC 4213).
//!
//! Only finds where the inner packet starts. The checks are strict, because anyone may use these ports.

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
        return Some(Inner { ether_type, span: payload.skip(8 + usize::from(version_and_length & 0x3f) * 4) });
    }
    // The I flag; the group policy extension also sets G and uses the next three bytes.
    let [flags, a, b, c, _, _, _, reserved] = *header;
    let plain = flags == 0x08 && (a, b, c) == (0, 0, 0);
    let with_policy = flags == 0x88 && a & 0xb7 == 0;
    if !(plain || with_policy) || reserved != 0 {
        return None;
    }
    Some(Inner { ether_type: ether_type::TRANSPARENT_ETHERNET, span: payload.skip(8) })
}

/// The packet inside an IP protocol. Judges GRE's checksum in `row`.
#[cold]
pub(super) fn ip<'a>(packet: &Packet<'a>, row: &mut Row) -> Option<Inner<'a>> {
    match packet.protocol {
        protocol::IPV4 => Some(Inner { ether_type: ether_type::IPV4, span: packet.payload }),
        protocol::IPV6 => Some(Inner { ether_type: ether_type::IPV6, span: packet.payload }),
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
    Some(Inner { ether_type, span: span.skip(4 + optional * 4) })
}

/// Whether something that can be decoded is announced.
const fn is_network(ether_type: u16) -> bool {
    matches!(
        ether_type,
        ether_type::TRANSPARENT_ETHERNET | ether_type::IPV4 | ether_type::IPV6 | ether_type::ARP | ether_type::MPLS
    )
}
