//! # What it is
//! The spanning tree of the network outside is changing: switches forget where MACs live and flood, and ports may be
//! blocked for up to half a minute.
//!
//! # In paired captures
//! Set when both of the following are true:
//! - BPDUs at B carry the topology-change flag, or are topology-change notifications;
//! - they were not sent by the host's own bridge.
//!
//! # Mistaken for it
//! - The hello that libvirt's own bridge sends every two seconds at A, and its topology change when a guest starts: that
//!   stays inside.
//!
//! # What to do
//! Find the port that comes and goes; make ports of end systems edge ports.
//!
//! # References
//! IEEE 802.1D-2004 sections 9.3 and 17.11; IEEE 802.1Q section 13.

use crate::detect::claim::{fix, merge};
use crate::detect::text::{count, counted, mac_text};
use crate::detect::{Claim, Reasons, Scene, Spec, Threshold};
use crate::point::Point;
use crate::report::{Directions, Finding, Severity, Where};
use std::collections::BTreeSet;

/// What this detector says of itself.
pub(super) const SPEC: Spec = Spec {
    id: "stp-topology-change",
    says: "BPDUs announce topology changes",
    causes: &[],
    severity: Severity::Warning,
    thresholds: &[Threshold {
        name: "stp-topology-change.bpdus",
        unit: "BPDUs that announce a change",
        default: 1.0,
        source: "a root announces one change for 35 s (max age and forward delay); one BPDU is proof",
    }],
    source: include_str!("stp_topology_change.rs"),
};

pub(super) fn observe(scene: &Scene) -> Vec<Claim> {
    let tree = &scene.link[Point::B.index()].spanning_tree;
    let own = scene.own_macs(Point::B);
    let foreign: Vec<_> = tree.changes.items().iter().filter(|(_, sender)| !own.contains(sender)).collect();
    if (foreign.len() as f64) < SPEC.value(scene, "stp-topology-change.bpdus") || foreign.is_empty() {
        return Vec::new();
    }
    let mut claim = Claim::new(SPEC.id, 0, Where::Outside, Directions::Inbound);
    claim.flows.clear();
    claim.protocol = "stp";
    claim.packets = foreign.len() as u64;
    for (at, sender) in &foreign {
        claim.cite(scene, Point::B, at.frame, at.time, format!("topology change, by {}", mac_text(*sender)));
    }
    let bridges: BTreeSet<String> = foreign.iter().map(|(_, sender)| mac_text(*sender)).collect();
    let roots: Vec<String> =
        tree.roots.iter().map(|root| format!("{}/{}", root >> 48, mac_text(root & ((1 << 48) - 1)))).collect();
    claim.details.insert("bpdus".into(), tree.count.into());
    claim.details.insert("episodes".into(), tree.episodes.into());
    claim.details.insert("bridges".into(), bridges.into_iter().collect::<Vec<_>>().into());
    claim.reasons = Reasons::default()
        .support(0.8, format!("{} of {} announce it", count(claim.packets), counted(tree.count, "BPDU")))
        .support_if(tree.episodes > 1, 0.5, "it happened more than once")
        .support_if(roots.len() > 1, 0.6, "the root bridge changed");
    claim.details.insert("roots".into(), roots.into());
    vec![claim]
}

pub(super) fn conclude(scene: &Scene, claims: &[Claim]) -> Finding {
    let mut finding = merge(scene, claims);
    let bpdus = claims[0].number("bpdus") as u64;
    finding.summary = format!(
        "The network outside announced a change of its spanning tree in {} of {}: its switches forget where MACs live.",
        count(finding.packet_count),
        counted(bpdus, "BPDU"),
    );
    finding.fixes = vec![fix(
        "Find the port outside that comes and goes, and make ports of end systems edge ports (PortFast).",
        &["tcpdump -vnei UPLINK stp", "bridge -d link show", "mstpctl showbridge"],
        "On the switch: `show spanning-tree detail` names the port of the last change.",
    )];
    finding
}
