//! # What it is
//! Packets entered the host at one point and never left it at the other, whatever their protocol.
//!
//! # In paired captures
//! Set for a direction of a flow when all of the following are true:
//! - the flow was found at both points;
//! - packets of that direction are in the capture that they pass first and not in the other, three seconds later;
//! - the other capture ran at that time, with a guard at its edges, and shows traffic of that direction;
//! - the receiver did not acknowledge them (else the other capture missed them), and the other capture's own losses do
//!   not account for them.
//!
//! `by_size` counts the lost packets by size beside what all flows offered in that direction; `by_protocol` and `by_path`
//! (from which host to which; the gateway is the one address beyond B that ARP asks for) count both for the flows concerned.
//! `by_rate` counts what all flows of the direction offered, and what those concerned lost, in tenths of a second in which so many
//! packets a second were offered; it is left out when there were too many losses to keep the time of each.
//! `loss_begins_at_per_second` is the rate of packets offered in the slowest tenth of a second in which one was lost.
//!
//! The shape says how they were lost:
//! - `total`: nothing of the flow's direction crosses any more;
//! - `rate-limited`: what was accepted until each loss grows as a straight line, to a packet: a token bucket;
//! - `queue-overflow`: the same, and the packets that cross are delayed: a full queue;
//! - `periodic`: bursts at equal distances;
//! - `size-dependent`: one size passes and another does not, or far less;
//! - `bursty`: a loss makes the next one much more likely;
//! - `random`: none of these.
//!
//! # Mistaken for it
//! - Superframes that are cut or merged between the points: bytes are compared, never frames.
//! - Capture filters that differ, captures that start or end at other times.
//! - tcpdump's own losses: what must have passed a point and is missing there tells how much it missed.
//! - Addresses that a rewrite has made the same for both ends: the packets stand there in the other direction.
//! - Probes of the path's MTU (RFC 8899): now and then a datagram larger than all that crosses, while the rest goes on.
//! - A policer by bytes loses large packets more often than small ones; that is no limit of size.
//!
//! # What to do
//! Find the drop on the host: a policer, a full queue, a firewall rule; its counters name the place.
//!
//! # References
//! RFC 7680 (one-way loss), RFC 6534 (loss episodes), RFC 2697 (token buckets).

mod shape;
mod tables;
mod twins;

use crate::detect::census::has;
use crate::detect::claim::{fix, merge};
use crate::detect::text::{count, counted, percent};
use crate::detect::{Claim, PairView, Reasons, Scene, Spec, Threshold, alibi};
use crate::facts::{Event, EventKind};
use crate::point::{Direction, Point};
use crate::report::{Directions, Finding, Fix, Severity, Where};
use crate::time::MILLISECOND;
use serde_json::json;
use std::cell::LazyCell;
use std::collections::HashMap;

/// What this detector says of itself.
pub(super) const SPEC: Spec = Spec {
    id: "transit-loss",
    says: "packets of any protocol that entered the host and never left it",
    causes: &[],
    severity: Severity::Error,
    thresholds: &[
        Threshold {
            name: "transit-loss.rare",
            unit: "share of the packets offered",
            default: 0.001,
            source: "a tenth of a percent halves TCP's rate at 100 ms (Mathis et al. 1997): below it, a warning",
        },
        Threshold {
            name: "transit-loss.packets",
            unit: "packets in one direction",
            default: 3.0,
            source: "one or two lost packets say nothing of a host",
        },
        Threshold {
            name: "transit-loss.unconfirmed",
            unit: "packets in one direction, none of them repeated by its sender and no three in a row",
            default: 6.0,
            source: "captures that miss one packet of two hundred in silence seem to lose up to five in some hundred",
        },
        Threshold {
            name: "transit-loss.shape",
            unit: "packets lost",
            default: 20.0,
            source: "measured on real policers, queues and random drops: fewer give no stable shape",
        },
    ],
    source: include_str!("transit_loss.rs"),
};

/// Packets lost in a row that no capture misses by chance: if it misses one of two hundred, three in a row are one in eight
/// million.
const IN_A_ROW: u32 = 3;

pub(super) fn observe(scene: &Scene) -> Vec<Claim> {
    Direction::BOTH.into_iter().flat_map(|direction| one_way(scene, direction)).collect()
}

fn one_way(scene: &Scene, direction: Direction) -> Vec<Claim> {
    let (entry, exit) = (direction.entry(), direction.exit());
    if scene.leaves_out(direction, exit) {
        return Vec::new();
    }
    let hole = holes(scene, exit, direction);
    let capture_loss = alibi::capture_loss(scene, exit);
    let doubled = alibi::doubled(scene, entry);
    let mut claims = Vec::new();
    let offered_in_all = scene.census.totals.offered[direction.index()];
    let mut confirmed = false;
    let crossing = LazyCell::new(|| twins::Crossing::new(scene, direction));
    let mut told: HashMap<Why, Reasons> = HashMap::new();
    for pair in scene.pairs_with(has::way(has::LOST, direction), 0) {
        let offered = offered(pair, direction);
        let lost = alibi::lost(scene, pair, direction);
        if lost == 0 || !pair.both() && !twins::unanswered_twin(scene, pair, direction, &crossing) {
            continue;
        }
        let own: Vec<&Event> = scene
            .pair_events(EventKind::Unmatched, entry, direction, pair.serial)
            .iter()
            .filter(|event| alibi::is_lost(pair, direction, event))
            .collect();
        let in_hole = explained(&hole, &own);
        let mut claim = Claim::new(SPEC.id, pair.serial, Where::Between, direction);
        claim.protocol = "ip";
        claim.packets = lost;
        for event in &own {
            claim.cite(
                scene,
                entry,
                event.frame,
                event.time,
                format!("{} bytes, never reached {}", event.size, name(exit)),
            );
        }
        if claim.frames.is_empty() {
            continue;
        }
        // A capture misses one now and then: that is no reason to tell the rest from what explains it.
        let stray = usize::from(own.len() > STRAY);
        claim.bulk = own.get(stray).map(|event| scene.clock.to_a(entry, event.time));
        let captured_badly = alibi::capture_explains(scene, exit, lost, offered);
        let mostly_holes = in_hole * 2 > own.len();
        claim.severity = Severity::Error;
        if captured_badly || mostly_holes {
            claim.severity = Severity::Info;
            claim.because = Some("capture-loss");
        } else if doubled {
            claim.severity = Severity::Info;
            claim.because = Some("duplicate-capture");
        }
        let ambiguous = alibi::one_name(pair);
        if ambiguous {
            claim.severity = Severity::Info;
            claim.because = Some("ambiguous-direction");
        }
        let probing = pair.is_udp() && tables::probes(scene, pair, direction, &own, (lost, offered));
        if probing {
            claim.severity = Severity::Info;
            claim.because = Some("path-mtu-probe");
        }
        let repeated = u64::from(pair.facts.lost_between[direction.index()]);
        // What its sender repeats was lost; what is lost in a row, or all there is, no capture has missed by chance.
        let row = pair.more(direction, entry).map_or(0, |more| more.run.count.max(more.longest.count));
        confirmed |= claim.because.is_none() && (repeated > 0 || lost >= offered || row >= IN_A_ROW);
        let many = (lost >= MANY).then_some((lost, offered));
        let why = Why { repeated: pair.is_tcp() && repeated > 0, many, probing, ambiguous };
        // Many flows have the same, which one copy holds then.
        claim.reasons = told.entry(why).or_insert_with(|| reasons(direction, why, capture_loss)).clone();
        claims.push(claim);
    }
    let total: u64 = claims.iter().filter(|claim| claim.because.is_none()).map(|claim| claim.packets).sum();
    let rare = (total as f64) < SPEC.value(scene, "transit-loss.rare") * offered_in_all as f64;
    let least = if confirmed { "transit-loss.packets" } else { "transit-loss.unconfirmed" };
    let few = (total as f64) < SPEC.value(scene, least);
    for claim in &mut claims {
        claim.severity = match claim.severity {
            Severity::Error if few => Severity::Info,
            Severity::Error if rare => Severity::Warning,
            kept => kept,
        };
    }
    claims
}

/// Losses of one flow from which on their number says something by itself.
const MANY: u64 = 5;

/// What of a flow speaks for its losses, and against them.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Why {
    repeated: bool,
    /// Lost and offered packets, where many are lost.
    many: Option<(u64, u64)>,
    probing: bool,
    ambiguous: bool,
}

fn reasons(direction: Direction, why: Why, capture_loss: f64) -> Reasons {
    let (entry, exit) = (direction.entry(), direction.exit());
    let (lost, offered) = why.many.unwrap_or_default();
    Reasons::default()
        .support(0.6, format!("in the capture of {} and not in that of {} while both ran", name(entry), name(exit)))
        .support_if(why.repeated, 0.7, "their sender had to repeat them")
        .support_if(why.many.is_some(), 0.5, format!("{} of {}", count(lost), counted(offered, "packet")))
        .support_if(
            capture_loss <= 0.001,
            0.5,
            format!("the capture of {} missed nothing that must have passed it", name(exit)),
        )
        .contradict_if(why.probing, 0.8, "larger than all that crosses, few at a time: the sender looks for the path's MTU")
        .contradict_if(
            why.ambiguous,
            0.8,
            "as many packets of the other direction stand beyond without a copy: both ends may have been given one name",
        )
        .contradict_if(
            capture_loss > 0.001,
            0.4,
            format!("the capture of {} missed {:.1} % of what must have passed it", name(exit), capture_loss * 100.0),
        )
}

/// Packets of a flow's direction where it enters.
fn offered(pair: &PairView, direction: Direction) -> u64 {
    u64::from(pair.track(direction, direction.entry()).packets)
}

/// Of more losses than that, a single one before them tells nothing of when they began.
const STRAY: usize = 4;

/// Times, in the entry point's clock, at which the far capture demonstrably missed packets: 50 ms around each, in order
/// and apart.
fn holes(scene: &Scene, exit: Point, direction: Direction) -> Vec<Hole> {
    const AROUND: i64 = 50 * MILLISECOND;
    let acked = scene
        .events(EventKind::Unmatched, direction.entry(), direction)
        .iter()
        .copied()
        .filter(|event| event.other_frame == 1)
        .map(|event| event.time);
    // What came out at the entry point of the other direction must have passed the far capture first.
    let through = scene
        .events(EventKind::Unmatched, exit.other(), direction.reverse())
        .iter()
        .copied()
        .filter(|event| !(event.protocol == 6 && event.flags & 4 != 0) && event.protocol != 1)
        .map(|event| event.time);
    let mut times: Vec<i64> = acked.chain(through).collect();
    times.sort_unstable();
    let mut holes: Vec<Hole> = Vec::new();
    for time in times {
        let (from, to) = (time - AROUND, time + AROUND);
        match holes.last_mut() {
            Some(last) if from <= last.to => (last.to, last.missed) = (to, last.missed + 1),
            _ => holes.push(Hole { from, to, missed: 1 }),
        }
    }
    holes
}

/// A time in which a capture missed packets.
struct Hole {
    from: i64,
    to: i64,
    /// Those that must have passed it.
    missed: usize,
}

/// How many of some losses, in order of time, the holes explain, which are sorted and apart.
fn explained(holes: &[Hole], losses: &[&Event]) -> usize {
    /// Missed packets, close to one another, after which anything may be missing there.
    const TOGETHER: usize = 3;
    /// Losses beside a single one that was missed: of acknowledgments and datagrams nothing tells.
    const BESIDES: usize = 5;
    let within = |hole: &Hole| {
        let start = losses.partition_point(|event| event.time < hole.from);
        let inside = losses[start..].partition_point(|event| event.time <= hole.to);
        if hole.missed >= TOGETHER { inside } else { inside.min(BESIDES * hole.missed) }
    };
    holes.iter().map(within).sum()
}

pub(super) fn conclude(scene: &Scene, claims: &[Claim]) -> Finding {
    let mut finding = merge(scene, claims);
    let direction = if finding.direction == Directions::Inbound { Direction::Inbound } else { Direction::Outbound };
    let lost = finding.packet_count;
    let pairs: Vec<&PairView> =
        claims.iter().flat_map(|claim| &claim.flows).filter_map(|serial| scene.pair(*serial)).collect();
    // There may be very many claims, so that none of them carries its number along.
    let offered: u64 = pairs.iter().map(|pair| offered(pair, direction)).sum();
    finding.details.insert("lost".into(), lost.into());
    finding.details.insert("offered".into(), offered.into());
    finding.details.insert("ratio".into(), json!((lost as f64 / offered.max(1) as f64 * 1e6).round() / 1e6));
    let losses: Vec<[u64; 5]> = pairs.iter().map(|pair| alibi::lost_sizes(scene, pair, direction)).collect();
    finding.details.insert("by_size".into(), tables::by_size(scene, direction, &losses));
    let losses: Vec<u64> = losses.iter().map(|sizes| sizes.iter().sum()).collect();
    finding.details.insert("by_protocol".into(), tables::by_protocol(direction, &pairs, &losses));
    finding.details.insert("by_path".into(), tables::by_path(scene, direction, &pairs, &losses));
    if let Some(rates) = tables::rates(scene, direction, &pairs) {
        if let Some(by_rate) = rates.by_rate {
            finding.details.insert("by_rate".into(), by_rate);
        }
        finding.details.insert("loss_begins_at_per_second".into(), rates.loss_begins_at.into());
    }
    let shape = shape::shape(scene, direction, claims, (lost, offered));
    if let Some(shape) = &shape {
        finding.details.insert("shape".into(), shape.name.into());
        if let Some(rate) = shape.rate {
            finding.details.insert("rate_per_second".into(), json!((rate * 100.0).round() / 100.0));
            finding.details.insert("rate_unit".into(), shape.unit.into());
        }
        if let Some(period) = shape.period {
            finding.details.insert("period_seconds".into(), json!((period * 1000.0).round() / 1000.0));
        }
    }
    finding.summary = format!(
        "The host lost {} of {} {} packets of {} ({}): they passed {} and never {}.{}",
        count(lost),
        count(offered),
        if direction == Direction::Outbound { "outbound" } else { "inbound" },
        counted(finding.flow_count, "flow"),
        percent(lost, offered),
        name(direction.entry()),
        name(direction.exit()),
        shape.as_ref().map(|shape| format!(" {}", shape.words)).unwrap_or_default(),
    );
    finding.fixes = fixes(shape.as_ref());
    finding
}

fn fixes(shape: Option<&shape::Shape>) -> Vec<Fix> {
    let counters = fix(
        "Find where the host drops: its counters name the place.",
        &[
            "nstat -az | grep -iE 'drop|invalid|csum'",
            "tc -s qdisc",
            "nft list ruleset",
            "iptables -vnL FORWARD",
            "conntrack -S",
        ],
        "Read them twice during the fault: only what grows matters.",
    );
    let special = match shape.map(|shape| shape.name) {
        Some("rate-limited") => Some(fix(
            "Raise or replace the limiter: a policer drops bursts that a shaper would only delay.",
            &["tc -s filter show dev virbr0", "nft list ruleset | grep -n limit", "virsh domiftune DOMAIN INTERFACE"],
            "If the limit is wanted, shape instead of policing: tc qdisc add dev IFACE root fq_codel.",
        )),
        Some("queue-overflow") => Some(fix(
            "Give the queue an active manager, or the link more rate.",
            &["tc -s qdisc show dev UPLINK", "tc qdisc replace dev UPLINK root fq_codel"],
            "fq_codel drops earlier and keeps the delay low; it makes no bandwidth.",
        )),
        Some("size-dependent") => Some(fix(
            "Look for a rule or a link that refuses large packets.",
            &["nft list ruleset | grep -n length", "ip link show"],
            "A step at a size is a limit; a gradual rise is a policer that counts bytes.",
        )),
        Some("periodic") => Some(fix(
            "Look for what runs with that period on the host: a cron job, a CPU quota, a rule reload.",
            &["pidstat -t 1", "perf sched timehist"],
            "",
        )),
        _ => None,
    };
    special.into_iter().chain([counters]).collect()
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

    #[test]
    fn a_hole_explains_what_lies_in_it_and_not_much_more_than_was_missed() {
        let losses: Vec<Event> = (0..40).map(|time| Event { time, ..Event::default() }).collect();
        let losses: Vec<&Event> = losses.iter().collect();
        let hole = |from, to, missed| Hole { from, to, missed };
        assert_eq!(explained(&[hole(10, 12, 1), hole(39, 60, 1)], &losses), 4);
        assert_eq!(explained(&[hole(0, 100, 2)], &losses), 10);
        assert_eq!(explained(&[hole(0, 100, 3)], &losses), 40);
        assert_eq!(explained(&[], &losses), 0);
    }
}
