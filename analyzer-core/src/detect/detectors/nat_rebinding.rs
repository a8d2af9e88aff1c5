//! # What it is
//! The address or port under which the outside sees a guest's flow changed in the middle of its life. The far end may take
//! the packets for a stranger's; QUIC must validate the new path first.
//!
//! # In paired captures
//! Set for a flow when all of the following are true:
//! - its datagrams have one inner address and port at A all the time;
//! - at B the same datagrams leave from one outer address and port, and from some packet on from another.
//!
//! The cause is `nat-expired` when the flow had been silent at A for `nat-rebinding.idle` or longer just before, else
//! `unknown`: something removed the translation of a flow in use. The host's own timers (`--sysctl`) replace that time, and
//! its log of connection tracking (`--conntrack`) decides.
//!
//! # Mistaken for it
//! - A migration by the guest: then its inner port changes, too.
//! - A new flow to the same far end: its datagrams are not those of the old one, even if it was given the same outer port.
//!
//! # What to do
//! Keep the translation alive from the guest, or make it live longer; find who flushes it, if the flow was not idle.
//!
//! # References
//! RFC 4787 sections 4.1 and 4.3; RFC 9000 section 9.5.

use crate::detect::census::has;
use crate::detect::claim::{fix, merge};
use crate::detect::text::{counted, duration};
use crate::detect::{Claim, PairView, Reasons, Scene, Spec, Testimony, Threshold};
use crate::point::{Direction, Point};
use crate::report::{Directions, Finding, Severity, Where};
use crate::witness::sysctl::{UDP, UDP_STREAM};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// What this detector says of itself.
pub(super) const SPEC: Spec = Spec {
    id: "nat-rebinding",
    says: "the outer address or port of an inner flow changed mid-life",
    causes: &["nat-expired", "unknown"],
    severity: Severity::Warning,
    thresholds: &[Threshold {
        name: "nat-rebinding.idle",
        unit: "seconds of silence before",
        default: 1.0,
        source: "conntrack counts its timers in whole seconds: no translation expires sooner",
    }],
    source: include_str!("nat_rebinding.rs"),
};

pub(super) fn observe(scene: &Scene) -> Vec<Claim> {
    // The last pair of each chain stands for the flow, so that a flow that moved twice is one flow.
    let mut chains: BTreeMap<u32, Vec<(&PairView, &PairView)>> = BTreeMap::new();
    let mut latest: BTreeMap<u32, u32> = BTreeMap::new();
    for pair in scene.pairs_with(has::MOVED, 0) {
        let Some(former) = pair.successor_of.and_then(|serial| scene.pair(serial)) else { continue };
        // An outer name that another flow was given is no move: to that flow it is the first. Nor is it one where nothing is
        // translated: then the former pair was none.
        if former.a != pair.a || pair.a == pair.b {
            continue;
        }
        let first = latest.get(&former.serial).copied().unwrap_or(former.serial);
        latest.insert(pair.serial, first);
        chains.entry(first).or_default().push((former, pair));
    }
    chains.values().filter_map(|moves| claim(scene, moves)).collect()
}

fn claim(scene: &Scene, moves: &[(&PairView, &PairView)]) -> Option<Claim> {
    let (first, _) = moves.first()?;
    let (_, last) = moves.last()?;
    let mut claim = Claim::new(SPEC.id, last.serial, Where::Between, Directions::Outbound);
    claim.protocol = last.protocol_name();
    let mut idle = i64::MAX;
    let mut mappings = vec![outer(first)?];
    let mut told = Testimony::None;
    for (former, pair) in moves {
        // Silence where the flow kept its name is its own.
        let [kept, changed] = Point::BOTH;
        let last_before = Direction::BOTH.iter().filter_map(|way| former.track(*way, kept).last()).max()?;
        let first_after = Direction::BOTH
            .iter()
            .map(|way| pair.facts.first[way.index()][kept.index()])
            .filter(|stamp| stamp.frame != 0)
            .min()?;
        idle = idle.min(first_after.time.saturating_sub(last_before.time));
        told = scene.witness.at(former, scene.clock.to_a(kept, first_after.time), idle);
        let mapping = outer(pair)?;
        if let Some(stamp) = Direction::BOTH.iter().filter_map(|way| former.track(*way, changed).last()).max() {
            claim.cite(
                scene,
                changed,
                stamp.frame,
                stamp.time,
                format!("the last packet under {}", mappings.last().map_or("", String::as_str)),
            );
        }
        if let Some(stamp) = Direction::BOTH
            .iter()
            .map(|way| pair.facts.first[way.index()][changed.index()])
            .filter(|stamp| stamp.frame != 0)
            .min()
        {
            claim.cite(scene, changed, stamp.frame, stamp.time, format!("the same inner flow, now as {mapping}"));
        }
        claim.cite(scene, kept, first_after.frame, first_after.time, "the same packet before translation");
        mappings.push(mapping);
    }
    let silent = idle as f64 >= SPEC.timer(scene, "nat-rebinding.idle", &[&UDP, &UDP_STREAM]);
    let expired = told.expired().unwrap_or(silent);
    claim.cause = Some(if expired { "nat-expired" } else { "unknown" });
    claim.packets = moves.len() as u64;
    claim.details.insert("idle_before_seconds".into(), json!((idle as f64 / 1e6).round() / 1e3));
    claim.details.insert("mappings".into(), mappings.into());
    let after: u32 = Direction::BOTH.iter().map(|way| last.track(*way, Point::A).matched).sum();
    claim.reasons = Reasons::default()
        .support(0.8, "datagrams with the same content left under one outer name and then under another")
        .support_if(after >= 3, 0.5, format!("{} crossed under the new name", counted(u64::from(after), "packet")))
        .support_if(silent, 0.5, format!("the flow had been silent for {}", duration(idle)));
    told.testify(scene, &mut claim);
    Some(claim)
}

/// The translated end of a flow, at B.
fn outer(pair: &PairView) -> Option<String> {
    let (inside, outside) = pair.ends(Point::B)?;
    let (inner, _) = pair.ends(Point::A)?;
    Some(pair.endpoint(if inside == inner { outside } else { inside }))
}

pub(super) fn conclude(scene: &Scene, claims: &[Claim]) -> Finding {
    let mut finding = merge(scene, claims);
    let idle = claims.iter().map(|claim| claim.number("idle_before_seconds")).fold(f64::MAX, f64::min);
    let mappings: Vec<Value> =
        claims.iter().filter_map(|claim| claim.details.get("mappings").cloned()).take(32).collect();
    let names: Vec<String> = mappings
        .iter()
        .find_map(Value::as_array)
        .map(|list| list.iter().filter_map(Value::as_str).map(str::to_owned).collect())
        .unwrap_or_default();
    finding.details.insert("idle_before_seconds".into(), json!(idle));
    finding.details.insert(
        "mappings".into(),
        if let [only] = mappings.as_slice() { only.clone() } else { Value::Array(mappings.clone()) },
    );
    let example = names.join(", then ");
    finding.summary = if finding.cause == Some("nat-expired") {
        format!(
            "The host gave {} a new outer name after {} of silence, because the old translation had expired ({example}).",
            counted(finding.flow_count, "flow"),
            duration((idle * 1e9) as i64),
        )
    } else {
        format!(
            "The host gave {} a new outer name in mid-life, {} after the last packet under the old one ({example}).",
            counted(finding.flow_count, "flow"),
            duration((idle * 1e9) as i64),
        )
    };
    finding.fixes = if finding.cause == Some("nat-expired") {
        vec![
            fix(
                "Let the guest's application send keep-alives, or let the host remember UDP flows for longer.",
                &[
                    "sysctl -w net.netfilter.nf_conntrack_udp_timeout=300 net.netfilter.nf_conntrack_udp_timeout_stream=600",
                ],
                "Entries that live longer fill the table: watch nf_conntrack_count against nf_conntrack_max.",
            ),
            fix(
                "Let the host keep ports: translate without random ones.",
                &["iptables -t nat -vnL POSTROUTING", "nft list ruleset | grep -n masquerade"],
                "`random` and `fully-random` give a new port each time; an old port that something else has taken is lost anyway.",
            ),
        ]
    } else {
        vec![fix(
            "Find who removes translations of flows in use.",
            &[
                "conntrack -E -e DESTROY,NEW -p udp -o timestamp",
                "journalctl --since -1h | grep -iE 'dhcp|firewall|libvirt|network'",
            ],
            "An entry that somebody deleted is marked with the program's name; one that timed out is not.",
        )]
    };
    finding
}
