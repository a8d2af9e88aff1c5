//! # What it is
//! A QUIC connection or another exchange of datagrams goes silent although one end still speaks, and who is to blame:
//! the host that forgot the flow's address translation (`nat-expired`), the host that drops it (`dropped`), the far end
//! (`peer-silent`) or the guest (`guest-silent`).
//!
//! # In paired captures
//! Set for a flow that was found at both points.
//!
//! `nat-expired`, between the points, when all of the following are true:
//! - the flow is translated, and nothing of it passed B for `udp-stall.idle` or longer, which is also longer than any
//!   silence it is known to have survived;
//! - then the far end spoke first, and what it sent stands at B and never at A;
//! - the guest did not speak meanwhile: its packets would have renewed the translation;
//! - the host refused the packets by ICMP, or the guest's next packet left from another outer port, or several packets
//!   were lost in a row.
//!
//! The host's own timers (`--sysctl`) replace that idle time, and its log of connection tracking (`--conntrack`) decides:
//! it tells whether the entry was still there, and if not, whether its timer ended it.
//!
//! `dropped`, between the points, when all of the following are true:
//! - packets of one direction crossed before;
//! - then `udp-stall.packets` or more in a row, over `udp-stall.seconds` or more, entered the host and none left it;
//! - the flow lost nearly nothing otherwise, or far less than such a run takes by chance and nothing crossed again.
//!
//! `guest-silent` also when the host itself reports the guest unreachable (ICMP host unreachable, from the host).
//!
//! `peer-silent` (outside) and `guest-silent` (inside) when all of the following are true:
//! - one end's packets cross both points, `udp-stall.packets` or more in a row over `udp-stall.seconds` or more, until
//!   the end of the flow, and nothing comes back;
//! - by what the flow did before, several answers were due;
//! - the silence is much longer than any it lived through before.
//!
//! # Mistaken for it
//! - A QUIC connection that was closed: after the close both ends are silent, bar a packet or two.
//! - An application that says nothing for a while and goes on: the next packet crosses.
//! - A QUIC migration: the guest's own address or port changes, and the old flow is silent at both ends.
//! - A program that closed its socket: its own system answers with ICMP port unreachable, which crosses both points.
//! - A stream that needs no answer: no answers were usual before.
//! - A capture that stopped or paused: other packets that must have passed it are missing as well. Where A shows nothing
//!   whatever any more and nothing had come back for a second before, that cannot be told from a capture of A that was
//!   stopped, unless the host refuses the packets: then nothing is said, and `coverage` counts them.
//!
//! # What to do
//! `nat-expired`: let the guest send a keep-alive more often than half the timeout, or raise the timeout. `dropped`: find
//! the rule or the counter on the host. Else look at the end that fell silent.
//!
//! # References
//! RFC 4787 section 4.3 (REQ-5: two minutes or more); RFC 9000 sections 10.1.2 and 10.2; RFC 9308 section 3.2; the kernel's
//! `Documentation/networking/nf_conntrack-sysctl.rst` (`nf_conntrack_udp_timeout` 30 s, `_stream` 120 s).

use crate::detect::census::has;
use crate::detect::claim::{fix, merge};
use crate::detect::text::{count, counted, duration, point_name};
use crate::detect::{Claim, PairView, Reasons, Scene, Spec, Testimony, Threshold};
use crate::facts::{EventKind, Fate, IcmpSeen, Run, pair_flags};
use crate::point::{Direction, Point};
use crate::report::{Finding, Fix, Severity, Where};
use crate::time::{SECOND, Time};
use crate::witness::sysctl::{Setting, UDP, UDP_STREAM};
use serde_json::json;
use std::cell::OnceCell;
use std::collections::BTreeSet;

/// What this detector says of itself.
pub(super) const SPEC: Spec = Spec {
    id: "udp-stall",
    says: "a QUIC or other UDP flow goes silent although one end still speaks",
    causes: &["nat-expired", "dropped", "peer-silent", "guest-silent"],
    severity: Severity::Error,
    thresholds: &[
        Threshold {
            name: "udp-stall.idle",
            unit: "seconds of silence before",
            default: 1.0,
            source: "conntrack counts its timers in whole seconds: no translation expires sooner",
        },
        Threshold {
            name: "udp-stall.packets",
            unit: "packets in a row",
            default: 4.0,
            source: "a QUIC sender probes twice in a row as a matter of course (RFC 9002 section 6.2.4)",
        },
        Threshold {
            name: "udp-stall.seconds",
            unit: "seconds without a packet that crosses or an answer",
            default: 1.0,
            source: "the second after which a person notices; far above the delays of paths and of acknowledgments",
        },
    ],
    source: include_str!("udp_stall.rs"),
};

pub(super) fn observe(scene: &Scene) -> Vec<Claim> {
    let others = Others::new(scene);
    // The bit says nothing of fewer.
    let least = SPEC.value(scene, "udp-stall.packets");
    let silent = if least >= f64::from(has::IN_A_ROW) { has::MONOLOGUE } else { has::UDP };
    scene
        .pairs_with(has::UDP | has::BOTH, has::RUN | silent)
        .filter_map(|pair| {
            lost_in_host(scene, pair, Direction::Inbound, &others)
                .or_else(|| lost_in_host(scene, pair, Direction::Outbound, &others))
                .or_else(|| end_silent(scene, pair, Direction::Outbound, &others))
                .or_else(|| end_silent(scene, pair, Direction::Inbound, &others))
        })
        .collect()
}

/// What the host said of the packets that it did not forward.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Refusal {
    /// Nothing.
    None,
    /// A port or the traffic as such is refused: it took the packet for its own, or a rule did.
    Refused,
    /// Its neighbour does not answer.
    NeighbourGone,
}

/// The host's own ICMP errors about packets of a direction: seen at the point that the packets enter by, and there only.
fn refusals<'a>(pair: &PairView<'a>, direction: Direction) -> impl Iterator<Item = &'a IcmpSeen> {
    pair.facts.icmp.iter().filter(move |error| {
        error.direction == direction.reverse() && error.point == direction.entry() && error.fate != Fate::Crossed
    })
}

fn refusal(pair: &PairView, direction: Direction) -> Refusal {
    let mut answer = Refusal::None;
    for error in refusals(pair, direction) {
        match (error.v6, error.kind) {
            (false, (3, 1)) | (true, (1, 3)) => return Refusal::NeighbourGone,
            // RFC 792 and 1122: protocol, port, and the prohibitions; RFC 4443 likewise.
            (false, (3, 2 | 3 | 9 | 10 | 13)) | (true, (1, 1 | 4 | 5 | 6)) => answer = Refusal::Refused,
            _ => {}
        }
    }
    answer
}

/// A run of lost packets, and whether anything of its direction crossed afterwards.
struct Stall {
    run: Run,
    /// Lost packets of the flow's direction outside the run.
    other_losses: u32,
    healed: bool,
}

fn stall(pair: &PairView, direction: Direction) -> Option<Stall> {
    let more = pair.more(direction, direction.entry())?;
    let track = pair.track(direction, direction.entry());
    let current = more.run.count > 0 && (track.matched == 0 || track.matched_order < more.run.first_order);
    let run = if current || more.run.count >= more.longest.count { more.run } else { more.longest };
    (run.count > 0).then_some(Stall { run, other_losses: more.unmatched.saturating_sub(run.count), healed: !current })
}

fn lost_in_host(scene: &Scene, pair: &PairView, direction: Direction, others: &Others<'_>) -> Option<Claim> {
    let stall = stall(pair, direction)?;
    let run = &stall.run;
    let (entry, exit) = (direction.entry(), direction.exit());
    let track = pair.track(direction, entry);
    let refusal = refusal(pair, direction);
    let told = match direction {
        Direction::Inbound => scene.witness.at(pair, scene.clock.to_a(entry, run.first.time), run.idle),
        Direction::Outbound => Testimony::None,
    };
    let rebound = others.moved.contains(&pair.serial);
    let certain = refusal == Refusal::Refused || rebound;
    let expired = direction == Direction::Inbound && expired(scene, pair, &stall, certain, told.expired());
    let lasted = run.last.time - run.first.time;
    let crossed_before = track.matched > 0 && run.first_order > 0;
    let before = track.packets.saturating_sub(run.count);
    let usual = f64::from(stall.other_losses) / f64::from(before.max(1));
    let otherwise_whole = stall.other_losses <= 1
        || stall.other_losses * 20 <= before
        || !stall.healed && in_a_row(usual, run.count) <= CHANCE;
    let long = f64::from(run.count) >= SPEC.value(scene, "udp-stall.packets")
        && lasted as f64 >= SPEC.value(scene, "udp-stall.seconds") * SECOND as f64;
    let refused_in_a_row = refusal != Refusal::None && run.count >= 3 && !stall.healed;
    let dropped = crossed_before && otherwise_whole && (long || refused_in_a_row);
    if !expired && !dropped {
        return None;
    }
    if capture_missed(scene, run, direction) || capture_slept(scene, run, direction, refusal) {
        return None;
    }
    let (cause, place) = match (expired, refusal) {
        (_, Refusal::NeighbourGone) if direction == Direction::Inbound => ("guest-silent", Where::Inside),
        (true, _) => ("nat-expired", Where::Between),
        _ => ("dropped", Where::Between),
    };
    let mut claim = Claim::new(SPEC.id, pair.serial, place, direction);
    claim.severity = Severity::Error;
    claim.cause = Some(cause);
    claim.protocol = pair.protocol_name();
    claim.packets = u64::from(run.count);
    cite_lost(scene, pair, direction, run, &mut claim);
    claim.details.insert("idle_before_seconds".into(), json!(seconds(run.idle)));
    claim.details.insert("stalled_seconds".into(), json!(seconds(lasted)));
    claim.details.insert("crossed_before".into(), track.matched.into());
    claim.reasons = Reasons::default()
        .support(
            0.6,
            format!(
                "{} in a row passed {} and never {}",
                counted(u64::from(run.count), "packet"),
                point_name(entry),
                point_name(exit)
            ),
        )
        .support_if(
            crossed_before,
            0.5,
            format!("{} of this direction had crossed", counted(u64::from(track.matched), "packet")),
        )
        .support_if(
            expired,
            0.4,
            format!("nothing of the flow had passed {} for {}", point_name(entry), duration(run.idle)),
        )
        .support_if(
            expired && refusal == Refusal::Refused,
            0.8,
            "the host itself refused them: it took them for its own",
        )
        .support_if(
            expired && rebound,
            0.8,
            "the guest's next packet left from another outer port: the old translation was gone",
        )
        .support_if(
            refusal == Refusal::NeighbourGone,
            0.8,
            match direction {
                Direction::Inbound => "the host reports the guest unreachable: nobody answers its ARP",
                Direction::Outbound => "the host reports its own next hop unreachable: nobody answers its ARP",
            },
        )
        .support_if(!expired && f64::from(run.count) >= 8.0, 0.4, "more in a row than chance explains")
        .support_if(
            !expired && others.cross_after(pair, direction, run.first.time),
            0.4,
            "other flows crossed meanwhile",
        )
        .contradict_if(expired && run.count == 1, 0.2, "a single packet")
        .contradict_if(stall.healed && !rebound, 0.2, "the flow went on later");
    told.testify(scene, &mut claim);
    if direction == Direction::Inbound && inner_changes(pair) {
        scene.witness.compare(&mut claim, run.idle, timers(pair, run));
    }
    Some(claim)
}

/// Whether the host translates the flow.
fn inner_changes(pair: &PairView) -> bool {
    pair.ends(Point::A).map(|ends| ends.0) != pair.ends(Point::B).map(|ends| ends.0)
}

/// The host's timers that held for the flow before a run at B: the long one from two seconds of both ways on.
fn timers(pair: &PairView, run: &Run) -> &'static [&'static Setting] {
    /// `nf_conntrack_udp_packet`, with a tenth for the captures.
    const STREAM: i64 = 2 * SECOND + SECOND / 10;
    let b = Point::B.index();
    let firsts = pair.facts.first.iter().map(|points| points[b]);
    let first = firsts.filter(|stamp| stamp.frame != 0).map(|stamp| stamp.time).min().unwrap_or(i64::MAX);
    let both_ways = pair.tracks.iter().all(|direction| direction[b].matched > 0);
    let lived = run.first.time.saturating_sub(run.idle).saturating_sub(first);
    if both_ways && lived >= STREAM { &[&UDP_STREAM] } else { &[&UDP, &UDP_STREAM] }
}

/// Whether the flow's translation had expired when the far end spoke.
/// `certain`: something besides the silence says so.
fn expired(scene: &Scene, pair: &PairView, stall: &Stall, certain: bool, told: Option<bool>) -> bool {
    let run = &stall.run;
    let (Some((inner, _)), Some((outer, _))) = (pair.ends(Point::A), pair.ends(Point::B)) else { return false };
    let idle_long = run.idle as f64 >= SPEC.timer(scene, "udp-stall.idle", timers(pair, run));
    // A tenth more, since the spacing of a regular sender varies.
    let longer_than_survived = run.idle > pair.facts.survived[1] + pair.facts.survived[1] / 10;
    let guest = pair.track(Direction::Outbound, Point::A);
    let guest_at_b = pair.track(Direction::Outbound, Point::B);
    let spoke_meanwhile = guest_at_b.matched > 0
        && guest.packets > 0
        && scene.clock.to_a(Point::A, guest.last_time) > scene.clock.to_a(Point::B, run.first.time)
        && scene.clock.to_a(Point::A, guest.last_time) < scene.clock.to_a(Point::B, run.last.time);
    // Where a packet or two may have been lost otherwise, the kernel's own timers have certainly ended by then.
    let default = timers(pair, run).iter().map(|timer| timer.default).min().unwrap_or(i64::MAX);
    let by_default = run.idle >= default.saturating_mul(SECOND) && pair.track(Direction::Inbound, Point::B).matched > 0;
    let by_silence = idle_long && longer_than_survived && (certain || run.count >= 2 || by_default);
    inner != outer && !spoke_meanwhile && told.unwrap_or(by_silence)
}

/// Chance, at most, that what loses or misses packets all along took a whole run of them as well.
const CHANCE: f64 = 1e-4;

/// Whether the far capture itself may have missed the run: packets that came out at the near point the other way meanwhile
/// must have passed it, and are not there; so many of them that all of the run may be missing for the same reason.
fn capture_missed(scene: &Scene, run: &Run, direction: Direction) -> bool {
    /// Fewest that tell a hole from a packet that the host made itself.
    const HOLE: usize = 3;
    let (near, back) = (direction.entry(), direction.reverse());
    let events = scene.events(EventKind::Unmatched, near, back);
    let missing = events[events.partition_point(|event| event.time < run.first.time)..]
        .iter()
        .take_while(|event| event.time <= run.last.time)
        .filter(|event| event.protocol != 1 && !(event.protocol == 6 && event.flags & 4 != 0))
        .count();
    let seen = scene.activity[near.index()].series(back).packets_between(run.first.time, run.last.time + 1);
    let share = missing as f64 / seen.max(missing as u64).max(1) as f64;
    missing >= HOLE && in_a_row(share, run.count) > CHANCE
}

/// The chance of losing so many packets in a row where a share of them is lost at random.
fn in_a_row(share: f64, packets: u32) -> f64 {
    share.powf(f64::from(packets))
}

/// Whether the far capture shows nothing at all while packets came faster than a ring buffer holds: then it is the
/// capture that missed them.
fn capture_slept(scene: &Scene, run: &Run, direction: Direction, refusal: Refusal) -> bool {
    /// Packets a second from which on tcpdump's default buffer of 2 MiB overflows within a second or two of a pause
    /// (measured: about 1,150 frames of 1,400 bytes).
    const FAST: i64 = 500;
    let lasted = run.last.time - run.first.time;
    let [from, to] = [run.first, run.last]
        .map(|stamp| scene.clock.from_a(direction.exit(), scene.clock.to_a(direction.entry(), stamp.time)));
    let asleep = Direction::BOTH
        .iter()
        .all(|way| scene.activity[direction.exit().index()].silence_within(*way, from, to) >= lasted / 10 * 8);
    refusal == Refusal::None && asleep && i64::from(run.count).saturating_mul(SECOND) >= FAST.saturating_mul(lasted)
}

/// The two flows that were heard last: one of them is another one than any flow that asks.
type Latest = [Option<(i64, u32)>; 2];

/// What other flows did.
struct Others<'a> {
    scene: &'a Scene<'a>,
    /// Hardly any capture needs it.
    heard: OnceCell<Heard>,
    /// Flows that have left from another outer name since.
    moved: BTreeSet<u32>,
}

/// When other flows were heard last, by direction, at the point that it enters by.
#[derive(Default)]
struct Heard {
    crossing: [Latest; 2],
    paired: [Latest; 2],
}

impl<'a> Others<'a> {
    fn new(scene: &'a Scene<'a>) -> Self {
        let former = |pair: &PairView| {
            let former = scene.pair(pair.successor_of?)?;
            (former.a == pair.a).then_some(former.serial)
        };
        let moved = scene.pairs_with(has::MOVED, 0).filter_map(former).collect();
        Self { scene, heard: OnceCell::new(), moved }
    }

    fn heard(&self) -> &Heard {
        self.heard.get_or_init(|| {
            let mut heard = Heard::default();
            for pair in &self.scene.pairs {
                for direction in Direction::BOTH {
                    let track = pair.track(direction, direction.entry());
                    let last = (track.last_time, pair.serial);
                    if track.matched > 0 {
                        note(&mut heard.crossing[direction.index()], last);
                    }
                    if pair.both() {
                        note(&mut heard.paired[direction.index()], last);
                    }
                }
            }
            heard
        })
    }

    /// Whether another flow whose packets cross had one of this direction after a time.
    fn cross_after(&self, pair: &PairView, direction: Direction, time: i64) -> bool {
        after(&self.heard().crossing[direction.index()], pair, time)
    }

    /// Whether another paired flow had a packet of this direction after a time.
    fn speak_after(&self, pair: &PairView, direction: Direction, time: i64) -> bool {
        after(&self.heard().paired[direction.index()], pair, time)
    }
}

fn note(latest: &mut Latest, last: (i64, u32)) {
    if Some(last) > latest[0] {
        *latest = [Some(last), latest[0]];
    } else if Some(last) > latest[1] {
        latest[1] = Some(last);
    }
}

fn after(latest: &Latest, pair: &PairView, time: i64) -> bool {
    latest.iter().flatten().any(|&(last, serial)| serial != pair.serial && last > time)
}

fn cite_lost(scene: &Scene, pair: &PairView, direction: Direction, run: &Run, claim: &mut Claim) {
    let (entry, exit) = (direction.entry(), direction.exit());
    let what = format!("never reached {}", point_name(exit));
    claim.cite(scene, entry, run.first.frame, run.first.time, what.clone());
    for error in refusals(pair, direction).take(2) {
        let (kind, code) = error.kind;
        claim.cite(
            scene,
            entry,
            error.at.frame,
            error.at.time,
            format!("the host's own ICMP {kind}/{code} about it, TTL {}", error.ttl),
        );
    }
    if run.count > 1 {
        claim.cite(scene, entry, run.last.frame, run.last.time, what);
    }
    for event in scene.events(EventKind::Unmatched, entry, direction) {
        if event.pair == pair.serial && event.time > run.first.time && event.time < run.last.time {
            claim.frame(scene, entry, event.frame, event.time);
        }
    }
}

/// Packets of an end, and of the other before its turn, from which on they tell what is usual.
const USUAL: u32 = 3;

/// One end speaks, its packets cross, and nothing comes back until the end.
fn end_silent(scene: &Scene, pair: &PairView, speaking: Direction, others: &Others<'_>) -> Option<Claim> {
    let silent = speaking.reverse();
    // Where the silent end's packets would enter: nearer to it there is nothing.
    let (near, far) = (silent.entry(), silent.exit());
    let (speaker, answers) = (pair.track(speaking, near), pair.track(silent, near));
    let ended = pair.facts.flags & pair_flags::REBOUND != 0;
    let told = answers.packets >= USUAL && speaker.next >= USUAL;
    if ended || !told || speaker.last_time <= answers.last_time {
        return None;
    }
    let turn = pair.facts.talk().since[speaking.index()][near.index()];
    let unanswered = speaker.packets.saturating_sub(speaker.next);
    let lasted = speaker.last_time - turn.time;
    let silence = speaker.last_time - answers.last_time;
    let enough = f64::from(unanswered) >= SPEC.value(scene, "udp-stall.packets")
        && lasted as f64 >= SPEC.value(scene, "udp-stall.seconds") * SECOND as f64;
    // A few packets tell nothing of what is usual, nor does a greeting before a stream that needs no answers.
    let first_spoken = pair.facts.first[speaking.index()][near.index()].time;
    let first = pair.facts.first[silent.index()][near.index()].time;
    let spacing = (answers.last_time - first) / i64::from(answers.packets.max(2) - 1);
    // Where neither end spoke before, the silence is not the silent end's, nor part of the conversation.
    let paused = turn.time - answers.last_time;
    let idle = (paused - spacing).max(0);
    let conversed = turn.time - idle - first_spoken;
    let as_before = unanswered <= 2 * speaker.next
        && f64::from(unanswered) * conversed as f64 <= 2.0 * f64::from(speaker.next) * lasted as f64;
    let usual = as_before && conversed >= lasted / 8;
    if !enough || !usual {
        return None;
    }
    let due = f64::from(unanswered) * f64::from(answers.packets) / f64::from(speaker.next);
    let longest_before = pair.facts.talk().longest_pause[silent.index()][near.index()];
    let waited = silence - idle;
    let unusual =
        waited >= 4 * spacing && waited >= 2 * longest_before && silence >= pair.facts.survived[silent.index()];
    // The answers stand at the other point: this capture missed them.
    let there = pair.track(silent, far);
    let missed_here = scene.clock.to_a(far, there.last_time) > Time(scene.clock.to_a(near, turn.time).0 + SECOND / 10);
    let said_goodbye = pair.facts.icmp.iter().any(|error| error.direction == silent && error.fate == Fate::Crossed);
    let delivered = pair.track(speaking, far).matched > 0;
    if due < 3.0 || !unusual || missed_here || said_goodbye || !delivered {
        return None;
    }
    let (cause, place) =
        if silent == Direction::Inbound { ("peer-silent", Where::Outside) } else { ("guest-silent", Where::Inside) };
    let mut claim = Claim::new(SPEC.id, pair.serial, place, silent);
    claim.severity = Severity::Error;
    claim.cause = Some(cause);
    claim.protocol = pair.protocol_name();
    claim.packets = u64::from(unanswered);
    claim.cite(scene, near, answers.last_frame, answers.last_time, "the last packet of the end that fell silent");
    claim.cite(scene, near, turn.frame, turn.time, "the first packet that found no answer");
    claim.cite(scene, near, speaker.last_frame, speaker.last_time, "the last one");
    claim.first = scene.clock.to_a(near, turn.time);
    claim.details.insert("idle_before_seconds".into(), json!(seconds(idle)));
    claim.details.insert("stalled_seconds".into(), json!(seconds(waited)));
    claim.details.insert("answers_before".into(), answers.packets.into());
    let other_speak = others.speak_after(pair, silent, turn.time + SECOND);
    claim.reasons = Reasons::default()
        .support(0.6, format!("{} crossed and found no answer", counted(u64::from(unanswered), "packet")))
        .support_if(due >= 5.0, 0.5, format!("about {due:.0} answers were due by what the flow did before"))
        .support_if(other_speak, 0.5, "other flows had answers meanwhile, so the capture and the path work")
        .support_if(
            waited >= 10 * spacing,
            0.4,
            format!("silent for {}; before, it spoke every {}", duration(waited), duration(spacing)),
        );
    Some(claim)
}

fn seconds(nanoseconds: i64) -> f64 {
    (nanoseconds as f64 / 1e6).round() / 1e3
}

pub(super) fn conclude(scene: &Scene, claims: &[Claim]) -> Finding {
    let mut finding = merge(scene, claims);
    let longest = |name: &str| claims.iter().map(|claim| claim.number(name)).fold(0.0, f64::max);
    let (idle, stalled) = (longest("idle_before_seconds"), longest("stalled_seconds"));
    finding.details.insert("idle_before_seconds".into(), json!(idle));
    finding.details.insert("stalled_seconds".into(), json!(stalled));
    let flows = counted(finding.flow_count, if finding.protocol == "quic" { "QUIC flow" } else { "UDP flow" });
    let packets = count(finding.packet_count);
    let sent = if finding.packet_count == 1 { "packet".to_owned() } else { format!("{packets} packets") };
    let (idle_text, stalled_text) = (duration((idle * 1e9) as i64), duration((stalled * 1e9) as i64));
    finding.summary = match finding.cause {
        Some("nat-expired") => format!(
            "The host had forgotten the address translation of {flows} after {idle_text} of silence: the {sent} that \
             the far end sent then reached B and never A."
        ),
        Some("dropped") => format!(
            "The host dropped {packets} packets in a row of {flows}, {}, over {stalled_text}: they passed {} and never {}.",
            if finding.direction == Direction::Inbound.into() { "inbound" } else { "outbound" },
            if finding.direction == Direction::Inbound.into() { "B" } else { "A" },
            if finding.direction == Direction::Inbound.into() { "A" } else { "B" },
        ),
        Some("guest-silent") if finding.evidence.iter().any(|cited| cited.note.contains("ICMP")) => format!(
            "The guest was gone: the host could not deliver {packets} packets of {flows} and says that it is unreachable."
        ),
        Some("guest-silent") => format!(
            "The guest fell silent: {packets} packets of {flows} reached it over {stalled_text} and it answered none."
        ),
        _ => format!(
            "The far end fell silent: {packets} packets of {flows} left for it over {stalled_text} and none was answered."
        ),
    };
    finding.fixes = fixes(scene, claims, finding.cause, idle);
    finding
}

fn fixes(scene: &Scene, claims: &[Claim], cause: Option<&'static str>, idle: f64) -> Vec<Fix> {
    let pair = claims.first().and_then(|claim| scene.pair(claim.flows[0]));
    let port = pair.map_or(0, |pair| pair.inner_ends().1.port);
    let inside = pair.map(|pair| pair.inner_ends().0.ip().to_string()).unwrap_or_default();
    let peer = pair.map(|pair| pair.inner_ends().1.ip().to_string()).unwrap_or_default();
    match cause {
        Some("nat-expired") => vec![
            fix(
                format!(
                    "Let the guest's application send a keep-alive more often than every {:.0} s.",
                    (idle / 2.0).clamp(1.0, 25.0)
                ),
                &[],
                "It must come from the guest: only then does the host know where to send the answer.",
            ),
            fix(
                "Let the host remember UDP flows for longer.",
                &[
                    "sysctl net.netfilter.nf_conntrack_udp_timeout net.netfilter.nf_conntrack_udp_timeout_stream",
                    "sysctl -w net.netfilter.nf_conntrack_udp_timeout=300 net.netfilter.nf_conntrack_udp_timeout_stream=600",
                ],
                "Entries that live longer fill the table: watch nf_conntrack_count against nf_conntrack_max.",
            ),
            fix(
                "Keep stray packets from taking the old port.",
                &[&format!("iptables -A INPUT -p udp --sport {port} -m conntrack --ctstate NEW -j DROP")],
                "The guest then keeps its outer port when it speaks again; packets until then are still lost.",
            ),
        ],
        Some("dropped") => vec![fix(
            "Find the rule or the counter that drops them on the host.",
            &[
                &format!("conntrack -L -p udp --orig-src {inside} --dport {port}"),
                "iptables -vnL FORWARD",
                "nft list ruleset",
                "nstat -az | grep -iE 'drop|invalid|csum|filter'",
            ],
            "Read the counters twice during the fault: only what grows matters.",
        )],
        Some("guest-silent") => vec![fix(
            format!(
                "Look inside the guest {inside}: does its program still run, does its firewall drop, does the link live?"
            ),
            &[
                &format!("ping -c3 {inside}"),
                &format!("ip neigh show {inside}"),
                "virsh list --all",
                &format!("ss -uanp 'dport = :{port}'"),
            ],
            "The last command runs in the guest.",
        )],
        _ => vec![fix(
            format!("Look at the far end {peer} and at the path to it; the host forwarded everything."),
            &[&format!("mtr -n -u -P {port} {peer}")],
            "Routers on the way may answer such probes only now and then.",
        )],
    }
}
