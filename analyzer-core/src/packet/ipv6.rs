//! IPv6 (RFC 8200): from its header, over its extension headers, to the packet behind them.

use etherparse::{Ipv6FragmentHeaderSlice, Ipv6HeaderSlice};

use super::checksum;
use super::detail::Detail;
use super::fragments::Fragments;
use super::ip::{self, Fragment, Packet, protocol};
use super::ipv4::trailer;
use super::key::{Family, FlowKey};
use super::row::{Row, bits};
use super::span::Span;
use super::tunnel::Inner;

const HEADER: usize = 40;

/// Decodes a packet. Returns what is inside, if it is a tunnel.
#[inline(never)]
pub(super) fn decode<'a>(
    span: Span<'a>,
    fragments: &mut Fragments,
    row: &mut Row,
    key: &mut FlowKey,
    details: &mut Vec<Detail>,
) -> Option<Inner<'a>> {
    ip::transport_slow(&open(span, row, key)?, fragments, row, key, details)
}

/// Reads the header into `row`. `None` when it cannot be followed; then `row` and `key` say what could be read.
#[inline]
fn open<'a>(span: Span<'a>, row: &mut Row, key: &mut FlowKey) -> Option<Packet<'a>> {
    row.bits |= bits::V6 | bits::DONT_FRAGMENT;
    let Ok(header) = Ipv6HeaderSlice::from_slice(span.bytes) else {
        row.bits |= span.shortage(HEADER);
        ip::damaged(0, 0, Family::V6, row, key);
        return None;
    };
    row.ttl = header.hop_limit();
    row.tos = header.traffic_class();
    // Zero is a jumbogram (RFC 2675) or a superframe: both have the length of the frame.
    let total = match usize::from(header.payload_length()) {
        0 if header.next_header().0 != NO_NEXT_HEADER => span.len,
        len => HEADER + len,
    };
    row.ip_len = total as u32;
    row.bits |= trailer(span, total);
    let addresses: &[u8; 32] = header.slice().last_chunk()?;
    let mut packet = Packet {
        source: u128::from_be_bytes(header.source()),
        destination: u128::from_be_bytes(header.destination()),
        family: Family::V6,
        protocol: header.next_header().0,
        addresses: checksum::sum_header(addresses),
        fragment: Fragment::default(),
        routed: false,
        payload: span.with_len(total).skip(HEADER),
    };
    if is_extension(packet.protocol) {
        let shortage = skip_extensions(&mut packet);
        if shortage != 0 {
            row.bits |= shortage;
            row.protocol = packet.protocol;
            ip::damaged(packet.source, packet.destination, Family::V6, row, key);
            return None;
        }
    }
    Some(packet)
}

const NO_NEXT_HEADER: u8 = 59;

/// Whether a header of this kind stands between IPv6 and its transport.
#[inline]
pub(super) const fn is_extension(number: u8) -> bool {
    matches!(
        number,
        protocol::HOP_BY_HOP
            | protocol::ROUTING
            | protocol::FRAGMENT
            | protocol::AH
            | protocol::DESTINATION
            | protocol::MOBILITY
    )
}

/// Steps over the extension headers; ends, because each is at least eight bytes. Returns the bit that an unfinished one deserves, else 0.
#[cold]
pub(super) fn skip_extensions(packet: &mut Packet<'_>) -> u16 {
    while is_extension(packet.protocol) {
        let span = packet.payload;
        let (Some(next), Some(words)) = (span.byte(0), span.byte(1)) else { return span.shortage(8) };
        let len = match packet.protocol {
            protocol::FRAGMENT => 8,
            protocol::AH => (usize::from(words) + 2) * 4,
            _ => (usize::from(words) + 1) * 8,
        };
        match packet.protocol {
            protocol::FRAGMENT => {
                let Ok(header) = Ipv6FragmentHeaderSlice::from_slice(span.bytes) else { return span.shortage(len) };
                packet.fragment = Fragment {
                    id: header.identification(),
                    offset: u32::from(header.fragment_offset().value()) * 8,
                    more: header.more_fragments(),
                };
            }
            // The pseudo-header covers the final destination, which is inside the header (RFC 8200, section 8.1).
            protocol::ROUTING => packet.routed |= span.byte(3) != Some(0),
            // Mobility has no upper layer behind it today (RFC 6275, section 6.1.1).
            protocol::MOBILITY if next == NO_NEXT_HEADER => return 0,
            _ => {}
        }
        if span.len < len {
            return bits::MALFORMED;
        }
        packet.protocol = next;
        packet.payload = span.skip(len);
        // What follows a fragment that is not the first is the middle of something.
        if packet.fragment.offset != 0 {
            break;
        }
    }
    0
}
