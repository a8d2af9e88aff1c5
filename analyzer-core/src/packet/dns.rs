//! The header of a DNS message (RFC 1035, section 4.1.1) and the type that its question asks for.

use super::detail::Dns;
use super::span::Span;

const HEADER: usize = 12;

/// Reads the header, if it is there.
#[cold]
pub(super) fn read(payload: Span<'_>) -> Option<Dns> {
    let bytes = payload.bytes.get(..HEADER)?;
    let has_question = bytes[4..6] != [0, 0];
    Some(Dns {
        id: u16::from_be_bytes([bytes[0], bytes[1]]),
        response: bytes[2] & 0x80 != 0,
        question_type: if has_question { question_type(payload).unwrap_or(0) } else { 0 },
    })
}

/// Steps over the name in the first question. Ends, because every label moves on.
fn question_type(payload: Span<'_>) -> Option<u16> {
    let mut at = HEADER;
    loop {
        at += match payload.byte(at)? {
            0 => return payload.be16(at + 1),
            len @ 1..=63 => usize::from(len) + 1,
            // A pointer ends a name (section 4.1.4).
            0xc0.. => return payload.be16(at + 2),
            _ => return None,
        };
    }
}
