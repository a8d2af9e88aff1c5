//! # What it is
//! The host lowers the MSS in the SYNs that it forwards. That is the usual cure of a path MTU black hole, and healthy.
//!
//! # In paired captures
//! Set for a direction of a flow when the same SYN carries another MSS at the second point than at the first.
//!
//! # Mistaken for it
//! - A proxy that opens a connection of its own: then the initial sequence number differs as well.
//!
//! # What to do
//! Nothing. When it clamps lower than the path asks, throughput suffers a little.
//!
//! # References
//! RFC 9293 section 3.7.1, RFC 6691; iptables-extensions, TCPMSS.

use crate::detect::census::has;
use crate::detect::claim::merge;
use crate::detect::text::counted;
use crate::detect::{Claim, PairView, Reasons, Scene, Spec};
use crate::point::{Direction, Point};
use crate::report::{Finding, Severity, Where};

/// What this detector says of itself.
pub(super) const SPEC: Spec = Spec {
    id: "mss-clamped",
    says: "the host changes the MSS of the SYNs that it forwards",
    causes: &[],
    severity: Severity::Info,
    thresholds: &[],
    source: include_str!("mss_clamped.rs"),
};

pub(super) fn observe(scene: &Scene) -> Vec<Claim> {
    let both = |pair| Direction::BOTH.into_iter().filter_map(move |direction| clamped(scene, pair, direction));
    scene.pairs_with(has::BOTH | has::SYN_CHANGED, 0).flat_map(both).collect()
}

fn clamped(scene: &Scene, pair: &PairView, direction: Direction) -> Option<Claim> {
    let syn = &pair.facts.syn.as_ref()?[direction.index()];
    let (before, after) = (syn[direction.entry().index()], syn[direction.exit().index()]);
    let (from, to) = (before.mss?, after.mss?);
    if before.isn != after.isn || from == to {
        return None;
    }
    let mut claim = Claim::new(SPEC.id, pair.serial, Where::Between, direction);
    claim.severity = Severity::Info;
    claim.protocol = "tcp";
    claim.packets = u64::from(before.times.max(1));
    claim.cite(scene, direction.entry(), before.first.frame, before.first.time, format!("SYN with MSS {from}"));
    claim.cite(scene, direction.exit(), after.first.frame, after.first.time, format!("the same SYN with MSS {to}"));
    claim.details.insert("mss_before".into(), from.into());
    claim.details.insert("mss_after".into(), to.into());
    claim.reasons = Reasons::default().support(0.95, "the same SYN stands at both points with another MSS");
    Some(claim)
}

pub(super) fn conclude(scene: &Scene, claims: &[Claim]) -> Finding {
    let mut finding = merge(scene, claims);
    let (from, to) = (claims[0].number("mss_before"), claims[0].number("mss_after"));
    finding.details.insert("mss_before".into(), (from as u64).into());
    finding.details.insert("mss_after".into(), (to as u64).into());
    let verb = if to < from { "lowers" } else { "raises" };
    let point = if finding.direction == Direction::Outbound.into() { Point::A } else { Point::B };
    finding.summary = format!(
        "The host {verb} the MSS of {} from {from} to {to} on the way from {}.",
        counted(finding.flow_count, "flow"),
        crate::detect::text::letter(point),
    );
    finding
}
