//! # What it is
//! Connection attempts cross the host, and nobody answers them: the fault lies beyond the point that they leave by.
//!
//! # In paired captures
//! Set for a TCP flow when all of the following are true:
//! - its SYN is at both points, `connection-unanswered.tries` times or more, over half a second or longer;
//! - neither point shows anything of the other direction: no SYN-ACK, no reset, no ICMP error;
//! - the captures show other traffic of that direction, so they were not taken one way only.
//!
//! # Mistaken for it
//! - A closed port: it answers with a reset. A refusal by a firewall: it answers with ICMP.
//! - A SYN at the very end of the captures: its answer may still come.
//! - Answers that reach B and not A: those are lost between.
//!
//! # What to do
//! Ask the far end: is it up, does its firewall drop that port, has it a way back to this address?
//!
//! # References
//! RFC 9293 section 3.8.1; Linux `ip-sysctl` (`tcp_syn_retries`).

use crate::detect::census::has;
use crate::detect::claim::{fix, merge};
use crate::detect::text::counted;
use crate::detect::{Claim, PairView, Reasons, Scene, Spec, Threshold};
use crate::facts::state;
use crate::point::{Direction, Point};
use crate::report::{Directions, Finding, Severity, Where};
use crate::time::SECOND;
use std::collections::BTreeSet;

/// What this detector says of itself.
pub(super) const SPEC: Spec = Spec {
    id: "connection-unanswered",
    says: "SYNs cross both points and no answer comes",
    causes: &[],
    severity: Severity::Warning,
    thresholds: &[Threshold {
        name: "connection-unanswered.tries",
        unit: "SYNs of one connection",
        default: 2.0,
        source: "the first retransmission comes after a second (RFC 6298): most answers are there by then",
    }],
    source: include_str!("connection_unanswered.rs"),
};

pub(super) fn observe(scene: &Scene) -> Vec<Claim> {
    let pairs = scene.pairs_with(has::TCP | has::BOTH | has::SILENT, 0).filter(|pair| pair.facts.icmp_count == 0);
    pairs
        .flat_map(|pair| Direction::BOTH.into_iter().filter_map(move |direction| unanswered(scene, pair, direction)))
        .collect()
}

fn unanswered(scene: &Scene, pair: &PairView, direction: Direction) -> Option<Claim> {
    let exit = direction.exit();
    let (sent, left) = (pair.track(direction, direction.entry()), pair.track(direction, exit));
    let silent = Point::BOTH.into_iter().all(|point| pair.track(direction.reverse(), point).packets == 0);
    let only_syns = left.has(state::SYN) && !left.has(state::DATA | state::ACK | state::RST);
    let two_way = Point::BOTH.into_iter().all(|point| scene.tally.packets(direction.reverse(), point) > 0);
    if !silent || !only_syns || !two_way || left.matched == 0 {
        return None;
    }
    let first = pair.facts.first[direction.index()][exit.index()];
    let over = left.last_time - first.time;
    if f64::from(left.packets) < SPEC.value(scene, "connection-unanswered.tries") || over < SECOND / 2 {
        return None;
    }
    let place = if direction == Direction::Outbound { Where::Outside } else { Where::Inside };
    let mut claim = Claim::new(SPEC.id, pair.serial, place, direction);
    claim.severity = Severity::Warning;
    claim.protocol = "tcp";
    claim.packets = u64::from(left.packets);
    claim.cite(scene, exit, first.frame, first.time, format!("SYN, the first of {}", left.packets));
    claim.cite(scene, exit, left.last_frame, left.last_time, "the last of them");
    let begun = pair.facts.first[direction.index()][direction.entry().index()];
    claim.frame(scene, direction.entry(), begun.frame, begun.time);
    if sent.packets > 1 {
        claim.frame(scene, direction.entry(), sent.last_frame, sent.last_time);
    }
    let answers = scene.tally.packets(direction.reverse(), exit);
    claim.reasons = Reasons::default()
        .support(0.6, format!("{} left by {} and nothing answered", counted(claim.packets, "SYN"), name(exit)))
        .support_if(left.packets >= 3, 0.5, "three tries or more")
        .support_if(answers >= 20, 0.4, "other flows are answered there");
    Some(claim)
}

pub(super) fn conclude(scene: &Scene, claims: &[Claim]) -> Finding {
    let mut finding = merge(scene, claims);
    let targets: BTreeSet<String> = claims
        .iter()
        .filter_map(|claim| scene.pair(claim.flows[0]))
        .map(|pair| {
            let (inside, outside) = pair.inner_ends();
            pair.endpoint(if finding.direction == Directions::Inbound { inside } else { outside })
        })
        .collect();
    let whom = match targets.iter().collect::<Vec<_>>()[..] {
        [only] => only.clone(),
        _ => counted(targets.len() as u64, "destination"),
    };
    let attempts = counted(finding.flow_count, "connection attempt");
    finding.summary = if finding.direction == Directions::Inbound {
        format!(
            "{attempts} to {whom} ({}) crossed the host inwards, and the guest did not answer.",
            counted(finding.packet_count, "SYN")
        )
    } else {
        format!("{attempts} to {whom} ({}) left the uplink, and no answer came.", counted(finding.packet_count, "SYN"))
    };
    let target = targets.first().cloned().unwrap_or_default();
    finding.fixes = if finding.direction == Directions::Inbound {
        vec![fix(
            "Look in the guest: does something listen there, and does its firewall let it in?",
            &["ss -ltn", "nft list ruleset", "ip route get <peer>"],
            "A guest that answers by another way (a second interface) looks the same here.",
        )]
    } else {
        vec![fix(
            format!("Ask the far end whether {target} is up and whether a firewall there drops what comes from here."),
            &["mtr -n -T -P <port> <peer>", "curl -v --connect-timeout 5 <peer>:<port>"],
            "The host forwarded every attempt: nothing is to be changed on it.",
        )]
    };
    finding
}

/// A point in a sentence.
fn name(point: Point) -> &'static str {
    match point {
        Point::A => "A",
        Point::B => "B",
    }
}
