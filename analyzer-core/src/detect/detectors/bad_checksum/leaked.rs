//! Checksums that offload left unfinished and nobody finished.

use super::SPEC;
use super::corrupted::translated;
use crate::detect::census::has;
use crate::detect::text::counted;
use crate::detect::{Claim, PairView, Reasons, Scene, alibi};
use crate::facts::state;
use crate::point::{Direction, Point};
use crate::report::{Severity, TopologyKind, Where};
use std::collections::BTreeSet;

/// Whether a flow's direction carries partial checksums alone where it leaves, and nothing came back.
fn unfinished(pair: &PairView, direction: Direction) -> bool {
    let exit = pair.track(direction, direction.exit());
    exit.has(state::PARTIAL) && !exit.has(state::RIGHT)
}

pub(super) fn answered(pair: &PairView, direction: Direction) -> bool {
    Point::BOTH.iter().any(|point| pair.track(direction.reverse(), *point).packets > 0)
}

/// Partial checksums that nobody finished.
pub(super) fn leaked(scene: &Scene) -> Vec<Claim> {
    let direction = Direction::Outbound;
    let sender = |pair: &PairView| pair.ends(Point::A).map(|(inside, _)| inside.address);
    // What leaves untranslated gets no answer whatever its checksum.
    let as_usual = |pair: &PairView| scene.topology.kind != TopologyKind::Nat || translated(scene, pair);
    // What goes to a group wants no answer, not in the group's name at least.
    let single = |pair: &&PairView| !alibi::never_forwarded(pair.inner_ends().1.ip());
    let paired = || scene.pairs.iter().filter(|pair| pair.both()).filter(single);
    let least = SPEC.value(scene, "bad-checksum.unanswered");
    let mut suspects: Vec<&PairView> = scene
        .pairs_with(has::BOTH | has::way(has::OFFLOAD, direction), 0)
        .filter(single)
        .filter(|pair| unfinished(pair, direction) && !answered(pair, direction) && as_usual(pair))
        .filter(|pair| f64::from(pair.track(direction, Point::B).packets) >= least)
        .collect();
    if suspects.is_empty() {
        return Vec::new();
    }
    // A single answer to a partial checksum acquits the card for all that this sender sends.
    let acquitted: BTreeSet<Option<u128>> = paired()
        .filter(|pair| pair.track(direction, Point::B).has(state::PARTIAL) && answered(pair, direction))
        .map(sender)
        .collect();
    suspects.retain(|suspect| !acquitted.contains(&sender(suspect)));
    let finished_answered = paired()
        .filter(|pair| !pair.track(direction, Point::B).has(state::PARTIAL) && answered(pair, direction))
        .count() as u64;
    let partial_answered =
        paired().any(|pair| pair.track(direction, Point::B).has(state::PARTIAL) && answered(pair, direction));
    let mut names: Vec<&str> = suspects.iter().map(|pair| pair.protocol_name()).collect();
    names.sort_unstable();
    names.dedup();
    if names.is_empty() || (names.len() < 2 && finished_answered == 0) {
        return Vec::new();
    }
    let affected = suspects.len() as u64;
    let protocol = if names.len() == 1 { names[0] } else { "ip" };
    suspects
        .into_iter()
        .map(|pair| {
            let track = pair.track(direction, Point::B);
            let mut claim = Claim::new(SPEC.id, pair.serial, Where::Between, direction);
            claim.severity = Severity::Error;
            claim.cause = Some("partial-leaked");
            claim.protocol = protocol;
            claim.packets = u64::from(track.packets);
            let first = pair.facts.first[direction.index()][Point::B.index()];
            claim.cite(scene, Point::B, first.frame, first.time, "leaves with a partial checksum");
            if track.packets > 1 {
                let note = format!("the last of {}, none answered", counted(u64::from(track.packets), "packet"));
                claim.cite(scene, Point::B, track.last_frame, track.last_time, note);
            }
            let inner = pair.facts.first[direction.index()][Point::A.index()];
            claim.cite(scene, Point::A, inner.frame, inner.time, "the same packet inside");
            claim.reasons = Reasons::default()
                .support(0.6, "every packet leaves with a partial checksum, and none was ever answered")
                .support_if(
                    finished_answered > 0,
                    0.7,
                    counted(finished_answered, "flow") + " with finished checksums got answers",
                )
                .support_if(affected > 1, 0.4, counted(affected, "flow") + " with partial checksums, all unanswered")
                .support_if(track.packets >= 10, 0.3, "ten packets or more")
                .contradict_if(finished_answered == 0, 0.1, "no other traffic shows that the far end was alive")
                .contradict_if(partial_answered, 0.2, "another sender's partial checksums were answered");
            claim
        })
        .collect()
}

/// DHCP replies with partial checksums, which clients that read raw packets refuse.
pub(super) fn dhcp(scene: &Scene) -> Vec<Claim> {
    const DISCOVER: usize = 1;
    const OFFER: usize = 2;
    const REQUEST: usize = 3;
    let sent = |kind: usize| -> u32 {
        scene.pairs_with(has::DHCP, 0).filter_map(|pair| Some(pair.facts.dhcp.as_ref()?[Point::A.index()][kind])).sum()
    };
    let (discovers, requests) = (sent(DISCOVER), sent(REQUEST));
    if discovers < 3 || requests > 0 {
        return Vec::new();
    }
    let mut claims = Vec::new();
    for pair in scene.pairs_with(has::DHCP, 0) {
        let Some(messages) = &pair.facts.dhcp else { continue };
        let offers = messages[Point::A.index()][OFFER];
        let Some(direction) = Direction::BOTH.into_iter().find(|direction| {
            let track = pair.track(*direction, Point::A);
            track.has(state::PARTIAL) && !track.has(state::RIGHT)
        }) else {
            continue;
        };
        if offers < 3 {
            continue;
        }
        let mut claim = Claim::new(SPEC.id, pair.serial, Where::Between, Direction::Inbound);
        claim.severity = Severity::Error;
        claim.cause = Some("partial-leaked");
        claim.protocol = "udp";
        claim.packets = u64::from(offers);
        let first = pair.facts.first[direction.index()][Point::A.index()];
        claim.cite(scene, Point::A, first.frame, first.time, "DHCP offer with a partial checksum");
        let track = pair.track(direction, Point::A);
        let note = format!("still offering, {offers} offers in all, and the client never requests");
        claim.cite(scene, Point::A, track.last_frame, track.last_time, note);
        claim.details.insert("dhcp".into(), true.into());
        claim.details.insert("dhcp_discovers".into(), discovers.into());
        claim.reasons = Reasons::default()
            .support(0.6, format!("{discovers} requests for offers, {offers} offers with partial checksums"))
            .support(0.5, "the client never takes one up");
        claims.push(claim);
    }
    claims
}
