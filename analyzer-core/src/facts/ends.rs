//! What ends a flow or complains of it: resets and ICMP errors, and what became of them.

use super::track::Stamp;
use crate::point::{Direction, Point};

/// What became of a packet at the other point.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fate {
    /// Its copy is still awaited.
    #[default]
    Open,
    /// It was found there.
    Crossed,
    /// It was not.
    Unmatched,
}

/// Most resets kept for one flow.
pub const MAX_RESETS: usize = 6;
/// Most ICMP errors kept for one flow.
pub const MAX_ICMP: usize = 8;
/// Most further moments at which a flow was told that a packet was too big: ten hours of them at one in ten minutes
/// (`mtu_expires`).
pub const MAX_TOLD: usize = 64;

/// Payload that went one way, with none the other way in between.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C, packed(4))]
#[non_exhaustive]
pub struct Turn {
    /// Time of its first packet.
    pub start: i64,
    /// Time of its last packet.
    pub last: i64,
    /// Bytes of payload.
    pub bytes: u32,
    /// Pauses in it of at least 5 ms.
    pub pauses: u16,
    /// Turns of the conversation before it.
    pub earlier: u16,
    /// 1 for outbound, 2 for inbound, 0 while there was none.
    pub side: u8,
}

/// A pause within a transfer: longer than the spacing of the segments of one write.
pub(super) const PAUSE: i64 = 5 * crate::time::MILLISECOND;

impl Turn {
    /// Takes a packet with payload into account.
    #[inline]
    pub fn observe(&mut self, direction: usize, time: i64, bytes: u32) {
        let side = direction as u8 + 1;
        if self.side != side {
            let earlier = self.earlier.saturating_add(u16::from(self.side != 0));
            *self = Self { start: time, last: time, bytes, pauses: 0, earlier, side };
            return;
        }
        self.bytes = self.bytes.saturating_add(bytes);
        self.pauses = self.pauses.saturating_add(u16::from(time - self.last >= PAUSE));
        self.last = time;
    }

    /// Which way it went.
    pub fn direction(&self) -> Option<Direction> {
        match self.side {
            1 => Some(Direction::Outbound),
            2 => Some(Direction::Inbound),
            _ => None,
        }
    }
}

/// A reset, and how things stood when it came.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Reset {
    /// Where it was seen first.
    pub point: Point,
    /// Which way it went.
    pub direction: Direction,
    /// When, and its frame.
    pub at: Stamp,
    /// Its copy at the other point.
    pub copy: Option<Stamp>,
    /// Whether it was found at the other point.
    pub fate: Fate,
    /// TTL.
    pub ttl: u8,
    /// TTL of this direction's other packets at this point; 0 when there were none.
    pub usual_ttl: u8,
    /// IPv4 identification.
    pub ip_id: u16,
    /// Window.
    pub window: u16,
    /// TCP flags.
    pub flags: u8,
    /// Transport checksum is partial.
    pub partial: bool,
    /// Sequence number.
    pub seq: u32,
    /// Acknowledgment number.
    pub ack: u32,
    /// `next` of its direction at this point when it came (RCV.NXT of its receiver, if nothing was lost).
    pub expected: Option<u32>,
    /// State bits of its own direction at this point before it.
    pub own_state: u16,
    /// State bits of the other direction at this point.
    pub other_state: u16,
    /// `next` of the other direction at this point.
    pub other_next: Option<u32>,
    /// Bytes of its own direction that were not acknowledged.
    pub own_outstanding: u32,
    /// Bytes of the other direction that were not acknowledged.
    pub other_outstanding: u32,
    /// The last packet of the other direction before it: what it answers.
    pub offender: Stamp,
    /// Whether the offender was found at the other point.
    pub offender_fate: Fate,
    /// Silence of both directions before the offender, in nanoseconds.
    pub idle: i64,
    /// Where the offender started, and how far beyond the highest byte seen before it, in bytes (0 when it was in line).
    pub offender_seq: u32,
    /// See [`Reset::offender_seq`].
    pub offender_jump: u32,
    /// The window that the offender's receiver had advertised, in bytes.
    pub offender_window: u32,
    /// The payload that came last before it at B.
    pub turn: Turn,
    /// ACKs by its receiver of bytes beyond its sequence number, after it: the connection lives on.
    pub acked_after: u32,
    /// Packets of its receiver, other than resets, that crossed more than a second after it: the connection lives on.
    pub crossed_late: u32,
    /// Whether the offender acknowledged bytes that this point had never seen.
    pub offender_acks_unseen: bool,
    /// Packets that came after it at this point, by direction.
    pub after: [u32; 2],
    /// Of those, payload from its own direction at or after its sequence number: the sender is alive.
    pub data_after: u32,
    /// First packet of the other direction after it.
    pub answered: Stamp,
}

/// An ICMP error about the flow.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct IcmpSeen {
    /// Where it was seen first.
    pub point: Point,
    /// Which way it went.
    pub direction: Direction,
    /// When, and its frame.
    pub at: Stamp,
    /// Whether it was found at the other point.
    pub fate: Fate,
    /// Who sent it (IPv4 mapped).
    pub reporter: u128,
    /// ICMP type and code.
    pub kind: (u8, u8),
    /// Next-hop MTU.
    pub mtu: u32,
    /// TTL.
    pub ttl: u8,
    /// IPv6.
    pub v6: bool,
    /// Length of the packet that it quotes.
    pub quoted_len: u32,
    /// TCP sequence number of that packet.
    pub quoted_seq: u32,
    /// Packets of the quoted direction larger than the MTU that came well after it, at this point: none of those that were
    /// under way when it was sent.
    pub larger_after: u32,
    /// Packets of the quoted direction within the MTU that came well after it.
    pub smaller_after: u32,
    /// First of the larger ones.
    pub first_larger: Stamp,
    /// Last of them.
    pub last_larger: Stamp,
}

impl IcmpSeen {
    /// Whether it says that a packet was too big for the next link (RFC 792 and 1191, RFC 4443).
    pub const fn too_big(&self) -> bool {
        matches!((self.v6, self.kind), (false, (3, 4)) | (true, (2, _)))
    }

    /// The largest packet that passes, as far as it tells: routers older than RFC 1191 name no MTU.
    pub const fn limit(&self) -> u32 {
        if self.mtu != 0 { self.mtu } else { self.quoted_len.saturating_sub(1) }
    }
}

/// The side of a turn once the directions are swapped.
pub(super) const fn flipped(side: u8) -> u8 {
    [0, 2, 1][side as usize % 3]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(v6: bool, kind: (u8, u8), mtu: u32) -> IcmpSeen {
        IcmpSeen {
            point: Point::B,
            direction: Direction::Inbound,
            at: Stamp::default(),
            fate: Fate::Open,
            reporter: 0,
            kind,
            mtu,
            ttl: 64,
            v6,
            quoted_len: 1500,
            quoted_seq: 0,
            larger_after: 0,
            smaller_after: 0,
            first_larger: Stamp::default(),
            last_larger: Stamp::default(),
        }
    }

    #[test]
    fn an_error_without_an_mtu_still_says_that_the_quoted_size_was_too_much() {
        assert_eq!(error(false, (3, 4), 1400).limit(), 1400);
        assert_eq!(error(false, (3, 4), 0).limit(), 1499);
    }

    #[test]
    fn too_big_has_a_number_in_each_version() {
        assert!(error(false, (3, 4), 1400).too_big());
        assert!(error(true, (2, 0), 1400).too_big());
        assert!(!error(false, (3, 3), 0).too_big());
        assert!(!error(true, (3, 4), 0).too_big());
    }
}
