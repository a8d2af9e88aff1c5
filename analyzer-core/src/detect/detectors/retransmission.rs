//! # What it is
//! A TCP sender repeated bytes whose first copy had crossed both points: it was lost beyond them, outside for what the
//! guest sends, inside for what the peer sends.
//!
//! # In paired captures
//! Set for a direction of a flow when all of the following are true:
//! - a segment at the point that the direction passes first repeats bytes already seen there (a new IP identification,
//!   so it is no duplicate);
//! - the other point had seen these bytes before as well;
//! - they were needed: no acknowledgment of them had passed either point, and no D-SACK says that they came twice;
//! - they were not repeated within two seconds of an ICMP error that asked for smaller packets.
//!
//! It is a warning when `retransmission.segments` or more in that direction were needed, which make up
//! `retransmission.share` of what was sent, or when one segment was repeated `retransmission.repeats` times and never
//! acknowledged. What is left is context.
//!
//! # Mistaken for it
//! - Loss between the points: the copy at the second point is then new there.
//! - Repetitions that were not needed: the acknowledgment was late or lost, or packets changed order.
//! - A SYN that is repeated because nobody answers it.
//! - Keep-alives and probes of a closed window repeat on purpose.
//! - Path MTU discovery: the same bytes again in smaller segments, right after the ICMP error.
//! - Loss before the first point: the repeated segment is new at both.
//!
//! # What to do
//! The host is acquitted. Look at the link to the guest, or at the network beyond.
//!
//! # References
//! RFC 9293 section 3.8.1, RFC 6298 (timeouts), RFC 2883 (D-SACK), RFC 8985 (tail loss probes).

use crate::detect::census::has;
use crate::detect::claim::{fix, merge};
use crate::detect::text::{count, counted, letter, percent};
use crate::detect::{Claim, PairView, Reasons, Scene, Spec, Threshold};
use crate::facts::{Event, EventKind, Head, state};
use crate::packet::row::tcp_flags;
use crate::point::{Direction, Point};
use crate::report::{Directions, Finding, Fix, Severity, Where};
use crate::seq;
use crate::time::SECOND;

/// What this detector says of itself.
pub(super) const SPEC: Spec = Spec {
    id: "retransmission",
    says: "the original crossed both points: lost outside (outbound) or inside (inbound)",
    causes: &[],
    severity: Severity::Warning,
    thresholds: &[
        Threshold {
            name: "retransmission.segments",
            unit: "segments repeated in one direction",
            default: 5.0,
            source: "a place is named only from five lost ranges on: fewer may be chance",
        },
        Threshold {
            name: "retransmission.share",
            unit: "share of the segments of the flows concerned",
            default: 0.001,
            source: "a tenth of a percent halves TCP's rate at 100 ms (Mathis et al. 1997)",
        },
        Threshold {
            name: "retransmission.repeats",
            unit: "repetitions of one segment that is never acknowledged",
            default: 4.0,
            source: "the fourth timeout comes three seconds after the first copy (RFC 6298 with a minimum of 200 ms)",
        },
    ],
    source: include_str!("retransmission.rs"),
};

/// How long after an ICMP error repetitions are its consequence.
const OBEYING: i64 = 2 * SECOND;

/// What one flow's direction repeated.
struct Repeated<'a> {
    pair: &'a PairView<'a>,
    all: u64,
    spurious: u64,
    discovery: u64,
    opening: u64,
    stuck: Option<Head>,
}

impl Repeated<'_> {
    fn needed(&self) -> u64 {
        self.all.saturating_sub(self.spurious + self.discovery + self.opening)
    }
}

pub(super) fn observe(scene: &Scene) -> Vec<Claim> {
    Direction::BOTH.into_iter().flat_map(|direction| one_way(scene, direction)).collect()
}

fn one_way(scene: &Scene, direction: Direction) -> Vec<Claim> {
    let list: Vec<Repeated<'_>> = scene
        .pairs_with(has::way(has::LOST_BEYOND, direction), 0)
        .map(|pair| repeated(scene, pair, direction))
        .filter(|flow| flow.all > flow.opening)
        .collect();
    let needed: u64 = list.iter().map(Repeated::needed).sum();
    let sent: u64 = list.iter().map(|flow| u64::from(flow.pair.track(direction, direction.entry()).packets)).sum();
    let many = needed as f64 >= SPEC.value(scene, "retransmission.segments")
        && needed as f64 >= SPEC.value(scene, "retransmission.share") * sent as f64;
    list.iter().map(|flow| claim(scene, direction, flow, many)).collect()
}

fn repeated<'a>(scene: &Scene, pair: &'a PairView<'a>, direction: Direction) -> Repeated<'a> {
    let events = scene.pair_events(EventKind::LostBeyond, direction.entry(), direction, pair.serial);
    let index = direction.index();
    let all = u64::from(pair.facts.lost_beyond[index]);
    let known = u64::from(pair.facts.lost_beyond_spurious[index]);
    // The receiver's reports concern the same repetitions, or the ones that no point could tell.
    let spurious = known.max(u64::from(pair.facts.reported_twice[index])).min(all);
    let errors = pair.facts.icmp.iter().filter(|error| error.too_big()).map(|error| (error.point, error.at.time));
    let told: Vec<i64> =
        errors.chain(pair.facts.told.iter().copied()).map(|(point, time)| scene.clock.to_a(point, time).0).collect();
    let discovery = events.iter().filter(|event| event.b == 0).filter(|event| {
        let at = scene.clock.to_a(direction.entry(), event.time).0;
        told.iter().any(|&told| (told..told.saturating_add(OBEYING)).contains(&at))
    });
    let discovery = discovery.count() as u64;
    let opening = events.iter().filter(|event| event.flags & tcp_flags::SYN != 0).count() as u64;
    Repeated { pair, all, spurious, discovery, opening, stuck: stuck(scene, pair, direction) }
}

/// The segment that was repeated to the end without an acknowledgment.
fn stuck(scene: &Scene, pair: &PairView, direction: Direction) -> Option<Head> {
    let head = pair.more(direction, direction.entry())?.worst_head;
    let acknowledged = Point::BOTH.into_iter().any(|point| {
        let track = pair.track(direction, point);
        track.has(state::ACK) && seq::after(track.acked, head.seq)
    });
    let enough = f64::from(head.times) >= SPEC.value(scene, "retransmission.repeats");
    (enough && !acknowledged).then_some(head)
}

fn claim(scene: &Scene, direction: Direction, flow: &Repeated<'_>, many: bool) -> Claim {
    let events = scene.pair_events(EventKind::LostBeyond, direction.entry(), direction, flow.pair.serial);
    let place = if direction == Direction::Outbound { Where::Outside } else { Where::Inside };
    let needed = flow.needed();
    let mut claim = Claim::new(SPEC.id, flow.pair.serial, place, direction);
    let warn = (many && needed > 0) || flow.stuck.is_some();
    claim.severity = if warn { Severity::Warning } else { Severity::Info };
    claim.protocol = flow.pair.protocol_name();
    claim.packets = flow.all - flow.opening;
    let opens = |event: &Event| event.flags & tcp_flags::SYN != 0;
    let own = events.iter().filter(|event| !opens(event));
    let (lost, spurious): (Vec<&Event>, Vec<&Event>) = own.partition(|event| event.b == 0);
    for event in lost.iter().chain(&spurious) {
        let what = if event.b == 0 { "repeats" } else { "repeats without need" };
        let (entry, exit) = (direction.entry(), direction.exit());
        let note = format!("{what} {} that had passed both points", counted(event.a, "byte"));
        claim.cite(scene, entry, event.frame, event.time, note);
        claim.frames.push((exit, event.other_frame));
    }
    for (name, number) in [
        ("spurious", flow.spurious),
        ("needed", needed),
        ("path_mtu_discovery", flow.discovery),
        ("segments", u64::from(flow.pair.track(direction, direction.entry()).packets)),
    ] {
        claim.details.insert(name.into(), number.into());
    }
    if let Some(head) = flow.stuck {
        claim.details.insert("never_acknowledged_repeats".into(), head.times.into());
    }
    claim.reasons = Reasons::default()
        .support(0.7, format!("the repeated bytes had passed {} before", letter(direction.exit())))
        .support_if(needed > 0, 0.4, format!("no acknowledgment of {} of them had come back", count(needed)))
        .support_if(many, 0.6, "five or more of them")
        .support_if(flow.stuck.is_some(), 0.6, "one segment was repeated over and over to the end")
        .contradict_if(needed == 0, 0.3, "none of them was needed");
    claim
}

pub(super) fn conclude(scene: &Scene, claims: &[Claim]) -> Finding {
    let mut finding = merge(scene, claims);
    let sum = |name: &str| claims.iter().map(|claim| claim.number(name)).sum::<f64>() as u64;
    let (spurious, needed, segments, discovery) =
        (sum("spurious"), sum("needed"), sum("segments"), sum("path_mtu_discovery"));
    let stuck = claims.iter().map(|claim| claim.number("never_acknowledged_repeats") as u64).max().unwrap_or(0);
    finding.details.insert("spurious".into(), spurious.into());
    finding.details.insert("needed".into(), needed.into());
    finding.details.insert("segments".into(), segments.into());
    finding.details.insert("path_mtu_discovery".into(), discovery.into());
    let outbound = finding.direction == Directions::Outbound;
    let beyond = if outbound { "beyond B" } else { "beyond A, on the guest's side" };
    let all = finding.packet_count;
    finding.summary = if needed == 0 {
        let why = if discovery > 0 {
            "path MTU discovery asked for it, or the first copy had arrived"
        } else {
            "the first copy had arrived"
        };
        format!(
            "{} of {} ({}) {} sent again without need: {why}.",
            counted(all, "segment"),
            count(segments),
            percent(all, segments),
            if all == 1 { "was" } else { "were" },
        )
    } else {
        format!(
            "{} of {} ({}) had to be sent again, although the first copy crossed both points: it was lost {beyond}.",
            counted(needed, "segment"),
            count(segments),
            percent(needed, segments),
        )
    };
    if stuck > 0 && needed > 0 {
        finding.summary += " One was sent again ";
        finding.summary += &count(stuck);
        finding.summary += " times and never acknowledged.";
    }
    finding.fixes = fixes(outbound, needed);
    finding
}

fn fixes(outbound: bool, needed: u64) -> Vec<Fix> {
    if needed == 0 {
        return Vec::new();
    }
    if outbound {
        return vec![fix(
            "Look beyond the uplink: the host passed every first copy on.",
            &["mtr -T -P 443 <peer>", "ethtool -S <uplink> | grep -iE 'drop|err'"],
            "The card's own drops come after the capture point and count as outside here.",
        )];
    }
    vec![fix(
        "Look at the guest's link: vhost, the tap queue and the guest's receive ring.",
        &[
            "ip -s link show vnet0",
            "ethtool -S eth0 | grep -iE 'drop|err'",
            "nstat -az | grep -iE 'backlog|rcvq|prune'",
        ],
        "The last two in the guest. More queues or a larger ring (rx_queue_size='1024' in libvirt) help when it is a burst.",
    )]
}
