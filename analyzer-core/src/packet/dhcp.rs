//! The header of a DHCPv4 message (RFC 2131, section 2) and its message type (RFC 2132, section 9.6).

use super::detail::Dhcp;
use super::span::Span;

/// Reads the header, if it is there.
#[cold]
pub(super) fn read(payload: Span<'_>) -> Option<Dhcp> {
    Some(Dhcp {
        xid: payload.be32(4)?,
        message: message_type(payload).unwrap_or(0),
        client_mac: u64::from(payload.be16(28)?) << 32 | u64::from(payload.be32(30)?),
    })
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
