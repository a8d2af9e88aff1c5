//! The matcher: for each flow pair, which packets and byte ranges of A stand at B.
//!
//! Rows of both points come merged by time. A row looks for its copy among the packets of the other point that still
//! wait for theirs; what it does not find waits itself, for [`WAIT`]. TCP payload is matched by byte range, so that a
//! superframe equals its segments; all else by a content key. Among equals the IP identification decides, which tells a
//! retransmission (new id) from a copy (same id).
//!
//! The lists that packets wait in are threaded through one slab. Each list has a cursor, the place after the latest
//! match: packets cross in order nearly always, so the next match stands right there, however many lost ones wait
//! before it.
//!
//! - here: the shard, and what a packet changes in its flow's facts whether or not its copy comes
//! - `search`: where the copy may be
//! - `found`: what a match means
//! - `waiting`: the lists, and how the waiting ends
//! - `notes`: what is rare

mod found;
mod notes;
mod search;
mod waiting;

use crate::align::clock::{Coarse, GUARD, Overlap};
use crate::facts::{
    Delays, Event, EventKind, Events, PairFacts, Passing, Room, Stamp, Tally, Track, pair_flags, state,
};
use crate::flow::tcp::{COPY_DISTANCE, Class};
use crate::flow::{SHARDS, USUAL_FLOWS, tcp};
use crate::packet::row::{bits, tcp_flags};
use crate::packet::{Checksum, Detail, Kind, Row};
use crate::prefetch::prefetch;
use crate::time::{EARLIEST, LATEST, MILLISECOND, SECOND};
use notes::{
    after_reset, captured_twice, note_dns, note_echo, note_icmp, note_larger, note_largest, note_options, note_pause,
    note_reset, wrong_layer,
};
use waiting::Node;

/// How long a packet waits for its copy. Queues of a shaped uplink hold packets for a second or more.
pub const WAIT: i64 = 3 * SECOND;
/// Shortest silence of one direction of a flow that is remembered, if the other direction spoke well into it.
const MIN_PAUSE: i64 = 250 * MILLISECOND;
/// Shortest silence of both directions that is remembered for what follows it.
const NOTABLE_SILENCE: i64 = 100 * MILLISECOND;
/// Rows that are looked ahead for at once.
const AHEAD: usize = 32;
/// Payload above this length on the wire is a superframe (an Ethernet MTU and its headers).
const ETHERNET_MTU: u32 = 1500;
/// Packets that are remembered in a shard to tell those that come again: some milliseconds of a busy link.
const RECENT: usize = 1024;
/// Upper half of an entry of [`Shard::recent`].
const HASH: u64 = !(u32::MAX as u64);
/// No node.
const NONE: u32 = crate::facts::NO_NODE;

/// The state of one shard of the flow pairs.
#[derive(Debug)]
pub struct Shard {
    /// Hot facts: direction, then point.
    pub tracks: Vec<[[Track; 2]; 2]>,
    /// Cold facts of the same slots.
    pub facts: Vec<PairFacts>,
    /// Free slots.
    free: Vec<u32>,
    nodes: Vec<Node>,
    free_node: Option<u32>,
    waiting: usize,
    next_sweep: Option<i64>,
    /// B's clock against A's, as far as it is known now.
    coarse: Coarse,
    /// The time, on A's clock, up to which each capture has been read.
    read_to: [i64; 2],
    /// What of the other capture's time each capture covers, as far as it is known now.
    overlap: Overlap,
    /// Rare events.
    pub events: Events,
    /// Counters; what every packet counts into is still in `passing` until the [end](Self::finish).
    pub tally: Tally,
    passing: Passing,
    /// Delays over time, for the clock.
    pub delays: Delays,
    /// What matched lately at the point that it passed last: hash of the packet and its flow, and in the lower half the
    /// frame. Tells a packet that comes again.
    recent: Vec<u64>,
    /// Room for the search of ranges.
    parts: search::Parts,
    /// Most packets that wait; beyond it they wait for less.
    max_waiting: usize,
    /// The time, on A's clock, up to which both captures have been read.
    now: i64,
    /// What has waited for less may have its copy under way: it is not lost when it has to go.
    least_wait: i64,
    /// Packets given up so early that their copy may have been under way.
    pub hurried: u64,
    /// Slots of connections that ended in this window, with the time on A's clock.
    pub closed: Vec<(u32, i64)>,
    /// Frames of A and B that matched in this window, if anybody wants to know.
    pub matches: Option<Vec<[u32; 2]>>,
}

/// The rows of one shard in one window.
#[derive(Clone, Copy, Debug)]
pub struct Window<'a> {
    /// Rows of A and B in file order.
    pub rows: [&'a [Row]; 2],
    /// What their `detail` points at.
    pub details: [&'a [Detail]; 2],
    /// B's clock minus A's, for the merge.
    pub coarse: Coarse,
    /// The time, on A's clock, up to which each capture has been read.
    pub read_to: [i64; 2],
    /// What of the other capture's time each capture covers.
    pub overlap: &'a Overlap,
}

/// What a row's match needs to know beside the row.
#[derive(Clone, Copy)]
struct Seen {
    /// Its time on A's clock.
    now: i64,
    slot: u32,
    direction: usize,
    point: usize,
    class: Class,
    order: u32,
    bytes_before: u64,
    before: i64,
    idle: i64,
    /// Frame of the packet right before it that is the same one; 0 for none.
    twin: u32,
    /// Its identification stood some packets before it.
    older: bool,
}

impl Default for Shard {
    fn default() -> Self {
        Self {
            tracks: Vec::with_capacity(USUAL_FLOWS / SHARDS),
            facts: Vec::with_capacity(USUAL_FLOWS / SHARDS),
            free: Vec::new(),
            nodes: Vec::new(),
            free_node: None,
            waiting: 0,
            next_sweep: None,
            coarse: Coarse::default(),
            read_to: [0; 2],
            overlap: Overlap::default(),
            events: Events::default(),
            tally: Tally::default(),
            passing: Passing::default(),
            delays: Delays::default(),
            recent: Vec::new(),
            parts: search::Parts::default(),
            max_waiting: usize::MAX,
            now: i64::MIN,
            least_wait: GUARD,
            hurried: 0,
            closed: Vec::new(),
            matches: None,
        }
    }
}

impl Shard {
    /// A shard that keeps no more than there is room for.
    pub fn new(room: &Room) -> Self {
        Self { max_waiting: (room.waiting / SHARDS).max(256), ..Self::default() }
    }

    /// Opens a slot for a new pair.
    pub fn open(&mut self, serial: u32, protocol: u8) -> u32 {
        let facts = PairFacts::new(serial, protocol);
        if let Some(slot) = self.free.pop() {
            self.tracks[slot as usize] = Default::default();
            self.facts[slot as usize] = facts;
            slot
        } else {
            self.tracks.push(Default::default());
            self.facts.push(facts);
            (self.facts.len() - 1) as u32
        }
    }

    /// Swaps the directions of a pair that had been taken the wrong way round.
    pub fn flip(&mut self, slot: u32) {
        for point in 0..2 {
            for direction in 0..2 {
                let mut node = self.tracks[slot as usize][direction][point].pending.0;
                while node != NONE {
                    self.nodes[node as usize].place ^= 2;
                    node = self.nodes[node as usize].next;
                }
            }
        }
        self.tracks[slot as usize].reverse();
        self.facts[slot as usize].flip();
    }

    /// Gives a slot back. Its waiting packets are concluded first.
    pub fn close(&mut self, slot: u32, overlap: &Overlap) -> ([[Track; 2]; 2], PairFacts) {
        for place in 0..4 {
            let (direction, point) = (place >> 1, place & 1);
            let mut node = self.tracks[slot as usize][direction][point].pending.0;
            while node != NONE {
                let next = self.nodes[node as usize].next;
                self.conclude(node, overlap);
                node = next;
            }
        }
        self.free.push(slot);
        (std::mem::take(&mut self.tracks[slot as usize]), std::mem::take(&mut self.facts[slot as usize]))
    }

    /// Takes a window's rows, in the order of their times on A's clock.
    #[inline(never)]
    pub fn run(&mut self, window: &Window<'_>) {
        self.coarse = window.coarse;
        self.read_to = window.read_to;
        self.overlap = *window.overlap;
        let horizon = window.read_to[0].min(window.read_to[1]);
        self.now = horizon;
        let [mut a, mut b] = window.rows;
        let on_a = |b: &[Row]| b.first().map_or(i64::MAX, |row| window.coarse.to_a(row.time));
        let mut first_b = on_a(b);
        // Rows of each point that may be taken before the next look ahead.
        let mut ready = [0; 2];
        loop {
            match (a.split_first(), b.split_first()) {
                (Some((row, rest)), _) if row.time <= first_b => {
                    if ready[0] == 0 {
                        ready[0] = self.look_ahead(0, a, a.len() == window.rows[0].len());
                    }
                    ready[0] -= 1;
                    a = rest;
                    self.row::<0>(row, window, row.time);
                }
                (_, Some((row, rest))) => {
                    if ready[1] == 0 {
                        ready[1] = self.look_ahead(1, b, b.len() == window.rows[1].len());
                    }
                    ready[1] -= 1;
                    b = rest;
                    self.row::<1>(row, window, first_b);
                    first_b = on_a(b);
                }
                (_, None) => break,
            }
        }
        // At the end of both captures what still waits tells which of them ended first, before it is concluded.
        if horizon < i64::MAX && self.next_sweep.is_none_or(|sweep| horizon >= sweep) {
            self.sweep(horizon, window.overlap);
        }
    }

    /// Asks for what the next rows of a point will need, so that the cache misses overlap with one another and with the work on
    /// the rows before: the rare facts of the next few, whose places their pairs tell; the pairs of those behind them; and the
    /// rows behind those themselves. `first`: these are the first of a window, for whose pairs nobody has asked yet. Returns
    /// how many rows may be taken before the next look.
    #[inline(never)]
    fn look_ahead(&self, point: usize, rows: &[Row], first: bool) -> usize {
        let (next, behind) = rows.split_at(rows.len().min(AHEAD));
        let (pairs, behind) = behind.split_at(behind.len().min(AHEAD));
        behind.iter().take(AHEAD).for_each(Row::prefetch);
        let unasked = if first { next } else { &[] };
        for row in unasked.iter().chain(pairs) {
            let slot = (row.flow >> 1) as usize;
            let (tracks, facts) = (&self.tracks[slot], &self.facts[slot]);
            let direction = (row.flow & 1) as usize;
            prefetch(&tracks[direction][0]);
            prefetch(&tracks[direction][1]);
            prefetch(&tracks[1 - direction][point]);
            // What TCP's payload asks for, and what datagrams and packets out of order do.
            prefetch(facts);
            prefetch(&facts.more);
        }
        for row in next {
            let facts = &self.facts[(row.flow >> 1) as usize];
            let more = facts.more_or_nothing((row.flow & 1) as usize, point);
            prefetch(&more.late);
            prefetch(&more.duplicate_acks);
            prefetch(facts.talk());
        }
        next.len()
    }

    /// A time of a point (0 for A, 1 for B) on A's clock.
    #[inline]
    fn on_a(&self, point: u32, time: i64) -> i64 {
        self.coarse.on_a(point as usize, time)
    }

    /// One row of a point (0 for A, 1 for B: known when this is compiled, as nearly every step depends on it). `now` is its
    /// time on A's clock.
    #[inline(never)]
    fn row<const POINT: usize>(&mut self, row: &Row, window: &Window<'_>, now: i64) {
        let point = POINT;
        if self.waiting >= self.max_waiting {
            self.sweep(now, window.overlap);
        }
        let (slot, direction) = (row.flow >> 1, (row.flow & 1) as usize);
        let detail = (row.detail != 0).then(|| window.details[point].get(row.detail as usize - 1)).flatten();
        let facts = &mut self.facts[slot as usize];
        // Found by arithmetic: which way a packet goes is a coin's toss to the branch predictor.
        let Ok([ahead, back]) = self.tracks[slot as usize].get_disjoint_mut([direction, 1 - direction]) else { return };
        let [at_a, at_b] = ahead;
        let (own, other) = if point == 0 { (at_a, at_b) } else { (at_b, at_a) };
        let reverse = &mut back[point];

        self.passing.add(direction, point, row.kind, row.l4_checksum, row.ip_len);
        if row.ip_len > ETHERNET_MTU && row.ip_len > facts.frame_limit() {
            self.tally.superframes[direction][point] += 1;
            if !own.has(state::SUPERFRAME) {
                own.state |= state::SUPERFRAME;
                self.tally.first_superframe[direction][point].get_or_insert(Stamp { time: row.time, frame: row.frame });
            }
        }
        if own.packets == 0 {
            facts.first[direction][point] = Stamp { time: row.time, frame: row.frame };
            own.ttl = row.ttl;
            if point != direction {
                facts.seen_before[direction] = other.next;
            }
        }
        let last_any = match (own.packets, reverse.packets) {
            (0, 0) => row.time,
            (0, _) => reverse.last_time,
            (_, 0) => own.last_time,
            _ => own.last_time.max(reverse.last_time),
        };
        // A datagram has no number of its own, so the head of its payload stands in for it.
        let number = if row.kind == Kind::Udp { row.head as u32 } else { row.seq };
        let twin = own.packets > 0 && number == own.last_seq && row.ip_id == own.last_ip_id && captured_twice(row, own);
        let mut seen = Seen {
            now,
            slot,
            direction,
            point,
            class: Class::New,
            order: own.packets,
            bytes_before: own.bytes,
            before: own.last_time,
            idle: (row.time - last_any).max(0),
            twin: if twin { own.last_frame } else { 0 },
            older: own.packets > 0 && (1..=COPY_DISTANCE).contains(&own.last_ip_id.wrapping_sub(row.ip_id)),
        };
        if row.time - own.last_time >= MIN_PAUSE {
            note_pause(facts, direction, point, own, reverse, row);
        }

        let mut alert = false;
        let wrong = wrong_layer(row, facts);
        if row.l4_checksum == Checksum::Partial && !own.has(state::PARTIAL) {
            own.state |= state::PARTIAL;
            let first = &mut self.tally.first_partial[direction][point];
            first.get_or_insert(Stamp { time: row.time, frame: row.frame });
        }
        own.state |= state::when(row.l4_checksum == Checksum::Right, state::RIGHT);
        if wrong != 0 {
            facts.more_mut(direction, point).wrong += 1;
        }
        match row.kind {
            Kind::Tcp => {
                if own.has(state::ALERT) {
                    after_reset(facts, row, direction, point);
                }
                if row.is(tcp_flags::RST) && !twin {
                    note_reset(facts, row, own, reverse, &seen);
                    alert = true;
                }
                if wrong == 0 {
                    let repeated = own.has(state::WINDOW_CLOSED);
                    let over = own.state & (state::FIN | state::RST);
                    seen.class = tcp::observe(row, own, reverse, facts, direction, point);
                    if over != own.state & (state::FIN | state::RST)
                        && (own.has(state::RST) || reverse.has(state::FIN | state::RST))
                    {
                        self.closed.push((slot, now));
                    }
                    if !repeated && own.has(state::WINDOW_CLOSED) {
                        let event = event(facts.serial, row, &seen, 0, 0, 0);
                        self.events.push(EventKind::ZeroWindow, event);
                    }
                    if row.len > 0 && point == 1 {
                        facts.turn.observe(direction, row.time, row.len);
                        note_largest(facts, own, row, direction);
                    }
                    if let Some(Detail::Tcp(options)) = detail {
                        note_options(facts, row, options, own, reverse, direction, point);
                    }
                }
            }
            Kind::Udp => {
                if let Some(Detail::Dns(dns)) = detail {
                    note_dns(facts, row, dns, direction, point, now.clamp(EARLIEST, LATEST));
                }
                if own.packets == 0 || reverse.last_time > own.last_time {
                    own.next = own.packets;
                    facts.talk_mut().since[direction][point] = Stamp { time: row.time, frame: row.frame };
                }
                if row.has(bits::QUIC_LONG) {
                    own.state |= state::QUIC_LONG;
                } else if !row.has(bits::QUIC_SHORT) {
                    own.state |= state::NOT_QUIC;
                } else {
                    let dcid = &mut facts.dcid[direction];
                    if dcid.0 != row.seq {
                        dcid.1 = dcid.1.saturating_add(1);
                        dcid.0 = row.seq;
                    }
                }
                if let Some(Detail::Dhcp(message)) = detail {
                    let kind = usize::from(message.message.min(8));
                    facts.dhcp.get_or_insert_default()[point][kind] += 1;
                }
            }
            Kind::IcmpError => {
                if let Some(Detail::IcmpError(error)) = detail {
                    note_icmp(facts, row, error, direction, point);
                    alert = true;
                }
            }
            Kind::IcmpEcho => note_echo(facts, row, own, direction, point),
            Kind::Fragment => facts.flags |= pair_flags::FRAGMENTS,
            _ => {}
        }
        if own.has(state::ALERT) && row.kind != Kind::IcmpError {
            note_larger(facts, row, direction, point);
        }
        if row.has(bits::TUNNEL) {
            facts.flags |= pair_flags::TUNNEL;
        }

        own.state &= !state::AFTER_SILENCE;
        if seen.idle >= NOTABLE_SILENCE {
            facts.silence[point] = seen.idle;
            facts.resumed[point] = row.time;
            own.state |= state::AFTER_SILENCE;
        }
        own.last_time = row.time;
        // What a reset answers is the first of two copies.
        if !twin {
            own.last_frame = row.frame;
        }
        own.last_seq = number;
        own.last_ip_id = row.ip_id;
        own.packets = own.packets.saturating_add(1);
        own.bytes += u64::from(row.ip_len);
        if alert {
            self.alert(slot);
        }
        self.find(row, &seen, wrong);
    }

    /// Marks every track of a pair that has resets or ICMP errors, so that the others need not be asked.
    #[cold]
    fn alert(&mut self, slot: u32) {
        for track in self.tracks[slot as usize].iter_mut().flatten() {
            track.state |= state::ALERT;
        }
    }
}

fn protocol_of(kind: Kind) -> u8 {
    match kind {
        Kind::Tcp => 6,
        Kind::Udp => 17,
        Kind::IcmpEcho | Kind::IcmpError | Kind::IcmpOther => 1,
        _ => 0,
    }
}

fn event(serial: u32, row: &Row, seen: &Seen, other_frame: u32, a: u64, b: u64) -> Event {
    Event {
        time: row.time,
        pair: serial,
        frame: row.frame,
        other_frame,
        size: row.ip_len,
        point: seen.point as u8,
        direction: seen.direction as u8,
        protocol: row.protocol,
        flags: row.flags,
        a,
        b,
    }
}
