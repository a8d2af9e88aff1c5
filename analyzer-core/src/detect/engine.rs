//! Runs the detectors, lets causes outrank symptoms, and puts claims that belong together into one finding.

use super::claim::Claim;
use super::detector::Detector;
use super::scene::Scene;
use super::testimony;
use crate::report::{Directions, Finding, Severity, Where};
use crate::time::SECOND;
use rayon::prelude::*;
use std::collections::{BTreeMap, HashMap};

/// Which ids the same flow may explain: a symptom, and the causes that explain it. The order of causes:
/// capture hole > route or bridge gone > address flush > stall > table or ports > conntrack-invalid or expiry >
/// checksum > PMTU > loss > RST. `tcp-reset`, `udp-stall` and `synchronous-drop` stand side by side.
const EXPLAINED_BY: &[(&str, &[&str])] = &[
    ("transit-loss", LOSS_CAUSES),
    ("one-sided-retransmission", LOSS_CAUSES),
    ("retransmission", LOSS_CAUSES),
    (
        "connection-unanswered",
        &["connection-not-forwarded", "nat-bypass", "bad-checksum", "synchronous-drop", "arp-unanswered"],
    ),
    ("nat-bypass", &["tcp-reset", "synchronous-drop", "udp-stall", "bad-checksum"]),
    ("nat-rebinding", &["synchronous-drop"]),
    ("pmtu-black-hole", &["synchronous-drop", "synchronous-stall", "tcp-reset", "bad-checksum"]),
    ("udp-stall", &["bad-checksum", "synchronous-stall", "pmtu-black-hole", "arp-unanswered"]),
    ("connection-not-forwarded", &["arp-unanswered"]),
    ("synchronous-drop", &["synchronous-stall"]),
    ("duplicate-frame", &["reflected-frame"]),
    ("mac-move", &["reflected-frame"]),
    ("dns-unanswered", &["synchronous-drop", "synchronous-stall", "connection-not-forwarded", "bad-checksum"]),
    ("dhcp-unanswered", &["bad-checksum"]),
];

/// What explains lost packets and their retransmission.
const LOSS_CAUSES: &[&str] = &[
    "synchronous-drop",
    "synchronous-stall",
    "nat-bypass",
    "connection-not-forwarded",
    "icmp-rate-limit",
    "udp-stall",
    "tcp-reset",
    "bad-checksum",
    "pmtu-black-hole",
    "reflected-frame",
    "dns-unanswered",
    "arp-unanswered",
];

/// Causes that explain a loss only where they say that the host lost something.
const BETWEEN_ONLY: &[&str] = &["dns-unanswered"];

/// Causes that concern a link as a whole, so that they explain symptoms of any flow.
const LINK_FAULTS: &[&str] = &["reflected-frame"];

/// How long before its cause is recognised a symptom may begin and still be its effect.
const LEAD: i64 = SECOND;

/// Findings of all detectors, ordered by severity, then first time. Each has an id of its own.
pub(super) fn run(scene: &Scene, detectors: &[&dyn Detector]) -> Vec<Finding> {
    // A claim comes back to the detector that made it, whatever that wrote into it.
    // Each by itself, since some take far longer than others.
    let observed = detectors.par_iter().with_max_len(1).map(|detector| {
        let id = detector.spec().id;
        detector.observe(scene).into_iter().map(|claim| Claim { id, ..claim }).collect()
    });
    // There may be very many, so that they stay in the lists that the detectors made.
    let mut claims: Vec<Vec<Claim>> = observed.collect();
    explain(&mut claims);
    if scene.selection.of_flows() {
        // All flows speak for and against one another; only then are those left out that nobody asked for.
        let asked = |flow: &u32| scene.pair(*flow).is_some_and(|pair| scene.selection.has(pair));
        for claims in &mut claims {
            claims.retain(|claim| claim.flows.iter().any(asked));
        }
    }

    type Key = (&'static str, Severity, Where, Directions, Option<&'static str>, &'static str, Option<&'static str>);
    let key = |claim: &Claim| -> Key {
        (claim.id, claim.severity, claim.place, claim.direction, claim.cause, claim.protocol, claim.because)
    };
    let mut groups: BTreeMap<Key, Vec<Claim>> = BTreeMap::new();
    for claims in claims {
        let mut sizes: BTreeMap<Key, usize> = BTreeMap::new();
        for claim in &claims {
            *sizes.entry(key(claim)).or_default() += 1;
        }
        for (key, size) in sizes {
            groups.entry(key).or_default().reserve_exact(size);
        }
        for claim in claims {
            groups.entry(key(&claim)).or_default().push(claim);
        }
    }
    let groups: Vec<Vec<Claim>> = groups.into_values().collect();
    let concluded = groups.par_iter().with_max_len(1).filter_map(|group| {
        let detector = detectors.iter().find(|detector| detector.spec().id == group[0].id)?;
        let mut finding = detector.conclude(scene, group);
        testimony::settle(scene, &mut finding);
        super::place::name_frames(scene, &mut finding);
        Some(finding)
    });
    let mut findings: Vec<Finding> = concluded.collect();
    // There may be very many, and nobody waits until they are freed.
    rayon::spawn(move || drop(groups));
    findings.sort_by(|one, other| {
        (one.severity, one.first, one.id, one.place, one.direction, one.cause).cmp(&(
            other.severity,
            other.first,
            other.id,
            other.place,
            other.direction,
            other.cause,
        ))
    });
    findings
}

/// Lowers to context what another detector explains for the same flow.
fn explain(claims: &mut [Vec<Claim>]) {
    let mut causes: HashMap<(&'static str, u32), i64> = HashMap::new();
    // Faults of the link concern whatever crosses it.
    let mut links: HashMap<&'static str, i64> = HashMap::new();
    // There may be very many claims of an id that explains nothing.
    let causing = |id| EXPLAINED_BY.iter().any(|(_, causes)| causes.contains(&id));
    let causing: Vec<bool> =
        claims.iter().map(|claims| claims.first().is_some_and(|claim| causing(claim.id))).collect();
    let explains = |claim: &&Claim| {
        let placed = claim.place == Where::Between || !BETWEEN_ONLY.contains(&claim.id);
        claim.severity != Severity::Info && placed
    };
    let explaining = claims.iter().zip(causing).filter(|(_, causing)| *causing).flat_map(|(claims, _)| claims);
    for claim in explaining.filter(explains) {
        for &flow in claim.flows.iter().chain(&claim.explains) {
            let first = causes.entry((claim.id, flow)).or_insert(claim.first.0);
            *first = (*first).min(claim.first.0);
        }
        if claim.flows.is_empty() {
            let first = links.entry(claim.id).or_insert(claim.first.0);
            *first = (*first).min(claim.first.0);
        }
    }
    if causes.is_empty() && links.is_empty() {
        return;
    }
    for claim in claims.iter_mut().flatten() {
        let Some((_, explained_by)) = EXPLAINED_BY.iter().find(|(symptom, _)| *symptom == claim.id) else { continue };
        let cause = explained_by.iter().find(|cause| {
            let later = |first: &i64| claim.bulk.unwrap_or(claim.first).0 >= first.saturating_sub(LEAD);
            let by_link = LINK_FAULTS.contains(cause) && links.get(*cause).is_some_and(later);
            let by_flow = !claim.flows.is_empty()
                && claim.flows.iter().all(|&flow| causes.get(&(**cause, flow)).is_some_and(later));
            by_link || by_flow
        });
        if let Some(cause) = cause {
            claim.because = Some(cause);
            claim.severity = Severity::Info;
        }
    }
}
