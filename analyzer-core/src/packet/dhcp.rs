//! The header of a DHCPv4 message (RFC 2131, section 2) and its message type (RFC 2132, section 9.6).

use super::detail::Dhcp;
use super::span::Span;

/// Reads the header, if it is there.
#[cold]
pub(super) fn read(payload: Span<'_>) -> Option<Dhcp> {
    Some(Dhcp {
        xid: payload.be32(4)?,
        message: message_type(payload).unwrap_or_else(|| if payload.is_cut() { by_operation(payload) } else { 0 }),
        client_mac: u64::from(payload.be16(28)?) << 32 | u64::from(payload.be32(30)?),
    })
}

/// What can be said of a message whose options were cut off.
fn by_operation(payload: Span<'_>) -> u8 {
    const REQUEST: u8 = 1;
    const REPLY: u8 = 2;
    // Who has an address already gives it up or asks for settings alone, which needs no answer.
    let without_address = payload.be32(12) == Some(0);
    match payload.byte(0) {
        Some(REQUEST) if without_address => Dhcp::SOME_REQUEST,
        Some(REPLY) => Dhcp::SOME_REPLY,
        _ => 0,
    }
}

fn message_type(payload: Span<'_>) -> Option<u8> {
    const COOKIE: u32 = 0x6382_5363;
    const PAD: u8 = 0;
    const MESSAGE_TYPE: u8 = 53;
    const END: u8 = 255;
    if payload.be32(236)? != COOKIE {
        return None;
    }
    let mut at = 240;
    loop {
        match payload.byte(at)? {
            PAD => at += 1,
            END => return None,
            MESSAGE_TYPE => return payload.byte(at + 2),
            _ => at += 2 + usize::from(payload.byte(at + 1)?),
        }
    }
}
