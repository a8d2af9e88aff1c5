//! Packets that were damaged, and where: by what each point shows of them.

use super::SPEC;
use super::leaked::answered;
use crate::detect::text::{count, counted, letter};
use crate::detect::{Claim, PairView, Reasons, Scene};
use crate::facts::{Event, EventKind, Reset, Run, pair_flags};
use crate::packet::row::tcp_flags;
use crate::point::{Direction, Point};
use crate::report::{Directions, Severity, TopologyKind, Where};
use crate::time::{MILLISECOND, SECOND};
use std::collections::{BTreeMap, HashSet};

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

pub(super) fn corrupted(scene: &Scene) -> Vec<Claim> {
    let mut damaged: Vec<Damaged> = Vec::new();
    for direction in Direction::BOTH {
        changed(scene, direction, &mut damaged);
        arrived(scene, direction, &mut damaged);
    }
    for direction in Direction::BOTH {
        alone(scene, direction, &mut damaged);
        exchanged(scene, direction, &mut damaged);
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
pub(super) fn translated(scene: &Scene, pair: &PairView) -> bool {
    let inside = |point: Point| pair.ends(point).map(|(inside, _)| inside.address);
    scene.topology.kind == TopologyKind::Nat && inside(Point::A) != inside(Point::B)
}

/// Wrong at the point where it came in, and at the other as well or not there at all.
fn arrived(scene: &Scene, direction: Direction, damaged: &mut Vec<Damaged>) {
    let place = if direction == Direction::Outbound { Where::Inside } else { Where::Outside };
    for event in scene.events(EventKind::WrongChecksum, direction.entry(), direction) {
        let taken = scene.pair(event.pair).is_some_and(|pair| {
            taken_all_the_same(pair, direction) || event.b == 0 && forwarded_all_the_same(scene, pair, event)
        });
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

/// Whether a packet stands wrong at both points although a host that forwards verifies its header first (RFC 1812, section
/// 5.2.2), and one that translates its transport checksum as well: then the file was edited. Two copies of one capture say
/// nothing of what a host did.
fn forwarded_all_the_same(scene: &Scene, pair: &PairView, event: &Event) -> bool {
    match scene.topology.kind {
        TopologyKind::Nat => event.a == 3 || translated(scene, pair),
        TopologyKind::Route => event.a == 3,
        TopologyKind::SamePoint => true,
        _ => false,
    }
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
        // Where the capture kept parts of packets, its original may have been wrong as well. A host that translates leaves as
        // they are those that it finds wrong itself.
        let (place, proof) = match (scene.presence[entry.index()].cut > 0, untranslated(scene, &event)) {
            (false, _) => (Where::Between, Proof::Changed),
            (true, false) => (Where::Unknown, Proof::Unclear),
            (true, true) => (Where::Inside, Proof::Unclear),
        };
        damaged.push(Damaged { event, direction: way, place, proof, pair, alias: Some(event.pair) });
    }
}

/// Datagrams that nothing but their bytes could tell from others of their flow (no identification, as over IPv6), and whose bytes
/// were changed together with their checksums: one goes in and is lost, it seems, and another one of the same length comes out at
/// that moment.
fn exchanged(scene: &Scene, direction: Direction, damaged: &mut Vec<Damaged>) {
    /// How far apart the two may be at least and at most: forwarding takes microseconds, a queue some milliseconds.
    const APART: (i64, i64) = (MILLISECOND, 20 * MILLISECOND);
    /// How many times as many as chance brings so close together.
    const CHANCE: f64 = 3.0;
    let (entry, exit) = (direction.entry(), direction.exit());
    if Point::BOTH.iter().any(|point| scene.presence[point.index()].cut > 0) {
        return;
    }
    let usual = scene.tally.delays[direction.index()].quantile(0.99).unwrap_or_default();
    let apart = usual.saturating_mul(2).clamp(APART.0, APART.1);
    let least = SPEC.value(scene, "bad-checksum.packets");
    let wrong: HashSet<u32> =
        scene.events(EventKind::WrongChecksum, exit, direction).iter().map(|event| event.frame).collect();
    if Point::BOTH.iter().any(|point| scene.events(EventKind::Unmatched, *point, direction).is_empty()) {
        return;
    }
    for lost in scene.events_by_pair(EventKind::Unmatched, entry, direction) {
        let (Some(first), Some(last)) = (lost.first(), lost.last()) else { continue };
        // Fragments have no checksum that could be right.
        let udp = |pair: &&PairView| pair.both() && pair.is_udp() && pair.facts.flags & pair_flags::FRAGMENTS == 0;
        let Some(pair) = scene.pair(first.pair).filter(udp) else { continue };
        let new = scene.pair_events(EventKind::Unmatched, exit, direction, pair.serial);
        if (lost.len().min(new.len()) as f64) < least {
            continue;
        }
        let time = |point, event: &Event| scene.clock.to_a(point, event.time).0;
        let mut twins: Vec<(&Event, &Event)> = Vec::new();
        let mut rest = new.iter().filter(|event| !wrong.contains(&event.frame)).peekable();
        for event in lost {
            let at = time(entry, event);
            while rest.next_if(|other| time(exit, other) < at - APART.0).is_some() {}
            if let Some(other) = rest.next_if(|other| time(exit, other) <= at + apart && other.size == event.size) {
                twins.push((event, other));
            }
        }
        let lasted = (last.time - first.time).max(SECOND);
        let by_chance = lost.len() as f64 * new.len() as f64 * (apart + APART.0) as f64 / lasted as f64;
        let most = twins.len() * 2 >= lost.len().max(new.len());
        if most && twins.len() as f64 >= least + CHANCE * by_chance {
            damaged.extend(twins.iter().map(|(event, other)| Damaged {
                event: Event { other_frame: event.frame, ..**other },
                direction,
                place: Where::Between,
                proof: Proof::Laundered,
                pair: pair.serial,
                alias: None,
            }));
        }
    }
}

/// Whether a packet left with its inner address although the host translates.
fn untranslated(scene: &Scene, event: &Event) -> bool {
    let sender = || scene.pair(event.pair)?.ends(Point::B);
    let outbound = event.direction == Direction::Outbound as u8;
    scene.topology.kind == TopologyKind::Nat
        && outbound
        && sender().is_some_and(|(inside, _)| scene.inside_network(inside))
}

/// Inbound packets that the host damaged before it looked them up: NAT does not find them, and drops them. What it answers
/// with a reset it has found right, what is lost in a row was not damaged by chance, nor is it chance that nothing of a flow
/// crosses any more.
fn vanished(scene: &Scene, damaged: &mut Vec<Damaged>) {
    if scene.topology.kind != TopologyKind::Nat {
        return;
    }
    /// At a rate of damage of 10 %, five in a row are a matter of 1 in 100,000.
    const IN_A_ROW: u32 = 5;
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
        let pair = scene.pair(event.pair).filter(|pair| pair.both() && (pair.is_tcp() || pair.is_udp()));
        let answered = |reset: &Reset| reset.point == entry && reset.offender.frame == event.frame;
        let in_a_row = |run: &Run| run.count >= IN_A_ROW && (run.first.time..=run.last.time).contains(&event.time);
        let dropped = pair.is_some_and(|pair| {
            let Some(more) = pair.more(direction, entry) else { return false };
            let over = more.run.count > 0 && more.run.first.time <= event.time;
            !over && ![more.run, more.longest].iter().any(in_a_row) && !pair.facts.resets.iter().any(answered)
        });
        event.other_frame == 0 && !reset && dropped
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
    let unclear = place != Where::Between && packets.iter().any(|packet| packet.proof == Proof::Unclear);
    let known = total >= 3 && place != Where::Unknown;
    let wrong = packets.iter().any(|packet| packet.proof != Proof::Laundered);
    Reasons::default()
        .support_if(
            wrong,
            0.6,
            "the checksum does not verify, and it is not the pseudo-header's sum that offload leaves",
        )
        .support_if(changed, 0.8, "the same packet is right where it came in")
        .support_if(
            inferred,
            0.5,
            "it was another packet where it came in, or one that the host translated, as it does with right ones only",
        )
        .support_if(laundered, 0.6, "the payload of the same packet differs between the points")
        .support_if(total >= 3, 0.6, format!("{} of them", counted(total, "packet")))
        .support_if(
            known && place != Where::Between && !unclear,
            0.3,
            "they are wrong at the first point that they pass",
        )
        .support_if(known && unclear, 0.3, "the host did not translate them: it found them wrong when they came in")
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
        Proof::Unclear if event.other_frame == 0 => {
            format!("{layer} wrong; {} kept too little to tell whether it was before", letter(point.other()))
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
