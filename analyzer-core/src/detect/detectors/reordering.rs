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

use crate::detect::census::has;
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
    Direction::BOTH.into_iter().filter_map(|direction| one_way(scene, direction)).collect()
}

fn one_way(scene: &Scene, direction: Direction) -> Option<Claim> {
    let total: u64 =
        Point::BOTH.into_iter().map(|point| scene.event_count(EventKind::Reordered, point, direction)).sum();
    if (total as f64) < SPEC.value(scene, "reordering.packets") {
        return None;
    }
    let reasons = Reasons::default().support(0.7, "the copies of the same packets stand in another order").support_if(
        total >= 20,
        0.5,
        format!("{} of them", count(total)),
    );
    // There may be very many flows with a packet or two each: one claim speaks for all of them.
    let mut events: Vec<&Event> = Point::BOTH
        .iter()
        .flat_map(|point| scene.events_by_pair(EventKind::Reordered, *point, direction).flatten())
        .collect();
    events.sort_by_key(|event| event.pair);
    let flows: Vec<&[&Event]> = events.chunk_by(|one, other| one.pair == other.pair).collect();
    let protocol = |flow: &&[&Event]| match scene.brief(flow[0].pair) {
        Some(brief) if brief.has & has::TCP != 0 => "tcp",
        _ => scene.pair(flow[0].pair).map_or("ip", PairView::protocol_name),
    };
    let mut protocols = flows.iter().map(protocol);
    let first = protocols.next().unwrap_or("ip");
    let protocol = if protocols.all(|other| other == first) { first } else { "ip" };
    let asked = |flow: &&&[&Event]| {
        !scene.selection.of_flows() || scene.pair(flow[0].pair).is_some_and(|pair| scene.selection.has(pair))
    };
    let flows: Vec<&[&Event]> = flows.iter().filter(asked).copied().collect();
    let mut claim = Claim::new(SPEC.id, 0, Where::Between, direction);
    claim.severity = Severity::Info;
    claim.protocol = protocol;
    claim.reasons = reasons;
    claim.flows = flows.iter().map(|flow| flow[0].pair).collect();
    claim.packets = flows.iter().map(|flow| flow.len() as u64).sum();
    claim.frames.reserve_exact(2 * claim.packets as usize);
    // Every flow gets a word before one gets two.
    let mut rest = flows;
    while !rest.is_empty() {
        for event in rest.iter().map(|flow| flow[0]) {
            let note = "comes after a packet that it preceded at the other point";
            let point = Point::BOTH[usize::from(event.point)];
            claim.cite(scene, point, event.frame, event.time, note);
            claim.frames.push((point.other(), event.other_frame));
        }
        rest = rest.into_iter().map(|flow| &flow[1..]).filter(|flow| !flow.is_empty()).collect();
    }
    (!claim.frames.is_empty()).then_some(claim)
}

fn offered(scene: &Scene, pair: u32, direction: Direction) -> u64 {
    scene.brief(pair).map_or(0, |brief| u64::from(brief.offered[direction.index()]))
}

pub(super) fn conclude(scene: &Scene, claims: &[Claim]) -> Finding {
    let mut finding = merge(scene, claims);
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
