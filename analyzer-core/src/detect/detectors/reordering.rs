//! # What it is
//! Packets leave the host in another order than they entered it.
//!
//! # In paired captures
//! Set for a direction when at least `reordering.packets` packets stand at the two points in different order: a packet's
//! copy comes after the copy of one that followed it (RFC 4737). Packets that offload cut or merged are not judged.
//!
//! # Mistaken for it
//! - A retransmission fills a hole late: it is a new packet with an identification of its own.
//! - Network cards with several queues hand over neighbours within a millisecond in another order.
//!
//! # What to do
//! Little of it is harmless: TCP waits for a quarter of the round-trip time. Much of it causes needless retransmissions.
//! Look for packets of one flow that take different queues.
//!
//! # References
//! RFC 4737 (reordering), RFC 8985 (how TCP tolerates it).

use crate::detect::claim::{fix, merge};
use crate::detect::text::{count, percent, plural};
use crate::detect::{Claim, PairView, Reasons, Scene, Spec, Threshold};
use crate::facts::{Event, EventKind};
use crate::point::{Direction, Point};
use crate::report::{Directions, Finding, Severity, Where};

/// What this detector says of itself.
pub(super) const SPEC: Spec = Spec {
    id: "reordering",
    says: "packets leave the host in another order than they entered it",
    causes: &[],
    severity: Severity::Info,
    thresholds: &[Threshold {
        name: "reordering.packets",
        unit: "packets in one direction",
        default: 3.0,
        source: "one or two are an accident of the capture's own time stamps",
    }],
    source: include_str!("reordering.rs"),
};

pub(super) fn observe(scene: &Scene) -> Vec<Claim> {
    Direction::BOTH.into_iter().flat_map(|direction| one_way(scene, direction)).collect()
}

fn one_way(scene: &Scene, direction: Direction) -> Vec<Claim> {
    let total: u64 =
        Point::BOTH.into_iter().map(|point| scene.event_count(EventKind::Reordered, point, direction)).sum();
    if (total as f64) < SPEC.value(scene, "reordering.packets") {
        return Vec::new();
    }
    let reasons = Reasons::default().support(0.7, "the copies of the same packets stand in another order").support_if(
        total >= 20,
        0.5,
        format!("{} of them", count(total)),
    );
    let mut events: Vec<&Event> =
        Point::BOTH.iter().flat_map(|point| scene.events(EventKind::Reordered, *point, direction)).collect();
    events.sort_by_key(|event| event.pair);
    let claim = |events: &[&Event]| {
        let serial = events[0].pair;
        let mut claim = Claim::new(SPEC.id, serial, Where::Between, direction);
        claim.severity = Severity::Info;
        claim.protocol = scene.pair(serial).map_or("ip", PairView::protocol_name);
        claim.reasons = reasons.clone();
        claim.packets = events.len() as u64;
        claim.frames.reserve_exact(2 * events.len());
        for event in events {
            let point = Point::BOTH[usize::from(event.point)];
            claim.cite(
                scene,
                point,
                event.frame,
                event.time,
                "comes after a packet that it preceded at the other point",
            );
            claim.frames.push((point.other(), event.other_frame));
        }
        claim
    };
    let mut claims: Vec<Claim> = events.chunk_by(|one, other| one.pair == other.pair).map(claim).collect();
    if claims.windows(2).any(|two| two[0].protocol != two[1].protocol) {
        for claim in &mut claims {
            claim.protocol = "ip";
        }
    }
    claims
}

fn offered(scene: &Scene, pair: u32, direction: Direction) -> u64 {
    scene.pair(pair).map_or(0, |pair| u64::from(pair.track(direction, direction.entry()).packets))
}

pub(super) fn conclude(scene: &Scene, claims: &[Claim]) -> Finding {
    let mut finding = merge(scene, claims);
    // There may be very many claims, so that none of them carries its number along.
    let ways = Direction::BOTH.into_iter().filter(|way| claims[0].direction == Directions::from(*way));
    let flows = || claims.iter().flat_map(|claim| claim.flows.iter().copied());
    let offered: u64 = ways.flat_map(|way| flows().map(move |flow| offered(scene, flow, way))).sum();
    finding.details.insert("offered".into(), offered.into());
    finding.summary = format!(
        "{} of {} ({}) left the host after packets that had entered it later.",
        plural(finding.packet_count, "packet", "packets"),
        count(offered),
        percent(finding.packet_count, offered),
    );
    finding.fixes = vec![fix(
        "Keep the packets of one flow on one queue.",
        &["ethtool -n <uplink> rx-flow-hash tcp4", "cat /sys/class/net/<uplink>/queues/rx-0/rps_cpus"],
        "Only when it is much: TCP tolerates a little.",
    )];
    finding
}
