//! # What it is
//! Packets with a checksum that is wrong and will not be put right: damaged by hardware, by a driver or on the wire
//! (`corrupted`), or left unfinished by checksum offload on the way out (`partial-leaked`). Receivers drop them silently.
//!
//! # In paired captures
//! Set as `corrupted` when any of the following is true; the place is where the damage happened:
//! - a checksum is right (or still partial) at the point that the packet passes first and wrong at the other: between;
//! - it is right at both points and the payload differs: damage that somebody covered with a new checksum, between;
//! - it is wrong at both points, or wrong at the first one and the packet goes no further: before the first point, which
//!   is inside for outbound packets and outside for inbound ones;
//! - a packet with a wrong checksum stands at the second point alone, and one of the same size at the first point alone
//!   within a tenth of a second: its header was damaged between; if that one is wrong as well, before the first point;
//! - it is wrong at the second point, and the first one kept too little of it (snap length) to verify: between, if some of
//!   its bytes differ or the host translated it, which it does with right checksums only; else it is not known where.
//!
//! Behind NAT the host drops inbound packets that it damaged itself before the second point sees them. When outbound
//! packets are proven to be damaged between, inbound ones that vanish between at a like rate count as well.
//!
//! `bad-checksum.packets` of them or more are an error; fewer are a warning when they were damaged between, else context.
//!
//! Set as `partial-leaked` when all of the following are true:
//! - all packets of a flow's direction carry partial checksums at the point where they leave;
//! - at least `bad-checksum.unanswered` of them, and the far end never answers any;
//! - no packet of the same sender with a partial checksum was ever answered: then the network card does finish them;
//! - they were translated as usual;
//! - traffic with finished checksums is answered, or flows of two protocols are affected.
//!
//! It is also set when the replies of a DHCP server carry partial checksums and the client goes on asking, as clients do
//! that read raw packets.
//!
//! # Mistaken for it
//! - Partial checksums where the network card finishes them: then the far end answers.
//! - Every checksum of a flow is wrong and the far end answers: the capture stands before the checksum is made, or the
//!   file was edited (addresses made anonymous, say).
//! - Superframes, fragments and packets cut by the snap length: their checksum cannot be verified.
//! - The outer UDP checksum of VXLAN and Geneve, wrong in captures with local checksum offload.
//! - A UDP checksum of zero over IPv4: there is none.
//!
//! # What to do
//! Switch the offload off step by step to find the layer that breaks it, then update that driver.
//!
//! # References
//! RFC 1071, RFC 768, RFC 9293 section 3.1; the kernel's checksum-offloads and segmentation-offloads documents.

use crate::detect::claim::{fix, merge};
use crate::detect::text::{count, counted, letter};
use crate::detect::{Claim, PairView, Reasons, Scene, Spec, Threshold, alibi};
use crate::facts::{Event, EventKind, state};
use crate::packet::Checksum;
use crate::packet::row::tcp_flags;
use crate::point::{Direction, Point};
use crate::report::{Directions, Finding, Fix, Severity, TopologyKind, Where};
use crate::time::MILLISECOND;
use std::collections::{BTreeMap, BTreeSet};

/// What this detector says of itself.
pub(super) const SPEC: Spec = Spec {
    id: "bad-checksum",
    says: "a wrong checksum that is a fault",
    causes: &["partial-leaked", "corrupted"],
    severity: Severity::Error,
    thresholds: &[
        Threshold {
            name: "bad-checksum.packets",
            unit: "packets with a wrong checksum",
            default: 3.0,
            source: "one or two may be noise of the line: Ethernet's CRC and TCP's checksum each miss some (Stone and Partridge 2000)",
        },
        Threshold {
            name: "bad-checksum.unanswered",
            unit: "packets with a partial checksum without an answer",
            default: 3.0,
            source: "a first packet and two retries",
        },
    ],
    source: include_str!("bad_checksum.rs"),
};

pub(super) fn observe(scene: &Scene) -> Vec<Claim> {
    let mut claims = corrupted(scene);
    claims.extend(leaked(scene));
    claims.extend(dhcp(scene));
    claims
}

/// How a damaged packet was recognised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Proof {
    /// Right at the first point, wrong at the second.
    Changed,
    /// Right at both, with other bytes.
    Laundered,
    /// Wrong at the first point already.
    Arrived,
    /// Wrong at the second point; the first kept too little of it to verify, but it was another packet there, or one that
    /// the host found right.
    Inferred,
    /// Wrong at the second point, and the first kept too little of it to tell.
    Unclear,
    /// Lost between in a flow whose other direction is being damaged there.
    Vanished,
}

/// A damaged packet.
struct Damaged {
    event: Event,
    direction: Direction,
    place: Where,
    proof: Proof,
    /// The flow that it belongs to.
    pair: u32,
    /// The flow under whose name it left.
    alias: Option<u32>,
}

fn corrupted(scene: &Scene) -> Vec<Claim> {
    let mut damaged: Vec<Damaged> = Vec::new();
    for direction in Direction::BOTH {
        changed(scene, direction, &mut damaged);
        arrived(scene, direction, &mut damaged);
    }
    for direction in Direction::BOTH {
        alone(scene, direction, &mut damaged);
    }
    // Who damaged some damaged the others of their way as well.
    for direction in Direction::BOTH {
        let between = |packet: &Damaged| packet.direction == direction && packet.place == Where::Between;
        if damaged.iter().any(between) {
            let unclear = |packet: &&mut Damaged| packet.direction == direction && packet.proof == Proof::Unclear;
            damaged.iter_mut().filter(unclear).for_each(|packet| packet.place = Where::Between);
        }
    }
    vanished(scene, &mut damaged);
    let mut claims = Vec::new();
    for place in [Where::Inside, Where::Between, Where::Outside, Where::Unknown] {
        let here: Vec<&Damaged> = damaged.iter().filter(|packet| packet.place == place).collect();
        claims.extend(claims_of(scene, place, &here));
    }
    claims
}

/// Wrong at the point where it leaves and not where it came in; or right at both with other bytes.
fn changed(scene: &Scene, direction: Direction, damaged: &mut Vec<Damaged>) {
    let mut add = |event: Event, proof| {
        let place = if proof == Proof::Unclear { Where::Unknown } else { Where::Between };
        damaged.push(Damaged { event, direction, place, proof, pair: event.pair, alias: None });
    };
    for event in scene.events(EventKind::WrongChecksum, direction.exit(), direction) {
        match event.b {
            1 | 2 => add(*event, Proof::Changed),
            5 => add(*event, Proof::Inferred),
            4 if scene.pair(event.pair).is_some_and(|pair| translated(scene, pair)) => add(*event, Proof::Inferred),
            4 => add(*event, Proof::Unclear),
            _ => {}
        }
    }
    for point in Point::BOTH {
        for event in scene.events(EventKind::PayloadDiffers, point, direction).iter().copied() {
            add(event, Proof::Laundered);
        }
    }
}

/// Whether the host translated a flow's packets. It verifies checksums before it does (`nf_conntrack_checksum`), and lets
/// what is damaged pass as it is, or drops it.
fn translated(scene: &Scene, pair: &PairView) -> bool {
    let inside = |point: Point| pair.ends(point).map(|(inside, _)| inside.address);
    scene.topology.kind == TopologyKind::Nat && inside(Point::A) != inside(Point::B)
}

/// Wrong at the point where it came in, and at the other as well or not there at all.
fn arrived(scene: &Scene, direction: Direction, damaged: &mut Vec<Damaged>) {
    let place = if direction == Direction::Outbound { Where::Inside } else { Where::Outside };
    for event in scene.events(EventKind::WrongChecksum, direction.entry(), direction) {
        let taken = scene.pair(event.pair).is_some_and(|pair| taken_all_the_same(pair, direction));
        if matches!(event.b, 0 | 3 | 4) && !taken {
            damaged.push(Damaged {
                event: *event,
                direction,
                place,
                proof: Proof::Arrived,
                pair: event.pair,
                alias: None,
            });
        }
    }
}

/// Whether every packet of a direction is wrong and the far end answers them: then the capture stands before the checksum
/// is made, or the file was edited afterwards.
fn taken_all_the_same(pair: &PairView, direction: Direction) -> bool {
    let entry = direction.entry();
    let wrong = pair.more(direction, entry).map_or(0, |more| more.wrong);
    wrong > 0 && wrong == pair.track(direction, entry).packets && answered(pair, direction)
}

/// Wrong, and seen at the point where it leaves only: its header changed, or NAT would not touch it.
fn alone(scene: &Scene, direction: Direction, damaged: &mut Vec<Damaged>) {
    /// How far its original may be away in time.
    const NEAR: i64 = 100 * MILLISECOND;
    let exit = direction.exit();
    let lonely: Vec<Event> =
        scene.events(EventKind::WrongChecksum, exit, direction).iter().copied().filter(|event| event.b == 3).collect();
    if lonely.is_empty() {
        return;
    }
    let near = |one: &Event, other: &Event| {
        let (here, there) = (scene.clock.to_a(exit, one.time), scene.clock.to_a(exit.other(), other.time));
        one.size == other.size && here.0.abs_diff(there.0) <= NEAR as u64
    };
    let entry = exit.other();
    // A damaged address may have turned the direction as well.
    let originals: Vec<(Direction, Event)> = Direction::BOTH
        .into_iter()
        .flat_map(|way| scene.events(EventKind::Unmatched, entry, way).iter().copied().map(move |event| (way, event)))
        .collect();
    let wrong_before: Vec<Event> = Direction::BOTH
        .into_iter()
        .flat_map(|way| scene.events(EventKind::WrongChecksum, entry, way).iter().copied())
        .filter(|event| event.b == 3)
        .collect();
    for event in lonely {
        if let Some(before) = wrong_before.iter().find(|before| near(&event, before)) {
            // The same damaged packet, which NAT let through untranslated: it is counted where it came in.
            if let Some(same) = damaged.iter_mut().find(|same| same.event == *before) {
                same.alias = Some(event.pair);
            }
            continue;
        }
        let original = originals.iter().find(|(_, original)| near(&event, original));
        let paired = scene.pair(event.pair).is_some_and(PairView::both);
        if original.is_none() && !paired {
            continue;
        }
        let (way, pair) = original.map_or((direction, event.pair), |(way, original)| (*way, original.pair));
        let alias = Some(event.pair);
        damaged.push(Damaged { event, direction: way, place: Where::Between, proof: Proof::Changed, pair, alias });
    }
}

/// Inbound packets that the host damaged before it looked them up: NAT does not find them, and drops them.
fn vanished(scene: &Scene, damaged: &mut Vec<Damaged>) {
    if scene.topology.kind != TopologyKind::Nat {
        return;
    }
    /// How many times the rate proven the other way is still the same fault: small counts scatter.
    const LIKE_RATE: f64 = 5.0;
    let proven = damaged
        .iter()
        .filter(|packet| packet.place == Where::Between && packet.direction == Direction::Outbound)
        .count();
    let direction = Direction::Inbound;
    let entry = direction.entry();
    let mut lost = scene.events(EventKind::Unmatched, entry, direction).to_vec();
    lost.retain(|event| {
        let reset = event.protocol == 6 && event.flags & tcp_flags::RST != 0;
        let translated = scene.pair(event.pair).is_some_and(|pair| pair.both() && (pair.is_tcp() || pair.is_udp()));
        event.other_frame == 0 && !reset && translated
    });
    let share = |part: usize, direction: Direction| {
        part as f64 / scene.tally.packets(direction, direction.entry()).max(1) as f64
    };
    if share(lost.len(), direction) > LIKE_RATE * share(proven, Direction::Outbound) {
        return;
    }
    for event in lost {
        let pair = event.pair;
        damaged.push(Damaged { event, direction, place: Where::Between, proof: Proof::Vanished, pair, alias: None });
    }
}

fn claims_of(scene: &Scene, place: Where, packets: &[&Damaged]) -> Vec<Claim> {
    let total = packets.len() as u64;
    let many = total as f64 >= SPEC.value(scene, "bad-checksum.packets");
    let severity = match (many, place) {
        (true, _) => Severity::Error,
        (false, Where::Between) => Severity::Warning,
        _ => Severity::Info,
    };
    let one_way = packets.iter().all(|packet| packet.direction == packets[0].direction);
    let names: Vec<&str> =
        packets.iter().filter_map(|packet| scene.pair(packet.pair)).map(PairView::protocol_name).collect();
    let protocol = if names.windows(2).all(|two| two[0] == two[1]) { names.first().copied() } else { None };
    let mut by_pair: BTreeMap<u32, Vec<&Damaged>> = BTreeMap::new();
    for packet in packets {
        by_pair.entry(packet.pair).or_default().push(packet);
    }
    let mut claims = Vec::new();
    for (pair, packets) in by_pair {
        let direction = if one_way { packets[0].direction.into() } else { Directions::Both };
        let mut claim = Claim::new(SPEC.id, pair, place, direction);
        // The same packet may stand under another name beyond the host.
        claim.flows.extend(packets.iter().filter_map(|packet| packet.alias).filter(|other| *other != pair));
        claim.severity = severity;
        claim.cause = Some("corrupted");
        claim.protocol = protocol.unwrap_or("ip");
        claim.packets = packets.len() as u64;
        for packet in &packets {
            cite(scene, &mut claim, packet);
        }
        let counted_as = |proof: Proof| packets.iter().filter(|packet| packet.proof == proof).count() as u64;
        for (name, proof) in [
            ("changed", Proof::Changed),
            ("laundered", Proof::Laundered),
            ("arrived", Proof::Arrived),
            ("inferred", Proof::Inferred),
            ("unclear", Proof::Unclear),
            ("vanished", Proof::Vanished),
        ] {
            claim.details.insert(name.into(), counted_as(proof).into());
        }
        let ip_layer = packets.iter().filter(|packet| packet.event.a == 3 && packet.proof != Proof::Laundered).count();
        claim.details.insert("ip_layer".into(), ip_layer.into());
        claim.reasons = reasons(place, total, counted_as(Proof::Vanished), &packets);
        claims.push(claim);
    }
    claims
}

fn reasons(place: Where, total: u64, vanished: u64, packets: &[&Damaged]) -> Reasons {
    let changed = packets.iter().any(|packet| packet.proof == Proof::Changed && packet.event.other_frame != 0);
    let laundered = packets.iter().any(|packet| packet.proof == Proof::Laundered);
    let inferred = packets.iter().any(|packet| packet.proof == Proof::Inferred);
    let known = total >= 3 && place != Where::Unknown;
    Reasons::default()
        .support(0.6, "the checksum does not verify, and it is not the pseudo-header's sum that offload leaves")
        .support_if(changed, 0.8, "the same packet is right where it came in")
        .support_if(
            inferred,
            0.5,
            "it was another packet where it came in, or one that the host translated, as it does with right ones only",
        )
        .support_if(laundered, 0.6, "the payload of the same packet differs between the points")
        .support_if(total >= 3, 0.6, format!("{} of them", counted(total, "packet")))
        .support_if(known && place != Where::Between, 0.3, "they are wrong at the first point that they pass")
        .contradict_if(
            place == Where::Unknown,
            0.2,
            "the capture where they came in kept too little to tell who damaged them",
        )
        .contradict_if(vanished > 0, 0.05, format!("{} of them were not seen damaged, only lost", count(vanished)))
}

fn cite(scene: &Scene, claim: &mut Claim, packet: &Damaged) {
    let event = &packet.event;
    let point = Point::BOTH[usize::from(event.point & 1)];
    let layer = if event.a == 3 { "IP header checksum" } else { "checksum" };
    let note = match packet.proof {
        Proof::Changed if event.other_frame == 0 => {
            format!("{layer} wrong; not the packet that {} shows", letter(point.other()))
        }
        Proof::Changed if event.b == 2 => {
            format!(
                "{layer} wrong; at {} frame {} has it partial, as offload leaves it",
                letter(point.other()),
                event.other_frame
            )
        }
        Proof::Changed => {
            format!("{layer} wrong; at {} frame {} has it right", letter(point.other()), event.other_frame)
        }
        Proof::Laundered => {
            format!(
                "payload differs from frame {} at {}, though both checksums are right",
                event.other_frame,
                letter(point.other())
            )
        }
        Proof::Arrived if event.other_frame == 0 => format!("{layer} wrong on arrival; goes no further"),
        Proof::Arrived if event.b == 4 => {
            format!("{layer} wrong on arrival; at {} frame {} was cut", letter(point.other()), event.other_frame)
        }
        Proof::Inferred if event.b == 5 => {
            format!("{layer} wrong; at {} frame {} has other bytes", letter(point.other()), event.other_frame)
        }
        Proof::Inferred | Proof::Unclear => {
            format!("{layer} wrong; at {} frame {} was cut", letter(point.other()), event.other_frame)
        }
        Proof::Arrived => format!("{layer} wrong on arrival, and still at {}", letter(point.other())),
        Proof::Vanished => format!("right here, and never reaches {}", letter(point.other())),
    };
    claim.cite(scene, point, event.frame, event.time, note);
    if event.other_frame != 0 {
        claim.frames.push((point.other(), event.other_frame));
    }
}

/// Whether a flow's direction carries partial checksums alone where it leaves, and nothing came back.
fn unfinished(pair: &PairView, direction: Direction) -> bool {
    let exit = pair.track(direction, direction.exit());
    exit.has(state::PARTIAL) && !exit.has(state::RIGHT)
}

fn answered(pair: &PairView, direction: Direction) -> bool {
    Point::BOTH.iter().any(|point| pair.track(direction.reverse(), *point).packets > 0)
}

/// Partial checksums that nobody finished.
fn leaked(scene: &Scene) -> Vec<Claim> {
    let direction = Direction::Outbound;
    let sender = |pair: &PairView| pair.ends(Point::A).map(|(inside, _)| inside.address);
    // What leaves untranslated gets no answer whatever its checksum.
    let as_usual = |pair: &PairView| scene.topology.kind != TopologyKind::Nat || translated(scene, pair);
    // What goes to a group wants no answer, not in the group's name at least.
    let single = |pair: &&PairView| !alibi::never_forwarded(pair.inner_ends().1.ip());
    let paired = || scene.pairs.iter().filter(|pair| pair.both()).filter(single);
    let least = SPEC.value(scene, "bad-checksum.unanswered");
    let mut suspects: Vec<&PairView> = paired()
        .filter(|pair| unfinished(pair, direction) && !answered(pair, direction) && as_usual(pair))
        .filter(|pair| f64::from(pair.track(direction, Point::B).packets) >= least)
        .collect();
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
fn dhcp(scene: &Scene) -> Vec<Claim> {
    const DISCOVER: usize = 1;
    const OFFER: usize = 2;
    const REQUEST: usize = 3;
    let sent = |kind: usize| -> u32 {
        scene.pairs.iter().filter_map(|pair| Some(pair.facts.dhcp.as_ref()?[Point::A.index()][kind])).sum()
    };
    let (discovers, requests) = (sent(DISCOVER), sent(REQUEST));
    if discovers < 3 || requests > 0 {
        return Vec::new();
    }
    let mut claims = Vec::new();
    for pair in &scene.pairs {
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

pub(super) fn conclude(scene: &Scene, claims: &[Claim]) -> Finding {
    let mut finding = merge(scene, claims);
    let sum = |name: &str| claims.iter().map(|claim| claim.number(name)).sum::<f64>() as u64;
    let dhcp = claims.iter().any(|claim| claim.details.contains_key("dhcp"));
    if finding.cause == Some("partial-leaked") {
        finding.details.insert("layer".into(), "transport".into());
        finding.summary = if dhcp {
            format!(
                "The host answers DHCP with partial checksums, which the client refuses: {} offers for {} requests, and it \
                 never takes one up.",
                count(finding.packet_count),
                count(claims[0].number("dhcp_discovers") as u64),
            )
        } else {
            format!(
                "The host lets {} leave without finishing their checksums on {}, and nobody answers any of them.",
                counted(finding.packet_count, "packet"),
                counted(finding.flow_count, "flow"),
            )
        };
        finding.fixes = leak_fixes(dhcp);
        return finding;
    }
    let (laundered, vanished, ip_layer) = (sum("laundered"), sum("vanished"), sum("ip_layer"));
    let total = finding.packet_count;
    let layer = if laundered * 2 > total {
        "payload"
    } else if ip_layer * 2 > total {
        "ip"
    } else {
        "transport"
    };
    let cut = sum("inferred") + sum("unclear");
    for name in ["changed", "arrived", "inferred", "unclear"] {
        finding.details.remove(name);
    }
    finding.details.remove("ip_layer");
    finding.details.insert("layer".into(), layer.into());
    finding.details.insert("laundered".into(), laundered.into());
    finding.details.insert("vanished".into(), vanished.into());
    finding.summary = summary(scene, &finding, [laundered, vanished, cut], ip_layer);
    finding.fixes = corruption_fixes(finding.place);
    finding
}

fn summary(scene: &Scene, finding: &Finding, [laundered, vanished, cut]: [u64; 3], ip_layer: u64) -> String {
    let total = finding.packet_count;
    let seen = total - laundered - vanished - cut;
    let cut_on_the_way_in = cut > 0;
    let whole = |direction: Direction| {
        [Checksum::Right, Checksum::Partial, Checksum::Wrong]
            .iter()
            .map(|class| scene.tally.checksums(direction, direction.entry(), *class))
            .sum::<u64>()
    };
    let at_exit = |direction: Direction| scene.tally.packets(direction, direction.exit());
    let seen_of = |direction| if cut_on_the_way_in { at_exit(direction) } else { whole(direction) };
    // Behind a damaged IP header no other checksum is looked at.
    let headers = if cut_on_the_way_in { 0 } else { ip_layer };
    let of = headers
        + match finding.direction {
            Directions::Outbound => seen_of(Direction::Outbound),
            Directions::Inbound => seen_of(Direction::Inbound),
            Directions::Both => seen_of(Direction::Outbound) + seen_of(Direction::Inbound),
        };
    match finding.place {
        Where::Between => {
            let mut parts = Vec::new();
            if seen > 0 {
                parts.push(format!(
                    "{} with a checksum that was right on the way in and is wrong on the way out",
                    counted(seen, "packet")
                ));
            }
            if cut > 0 {
                parts.push(format!(
                    "{} with a wrong checksum on the way out, cut where they came in",
                    counted(cut, "packet")
                ));
            }
            if laundered > 0 {
                parts.push(format!("{} with other payload under a right checksum", counted(laundered, "packet")));
            }
            if vanished > 0 {
                parts.push(format!(
                    "{} the host lost on the way in, as NAT does with damaged ones",
                    counted(vanished, "packet")
                ));
            }
            format!("The host damages packets, {} of {}: {}.", count(total), count(of), parts.join(", "))
        }
        Where::Inside => format!(
            "The guest sends packets that are damaged before they reach A: {} of {} have a wrong checksum there.",
            count(total),
            counted(of, "packet")
        ),
        Where::Unknown => format!(
            "{} of {} have a wrong checksum where they leave the host; the other capture kept too little of them to tell \
             whether they had it when they came.",
            count(total),
            counted(of, "packet")
        ),
        Where::Outside => format!(
            "Packets arrive damaged from outside: {} of {} have a wrong checksum at B already.",
            count(total),
            counted(of, "packet")
        ),
    }
}

fn leak_fixes(dhcp: bool) -> Vec<Fix> {
    if dhcp {
        return vec![
            fix(
                "Let the host finish the checksums of its DHCP replies.",
                &[
                    "ethtool -K virbr0 tx off",
                    "iptables -t mangle -A POSTROUTING -o virbr0 -p udp --dport 68 -j CHECKSUM --checksum-fill",
                ],
                "One of the two. nftables has no CHECKSUM target: switch the offload off there.",
            ),
            fix(
                "Update the guest's DHCP client or its network driver.",
                &[],
                "Clients that ask the kernel whether a checksum is finished (PACKET_AUXDATA) are not affected.",
            ),
        ];
    }
    vec![
        fix(
            "Switch checksum offload off where the packets leave.",
            &["ethtool -K <uplink> tx off"],
            "Costs CPU time, and TSO with it. If it helps, the card's driver (or a tunnel on it) does not finish checksums: update it.",
        ),
        fix("Or in the guest.", &["ethtool -K eth0 tx off tso off gso off"], "In the guest; the same cost there."),
    ]
}

fn corruption_fixes(place: Where) -> Vec<Fix> {
    let counters = fix(
        "Watch the counters of damaged packets while it happens.",
        &[
            "nstat -az | grep -iE 'csum|InErrors|HdrErrors'",
            "ethtool -S <uplink> | grep -iE 'err|crc|csum'",
            "conntrack -S",
        ],
        "Read them twice: only what grows matters.",
    );
    let first = match place {
        Where::Inside => fix(
            "Switch offload off in the guest, one kind at a time.",
            &["ethtool -K eth0 tx off tso off gso off"],
            "In the guest. Costs CPU time. If it helps, update the guest's network driver (virtio, vhost).",
        ),
        Where::Between => fix(
            "Switch offload off on the host, one interface at a time.",
            &["ethtool -K virbr0 tx off", "ethtool -K <uplink> rx off tx off tso off gso off gro off"],
            "Costs CPU time. If nothing changes, suspect memory or a driver: test another card or kernel.",
        ),
        Where::Unknown => fix(
            "Capture whole packets at both points.",
            &["tcpdump -s 0 -i virbr0 -w a.pcap", "tcpdump -s 0 -i <uplink> -w b.pcap"],
            "Only a checksum that can be verified where the packets come in tells whether the host damages them.",
        ),
        Where::Outside => fix(
            "Test the cable, the switch port and the far end.",
            &["ethtool <uplink>", "ethtool -S <uplink> | grep -iE 'crc|symbol|align'"],
            "Damage before the uplink is not the host's doing.",
        ),
    };
    vec![first, counters]
}
