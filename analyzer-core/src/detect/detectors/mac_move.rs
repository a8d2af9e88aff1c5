//! # What it is
//! A MAC lives on both sides of the bridge: a clone, a migration that left the old one running, or a loop. The bridge
//! believes whoever spoke last and sends the answers there.
//!
//! # In paired captures
//! Set on a bridge when all of the following are true:
//! - two hosts talk to each other in one flow inside, seen at A in both directions and not at B;
//! - the same two hosts, by their addresses and MACs, talk across the uplink in another flow of the same kind, in
//!   `mac-move.packets` packets or more: one of the two is outside as well;
//! - its MAC speaks from inside after that has begun.
//!
//! # Mistaken for it
//! - Flooding: a bridge that has forgotten a MAC sends a packet or two everywhere; the answers stay inside.
//! - A migration in order: the guest speaks from inside up to some time and from outside afterwards.
//!
//! # What to do
//! Find the twin, by the port of the switch outside that has learned the MAC.
//!
//! # References
//! IEEE 802.1Q section 8.7 (the learning process); `bridge(8)` (`bridge monitor fdb`).

use crate::detect::census::has;
use crate::detect::claim::{fix, merge};
use crate::detect::text::{counted, mac_text};
use crate::detect::{Claim, PairView, Reasons, Scene, Spec, Threshold};
use crate::packet::Family;
use crate::point::{Direction, Point};
use crate::report::{Directions, Finding, Severity, Where};
use std::collections::BTreeMap;

/// What this detector says of itself.
pub(super) const SPEC: Spec = Spec {
    id: "mac-move",
    says: "a MAC changes side",
    causes: &[],
    severity: Severity::Warning,
    thresholds: &[Threshold {
        name: "mac-move.packets",
        unit: "packets across the uplink between hosts that are inside",
        default: 3.0,
        source: "a bridge that has forgotten a MAC floods until the answer, which is a packet or two",
    }],
    source: include_str!("mac_move.rs"),
};

/// Two addresses, a protocol, and the service: what a capture filter may tell apart.
type Talk = (u128, u128, u16, u16);

fn talk(pair: &PairView, point: Point) -> Option<Talk> {
    let key = pair.key(point)?;
    // Of an echo, the port is an identifier.
    let service = if matches!(key.protocol, 6 | 17) { key.low.port.min(key.high.port) } else { 0 };
    Some((key.low.address.min(key.high.address), key.low.address.max(key.high.address), key.protocol, service))
}

pub(super) fn observe(scene: &Scene) -> Vec<Claim> {
    let unicast = |pair: &&PairView| pair.family() != Family::Link && !pair.inner_ends().1.ip().is_multicast();
    let mut inside: BTreeMap<Talk, &PairView> = BTreeMap::new();
    for pair in scene.pairs_with(has::ALONE, 0).filter(unicast).filter(|pair| pair.a.is_some()) {
        // What the capture of B did not cover may have crossed.
        let unmatched = |way| pair.more(way, Point::A).map_or(0, |more| more.unmatched);
        let two_way = Direction::BOTH.iter().all(|way| unmatched(*way) >= 2);
        if let (true, Some(talk)) = (two_way, talk(pair, Point::A)) {
            inside.entry(talk).or_insert(pair);
        }
    }
    if inside.is_empty() {
        return Vec::new();
    }
    scene
        .pairs_with(has::BOTH, 0)
        .filter(unicast)
        .filter(|pair| pair.a == pair.b)
        .filter_map(|pair| claim(scene, pair, inside.get(&talk(pair, Point::B)?)?))
        .collect()
}

fn claim(scene: &Scene, pair: &PairView, local: &PairView) -> Option<Claim> {
    let (mac, _) = pair.macs[Point::B.index()]?;
    let bridged = pair.macs[Point::A.index()].is_some_and(|(same, _)| same == mac);
    let packets: u32 = Direction::BOTH.iter().map(|way| pair.track(*way, Point::B).packets).sum();
    // The same host by its MAC; a router that stands in for many hosts talks in all flows.
    let known = local.macs[Point::A.index()].is_some_and(|(other, _)| other == mac);
    let first = Direction::BOTH
        .iter()
        .map(|way| pair.facts.first[way.index()][Point::B.index()])
        .filter(|stamp| stamp.frame != 0)
        .map(|stamp| scene.clock.to_a(Point::B, stamp.time))
        .min()?;
    // A guest that has moved speaks from one side, and then from the other.
    let still_inside = scene.pairs.iter().any(|other| {
        let (mac_there, way) = other.macs[Point::A.index()].unwrap_or((0, Direction::Outbound));
        let track = other.track(way, Point::A);
        let here = other.serial != pair.serial && mac_there == mac && track.packets > 0;
        here && scene.clock.to_a(Point::A, track.last_time) > first
    });
    if !bridged || !known || !still_inside || f64::from(packets) < SPEC.value(scene, "mac-move.packets") {
        return None;
    }
    let mut claim = Claim::new(SPEC.id, pair.serial, Where::Outside, Directions::Both);
    claim.protocol = "ethernet";
    claim.packets = u64::from(packets);
    for way in Direction::BOTH {
        let here = local.facts.first[way.index()][Point::A.index()];
        claim.cite(scene, Point::A, here.frame, here.time, "between the two hosts, inside only");
        let there = pair.facts.first[way.index()][Point::B.index()];
        claim.cite(scene, Point::B, there.frame, there.time, "between the same two hosts, across the uplink");
        let track = pair.track(way, Point::B);
        if track.last_frame != there.frame {
            claim.cite(scene, Point::B, track.last_frame, track.last_time, "and still");
        }
    }
    let answered = Direction::BOTH.iter().all(|way| pair.track(*way, Point::B).packets > 0);
    claim.details.insert("macs".into(), vec![mac_text(mac)].into());
    claim.reasons = Reasons::default()
        .support(0.5, "the same two hosts talk inside in one flow and across the uplink in another")
        .support_if(answered, 0.5, "the answers leave by the uplink: the bridge has learned the MAC there")
        .support_if(packets >= 6, 0.4, format!("{} of them", counted(u64::from(packets), "packet")));
    Some(claim)
}

pub(super) fn conclude(scene: &Scene, claims: &[Claim]) -> Finding {
    let mut finding = merge(scene, claims);
    let mut macs: Vec<String> =
        claims.iter().filter_map(|claim| claim.details.get("macs")?.get(0)?.as_str().map(str::to_owned)).collect();
    macs.sort();
    macs.dedup();
    let mac = macs.first().cloned().unwrap_or_default();
    finding.details.insert("macs".into(), macs.into());
    finding.summary = format!(
        "{mac} lives inside and beyond the uplink as well: {} of its talk with another inside host crossed the uplink.",
        counted(finding.packet_count, "packet"),
    );
    finding.fixes = vec![fix(
        "Find the twin outside: the switch knows the port on which it has learned the MAC.",
        &[
            &format!("bridge monitor fdb | grep -i {mac}"),
            &format!("bridge fdb show | grep -i {mac}"),
            &format!("tcpdump -Q in -nei UPLINK ether src {mac}"),
        ],
        "After a migration, the old guest must be off; clones need MACs of their own.",
    )];
    finding
}
