//! QUIC long headers by their version-independent properties (RFC 8999, section 5.1).

use super::detail::QuicLong;
use super::span::Span;

const MAX_ID: usize = 20;

/// Reads a long header, if this is one of a plausible version. The caller has seen the header form bit.
#[cold]
pub(super) fn read(payload: Span<'_>) -> Option<QuicLong> {
    let version = payload.be32(1)?;
    if !is_plausible(version) {
        return None;
    }
    let (destination, at) = connection_id(payload, 5)?;
    let (source, at) = connection_id(payload, at)?;
    // Version negotiation lists versions, and nothing follows them (section 6).
    let listed = payload.len.checked_sub(at)?;
    if version == 0 && (listed == 0 || listed % 4 != 0 || !is_plausible(payload.be32(at)?)) {
        return None;
    }
    Some(QuicLong { version, first_byte: payload.byte(0)?, destination, source })
}

/// A connection id, zero padded, with its length, and where the next field starts.
fn connection_id(payload: Span<'_>, at: usize) -> Option<(([u8; MAX_ID], u8), usize)> {
    let len = payload.byte(at)?;
    let bytes = payload.bytes.get(at + 1..)?.get(..usize::from(len))?;
    let mut id = [0; MAX_ID];
    id.get_mut(..bytes.len())?.copy_from_slice(bytes);
    Some(((id, len), at + 1 + bytes.len()))
}

/// Versions in use. Thirty-two bits of evidence: other protocols that set the first bit do not get here by chance.
const fn is_plausible(version: u32) -> bool {
    match version {
        // Negotiation; version 1 (RFC 9000) and 2 (RFC 9369); IETF drafts; mvfst.
        0 | 1 | 0x6b33_43cf | 0xff00_0000..=0xff00_00ff | 0xface_b000..=0xface_b00f => true,
        // Google's Q046, T051 and their kin: a letter and three digits.
        _ if matches!(version >> 24, 0x51 | 0x54) => {
            let [_, a, b, c] = version.to_be_bytes();
            a.is_ascii_digit() && b.is_ascii_digit() && c.is_ascii_digit()
        }
        // Reserved to exercise negotiation (RFC 9000, section 15).
        _ => version & 0x0f0f_0f0f == 0x0a0a_0a0a,
    }
}
