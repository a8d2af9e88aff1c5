//! What a packet tells of its flow beside its match: silences, resets, ICMP errors, options, questions. Rare, and kept with a
//! bound.

use super::waiting::Node;
use super::{ETHERNET_MTU, Seen};
use crate::align::offers::DISTINCTIVE;
use crate::facts::{
    Fate, IcmpSeen, MAX_ICMP, MAX_RESETS, MAX_TOLD, PairFacts, Reset, Stamp, SynOptions, Track, pair_flags, state,
};
use crate::flow::tcp;
use crate::packet::row::{bits, tcp_flags};
use crate::packet::{Checksum, Kind, Row};
use crate::point::{Direction, Point};
use crate::seq;
use crate::time::{MILLISECOND, SECOND};

/// Most silences kept of a flow.
const MAX_PAUSES: usize = 8;

/// Whether a row with the number and the identification of the packet right before it is that same packet.
pub(super) fn captured_twice(row: &Row, own: &Track) -> bool {
    // Without an identification (IPv6, or zero) the time has to tell; and what is short may well be said twice, and what
    // was cut may go on differently.
    let named = row.ip_id != 0 || (row.len >= DISTINCTIVE && !row.has(bits::CUT));
    let at_once = row.time.saturating_sub(own.last_time) < tcp::AT_ONCE;
    named && at_once && matches!(row.kind, Kind::Tcp | Kind::Udp | Kind::IcmpEcho)
}

/// Echo messages are numbered: from the first missing number on, the pace of those that come is kept.
#[cold]
pub(super) fn note_echo(facts: &mut PairFacts, row: &Row, own: &Track, direction: usize, point: usize) {
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
pub(super) fn note_dns(
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

/// A silence of a direction ended; it is kept if the other direction spoke well into it and a detector may ask for it.
#[cold]
#[inline(never)]
pub(super) fn note_pause(
    facts: &mut PairFacts,
    direction: usize,
    point: usize,
    own: &Track,
    reverse: &Track,
    row: &Row,
) {
    /// How far into the silence the other direction must have spoken: beyond any delayed ACK (40 to 200 ms).
    const OPPOSITE: i64 = 150 * MILLISECOND;
    if own.packets == 0 || reverse.last_time - own.last_time < OPPOSITE {
        return;
    }
    if row.kind == Kind::Udp {
        let longest = &mut facts.talk_mut().longest_pause[direction][point];
        *longest = (*longest).max(row.time - own.last_time);
    }
    if (direction, point) != (Direction::Outbound.index(), Point::A.index()) {
        return;
    }
    let pause = (own.last_time, Stamp { time: row.time, frame: row.frame });
    let length = |pause: &(i64, Stamp)| pause.1.time - pause.0;
    let mut pauses = std::mem::take(&mut facts.pauses).into_vec();
    if pauses.len() == MAX_PAUSES {
        let shortest = (0..MAX_PAUSES).min_by_key(|&index| length(&pauses[index])).unwrap_or(0);
        if length(&pauses[shortest]) < length(&pause) {
            pauses.remove(shortest);
            pauses.push(pause);
        }
    } else {
        // Most flows have one or two: no more room than that.
        pauses.reserve_exact(1);
        pauses.push(pause);
    }
    facts.pauses = pauses.into_boxed_slice();
}

#[cold]
pub(super) fn note_reset(facts: &mut PairFacts, row: &Row, own: &Track, reverse: &Track, seen: &Seen) {
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
pub(super) fn outstanding(track: &Track) -> u32 {
    if track.has(state::SEQ) && track.has(state::ACK) {
        seq::distance(track.next, track.acked).max(0) as u32
    } else {
        0
    }
}

#[cold]
pub(super) fn after_reset(facts: &mut PairFacts, row: &Row, direction: usize, point: usize) {
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
pub(super) fn settle_offender(facts: &mut PairFacts, point: usize, frame: u32, fate: Fate) {
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
pub(super) fn overtaken(facts: &mut PairFacts, seen: &Seen, row: &Row, node: &Node) {
    let (low, high) =
        (seq::later(row.seq, node.seq), seq::earlier(row.seq.wrapping_add(row.len), node.seq.wrapping_add(node.len)));
    facts.more_mut(seen.direction, 1 - seen.direction).overtaken.push((low, high));
}

#[cold]
pub(super) fn crossed_late(facts: &mut PairFacts, seen: &Seen, row: &Row, node: &Node) {
    /// What was under way when the reset came has crossed by then.
    const LATE: i64 = SECOND;
    for reset in facts.resets.iter_mut().filter(|reset| reset.direction as usize != seen.direction) {
        let time = if reset.point as usize == seen.point { row.time } else { node.time };
        reset.crossed_late += u32::from(time.saturating_sub(reset.at.time) > LATE);
    }
}

/// A reset or an ICMP error was found at both points: one entry stays, the one of the point that it passed first.
#[cold]
pub(super) fn crossed(facts: &mut PairFacts, row: &Row, seen: &Seen, node: &Node) {
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
pub(super) fn note_icmp(
    facts: &mut PairFacts,
    row: &Row,
    error: &crate::packet::detail::IcmpError,
    direction: usize,
    point: usize,
) {
    facts.icmp_count += 1;
    let seen = IcmpSeen {
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
    };
    if facts.icmp.len() < MAX_ICMP {
        facts.icmp.push(seen);
    } else if seen.too_big() && facts.told.len() < MAX_TOLD {
        let again = |&(at, time): &(Point, i64)| at == seen.point && row.time.saturating_sub(time) < SECOND;
        if !facts.told.last().is_some_and(again) {
            facts.told.push((seen.point, row.time));
        }
    }
}

/// Counts packets above the announced MTU after an ICMP error announced it.
#[cold]
pub(super) fn note_larger(facts: &mut PairFacts, row: &Row, direction: usize, point: usize) {
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
pub(super) fn note_largest(facts: &mut PairFacts, own: &Track, row: &Row, direction: usize) {
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
pub(super) fn note_options(
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
        if !syn.seen() {
            let first = Stamp { time: row.time, frame: row.frame };
            *syn = SynOptions::new(first, row.seq, row.is(tcp_flags::ACK), options);
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

/// The layer whose checksum is wrong: 3 or 4; 0 for none. Superframes have no checksum of their own.
#[inline]
pub(super) fn wrong_layer(row: &Row, facts: &PairFacts) -> u8 {
    if row.l3_checksum == Checksum::Wrong {
        3
    } else if row.l4_checksum == Checksum::Wrong && row.ip_len <= facts.frame_limit() {
        4
    } else {
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_silences_of_a_flow_are_kept() {
        let mut facts = PairFacts::default();
        let (mut own, mut reverse, mut row) = (Track::default(), Track::default(), Row::default());
        own.packets = 1;
        let lengths = [3, 9, 1, 4, 8, 2, 7, 5, 6, 0, 12, 10];
        for (frame, seconds) in lengths.into_iter().enumerate() {
            (row.frame, row.time) = (frame as u32, own.last_time + seconds * SECOND);
            reverse.last_time = row.time;
            for (direction, point) in [(0, 0), (0, 1), (1, 0)] {
                note_pause(&mut facts, direction, point, &own, &reverse, &row);
            }
            own.last_time = row.time;
        }
        let kept = facts.pauses.iter().map(|(since, next)| (next.time - since) / SECOND);
        assert_eq!(kept.collect::<Vec<_>>(), [9, 4, 8, 7, 5, 6, 12, 10], "in their order");
    }
}
