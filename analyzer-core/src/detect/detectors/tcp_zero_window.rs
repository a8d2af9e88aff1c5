//! # What it is
//! A receiver closed its window: its application does not read what has arrived. The network has nothing to do with it.
//!
//! # In paired captures
//! Set for a direction when segments of a flow announce a window of zero at the point that they pass first. The direction
//! is that of the announcement: outbound, the guest does not read; inbound, the peer does not.
//!
//! # Mistaken for it
//! - Resets carry a window of zero and mean nothing by it; they are not counted.
//! - A connection that stands still without it: then the cause is elsewhere.
//!
//! # What to do
//! Look at the application that does not read, its CPU, its disk, its memory. Larger buffers only put it off.
//!
//! # References
//! RFC 9293 section 3.8.6.1 (probes of a closed window), RFC 7323 (window scale).

use crate::detect::census::has;
use crate::detect::claim::merge;
use crate::detect::text::{counted, plural};
use crate::detect::{Claim, Reasons, Scene, Spec};
use crate::facts::EventKind;
use crate::point::Direction;
use crate::report::{Directions, Finding, Severity, Where};

/// What this detector says of itself.
pub(super) const SPEC: Spec = Spec {
    id: "tcp-zero-window",
    says: "a receiver closed its window: its application does not read",
    causes: &[],
    severity: Severity::Info,
    thresholds: &[],
    source: include_str!("tcp_zero_window.rs"),
};

pub(super) fn observe(scene: &Scene) -> Vec<Claim> {
    let mut claims = Vec::new();
    for direction in Direction::BOTH {
        let point = direction.entry();
        let events = scene.events(EventKind::ZeroWindow, point, direction);
        for pair in scene.pairs_with(has::BOTH | has::ZERO_WINDOW, 0) {
            let Some(closed) = pair.more(direction, point).map(|more| more.zero_windows).filter(|times| *times > 0)
            else {
                continue;
            };
            let place = if direction == Direction::Outbound { Where::Inside } else { Where::Outside };
            let mut claim = Claim::new(SPEC.id, pair.serial, place, direction);
            claim.severity = Severity::Info;
            claim.protocol = "tcp";
            claim.packets = u64::from(closed);
            for event in events.iter().filter(|event| event.pair == pair.serial) {
                claim.cite(scene, point, event.frame, event.time, "announces a window of zero");
            }
            if claim.frames.is_empty() {
                continue;
            }
            let probes = pair.more(direction.reverse(), point).map_or(0, |more| more.window_probes);
            claim.details.insert("window_probes".into(), probes.into());
            claim.reasons = Reasons::default()
                .support(0.8, "the receiver itself says that it takes no more")
                .support_if(probes > 0, 0.5, "the sender probes the closed window");
            claims.push(claim);
        }
    }
    claims
}

pub(super) fn conclude(scene: &Scene, claims: &[Claim]) -> Finding {
    let mut finding = merge(scene, claims);
    let probes = claims.iter().map(|claim| claim.number("window_probes")).sum::<f64>() as u64;
    finding.details.insert("window_probes".into(), probes.into());
    let who = if finding.direction == Directions::Outbound { "guest" } else { "peer" };
    finding.summary = format!(
        "The {who} closed its window {} on {}: its application did not read in time.",
        plural(finding.packet_count, "time", "times"),
        counted(finding.flow_count, "flow"),
    );
    finding
}
