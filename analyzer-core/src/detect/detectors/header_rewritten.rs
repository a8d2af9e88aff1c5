//! # What it is
//! The host changes header fields that NAT and forwarding leave alone: DSCP, ECN, TCP options, TTL.
//!
//! # In paired captures
//! Set when any of the following is true:
//! - the DSCP or ECN field of the same packet differs between the points;
//! - the same SYN offers other TCP options (SACK, window scale, timestamps) at the second point than at the first;
//! - the TTL changes by another amount than forwarding takes: it grows, or falls by more than `header-rewritten.ttl`.
//!
//! # Mistaken for it
//! - A queue that marks congestion sets the ECN field to 3 instead of dropping: that is its work.
//! - The MSS option is reported as `mss-clamped`.
//!
//! # What to do
//! Nothing, if it was meant. Else look for the rule that does it.
//!
//! # References
//! RFC 2474 (DSCP), RFC 3168 (ECN), RFC 7323 and RFC 2018 (options), RFC 1812 section 5.3.1 (TTL).

use crate::detect::census::has;
use crate::detect::claim::{fix, merge};
use crate::detect::text::{count, counted};
use crate::detect::{Claim, PairView, Reasons, Scene, Spec, Threshold};
use crate::facts::{EventKind, SynOptions};
use crate::point::{Direction, Point};
use crate::report::{Directions, Finding, Severity, Where};
use std::collections::BTreeMap;
use std::ops::RangeInclusive;

/// What this detector says of itself.
pub(super) const SPEC: Spec = Spec {
    id: "header-rewritten",
    says: "DSCP, ECN, TCP options or TTL differ between the points",
    causes: &[],
    severity: Severity::Info,
    thresholds: &[Threshold {
        name: "header-rewritten.ttl",
        unit: "hops between the points",
        default: 4.0,
        source: "a host and the bridges and routers in it take one, seldom two",
    }],
    source: include_str!("header_rewritten.rs"),
};

/// Congestion experienced.
const ECN_CE: u64 = 3;

pub(super) fn observe(scene: &Scene) -> Vec<Claim> {
    let mut claims = Vec::new();
    // The bit says nothing where a hop is unusual.
    let changed = if usual(scene).contains(&1) { has::SYN_CHANGED | has::TTL_CHANGED } else { has::BOTH };
    for direction in Direction::BOTH {
        claims.extend(tos(scene, direction));
        for pair in scene.pairs_with(has::BOTH, changed) {
            claims.extend(options(scene, pair, direction));
            claims.extend(ttl(scene, pair, direction));
        }
    }
    claims
}

fn empty(pair: u32, direction: Direction, scene: &Scene, field: &str) -> Claim {
    let mut claim = Claim::new(SPEC.id, pair, Where::Between, direction);
    claim.severity = Severity::Info;
    claim.protocol = scene.pair(pair).map_or("ip", PairView::protocol_name);
    claim.details.insert("field".into(), field.into());
    claim.reasons = Reasons::default().support(0.9, "the same packet stands at both points with another value");
    claim
}

fn tos(scene: &Scene, direction: Direction) -> Vec<Claim> {
    let mut claims: BTreeMap<u32, Claim> = BTreeMap::new();
    for point in Point::BOTH {
        for event in scene.events(EventKind::TosDiffers, point, direction) {
            let marked = event.a >> 2 == event.b >> 2 && (event.a & 3 == ECN_CE || event.b & 3 == ECN_CE);
            let (field, text) = if marked {
                ("ECN", format!("ECN {} at A, {} at B: marked on the way", event.a & 3, event.b & 3))
            } else if event.a >> 2 == event.b >> 2 {
                ("ECN", format!("ECN {} at A, {} at B", event.a & 3, event.b & 3))
            } else {
                ("DSCP", format!("DSCP {} at A, {} at B", event.a >> 2, event.b >> 2))
            };
            let claim = claims.entry(event.pair).or_insert_with(|| {
                let mut claim = empty(event.pair, direction, scene, field);
                claim.protocol = "ip";
                claim
            });
            claim.packets += 1;
            if claim.evidence.is_empty() {
                claim.details.insert("change".into(), text.clone().into());
                claim.cite(scene, point, event.frame, event.time, text);
            } else {
                claim.frame(scene, point, event.frame, event.time);
            }
            claim.frames.push((point.other(), event.other_frame));
        }
    }
    claims.into_values().collect()
}

fn options(scene: &Scene, pair: &PairView, direction: Direction) -> Option<Claim> {
    let [a, b] = &pair.facts.syn.as_ref()?[direction.index()];
    if !a.seen() || !b.seen() || a.isn != b.isn {
        return None;
    }
    let named = |syn: &SynOptions| [syn.sack_permitted(), syn.window_scale.is_some(), syn.timestamps()];
    let changed: Vec<&str> = ["SACK", "window scale", "timestamps"]
        .into_iter()
        .zip(named(a).into_iter().zip(named(b)))
        .filter(|(_, (at_a, at_b))| at_a != at_b)
        .map(|(name, _)| name)
        .collect();
    let scaled = a.window_scale.zip(b.window_scale).is_some_and(|(a, b)| a != b);
    if changed.is_empty() && !scaled {
        return None;
    }
    let list = if changed.is_empty() { "window scale".to_owned() } else { changed.join(", ") };
    let mut claim = empty(pair.serial, direction, scene, "TCP options");
    let text = format!("the SYN's options differ between A and B: {list}");
    claim.packets = 1;
    claim.details.insert("change".into(), text.clone().into());
    claim.cite(scene, Point::A, a.first.frame, a.first.time, text);
    claim.cite(scene, Point::B, b.first.frame, b.first.time, "the same SYN");
    Some(claim)
}

/// How many hops the TTL may fall by.
fn usual(scene: &Scene) -> RangeInclusive<i32> {
    0..=SPEC.value(scene, "header-rewritten.ttl") as i32
}

fn ttl(scene: &Scene, pair: &PairView, direction: Direction) -> Option<Claim> {
    let (first, last) = (pair.track(direction, direction.entry()), pair.track(direction, direction.exit()));
    // The first packets must be copies of each other: those of a flow that loses none.
    let whole = first.matched == first.packets && last.matched == last.packets && first.packets > 0;
    let fall = i32::from(first.ttl) - i32::from(last.ttl);
    if !whole || usual(scene).contains(&fall) {
        return None;
    }
    let mut claim = empty(pair.serial, direction, scene, "TTL");
    let text = format!("TTL {} on the way in, {} on the way out", first.ttl, last.ttl);
    claim.packets = u64::from(first.packets);
    claim.details.insert("change".into(), text.clone().into());
    let at = |point: Point| pair.facts.first[direction.index()][point.index()];
    let (entry, exit) = (at(direction.entry()), at(direction.exit()));
    claim.cite(scene, direction.entry(), entry.frame, entry.time, text);
    claim.cite(scene, direction.exit(), exit.frame, exit.time, "the same packet");
    Some(claim)
}

pub(super) fn conclude(scene: &Scene, claims: &[Claim]) -> Finding {
    let mut finding = merge(scene, claims);
    let mut changes: BTreeMap<String, u64> = BTreeMap::new();
    for claim in claims {
        if let Some(change) = claim.details.get("change").and_then(|change| change.as_str()) {
            *changes.entry(change.to_owned()).or_default() += claim.packets;
        }
    }
    let way = match finding.direction {
        Directions::Outbound => "outbound",
        Directions::Inbound => "inbound",
        Directions::Both => "both ways",
    };
    let text: Vec<String> =
        changes.iter().take(4).map(|(change, packets)| format!("{change} ({})", counted(*packets, "packet"))).collect();
    let more = changes.len().saturating_sub(4) as u64;
    let rest = if more > 0 { format!(", and {} more", count(more)) } else { String::new() };
    finding.summary = format!("The host rewrites headers, {way}: {}{rest}.", text.join("; "));
    finding.details.insert("changes".into(), changes.into_keys().collect());
    finding.details.remove("change");
    finding.fixes = vec![fix(
        "If it was not meant, find the rule.",
        &["nft list ruleset", "iptables -t mangle -S", "tc filter show dev <uplink>"],
        "The network may depend on it: ask before removing it.",
    )];
    finding
}
