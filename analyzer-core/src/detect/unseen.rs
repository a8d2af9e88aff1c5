//! Resets that no capture shows: with `bridge-nf-call-iptables` the host's REJECT answers the guest on its own tap, so that
//! the reset is on neither the bridge nor the uplink. What is left is a connection whose last segment entered the host and
//! never left it, and whose sender did not repeat it, as only a sender does whose connection is gone.

use super::census::has;
use super::scene::{PairView, Scene};
use crate::facts::{Run, state};
use crate::point::{Direction, Point};
use crate::time::MILLISECOND;

/// The smallest retransmission timeout in use (Linux, 200 ms): a live sender would have repeated itself by then.
const REPEAT: i64 = 200 * MILLISECOND;
/// Round trips without an answer that tell a lost segment from one whose answer is on its way.
const ROUND_TRIPS: i64 = 20;
/// Packets each way that make a conversation.
const CONVERSATION: u32 = 5;
/// Most segments that a sender has under way when it is cut off.
const LAST_WORDS: u32 = 4;

/// A connection that ended at the host without a word.
#[derive(Debug)]
pub(super) struct CutOff<'a> {
    /// The connection.
    pub(super) pair: &'a PairView<'a>,
    /// Its last segments: at A, and not at B.
    pub(super) run: Run,
    /// How long A's capture went on after them.
    pub(super) waited: i64,
    /// Whether that was long enough for a live sender to repeat them.
    pub(super) silent: bool,
}

/// Connections of guests that ended at the host without a word. One alone must have stayed silent; of several, one must
/// have stayed without its answer for many round trips.
pub(super) fn cut_off<'a>(scene: &'a Scene<'a>) -> Vec<CutOff<'a>> {
    let Some((_, end)) = scene.presence[Point::A.index()].span else { return Vec::new() };
    let ended: Vec<CutOff<'_>> =
        scene.pairs_with(has::TCP | has::BOTH, has::RUN).filter_map(|pair| ended(pair, end)).collect();
    let proven = ended.iter().any(|cut| cut.silent);
    let unanswered = ended.iter().any(|cut| {
        let round_trip = round_trip(cut.pair).unwrap_or(MILLISECOND).max(MILLISECOND / 10);
        cut.waited >= ROUND_TRIPS * round_trip
    });
    if proven {
        ended.into_iter().filter(|cut| cut.silent).collect()
    } else if ended.len() >= 2 && unanswered {
        ended
    } else {
        Vec::new()
    }
}

fn ended<'a>(pair: &'a PairView<'a>, end: i64) -> Option<CutOff<'a>> {
    if !pair.is_tcp() || !pair.both() || !pair.facts.resets.is_empty() || !pair.facts.icmp.is_empty() {
        return None;
    }
    let (out, back) = (pair.track(Direction::Outbound, Point::A), pair.track(Direction::Inbound, Point::A));
    let conversed = out.matched >= CONVERSATION && back.matched >= CONVERSATION;
    let open = !out.has(state::FIN) && !back.has(state::FIN);
    let more = pair.more(Direction::Outbound, Point::A)?;
    let run = more.run;
    let last_words = run.count > 0 && run.count <= LAST_WORDS && run.last.frame == out.last_frame;
    let never_repeated = more.retransmissions == 0 && more.keep_alives == 0;
    let heard_nothing = back.last_time <= run.first.time;
    // What the peer still sends arrives: only the way out is cut.
    let peer_unheard = pair.more(Direction::Inbound, Point::B).is_some_and(|more| more.unmatched > 0);
    let waited = end.saturating_sub(run.first.time);
    (conversed && open && last_words && never_repeated && heard_nothing && !peer_unheard && out.next != out.acked)
        .then(|| CutOff { pair, run, waited, silent: end.saturating_sub(run.last.time) >= 5 * REPEAT })
}

/// The time of the handshake at A.
fn round_trip(pair: &PairView) -> Option<i64> {
    let syn = pair.facts.syn.as_deref()?;
    let [out, back] = [&syn[0][0], &syn[1][0]];
    (out.seen() && back.seen()).then(|| (back.first.time - out.first.time).abs())
}
