//! Looks for the copy of a row among the packets of the other point that still wait for theirs.

use super::waiting::Node;
use super::{NONE, Seen, Shard, WAIT};
use crate::facts::state;
use crate::flow::tcp::Class;
use crate::hash::mix;
use crate::packet::row::bits;
use crate::packet::{Checksum, Kind, Row};
use crate::seq;

/// Steps of a search through waiting packets, forward from the cursor.
const SEARCH_AHEAD: usize = 256;
/// Steps of a search backwards from the cursor.
const SEARCH_BACK: usize = 64;

/// What it takes to match payload by range, kept so that no row has to ask for memory. Empty between two
/// rows, but for the last three: who uses those clears them first.
#[derive(Debug, Default)]
pub(super) struct Parts {
    /// Ranges of the row that nothing was found for yet.
    pieces: Vec<(u32, u32)>,
    /// Packets that may share some of them.
    candidates: Vec<u32>,
    /// Where those that did end, and their identification.
    taken: Vec<(u32, u16)>,
    /// What becomes of the row's ranges.
    rest: Vec<(u32, u32)>,
    /// What is left of such a packet, and what becomes of that.
    left: Vec<(u32, u32)>,
    spare: Vec<(u32, u32)>,
}

#[expect(
    clippy::inline_always,
    reason = "a part of the path of every packet, which knows its point when it is compiled"
)]
impl Shard {
    /// Looks for the row's copy; what is not found waits.
    #[inline(always)]
    pub(super) fn find(&mut self, row: &Row, seen: &Seen, wrong: u8) {
        let other = &self.tracks[seen.slot as usize][seen.direction][1 - seen.point];
        let key = content_key(row);
        let data = row.kind == Kind::Tcp && row.len > 0;
        let is_copy = |node: &Node| {
            node.key == key
                && node.ip_id == row.ip_id
                && node.len == row.len
                && same_sum(node, row)
                && self.near(node, seen)
        };
        // The first two that a search would come to: packets that change places stand beside one another.
        let cursor = other.cursor;
        let first = if cursor == NONE { other.pending.1 } else { cursor };
        let mut found = NONE;
        if first != NONE {
            let node = &self.nodes[first as usize];
            // Without an identification only the time tells a retransmission's copy from the original's: no short cut then.
            let told_apart = row.ip_id != 0 || (cursor != NONE && matches!(seen.class, Class::New | Class::Ack));
            if told_apart && is_copy(node) {
                found = first;
            } else if row.ip_id != 0 {
                let second = if cursor == NONE || node.next == NONE { node.prev } else { node.next };
                if second != NONE && is_copy(&self.nodes[second as usize]) {
                    found = second;
                }
            }
        }
        if found != NONE {
            self.matched(found, row, seen, true, true, wrong);
            self.unlink(found);
            return;
        }
        if other.pending.0 == NONE {
            self.wait(row, seen, key, (row.seq, row.len), false, wrong);
        } else if data {
            self.find_range(row, seen, key, wrong);
        } else {
            self.find_exact(row, seen, key, wrong);
        }
    }

    /// Walks the waiting packets of the other point around the cursor; where many more wait behind it, also the latest:
    /// when a capture begins in the middle, those that precede it stay, and the first match stands right at the end.
    pub(super) fn walk(&self, seen: &Seen, mut visit: impl FnMut(u32, &Node) -> bool) {
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
        // What the first walk did not come to.
        let (first, mut latest) = (at, other.pending.1);
        for _ in 0..SEARCH_AHEAD {
            if first == NONE {
                break;
            }
            let node = &self.nodes[latest as usize];
            if visit(latest, node) || latest == first {
                return;
            }
            latest = node.prev;
        }
    }

    #[inline(never)]
    pub(super) fn find_exact(&mut self, row: &Row, seen: &Seen, key: u64, wrong: u8) {
        let mut best = NONE;
        let mut sure = false;
        let unsure = self.takes_unsure(row, seen);
        self.walk(seen, |id, node| {
            if node.key != key || node.len != row.len || !same_sum(node, row) || !self.near(node, seen) {
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
    pub(super) fn damaged_copy(&self, row: &Row, seen: &Seen, key: u64) -> u32 {
        let mut found = NONE;
        self.walk(seen, |id, node| {
            let same = node.kind == row.kind && node.len == row.len && node.ip_id == row.ip_id && row.ip_id != 0;
            let broken = row.l4_checksum == Checksum::Wrong || node.checksum == Checksum::Wrong;
            // With right checksums at both points the head of the payload must be the same, else it is another datagram.
            if same && (broken || node.key == key) && self.near(node, seen) {
                found = id;
            }
            found != NONE
        });
        found
    }

    /// Matches payload by range: exactly the same segment, else segments cut from or merged into one another, else any overlap.
    #[inline(never)]
    pub(super) fn find_range(&mut self, row: &Row, seen: &Seen, key: u64, wrong: u8) {
        let mut exact = NONE;
        let mut apart = i64::MAX;
        self.walk(seen, |id, node| {
            if node.key != key || node.len != row.len || node.ip_id != row.ip_id || !self.near(node, seen) {
                return false;
            }
            // Several only where there is no identification: the nearest in time is the copy.
            let distance = self.on_a(node.place & 1, node.time).saturating_sub(seen.now).saturating_abs();
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
        let whole = (row.seq, row.seq.wrapping_add(row.len));
        let mut shared = false;
        self.walk(seen, |_, node| {
            shared = node.data && overlaps(node, whole);
            shared
        });
        if !shared {
            self.wait(row, seen, key, (row.seq, row.len), false, wrong);
            return;
        }
        let mut parts = std::mem::take(&mut self.parts);
        parts.pieces.push(whole);
        let mut touched = false;
        for strict in [true, false] {
            if parts.pieces.is_empty() || (!strict && !self.takes_unsure(row, seen)) {
                break;
            }
            let Parts { pieces, candidates, .. } = &mut parts;
            self.walk(seen, |id, node| {
                // A damaged packet goes no further in good order: what is right beyond it is its retransmission.
                let damaged_before = if seen.point == seen.direction { wrong } else { node.wrong };
                if node.data
                    && (damaged_before == 0 || node.ip_id == row.ip_id)
                    && self.near(node, seen)
                    && (!strict || kin(node, row))
                    && pieces.iter().any(|piece| overlaps(node, *piece))
                {
                    candidates.push(id);
                }
                false
            });
            for index in 0..parts.candidates.len() {
                let id = parts.candidates[index];
                let node = self.nodes[id as usize];
                if self.take_overlap(id, row, seen, &mut parts, touched, wrong) {
                    touched = true;
                    parts.taken.push((node.seq.wrapping_add(node.len), node.ip_id));
                }
            }
            parts.candidates.clear();
        }
        for &(start, end) in &parts.pieces {
            // What is left of a superframe behind a segment begins with the next identification.
            let before = parts.taken.iter().find(|(end, _)| *end == start);
            let ip_id = before.map_or(row.ip_id, |(_, ip_id)| ip_id.wrapping_add(1));
            self.wait(&Row { ip_id, ..*row }, seen, key, (start, end.wrapping_sub(start)), touched, wrong);
        }
        parts.pieces.clear();
        parts.taken.clear();
        self.parts = parts;
    }

    /// Cuts what node and pieces share out of both. Returns whether they shared anything.
    pub(super) fn take_overlap(
        &mut self,
        id: u32,
        row: &Row,
        seen: &Seen,
        parts: &mut Parts,
        touched: bool,
        wrong: u8,
    ) -> bool {
        let node = self.nodes[id as usize];
        let (low, high) = (node.seq, node.seq.wrapping_add(node.len));
        let Parts { pieces, rest, left, spare, .. } = parts;
        left.clear();
        left.push((low, high));
        let mut any = false;
        rest.clear();
        for &(start, end) in &*pieces {
            let (cut_start, cut_end) = (seq::later(start, low), seq::earlier(end, high));
            if !seq::before(cut_start, cut_end) {
                rest.push((start, end));
                continue;
            }
            any = true;
            rest.extend([(start, cut_start), (cut_end, end)].into_iter().filter(|part| part.0 != part.1));
            spare.clear();
            let cut = |(from, to)| [(from, seq::earlier(to, cut_start)), (seq::later(from, cut_end), to)];
            spare.extend(left.iter().copied().flat_map(cut).filter(|part| seq::before(part.0, part.1)));
            std::mem::swap(left, spare);
        }
        if !any {
            return false;
        }
        std::mem::swap(pieces, rest);
        let exact = node.seq == row.seq && node.len == row.len && !node.touched && !touched;
        self.matched(id, row, seen, exact, false, if touched { 0 } else { wrong });
        if touched {
            // The row had been counted with its first piece.
            let own = &mut self.tracks[seen.slot as usize][seen.direction][seen.point];
            own.matched = own.matched.saturating_sub(1);
            self.tally.matched[seen.point] -= 1;
        }
        if let Some((&(start, end), more)) = parts.left.split_first() {
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

    /// Whether a copy under another IP identification may be taken: not where this flow is known to keep them, and not
    /// before the other capture has been read up to the row's time, since its true copy may be yet to come.
    pub(super) fn takes_unsure(&self, row: &Row, seen: &Seen) -> bool {
        let kept = self.tracks[seen.slot as usize][seen.direction][seen.point].has(state::ID_KEPT);
        row.ip_id == 0 || (!kept && seen.now <= self.read_to[1 - seen.point])
    }

    /// Whether a waiting packet and a row may be copies, by their times.
    #[inline]
    pub(super) fn near(&self, node: &Node, seen: &Seen) -> bool {
        let apart = self.on_a(node.place & 1, node.time) - seen.now;
        apart.unsigned_abs() <= WAIT as u64
    }
}

/// What makes a packet the same at both points whatever NAT does: payload ranges for TCP data, flags and numbers for
/// other segments, the digest and length of the payload for the rest.
#[inline]
pub(super) fn content_key(row: &Row) -> u64 {
    match row.kind {
        Kind::Tcp if row.len > 0 => u64::from(row.seq) << 8 | 1,
        Kind::Tcp => {
            mix(u64::from(row.seq) << 32 | u64::from(row.ack), 0x9e37_79b9_7f4a_7c15 ^ u64::from(row.flags) << 3)
        }
        Kind::IcmpEcho => mix(row.head ^ u64::from(row.seq & 0xffff) << 20, u64::from(row.window) << 8 | 3),
        Kind::Fragment => {
            // That of IPv4 may have been rewritten, and decides among equals like that of all packets.
            let id = if row.has(bits::V6) { row.ack } else { 0 };
            mix(u64::from(id) << 32 | u64::from(row.seq), row.head ^ 0xa076_1d64_78bd_642f)
        }
        _ => row.head ^ (row.kind as u64) << 56,
    }
}

/// Whether one of node and row may be a piece of the other: segmentation offload counts the identification up by one for
/// each segment, so it must have advanced with the sequence number.
pub(super) fn kin(node: &Node, row: &Row) -> bool {
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

/// Whether the payload sums agree, as far as both packets were captured whole. TCP is matched by its numbers alone, so
/// that changed payload shows as such.
pub(super) fn same_sum(node: &Node, row: &Row) -> bool {
    row.kind == Kind::Tcp || node.sum == row.sum || node.sum == 0 || row.sum == 0
}

pub(super) fn overlaps(node: &Node, piece: (u32, u32)) -> bool {
    seq::before(node.seq, piece.1) && seq::before(piece.0, node.seq.wrapping_add(node.len))
}
