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

use crate::align::clock::{Coarse, GUARD, Overlap};
use crate::align::pairing::DISTINCTIVE;
use crate::facts::{
    Delays, Event, EventKind, Events, Fate, IcmpSeen, MAX_ICMP, MAX_RESETS, PairFacts, Reset, Room, Run, Stamp, Tally,
    Track, TrackMore, pair_flags, size_class, size_step, state,
};
use crate::flow::tcp::{self, COPY_DISTANCE, Class};
use crate::flow::{SHARDS, USUAL_FLOWS};
use crate::hash::mix;
use crate::packet::row::{bits, tcp_flags};
use crate::packet::{Checksum, Detail, Kind, Row};
use crate::point::{Direction, Point};
use crate::seq;
use crate::time::{EARLIEST, LATEST, MILLISECOND, SECOND};

/// How long a packet waits for its copy. Queues of a shaped uplink hold packets for a second or more.
pub const WAIT: i64 = 3 * SECOND;
/// Steps of a search through waiting packets, forward from the cursor.
const SEARCH_AHEAD: usize = 256;
/// Steps of a search backwards from the cursor.
const SEARCH_BACK: usize = 64;
/// Shortest silence of one direction of a flow that is remembered, if the other direction spoke well into it.
const MIN_GAP: i64 = 250 * MILLISECOND;
/// How far into the silence the other direction must have spoken: beyond any delayed ACK (40 to 200 ms).
const GAP_OPPOSITE: i64 = 150 * MILLISECOND;
/// Shortest silence of both directions that is remembered for what follows it.
const NOTABLE_SILENCE: i64 = 100 * MILLISECOND;
/// Most silences kept for a direction of a flow.
const MAX_GAPS: usize = 8;
/// Ranges overtaken between the points that are remembered for one direction of a flow: a sender repeats them within a
/// round trip, so that the latest are enough.
const MAX_OVERTAKEN: usize = 16;
/// Rows ahead whose pairs are brought into the cache.
const AHEAD: usize = 32;
/// Payload above this length on the wire is a superframe (an Ethernet MTU and its headers).
const ETHERNET_MTU: u32 = 1500;
/// Packets that are remembered in a shard to tell those that come again: some milliseconds of a busy link.
const RECENT: usize = 1024;
/// Upper half of an entry of [`Shard::recent`].
const HASH: u64 = !(u32::MAX as u64);
/// No node.
const NONE: u32 = crate::facts::NO_NODE;

/// A packet, or a part of one, that waits for its copy.
#[derive(Clone, Copy, Debug)]
struct Node {
    key: u64,
    time: i64,
    next: u32,
    prev: u32,
    /// Slot << 2 | direction << 1 | point.
    place: u32,
    seq: u32,
    len: u32,
    frame: u32,
    order: u32,
    ip_len: u32,
    bytes_before: u64,
    /// Time of the previous packet of this direction (0 for none).
    before: i64,
    /// Silence of both directions before it.
    idle: i64,
    ip_id: u16,
    sum: u16,
    kind: Kind,
    class: Class,
    flags: u8,
    tos: u8,
    checksum: Checksum,
    /// Frame of the packet that this one repeats at the same point; 0 for none.
    again: u32,
    /// Layer of a checksum that is wrong; 0 for none.
    wrong: u8,
    touched: bool,
    data: bool,
    live: bool,
}

impl Node {
    /// An event about the packet.
    fn event(&self, serial: u32, other_frame: u32, a: u64, b: u64) -> Event {
        Event {
            time: self.time,
            pair: serial,
            frame: self.frame,
            other_frame,
            size: self.ip_len,
            point: (self.place & 1) as u8,
            direction: (self.place >> 1 & 1) as u8,
            protocol: protocol_of(self.kind),
            flags: self.flags,
            a,
            b,
        }
    }
}

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
    /// Counters.
    pub tally: Tally,
    /// Delays over time, for the clock.
    pub delays: Delays,
    /// What matched lately at the point that it passed last: hash of the packet and its flow, and in the lower half the
    /// frame. Tells a packet that comes again.
    recent: Vec<u64>,
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
            delays: Delays::default(),
            recent: Vec::new(),
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
        let mut ahead = 0;
        loop {
            if ahead == 0 {
                self.touch(a);
                self.touch(b);
                ahead = AHEAD;
            }
            ahead -= 1;
            let take_a = match (a.first(), b.first()) {
                (Some(first_a), Some(first_b)) => first_a.time <= window.coarse.to_a(first_b.time),
                (Some(_), None) => true,
                (None, Some(_)) => false,
                (None, None) => break,
            };
            if take_a {
                let (row, rest) = a.split_first().unwrap_or((&EMPTY_ROW, &[]));
                a = rest;
                self.row(0, row, window, row.time);
            } else {
                let (row, rest) = b.split_first().unwrap_or((&EMPTY_ROW, &[]));
                b = rest;
                self.row(1, row, window, window.coarse.to_a(row.time));
            }
        }
        if self.next_sweep.is_none_or(|sweep| horizon >= sweep) {
            self.sweep(horizon, window.overlap);
        }
    }

    /// Reads what the next rows need of their pairs in a tight loop, so that the cache misses overlap.
    #[inline(never)]
    fn touch(&self, rows: &[Row]) {
        let mut sum = 0;
        for row in rows.iter().take(AHEAD) {
            let (slot, direction) = ((row.flow >> 1) as usize, (row.flow & 1) as usize);
            let (tracks, facts) = (&self.tracks[slot], &self.facts[slot]);
            sum ^= tracks[direction][0].packets ^ tracks[direction][1].packets;
            sum ^= tracks[1 - direction][0].packets ^ tracks[1 - direction][1].packets ^ u32::from(facts.flags);
        }
        std::hint::black_box(sum);
    }

    /// A time of a point (0 for A, 1 for B) on A's clock.
    #[inline]
    fn on_a(&self, point: u32, time: i64) -> i64 {
        self.coarse.on_a(point as usize, time)
    }

    /// Whether a copy under another IP identification may be taken: not where this flow is known to keep them, and not
    /// before the other capture has been read up to the row's time, since its true copy may be yet to come.
    fn takes_unsure(&self, row: &Row, seen: &Seen) -> bool {
        let kept = self.tracks[seen.slot as usize][seen.direction][seen.point].has(state::ID_KEPT);
        row.ip_id == 0 || (!kept && self.on_a(seen.point as u32, row.time) <= self.read_to[1 - seen.point])
    }

    /// Whether a waiting packet and a row may be copies, by their times.
    #[inline]
    fn near(&self, node: &Node, row: &Row, point: usize) -> bool {
        let apart = self.on_a(node.place & 1, node.time).saturating_sub(self.on_a(point as u32, row.time));
        apart.unsigned_abs() <= WAIT as u64
    }

    /// One row. `now` is its time on A's clock.
    #[inline]
    fn row(&mut self, point: usize, row: &Row, window: &Window<'_>, now: i64) {
        if self.waiting >= self.max_waiting {
            self.sweep(now, window.overlap);
        }
        let (slot, direction) = (row.flow >> 1, (row.flow & 1) as usize);
        let detail = (row.detail != 0).then(|| window.details[point].get(row.detail as usize - 1)).flatten();
        let tracks = &mut self.tracks[slot as usize];
        let facts = &mut self.facts[slot as usize];
        if point != direction && tracks[direction][point].packets == 0 {
            facts.seen_before[direction] = tracks[direction][direction].next;
        }
        let [first, second] = tracks;
        let (own, reverse) = if direction == 0 {
            (&mut first[point], &mut second[point])
        } else {
            (&mut second[point], &mut first[point])
        };

        self.tally.packets[direction][point][row.kind as usize] += 1;
        self.tally.checksums[direction][point][row.l4_checksum as usize] += 1;
        self.tally.sizes[direction][point][size_class(row.ip_len)] += 1;
        self.tally.steps[direction][point][size_step(row.ip_len)] += 1;
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
            slot,
            direction,
            point,
            class: Class::New,
            order: own.packets,
            bytes_before: own.bytes,
            before: if own.packets == 0 { 0 } else { own.last_time },
            idle: row.time.saturating_sub(last_any).max(0),
            twin: if twin { own.last_frame } else { 0 },
            older: own.packets > 0 && (1..=COPY_DISTANCE).contains(&own.last_ip_id.wrapping_sub(row.ip_id)),
        };
        if own.packets > 0 && row.time - own.last_time >= MIN_GAP && reverse.last_time - own.last_time >= GAP_OPPOSITE {
            note_gap(facts, direction, point, own, row);
        }

        let mut alert = false;
        let wrong = wrong_layer(row, facts);
        match row.l4_checksum {
            Checksum::Partial if !own.has(state::PARTIAL) => {
                own.state |= state::PARTIAL;
                let first = &mut self.tally.first_partial[direction][point];
                first.get_or_insert(Stamp { time: row.time, frame: row.frame });
            }
            Checksum::Right => own.state |= state::RIGHT,
            _ => {}
        }
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
                    facts.talking_since[direction][point] = Stamp { time: row.time, frame: row.frame };
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
            own.state |= state::AFTER_SILENCE;
        }
        own.last_time = row.time;
        // What a reset answers is the first of two copies.
        own.last_frame = if twin { own.last_frame } else { row.frame };
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

    /// Looks for the row's copy; what is not found waits.
    #[inline]
    fn find(&mut self, row: &Row, seen: &Seen, wrong: u8) {
        let other = &self.tracks[seen.slot as usize][seen.direction][1 - seen.point];
        let key = content_key(row);
        let data = row.kind == Kind::Tcp && row.len > 0;
        let cursor = other.cursor;
        // Without an identification only the time tells a retransmission's copy from the original's: no short cut then.
        let told_apart = row.ip_id != 0 || matches!(seen.class, Class::New | Class::Ack);
        if cursor != NONE && told_apart {
            let node = &self.nodes[cursor as usize];
            if node.key == key
                && node.ip_id == row.ip_id
                && node.len == row.len
                && same_sum(node, row)
                && self.near(node, row, seen.point)
            {
                self.matched(cursor, row, seen, true, true, wrong);
                self.unlink(cursor);
                return;
            }
        }
        if other.pending.0 == NONE {
            self.wait(row, seen, key, (row.seq, row.len), false, wrong);
        } else if data {
            self.find_range(row, seen, key, wrong);
        } else {
            self.find_exact(row, seen, key, wrong);
        }
    }

    /// Walks the waiting packets of the other point around the cursor.
    fn walk(&self, seen: &Seen, mut visit: impl FnMut(u32, &Node) -> bool) {
        let other = &self.tracks[seen.slot as usize][seen.direction][1 - seen.point];
        let mut at = other.cursor;
        let mut back = if at == NONE { other.pending.1 } else { self.nodes[at as usize].prev };
        for _ in 0..SEARCH_AHEAD {
            if at == NONE {
                break;
            }
            let node = &self.nodes[at as usize];
            if visit(at, node) {
                return;
            }
            at = node.next;
        }
        for _ in 0..SEARCH_BACK {
            if back == NONE {
                break;
            }
            let node = &self.nodes[back as usize];
            if visit(back, node) {
                return;
            }
            back = node.prev;
        }
    }

    #[inline(never)]
    fn find_exact(&mut self, row: &Row, seen: &Seen, key: u64, wrong: u8) {
        let mut best = NONE;
        let mut sure = false;
        let unsure = self.takes_unsure(row, seen);
        self.walk(seen, |id, node| {
            if node.key != key || node.len != row.len || !same_sum(node, row) || !self.near(node, row, seen.point) {
                return false;
            }
            if node.ip_id == row.ip_id {
                best = id;
                sure = true;
                return true;
            }
            if best == NONE && unsure {
                best = id;
            }
            false
        });
        if best == NONE && row.kind == Kind::Udp {
            best = self.damaged_copy(row, seen, key);
        }
        if best == NONE {
            self.wait(row, seen, key, (row.seq, row.len), false, wrong);
        } else {
            self.matched(best, row, seen, true, sure, wrong);
            self.unlink(best);
        }
    }

    /// A datagram of the same length and IP identification whose bytes changed on the way.
    fn damaged_copy(&self, row: &Row, seen: &Seen, key: u64) -> u32 {
        let mut found = NONE;
        self.walk(seen, |id, node| {
            let same = node.kind == row.kind && node.len == row.len && node.ip_id == row.ip_id && row.ip_id != 0;
            let broken = row.l4_checksum == Checksum::Wrong || node.checksum == Checksum::Wrong;
            // With right checksums at both points the head of the payload must be the same, else it is another datagram.
            if same && (broken || node.key == key) && self.near(node, row, seen.point) {
                found = id;
            }
            found != NONE
        });
        found
    }

    /// Matches payload by range: exactly the same segment, else segments cut from or merged into one another, else any overlap.
    #[inline(never)]
    fn find_range(&mut self, row: &Row, seen: &Seen, key: u64, wrong: u8) {
        let mut exact = NONE;
        let mut apart = i64::MAX;
        self.walk(seen, |id, node| {
            if node.key != key || node.len != row.len || node.ip_id != row.ip_id || !self.near(node, row, seen.point) {
                return false;
            }
            // Several only where there is no identification: the nearest in time is the copy.
            let distance = self
                .on_a(node.place & 1, node.time)
                .saturating_sub(self.on_a(seen.point as u32, row.time))
                .saturating_abs();
            if distance < apart {
                (exact, apart) = (id, distance);
            }
            row.ip_id != 0
        });
        if exact != NONE {
            self.matched(exact, row, seen, true, true, wrong);
            self.unlink(exact);
            return;
        }
        let mut pieces = vec![(row.seq, row.seq.wrapping_add(row.len))];
        let mut touched = false;
        let mut taken: Vec<(u32, u16)> = Vec::new();
        for strict in [true, false] {
            if pieces.is_empty() || (!strict && !self.takes_unsure(row, seen)) {
                break;
            }
            let mut candidates: Vec<u32> = Vec::new();
            self.walk(seen, |id, node| {
                // A damaged packet goes no further in good order: what is right beyond it is its retransmission.
                let damaged_before = if seen.point == seen.direction { wrong } else { node.wrong };
                if node.data
                    && (damaged_before == 0 || node.ip_id == row.ip_id)
                    && self.near(node, row, seen.point)
                    && (!strict || kin(node, row))
                    && pieces.iter().any(|piece| overlaps(node, *piece))
                {
                    candidates.push(id);
                }
                false
            });
            for id in candidates {
                let node = self.nodes[id as usize];
                if self.take_overlap(id, row, seen, &mut pieces, touched, wrong) {
                    touched = true;
                    taken.push((node.seq.wrapping_add(node.len), node.ip_id));
                }
            }
        }
        for (start, end) in pieces {
            // What is left of a superframe behind a segment begins with the next identification.
            let before = taken.iter().find(|(end, _)| *end == start);
            let ip_id = before.map_or(row.ip_id, |(_, ip_id)| ip_id.wrapping_add(1));
            self.wait(&Row { ip_id, ..*row }, seen, key, (start, end.wrapping_sub(start)), touched, wrong);
        }
    }

    /// Cuts what node and pieces share out of both. Returns whether they shared anything.
    fn take_overlap(
        &mut self,
        id: u32,
        row: &Row,
        seen: &Seen,
        pieces: &mut Vec<(u32, u32)>,
        touched: bool,
        wrong: u8,
    ) -> bool {
        let node = self.nodes[id as usize];
        let (low, high) = (node.seq, node.seq.wrapping_add(node.len));
        let mut left = vec![(low, high)];
        let mut any = false;
        let mut rest = Vec::with_capacity(pieces.len() + 1);
        for &(start, end) in pieces.iter() {
            let (cut_start, cut_end) = (seq::later(start, low), seq::earlier(end, high));
            if !seq::before(cut_start, cut_end) {
                rest.push((start, end));
                continue;
            }
            any = true;
            rest.extend([(start, cut_start), (cut_end, end)].into_iter().filter(|part| part.0 != part.1));
            left = left
                .into_iter()
                .flat_map(|(from, to)| [(from, seq::earlier(to, cut_start)), (seq::later(from, cut_end), to)])
                .filter(|part| seq::before(part.0, part.1))
                .collect();
        }
        if !any {
            return false;
        }
        *pieces = rest;
        let exact = node.seq == row.seq && node.len == row.len && !node.touched && !touched;
        self.matched(id, row, seen, exact, false, if touched { 0 } else { wrong });
        if touched {
            // The row had been counted with its first piece.
            let own = &mut self.tracks[seen.slot as usize][seen.direction][seen.point];
            own.matched = own.matched.saturating_sub(1);
            self.tally.matched[seen.point] -= 1;
        }
        if let Some((&(start, end), more)) = left.split_first() {
            self.tracks[seen.slot as usize][seen.direction][1 - seen.point].cursor = id;
            let kept = &mut self.nodes[id as usize];
            kept.seq = start;
            kept.len = end.wrapping_sub(start);
            kept.touched = true;
            // A part of a packet has another content than the whole.
            kept.key = u64::MAX;
            // What is left behind a segment begins with the next identification.
            let next_id = if node.len > row.len { row.ip_id.wrapping_add(1) } else { node.ip_id };
            if start != node.seq {
                kept.ip_id = next_id;
            }
            for &(start, end) in more {
                let rest = Node { seq: start, len: end.wrapping_sub(start), touched: true, ip_id: next_id, ..node };
                self.insert_after(id, rest);
            }
        } else {
            self.unlink(id);
        }
        true
    }

    /// Facts of a match. The node is not unlinked here.
    #[inline]
    fn matched(&mut self, id: u32, row: &Row, seen: &Seen, exact: bool, sure: bool, wrong: u8) {
        let node = self.nodes[id as usize];
        if seen.point == seen.direction && node.next != NONE {
            self.mark_copies(id);
        }
        if node.again != 0 {
            self.mark_original(id);
        }
        let tracks = &mut self.tracks[seen.slot as usize][seen.direction];
        let facts = &mut self.facts[seen.slot as usize];
        let other_point = 1 - seen.point;
        let own = &mut tracks[seen.point];
        if sure && row.ip_id != 0 {
            own.state |= state::ID_KEPT;
        }
        own.matched = own.matched.saturating_add(1);
        self.tally.matched[seen.point] += 1;
        let own_behind = seen.order < own.matched_order;
        own.matched_order = own.matched_order.max(seen.order);
        let other = &mut tracks[other_point];
        if sure && row.ip_id != 0 {
            other.state |= state::ID_KEPT;
        }
        other.cursor = node.next;
        if !node.touched {
            other.matched = other.matched.saturating_add(1);
            self.tally.matched[other_point] += 1;
        }
        let behind = node.order < other.matched_order;
        other.matched_order = other.matched_order.max(node.order);
        if let Some(matches) = &mut self.matches {
            matches.push(if seen.point == 0 { [row.frame, node.frame] } else { [node.frame, row.frame] });
        }
        let (time_a, time_b) = if seen.point == 0 { (row.time, node.time) } else { (node.time, row.time) };
        if exact && sure {
            let difference = time_b.saturating_sub(time_a);
            self.delays.add(seen.direction, time_a, difference);
            let forward = difference.saturating_sub(self.coarse.at(time_a));
            self.tally.delays[seen.direction].add(if seen.direction == 0 { forward } else { forward.saturating_neg() });
            if behind != own_behind {
                let event = event(facts.serial, row, seen, node.frame, 0, 0);
                self.events.push(EventKind::Reordered, event);
            }
        }

        let (exit_key, exit_id, exit_frame) = if seen.point == seen.direction {
            (node.key, node.ip_id, node.frame)
        } else {
            (content_key(row), row.ip_id, row.frame)
        };
        if self.recent.is_empty() {
            self.recent = vec![0; RECENT];
        }
        let hash = copy_hash(exit_key, exit_id, seen.slot, seen.direction);
        let place = &mut self.recent[hash as usize % RECENT];
        let before = std::mem::replace(place, hash & HASH | u64::from(exit_frame));
        let again = exact && sure && exit_id != 0 && before & HASH == hash & HASH && before as u32 != exit_frame;

        // Which of the two passed first, and which last, is a matter of the direction, not of the order of reading.
        let entry = seen.direction;
        let (entry_class, exit_class) =
            if seen.point == entry { (seen.class, node.class) } else { (node.class, seen.class) };
        if row.kind == Kind::IcmpError || (row.kind == Kind::Tcp && row.is(tcp_flags::RST)) {
            crossed(facts, row, seen, &node);
        } else if tracks[seen.point].has(state::ALERT) {
            settle_offender(facts, seen.point, row.frame, Fate::Crossed);
            settle_offender(facts, other_point, node.frame, Fate::Crossed);
            crossed_late(facts, seen, row, &node);
        }
        let idle = if seen.point == 1 { seen.idle } else { node.idle };
        if idle >= SECOND {
            facts.survived[seen.direction] = facts.survived[seen.direction].max(idle);
        }
        let node_wrong = node.wrong != 0 && !node.touched;
        let damaged = wrong != 0 || node_wrong;
        if exact {
            // What is left of a superframe keeps the sum of the whole.
            let summed = !node.touched && node.sum != 0 && row.sum != 0;
            if !damaged && summed && node.sum != row.sum {
                let event = event(facts.serial, row, seen, node.frame, u64::from(row.len), 0);
                self.events.push(EventKind::PayloadDiffers, event);
            }
            if node.tos != row.tos {
                let (tos_a, tos_b) = if seen.point == 0 { (row.tos, node.tos) } else { (node.tos, row.tos) };
                let event = event(facts.serial, row, seen, node.frame, u64::from(tos_a), u64::from(tos_b));
                self.events.push(EventKind::TosDiffers, event);
            }
        }
        if damaged {
            self.wrong_checksum(&node, row, seen, wrong, node_wrong);
        }
        if (entry_class, exit_class) == (Class::New, Class::Late) {
            overtaken(&mut self.facts[seen.slot as usize], seen, row, &node);
        }
        if again {
            self.crossed_again(&node, row, seen, before as u32);
        } else if entry_class.repeats() {
            self.repeated(&node, row, seen, entry_class, exit_class);
        }
    }

    /// A packet had left the host before it entered it, as far as the clocks tell: copies of it that wait right behind it
    /// have left the host again.
    fn mark_copies(&mut self, id: u32) {
        /// Packets of the flow that may stand between the copies.
        const STEPS: usize = 4;
        let node = self.nodes[id as usize];
        let mut at = node.next;
        for _ in 0..STEPS {
            if at == NONE || node.ip_id == 0 {
                return;
            }
            let other = &mut self.nodes[at as usize];
            if other.key == node.key && other.ip_id == node.ip_id && other.seq == node.seq && other.len == node.len {
                other.again = node.frame;
            }
            at = other.next;
        }
    }

    /// A copy found its match, but the packet that it repeats may wait still: then that one is the copy.
    #[cold]
    fn mark_original(&mut self, id: u32) {
        let copy = self.nodes[id as usize];
        let mut at = copy.prev;
        for _ in 0..2 * COPY_DISTANCE {
            if at == NONE {
                return;
            }
            let node = &mut self.nodes[at as usize];
            if node.frame == copy.again && node.key == copy.key {
                node.again = copy.frame;
                return;
            }
            at = node.prev;
        }
    }

    /// A retransmission that was seen at both points: had its original crossed?
    #[cold]
    fn repeated(&mut self, node: &Node, row: &Row, seen: &Seen, entry_class: Class, exit_class: Class) {
        let direction = seen.direction;
        let facts = &mut self.facts[seen.slot as usize];
        // The original of what the entry point knew before the exit point's capture began may have crossed unseen.
        let early = !seq::after(row.seq.wrapping_add(row.seq_len()), facts.seen_before[direction])
            && !self.overlap.covers(1 - direction, self.coarse.on_a(direction, facts.first[direction][direction].time));
        let between = matches!(exit_class, Class::New | Class::Late);
        if between && early {
            return;
        }
        // Three duplicate acknowledgments make a sender repeat what was only late.
        let end = row.seq.wrapping_add(row.len);
        let exit = facts.more[direction][1 - direction].as_deref();
        let late = exit.is_some_and(|more| {
            more.overtaken.iter().any(|&(low, high)| seq::before(row.seq, high) && seq::before(low, end))
        });
        let spurious = late || entry_class == Class::Spurious || exit_class == Class::Spurious;
        let bytes = row.len.min(node.len).max(1);
        // The frame cited is the entry point's.
        let (point, frame, other_frame, time) = if seen.point == direction {
            (seen.point, row.frame, node.frame, row.time)
        } else {
            (1 - seen.point, node.frame, row.frame, node.time)
        };
        let event = Event {
            time,
            pair: facts.serial,
            frame,
            other_frame,
            size: row.ip_len,
            point: point as u8,
            direction: direction as u8,
            protocol: row.protocol,
            flags: row.flags,
            a: u64::from(bytes),
            b: u64::from(spurious),
        };
        if between {
            facts.lost_between[direction] += 1;
            facts.lost_between_bytes[direction] += u64::from(bytes);
            self.events.push(EventKind::LostBetween, event);
        } else if exit_class.repeats() {
            facts.lost_beyond[direction] += 1;
            facts.lost_beyond_spurious[direction] += u32::from(spurious);
            self.events.push(EventKind::LostBeyond, event);
        }
    }

    /// The same packet crossed before: something sent it round again. Its sender did not repeat it.
    #[cold]
    fn crossed_again(&mut self, node: &Node, row: &Row, seen: &Seen, earlier: u32) {
        let serial = self.facts[seen.slot as usize].serial;
        let event = if seen.point == seen.direction {
            node.event(serial, row.frame, u64::from(earlier), 0)
        } else {
            event(serial, row, seen, node.frame, u64::from(earlier), 0)
        };
        self.events.push(EventKind::CrossedAgain, event);
    }

    #[cold]
    fn wrong_checksum(&mut self, node: &Node, row: &Row, seen: &Seen, wrong: u8, node_wrong: bool) {
        let serial = self.facts[seen.slot as usize].serial;
        let row_wrong = wrong != 0;
        // `b`: 0 wrong at both points, 1 right at the other, 2 partial at the other, 4 not known there, 5 the same but with
        // other bytes there.
        let altered = row.kind == Kind::Udp && node.key != content_key(row);
        let other = |layer: u8, checksum: Checksum| match checksum {
            Checksum::Partial => 2,
            Checksum::Unverifiable if layer == 4 => 4 + u64::from(altered),
            _ => 1,
        };
        if row_wrong {
            let b = if node_wrong { 0 } else { other(wrong, node.checksum) };
            let event = event(serial, row, seen, node.frame, u64::from(wrong), b);
            self.events.push(EventKind::WrongChecksum, event);
        }
        if node_wrong {
            let b = if row_wrong { 0 } else { other(node.wrong, row.l4_checksum) };
            let event = Event {
                time: node.time,
                pair: serial,
                frame: node.frame,
                other_frame: row.frame,
                size: node.ip_len,
                point: (1 - seen.point) as u8,
                direction: seen.direction as u8,
                protocol: row.protocol,
                flags: node.flags,
                a: u64::from(node.wrong),
                b,
            };
            self.events.push(EventKind::WrongChecksum, event);
        }
    }

    /// Puts a row, or the part `[seq, seq + len)` of it, on the waiting list.
    #[inline]
    fn wait(&mut self, row: &Row, seen: &Seen, key: u64, (seq, len): (u32, u32), touched: bool, wrong: u8) {
        let data = row.kind == Kind::Tcp && row.len > 0;
        let leaving = seen.point != seen.direction && row.ip_id != 0 && !touched;
        let again = match seen.twin {
            _ if leaving => self.comes_again(row, seen, key),
            0 if seen.older && row.ip_id != 0 && !touched => self.entered_already(row, seen, key),
            twin => twin,
        };
        let node = Node {
            key: if data && touched { u64::MAX } else { key },
            time: row.time,
            next: NONE,
            prev: NONE,
            place: seen.slot << 2 | (seen.direction as u32) << 1 | seen.point as u32,
            seq,
            len,
            frame: row.frame,
            order: seen.order,
            ip_len: row.ip_len,
            bytes_before: seen.bytes_before,
            before: seen.before,
            idle: seen.idle,
            ip_id: row.ip_id,
            sum: row.sum,
            kind: row.kind,
            class: seen.class,
            flags: row.flags,
            tos: row.tos,
            checksum: row.l4_checksum,
            again,
            wrong,
            touched,
            data,
            live: true,
        };
        let id = self.allocate(node);
        let track = &mut self.tracks[seen.slot as usize][seen.direction][seen.point];
        let tail = track.pending.1;
        self.nodes[id as usize].prev = tail;
        track.pending.1 = id;
        if tail == NONE {
            track.pending.0 = id;
        } else {
            self.nodes[tail as usize].next = id;
        }
        if track.cursor == NONE {
            track.cursor = id;
        }
        self.waiting += 1;
    }

    /// A packet leaves the host that nothing waited for: the frame with which it left it before, with the same content and
    /// identification; 0 for none. It waits all the same: it may have entered twice, with clocks that disagree.
    #[cold]
    fn comes_again(&self, row: &Row, seen: &Seen, key: u64) -> u32 {
        let hash = copy_hash(key, row.ip_id, seen.slot, seen.direction);
        let entry = self.recent.get(hash as usize % RECENT).copied().unwrap_or(0);
        let known = entry & HASH == hash & HASH && entry as u32 != row.frame;
        if known { entry as u32 } else { 0 }
    }

    /// A packet enters the host with the identification of one some packets before it: that one's frame if it is the same
    /// packet and waits still, or its frame at the other point if it has crossed; 0 for none.
    #[cold]
    fn entered_already(&self, row: &Row, seen: &Seen, key: u64) -> u32 {
        let mut at = self.tracks[seen.slot as usize][seen.direction][seen.point].pending.1;
        for _ in 0..2 * COPY_DISTANCE {
            if at == NONE {
                break;
            }
            let node = &self.nodes[at as usize];
            if node.key == key && node.ip_id == row.ip_id && node.len == row.len {
                return node.frame;
            }
            at = node.prev;
        }
        self.comes_again(row, seen, key)
    }

    #[inline]
    fn allocate(&mut self, node: Node) -> u32 {
        if let Some(id) = self.free_node {
            let next = self.nodes[id as usize].next;
            self.free_node = (next != NONE).then_some(next);
            self.nodes[id as usize] = node;
            id
        } else {
            self.nodes.push(node);
            (self.nodes.len() - 1) as u32
        }
    }

    fn insert_after(&mut self, id: u32, node: Node) {
        let next = self.nodes[id as usize].next;
        let new = self.allocate(Node { prev: id, next, key: u64::MAX, ..node });
        self.nodes[id as usize].next = new;
        if next == NONE {
            let track =
                &mut self.tracks[(node.place >> 2) as usize][(node.place >> 1 & 1) as usize][(node.place & 1) as usize];
            track.pending.1 = new;
        } else {
            self.nodes[next as usize].prev = new;
        }
        self.waiting += 1;
    }

    #[inline]
    fn unlink(&mut self, id: u32) {
        let node = self.nodes[id as usize];
        let track =
            &mut self.tracks[(node.place >> 2) as usize][(node.place >> 1 & 1) as usize][(node.place & 1) as usize];
        if track.cursor == id {
            track.cursor = node.next;
        }
        if node.prev == NONE {
            track.pending.0 = node.next;
        } else {
            self.nodes[node.prev as usize].next = node.next;
        }
        if node.next == NONE {
            track.pending.1 = node.prev;
        } else {
            self.nodes[node.next as usize].prev = node.prev;
        }
        let free = &mut self.nodes[id as usize];
        free.live = false;
        free.next = self.free_node.unwrap_or(NONE);
        self.free_node = Some(id);
        self.waiting -= 1;
    }

    /// Concludes what has waited long enough.
    #[cold]
    #[inline(never)]
    fn sweep(&mut self, now: i64, overlap: &Overlap) {
        self.now = now;
        self.learn_least_wait();
        let mut wait = WAIT;
        loop {
            for id in 0..self.nodes.len() as u32 {
                let node = &self.nodes[id as usize];
                let mapped = self.on_a(node.place & 1, node.time);
                // A clock that jumped back leaves nodes in the future: they have waited as well.
                if node.live && now.saturating_sub(mapped).saturating_abs() >= wait {
                    self.conclude(id, overlap);
                }
            }
            if self.waiting < self.max_waiting / 4 * 3 || wait == 0 {
                break;
            }
            wait = if wait > MILLISECOND { wait / 4 } else { 0 };
        }
        self.next_sweep = Some(now.saturating_add(WAIT / 2));
    }

    /// How long a packet must have waited to count as lost, by the time that nearly all others took; 100 ms before that is
    /// known.
    fn learn_least_wait(&mut self) {
        /// Whatever the others took: a busy host may keep a packet for some milliseconds.
        const LEAST: i64 = 10 * MILLISECOND;
        /// Times of nearly all others: queues vary.
        const SLOWER: i64 = 4;
        let usual = self.tally.delays.iter().filter_map(|delays| delays.quantile(0.99)).max();
        self.least_wait = usual.map_or(GUARD, |usual| usual.saturating_mul(SLOWER).clamp(LEAST, WAIT));
    }

    /// The end of both captures: nothing more will come.
    pub fn finish(&mut self, overlap: &Overlap) {
        self.now = i64::MAX;
        for id in 0..self.nodes.len() as u32 {
            if self.nodes[id as usize].live {
                self.conclude(id, overlap);
            }
        }
    }

    /// A packet stands at one point twice and once at the other.
    fn stands_twice(&mut self, node: &Node) {
        let (slot, direction, point) =
            ((node.place >> 2) as usize, (node.place >> 1 & 1) as usize, (node.place & 1) as usize);
        let facts = &mut self.facts[slot];
        facts.more_mut(direction, point).duplicates += 1;
        self.events.push(EventKind::Duplicate, node.event(facts.serial, 0, u64::from(node.again), 0));
    }

    /// No copy came: the node is unmatched.
    #[cold]
    #[inline(never)]
    fn conclude(&mut self, id: u32, overlap: &Overlap) {
        let node = self.nodes[id as usize];
        self.unlink(id);
        let (slot, direction, point) =
            ((node.place >> 2) as usize, (node.place >> 1 & 1) as usize, (node.place & 1) as usize);
        let other = &self.tracks[slot][direction][1 - point];
        let (other_acked, other_has_ack, matched_order) =
            (other.acked, other.has(state::ACK), self.tracks[slot][direction][point].matched_order);
        let time = self.on_a(node.place & 1, node.time);
        let covered = overlap.covers(1 - point, time);
        // What has to go at once is no loss: its copy may be under way.
        let hurried = self.now.saturating_sub(time).saturating_abs() < self.least_wait;
        self.hurried += u64::from(hurried);
        let facts = &mut self.facts[slot];
        if !covered || hurried {
            facts.more_mut(direction, point).edge += 1;
            return;
        }
        if node.touched && node.len == 0 {
            return;
        }
        if node.again != 0 && !node.touched {
            self.stands_twice(&node);
            return;
        }
        settle_offender(facts, point, node.frame, Fate::Unmatched);
        if node.kind == Kind::IcmpError {
            if let Some(seen) =
                facts.icmp.iter_mut().find(|seen| seen.at.frame == node.frame && seen.point as usize == point)
            {
                seen.fate = Fate::Unmatched;
            }
        } else if node.kind == Kind::Tcp
            && node.flags & tcp_flags::RST != 0
            && let Some(reset) =
                facts.resets.iter_mut().find(|reset| reset.at.frame == node.frame && reset.point as usize == point)
        {
            reset.fate = Fate::Unmatched;
        }
        let end = node.seq.wrapping_add(node.len);
        let missed_there = node.data
            && other_has_ack
            && facts.more[direction][1 - point].as_deref().is_some_and(|more| {
                more.missed.iter().any(|&(low, high)| !seq::before(node.seq, low) && !seq::after(end, high))
            })
            && !seq::after(end, other_acked);
        // The answer to a SYN, acknowledged where no copy of it was captured at all.
        let answers = node.kind == Kind::Tcp && node.flags & tcp_flags::SYN != 0 && node.flags & tcp_flags::ACK != 0;
        let missed_there = missed_there
            || (answers
                && other_has_ack
                && facts.syn.as_deref().is_none_or(|syn| !syn[direction][1 - point].seen)
                && seq::after(other_acked, node.seq));
        let serial = facts.serial;
        let more = facts.more_mut(direction, point);
        more.unmatched += 1;
        // Hosts on the way make ICMP errors, redirects and resets: their absence elsewhere is no loss.
        let icmp = matches!(node.kind, Kind::IcmpError | Kind::IcmpOther);
        let made = icmp || (node.kind == Kind::Tcp && node.flags & tcp_flags::RST != 0);
        more.made += u32::from(made);
        if missed_there {
            more.acked_unmatched += 1;
        } else if !made {
            more.lost_sizes[size_class(node.ip_len)] += 1;
        }
        extend_run(more, &node, matched_order);
        self.tally.unmatched[direction][point][node.kind as usize] += 1;
        self.tally.unmatched_sizes[direction][point][size_class(node.ip_len)] += 1;
        self.tally.unmatched_steps[direction][point][size_step(node.ip_len)] += 1;
        let order = u64::from(node.order);
        if !icmp {
            let event = node.event(serial, u32::from(missed_there), order, node.bytes_before);
            self.events.push(EventKind::Unmatched, event);
        }
        if node.wrong != 0 && !node.touched {
            self.events.push(EventKind::WrongChecksum, node.event(serial, 0, u64::from(node.wrong), 3));
        }
    }
}

/// Filler for the empty case of `split_first`, which the merge has excluded.
const EMPTY_ROW: Row = Row {
    time: 0,
    head: 0,
    l2: 0,
    frame: 0,
    flow: 0,
    seq: 0,
    ack: 0,
    len: 0,
    wirelen: 0,
    ip_len: 0,
    detail: 0,
    sum: 0,
    ip_id: 0,
    window: 0,
    bits: 0,
    flags: 0,
    ttl: 0,
    tos: 0,
    kind: Kind::Ip,
    l3_checksum: Checksum::Absent,
    l4_checksum: Checksum::Absent,
    protocol: 0,
    reserved: 0,
};

/// What makes a packet the same at both points whatever NAT does: payload ranges for TCP data, flags and numbers for
/// other segments, the digest and length of the payload for the rest.
#[inline]
fn content_key(row: &Row) -> u64 {
    match row.kind {
        Kind::Tcp if row.len > 0 => u64::from(row.seq) << 8 | 1,
        Kind::Tcp => {
            mix(u64::from(row.seq) << 32 | u64::from(row.ack), 0x9e37_79b9_7f4a_7c15 ^ u64::from(row.flags) << 3)
        }
        Kind::IcmpEcho => mix(row.head ^ u64::from(row.seq & 0xffff) << 20, u64::from(row.window) << 8 | 3),
        Kind::Fragment => mix(u64::from(row.ack) << 32 | u64::from(row.seq), 0xa076_1d64_78bd_642f),
        _ => row.head ^ (row.kind as u64) << 56,
    }
}

/// What tells a packet that comes again in its flow from all others.
#[inline]
fn copy_hash(key: u64, ip_id: u16, slot: u32, direction: usize) -> u64 {
    mix(key ^ u64::from(ip_id) << 40, u64::from(slot) << 1 ^ direction as u64 ^ 0x8ebc_6af0_9c88_c6e3)
}

/// The layer whose checksum is wrong: 3 or 4; 0 for none. Superframes have no checksum of their own.
#[inline]
fn wrong_layer(row: &Row, facts: &PairFacts) -> u8 {
    if row.l3_checksum == Checksum::Wrong {
        3
    } else if row.l4_checksum == Checksum::Wrong && row.ip_len <= facts.frame_limit() {
        4
    } else {
        0
    }
}

/// Whether one of node and row may be a piece of the other: segmentation offload counts the identification up by one for
/// each segment, so it must have advanced with the sequence number.
fn kin(node: &Node, row: &Row) -> bool {
    /// Smallest segment that a superframe is cut into in practice (IPv4's minimum of 576 bytes leaves 536).
    const SMALLEST: u32 = 500;
    /// Ids that a tunnel or another flow of the same sender may have taken in between.
    const SLACK: u32 = 2;
    if node.len == row.len && !node.touched {
        return node.ip_id == row.ip_id;
    }
    let (whole, piece) = if node.len >= row.len {
        ((node.seq, node.ip_id), (row.seq, row.ip_id))
    } else {
        ((row.seq, row.ip_id), (node.seq, node.ip_id))
    };
    let ahead = seq::distance(piece.0, whole.0);
    let steps = if ahead >= 0 { piece.1.wrapping_sub(whole.1) } else { whole.1.wrapping_sub(piece.1) };
    u32::from(steps) <= ahead.unsigned_abs() / SMALLEST + SLACK
}

/// Whether a row with the number and the identification of the packet right before it is that same packet.
fn captured_twice(row: &Row, own: &Track) -> bool {
    // Without an identification (IPv6, or zero) the time has to tell; and what is short may well be said twice, and what
    // was cut may go on differently.
    let named = row.ip_id != 0 || (row.len >= DISTINCTIVE && !row.has(bits::CUT));
    let at_once = row.time.saturating_sub(own.last_time) < tcp::AT_ONCE;
    named && at_once && matches!(row.kind, Kind::Tcp | Kind::Udp | Kind::IcmpEcho)
}

/// Whether the payload sums agree, as far as both packets were captured whole. TCP is matched by its numbers alone, so
/// that changed payload shows as such.
fn same_sum(node: &Node, row: &Row) -> bool {
    row.kind == Kind::Tcp || node.sum == row.sum || node.sum == 0 || row.sum == 0
}

fn overlaps(node: &Node, piece: (u32, u32)) -> bool {
    seq::before(node.seq, piece.1) && seq::before(piece.0, node.seq.wrapping_add(node.len))
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

/// Adds an unmatched packet to the run that it continues, or starts a new one.
fn extend_run(more: &mut TrackMore, node: &Node, matched_order: u32) {
    let stamp = Stamp { time: node.time, frame: node.frame };
    let run = &mut more.run;
    if run.count > 0 && (matched_order < run.first_order || matched_order == 0) {
        if node.order < matched_order {
            // Packets are concluded in any order: this one lies before the latest match, the run behind it.
            return;
        }
        if node.frame != run.first.frame && node.frame != run.last.frame {
            run.count += 1;
        }
        if node.order < run.first_order {
            run.first = stamp;
            run.first_order = node.order;
            run.before = node.before;
            run.idle = node.idle;
        }
        if stamp > run.last {
            run.last = stamp;
        }
        run.largest = run.largest.max(node.ip_len);
        run.smallest = run.smallest.min(node.ip_len);
        return;
    }
    if run.count > more.longest.count {
        more.longest = *run;
    }
    more.run = Run {
        count: 1,
        first: stamp,
        last: stamp,
        before: node.before,
        idle: node.idle,
        first_order: node.order,
        largest: node.ip_len,
        smallest: node.ip_len,
    };
}

/// Echo messages are numbered: from the first missing number on, the pace of those that come is kept.
#[cold]
fn note_echo(facts: &mut PairFacts, row: &Row, own: &Track, direction: usize, point: usize) {
    if !row.has(bits::REPLY) {
        facts.flags |= if direction == 0 { pair_flags::ECHO_OUTBOUND } else { pair_flags::ECHO_INBOUND };
    }
    let step = (row.seq as u16).wrapping_sub(own.last_seq as u16);
    let missing = if own.packets > 0 && step < 1 << 15 { u32::from(step).saturating_sub(1) } else { 0 };
    let begun = facts.more[direction][point].as_deref().is_some_and(|more| more.echo.count > 0);
    if begun || missing > 0 {
        facts.more_mut(direction, point).echo.add(Stamp { time: row.time, frame: row.frame }, missing);
    }
}

#[cold]
fn note_dns(
    facts: &mut PairFacts,
    row: &Row,
    dns: &crate::packet::detail::Dns,
    direction: usize,
    point: usize,
    now: i64,
) {
    if row.has(bits::GROUP) {
        return;
    }
    let at = Stamp { time: row.time, frame: row.frame };
    let known = facts.dns.get_or_insert_default();
    if dns.response {
        known.answer(dns.id, dns.question_type, direction, point, at);
    } else {
        known.ask(dns.id, dns.question_type, direction, point, at, now);
    }
}

#[cold]
fn note_gap(facts: &mut PairFacts, direction: usize, point: usize, own: &Track, row: &Row) {
    let gaps = &mut facts.more_mut(direction, point).gaps;
    let gap = (own.last().unwrap_or_default(), Stamp { time: row.time, frame: row.frame });
    let length = |gap: &(Stamp, Stamp)| gap.1.time - gap.0.time;
    if gaps.len() == MAX_GAPS {
        let shortest = (0..MAX_GAPS).min_by_key(|&index| length(&gaps[index])).unwrap_or(0);
        if length(&gaps[shortest]) >= length(&gap) {
            return;
        }
        gaps.remove(shortest);
    }
    gaps.push(gap);
}

#[cold]
fn note_reset(facts: &mut PairFacts, row: &Row, own: &Track, reverse: &Track, seen: &Seen) {
    facts.reset_count += 1;
    let (point, direction) = (Point::BOTH[seen.point], Direction::BOTH[seen.direction]);
    // The copy of a reset already known from the other point is found by the matcher.
    if facts.resets.len() >= MAX_RESETS {
        return;
    }
    let offender_jump = facts
        .more(direction.reverse(), point)
        .and_then(|more| more.holes.last())
        .filter(|hole| reverse.has(state::HOLES) && hole.1 == reverse.last_seq)
        .map_or_else(
            || seq::distance(reverse.last_seq, reverse.next).max(0) as u32,
            |hole| hole.1.wrapping_sub(hole.0),
        );
    let offender_acks_unseen = facts
        .more(direction, point)
        .and_then(|more| more.missed.last())
        .is_some_and(|&(_, edge)| edge == row.seq && own.acked == edge);
    let idle = if reverse.has(state::AFTER_SILENCE) { facts.silence[seen.point] } else { 0 };
    let turn = facts.turn;
    facts.resets.push(Reset {
        point,
        direction,
        at: Stamp { time: row.time, frame: row.frame },
        copy: None,
        fate: Fate::Open,
        ttl: row.ttl,
        usual_ttl: own.ttl * u8::from(own.packets > 0),
        ip_id: row.ip_id,
        window: row.window,
        flags: row.flags,
        partial: row.l4_checksum == Checksum::Partial,
        seq: row.seq,
        ack: row.ack,
        expected: own.has(state::SEQ).then_some(own.next),
        other_next: reverse.has(state::SEQ).then_some(reverse.next),
        own_state: own.state,
        other_state: reverse.state,
        own_outstanding: outstanding(own),
        other_outstanding: outstanding(reverse),
        offender: reverse.last().unwrap_or_default(),
        offender_fate: Fate::Open,
        idle,
        offender_seq: reverse.last_seq,
        offender_jump,
        offender_window: u32::from(own.window) << own.wscale,
        turn,
        acked_after: 0,
        crossed_late: 0,
        offender_acks_unseen,
        after: [0; 2],
        data_after: 0,
        answered: Stamp::default(),
    });
}

/// Bytes seen here and not acknowledged here.
fn outstanding(track: &Track) -> u32 {
    if track.has(state::SEQ) && track.has(state::ACK) {
        seq::distance(track.next, track.acked).max(0) as u32
    } else {
        0
    }
}

#[cold]
fn after_reset(facts: &mut PairFacts, row: &Row, direction: usize, point: usize) {
    for reset in facts.resets.iter_mut().filter(|reset| reset.point as usize == point) {
        reset.after[direction] = reset.after[direction].saturating_add(1);
        if direction == reset.direction as usize {
            if row.len > 0 && !seq::before(row.seq, reset.seq) {
                reset.data_after += 1;
            }
        } else {
            if row.is(tcp_flags::ACK) && !row.is(tcp_flags::RST) && seq::after(row.ack, reset.seq) {
                reset.acked_after += 1;
            }
            if reset.answered.frame == 0 {
                reset.answered = Stamp { time: row.time, frame: row.frame };
            }
        }
    }
}

/// Notes what became of a packet that a reset answered.
fn settle_offender(facts: &mut PairFacts, point: usize, frame: u32, fate: Fate) {
    let Some(rare) = facts.rare_mut() else { return };
    for reset in &mut rare.resets {
        if reset.point as usize == point && reset.offender.frame == frame {
            reset.offender_fate = fate;
        }
    }
}

/// A packet crossed: does it show that a connection outlived a reset?
/// The first copy of a range left the host after later ones that had entered it behind: its sender may think it lost.
#[cold]
fn overtaken(facts: &mut PairFacts, seen: &Seen, row: &Row, node: &Node) {
    let (low, high) =
        (seq::later(row.seq, node.seq), seq::earlier(row.seq.wrapping_add(row.len), node.seq.wrapping_add(node.len)));
    let ranges = &mut facts.more_mut(seen.direction, 1 - seen.direction).overtaken;
    if ranges.len() == MAX_OVERTAKEN {
        ranges.remove(0);
    }
    ranges.push((low, high));
}

#[cold]
fn crossed_late(facts: &mut PairFacts, seen: &Seen, row: &Row, node: &Node) {
    /// What was under way when the reset came has crossed by then.
    const LATE: i64 = SECOND;
    for reset in facts.resets.iter_mut().filter(|reset| reset.direction as usize != seen.direction) {
        let time = if reset.point as usize == seen.point { row.time } else { node.time };
        reset.crossed_late += u32::from(time.saturating_sub(reset.at.time) > LATE);
    }
}

/// A reset or an ICMP error was found at both points: one entry stays, the one of the point that it passed first.
#[cold]
fn crossed(facts: &mut PairFacts, row: &Row, seen: &Seen, node: &Node) {
    let entry = seen.direction;
    let (first, second) = if seen.point == entry {
        ((seen.point, row.frame, row.time), (1 - seen.point, node.frame, node.time))
    } else {
        ((1 - seen.point, node.frame, node.time), (seen.point, row.frame, row.time))
    };
    if row.kind == Kind::IcmpError {
        facts.icmp.retain(|error| !(error.at.frame == second.1 && error.point as usize == second.0));
        if let Some(error) =
            facts.icmp.iter_mut().find(|error| error.at.frame == first.1 && error.point as usize == first.0)
        {
            error.fate = Fate::Crossed;
        }
        return;
    }
    let copy =
        facts.resets.iter().find(|reset| reset.at.frame == second.1 && reset.point as usize == second.0).copied();
    let Some(index) =
        facts.resets.iter().position(|reset| reset.at.frame == first.1 && reset.point as usize == first.0)
    else {
        return;
    };
    facts.resets[index].fate = Fate::Crossed;
    facts.resets[index].copy = Some(Stamp { time: second.2, frame: second.1 });
    if copy.is_some() {
        facts.reset_count = facts.reset_count.saturating_sub(1);
        facts.resets.retain(|reset| !(reset.at.frame == second.1 && reset.point as usize == second.0));
    }
}

#[cold]
fn note_icmp(
    facts: &mut PairFacts,
    row: &Row,
    error: &crate::packet::detail::IcmpError,
    direction: usize,
    point: usize,
) {
    facts.icmp_count += 1;
    if facts.icmp.len() >= MAX_ICMP {
        return;
    }
    facts.icmp.push(IcmpSeen {
        point: Point::BOTH[point],
        direction: Direction::BOTH[direction],
        at: Stamp { time: row.time, frame: row.frame },
        fate: Fate::Open,
        reporter: error.reporter,
        kind: (error.icmp_type, error.code),
        mtu: error.mtu,
        ttl: row.ttl,
        v6: row.has(bits::V6),
        quoted_len: error.quoted_len,
        larger_after: 0,
        smaller_after: 0,
        quoted_seq: error.quoted_seq,
        first_larger: Stamp::default(),
        last_larger: Stamp::default(),
    });
}

/// Counts packets above the announced MTU after an ICMP error announced it.
#[cold]
fn note_larger(facts: &mut PairFacts, row: &Row, direction: usize, point: usize) {
    /// What was under way when the error was sent arrives within a round trip; half a second covers most of them.
    const UNDER_WAY: i64 = 500 * MILLISECOND;
    /// The sender forgets what it learned after ten minutes (`mtu_expires`) and may try again.
    const FORGOTTEN: i64 = 500 * SECOND;
    let at = Stamp { time: row.time, frame: row.frame };
    for error in &mut facts.icmp {
        let age = row.time.saturating_sub(error.at.time);
        if error.direction as usize == direction
            || error.point as usize != point
            || !(UNDER_WAY..FORGOTTEN).contains(&age)
        {
            continue;
        }
        if row.ip_len <= error.limit() {
            error.smaller_after += 1;
        } else if row.ip_len <= error.quoted_len.max(ETHERNET_MTU) && row.has(bits::DONT_FRAGMENT) {
            // What is larger still is a superframe, whose segments are not known here.
            error.larger_after += 1;
            error.last_larger = at;
            if error.first_larger.frame == 0 {
                error.first_larger = at;
            }
        }
    }
}

/// Keeps the largest segment that was acknowledged: one outstanding segment at a time is followed until its ACK comes.
#[inline]
fn note_largest(facts: &mut PairFacts, own: &Track, row: &Row, direction: usize) {
    // A superframe leaves in segments of the MSS.
    let size = row.ip_len.min(facts.frame_limit());
    if size <= facts.largest_acked[direction] {
        return;
    }
    let (edge, probed) = facts.probe[direction];
    if probed == 0 {
        facts.probe[direction] = (row.seq.wrapping_add(row.len), size);
    } else if own.has(state::ACK) && !seq::after(edge, own.acked) {
        facts.probe[direction] = (0, 0);
        facts.largest_acked[direction] = facts.largest_acked[direction].max(probed);
    }
}

#[cold]
fn note_options(
    facts: &mut PairFacts,
    row: &Row,
    options: &crate::packet::detail::TcpOptions,
    own: &mut Track,
    reverse: &Track,
    direction: usize,
    point: usize,
) {
    if row.is(tcp_flags::SYN) {
        if let Some(shift) = options.window_scale {
            own.wscale = shift.min(14);
            own.state |= state::WSCALE;
        }
        if let Some(mss) = options.mss {
            // The MSS leaves out the fixed headers alone (RFC 6691).
            let size = u32::from(mss) + if row.has(bits::V6) { 60 } else { 40 };
            facts.segment_limit = if facts.segment_limit == 0 { size } else { facts.segment_limit.min(size) };
        }
        let syn = &mut facts.syn.get_or_insert_default()[direction][point];
        if !syn.seen {
            syn.seen = true;
            syn.mss = options.mss;
            syn.window_scale = options.window_scale;
            syn.sack_permitted = options.sack_permitted;
            syn.timestamps = options.timestamps;
            syn.first = Stamp { time: row.time, frame: row.frame };
            syn.isn = row.seq;
        }
        syn.times = syn.times.saturating_add(1);
    } else if options.sack_blocks > 0 {
        // D-SACK (RFC 2883): the first block lies below the ACK point, or inside the second block.
        let (left, right) = options.sack[0];
        let below = !seq::after(right, row.ack);
        let inside =
            options.sack_blocks > 1 && !seq::before(left, options.sack[1].0) && !seq::after(right, options.sack[1].1);
        if (below || inside) && reverse.has(state::SEQ) {
            facts.reported_twice[1 - direction] += u32::from(point == 1);
        }
    }
}
