//! Whether a connection was alive when one of its ends reset it, or the exchange was over.

use super::SPEC;
use super::sender::bare;
use crate::detect::census::has;
use crate::detect::text::{counted, duration};
use crate::detect::{PairView, Scene};
use crate::facts::Reset;
use crate::packet::Endpoint;
use crate::packet::row::tcp_flags;
use crate::point::{Direction, Point};
use crate::time::MILLISECOND;
use std::collections::BTreeSet;

/// Outer endpoints and sequence numbers of resets that stand at B in flows without a partner at A.
pub(super) type Moved = BTreeSet<(Endpoint, u32)>;

/// Resets at B that may answer a known flow's packets under another outer address: the peer knows nothing of that, and
/// resets rightly.
pub(super) fn moved(scene: &Scene) -> Moved {
    let alone = scene.pairs_with(has::TCP | has::RESETS, 0).filter(|pair| pair.a.is_none());
    alone
        .flat_map(|pair| {
            let outside = pair.inner_ends().1;
            pair.facts.resets.iter().map(move |reset| (outside, reset.seq))
        })
        .collect()
}

/// Why the connection counts as alive although one of its ends reset it; nothing when the exchange was over.
pub(super) fn unfinished(scene: &Scene, pair: &PairView, reset: &Reset) -> Option<String> {
    /// More than one segment under way is more than a late answer.
    const UNDER_WAY: i32 = 2 * 1460;
    /// A server that closes by reset does so right after its answer.
    const AFTER_THE_ANSWER: i64 = 50 * MILLISECOND;
    if bare(reset) && reset.usual_ttl != 0 {
        return Some("it answers a segment of a connection that it no longer knows".into());
    }
    let turn = &reset.turn;
    let length = turn.last.saturating_sub(turn.start);
    let paced = f64::from(turn.pauses) >= SPEC.value(scene, "tcp-reset.transfer-pauses")
        && length > (3 * i64::from(turn.pauses)).saturating_mul(round_trip(pair).unwrap_or(0));
    let large = f64::from(turn.bytes) >= SPEC.value(scene, "tcp-reset.transfer-bytes");
    if large && paced {
        return Some(format!(
            "{} had gone one way within {}, in {} pieces",
            counted(u64::from(turn.bytes), "byte"),
            duration(length),
            turn.pauses + 1
        ));
    }
    let left = reset.other_next.map_or(0, |next| crate::seq::distance(next, reset.ack));
    if reset.flags & tcp_flags::ACK != 0 && left >= UNDER_WAY {
        return Some(format!("{} were under way to its sender", counted(left as u64, "byte")));
    }
    if large && reset.own_outstanding >= UNDER_WAY as u32 {
        return Some(format!(
            "{} of its sender's own were not acknowledged yet",
            counted(u64::from(reset.own_outstanding), "byte")
        ));
    }
    let by_responder = opener(pair) == Some(reset.direction.reverse());
    let later = reset.at.time.saturating_sub(turn.last);
    let conversation = f64::from(turn.earlier) >= SPEC.value(scene, "tcp-reset.turns");
    if by_responder && conversation && reset.point == Point::B && later >= AFTER_THE_ANSWER {
        return Some(format!(
            "it breaks off a conversation of {} turns, {} after the last of them, from the end that did not open it",
            turn.earlier + 1,
            duration(later)
        ));
    }
    let asked = turn.direction() == Some(reset.direction.reverse());
    (asked && opener(pair) == Some(reset.direction.reverse()))
        .then(|| format!("{} of a request had no answer yet", counted(u64::from(turn.bytes), "byte")))
}

/// Who opened the connection, if its handshake was captured.
pub(super) fn opener(pair: &PairView) -> Option<Direction> {
    let syn = pair.facts.syn.as_deref()?;
    Point::BOTH.into_iter().find_map(|point| {
        let [out, back] = [&syn[0][point.index()], &syn[1][point.index()]];
        if !out.seen() || !back.seen() {
            return None;
        }
        // Both ends may open it at once; and an answer may have been recorded first.
        let outbound = match (out.is_answer(), back.is_answer()) {
            (true, false) => false,
            (false, true) => true,
            _ => out.first <= back.first,
        };
        Some(if outbound { Direction::Outbound } else { Direction::Inbound })
    })
}

/// Time from SYN to its answer at B.
pub(super) fn round_trip(pair: &PairView) -> Option<i64> {
    let syn = pair.facts.syn.as_deref()?;
    let [out, back] = [&syn[0][1], &syn[1][1]];
    (out.seen() && back.seen()).then(|| (out.first.time - back.first.time).abs())
}
