//! What is known of one flow pair: a hot line for each direction and point, the rare rest boxed.

use super::handful::Handful;
use super::holes::Holes;
use super::message::{DnsFacts, EchoPace};
use crate::point::{Direction, Point};
use std::ops::{Deref, DerefMut};

/// A packet's place: time in the clock of its point, and frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stamp {
    /// Time in the clock of the point.
    pub time: i64,
    /// Frame, 1-based; 0 for none.
    pub frame: u32,
}

impl Stamp {
    /// No packet's.
    pub(super) const NONE: Self = Self { time: 0, frame: 0 };
}

/// Bits of [`Track::state`].
pub mod state {
    /// `next` is known.
    pub const SEQ: u16 = 1 << 0;
    /// `acked` is known.
    pub const ACK: u16 = 1 << 1;
    /// A SYN was seen.
    pub const SYN: u16 = 1 << 2;
    /// A FIN was seen.
    pub const FIN: u16 = 1 << 3;
    /// An RST was seen.
    pub const RST: u16 = 1 << 4;
    /// Payload was seen.
    pub const DATA: u16 = 1 << 5;
    /// There are holes in what was seen; they are in [`TrackMore::holes`](super::TrackMore::holes).
    pub const HOLES: u16 = 1 << 6;
    /// A packet with a partial checksum was seen.
    pub const PARTIAL: u16 = 1 << 7;
    /// A packet with a right checksum was seen.
    pub const RIGHT: u16 = 1 << 8;
    /// The last window was zero.
    pub const WINDOW_CLOSED: u16 = 1 << 9;
    /// `wscale` is known.
    pub const WSCALE: u16 = 1 << 10;
    /// Payload larger than an Ethernet MTU was seen.
    pub const SUPERFRAME: u16 = 1 << 11;
    /// A packet was found at the other point under its own IP identification.
    pub const ID_KEPT: u16 = 1 << 12;
    /// The pair has resets or ICMP errors: every packet may matter to them.
    pub const ALERT: u16 = 1 << 13;
    /// The last packet ended a silence of both directions; its length is in [`PairFacts::silence`](super::PairFacts::silence).
    pub const AFTER_SILENCE: u16 = 1 << 14;
    /// Duplicate ACKs are being counted, or a repeated head waits for its ACK.
    pub const REPEATING: u16 = 1 << 15;
    /// UDP (which has no holes): a QUIC long header was seen.
    pub const QUIC_LONG: u16 = HOLES;
    /// UDP (which has no window): a payload was seen that cannot be QUIC.
    pub const NOT_QUIC: u16 = WINDOW_CLOSED;
}

/// No node.
pub const NO_NODE: u32 = u32::MAX;

/// One direction of a flow at one point: the part that every packet touches, one cache line.
#[derive(Clone, Debug)]
#[repr(C, align(64))]
#[non_exhaustive]
pub struct Track {
    /// Time of the last packet, in the point's clock; 0 while there was none.
    pub last_time: i64,
    /// Bytes of the IP packets.
    pub bytes: u64,
    /// Packets.
    pub packets: u32,
    /// Packets found at the other point, whole or in parts.
    pub matched: u32,
    /// Frame of the last packet.
    pub last_frame: u32,
    /// TCP: the next sequence number, one past the highest seen (SND.NXT). UDP: packets before the current turn, the
    /// datagrams since the other direction last spoke.
    pub next: u32,
    /// TCP: the highest acknowledgment of this direction's data (SND.UNA), as seen at this point.
    pub acked: u32,
    /// Sequence number of the last packet.
    pub last_seq: u32,
    /// First and last of the packets that wait for their copy at the other point.
    pub pending: (u32, u32),
    /// The waiting packet after the latest match: where the next match is expected.
    pub cursor: u32,
    /// Number (in the other point's track) of the latest packet that was matched: goes down when packets change order.
    pub matched_order: u32,
    /// See [`state`].
    pub state: u16,
    /// Window field of the last segment.
    pub window: u16,
    /// IPv4 identification of the last packet.
    pub last_ip_id: u16,
    /// TTL of the first packet.
    pub ttl: u8,
    /// Window scale shift from this direction's SYN.
    pub wscale: u8,
}

impl Default for Track {
    fn default() -> Self {
        Self {
            last_time: 0,
            bytes: 0,
            packets: 0,
            matched: 0,
            last_frame: 0,
            next: 0,
            acked: 0,
            last_seq: 0,
            pending: (NO_NODE, NO_NODE),
            cursor: NO_NODE,
            matched_order: 0,
            state: 0,
            window: 0,
            last_ip_id: 0,
            ttl: 0,
            wscale: 0,
        }
    }
}

impl Track {
    /// Whether any of the bits are set.
    #[inline]
    pub const fn has(&self, bits: u16) -> bool {
        self.state & bits != 0
    }

    /// Last packet.
    pub fn last(&self) -> Option<Stamp> {
        (self.packets > 0).then_some(Stamp { time: self.last_time, frame: self.last_frame })
    }
}

/// Consecutive packets of one direction that were seen at this point only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Run {
    /// How many.
    pub count: u32,
    /// First of them.
    pub first: Stamp,
    /// Last of them.
    pub last: Stamp,
    /// The packet of this direction before the first; time 0 when there was none.
    pub before: i64,
    /// Silence of both directions at this point before the first, in nanoseconds.
    pub idle: i64,
    /// Number of the first in the track.
    pub first_order: u32,
    /// Largest IP packet among them.
    pub largest: u32,
    /// Smallest IP packet among them.
    pub smallest: u32,
}

impl Run {
    /// No packets.
    const NONE: Self = Self {
        count: 0,
        first: Stamp::NONE,
        last: Stamp::NONE,
        before: 0,
        idle: 0,
        first_order: 0,
        largest: 0,
        smallest: 0,
    };
}

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

/// The rare facts of one direction at one point. The first cache line is what packets out of order touch. What fewer
/// directions still have is [`Seldom`], and read and written as if it stood here.
#[derive(Clone, Debug, Default)]
#[repr(C)]
#[non_exhaustive]
pub struct TrackMore {
    /// Sequence ranges not seen here (yet).
    pub holes: Holes,
    /// Ranges whose first copy came here after later ones, between the points; the latest few.
    pub overtaken: Handful<(u32, u32)>,
    /// Segments that filled a hole late.
    pub late: u32,
    /// Segments whose bytes had all been seen here before.
    pub retransmissions: u32,
    /// Duplicate ACKs in a row, sent by the other end for this direction's data.
    pub duplicate_acks: u32,
    /// Packets seen twice.
    pub duplicates: u32,
    /// Ranges that were acknowledged without having been seen here; the latest few.
    pub missed: Handful<(u32, u32)>,
    /// Packets seen at this point only, while the other capture ran.
    pub unmatched: u32,
    /// Of the retransmissions, after three duplicate ACKs (RFC 5681).
    pub fast: u32,
    /// Of the retransmissions, of bytes that had been acknowledged here.
    pub spurious: u32,
    /// Keep-alive probes (RFC 9293, section 3.8.4).
    pub keep_alives: u32,
    /// Probes of a closed window.
    pub window_probes: u32,
    /// Times that this direction's sender closed its window.
    pub zero_windows: u32,
    /// ACKs of bytes never seen here.
    pub acked_unseen: u32,
    /// Checksums that do not verify and are not partial.
    pub wrong: u32,
    /// What is rarer still.
    seldom: Option<Box<Seldom>>,
}

/// Of the rare facts of one direction at one point, those about what was lost or repeated.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Seldom {
    /// Packets seen at this point only, outside the time that both captures cover.
    pub edge: u32,
    /// Of the unmatched, resets and ICMP errors: hosts on the way make them.
    pub made: u32,
    /// Of the unmatched, the ones that the receiver acknowledged: the other capture missed them.
    pub acked_unmatched: u32,
    /// The unmatched that neither hosts on the way made nor the receiver acknowledged, by size (see
    /// [`size_class`](super::tally::size_class)).
    pub lost_sizes: [u32; 5],
    /// The current run of packets seen at this point only (it is over when a later packet matched).
    pub run: Run,
    /// The longest run before it.
    pub longest: Run,
    /// Retransmissions of the same head: sequence number, times sent, IP length, first and last time, frames.
    pub head: Head,
    /// The head that was retransmitted most often.
    pub worst_head: Head,
    /// ICMP echo: what came through after the first number was missing.
    pub echo: EchoPace,
    /// Silences of both directions after which the same bytes came several times at once, as no sender sends them: what had
    /// been held back. First repetition, and the silence before it in nanoseconds; the first few.
    pub held: Vec<(Stamp, i64)>,
}

/// What is read of a direction that has nothing of it.
static NOTHING_SELDOM: Seldom = Seldom {
    edge: 0,
    made: 0,
    acked_unmatched: 0,
    lost_sizes: [0; 5],
    run: Run::NONE,
    longest: Run::NONE,
    head: Head::NONE,
    worst_head: Head::NONE,
    echo: EchoPace::NONE,
    held: Vec::new(),
};

impl Deref for TrackMore {
    type Target = Seldom;

    #[inline]
    fn deref(&self) -> &Seldom {
        self.seldom.as_deref().unwrap_or(&NOTHING_SELDOM)
    }
}

impl DerefMut for TrackMore {
    #[inline]
    fn deref_mut(&mut self) -> &mut Seldom {
        self.seldom.get_or_insert_default()
    }
}

impl TrackMore {
    /// Nothing rare.
    const NONE: Self = Self {
        holes: Holes::NONE,
        overtaken: Handful::NONE,
        late: 0,
        retransmissions: 0,
        duplicate_acks: 0,
        duplicates: 0,
        missed: Handful::NONE,
        unmatched: 0,
        fast: 0,
        spurious: 0,
        keep_alives: 0,
        window_probes: 0,
        zero_windows: 0,
        acked_unseen: 0,
        wrong: 0,
        seldom: None,
    };

    /// A repeated head was acknowledged: `largest` is the largest packet known to have passed.
    #[cold]
    pub fn settle_head(&mut self, largest: &mut u32) {
        let Some(seldom) = &mut self.seldom else { return };
        let head = std::mem::take(&mut seldom.head);
        if head.shrunk {
            return;
        }
        *largest = (*largest).max(head.size);
        if seldom.worst_head.seq == head.seq && seldom.worst_head.first == head.first {
            seldom.worst_head.passed = true;
        }
    }
}

/// A range that its sender repeats.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Head {
    /// Its first sequence number.
    pub seq: u32,
    /// Times it was repeated without becoming smaller.
    pub times: u32,
    /// Length of the IP packet on the wire.
    pub size: u32,
    /// Whether the sender went on with smaller packets: it has learned, or guessed, that the size was the trouble.
    pub shrunk: bool,
    /// Whether it was acknowledged in its full size.
    pub passed: bool,
    /// First repetition.
    pub first: Stamp,
    /// Last repetition.
    pub last: Stamp,
}

impl Head {
    /// Nothing repeated.
    const NONE: Self =
        Self { seq: 0, times: 0, size: 0, shrunk: false, passed: false, first: Stamp::NONE, last: Stamp::NONE };
}

/// The options of a SYN as seen at one point.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SynOptions {
    /// Whether a SYN was seen.
    pub seen: bool,
    /// Maximum segment size.
    pub mss: Option<u16>,
    /// Window scale shift.
    pub window_scale: Option<u8>,
    /// SACK permitted.
    pub sack_permitted: bool,
    /// Timestamps.
    pub timestamps: bool,
    /// Times it was sent.
    pub times: u8,
    /// First one.
    pub first: Stamp,
    /// Initial sequence number.
    pub isn: u32,
}

/// Most resets kept for one flow.
pub const MAX_RESETS: usize = 6;
/// Most ICMP errors kept for one flow.
pub const MAX_ICMP: usize = 8;

/// Payload that went one way, with none the other way in between.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
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
/// datagrams and packets out of order do. What most flows never have is [`Rare`], and read and written as if it stood here.
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
    /// See [`pair_flags`].
    pub flags: u8,
    /// IP protocol, or 0.
    pub protocol: u8,
    /// Rare facts by direction and point.
    pub more: [[Option<Box<TrackMore>>; 2]; 2],
    /// Rare facts of the pair.
    rare: Option<Box<Rare>>,
    /// SYN options by direction and point.
    pub syn: Option<Box<[[SynOptions; 2]; 2]>>,
    /// QUIC destination connection id bytes by direction: first four, and packets that differed.
    pub dcid: [(u32, u32); 2],
    /// The latest notable silence of both directions, by point, in nanoseconds.
    pub silence: [i64; 2],
    /// Times of the packets that ended these silences.
    pub resumed: [i64; 2],
    /// First packet by direction and point.
    pub first: [[Stamp; 2]; 2],
    /// TCP, by direction: what the entry point had seen when the first segment passed the exit point (sequence number).
    pub seen_before: [u32; 2],
    /// Longest silence of both directions at B, of a second or more, that ended with a packet of this direction that
    /// crossed: what a NAT entry is known to live through.
    pub survived: [i64; 2],
    /// Serial number; never used twice.
    pub serial: u32,
}

/// The facts of a flow pair that most TCP connections do not have.
#[derive(Clone, Debug, Default)]
#[repr(C)]
pub struct Rare {
    /// UDP, by direction and point: the first datagram of the current turn (see [`Track::next`]).
    pub talking_since: [[Stamp; 2]; 2],
    /// UDP, by direction and point: the longest silence that ended, in nanoseconds, of those into which the other direction spoke.
    pub longest_pause: [[i64; 2]; 2],
    /// Silences of outbound at A into which inbound spoke: since when, and the first packet after. The longest few.
    pub pauses: Vec<(i64, Stamp)>,
    /// Resets, in order; at most [`MAX_RESETS`].
    pub resets: Vec<Reset>,
    /// Resets in all.
    pub reset_count: u32,
    /// ICMP errors about it, in order; at most [`MAX_ICMP`].
    pub icmp: Vec<IcmpSeen>,
    /// ICMP errors in all.
    pub icmp_count: u32,
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
    talking_since: [[Stamp::NONE; 2]; 2],
    longest_pause: [[0; 2]; 2],
    pauses: Vec::new(),
    resets: Vec::new(),
    reset_count: 0,
    icmp: Vec::new(),
    icmp_count: 0,
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
        self.talking_since.reverse();
        self.longest_pause.reverse();
        // Those of the other direction were not kept.
        self.pauses.clear();
        if let Some(dns) = &mut self.dns {
            dns.flip();
        }
    }
}

impl PairFacts {
    /// The facts of a pair of which nothing is known yet.
    pub fn new(serial: u32, protocol: u8) -> Self {
        Self { protocol, serial, ..Self::default() }
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

/// The side of a turn once the directions are swapped.
const fn flipped(side: u8) -> u8 {
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

    #[test]
    fn without_a_syn_an_ethernet_mtu_is_the_limit() {
        let mut facts = PairFacts::default();
        assert_eq!(facts.frame_limit(), 1500);
        facts.segment_limit = 9000;
        assert_eq!(facts.frame_limit(), 9000);
    }
}
