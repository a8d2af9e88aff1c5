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
//!   checksum, which the host's own stack never does (over IPv6 it is the other way round: the stack's is partial where the
//!   card finishes checksums, the rule's is complete); towards the guest it bears the peer's address;
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
//! `nf_conntrack_tcp_timeout_established`), `tcp_v6_send_response` and `nf_send_reset6`; Weaver,
//! Sommer and Paxson, "Detecting Forged TCP Reset Packets" (NDSS 2009).

mod habits;
mod sender;
mod unfinished;
mod words;

use crate::detect::census::has;
use crate::detect::claim::merge;
use crate::detect::text::{count, counted, duration};
use crate::detect::unseen::{self, CutOff};
use crate::detect::{Claim, PairView, Reasons, Scene, Spec, Testimony, Threshold, alibi};
use crate::facts::{Reset, state};
use crate::packet::Family;
use crate::packet::row::tcp_flags;
use crate::point::{Direction, Point};
use crate::report::{Finding, Severity, Where};
use crate::seq;
use crate::time::SECOND;
use crate::witness::sysctl::{
    DEFAULT_TTL, Setting, TCP_BE_LIBERAL, TCP_ESTABLISHED, TCP_MAX_RETRANS, TCP_UNACKNOWLEDGED,
};
use sender::{Sender, accepted, bare, beyond_window, established};
use serde_json::{Value, json};
use unfinished::{Moved, unfinished};

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

pub(super) fn observe(scene: &Scene) -> Vec<Claim> {
    let pairs = scene.pairs_with(has::TCP | has::BOTH | has::RESETS, 0);
    let moved = unfinished::moved(scene);
    let mut claims: Vec<Claim> = pairs.filter_map(|pair| cut(scene, pair, &moved)).collect();
    habits::together(&mut claims);
    habits::habits(scene, &mut claims);
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
    let sender = sender::sender(scene, reset);
    let why = match sender {
        Sender::Host | Sender::Path => String::new(),
        Sender::Unknown if moved.contains(&(pair.inner_ends().1, reset.seq)) => return None,
        Sender::Guest | Sender::Peer | Sender::Unknown => unfinished(scene, pair, reset)?,
    };
    Some(claim(scene, pair, reset, sender, &why))
}

fn claim(scene: &Scene, pair: &PairView, reset: &Reset, sender: Sender, why: &str) -> Claim {
    let told = match sender {
        Sender::Host => scene.witness.at(pair, scene.clock.to_a(reset.point, reset.offender.time), reset.idle),
        _ => Testimony::None,
    };
    let (place, cause) = match sender {
        Sender::Host => (Where::Between, told.reset_cause(host_cause(scene, pair, reset))),
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
    claim.reasons = reasons(scene, pair, reset, sender, cause, why);
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

/// Whether the packets beside a reset have partial checksums, which a card finishes: then the reset's own tells who made it.
fn finished_by_card(pair: &PairView, reset: &Reset) -> bool {
    reset.partial || pair.track(reset.direction, reset.point).has(state::PARTIAL)
}

/// Whether the checksum of a reset of the host's shows that a firewall rule made it.
fn made_by_rule(pair: &PairView, reset: &Reset) -> bool {
    if pair.family() != Family::V6 {
        return reset.partial;
    }
    // The card finishes checksums, so that the stack would have left this one partial.
    !reset.partial && finished_by_card(pair, reset)
}

/// Whether the segment that a reset answers acknowledges what was never sent: neither this point nor the other saw the bytes, so
/// that it is not this capture that missed them.
fn acks_unsent(pair: &PairView, reset: &Reset) -> bool {
    let there = pair.track(reset.direction, reset.point.other());
    let sent = there.has(state::SEQ) && !seq::before(there.next, reset.seq);
    reset.offender_acks_unseen && !sent
}

fn host_cause(scene: &Scene, pair: &PairView, reset: &Reset) -> &'static str {
    let idle = SPEC.timer(scene, "tcp-reset.idle", &OPEN);
    if reset.direction == Direction::Inbound || made_by_rule(pair, reset) {
        "firewall-reject"
    } else if (beyond_window(reset) || acks_unsent(pair, reset)) && !scene.witness.host.on(&TCP_BE_LIBERAL) {
        "conntrack-invalid"
    } else if reset.idle as f64 >= idle {
        "nat-expired"
    } else {
        "nat-state-lost"
    }
}

fn reasons(scene: &Scene, pair: &PairView, reset: &Reset, sender: Sender, cause: &str, why: &str) -> Reasons {
    let why = why.to_owned();
    let (here, there) = (name(reset.point), name(reset.point.other()));
    let loss = alibi::capture_loss(scene, reset.point.other());
    let foreign = reset.usual_ttl != 0 && reset.ttl != reset.usual_ttl;
    let ttl = format!("its TTL is {}, that of the traffic it belongs to {} at {here}", reset.ttl, reset.usual_ttl);
    let rule = if reset.partial {
        "its checksum is partial: a firewall rule made it"
    } else {
        "its checksum is complete, where the host's own stack would leave it to the card: a firewall rule made it"
    };
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
            .support_if(made_by_rule(pair, reset), 0.5, rule)
            .support_if(acks_unsent(pair, reset), 0.4, "the segment acknowledges bytes that were never sent")
            .support_if(
                cause == "conntrack-invalid" && !acks_unsent(pair, reset),
                0.5,
                format!(
                    "the segment lies {} beyond what was due, the window is {}",
                    counted(u64::from(reset.offender_jump), "byte"),
                    count(u64::from(reset.offender_window))
                ),
            )
            .contradict_if(
                matches!(cause, "nat-state-lost" | "nat-expired") && !finished_by_card(pair, reset),
                0.1,
                "a rule that rejects would look the same: no packet shows that a card finishes checksums here",
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
    finding.summary = words::summary(&finding, claims);
    finding.fixes = words::fixes(&finding);
    finding
}

/// A point in a sentence.
fn name(point: Point) -> &'static str {
    match point {
        Point::A => "A",
        Point::B => "B",
    }
}
