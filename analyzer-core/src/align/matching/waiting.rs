//! The packets that wait for their copies: lists threaded through one slab, and the end of the waiting.

use super::notes::settle_offender;
use super::{HASH, NONE, RECENT, Seen, Shard, WAIT, protocol_of};
use crate::align::clock::{GUARD, Overlap};
use crate::facts::{Event, EventKind, Fate, Run, Seldom, Stamp, size_class, size_step, state};
use crate::flow::tcp::{COPY_DISTANCE, Class};
use crate::hash::mix;
use crate::packet::row::tcp_flags;
use crate::packet::{Checksum, Kind, Row};
use crate::point::Point;
use crate::seq;
use crate::time::MILLISECOND;

/// A packet, or a part of one, that waits for its copy.
#[derive(Clone, Copy, Debug)]
pub(super) struct Node {
    pub(super) key: u64,
    pub(super) time: i64,
    pub(super) next: u32,
    pub(super) prev: u32,
    /// Slot << 2 | direction << 1 | point.
    pub(super) place: u32,
    pub(super) seq: u32,
    pub(super) len: u32,
    pub(super) frame: u32,
    pub(super) order: u32,
    pub(super) ip_len: u32,
    pub(super) bytes_before: u64,
    /// Time of the previous packet of this direction (0 for none).
    pub(super) before: i64,
    /// Silence of both directions before it.
    pub(super) idle: i64,
    pub(super) ip_id: u16,
    pub(super) sum: u16,
    pub(super) kind: Kind,
    pub(super) class: Class,
    pub(super) flags: u8,
    pub(super) tos: u8,
    pub(super) checksum: Checksum,
    /// Frame of the packet that this one repeats at the same point; 0 for none.
    pub(super) again: u32,
    /// Layer of a checksum that is wrong; 0 for none.
    pub(super) wrong: u8,
    pub(super) touched: bool,
    pub(super) data: bool,
    pub(super) live: bool,
}

impl Node {
    /// An event about the packet.
    pub(super) fn event(&self, serial: u32, other_frame: u32, a: u64, b: u64) -> Event {
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

#[expect(
    clippy::inline_always,
    reason = "a part of the path of every packet, which knows its point when it is compiled"
)]
impl Shard {
    /// Puts a row, or the part `[seq, seq + len)` of it, on the waiting list.
    #[inline(always)]
    pub(super) fn wait(&mut self, row: &Row, seen: &Seen, key: u64, (seq, len): (u32, u32), touched: bool, wrong: u8) {
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
    pub(super) fn comes_again(&self, row: &Row, seen: &Seen, key: u64) -> u32 {
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

    #[inline(always)]
    pub(super) fn allocate(&mut self, node: Node) -> u32 {
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

    pub(super) fn insert_after(&mut self, id: u32, node: Node) {
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

    #[inline(always)]
    pub(super) fn unlink(&mut self, id: u32) {
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
    pub(super) fn sweep(&mut self, now: i64, overlap: &Overlap) {
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
    pub(super) fn learn_least_wait(&mut self) {
        /// Whatever the others took: a busy host may keep a packet for some milliseconds.
        const LEAST: i64 = 10 * MILLISECOND;
        /// Times of nearly all others: queues vary.
        const SLOWER: i64 = 4;
        let usual = self.tally.delays.iter().filter_map(|delays| delays.quantile(0.99)).max();
        self.least_wait = usual.map_or(GUARD, |usual| usual.saturating_mul(SLOWER).clamp(LEAST, WAIT));
    }

    /// Packets that left the host at a point after a time of A's clock and still wait for the copy that must have come in at the
    /// other, of flows that this one knows. Resets and ICMP errors do not count: hosts make them.
    #[cold]
    pub fn left_after(&self, point: usize, time: i64) -> u64 {
        let leaving = Point::BOTH[point].leaving().index();
        let own = |node: &Node| {
            let (slot, direction, at) =
                ((node.place >> 2) as usize, (node.place >> 1 & 1) as usize, (node.place & 1) as usize);
            let made = node.kind == Kind::IcmpError || node.kind == Kind::Tcp && node.flags & tcp_flags::RST != 0;
            let leaves = at == point && direction == leaving;
            leaves && !made && self.tracks[slot][direction][1 - point].matched > 0
        };
        let late = |node: &&Node| node.live && own(node) && self.on_a(node.place & 1, node.time) > time;
        self.nodes.iter().filter(late).count() as u64
    }

    /// The end of both captures: nothing more will come.
    pub fn finish(&mut self, overlap: &Overlap) {
        self.now = i64::MAX;
        for id in 0..self.nodes.len() as u32 {
            if self.nodes[id as usize].live {
                self.conclude(id, overlap);
            }
        }
        self.tally.take(&mut self.passing);
    }

    /// Frees what packets waited in, at the end of both captures.
    pub fn forget_packets(&mut self) {
        (self.nodes, self.recent, self.free_node) = (Vec::new(), Vec::new(), None);
    }

    /// Whether the host itself has refused the packet by ICMP, or one before it while the other end was silent: then it was
    /// not forwarded, whether or not the other capture ran.
    fn refused(&self, node: &Node) -> bool {
        /// How soon it does: within 100 µs or so when it is idle.
        const SOON: i64 = 5 * MILLISECOND;
        /// The TTL of Linux (`ip_default_ttl`), from which what it forwards for the flow has to differ: a guest's own refusal
        /// crosses the host.
        const HOSTS: u8 = 64;
        let (slot, direction, point) =
            ((node.place >> 2) as usize, (node.place >> 1 & 1) as usize, (node.place & 1) as usize);
        let answers = &self.tracks[slot][1 - direction];
        if answers[point].ttl == 0 || answers[point].ttl == HOSTS {
            return false;
        }
        let spoke = self.on_a(1 - point as u32, answers[1 - point].last_time);
        self.facts[slot].icmp.iter().any(|error| {
            error.direction as usize != direction
                && error.point as usize == point
                && error.ttl == HOSTS
                && error.at.time <= node.time.saturating_add(SOON)
                && spoke < self.on_a(point as u32, error.at.time)
        })
    }

    /// A packet stands at one point twice and once at the other.
    pub(super) fn stands_twice(&mut self, node: &Node) {
        let (slot, direction, point) =
            ((node.place >> 2) as usize, (node.place >> 1 & 1) as usize, (node.place & 1) as usize);
        let facts = &mut self.facts[slot];
        facts.more_mut(direction, point).duplicates += 1;
        self.events.push(EventKind::Duplicate, node.event(facts.serial, 0, u64::from(node.again), 0));
    }

    /// No copy came: the node is unmatched.
    #[cold]
    #[inline(never)]
    pub(super) fn conclude(&mut self, id: u32, overlap: &Overlap) {
        let node = self.nodes[id as usize];
        self.unlink(id);
        let (slot, direction, point) =
            ((node.place >> 2) as usize, (node.place >> 1 & 1) as usize, (node.place & 1) as usize);
        let other = &self.tracks[slot][direction][1 - point];
        let (other_acked, other_has_ack, matched_order) =
            (other.acked, other.has(state::ACK), self.tracks[slot][direction][point].matched_order);
        let time = self.on_a(node.place & 1, node.time);
        // Near its end the other capture still ran if it saw what came later.
        let passed_by = node.order < matched_order && overlap.covers_to_the_end(1 - point, time);
        let covered = passed_by || overlap.covers(1 - point, time);
        // What has to go at once is no loss: its copy may be under way.
        let waited = self.now.saturating_sub(time);
        let hurried = (1 - WAIT..self.least_wait).contains(&waited);
        self.hurried += u64::from(hurried);
        if hurried || !covered && !self.refused(&node) {
            let facts = &mut self.facts[slot];
            facts.more_mut(direction, point).edge += 1;
            return;
        }
        let facts = &mut self.facts[slot];
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
        // A FIN takes a sequence number of its own.
        let fin = node.kind == Kind::Tcp && node.flags & tcp_flags::FIN != 0 && !node.data;
        let end = node.seq.wrapping_add(node.len.max(u32::from(fin)));
        let missed_there = (node.data || fin)
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
                && facts.syn.as_deref().is_none_or(|syn| !syn[direction][1 - point].seen())
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

/// Adds an unmatched packet to the run that it continues, or starts a new one.
pub(super) fn extend_run(more: &mut Seldom, node: &Node, matched_order: u32) {
    let stamp = Stamp { time: node.time, frame: node.frame };
    let run = &mut more.run;
    // Packets are concluded some seconds after they came: by then later ones may have matched.
    let next = run.count > 0 && node.order == run.first_order + run.count;
    if run.count > 0 && (next || matched_order < run.first_order || matched_order == 0) {
        if node.order < matched_order && !next {
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

/// What tells a packet that comes again in its flow from all others.
#[inline]
pub(super) fn copy_hash(key: u64, ip_id: u16, slot: u32, direction: usize) -> u64 {
    mix(key ^ u64::from(ip_id) << 40, u64::from(slot) << 1 ^ direction as u64 ^ 0x8ebc_6af0_9c88_c6e3)
}
