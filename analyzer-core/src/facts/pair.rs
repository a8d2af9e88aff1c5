//! What is known of one flow pair beside its tracks, the rare rest boxed.

use super::ends::{IcmpSeen, Reset, Turn, flipped};
use super::message::DnsFacts;
use super::track::{Stamp, SynOptions, TrackMore};
use crate::point::{Direction, Point};
use std::ops::{Deref, DerefMut};

/// Bits of [`PairFacts::flags`].
pub mod pair_flags {
    /// An IPv4 or IPv6 fragment was seen.
    pub const FRAGMENTS: u8 = 1 << 2;
    /// The flow's number was changed since: its NAT mapping moved to another pair.
    pub const REBOUND: u8 = 1 << 3;
    /// Taken from inside a tunnel.
    pub const TUNNEL: u8 = 1 << 4;
    /// An echo request went out.
    pub const ECHO_OUTBOUND: u8 = 1 << 5;
    /// An echo request came in.
    pub const ECHO_INBOUND: u8 = 1 << 6;
}

/// The facts of a flow pair that are not per packet. The first cache line is what payload of TCP at B touches, the second what
/// datagrams and packets out of order do. What datagrams alone have is [`Talk`]. What most flows never have is [`Rare`], and read
/// and written as if it stood here.
#[derive(Clone, Debug, Default)]
#[repr(C, align(64))]
#[non_exhaustive]
pub struct PairFacts {
    /// The latest payload that went one way, at B.
    pub turn: Turn,
    /// By direction: the segment at B whose ACK is awaited to learn that its size passes (the sequence number that
    /// acknowledges it, its length; 0 for none).
    pub probe: [(u32, u32); 2],
    /// Largest IP packet of a direction that was acknowledged (TCP).
    pub largest_acked: [u32; 2],
    /// Largest IP packet on the wire by the MSS of both SYNs; 0 while none was seen. Larger frames are superframes.
    pub segment_limit: u32,
    /// Serial number; never used twice.
    pub serial: u32,
    /// See [`pair_flags`].
    pub flags: u8,
    /// IP protocol, or 0.
    pub protocol: u8,
    /// Rare facts by direction and point.
    pub more: [[Option<Box<TrackMore>>; 2]; 2],
    /// Rare facts of the pair.
    rare: Option<Box<Rare>>,
    /// What datagrams have.
    talk: Option<Box<Talk>>,
    /// QUIC destination connection id bytes by direction: first four, and packets that differed.
    pub dcid: [(u32, u32); 2],
    /// First packet by direction and point.
    pub first: [[Stamp; 2]; 2],
    /// TCP, by direction: what the entry point had seen when the first segment passed the exit point (sequence number).
    pub seen_before: [u32; 2],
    /// SYN options by direction and point.
    pub syn: Option<Box<[[SynOptions; 2]; 2]>>,
    /// The latest notable silence of both directions, by point, in nanoseconds.
    pub silence: [i64; 2],
    /// Times of the packets that ended these silences.
    pub resumed: [i64; 2],
    /// Longest silence of both directions at B, of a second or more, that ended with a packet of this direction that
    /// crossed: what a NAT entry is known to live through.
    pub survived: [i64; 2],
    /// Silences of outbound at A into which inbound spoke: since when, and the first packet after. The longest few.
    pub pauses: Box<[(i64, Stamp)]>,
}

/// The facts of a flow pair of UDP, by direction and point.
#[derive(Clone, Debug, Default)]
#[repr(C)]
#[non_exhaustive]
pub struct Talk {
    /// The first datagram of the current turn (see [`Track::next`](super::Track::next)).
    pub since: [[Stamp; 2]; 2],
    /// The longest silence that ended, in nanoseconds, of those into which the other direction spoke.
    pub longest_pause: [[i64; 2]; 2],
}

/// What is read of a pair without datagrams.
static NO_TALK: Talk = Talk { since: [[Stamp::NONE; 2]; 2], longest_pause: [[0; 2]; 2] };

/// The facts of a flow pair that most TCP connections do not have.
#[derive(Clone, Debug, Default)]
#[repr(C)]
pub struct Rare {
    /// Resets, in order; at most [`MAX_RESETS`](super::MAX_RESETS).
    pub resets: Vec<Reset>,
    /// Resets in all.
    pub reset_count: u32,
    /// ICMP errors about it, in order; at most [`MAX_ICMP`](super::MAX_ICMP).
    pub icmp: Vec<IcmpSeen>,
    /// ICMP errors in all.
    pub icmp_count: u32,
    /// Of those that `icmp` has no room for: when one said that a packet was too big, by its point's clock, a second apart
    /// at least; at most [`MAX_TOLD`](super::MAX_TOLD). A sender forgets what it learned, and is told again.
    pub told: Vec<(Point, i64)>,
    /// Retransmissions by direction: original lost between the points.
    pub lost_between: [u32; 2],
    /// Bytes of those.
    pub lost_between_bytes: [u64; 2],
    /// Retransmissions by direction: original crossed both points.
    pub lost_beyond: [u32; 2],
    /// Of those, spurious: the bytes had been acknowledged.
    pub lost_beyond_spurious: [u32; 2],
    /// Reports of the receiver that bytes came twice (D-SACK, RFC 2883), by the direction of the data, as
    /// seen at B.
    pub reported_twice: [u32; 2],
    /// DHCP messages by point and type.
    pub dhcp: Option<Box<[[u32; 9]; 2]>>,
    /// DNS questions.
    pub dns: Option<Box<DnsFacts>>,
}

/// What is read of a pair that has nothing rare.
static NOTHING: Rare = Rare {
    resets: Vec::new(),
    reset_count: 0,
    icmp: Vec::new(),
    icmp_count: 0,
    told: Vec::new(),
    lost_between: [0; 2],
    lost_between_bytes: [0; 2],
    lost_beyond: [0; 2],
    lost_beyond_spurious: [0; 2],
    reported_twice: [0; 2],
    dhcp: None,
    dns: None,
};

impl Deref for PairFacts {
    type Target = Rare;

    #[inline]
    fn deref(&self) -> &Rare {
        self.rare.as_deref().unwrap_or(&NOTHING)
    }
}

impl DerefMut for PairFacts {
    #[inline]
    fn deref_mut(&mut self) -> &mut Rare {
        self.rare.get_or_insert_default()
    }
}

impl Rare {
    /// Swaps the directions.
    fn flip(&mut self) {
        for reset in &mut self.resets {
            reset.direction = reset.direction.reverse();
            reset.after.reverse();
            reset.turn.side = flipped(reset.turn.side);
        }
        for error in &mut self.icmp {
            error.direction = error.direction.reverse();
        }
        self.lost_between.reverse();
        self.lost_between_bytes.reverse();
        self.lost_beyond.reverse();
        self.lost_beyond_spurious.reverse();
        self.reported_twice.reverse();
        if let Some(dns) = &mut self.dns {
            dns.flip();
        }
    }
}

impl PairFacts {
    /// The facts of a pair of which nothing is known yet.
    pub fn new(serial: u32, protocol: u8) -> Self {
        Self { serial, protocol, ..Self::default() }
    }

    /// Swaps the directions.
    pub fn flip(&mut self) {
        self.first.reverse();
        self.more.reverse();
        if let Some(syn) = &mut self.syn {
            syn.reverse();
        }
        if let Some(rare) = &mut self.rare {
            rare.flip();
        }
        if let Some(talk) = &mut self.talk {
            talk.since.reverse();
            talk.longest_pause.reverse();
        }
        // Those of the other direction were not kept.
        self.pauses = Box::default();
        self.turn.side = flipped(self.turn.side);
        self.dcid.reverse();
        self.seen_before.reverse();
        self.largest_acked.reverse();
        self.probe.reverse();
        let echo = self.flags & (pair_flags::ECHO_OUTBOUND | pair_flags::ECHO_INBOUND);
        if echo == pair_flags::ECHO_OUTBOUND || echo == pair_flags::ECHO_INBOUND {
            self.flags ^= pair_flags::ECHO_OUTBOUND | pair_flags::ECHO_INBOUND;
        }
        self.survived.reverse();
    }

    /// The rare facts, if there are any: to change what is there without making room for it.
    #[inline]
    pub fn rare_mut(&mut self) -> Option<&mut Rare> {
        self.rare.as_deref_mut()
    }

    /// What datagrams have, all zero where there were none.
    #[inline]
    pub fn talk(&self) -> &Talk {
        self.talk.as_deref().unwrap_or(&NO_TALK)
    }

    /// What datagrams have, made on first use.
    #[inline]
    pub fn talk_mut(&mut self) -> &mut Talk {
        self.talk.get_or_insert_default()
    }

    /// Above this length a frame is a superframe: the MTU that the SYNs imply, an Ethernet MTU before one is known.
    #[inline]
    pub const fn frame_limit(&self) -> u32 {
        const ETHERNET_MTU: u32 = 1500;
        if self.segment_limit == 0 { ETHERNET_MTU } else { self.segment_limit }
    }

    /// The rare facts of a direction at a point, made on first use.
    pub fn more_mut(&mut self, direction: usize, point: usize) -> &mut TrackMore {
        self.more[direction][point].get_or_insert_default()
    }

    /// The rare facts of a direction at a point, all zero where there are none.
    #[inline]
    pub(crate) fn more_or_nothing(&self, direction: usize, point: usize) -> &TrackMore {
        static NOTHING: TrackMore = TrackMore::NONE;
        self.more[direction][point].as_deref().unwrap_or(&NOTHING)
    }

    /// The rare facts of a direction at a point.
    pub fn more(&self, direction: Direction, point: Point) -> Option<&TrackMore> {
        self.more[direction.index()][point.index()].as_deref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn four_lines_of_the_cache_hold_it() {
        assert_eq!(size_of::<PairFacts>(), 256);
        assert_eq!(std::mem::offset_of!(PairFacts, more), 64);
        assert_eq!(std::mem::offset_of!(PairFacts, first), 128);
    }

    #[test]
    fn without_a_syn_an_ethernet_mtu_is_the_limit() {
        let mut facts = PairFacts::default();
        assert_eq!(facts.frame_limit(), 1500);
        facts.segment_limit = 9000;
        assert_eq!(facts.frame_limit(), 9000);
    }
}
