//! # What it is
//! A client asks for an address by DHCP, again and again, and gets no offer.
//!
//! # In paired captures
//! Set for a client when all of the following are true:
//! - it broadcasts DISCOVER `dhcp-unanswered.requests` or more times in a row, over `dhcp-unanswered.seconds` or more;
//! - meanwhile neither an OFFER nor an ACK nor a NAK for it is in either capture, and it sends no REQUEST, which would
//!   prove that an offer had come.
//!
//! # Mistaken for it
//! - Clients whose offers take another way: they go on to REQUEST.
//! - Offers that come and are ignored (a wrong or unfinished checksum): then the offers are in the capture.
//!
//! # What to do
//! Look whether the server runs and hears the client: on a host with NAT that is its own dnsmasq.
//!
//! # References
//! RFC 2131 sections 3.1 and 4.1.

use crate::detect::claim::{fix, merge};
use crate::detect::text::{counted, duration, mac_text};
use crate::detect::{Claim, Reasons, Scene, Spec, Threshold};
use crate::facts::Asked;
use crate::point::Point;
use crate::report::{Directions, Finding, Severity, Where};
use crate::time::SECOND;
use std::collections::BTreeMap;

/// What this detector says of itself.
pub(super) const SPEC: Spec = Spec {
    id: "dhcp-unanswered",
    says: "DHCP requests without an answer",
    causes: &[],
    severity: Severity::Warning,
    thresholds: &[
        Threshold {
            name: "dhcp-unanswered.requests",
            unit: "DISCOVER messages in a row",
            default: 3.0,
            source: "a client repeats after 4 s and 8 s (RFC 2131 section 4.1): the third goes out when two were in vain",
        },
        Threshold {
            name: "dhcp-unanswered.seconds",
            unit: "seconds from the first to the last",
            default: 2.0,
            source: "a server that first pings the address it offers takes a second (RFC 2131 section 3.1)",
        },
    ],
    source: include_str!("dhcp_unanswered.rs"),
};

pub(super) fn observe(scene: &Scene) -> Vec<Claim> {
    let mut seen: BTreeMap<u64, [Option<&Asked>; 2]> = BTreeMap::new();
    for point in Point::BOTH {
        for (client, asked) in &scene.link[point.index()].dhcp {
            seen.entry(*client).or_default()[point.index()] = Some(asked);
        }
    }
    seen.iter().filter_map(|(client, points)| claim(scene, *client, *points)).collect()
}

fn claim(scene: &Scene, client: u64, points: [Option<&Asked>; 2]) -> Option<Claim> {
    let in_vain = |asked: &Asked| {
        let run = asked.longest();
        f64::from(run.count) >= SPEC.value(scene, "dhcp-unanswered.requests")
            && (run.last.time - run.first.time) as f64 >= SPEC.value(scene, "dhcp-unanswered.seconds") * SECOND as f64
    };
    // An answer at either point is an answer.
    if !points.iter().flatten().all(|asked| in_vain(asked)) {
        return None;
    }
    let place = match points {
        [_, Some(_)] => Where::Outside,
        // Behind NAT the host itself serves DHCP; on a bridge the question should have left.
        _ => Where::Between,
    };
    let mut claim = Claim::new(SPEC.id, 0, place, Directions::Both);
    claim.flows.clear();
    claim.protocol = "dhcp";
    let mut reasons = Reasons::default();
    for (point, asked) in Point::BOTH.into_iter().zip(points) {
        let Some(asked) = asked else { continue };
        let run = asked.longest();
        claim.packets = claim.packets.max(u64::from(run.count));
        for stamp in &run.frames {
            claim.cite(scene, point, stamp.frame, stamp.time, format!("DISCOVER of {}", mac_text(client)));
        }
        claim.span(scene.clock.to_a(point, run.last.time));
        if reasons.confidence() < 0.5 {
            let lasted = duration(run.last.time - run.first.time);
            reasons =
                reasons.support(0.7, format!("{} in a row over {lasted}", counted(u64::from(run.count), "DISCOVER")));
            reasons = reasons.support_if(asked.answered > 0, 0.3, "the client had been answered before");
        }
    }
    claim.reasons = reasons.support_if(points.iter().all(Option::is_some), 0.3, "the question crossed both points");
    claim.details.insert("client_mac".into(), mac_text(client).into());
    Some(claim)
}

pub(super) fn conclude(scene: &Scene, claims: &[Claim]) -> Finding {
    let mut finding = merge(scene, claims);
    let clients: Vec<String> = claims
        .iter()
        .filter_map(|claim| claim.details.get("client_mac").and_then(|mac| mac.as_str()))
        .map(str::to_owned)
        .collect();
    finding.details.insert("clients".into(), clients.clone().into());
    finding.summary = format!(
        "{} asked for an address {} and got no offer: the question {}.",
        if let [only] = clients.as_slice() { only.clone() } else { counted(clients.len() as u64, "client") },
        counted(finding.packet_count, "time"),
        if finding.place == Where::Outside { "reached the uplink" } else { "was seen at A only" },
    );
    finding.fixes = vec![fix(
        "Look whether the DHCP server runs and hears the client.",
        &[
            "virsh net-dumpxml NETWORK | grep -A4 '<dhcp'",
            "pgrep -af dnsmasq",
            "journalctl -t dnsmasq-dhcp --since -1h",
            "nft list ruleset | grep -n 'dport 67'",
        ],
        "On a bridge the server is on the network outside: ask there.",
    )];
    finding
}
