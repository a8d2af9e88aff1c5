//! Who sent a reset, and whether its receiver took it: by its header, what it answers, and what came after it.

use super::SPEC;
use crate::detect::{PairView, Scene};
use crate::facts::{Fate, Reset, state};
use crate::packet::row::tcp_flags;
use crate::point::{Direction, Point};
use crate::report::TopologyKind;
use crate::time::MILLISECOND;

/// Who sent a reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sender {
    Host,
    Guest,
    Peer,
    /// Something on the path.
    Path,
    Unknown,
}

/// Whether the receiver takes the reset: its sequence number lies between what the receiver has acknowledged and what was
/// sent to it; the receiver acknowledged nothing beyond it afterwards, and none of its packets crossed a second later.
pub(super) fn accepted(reset: &Reset) -> bool {
    let in_line = reset.expected.is_none_or(|next| next.wrapping_sub(reset.seq) <= reset.own_outstanding);
    in_line && reset.acked_after == 0 && reset.crossed_late == 0
}

/// Whether the handshake was over and the flow was more than an attempt.
pub(super) fn established(pair: &PairView, reset: &Reset) -> bool {
    let both_acknowledged = reset.own_state & state::ACK != 0 && reset.other_state & state::ACK != 0;
    // The capture may have begun in a silence: then the first that it shows is the segment that is answered.
    let begun_in_silence = reset.own_state == 0
        && reset.other_state & state::DATA != 0
        && reset.other_state & state::SYN == 0
        && pair.track(Direction::Outbound, Point::A).has(state::DATA);
    let data = pair.tracks.iter().flatten().any(|track| track.has(state::DATA));
    (both_acknowledged || begun_in_silence) && data
}

/// An RST alone: no ACK, no window, no IP identification. So answers a stack that has no socket for a segment.
pub(super) fn bare(reset: &Reset) -> bool {
    reset.flags & tcp_flags::ACK == 0 && reset.window == 0 && reset.ip_id == 0
}

pub(super) fn prompt(scene: &Scene, reset: &Reset) -> bool {
    let limit = SPEC.value(scene, "tcp-reset.answer") * MILLISECOND as f64;
    reset.offender.frame != 0 && ((reset.at.time - reset.offender.time) as f64) <= limit
}

pub(super) fn sender(scene: &Scene, reset: &Reset) -> Sender {
    let end = if reset.direction == Direction::Outbound { Sender::Guest } else { Sender::Peer };
    let apart = reset.ttl.abs_diff(reset.usual_ttl);
    let foreign = reset.usual_ttl != 0 && f64::from(apart) > SPEC.value(scene, "tcp-reset.ttl");
    match reset.fate {
        Fate::Crossed if foreign || reset.data_after > 0 => Sender::Path,
        Fate::Crossed => end,
        Fate::Open => Sender::Unknown,
        Fate::Unmatched if reset.point == reset.direction.entry() => end,
        Fate::Unmatched => {
            let unlike = reset.usual_ttl == 0 || apart > 0;
            let flat = scene.topology.kind == TopologyKind::Bridge;
            let kept = reset.offender_fate == Fate::Unmatched;
            let own = bare(reset) || (reset.usual_ttl != 0 && apart > 0);
            if prompt(scene, reset) && kept && (unlike || flat) && own { Sender::Host } else { Sender::Unknown }
        }
    }
}

/// Whether the segment that the reset answers lies beyond the window of its receiver.
pub(super) fn beyond_window(reset: &Reset) -> bool {
    // Without the SYN the scale is not known: take the largest (RFC 7323).
    let shift = if reset.own_state & state::SYN == 0 { 14 } else { 0 };
    u64::from(reset.offender_jump) > u64::from(reset.offender_window) << shift && reset.offender_jump > 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::{Stamp, Turn};

    /// A reset of the host at B, in answer to a segment that did not cross.
    fn reset() -> Reset {
        Reset {
            point: Point::B,
            direction: Direction::Outbound,
            at: Stamp { time: 1_000_040_000, frame: 79 },
            copy: None,
            fate: Fate::Unmatched,
            ttl: 64,
            usual_ttl: 63,
            ip_id: 0,
            window: 0,
            flags: tcp_flags::RST,
            partial: false,
            seq: 1000,
            ack: 0,
            expected: Some(1000),
            other_next: Some(5600),
            own_state: state::SYN | state::SEQ | state::ACK,
            other_state: state::SYN | state::SEQ | state::ACK | state::DATA,
            own_outstanding: 0,
            other_outstanding: 600,
            offender: Stamp { time: 1_000_000_000, frame: 78 },
            offender_fate: Fate::Unmatched,
            idle: 200 * MILLISECOND,
            offender_seq: 5000,
            offender_jump: 0,
            offender_window: 64_240,
            turn: Turn::default(),
            acked_after: 0,
            crossed_late: 0,
            offender_acks_unseen: false,
            after: [0; 2],
            data_after: 0,
            answered: Stamp::default(),
        }
    }

    #[test]
    fn a_reset_is_accepted_only_where_the_receiver_stands() {
        assert!(accepted(&reset()));
        assert!(accepted(&Reset { seq: 900, own_outstanding: 100, ..reset() }), "data was under way");
        assert!(!accepted(&Reset { seq: 1010, ..reset() }), "in the window: a challenge ACK");
        assert!(!accepted(&Reset { seq: 500, ..reset() }), "old");
        assert!(!accepted(&Reset { acked_after: 1, ..reset() }), "the receiver went on");
        assert!(!accepted(&Reset { crossed_late: 1, ..reset() }), "the receiver's packets go on crossing");
        assert!(accepted(&Reset { seq: 3, expected: Some(3), ..reset() }), "numbers wrap");
    }

    #[test]
    fn a_segment_beyond_the_window_is_told_from_one_in_it() {
        assert!(!beyond_window(&reset()));
        assert!(!beyond_window(&Reset { offender_jump: 60_000, ..reset() }));
        assert!(beyond_window(&Reset { offender_jump: 70_000, ..reset() }));
        let unscaled = Reset { own_state: state::SEQ | state::ACK, offender_window: 512, ..reset() };
        assert!(!beyond_window(&Reset { offender_jump: 70_000, ..unscaled }), "the scale may be 14");
        assert!(beyond_window(&Reset { offender_jump: 30 << 20, ..unscaled }));
    }

    #[test]
    fn a_bare_reset_has_no_ack_window_or_identification() {
        assert!(bare(&reset()));
        assert!(!bare(&Reset { flags: tcp_flags::RST | tcp_flags::ACK, ..reset() }));
        assert!(!bare(&Reset { window: 64, ..reset() }));
    }
}
