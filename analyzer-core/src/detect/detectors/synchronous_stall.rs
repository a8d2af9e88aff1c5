//! # What it is
//! All flows fall silent from one side at once and resume together: what lies there stood still for a while and then
//! delivered what had piled up. Inside that is the guest or its link (a vCPU or the vhost thread did not run); between
//! the points the host's forwarding; outside the network.
//!
//! # In paired captures
//! Set for a silence of one direction when all of the following are true:
//! - nothing of any flow came from that side for `synchronous-stall.seconds` or longer, in live traffic: by the pace
//!   before, many packets were due, and such silences are not usual in the capture;
//! - both captures show it (inside: nothing from the guest at A nor at B; outside: nothing from the network at B nor at A);
//!   or what entered the host meanwhile came out at the end of the silence (between);
//! - `synchronous-stall.flows` or more flows were alive before and after;
//! - and in two flows or more TCP itself proves it: their senders had to repeat segments into the silence, or the first
//!   packets after it bring the same bytes several times at once, which no sender does: they had been held back. Most of
//!   these flows go on from that side afterwards.
//!
//! Set for one guest while others speak when its flows, `synchronous-stall.flows` or more of them and three of five that were
//! alive, resume within 50 ms of one another, and TCP proves it in two of them: in one the same bytes come several times at
//! once, or in all of them the far ends had to repeat segments that reached A.
//!
//! # Mistaken for it
//! - All applications pause: then nobody repeats anything.
//! - A capture that stopped: then the other capture shows packets that must have passed it, and the receivers acknowledge
//!   bytes that were never seen.
//! - Silence of the side that waits for answers of the other side, which stalls: its repetitions come one by one, with
//!   growing distances.
//!
//! # What to do
//! Look for what kept the guest's processors, its vhost thread, the host's softirqs or the link from running.
//!
//! # References
//! RFC 6298 (a sender waits 200 ms or more, and longer each time, before it repeats).

mod one_guest;

use crate::detect::claim::{fix, merge};
use crate::detect::text::{clock_time, counted, duration, point_name};
use crate::detect::{Claim, PairView, Reasons, Scene, Spec, Threshold};
use crate::facts::{Event, EventKind, Gap, Stamp};
use crate::packet::Family;
use crate::point::{Direction, Point};
use crate::report::{Directions, Finding, Fix, Severity, Where};
use crate::time::{MILLISECOND, SECOND, Time};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};

/// What this detector says of itself.
pub(super) const SPEC: Spec = Spec {
    id: "synchronous-stall",
    says: "all flows fall silent from one side at once and resume (vhost thread, IRQ, vCPU)",
    causes: &[],
    severity: Severity::Error,
    thresholds: &[
        Threshold {
            name: "synchronous-stall.seconds",
            unit: "seconds of silence",
            default: 0.5,
            source: "more than two retransmission timeouts of Linux (200 ms, then 400 ms), so that TCP can bear witness",
        },
        Threshold {
            name: "synchronous-stall.flows",
            unit: "flows alive before and after",
            default: 2.0,
            source: "one flow alone may pause for reasons of its own",
        },
    ],
    source: include_str!("synchronous_stall.rs"),
};

/// Slack between the edges of the silences of both captures and of both directions: what is on its way when one side
/// stops still arrives.
const EDGE: i64 = 150 * MILLISECOND;
/// How soon after the silence held packets are delivered.
const BURST: i64 = 50 * MILLISECOND;

/// A silence, on A's clock.
struct Silence {
    from: Time,
    to: Time,
    gap: Gap,
    point: Point,
    direction: Direction,
}

impl Silence {
    fn length(&self) -> i64 {
        self.to.0 - self.from.0
    }
}

pub(super) fn observe(scene: &Scene) -> Vec<Claim> {
    let mut found: Vec<(Silence, Where, Proof)> = Vec::new();
    for point in Point::BOTH {
        for direction in Direction::BOTH {
            for silence in silences(scene, point, direction) {
                if let Some((place, proof)) = judge(scene, &silence) {
                    found.push((silence, place, proof));
                }
            }
        }
    }
    // The same standstill shows in both directions and at both points: the longest silence stands for it, and one between
    // the points, which has seen the packets enter, before all others.
    found.sort_by_key(|(silence, place, _)| (*place != Where::Between, -silence.length(), silence.from));
    let mut claims: Vec<(Time, Time, Claim)> = Vec::new();
    for (silence, place, proof) in found {
        if claims.iter().any(|(from, to, _)| silence.from.0 < to.0 && from.0 < silence.to.0) {
            continue;
        }
        if let Some(claim) = claim(scene, &silence, place, &proof) {
            claims.push((silence.from, silence.to, claim));
        }
    }
    for claim in one_guest::observe(scene) {
        if !claims.iter().any(|(from, to, _)| claim.first < *to && *from < claim.last) {
            claims.push((claim.first, claim.last, claim));
        }
    }
    claims.into_iter().map(|(.., claim)| claim).collect()
}

/// Silences of a direction at a point that are long, in live traffic, and out of the ordinary.
fn silences(scene: &Scene, point: Point, direction: Direction) -> Vec<Silence> {
    /// Packets that were due by the pace before, at least.
    const DUE: f64 = 8.0;
    let activity = &scene.activity[point.index()];
    let shortest = (SPEC.value(scene, "synchronous-stall.seconds") * SECOND as f64) as i64;
    let gaps = activity.gaps(direction);
    let (Some(first), Some(last)) = (activity.first(direction), activity.last(direction)) else { return Vec::new() };
    let packets = scene.tally.packets(direction, point) as f64;
    gaps.iter()
        .filter(|gap| gap.end - gap.start >= shortest)
        .filter(|gap| {
            let length = gap.end - gap.start;
            let long = gaps.iter().map(|gap| gap.end - gap.start).filter(|other| *other >= length / 2);
            // Time stamps that jump back make silences overlap.
            let silent = long.fold(0, i64::saturating_add);
            let speaking = (last - first).saturating_sub(silent).max(1);
            let pace = packets / speaking as f64;
            let usual = gaps.iter().filter(|other| other.end - other.start >= length / 2).count() > 3;
            let due = pace * length as f64;
            due >= DUE && gap.before >= 3 && silent <= (last - first) / 10 * 7 && !(usual && silent > speaking)
        })
        .map(|gap| Silence {
            from: scene.clock.to_a(point, gap.start),
            to: scene.clock.to_a(point, gap.end),
            gap: *gap,
            point,
            direction,
        })
        .collect()
}

/// Whether a direction was silent at a point during a silence, but for its edges.
fn silent(scene: &Scene, silence: &Silence, point: Point, direction: Direction) -> bool {
    let edge = EDGE.min(silence.length() / 4);
    let (from, to) = (Time(silence.from.0 + edge), Time(silence.to.0 - BURST.min(edge)));
    silent_for(scene, point, direction, from, to)
}

/// Whether nothing of a direction passed a point in a time.
fn silent_for(scene: &Scene, point: Point, direction: Direction, from: Time, to: Time) -> bool {
    let (from, to) = (scene.clock.from_a(point, from), scene.clock.from_a(point, to));
    scene.activity[point.index()].silence_within(direction, from, to) >= to - from
}

/// What proves that packets were due, by flow.
struct Proof {
    /// Repeated by the other side during the silence.
    repeated: BTreeMap<u32, Vec<Event>>,
    /// Delivered several times at once after it.
    held: BTreeMap<u32, Vec<Stamp>>,
}

impl Proof {
    fn flows(&self) -> BTreeSet<u32> {
        self.repeated.keys().chain(self.held.keys()).copied().collect()
    }

    /// Whether most flows that bear witness went on after the silence: a standstill ends, also for them.
    fn resumed(&self, scene: &Scene, silence: &Silence) -> bool {
        let went_on = |serial: &u32| {
            let track = scene.pair(*serial).map(|pair| pair.track(silence.direction, silence.point));
            track.is_some_and(|track| track.last_time >= silence.gap.end)
        };
        let flows = self.flows();
        flows.iter().filter(|serial| went_on(serial)).count() * 2 > flows.len()
    }
}

fn judge(scene: &Scene, silence: &Silence) -> Option<(Where, Proof)> {
    let direction = silence.direction;
    let (entry, exit) = (direction.entry(), direction.exit());
    let own_entry = silence.point == entry;
    let place = if own_entry {
        // Nothing entered, so nothing may have come out either, or this capture slept.
        if !silent(scene, silence, exit, direction) {
            return None;
        }
        if direction == Direction::Outbound { Where::Inside } else { Where::Outside }
    } else {
        if silent(scene, silence, entry, direction) {
            return None;
        }
        Where::Between
    };
    let mut proof = Proof { repeated: BTreeMap::new(), held: BTreeMap::new() };
    // Who waits for the silent side repeats; on the way through the host, the silent direction itself does.
    let waiting = if place == Where::Between { direction } else { direction.reverse() };
    if place == Where::Between || !silent(scene, silence, entry, waiting) {
        for event in during(scene, waiting, silence.from, silence.to) {
            proof.repeated.entry(event.pair).or_default().push(event);
        }
    }
    let soon = Time(silence.to.0 + BURST);
    for event in during(scene, direction, silence.to, soon) {
        proof.held.entry(event.pair).or_default().push(Stamp { time: event.time, frame: event.frame });
    }
    proof.held.retain(|_, events| events.len() >= 2);
    // Without an identification, repetitions that come at once look like copies of one packet: more than one of them are not.
    for pair in scene.pairs.iter().filter(|pair| pair.is_tcp() && pair.family() == Family::V6) {
        let held = pair.more(direction, entry).map_or(&[][..], |more| &more.held);
        let at = |time| scene.clock.to_a(entry, time);
        if let Some((first, _)) = held.iter().find(|(first, _)| (silence.to..=soon).contains(&at(first.time))) {
            proof.held.entry(pair.serial).or_insert_with(|| vec![*first]);
        }
    }
    (proof.flows().len() >= 2 && proof.resumed(scene, silence)).then_some((place, proof))
}

/// Repetitions of a direction that crossed, entering in a time.
fn during(scene: &Scene, direction: Direction, from: Time, to: Time) -> Vec<Event> {
    scene
        .events(EventKind::LostBeyond, direction.entry(), direction)
        .iter()
        .copied()
        .filter(|event| {
            let time = scene.clock.to_a(direction.entry(), event.time);
            time >= from && time <= to
        })
        .collect()
}

/// Flows that were alive before and after a silence and took part in it.
fn alive<'a>(scene: &'a Scene<'a>, silence: &Silence) -> Vec<&'a PairView<'a>> {
    let point = silence.point;
    scene
        .pairs
        .iter()
        .filter(|pair| pair.both() && pair.family() != Family::Link)
        .filter(|pair| {
            Direction::BOTH.iter().any(|way| {
                let first = pair.facts.first[way.index()][point.index()];
                let track = pair.track(*way, point);
                track.packets >= 2 && first.time < silence.gap.start && track.last_time >= silence.gap.end
            })
        })
        .collect()
}

fn claim(scene: &Scene, silence: &Silence, place: Where, proof: &Proof) -> Option<Claim> {
    let flows = alive(scene, silence);
    if (flows.len() as f64) < SPEC.value(scene, "synchronous-stall.flows") {
        return None;
    }
    let direction: Directions = match place {
        Where::Between if silent(scene, silence, silence.direction.entry(), silence.direction.reverse()) => {
            Directions::Both
        }
        _ => silence.direction.into(),
    };
    let mut claim = Claim::new(SPEC.id, flows[0].serial, place, direction);
    claim.flows = flows.iter().map(|pair| pair.serial).collect();
    claim.severity = Severity::Error;
    claim.protocol = if flows.iter().all(|pair| pair.is_tcp()) { "tcp" } else { "ip" };
    let gap = &silence.gap;
    claim.packets = u64::from(gap.burst);
    claim.cite(scene, silence.point, gap.start_frame, gap.start, "the last packet before the silence");
    claim.cite(
        scene,
        silence.point,
        gap.end_frame,
        gap.end,
        format!("the first packet after it; {} follow within half a second", gap.burst.saturating_sub(1)),
    );
    let waiting = if place == Where::Between { silence.direction } else { silence.direction.reverse() };
    for event in proof.repeated.values().filter_map(|events| events.last()).take(4) {
        claim.cite(scene, waiting.entry(), event.frame, event.time, "repeated into the silence");
    }
    for at in proof.held.values().filter_map(|held| held.first()).take(4) {
        claim.cite(
            scene,
            silence.direction.entry(),
            at.frame,
            at.time,
            "the same bytes again at once: it had been held back",
        );
    }
    claim.first = silence.from;
    claim.last = silence.to;
    let length = silence.length();
    claim.details.insert("duration_seconds".into(), json!((length as f64 / 1e6).round() / 1e3));
    claim.details.insert("burst_after".into(), gap.burst.into());
    claim.details.insert("before".into(), gap.before.into());
    claim.details.insert("opposite".into(), gap.opposite.into());
    let crowd = proof.flows().len();
    claim.reasons = Reasons::default()
        .support(
            0.5,
            format!(
                "nothing of {} passed {} for {}",
                counted(flows.len() as u64, "live flow"),
                point_name(silence.point),
                duration(length)
            ),
        )
        .support_if(
            !proof.repeated.is_empty(),
            0.7,
            format!(
                "{} repeated segments meanwhile in {}",
                if waiting == Direction::Inbound { "the far ends" } else { "the guests" },
                counted(proof.repeated.len() as u64, "flow")
            ),
        )
        .support_if(
            !proof.held.is_empty(),
            0.7,
            format!(
                "{} brought the same bytes several times at once afterwards: they had been held back",
                counted(proof.held.len() as u64, "flow")
            ),
        )
        .support_if(u64::from(gap.burst) > 2 * u64::from(gap.before), 0.5, "a burst of more than twice the usual pace")
        .support_if(crowd >= 3, 0.3, format!("{} bear witness", counted(crowd as u64, "flow")));
    Some(claim)
}

pub(super) fn conclude(scene: &Scene, claims: &[Claim]) -> Finding {
    let mut finding = merge(scene, claims);
    let longest =
        claims.iter().max_by(|one, other| one.number("duration_seconds").total_cmp(&other.number("duration_seconds")));
    let Some(longest) = longest else { return finding };
    let seconds = longest.number("duration_seconds");
    finding.duration_seconds = seconds;
    for name in ["duration_seconds", "burst_after", "before", "opposite"] {
        if let Some(value) = longest.details.get(name) {
            finding.details.insert(name.into(), value.clone());
        }
    }
    finding.details.insert("stalls".into(), claims.len().into());
    let who = match finding.place {
        Where::Inside => "Nothing came from the guest",
        Where::Outside => "Nothing came from the network beyond B",
        _ => "Nothing came out of the host, although packets entered it,",
    };
    let more = if claims.len() > 1 { format!(", the longest of {} times", claims.len()) } else { String::new() };
    finding.fixes = fixes(finding.place);
    if let Some(guest) = longest.details.get("guest").and_then(|guest| guest.as_str()) {
        finding.summary = format!(
            "Nothing came from {guest} for {}{more}, in {} at once from {} on, while others spoke; then all of them went on \
             together.",
            duration((seconds * 1e9) as i64),
            counted(longest.flows.len() as u64, "live flow"),
            clock_time(longest.first),
        );
        finding.details.insert("guest".into(), guest.into());
        return finding;
    }
    finding.summary = format!(
        "{who} for {}{more}, in {} at once from {} on; then {} packets came within half a second.",
        duration((seconds * 1e9) as i64),
        if finding.flow_count == 1 { "1 live flow".into() } else { format!("all {} live flows", finding.flow_count) },
        clock_time(longest.first),
        longest.number("burst_after"),
    );
    finding
}

fn fixes(place: Where) -> Vec<Fix> {
    match place {
        Where::Inside => vec![
            fix(
                "Find what kept the guest's vCPUs or its vhost thread from running.",
                &[
                    "pidstat -t -p $(pgrep -d, qemu) 1",
                    "ps -eLo pid,tid,psr,stat,wchan,comm | grep vhost",
                    "virsh domstats --vcpu DOMAIN",
                    "perf kvm stat live",
                ],
                "Run them while it happens; steal time in the guest (`vmstat 1`, column st) tells the same from within.",
            ),
            fix(
                "Give the guest's threads processors of their own.",
                &["virsh vcpupin DOMAIN VCPU CPULIST", "virsh emulatorpin DOMAIN CPULIST"],
                "Pin vhost and emulator threads away from the processors that serve the NIC's interrupts.",
            ),
        ],
        Where::Outside => vec![fix(
            "Look at the link and the router beyond the uplink at that time.",
            &[
                "ip -s link show UPLINK",
                "ethtool -S UPLINK | grep -iE 'drop|pause|err'",
                "journalctl -k --since -1h | grep -i link",
            ],
            "",
        )],
        _ => vec![fix(
            "Find what kept the host from forwarding: a processor that served no softirqs, or a full queue.",
            &["cat /proc/net/softnet_stat", "mpstat -P ALL 1", "tc -s qdisc show dev UPLINK", "perf sched timehist"],
            "Columns two and three of softnet_stat count drops and times that the budget ran out.",
        )],
    }
}
