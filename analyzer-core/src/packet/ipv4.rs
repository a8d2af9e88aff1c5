//! IPv4 (RFC 791): from its header to the packet behind it.

use etherparse::Ipv4HeaderSlice;

use super::checksum;
use super::detail::Detail;
use super::fragments::Fragments;
use super::ip::{self, Fragment, Packet, protocol};
use super::key::{Family, FlowKey, V4_MAPPED};
use super::row::{Checksum, Row, bits};
use super::span::Span;
use super::tunnel::Inner;

const MIN_HEADER: usize = 20;
const MAX_HEADER: usize = 60;

/// Decodes a packet. Returns what is inside, if it is a tunnel.
#[inline(always)]
#[expect(clippy::inline_always, reason = "part of the hot path, see `Decoder::decode_into`")]
pub(super) fn decode<'a>(
    span: Span<'a>,
    fragments: &mut Fragments,
    row: &mut Row,
    key: &mut FlowKey,
    details: &mut Vec<Detail>,
) -> Option<Inner<'a>> {
    // The packet goes on from here by reference: handing it back first would copy it just after it was written.
    match Ipv4HeaderSlice::from_slice(span.bytes) {
        Ok(header) => ip::transport(&read(&header, span, row, key)?, fragments, row, key, details),
        Err(_) => ip::transport_slow(&open_incomplete(span, row, key)?, fragments, row, key, details),
    }
}

/// A header that is damaged, or of which only a part was captured. `None` when nothing behind it can be found; then `row` and
/// `key` say what could be read.
#[cold]
fn open_incomplete<'a>(span: Span<'a>, row: &mut Row, key: &mut FlowKey) -> Option<Packet<'a>> {
    let captured = span.bytes.len().min(MAX_HEADER);
    let header_len = usize::from(span.byte(0).unwrap_or(0) & 0xf) * 4;
    if captured < MIN_HEADER {
        row.bits |= span.shortage(MIN_HEADER);
        ip::damaged(0, 0, Family::V4, row, key);
        return None;
    }
    // Missing options read as zero, "end of option list"; a header length below the minimum is read as the minimum.
    let mut padded = [0; MAX_HEADER];
    padded[..captured].copy_from_slice(&span.bytes[..captured]);
    padded[0] = 0x45.max(padded[0]);
    row.bits |= if header_len < MIN_HEADER { bits::MALFORMED } else { span.shortage(header_len) };
    let Ok(header) = Ipv4HeaderSlice::from_slice(&padded) else {
        ip::damaged(0, 0, Family::V4, row, key);
        return None;
    };
    let packet = read(&header, span, row, key)?;
    row.l3_checksum = Checksum::Unverifiable;
    if row.has(bits::MALFORMED) {
        row.protocol = packet.protocol;
        ip::damaged(packet.source, packet.destination, Family::V4, row, key);
        return None;
    }
    Some(packet)
}

#[inline(always)]
#[expect(clippy::inline_always, reason = "part of the hot path, see `Decoder::decode_into`")]
fn read<'a>(header: &Ipv4HeaderSlice<'_>, span: Span<'a>, row: &mut Row, key: &mut FlowKey) -> Option<Packet<'a>> {
    let bytes = header.slice();
    let header_len = bytes.len();
    let fixed: &[u8; MIN_HEADER] = bytes.first_chunk()?;
    let options = &bytes[MIN_HEADER..];
    let source = V4_MAPPED | u128::from(u32::from_be_bytes(header.source()));
    let destination = V4_MAPPED | u128::from(u32::from_be_bytes(header.destination()));
    row.ttl = header.ttl();
    row.tos = fixed[1];
    row.ip_id = header.identification();
    row.bits |= if header.dont_fragment() { bits::DONT_FRAGMENT } else { 0 };
    row.l3_checksum = if checksum::adds_up(checksum::sum_header(fixed) + checksum::sum(options)) {
        Checksum::Right
    } else {
        Checksum::Wrong
    };
    // Segmentation offload hands frames of 64 KiB and more around with a length of zero; the frame's length then counts.
    let total = match usize::from(header.total_len()) {
        0 => span.len,
        total => total,
    };
    row.ip_len = total as u32;
    if total < header_len {
        row.bits |= bits::MALFORMED;
        row.protocol = header.protocol().0;
        ip::damaged(source, destination, Family::V4, row, key);
        return None;
    }
    row.bits |= trailer(span, total);
    let mut packet = Packet {
        source,
        destination,
        family: Family::V4,
        protocol: header.protocol().0,
        addresses: checksum::sum_header::<8>(fixed.last_chunk()?),
        fragment: Fragment {
            id: u32::from(row.ip_id),
            offset: u32::from(header.fragments_offset().value()) * 8,
            more: header.more_fragments(),
        },
        routed: !options.is_empty() && is_source_routed(options),
        payload: span.with_len(total).skip(header_len),
    };
    if packet.protocol == protocol::AH && packet.fragment.offset == 0 {
        skip_authentication(&mut packet);
    }
    Some(packet)
}

/// [`bits::TRAILER`] when something other than padding follows a packet of `total` bytes.
#[inline]
pub(super) fn trailer(span: Span<'_>, total: usize) -> u16 {
    let rest = span.bytes.get(total..).unwrap_or_default();
    if rest.iter().fold(0, |any, byte| any | byte) == 0 { 0 } else { bits::TRAILER }
}

/// Steps over an authentication header (RFC 4302, section 2): what it protects is in clear.
#[cold]
fn skip_authentication(packet: &mut Packet<'_>) {
    if let (Some(next), Some(words)) = (packet.payload.byte(0), packet.payload.byte(1)) {
        packet.protocol = next;
        packet.payload = packet.payload.skip((usize::from(words) + 2) * 4);
    }
}

/// Whether a source route that still has hops to go makes the header's destination a way-station (RFC 791, section 3.1).
#[cold]
fn is_source_routed(mut options: &[u8]) -> bool {
    const LOOSE: u8 = 131;
    const STRICT: u8 = 137;
    loop {
        options = match options {
            [] | [0, ..] => return false,
            [1, rest @ ..] => rest,
            [LOOSE | STRICT, len, pointer, ..] => return pointer < len,
            [_, len, ..] if *len >= 2 => options.get(usize::from(*len)..).unwrap_or_default(),
            _ => return false,
        };
    }
}
