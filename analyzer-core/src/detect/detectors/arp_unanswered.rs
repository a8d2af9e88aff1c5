//! # What it is
//! A host asks by ARP for a neighbour and nobody answers: its packets for that neighbour go nowhere.
//!
//! # In paired captures
//! Set for a question (who asks, and for which address) at a point when all of the following are true:
//! - `arp-unanswered.requests` or more requests in a row, over `arp-unanswered.seconds` or more, found no answer there;
//! - the asker is one whose answers must pass the point: a guest at A, the host or its guests at B, or the host asking
//!   for a guest at A;
//! - the point sees answers or other frames for it at all.
//!
//! # Mistaken for it
//! - Requests of strangers on the same network: they are broadcast, their answers are not.
//! - Announcements and probes of one's own address want no answer (RFC 5227).
//! - A scan: one host asks for very many addresses. Then it is context only.
//!
//! What the host cannot send on to its next hop meanwhile is lost in it: this finding explains those losses and stalls.
//!
//! # What to do
//! Look whether the neighbour lives and whether the request and its answer cross each link on the way.
//!
//! # References
//! RFC 826; RFC 5227; `arp(7)` (three requests, a second apart).

use crate::detect::census::has;
use crate::detect::claim::{fix, merge};
use crate::detect::text::{counted, duration, mac_text};
use crate::detect::{Claim, PairView, Reasons, Scene, Spec, Threshold};
use crate::facts::Asked;
use crate::packet::Endpoint;
use crate::point::{Direction, Point};
use crate::report::{Directions, Finding, Severity, TopologyKind, Where};
use crate::time::SECOND;
use std::cell::LazyCell;
use std::collections::BTreeMap;
use std::net::Ipv4Addr;

/// What this detector says of itself.
pub(super) const SPEC: Spec = Spec {
    id: "arp-unanswered",
    says: "ARP requests without an answer",
    causes: &[],
    severity: Severity::Warning,
    thresholds: &[
        Threshold {
            name: "arp-unanswered.requests",
            unit: "requests in a row",
            default: 3.0,
            source: "Linux asks three times before it gives up (mcast_solicit, arp(7))",
        },
        Threshold {
            name: "arp-unanswered.seconds",
            unit: "seconds from the first to the last",
            default: 1.5,
            source: "Linux asks once a second (retrans_time_ms): shorter than three of them",
        },
        Threshold {
            name: "arp-unanswered.scan",
            unit: "addresses that one host asks for in vain",
            default: 16.0,
            source: "a host needs few neighbours; who asks for many looks for what is there",
        },
    ],
    source: include_str!("arp_unanswered.rs"),
};

pub(super) fn observe(scene: &Scene) -> Vec<Claim> {
    let mut claims: BTreeMap<(u32, u32), Claim> = BTreeMap::new();
    let own = Point::BOTH.map(|point| scene.own_macs(point));
    let guests: LazyCell<Vec<u32>, _> = LazyCell::new(|| inside_addresses(scene));
    for point in Point::BOTH {
        let link = &scene.link[point.index()];
        let answers: u32 = link.arp.values().map(|asked| asked.answered).sum();
        let both_ways = Direction::BOTH.iter().all(|way| scene.tally.packets(*way, point) > 0);
        if answers == 0 && !both_ways {
            continue;
        }
        for (&(target, asker), asked) in &link.arp {
            let run = asked.longest();
            let lasted = run.last.time - run.first.time;
            let enough = f64::from(run.count) >= SPEC.value(scene, "arp-unanswered.requests")
                && lasted as f64 >= SPEC.value(scene, "arp-unanswered.seconds") * SECOND as f64;
            if !enough {
                continue;
            }
            let ours = own[point.index()].contains(&asked.mac)
                || own[0].contains(&asked.mac)
                || (point == Point::A && guests.contains(&target));
            if !ours {
                continue;
            }
            let vain = link.arp.iter().filter(|((_, by), other)| *by == asker && other.answered == 0).count();
            let scan = vain as f64 >= SPEC.value(scene, "arp-unanswered.scan");
            let claim = claims
                .entry((target, asker))
                .or_insert_with(|| claim(target, asker, asked, place(scene, point, target, asker, &guests)));
            if scan {
                claim.severity = Severity::Info;
            }
            claim.packets = claim.packets.max(u64::from(run.count));
            for stamp in &run.frames {
                claim.cite(scene, point, stamp.frame, stamp.time, format!("who has {}?", Ipv4Addr::from(target)));
            }
            claim.span(scene.clock.to_a(point, run.last.time));
            claim.reasons = Reasons::default()
                .support(
                    0.6,
                    format!("{} in a row, over {}", counted(u64::from(run.count), "request"), duration(lasted)),
                )
                .support_if(asked.answered > 0, 0.5, "it was answered before")
                .support_if(answers > 0, 0.4, "the capture holds answers to others")
                .support_if(run.count >= 6, 0.3, "asked again and again")
                .contradict_if(scan, 0.5, format!("the asker looks for {vain} addresses: a scan"));
        }
    }
    for (&(_, asker), claim) in claims.iter_mut().filter(|(_, claim)| claim.severity != Severity::Info) {
        claim.explains = waiting(scene, claim, asker);
    }
    claims.into_values().collect()
}

/// Flows whose packets the host could not send on meanwhile: from some packet on none left it, because its next hop on the
/// uplink did not answer. A guest that does not answer falls silent itself: that is its own finding.
fn waiting(scene: &Scene, claim: &Claim, asker: u32) -> Vec<u32> {
    /// Packets in a row that are no accident.
    const IN_A_ROW: u32 = 3;
    if !scene.boundary.is_outside(Endpoint::v4(asker, 0)) {
        return Vec::new();
    }
    // The packet that makes the host ask is the first that waits.
    let asked = claim.first.0.saturating_sub(SECOND)..=claim.last.0.saturating_add(SECOND);
    let held = |pair: &&PairView| {
        let Some(more) = pair.more(Direction::Outbound, Point::A) else { return false };
        let whole = pair.track(Direction::Outbound, Point::A).matched == 0;
        let mut runs = [more.run, more.longest].into_iter().filter(|run| run.count >= IN_A_ROW || whole);
        runs.any(|run| run.count > 0 && asked.contains(&scene.clock.to_a(Point::A, run.first.time).0))
    };
    scene.pairs_with(has::RUN, 0).filter(held).map(|pair| pair.serial).collect()
}

/// IPv4 addresses of guests, by the flows that cross.
fn inside_addresses(scene: &Scene) -> Vec<u32> {
    let mut addresses: Vec<u32> = scene
        .pairs
        .iter()
        .filter(|pair| pair.both())
        .filter_map(|pair| match pair.ends(Point::A)?.0.ip() {
            std::net::IpAddr::V4(ip) => Some(u32::from(ip)),
            std::net::IpAddr::V6(_) => None,
        })
        .collect();
    addresses.sort_unstable();
    addresses.dedup();
    addresses
}

/// Where the one who does not answer is: beyond the outermost point that shows the question.
fn place(scene: &Scene, point: Point, target: u32, asker: u32, guests: &[u32]) -> Where {
    if guests.contains(&target) {
        return Where::Inside;
    }
    let crosses = scene.link[point.other().index()].arp.contains_key(&(target, asker));
    match point {
        Point::B => Where::Outside,
        Point::A if crosses => Where::Outside,
        // On a bridge a guest's broadcast must leave by the uplink.
        Point::A if scene.topology.kind == TopologyKind::Bridge => Where::Between,
        Point::A => Where::Inside,
    }
}

fn claim(target: u32, asker: u32, asked: &Asked, place: Where) -> Claim {
    let mut claim = Claim::new(SPEC.id, 0, place, Directions::Both);
    claim.flows.clear();
    claim.protocol = "arp";
    claim.details.insert("target".into(), Ipv4Addr::from(target).to_string().into());
    claim.details.insert("asker".into(), Ipv4Addr::from(asker).to_string().into());
    claim.details.insert("asker_mac".into(), mac_text(asked.mac).into());
    claim.details.insert("answered_before".into(), asked.answered.into());
    claim
}

pub(super) fn conclude(scene: &Scene, claims: &[Claim]) -> Finding {
    let mut finding = merge(scene, claims);
    let text = |claim: &Claim, name: &str| {
        claim.details.get(name).and_then(|value| value.as_str()).unwrap_or_default().to_owned()
    };
    let mut targets: Vec<String> = claims.iter().map(|claim| text(claim, "target")).collect();
    targets.sort();
    targets.dedup();
    finding.details.insert("targets".into(), targets.clone().into());
    let (target, asker) = (text(&claims[0], "target"), text(&claims[0], "asker"));
    let more = if targets.len() > 1 { format!(" and {} more", targets.len() - 1) } else { String::new() };
    finding.summary = format!(
        "Nobody answered for {target}{more}: {asker} asked {} times in a row.",
        crate::detect::text::count(finding.packet_count)
    );
    finding.fixes = vec![fix(
        format!("Look whether {target} lives, and whether question and answer cross each link between."),
        &[
            &format!("arping -c3 -I IFACE {target}"),
            &format!("ip neigh show {target}"),
            "bridge fdb show | grep -i IFACE",
            "ip -s link show IFACE",
        ],
        "Run it where the question comes from, then one link further each time.",
    )];
    finding
}
