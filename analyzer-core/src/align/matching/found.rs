//! What it means that a packet was found at both points: its delay and order, its checksums, and where the original of a
//! retransmission was lost.

use super::notes::{crossed, crossed_late, overtaken, settle_offender};
use super::search::content_key;
use super::waiting::{Node, copy_hash};
use super::{HASH, NONE, RECENT, Seen, Shard, event};
use crate::facts::{Event, EventKind, Fate, state};
use crate::flow::tcp::{COPY_DISTANCE, Class};
use crate::packet::row::tcp_flags;
use crate::packet::{Checksum, Kind, Row};
use crate::seq;
use crate::time::SECOND;

#[expect(
    clippy::inline_always,
    reason = "a part of the path of every packet, which knows its point when it is compiled"
)]
impl Shard {
    /// Facts of a match. The node is not unlinked here.
    #[inline(always)]
    pub(super) fn matched(&mut self, id: u32, row: &Row, seen: &Seen, exact: bool, sure: bool, wrong: u8) {
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
            let difference = time_b - time_a;
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
    pub(super) fn mark_copies(&mut self, id: u32) {
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
    pub(super) fn repeated(&mut self, node: &Node, row: &Row, seen: &Seen, entry_class: Class, exit_class: Class) {
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
    pub(super) fn crossed_again(&mut self, node: &Node, row: &Row, seen: &Seen, earlier: u32) {
        let serial = self.facts[seen.slot as usize].serial;
        let event = if seen.point == seen.direction {
            node.event(serial, row.frame, u64::from(earlier), 0)
        } else {
            event(serial, row, seen, node.frame, u64::from(earlier), 0)
        };
        self.events.push(EventKind::CrossedAgain, event);
    }

    #[cold]
    pub(super) fn wrong_checksum(&mut self, node: &Node, row: &Row, seen: &Seen, wrong: u8, node_wrong: bool) {
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
}
