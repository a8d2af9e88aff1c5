//! # What it is
//! The host, or a device between the points, sends packets twice: the same packet leaves it twice and entered it once.
//!
//! # In paired captures
//! Set for a direction when all of the following are true:
//! - a packet stands once at the point that the direction passes first and twice at the other, with the same content and
//!   the same IP identification (a sender that repeats uses a new one);
//! - `duplicate-frame.packets` or more of them;
//! - not a good part of all packets.
//!
//! # Mistaken for it
//! - Retransmissions: another identification.
//! - Packets that the network doubled before they came in: then both points show both copies.
//! - A capture that holds every packet twice (`-i any`, two interfaces in one file).
//!
//! # What to do
//! Look for a second path: two ports of the bridge on one link, a mirror rule, a bond in broadcast mode.
//!
//! # References
//! RFC 5560 (one-way packet duplication); RFC 6864 section 4.

use crate::detect::claim::{fix, merge};
use crate::detect::text::{count, counted, percent, point_name};
use crate::detect::{Claim, Reasons, Scene, Spec, Threshold, alibi};
use crate::facts::EventKind;
use crate::point::Direction;
use crate::report::{Directions, Finding, Severity, Where};

/// What this detector says of itself.
pub(super) const SPEC: Spec = Spec {
    id: "duplicate-frame",
    says: "the same frame twice within a few milliseconds at one point, once at the other",
    causes: &[],
    severity: Severity::Warning,
    thresholds: &[
        Threshold {
            name: "duplicate-frame.packets",
            unit: "packets in one direction",
            default: 3.0,
            source: "one or two may be chance",
        },
        Threshold {
            name: "duplicate-frame.all",
            unit: "share of the packets of the direction",
            default: 0.3,
            source: "a capture taken twice has half of its packets twice; a fault seldom has",
        },
    ],
    source: include_str!("duplicate_frame.rs"),
};

pub(super) fn observe(scene: &Scene) -> Vec<Claim> {
    Direction::BOTH.into_iter().filter_map(|direction| one_way(scene, direction)).collect()
}

fn one_way(scene: &Scene, direction: Direction) -> Option<Claim> {
    let exit = direction.exit();
    let twice = scene.event_count(EventKind::Duplicate, exit, direction);
    let packets = scene.tally.packets(direction, exit);
    if twice == 0
        || alibi::doubled(scene, exit)
        || twice as f64 >= SPEC.value(scene, "duplicate-frame.all") * packets as f64
    {
        return None;
    }
    let mut claim = Claim::new(SPEC.id, 0, Where::Between, direction);
    let few = (twice as f64) < SPEC.value(scene, "duplicate-frame.packets");
    claim.severity = if few { Severity::Info } else { Severity::Warning };
    claim.flows.clear();
    claim.packets = twice;
    for event in scene.events(EventKind::Duplicate, exit, direction) {
        claim.frames.push((exit, event.a as u32));
        claim.cite(scene, exit, event.frame, event.time, format!("#{} again, {} bytes", event.a, event.size));
        claim.flows.push(event.pair);
    }
    claim.flows.sort_unstable();
    claim.flows.dedup();
    claim.details.insert("packets".into(), packets.into());
    claim.reasons = Reasons::default()
        .support(0.7, format!("{} left the host twice with one identification", counted(twice, "packet")))
        .support_if(twice >= 5, 0.5, "too many for chance")
        .support_if(twice * 10 < packets, 0.3, "most packets are there once, so the capture is sound");
    Some(claim)
}

pub(super) fn conclude(scene: &Scene, claims: &[Claim]) -> Finding {
    let mut finding = merge(scene, claims);
    let direction = if finding.direction == Directions::Inbound { Direction::Inbound } else { Direction::Outbound };
    let packets = claims[0].number("packets") as u64;
    finding.summary = format!(
        "The host sent {} of {} packets ({}) twice: they passed {} once and {} twice.",
        count(finding.packet_count),
        count(packets),
        percent(finding.packet_count, packets),
        point_name(direction.entry()),
        point_name(direction.exit()),
    );
    finding.fixes = vec![fix(
        "Look for a second path on the host: two bridge ports on one link, a mirror rule, a bond in broadcast mode.",
        &[
            "bridge link show",
            "cat /proc/net/bonding/BOND",
            "tc filter show dev IFACE ingress",
            "nft list ruleset | grep -nw dup",
        ],
        "",
    )];
    finding
}
