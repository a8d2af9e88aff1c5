//! What is known of one direction of a flow at one point: a hot line, then what few directions have, then what fewer do.

use super::handful::Handful;
use super::holes::Holes;
use super::latest::Latest;
use super::message::EchoPace;
use crate::packet::detail::TcpOptions;
use std::ops::{Deref, DerefMut};

/// A packet's place: time in the clock of its point, and frame. Twelve bytes, as every flow has several: the time is read by value,
/// since it may stand where no reference to it is allowed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
#[repr(C, packed(4))]
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
    /// The last packet ended a silence of both directions; its length is in [`PairFacts::silence`](super::super::PairFacts::silence).
    pub const AFTER_SILENCE: u16 = 1 << 14;
    /// Duplicate ACKs are being counted, or a repeated head waits for its ACK.
    pub const REPEATING: u16 = 1 << 15;
    /// UDP (which has no holes): a QUIC long header was seen.
    pub const QUIC_LONG: u16 = HOLES;
    /// UDP (which has no window): a payload was seen that cannot be QUIC.
    pub const NOT_QUIC: u16 = WINDOW_CLOSED;

    /// The bits, if the condition holds. What is set for every packet is set by this: a bit that is a constant would be
    /// written as a byte, and the next look at all bits would wait for it.
    #[inline]
    pub const fn when(condition: bool, bits: u16) -> u16 {
        condition as u16 * bits
    }
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
    /// TTL of the first packet.
    pub ttl: u8,
    /// Window scale shift from this direction's SYN.
    pub wscale: u8,
    /// See [`state`]. Not at the start of a word: it would be read together with what follows, and wait for that to be written.
    pub state: u16,
    /// Window field of the last segment.
    pub window: u16,
    /// IPv4 identification of the last packet.
    pub last_ip_id: u16,
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

/// The rare facts of one direction at one point. The first 64 bytes are what packets out of order touch; they need not be one
/// cache line, so that both ends of them are touched ahead. What fewer directions still have is [`Seldom`], and read and written
/// as if it stood here.
#[derive(Clone, Debug, Default)]
#[repr(C)]
#[non_exhaustive]
pub struct TrackMore {
    /// Segments that filled a hole late.
    pub late: u32,
    /// Packets seen at this point only, while the other capture ran.
    pub unmatched: u32,
    /// Sequence ranges not seen here (yet).
    pub holes: Holes,
    /// Ranges whose first copy came here after later ones, between the points; the latest few: a sender repeats them within a
    /// round trip.
    pub overtaken: Latest<(u32, u32), 7>,
    /// Packets seen twice.
    pub duplicates: u32,
    /// Duplicate ACKs in a row, sent by the other end for this direction's data.
    pub duplicate_acks: u32,
    /// Ranges that were acknowledged without having been seen here; the latest few.
    pub missed: Handful<(u32, u32)>,
    /// What is rarer still.
    seldom: Option<Box<Seldom>>,
}

/// Of the rare facts of one direction at one point, those about what was lost, repeated or damaged, or did not move on.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Seldom {
    /// Segments whose bytes had all been seen here before.
    pub retransmissions: u32,
    /// Of the retransmissions, after three duplicate ACKs (RFC 5681).
    pub fast: u32,
    /// Of the retransmissions, of bytes that had been acknowledged here.
    pub spurious: u32,
    /// Checksums that do not verify and are not partial.
    pub wrong: u32,
    /// Keep-alive probes (RFC 9293, section 3.8.4).
    pub keep_alives: u32,
    /// Probes of a closed window.
    pub window_probes: u32,
    /// Times that this direction's sender closed its window.
    pub zero_windows: u32,
    /// ACKs of bytes never seen here.
    pub acked_unseen: u32,
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
    retransmissions: 0,
    fast: 0,
    spurious: 0,
    wrong: 0,
    keep_alives: 0,
    window_probes: 0,
    zero_windows: 0,
    acked_unseen: 0,
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
    pub(super) const NONE: Self = Self {
        late: 0,
        unmatched: 0,
        holes: Holes::NONE,
        overtaken: Latest::NONE,
        duplicates: 0,
        duplicate_acks: 0,
        missed: Handful::NONE,
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
    /// First one.
    pub first: Stamp,
    /// Initial sequence number.
    pub isn: u32,
    /// Maximum segment size.
    pub mss: Option<u16>,
    /// Window scale shift.
    pub window_scale: Option<u8>,
    /// Times it was sent.
    pub times: u8,
    /// SACK permitted, timestamps, and whether it is an answer: one byte, as every connection has four of these.
    named: u8,
}

impl SynOptions {
    const SACK_PERMITTED: u8 = 1 << 0;
    const TIMESTAMPS: u8 = 1 << 1;
    const ANSWER: u8 = 1 << 2;

    /// Those of the first SYN.
    pub(crate) fn new(first: Stamp, isn: u32, answer: bool, options: &TcpOptions) -> Self {
        let named = (u8::from(options.sack_permitted) * Self::SACK_PERMITTED)
            | (u8::from(options.timestamps) * Self::TIMESTAMPS)
            | (u8::from(answer) * Self::ANSWER);
        Self { first, isn, mss: options.mss, window_scale: options.window_scale, times: 0, named }
    }

    /// Whether a SYN was seen.
    pub const fn seen(&self) -> bool {
        self.times > 0
    }

    /// Whether it answers the other end's SYN (it has an ACK).
    pub const fn is_answer(&self) -> bool {
        self.named & Self::ANSWER != 0
    }

    /// SACK permitted.
    pub const fn sack_permitted(&self) -> bool {
        self.named & Self::SACK_PERMITTED != 0
    }

    /// Timestamps.
    pub const fn timestamps(&self) -> bool {
        self.named & Self::TIMESTAMPS != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `malloc` gives is a multiple of 16 bytes, of which it takes 8.
    #[test]
    fn what_many_flows_have_fills_its_box() {
        assert_eq!(size_of::<Stamp>(), 12);
        assert_eq!((size_of::<TrackMore>() + 8) % 16, 0);
        assert_eq!(size_of::<TrackMore>(), 88);
        assert_eq!((size_of::<[[SynOptions; 2]; 2]>() + 8).next_multiple_of(16), 112);
    }
}
