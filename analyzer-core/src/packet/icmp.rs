//! ICMP (RFC 792) and ICMPv6 (RFC 4443): echoes, errors with the packet that they quote, and the rest.

use super::checksum;
use super::detail::{Detail, IcmpError};
use super::digest;
use super::fragments::{Fragments, Name};
use super::ip::{self, Fragment, Packet, protocol};
use super::ipv6;
use super::key::{Endpoint, Family, FlowKey, V4_MAPPED};
use super::row::{Checksum, Kind, Row, bits};
use super::span::Span;

/// Type, code, checksum: all that every message has.
const COMMON: usize = 4;
/// With the four bytes whose meaning depends on the type.
const HEADER: usize = 8;

/// Decodes a message, or the first fragment of one.
pub(super) fn decode(
    packet: &Packet<'_>,
    fragments: &Fragments,
    row: &mut Row,
    key: &mut FlowKey,
    details: &mut Vec<Detail>,
) {
    let span = packet.payload;
    row.kind = Kind::IcmpOther;
    let Some([icmp_type, code, _, _]) = span.bytes.first_chunk::<COMMON>().copied() else {
        row.bits |= span.shortage(COMMON);
        row.l4_checksum = Checksum::Unverifiable;
        packet.name((0, 0), row, key);
        return;
    };
    row.window = u16::from_be_bytes([icmp_type, code]);
    row.l4_checksum = verify(packet);
    let number = span.be32(COMMON);
    match (packet.family, icmp_type, number) {
        (Family::V4, 0 | 8, Some(number)) | (Family::V6, 128 | 129, Some(number)) => {
            row.kind = Kind::IcmpEcho;
            row.seq = number;
            row.bits |= if matches!(icmp_type, 0 | 129) { bits::REPLY } else { 0 };
            let identifier = (number >> 16) as u16;
            packet.name((identifier, identifier), row, key);
            ip::describe(span.skip(HEADER), row);
        }
        (Family::V4, 3 | 4 | 5 | 11 | 12, Some(number)) | (Family::V6, 1..=4, Some(number)) => {
            error(packet, number, fragments, row, key, details);
        }
        _ => {
            packet.name((0, 0), row, key);
            ip::describe(span.skip(COMMON), row);
        }
    }
}

/// ICMP covers itself only, ICMPv6 also a pseudo-header (RFC 4443, section 2.3).
fn verify(packet: &Packet<'_>) -> Checksum {
    if packet.fragment.more || packet.payload.is_cut() || (packet.routed && packet.family == Family::V6) {
        return Checksum::Unverifiable;
    }
    let pseudo = match packet.family {
        Family::V6 => packet.pseudo() + checksum::long(packet.payload.len as u32),
        _ => 0,
    };
    if checksum::adds_up(checksum::sum(packet.payload.bytes) + pseudo) { Checksum::Right } else { Checksum::Wrong }
}

/// An error belongs to the flow that it quotes.
#[cold]
fn error(
    packet: &Packet<'_>,
    number: u32,
    fragments: &Fragments,
    row: &mut Row,
    key: &mut FlowKey,
    details: &mut Vec<Detail>,
) {
    let [icmp_type, code] = row.window.to_be_bytes();
    let span = packet.payload.skip(HEADER);
    ip::describe(span, row);
    // NAT rewrites the addresses in the quote, so the copies' sums differ.
    row.sum = 0;
    let Some(mut quote) = Quote::read(span, packet.family) else {
        // Without a readable quote it is a message like any other.
        row.bits |= if span.is_cut() { bits::CUT } else { bits::MALFORMED };
        packet.name((0, 0), row, key);
        return;
    };
    if usize::from(quote.unknown) > ADDRESS_6 {
        // The error travels to the quoted packet's source.
        quote.packet.source = packet.destination;
    }
    row.kind = Kind::IcmpError;
    row.ack = match (packet.family, icmp_type, code) {
        (Family::V4, 3, 4) => number & 0xffff,
        (Family::V6, 2, _) => number,
        _ => 0,
    };
    let (quoted, from_high) = quote.key(fragments, row.time);
    *key = quoted;
    // The error travels against the packet that it quotes.
    row.bits |= if from_high { 0 } else { bits::FROM_HIGH };
    row.head = digest::words(&[
        u64::from(row.window),
        u64::from(row.ack),
        u64::from(quote.packet.fragment.id),
        u64::from(quote.total),
    ]);
    // Not part of the digest: a capture with a short snap length lacks it.
    row.seq = quote.mark as u32;
    details.push(Detail::IcmpError(IcmpError {
        reporter: packet.source,
        recipient: packet.destination,
        icmp_type,
        code,
        mtu: row.ack,
        quoted,
        quoted_ip_id: quote.ip_id,
        quoted_len: quote.total,
        quoted_seq: quote.sequence,
        quoted_ttl: quote.ttl,
        cut: quote.cut.then_some(quote.unknown),
    }));
    row.detail = details.len() as u32;
}

/// The packet inside an error, of which perhaps only eight bytes behind the IP header are there (RFC 792).
struct Quote<'a> {
    packet: Packet<'a>,
    total: u32,
    ip_id: u16,
    ttl: u8,
    ports: (u16, u16),
    sequence: u32,
    /// What tells this packet from others of its flow and survives NAT.
    mark: u64,
    /// Bytes at the end of the fixed header that the capture cut off.
    unknown: u8,
    /// Whether it cut off the ports.
    cut: bool,
}

/// Bytes of an IPv6 address.
const ADDRESS_6: usize = 16;

/// The fixed header of a quote, of which the capture may have cut off some of the end; says how many bytes. What is left of
/// IPv4's has the source, of IPv6's the length.
fn header<const LENGTH: usize>(span: Span<'_>) -> Option<([u8; LENGTH], usize)> {
    if let Some(header) = span.bytes.first_chunk() {
        return Some((*header, 0));
    }
    let unknown = LENGTH - span.bytes.len();
    let needed = if LENGTH == 40 { 6 } else { 17 };
    if !span.is_cut() || span.bytes.len() < needed {
        return None;
    }
    let mut header = [0; LENGTH];
    header[..span.bytes.len()].copy_from_slice(span.bytes);
    Some((header, unknown))
}

impl<'a> Quote<'a> {
    fn read(span: Span<'a>, family: Family) -> Option<Self> {
        let mut quote = match family {
            Family::V6 => Self::version_6(span)?,
            _ => Self::version_4(span)?,
        };
        if quote.packet.fragment.offset == 0 {
            quote.read_transport();
        } else {
            quote.mark = u64::from(quote.packet.fragment.offset);
        }
        Some(quote)
    }

    fn version_4(span: Span<'a>) -> Option<Self> {
        let (header, unknown) = header::<20>(span)?;
        let number = |at: usize| u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
        let header_len = usize::from(header[0] & 0xf) * 4;
        if header[0] >> 4 != 4 || header_len < 20 {
            return None;
        }
        let fragment = u16::from_be_bytes([header[6], header[7]]);
        let ip_id = u16::from_be_bytes([header[4], header[5]]);
        Some(Self::new(
            Packet {
                source: V4_MAPPED | u128::from(number(12)),
                destination: V4_MAPPED | u128::from(number(16)),
                family: Family::V4,
                protocol: header[9],
                addresses: 0,
                fragment: Fragment {
                    id: u32::from(ip_id),
                    offset: u32::from(fragment & 0x1fff) * 8,
                    more: fragment & 0x2000 != 0,
                },
                routed: false,
                payload: span.skip(header_len),
            },
            u32::from(u16::from_be_bytes([header[2], header[3]])),
            ip_id,
            header[8],
            unknown,
        ))
    }

    fn version_6(span: Span<'a>) -> Option<Self> {
        let (header, unknown) = header::<40>(span)?;
        if header[0] >> 4 != 6 {
            return None;
        }
        let address = |at: usize| header[at..at + 16].iter().fold(0_u128, |sum, byte| sum << 8 | u128::from(*byte));
        let mut packet = Packet {
            source: address(8),
            destination: address(24),
            family: Family::V6,
            protocol: header[6],
            addresses: 0,
            fragment: Fragment::default(),
            routed: false,
            payload: span.skip(40),
        };
        // What cannot be stepped over leaves the quote without ports.
        ipv6::skip_extensions(&mut packet);
        let total = u32::from(u16::from_be_bytes([header[4], header[5]])) + 40;
        Some(Self::new(packet, total, 0, header[7], unknown))
    }

    fn new(packet: Packet<'a>, total: u32, ip_id: u16, ttl: u8, unknown: usize) -> Self {
        Self {
            packet,
            total,
            ip_id,
            ttl,
            ports: (0, 0),
            sequence: 0,
            mark: 0,
            unknown: unknown as u8,
            cut: unknown > 0,
        }
    }

    fn read_transport(&mut self) {
        let span = self.packet.payload;
        match self.packet.protocol {
            protocol::TCP | protocol::UDP => {
                if let (Some(source), Some(destination)) = (span.be16(0), span.be16(2)) {
                    self.ports = (source, destination);
                } else {
                    self.cut |= span.is_cut();
                }
                if self.packet.protocol == protocol::TCP {
                    self.sequence = span.be32(4).unwrap_or(0);
                    self.mark = u64::from(self.sequence);
                } else {
                    self.mark = u64::from(span.be16(4).unwrap_or(0));
                }
            }
            protocol::ICMP | protocol::ICMPV6 => {
                // NAT may change an echo's identifier, never its sequence number.
                if let (Some(0 | 8 | 128 | 129), Some(identifier)) = (span.byte(0), span.be16(4)) {
                    self.ports = (identifier, identifier);
                    self.mark = u64::from(span.be16(6).unwrap_or(0));
                }
            }
            _ => {}
        }
    }

    fn key(&self, fragments: &Fragments, time: i64) -> (FlowKey, bool) {
        let packet = &self.packet;
        if packet.fragment.offset != 0 {
            let name = Name {
                source: packet.source,
                destination: packet.destination,
                id: packet.fragment.id,
                protocol: packet.protocol,
            };
            if let Some(known) = fragments.find(name, time) {
                return known;
            }
        }
        FlowKey::new(
            Endpoint { address: packet.source, port: self.ports.0 },
            Endpoint { address: packet.destination, port: self.ports.1 },
            u16::from(packet.protocol),
            packet.family,
        )
    }
}
