//! TCP at one point: what a segment is, judged from what this point has seen of both directions (RFC 9293, 5681, 2883).
//!
//! Nothing here knows the other point. Segments whose checksum is wrong must not come here: their receiver drops them.

use crate::facts::{Head, Holes, PairFacts, Stamp, Track, TrackMore, state};
use crate::packet::row::{Row, tcp_flags};
use crate::seq;
use crate::time::MILLISECOND;

/// What a segment brings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Class {
    /// No sequence space: a pure acknowledgment.
    Ack,
    /// Bytes not seen here before.
    New,
    /// Bytes not seen here before, below others that were.
    Late,
    /// Only bytes seen before.
    Retransmission,
    /// Only bytes seen before, and not needed: acknowledged already.
    Spurious,
    /// A keep-alive probe or a probe of a closed window.
    Probe,
    /// The same packet once more.
    Duplicate,
}

impl Class {
    /// Whether the segment repeats what this point has seen.
    pub const fn repeats(self) -> bool {
        matches!(self, Self::Retransmission | Self::Spurious)
    }
}

/// A jump of the sequence number beyond any window (RFC 7323 allows 2^30): the state starts anew.
const LARGEST_JUMP: i32 = 1 << 30;
/// Packets of its flow that may stand between a packet and its copy in one capture.
pub const COPY_DISTANCE: u16 = 16;
/// Sooner than this no sender repeats: a probe timeout is 10 ms at least (RFC 8985, section 7.2).
pub const AT_ONCE: i64 = MILLISECOND / 2;
/// How far the stamps of two processors, queues or ports may be apart: two interrupts of the 20,000 in a second that drivers allow
/// (e1000e's `InterruptThrottleRate`).
const STAMPS: i64 = MILLISECOND / 10;
/// The same without the room that the other needs, where several repetitions are seen.
const SOONEST_REPETITION: i64 = 10 * MILLISECOND;
/// The smallest retransmission timeout in use (Linux, `TCP_RTO_MIN`).
const SHORTEST_TIMEOUT: i64 = 200 * MILLISECOND;
/// Ranges acknowledged unseen that are remembered for one direction.
const MAX_MISSED: usize = 16;
/// The longest of them: sequence numbers compare within half of their space (RFC 9293, section 3.4).
const MAX_RANGE: u32 = 1 << 30;

/// Takes a segment into account. `own` is its direction's track at this point, `reverse` the other direction's.
#[inline(always)]
#[expect(clippy::inline_always, reason = "a part of the path of every packet")]
pub fn observe(
    row: &Row,
    own: &mut Track,
    reverse: &mut Track,
    facts: &mut PairFacts,
    direction: usize,
    point: usize,
) -> Class {
    let class = if row.flags & (tcp_flags::SYN | tcp_flags::RST) != 0 {
        opening(row, own)
    } else {
        let length = row.seq_len();
        if length == 0 {
            if own.has(state::SEQ) && row.seq == own.next.wrapping_sub(1) && own.acked == own.next {
                facts.more_mut(direction, point).keep_alives += 1;
                Class::Probe
            } else {
                Class::Ack
            }
        } else if own.has(state::SEQ) && row.seq == own.next {
            own.next = row.seq.wrapping_add(length);
            Class::New
        } else {
            out_of_line(row, length, own, reverse, facts, direction, point)
        }
    };
    own.state |= state::when(row.is(tcp_flags::FIN), state::FIN) | state::when(row.len > 0, state::DATA);
    if row.is(tcp_flags::ACK) && !row.is(tcp_flags::RST) {
        acknowledge(row, own, reverse, facts, direction, point);
    }
    if row.window == 0 && row.flags & (tcp_flags::RST | tcp_flags::SYN) == 0 {
        if !own.has(state::WINDOW_CLOSED) {
            own.state |= state::WINDOW_CLOSED;
            facts.more_mut(direction, point).zero_windows += 1;
        }
    } else if own.has(state::WINDOW_CLOSED) {
        own.state &= !state::WINDOW_CLOSED;
    }
    if !row.is(tcp_flags::RST) {
        own.window = row.window;
    }
    class
}

#[cold]
fn opening(row: &Row, own: &mut Track) -> Class {
    if row.is(tcp_flags::RST) {
        own.state |= state::RST;
        return Class::Ack;
    }
    let end = row.seq.wrapping_add(row.seq_len());
    if own.has(state::SYN) && own.has(state::SEQ) && !seq::after(end, own.next) {
        return Class::Retransmission;
    }
    own.state |= state::SYN | state::SEQ;
    own.next = end;
    Class::New
}

/// A segment that does not start at the next sequence number.
#[cold]
#[inline(never)]
fn out_of_line(
    row: &Row,
    length: u32,
    own: &mut Track,
    reverse: &Track,
    facts: &mut PairFacts,
    direction: usize,
    point: usize,
) -> Class {
    let end = row.seq.wrapping_add(length);
    if !own.has(state::SEQ) {
        own.state |= state::SEQ;
        own.next = end;
        return Class::New;
    }
    let ahead = seq::distance(row.seq, own.next);
    if ahead.unsigned_abs() > LARGEST_JUMP as u32 {
        own.next = end;
        own.state &= !state::HOLES;
        facts.more_mut(direction, point).holes = Holes::default();
        return Class::New;
    }
    if ahead > 0 {
        own.state |= state::HOLES;
        facts.more_mut(direction, point).holes.push(own.next, row.seq);
        own.next = end;
        return Class::New;
    }
    if length == 1 && ahead == -1 && row.len == 1 && reverse.has(state::ACK) {
        // One byte below SND.NXT: a keep-alive with a garbage byte, or a probe of a closed window.
        let more = facts.more_mut(direction, point);
        if reverse.has(state::WINDOW_CLOSED) {
            more.window_probes += 1;
        } else {
            more.keep_alives += 1;
        }
        return Class::Probe;
    }
    let beyond = seq::after(end, own.next);
    let mut filled = 0;
    if own.has(state::HOLES) {
        let more = facts.more_mut(direction, point);
        filled = more.holes.fill(row.seq, end);
        if more.holes.is_empty() {
            own.state &= !state::HOLES;
        }
    }
    if beyond {
        own.next = end;
    }
    if filled > 0 {
        facts.more_mut(direction, point).late += 1;
        return Class::Late;
    }
    if beyond {
        return Class::New;
    }
    if row.time.saturating_sub(reverse.last_time) <= STAMPS && came_in_time(row, end, facts, direction, point) {
        return Class::New;
    }
    let limit = facts.frame_limit();
    // Of a line that is not asked for ahead: only for what repeats something.
    let (resumed, silence) = (facts.resumed[point], facts.silence[point]);
    let more = facts.more_mut(direction, point);
    // Without an identification (IPv6, or zero) only the time tells: no sender repeats so soon.
    let at_once = row.time.saturating_sub(own.last_time) < AT_ONCE;
    let same_packet = if row.ip_id == 0 { at_once } else { row.ip_id == own.last_ip_id };
    // What is sent again has a new identification, so one of some packets ago is that of a copy that came late.
    let older = row.ip_id != 0 && (1..=COPY_DISTANCE).contains(&own.last_ip_id.wrapping_sub(row.ip_id));
    if (same_packet && row.seq == own.last_seq) || older {
        more.duplicates += 1;
        // After a silence, what a sender repeated into it may come at once as well; a network that doubles makes two of one.
        if row.ip_id == 0 && row.len > 0 && silence >= SHORTEST_TIMEOUT && row.time - resumed < SOONEST_REPETITION {
            repeat_head(more, row, row.ip_len.min(limit));
            note_held(more, resumed, silence);
        }
        return Class::Duplicate;
    }
    if reverse.has(state::WINDOW_CLOSED) {
        // Linux probes a closed window with a whole segment.
        more.window_probes += 1;
        return Class::Probe;
    }
    more.retransmissions += 1;
    if more.duplicate_acks >= 3 {
        more.fast += 1;
        more.duplicate_acks = 0;
    }
    if row.len > 0 {
        repeat_head(more, row, row.ip_len.min(limit));
        own.state |= state::REPEATING;
        // An acknowledgment of what was sent twice does not say which copy passed (Karn's rule).
        if seq::after(facts.probe[direction].0, row.seq) {
            facts.probe[direction] = (0, 0);
        }
    }
    let more = facts.more_mut(direction, point);
    note_held(more, resumed, silence);
    if own.has(state::ACK) && !seq::after(end, own.acked) {
        more.spurious += 1;
        return Class::Spurious;
    }
    Class::Retransmission
}

/// Whether these bytes had been acknowledged before they were seen. Right behind a packet of the other direction they had been
/// there, and their acknowledgment was stamped too early: whose bytes are acknowledged does not repeat them.
fn came_in_time(row: &Row, end: u32, facts: &mut PairFacts, direction: usize, point: usize) -> bool {
    let Some(more) = facts.more[direction][point].as_deref_mut() else { return false };
    let within = |&(low, high): &(u32, u32)| !seq::before(row.seq, low) && !seq::after(end, high);
    let Some(place) = more.missed.iter().position(within) else { return false };
    let (low, high) = more.missed[place];
    let parts = [(low, row.seq), (end, high)].map(|(from, to)| (from != to).then_some((from, to)));
    match parts {
        [Some(before), Some(behind)] => {
            more.missed[place] = before;
            more.missed.insert(place + 1, behind);
        }
        [Some(rest), None] | [None, Some(rest)] => more.missed[place] = rest,
        [None, None] => {
            more.missed.remove(place);
            more.acked_unseen = more.acked_unseen.saturating_sub(1);
        }
    }
    true
}

/// Follows what the sender repeats. `size` is the packet's length on the wire.
fn repeat_head(more: &mut TrackMore, row: &Row, size: u32) {
    let at = Stamp { time: row.time, frame: row.frame };
    if more.head.times == 0 || more.head.seq != row.seq {
        more.head = Head { seq: row.seq, times: 1, size, first: at, last: at, ..Head::default() };
    } else if size < more.head.size {
        more.head.shrunk = true;
    } else {
        more.head.times += 1;
        more.head.last = at;
    }
    let (head, worst) = (more.head, &mut more.worst_head);
    let continues = worst.seq == head.seq && worst.first == head.first;
    let outranks = (head.times, head.size) > (worst.times, worst.size);
    let heavier = head.times > 1 && worst.passed;
    if continues || outranks && (!worst.passed || head.times > 1) || heavier {
        *worst = head;
    }
}

/// Two repetitions of the same head right after a silence: they had been held back, since no sender sends them so. One alone
/// may repeat what was sent before the silence.
fn note_held(more: &mut TrackMore, resumed: i64, silence: i64) {
    /// Most silences remembered.
    const MOST: usize = 8;
    let (head, worst) = (more.head, more.worst_head);
    // An acknowledgment between them begins a new head.
    let before = if head.times > 1 || worst.seq != head.seq { head } else { worst };
    let soon = |later: i64, earlier: i64| (0..SOONEST_REPETITION).contains(&(later - earlier));
    let several = before.times > 1 || before.first != head.first;
    let together = soon(head.last.time, before.first.time) && soon(before.first.time, resumed);
    let known = more.held.last().is_some_and(|(first, _)| *first == before.first);
    if several && together && !known && more.held.len() < MOST {
        more.held.push((before.first, silence));
    }
}

/// Moves the other direction's acknowledged edge.
#[inline(always)]
#[expect(clippy::inline_always, reason = "a part of the path of every packet")]
fn acknowledge(row: &Row, own: &Track, reverse: &mut Track, facts: &mut PairFacts, direction: usize, point: usize) {
    if !reverse.has(state::ACK) {
        reverse.state |= state::ACK;
        reverse.acked = row.ack;
    }
    let advance = seq::distance(row.ack, reverse.acked);
    if advance > 0 && advance < LARGEST_JUMP {
        reverse.acked = row.ack;
        // Where nothing of the other direction has been seen at all, what is acknowledged was not seen either.
        if !reverse.has(state::SEQ) || seq::after(row.ack, reverse.next) || reverse.has(state::HOLES) {
            acked_unseen(row, advance as u32, reverse, facts, 1 - direction, point);
        }
        if reverse.has(state::REPEATING) {
            acked_repetition(row, reverse, facts, 1 - direction, point);
        }
    } else if advance == 0
        && row.len == 0
        && row.window == own.window
        && row.flags & (tcp_flags::SYN | tcp_flags::FIN) == 0
        && reverse.has(state::SEQ)
        && seq::after(reverse.next, row.ack)
    {
        // RFC 5681, section 2: data outstanding, no data, no SYN or FIN, the same ACK point, the same window.
        facts.more_mut(1 - direction, point).duplicate_acks += 1;
        reverse.state |= state::REPEATING;
    }
}

/// An acknowledgment ends a row of duplicates, and perhaps the repetition of a head.
#[cold]
fn acked_repetition(row: &Row, reverse: &mut Track, facts: &mut PairFacts, data_direction: usize, point: usize) {
    let Some(more) = facts.more[data_direction][point].as_deref_mut() else { return };
    more.duplicate_acks = 0;
    if more.head.times == 0 {
        reverse.state &= !state::REPEATING;
    } else if seq::after(row.ack, more.head.seq) {
        more.settle_head(&mut facts.largest_acked[data_direction]);
        reverse.state &= !state::REPEATING;
    }
}

/// An acknowledgment passes over bytes that this point never saw: some of the `advance` that it brings.
#[cold]
fn acked_unseen(
    row: &Row,
    advance: u32,
    reverse: &mut Track,
    facts: &mut PairFacts,
    data_direction: usize,
    point: usize,
) {
    let more = facts.more_mut(data_direction, point);
    let mut missed = 0_u32;
    let ranges = &mut more.missed;
    let mut note = |low: u32, high: u32| {
        missed += high.wrapping_sub(low);
        // A capture of one direction misses all of the other: one range.
        if let Some(last) = ranges.last_mut().filter(|last| last.1 == low && high.wrapping_sub(last.0) < MAX_RANGE) {
            last.1 = high;
            return;
        }
        if ranges.len() == MAX_MISSED {
            ranges.remove(0);
        }
        ranges.push((low, high));
    };
    if !reverse.has(state::SEQ) {
        note(row.ack.wrapping_sub(advance), row.ack);
        more.acked_unseen += 1;
        return;
    }
    more.holes.drain_before(row.ack, &mut note);
    if seq::after(row.ack, reverse.next) {
        note(reverse.next, row.ack);
        reverse.next = row.ack;
    }
    if more.holes.is_empty() {
        reverse.state &= !state::HOLES;
    }
    if missed > 0 {
        more.acked_unseen += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Both directions of a flow at one point.
    #[derive(Default)]
    struct Flow {
        tracks: [Track; 2],
        facts: PairFacts,
        frame: u32,
    }

    impl Flow {
        fn segment(&mut self, direction: usize, seq: u32, ack: u32, len: u32) -> Class {
            self.frame += 1;
            let row = Row {
                seq,
                ack,
                len,
                ip_len: len + 40,
                flags: tcp_flags::ACK,
                window: 100,
                frame: self.frame,
                ip_id: self.frame as u16,
                ..Row::default()
            };
            let [outbound, inbound] = &mut self.tracks;
            let (own, reverse) = if direction == 0 { (outbound, inbound) } else { (inbound, outbound) };
            let class = observe(&row, own, reverse, &mut self.facts, direction, 1);
            own.last_seq = row.seq;
            own.last_ip_id = row.ip_id;
            class
        }

        fn worst(&self) -> Head {
            self.facts.more[0][1].as_ref().map(|more| more.worst_head).unwrap_or_default()
        }
    }

    #[test]
    fn a_head_that_is_never_acknowledged_stays_the_worst() {
        let mut flow = Flow::default();
        flow.segment(1, 1, 100, 0);
        flow.segment(0, 100, 1, 1460);
        flow.segment(0, 1560, 1, 1460);
        for _ in 0..3 {
            assert_eq!(flow.segment(0, 100, 1, 1460), Class::Retransmission);
        }
        let worst = flow.worst();
        assert_eq!((worst.seq, worst.times, worst.size), (100, 3, 1500));
        assert!(!worst.passed && !worst.shrunk);
    }

    #[test]
    fn a_head_that_passes_in_its_size_is_no_black_hole() {
        let mut flow = Flow::default();
        flow.segment(1, 1, 100, 0);
        flow.segment(0, 100, 1, 1460);
        flow.segment(0, 100, 1, 1460);
        flow.segment(1, 1, 1560, 0);
        assert!(flow.worst().passed);
        assert_eq!(flow.facts.largest_acked, [1500, 0]);
    }

    #[test]
    fn smaller_segments_tell_that_the_sender_has_learned() {
        let mut flow = Flow::default();
        flow.segment(1, 1, 100, 0);
        flow.segment(0, 100, 1, 1460);
        flow.segment(0, 100, 1, 1460);
        flow.segment(0, 100, 1, 1260);
        flow.segment(1, 1, 1360, 0);
        let worst = flow.worst();
        assert!(worst.shrunk && !worst.passed);
        assert_eq!(worst.times, 1);
        assert_eq!(flow.facts.largest_acked, [0, 0], "what was acknowledged had been cut");
    }

    #[test]
    fn the_same_segment_at_once_is_a_duplicate_whether_or_not_it_has_an_identification() {
        let mut flow = Flow::default();
        flow.segment(1, 1, 100, 0);
        flow.segment(0, 100, 1, 500);
        flow.frame = u32::from(u16::MAX);
        assert_eq!(flow.segment(0, 100, 1, 500), Class::Duplicate, "identification zero");
        flow.frame = 1;
        assert_eq!(flow.segment(0, 100, 1, 500), Class::Retransmission, "an identification of its own");
    }

    #[test]
    fn a_point_that_sees_one_direction_only_has_missed_what_is_acknowledged_there() {
        let mut flow = Flow::default();
        for (seq, ack) in [(1, 100), (2, 600), (3, 600), (4, 1100)] {
            flow.segment(1, seq, ack, 1);
        }
        let more = flow.facts.more[0][1].as_ref().expect("something was missed");
        assert_eq!((more.acked_unseen, &more.missed[..]), (2, &[(100, 1100)][..]));
    }

    #[test]
    fn repetitions_that_come_at_once_after_a_silence_had_been_held() {
        let mut flow = Flow::default();
        flow.segment(1, 1, 100, 0);
        (flow.facts.silence[1], flow.facts.resumed[1]) = (900 * MILLISECOND, 0);
        for _ in 0..4 {
            flow.segment(0, 100, 1, 500);
        }
        flow.segment(1, 1, 600, 0);
        flow.segment(0, 100, 1, 500);
        let more = flow.facts.more[0][1].as_ref().expect("a repetition");
        assert_eq!(more.held, [(Stamp { time: 0, frame: 3 }, 900 * MILLISECOND)]);
    }

    #[test]
    fn acknowledgments_between_held_repetitions_do_not_hide_them() {
        let mut flow = Flow::default();
        flow.segment(1, 1, 100, 0);
        (flow.facts.silence[1], flow.facts.resumed[1]) = (900 * MILLISECOND, 0);
        flow.segment(0, 100, 1, 500);
        flow.segment(1, 1, 600, 0);
        flow.segment(0, 100, 1, 500);
        assert!(flow.facts.more[0][1].as_ref().is_some_and(|more| more.held.is_empty()), "one alone proves nothing");
        flow.segment(1, 1, 600, 0);
        flow.segment(0, 100, 1, 500);
        assert_eq!(flow.facts.more[0][1].as_ref().map(|more| more.held.len()), Some(1));
    }

    #[test]
    fn a_repetition_of_acknowledged_bytes_is_spurious() {
        let mut flow = Flow::default();
        flow.segment(1, 1, 100, 0);
        flow.segment(0, 100, 1, 500);
        flow.segment(1, 1, 600, 0);
        assert_eq!(flow.segment(0, 100, 1, 500), Class::Spurious);
    }

    #[test]
    fn bytes_that_stand_right_behind_their_acknowledgment_had_come_before_it() {
        let mut flow = Flow::default();
        flow.segment(1, 1, 100, 0);
        flow.segment(0, 100, 1, 500);
        flow.segment(1, 1, 1600, 0);
        assert_eq!(flow.facts.more[0][1].as_ref().map(|more| more.acked_unseen), Some(1));
        // Stamped in any order, and then once more.
        for (seq, len) in [(1100, 100), (600, 500), (1200, 400)] {
            assert_eq!(flow.segment(0, seq, 1, len), Class::New);
        }
        let more = flow.facts.more[0][1].as_ref().expect("something was missed at first");
        assert_eq!((more.acked_unseen, &more.missed[..], more.retransmissions), (0, &[][..], 0));
        assert_eq!(flow.segment(0, 600, 1, 500), Class::Spurious);
        // Later than stamps may be wrong, it is the copy of what was missed.
        flow.segment(1, 1, 2000, 0);
        flow.tracks[1].last_time = -STAMPS - 1;
        assert_eq!(flow.segment(0, 1600, 1, 400), Class::Spurious);
    }
}
