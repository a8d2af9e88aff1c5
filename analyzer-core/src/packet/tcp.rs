//! TCP segments (RFC 9293): sequence numbers, flags, window, and the options that say how both ends will behave.

use etherparse::TcpHeaderSlice;

use super::checksum;
use super::detail::{Detail, TcpOptions};
use super::ip::{self, Packet};
use super::key::FlowKey;
use super::row::{Checksum, Kind, Row, bits, tcp_flags};

const MIN_HEADER: usize = 20;
const MAX_HEADER: usize = 60;

/// Decodes a segment, or the first fragment of one.
#[inline(always)]
#[expect(clippy::inline_always, reason = "part of the hot path, see `Decoder::decode_into`")]
pub(super) fn decode(packet: &Packet<'_>, row: &mut Row, key: &mut FlowKey, details: &mut Vec<Detail>) {
    row.kind = Kind::Tcp;
    let Ok(header) = TcpHeaderSlice::from_slice(packet.payload.bytes) else {
        decode_incomplete(packet, row, key, details);
        return;
    };
    let bytes = header.slice();
    fields(&header, packet, row, key);
    let payload_sum = ip::describe(packet.payload.skip(bytes.len()), row);
    row.l4_checksum =
        packet.judge(header.checksum(), header_sum(bytes) + payload_sum, packet.payload.len, packet.is_whole());
    if bytes.len() > MIN_HEADER {
        note_options(&bytes[MIN_HEADER..], row, details);
    } else if row.is(tcp_flags::SYN) {
        note(&TcpOptions::default(), row, details);
    }
}

/// [`decode`] as a function of its own, for fragments.
#[cold]
pub(super) fn decode_slow(packet: &Packet<'_>, row: &mut Row, key: &mut FlowKey, details: &mut Vec<Detail>) {
    decode(packet, row, key, details);
}

#[inline(always)]
#[expect(clippy::inline_always, reason = "part of the hot path, see `Decoder::decode_into`")]
fn fields(header: &TcpHeaderSlice<'_>, packet: &Packet<'_>, row: &mut Row, key: &mut FlowKey) {
    packet.name((header.source_port(), header.destination_port()), row, key);
    row.seq = header.sequence_number();
    row.ack = header.acknowledgment_number();
    row.flags = header.slice()[13];
    row.window = header.window_size();
}

/// Headers are whole words: twenty bytes without a loop, then the options.
#[inline]
fn header_sum(bytes: &[u8]) -> checksum::Sum {
    let Some((fixed, options)) = bytes.split_first_chunk::<MIN_HEADER>() else { return 0 };
    let mut sum = checksum::sum_header(fixed);
    for word in options.as_chunks::<4>().0 {
        sum += checksum::Sum::from(u32::from_ne_bytes(*word));
    }
    sum
}

/// A header that is damaged, or of which only a part was captured: what is there still counts.
#[cold]
fn decode_incomplete(packet: &Packet<'_>, row: &mut Row, key: &mut FlowKey, details: &mut Vec<Detail>) {
    /// Ends of the fields: one of which only a part is there reads as zero.
    const ENDS: [usize; 8] = [0, 4, 8, 12, 13, 14, 16, 18];
    let span = packet.payload;
    let captured = match span.bytes.len() {
        few @ 0..MIN_HEADER => ENDS.into_iter().rfind(|end| *end <= few).unwrap_or(0),
        many => many.min(MAX_HEADER),
    };
    let mut padded = [0; MAX_HEADER];
    padded[..captured].copy_from_slice(&span.bytes[..captured]);
    let declared = if captured > 12 { usize::from(padded[12] >> 4) * 4 } else { MIN_HEADER };
    let header_len = declared.max(MIN_HEADER);
    padded[12] = (header_len as u8 / 4) << 4;
    row.bits |= if declared < MIN_HEADER { bits::MALFORMED } else { span.shortage(header_len) };
    row.l4_checksum = Checksum::Unverifiable;
    let Ok(header) = TcpHeaderSlice::from_slice(&padded) else { return packet.name((0, 0), row, key) };
    fields(&header, packet, row, key);
    if captured < 16 {
        // A window that was not captured is not a closed one.
        row.window = u16::MAX;
    }
    if row.has(bits::MALFORMED) {
        return;
    }
    ip::describe(span.skip(header_len), row);
    if captured >= 18 {
        row.l4_checksum = packet.judge(header.checksum(), 0, span.len, false);
    }
    if row.is(tcp_flags::SYN) {
        // Options that were not captured read as "end of option list".
        note_options(&padded[MIN_HEADER..header_len], row, details);
    }
}

/// Keeps the options of a SYN and SACK blocks; the timestamps that nearly every segment carries are passed over.
#[inline]
fn note_options(options: &[u8], row: &mut Row, details: &mut Vec<Detail>) {
    // NOP NOP Timestamps: the layout recommended by RFC 7323, appendix A.
    if !row.is(tcp_flags::SYN) && matches!(options, [1, 1, 8, 10, _, _, _, _, _, _, _, _]) {
        return;
    }
    let options = walk(options);
    if row.is(tcp_flags::SYN) || options.sack_blocks > 0 {
        note(&options, row, details);
    }
}

#[cold]
fn note(options: &TcpOptions, row: &mut Row, details: &mut Vec<Detail>) {
    details.push(Detail::Tcp(options.clone()));
    row.detail = details.len() as u32;
}

/// Reads the options (RFC 9293, section 3.2), passing over unknown kinds and stopping at a length that cannot be.
#[cold]
fn walk(mut rest: &[u8]) -> TcpOptions {
    const NOP: u8 = 1;
    let mut found = TcpOptions::default();
    loop {
        let (kind, len) = match rest {
            [NOP, after @ ..] => {
                rest = after;
                continue;
            }
            [] | [0 | _] | [0, ..] => return found,
            [kind, len, ..] => (*kind, usize::from(*len)),
        };
        if len < 2 {
            return found;
        }
        let Some((option, after)) = rest.split_at_checked(len) else { return found };
        match (kind, &option[2..]) {
            (2, &[high, low]) => found.mss = Some(u16::from_be_bytes([high, low])),
            (3, &[shift]) => found.window_scale = Some(shift),
            (4, []) => found.sack_permitted = true,
            (5, blocks) => {
                for (slot, block) in found.sack.iter_mut().zip(blocks.as_chunks::<8>().0) {
                    let edges = u64::from_be_bytes(*block);
                    *slot = ((edges >> 32) as u32, edges as u32);
                    found.sack_blocks += 1;
                }
            }
            (8, [_, _, _, _, _, _, _, _]) => found.timestamps = true,
            _ => {}
        }
        rest = after;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_options_do_not_hide_the_ones_behind_them() {
        let options = [2, 4, 5, 180, 253, 4, 0xf9, 0x89, 34, 2, 4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0, 1, 3, 3, 7];
        let found = walk(&options);
        assert_eq!((found.mss, found.window_scale), (Some(1460), Some(7)));
        assert!(found.sack_permitted && found.timestamps);
    }

    #[test]
    fn impossible_lengths_end_the_walk() {
        for options in
            [&[2, 4, 5, 180, 9, 1, 4, 2][..], &[2, 4, 5, 180, 3], &[2, 4, 5, 180, 3, 30], &[2, 4, 5, 180, 0, 4, 2]]
        {
            let found = walk(options);
            assert_eq!(found.mss, Some(1460), "{options:?}");
            assert!(!found.sack_permitted, "{options:?}");
        }
    }

    #[test]
    fn keeps_at_most_four_blocks() {
        let mut options = vec![5, 50];
        options.extend(std::iter::repeat_n([0, 0, 0, 1, 0, 0, 0, 2], 6).flatten());
        assert_eq!(walk(&options).sack_blocks, 4);
        assert_eq!(walk(&options).sack, [(1, 2); 4]);
    }
}
