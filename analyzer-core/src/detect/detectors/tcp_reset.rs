//! # What it is
//! A TCP reset cut a connection that was alive. The frames tell who sent it: the host between the points, the guest, the
//! peer, or something on the path in the peer's name.
//!
//! # In paired captures
//! Set for a connection when all of the following are true:
//! - a segment with RST carries a sequence number that its receiver must accept (RFC 9293, RFC 5961), and the receiver
//!   did not go on afterwards: it acknowledged no new bytes, and nothing of it crossed a second later;
//! - the connection was established: both sides had acknowledged something, and neither had closed with FIN;
//! - it is the first such reset of the connection;
//! - it does not end a finished exchange: a reset by one of the ends counts when it has no socket any more, when it left
//!   a request unanswered, when the end that was called breaks off a conversation of `tcp-reset.turns` or more, or when it
//!   breaks off a transfer (`tcp-reset.transfer-bytes` one way, in
//!   `tcp-reset.transfer-pauses` pieces or more, or with bytes under way).
//!
//! Who sent it:
//! - the host: the reset is at the point that it passes last and not at the other, within `tcp-reset.answer` of a segment
//!   that never crossed, and its TTL is not that of the traffic it pretends to belong to;
//! - the guest or the peer: it is at both points, in the order of its direction;
//! - forged: it crosses like the others, but its TTL is that of another machine, or its alleged sender goes on sending
//!   data at that very sequence number.
//!
//! One kind of reset is on neither capture: with `bridge-nf-call-iptables=1` a REJECT rule answers the guest on its own
//! tap. It is inferred, as a warning, when a connection in full conversation ends with a segment that entered the host and
//! never left it, and the guest does not repeat it within a second; or when several end so at once and one of them stays
//! without its answer for twenty round trips.
//!
//! Why the host sent it:
//! - `firewall-reject`: a rule with `--reject-with tcp-reset`; towards the peer such a reset leaves with a partial
//!   checksum, which the host's own stack never does; towards the guest it bears the peer's address;
//! - `conntrack-invalid`: the segment that it answers lies beyond the window, or acknowledges what was never sent, so it was
//!   not translated;
//! - `nat-expired`: the connection had been silent for `tcp-reset.idle` or longer, and no busier one lost its entry with it;
//! - `nat-state-lost`: the entry of a busy connection was gone: flushed, or deleted with an address.
//!
//! The host's log of connection tracking (`--conntrack`) decides between them: it tells whether the entry was still there,
//! and if not, whether its timer, a program or the kernel ended it. Its settings (`--sysctl`) replace the time of silence
//! after which an entry counts as expired, and tell whether it forgives segments beyond the window.
//!
//! # Mistaken for it
//! - Resets that refuse a connection, that answer late data after a FIN, that end an exchange which was complete, or that
//!   answer the segments of an end that does not know of an earlier reset.
//! - Resets whose sequence number is wrong: their receiver ignores them or asks back (a challenge ACK).
//! - The habit of a program that ends each of its connections by reset: five or more over a minute are context.
//! - Resets of the host's own traffic, or to those who scan its ports: such flows never stood at A.
//! - A corrupted segment: it is dropped without a word, no reset follows.
//!
//! # What to do
//! For a lost entry: find who emptied the NAT table at that moment, and keep the host from answering segments that it
//! cannot place. For `conntrack-invalid`: let conntrack be liberal, or drop what it calls invalid. For a rule: change it.
//!
//! # References
//! RFC 9293 section 3.5.3; RFC 5961 section 3; Linux `nf_conntrack-sysctl` (`nf_conntrack_tcp_be_liberal`,
//! `nf_conntrack_tcp_timeout_established`); Weaver, Sommer and Paxson, "Detecting Forged TCP Reset Packets" (NDSS 2009).

use crate::detect::claim::{fix, merge};
use crate::detect::testimony;
use crate::detect::text::{clock_time, count, counted, duration};
use crate::detect::unseen::{self, CutOff};
use crate::detect::{Claim, PairView, Reasons, Scene, Spec, Testimony, Threshold, alibi};
use crate::facts::{Fate, Reset, state};
use crate::packet::Endpoint;
use crate::packet::row::tcp_flags;
use crate::point::{Direction, Point};
use crate::report::{Directions, Finding, Fix, Severity, TopologyKind, Where};
use crate::time::{MILLISECOND, SECOND};
use crate::witness::sysctl::{
    DEFAULT_TTL, Setting, TCP_BE_LIBERAL, TCP_ESTABLISHED, TCP_MAX_RETRANS, TCP_UNACKNOWLEDGED,
};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// What this detector says of itself.
pub(super) const SPEC: Spec = Spec {
    id: "tcp-reset",
    says: "an RST cut a connection that was alive, and who sent it",
    causes: &[
        "nat-state-lost",
        "nat-expired",
        "conntrack-invalid",
        "firewall-reject",
        "peer-abort",
        "guest-abort",
        "forged",
        "unknown",
    ],
    severity: Severity::Error,
    thresholds: &[
        Threshold {
            name: "tcp-reset.answer",
            unit: "milliseconds from the segment to the reset that answers it",
            default: 5.0,
            source: "measured on Linux: 20 to 90 microseconds; a loaded host needs longer",
        },
        Threshold {
            name: "tcp-reset.idle",
            unit: "seconds of silence before an entry counts as expired",
            default: 60.0,
            source: "the shortest timeout of an open connection: nf_conntrack_tcp_timeout_close_wait",
        },
        Threshold {
            name: "tcp-reset.transfer-bytes",
            unit: "bytes sent one way without an answer",
            default: 16384.0,
            source: "a TLS record at its largest: an answer of that size may be complete, a stream of them is a transfer",
        },
        Threshold {
            name: "tcp-reset.transfer-pauses",
            unit: "pauses of 5 ms or more within them",
            default: 8.0,
            source: "slow start sends 400 kB in six round trips: fewer pauses may be those",
        },
        Threshold {
            name: "tcp-reset.turns",
            unit: "turns of a conversation",
            default: 5.0,
            source: "three questions and their answers: a kept connection, not a single errand",
        },
        Threshold {
            name: "tcp-reset.habit",
            unit: "resets of connections to one service by those who opened them, over a minute or more",
            default: 5.0,
            source: "players and monitors end every connection so",
        },
        Threshold {
            name: "tcp-reset.ttl",
            unit: "steps of TTL",
            default: 2.0,
            source: "paths change by a hop or two; another machine differs by more",
        },
    ],
    source: include_str!("tcp_reset.rs"),
};

/// The host's timers of an open connection.
const OPEN: [&Setting; 3] = [&TCP_ESTABLISHED, &TCP_UNACKNOWLEDGED, &TCP_MAX_RETRANS];

/// Who sent a reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sender {
    Host,
    Guest,
    Peer,
    /// Something on the path.
    Path,
    Unknown,
}

pub(super) fn observe(scene: &Scene) -> Vec<Claim> {
    let pairs = scene.pairs.iter().filter(|pair| pair.is_tcp() && pair.both() && !pair.facts.resets.is_empty());
    let moved = moved(scene);
    let mut claims: Vec<Claim> = pairs.filter_map(|pair| cut(scene, pair, &moved)).collect();
    together(&mut claims);
    habits(scene, &mut claims);
    claims.extend(unseen::cut_off(scene).iter().map(|cut| reset_unseen(scene, cut)));
    claims
}

/// A connection that ended as after a reset which neither capture shows.
fn reset_unseen(scene: &Scene, cut: &CutOff<'_>) -> Claim {
    let mut claim = Claim::new(SPEC.id, cut.pair.serial, Where::Between, Direction::Outbound);
    claim.cause = Some("firewall-reject");
    claim.protocol = "tcp";
    claim.packets = u64::from(cut.run.count);
    let at = cut.run.first;
    claim.cite(scene, Point::A, at.frame, at.time, "the guest's last segment: it entered the host and never left it");
    claim.reasons = Reasons::default()
        .support(0.5, "the connection was in full conversation, and its last segment is at A and not at B")
        .support_if(
            cut.silent,
            0.6,
            format!(
                "the guest never repeated it in {}, as only a sender does whose connection is gone",
                duration(cut.waited)
            ),
        )
        .contradict(0.2, "no capture shows a reset: with bridge-nf-call-iptables=1 it goes straight to the guest's tap")
        .contradict_if(!cut.silent, 0.2, "the captures end too soon after it to tell that the guest did not repeat it");
    claim.details.insert("reset_seen".into(), false.into());
    claim.details.insert("silent_seconds".into(), (cut.waited as f64 / SECOND as f64).into());
    claim
}

/// The reset that cut a connection, if one did.
fn cut(scene: &Scene, pair: &PairView, moved: &Moved) -> Option<Claim> {
    let mut resets: Vec<&Reset> = pair.facts.resets.iter().collect();
    resets.sort_by_key(|reset| (scene.clock.to_a(reset.point, reset.at.time), reset.at.frame));
    let reset = resets.into_iter().find(|reset| accepted(reset))?;
    if !established(pair, reset) || (reset.own_state | reset.other_state) & state::FIN != 0 {
        return None;
    }
    let sender = sender(scene, reset);
    let why = match sender {
        Sender::Host | Sender::Path => String::new(),
        Sender::Unknown if moved.contains(&(pair.inner_ends().1, reset.seq)) => return None,
        Sender::Guest | Sender::Peer | Sender::Unknown => unfinished(scene, pair, reset)?,
    };
    Some(claim(scene, pair, reset, sender, &why))
}

/// Whether the receiver takes the reset: its sequence number lies between what the receiver has acknowledged and what was
/// sent to it; the receiver acknowledged nothing beyond it afterwards, and none of its packets crossed a second later.
fn accepted(reset: &Reset) -> bool {
    let in_line = reset.expected.is_none_or(|next| next.wrapping_sub(reset.seq) <= reset.own_outstanding);
    in_line && reset.acked_after == 0 && reset.crossed_late == 0
}

/// Whether the handshake was over and the flow was more than an attempt.
fn established(pair: &PairView, reset: &Reset) -> bool {
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
fn bare(reset: &Reset) -> bool {
    reset.flags & tcp_flags::ACK == 0 && reset.window == 0 && reset.ip_id == 0
}

fn prompt(scene: &Scene, reset: &Reset) -> bool {
    let limit = SPEC.value(scene, "tcp-reset.answer") * MILLISECOND as f64;
    reset.offender.frame != 0 && ((reset.at.time - reset.offender.time) as f64) <= limit
}

fn sender(scene: &Scene, reset: &Reset) -> Sender {
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

/// Outer endpoints and sequence numbers of resets that stand at B in flows without a partner at A.
type Moved = BTreeSet<(Endpoint, u32)>;

/// Resets at B that may answer a known flow's packets under another outer address: the peer knows nothing of that, and
/// resets rightly.
fn moved(scene: &Scene) -> Moved {
    let alone = scene.pairs.iter().filter(|pair| pair.is_tcp() && pair.a.is_none());
    alone
        .flat_map(|pair| {
            let outside = pair.inner_ends().1;
            pair.facts.resets.iter().map(move |reset| (outside, reset.seq))
        })
        .collect()
}

/// Why the connection counts as alive although one of its ends reset it; nothing when the exchange was over.
fn unfinished(scene: &Scene, pair: &PairView, reset: &Reset) -> Option<String> {
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
fn opener(pair: &PairView) -> Option<Direction> {
    let syn = pair.facts.syn.as_deref()?;
    Point::BOTH.into_iter().find_map(|point| {
        let [out, back] = [&syn[0][point.index()], &syn[1][point.index()]];
        match (out.seen, back.seen) {
            (true, true) if out.first <= back.first => Some(Direction::Outbound),
            (true, true) => Some(Direction::Inbound),
            _ => None,
        }
    })
}

/// Time from SYN to its answer at B.
fn round_trip(pair: &PairView) -> Option<i64> {
    let syn = pair.facts.syn.as_deref()?;
    let [out, back] = [&syn[0][1], &syn[1][1]];
    (out.seen && back.seen).then(|| (out.first.time - back.first.time).abs())
}

/// Whether the segment that the reset answers lies beyond the window of its receiver.
fn beyond_window(reset: &Reset) -> bool {
    // Without the SYN the scale is not known: take the largest (RFC 7323).
    let shift = if reset.own_state & state::SYN == 0 { 14 } else { 0 };
    u64::from(reset.offender_jump) > u64::from(reset.offender_window) << shift && reset.offender_jump > 0
}

fn claim(scene: &Scene, pair: &PairView, reset: &Reset, sender: Sender, why: &str) -> Claim {
    let told = match sender {
        Sender::Host => scene.witness.at(pair, scene.clock.to_a(reset.point, reset.offender.time), reset.idle),
        _ => Testimony::None,
    };
    let (place, cause) = match sender {
        Sender::Host => (Where::Between, told.reset_cause(host_cause(scene, reset))),
        Sender::Guest => (Where::Inside, "guest-abort"),
        Sender::Peer => (Where::Outside, "peer-abort"),
        Sender::Path if reset.direction == Direction::Inbound => (Where::Outside, "forged"),
        Sender::Path => (Where::Inside, "forged"),
        Sender::Unknown => (Where::Unknown, "unknown"),
    };
    // The host cuts the traffic that it answers; an end cuts by the traffic that it sends.
    let direction = if sender == Sender::Host { reset.direction.reverse() } else { reset.direction };
    let mut claim = Claim::new(SPEC.id, pair.serial, place, direction);
    claim.cause = Some(cause);
    claim.protocol = "tcp";
    claim.packets = 1;
    claim.severity = match sender {
        Sender::Host => Severity::Error,
        Sender::Unknown => Severity::Info,
        _ => Severity::Warning,
    };
    claim.reasons = reasons(scene, reset, sender, cause, why);
    told.testify(scene, &mut claim);
    if sender == Sender::Host {
        scene.witness.compare(&mut claim, reset.idle, &OPEN);
    }
    cite(scene, &mut claim, reset, sender);
    let details = [
        ("offending_frame", json!({"point": reset.point, "frame": reset.offender.frame})),
        ("ttl", reset.ttl.into()),
        ("usual_ttl", (reset.usual_ttl != 0).then_some(reset.usual_ttl).into()),
        ("rst_sequence_accepted", true.into()),
        ("idle_before_seconds", (reset.idle as f64 / SECOND as f64).into()),
    ];
    claim.details.extend(details.into_iter().map(|(name, value)| (name.to_owned(), value)));
    claim.details.insert(
        "resets".into(),
        json!([{"point": reset.point, "frame": reset.at.frame, "offending_frame": reset.offender.frame, "ttl": reset.ttl}]),
    );
    claim
}

fn host_cause(scene: &Scene, reset: &Reset) -> &'static str {
    let idle = SPEC.timer(scene, "tcp-reset.idle", &OPEN);
    if reset.direction == Direction::Inbound || reset.partial {
        "firewall-reject"
    } else if (beyond_window(reset) || reset.offender_acks_unseen) && !scene.witness.host.on(&TCP_BE_LIBERAL) {
        "conntrack-invalid"
    } else if reset.idle as f64 >= idle {
        "nat-expired"
    } else {
        "nat-state-lost"
    }
}

fn reasons(scene: &Scene, reset: &Reset, sender: Sender, cause: &str, why: &str) -> Reasons {
    let why = why.to_owned();
    let (here, there) = (name(reset.point), name(reset.point.other()));
    let loss = alibi::capture_loss(scene, reset.point.other());
    let foreign = reset.usual_ttl != 0 && reset.ttl != reset.usual_ttl;
    let ttl = format!("its TTL is {}, that of the traffic it belongs to {} at {here}", reset.ttl, reset.usual_ttl);
    let reasons = Reasons::default().support_if(reset.acked_after == 0, 0.2, "its sequence number is the one due");
    match sender {
        Sender::Host => reasons
            .support(0.6, format!("it is in the capture of {here} and not in that of {there}"))
            .support(
                0.5,
                format!(
                    "it follows within {} a segment that never reached {there}",
                    duration(reset.at.time - reset.offender.time)
                ),
            )
            .support_if(foreign, 0.6, ttl)
            .support_if(
                scene.witness.host.told(&DEFAULT_TTL).is_some_and(|told| told.value == i64::from(reset.ttl)),
                0.3,
                format!("its TTL is the one that the host gives its own packets ({})", DEFAULT_TTL.key),
            )
            .support_if(bare(reset), 0.4, "IP identification 0, window 0, no ACK: a stack without a socket made it")
            .support_if(reset.partial, 0.5, "its checksum is partial: a firewall rule made it")
            .support_if(reset.offender_acks_unseen, 0.4, "the segment acknowledges bytes that were never sent")
            .support_if(
                cause == "conntrack-invalid" && !reset.offender_acks_unseen,
                0.5,
                format!(
                    "the segment lies {} beyond what was due, the window is {}",
                    counted(u64::from(reset.offender_jump), "byte"),
                    count(u64::from(reset.offender_window))
                ),
            )
            .contradict_if(loss > 0.001, 0.3, format!("the capture of {there} missed {:.1} % itself", loss * 100.0)),
        Sender::Path => reasons.support(0.3, "it crosses both points").support_if(foreign, 0.6, ttl).support_if(
            reset.data_after > 0,
            0.7,
            format!(
                "its alleged sender went on with {} of data at that sequence number",
                counted(u64::from(reset.data_after), "segment")
            ),
        ),
        Sender::Guest | Sender::Peer => reasons
            .support_if(reset.copy.is_some(), 0.6, "it crosses both points in the order of its direction")
            .support_if(!foreign, 0.5, format!("its TTL is {} as ever", reset.ttl))
            .support(0.5, why),
        Sender::Unknown => reasons.support(0.3, why),
    }
}

fn cite(scene: &Scene, claim: &mut Claim, reset: &Reset, sender: Sender) {
    let flags = if reset.flags & tcp_flags::ACK == 0 { "RST" } else { "RST, ACK" };
    let by = match sender {
        Sender::Host if reset.direction == Direction::Inbound => "the host, in the peer's name",
        Sender::Host => "the host",
        Sender::Guest => "the guest",
        Sender::Peer => "the peer",
        Sender::Path => "something on the path, in its alleged sender's name",
        Sender::Unknown => "an unknown sender",
    };
    let usual = if reset.usual_ttl != 0 && reset.usual_ttl != reset.ttl {
        format!(" (otherwise {})", reset.usual_ttl)
    } else {
        String::new()
    };
    claim.cite(scene, reset.point, reset.at.frame, reset.at.time, format!("{flags} by {by}, TTL {}{usual}", reset.ttl));
    if let Some(copy) = reset.copy {
        claim.cite(scene, reset.point.other(), copy.frame, copy.time, "the same reset");
    }
    if sender == Sender::Host {
        let there = name(reset.point.other());
        claim.cite(
            scene,
            reset.point,
            reset.offender.frame,
            reset.offender.time,
            format!("the segment that it answers; it never reached {there}"),
        );
    } else if bare(reset) && sender != Sender::Path {
        claim.cite(scene, reset.point, reset.offender.frame, reset.offender.time, "the segment that it answers");
    }
    if sender == Sender::Path && reset.data_after > 0 && reset.answered.frame != 0 {
        claim.cite(scene, reset.point, reset.answered.frame, reset.answered.time, "the next packet of its receiver");
    }
}

/// Entries that went together did not expire one by one: a silent connection among busy ones was lost with them.
fn together(claims: &mut [Claim]) {
    let lost: Vec<i64> =
        claims.iter().filter(|claim| claim.cause == Some("nat-state-lost")).map(|claim| claim.first.0).collect();
    // What the host's log tells needs no guess.
    let guessed = |claim: &&mut Claim| claim.cause == Some("nat-expired") && !claim.details.contains_key("conntrack");
    for claim in claims.iter_mut().filter(guessed) {
        if lost.iter().any(|time| time.abs_diff(claim.first.0) <= 2 * SECOND as u64) {
            claim.cause = Some("nat-state-lost");
        }
    }
}

/// Who opens connections to a service and ends them by reset time and again does so by habit (a player that stops, a
/// monitor): context, not a fault.
fn habits(scene: &Scene, claims: &mut [Claim]) {
    /// Resets that come together have a cause of their own.
    const SPREAD: i64 = 60 * SECOND;
    let mut services: BTreeMap<(&str, Endpoint), Vec<usize>> = BTreeMap::new();
    for (index, claim) in claims.iter().enumerate() {
        let Some(pair) = scene.pair(claim.flows[0]) else { continue };
        let (inside, outside) = pair.inner_ends();
        match (claim.cause, opener(pair)) {
            (Some("guest-abort"), Some(Direction::Outbound)) => {
                services.entry(("guest-abort", outside)).or_default().push(index);
            }
            (Some("peer-abort"), Some(Direction::Inbound)) => {
                services.entry(("peer-abort", inside)).or_default().push(index);
            }
            _ => {}
        }
    }
    for resets in services.values().filter(|resets| resets.len() as f64 >= SPEC.value(scene, "tcp-reset.habit")) {
        let times = || resets.iter().map(|&index| claims[index].first.0);
        let spread = times().max().unwrap_or(0) - times().min().unwrap_or(0);
        if spread >= SPREAD {
            for &index in resets {
                claims[index].severity = Severity::Info;
            }
        }
    }
}

pub(super) fn conclude(scene: &Scene, claims: &[Claim]) -> Finding {
    let mut finding = merge(scene, claims);
    let resets: Vec<Value> = claims
        .iter()
        .flat_map(|claim| claim.details.get("resets").and_then(Value::as_array).cloned().unwrap_or_default())
        .take(crate::report::MAX_FLOWS)
        .collect();
    for name in ["offending_frame", "ttl", "usual_ttl", "rst_sequence_accepted", "idle_before_seconds"] {
        if let Some(value) = claims[0].details.get(name) {
            finding.details.insert(name.into(), value.clone());
        }
    }
    finding.details.insert("resets".into(), resets.into());
    finding.details.insert("spread_seconds".into(), finding.duration_seconds.into());
    finding.summary = summary(&finding, claims);
    finding.fixes = fixes(&finding);
    finding
}

fn summary(finding: &Finding, claims: &[Claim]) -> String {
    let n = finding.flow_count;
    let flows = counted(n, "live connection");
    let spread = finding.last.0 - finding.first.0;
    let at = if n > 1 {
        format!(" at {}, within {}", clock_time(finding.first), duration(spread))
    } else {
        format!(" at {}", clock_time(finding.first))
    };
    let (them, their, segment) =
        if n == 1 { ("it", "its", "the peer's next segment") } else { ("them", "their", "the peers' next segments") };
    let idle = claims.iter().map(|claim| claim.number("idle_before_seconds")).fold(0.0, f64::max);
    match finding.cause {
        Some("nat-state-lost") => format!(
            "The host itself reset {flows}{at}: {}, so {segment} ended in its own stack.",
            testimony::lost(claims).unwrap_or_else(|| {
                format!("it no longer had {their} NAT {}", if n == 1 { "entry" } else { "entries" })
            })
        ),
        Some("nat-expired") => format!(
            "The host itself reset {flows}{at}: after {} of silence {their} NAT {} had expired, and {segment} ended in its \
             own stack.",
            duration((idle * 1e9) as i64),
            if n == 1 { "entry" } else { "entries" }
        ),
        Some("conntrack-invalid") => format!(
            "The host itself reset {flows}{at}: its connection tracking took a segment out of the window for invalid and \
             did not translate it.",
        ),
        Some("firewall-reject") if claims.iter().any(|claim| claim.details.contains_key("reset_seen")) => format!(
            "The host cut {flows}{at}: it kept back what the guest sent, and the guest fell silent as after a reset. \
             The reset itself is on neither capture.",
        ),
        Some("firewall-reject") if finding.direction == Directions::Outbound => format!(
            "A firewall rule on the host cut {flows}{at}: it kept back what the guest sent and answered with a reset in \
             the peer's name.",
        ),
        Some("firewall-reject") => {
            format!("A firewall rule on the host cut {flows}{at}: it kept back what came in and reset {them}.")
        }
        Some("peer-abort") => format!("The peer reset {flows}{at}; the host passed the reset on."),
        Some("guest-abort") => format!("The guest itself reset {flows}{at}."),
        Some("forged") => format!(
            "Something on the path reset {flows}{at} in the name of an end that did not send {}.",
            if n == 1 { "it" } else { "the resets" }
        ),
        _ => format!("A reset cut {flows}{at}; the captures do not tell who sent it."),
    }
}

fn fixes(finding: &Finding) -> Vec<Fix> {
    let around = |before: i64, after: i64| {
        let stamp = |time: i64| crate::time::Time(time).to_string().get(..19).unwrap_or_default().replace('T', " ");
        format!(
            "journalctl --utc --since \"{}\" --until \"{}\"",
            stamp(finding.first.0 - before * SECOND),
            stamp(finding.last.0 + after * SECOND)
        )
    };
    let log = around(60, 5);
    let stray = fix(
        "Keep the host from answering segments in mid-connection that it cannot place: they are then repeated until the \
         guest's next packet makes the entry anew.",
        &["iptables -I INPUT -p tcp ! --syn -m conntrack --ctstate NEW,INVALID -j DROP"],
        "The rule also silences the host's own stale connections; it does not keep the entries from vanishing.",
    );
    let keepalive = fix(
        "Let the guest send keep-alives: a packet from inside makes a lost entry anew, one from outside cannot.",
        &["sysctl -w net.ipv4.tcp_keepalive_time=60 net.ipv4.tcp_keepalive_intvl=20"],
        "In the guest, and only for sockets with SO_KEEPALIVE.",
    );
    match finding.cause {
        Some("nat-state-lost") => vec![
            fix(
                format!(
                    "Find what emptied the NAT table shortly before {}: `conntrack -F` or `-D`, a DHCP client that takes \
                     the uplink's address away and sets it again, a restart of the firewall or of libvirt's network.",
                    clock_time(finding.first)
                ),
                &[&log, "conntrack -E -e DESTROY -o timestamp", "ip -t monitor address link route"],
                "The last two show it when it happens again; `[USERSPACE]` in conntrack's line means that a program did it.",
            ),
            stray,
            keepalive,
        ],
        Some("nat-expired") => vec![
            keepalive,
            fix(
                "See how long the host remembers a silent connection, and raise it.",
                &[
                    "sysctl net.netfilter.nf_conntrack_tcp_timeout_established",
                    "sysctl -w net.netfilter.nf_conntrack_tcp_timeout_established=432000",
                ],
                "The default is five days; entries that wait for an acknowledgment live for 300 s only.",
            ),
            stray,
        ],
        Some("conntrack-invalid") => vec![
            fix(
                "Let connection tracking forgive segments outside its window.",
                &["sysctl -w net.netfilter.nf_conntrack_tcp_be_liberal=1"],
                "It then marks only resets outside the window as invalid.",
            ),
            fix(
                "Drop what connection tracking calls invalid, instead of letting the host answer it.",
                &["iptables -I INPUT -m conntrack --ctstate INVALID -j DROP"],
                "A rule in FORWARD alone does not help: the segment is not forwarded, it is addressed to the host.",
            ),
            fix(
                "See what it calls invalid, and use Linux 6.1 or later, which forgives more.",
                &["sysctl -w net.netfilter.nf_conntrack_log_invalid=6", "conntrack -S"],
                "It logs each such packet.",
            ),
        ],
        Some("firewall-reject") => vec![fix(
            "Find the rule that answers with a reset, and let established connections pass before it.",
            &["iptables-save | grep -n 'reject-with tcp-reset'", "nft list ruleset | grep -n 'reject with tcp reset'"],
            "A rule added in mid-life cuts connections that an older rule had accepted.",
        )],
        Some("peer-abort") => vec![fix(
            "Look at the peer: a crash, a restart, a timeout or a full queue of the application.",
            &[],
            "The host and the guest did nothing wrong. A load balancer in front of the peer may have sent the reset.",
        )],
        Some("guest-abort") => vec![fix(
            "Look in the guest: which process closed its socket at that moment, and why.",
            &[&log, "ss -tnpi"],
            "A reset without ACK means that the guest had no such socket any more: a crash or a reboot.",
        )],
        Some("forged") => vec![fix(
            "Find the device: its distance is told by the reset's TTL. Ask the network's operator, or go round it by a tunnel.",
            &["traceroute -T -p 443 <peer>"],
            "Intrusion prevention, censorship and some load balancers reset in another's name.",
        )],
        _ => Vec::new(),
    }
}

/// A point in a sentence.
fn name(point: Point) -> &'static str {
    match point {
        Point::A => "A",
        Point::B => "B",
    }
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

    #[test]
    fn a_silent_connection_lost_with_busy_ones_did_not_expire() {
        let claim = |cause, first| {
            let mut claim = Claim::new(SPEC.id, 0, Where::Between, Direction::Inbound);
            claim.cause = Some(cause);
            claim.span(crate::time::Time(first));
            claim
        };
        let mut claims = vec![claim("nat-state-lost", 10 * SECOND), claim("nat-expired", 11 * SECOND)];
        together(&mut claims);
        assert_eq!(claims[1].cause, Some("nat-state-lost"));
        let mut claims = vec![claim("nat-state-lost", 10 * SECOND), claim("nat-expired", 90 * SECOND)];
        together(&mut claims);
        assert_eq!(claims[1].cause, Some("nat-expired"));
    }
}
