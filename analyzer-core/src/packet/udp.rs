//! UDP datagrams (RFC 768), and what the well-known ports and QUIC put at their start.

use etherparse::UdpHeaderSlice;

use super::checksum;
use super::detail::Detail;
use super::ip::{self, Packet};
use super::key::{Family, FlowKey};
use super::row::{Checksum, Kind, Row, bits};
use super::span::Span;
use super::tunnel::{self, Inner};
use super::{dhcp, dns, quic};

const HEADER: usize = 8;
/// Linux's `UDP_MAX_SEGMENTS`.
const MAX_SEGMENTS: usize = 128;

/// Decodes a datagram, or the first fragment of one. Returns what is inside, if it is a tunnel.
#[inline(always)]
#[expect(clippy::inline_always, reason = "part of the hot path, see `Decoder::decode_into`")]
pub(super) fn decode<'a>(
    packet: &Packet<'a>,
    row: &mut Row,
    key: &mut FlowKey,
    details: &mut Vec<Detail>,
) -> Option<Inner<'a>> {
    row.kind = Kind::Udp;
    let span = packet.payload;
    let Ok(header) = UdpHeaderSlice::from_slice(span.bytes) else {
        decode_incomplete(packet, row, key);
        return None;
    };
    let ports = (header.source_port(), header.destination_port());
    packet.name(ports, row, key);

    let declared = usize::from(header.length());
    let (len, plausible) = if declared == span.len { (declared, true) } else { length(declared, packet, row) };
    let payload = span.with_len(len).skip(HEADER);
    let payload_sum = ip::describe(payload, row);
    first_bytes(payload.bytes, row);

    row.l4_checksum = if header.checksum() == 0 {
        without_checksum(packet, ports)
    } else {
        let fixed = checksum::sum(header.slice());
        packet.judge(header.checksum(), fixed + payload_sum, len, packet.is_whole() && plausible)
    };
    application(payload, ports, row, details)
}

/// [`decode`] as a function of its own, for fragments.
#[cold]
pub(super) fn decode_slow<'a>(
    packet: &Packet<'a>,
    row: &mut Row,
    key: &mut FlowKey,
    details: &mut Vec<Detail>,
) -> Option<Inner<'a>> {
    decode(packet, row, key, details)
}

/// The payload's first bytes, where QUIC keeps its flags and its connection id.
#[inline]
fn first_bytes(payload: &[u8], row: &mut Row) {
    let mut start = [0; 5];
    if let Some(five) = payload.first_chunk::<5>() {
        start = *five;
    } else {
        start[..payload.len()].copy_from_slice(payload);
    }
    row.flags = start[0];
    row.seq = u32::from_be_bytes([start[1], start[2], start[3], start[4]]);
}

/// The datagram's length when its own field and IP's disagree, and whether a receiver could have taken it.
#[cold]
fn length(declared: usize, packet: &Packet<'_>, row: &mut Row) -> (usize, bool) {
    let by_ip = packet.payload.len;
    if packet.fragment.more {
        // The field counts the whole datagram.
        return (by_ip, true);
    }
    // A superframe: the field is left out (RFC 2675, section 4), or is that of one of its segments.
    let segments = by_ip.saturating_sub(HEADER) / declared.saturating_sub(HEADER).max(1);
    if declared == 0 || (declared > HEADER && by_ip > ip::PLAIN && (2..=MAX_SEGMENTS).contains(&segments)) {
        return (by_ip, true);
    }
    if declared < HEADER || declared > by_ip {
        row.bits |= bits::MALFORMED;
        return (by_ip, false);
    }
    (declared, true)
}

/// A field of zero: none was computed. IPv6 allows that to tunnels only (RFC 6935, section 5).
#[cold]
fn without_checksum(packet: &Packet<'_>, ports: (u16, u16)) -> Checksum {
    match packet.family {
        Family::V6 if !tunnel::is_port(ports.1) => Checksum::Wrong,
        _ => Checksum::Absent,
    }
}

/// A header of which only a part is there.
#[cold]
fn decode_incomplete(packet: &Packet<'_>, row: &mut Row, key: &mut FlowKey) {
    let span = packet.payload;
    row.bits |= span.shortage(HEADER);
    row.l4_checksum = Checksum::Unverifiable;
    let ports = match (span.be16(0), span.be16(2)) {
        (Some(source), Some(destination)) => (source, destination),
        _ => (0, 0),
    };
    packet.name(ports, row, key);
    row.len = span.len.saturating_sub(HEADER) as u32;
}

/// Whether nothing of a payload is read but its first bytes, by its ports and the first of them.
#[inline]
pub(super) const fn is_opaque(ports: (u16, u16), first: u8) -> bool {
    !matches!(ports, (53 | 5353, _) | (_, 53 | 5353) | (67 | 68, 67 | 68))
        && !tunnel::is_port(ports.1)
        && first & 0x80 == 0
}

/// [`bits::QUIC_SHORT`] of a payload that is opaque (RFC 9000, section 17.3.1: header form 0, fixed bit 1).
#[inline]
pub(super) const fn quic_short(first: u8) -> u16 {
    if first & 0x40 == 0 { 0 } else { bits::QUIC_SHORT }
}

#[inline]
fn application<'a>(
    payload: Span<'a>,
    ports: (u16, u16),
    row: &mut Row,
    details: &mut Vec<Detail>,
) -> Option<Inner<'a>> {
    if is_opaque(ports, row.flags) {
        row.bits |= quic_short(row.flags);
        return None;
    }
    if tunnel::is_port(ports.1)
        && let Some(inner) = tunnel::udp(payload, ports.1)
    {
        return Some(inner);
    }
    let detail = match ports {
        (53 | 5353, _) | (_, 53 | 5353) => dns::read(payload).map(Detail::Dns),
        (67 | 68, 67 | 68) => dhcp::read(payload).map(Detail::Dhcp),
        _ if row.flags & 0x80 != 0 => quic::read(payload).map(Detail::Quic),
        _ => {
            row.bits |= quic_short(row.flags);
            return None;
        }
    };
    if let Some(detail) = detail {
        row.bits |= if matches!(detail, Detail::Quic(_)) { bits::QUIC_LONG } else { 0 };
        details.push(detail);
        row.detail = details.len() as u32;
    }
    None
}
