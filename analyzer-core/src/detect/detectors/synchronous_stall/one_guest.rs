//! One guest of several that stands still: the point as a whole is not silent, so its flows are asked one by one.

use super::{BURST, SPEC, during, silent_for};
use crate::detect::census::has;
use crate::detect::text::{counted, duration};
use crate::detect::{Claim, PairView, Reasons, Scene};
use crate::facts::{EventKind, Stamp};
use crate::packet::Family;
use crate::point::{Direction, Point};
use crate::report::{Severity, Where};
use crate::time::{SECOND, Time};
use serde_json::json;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// The share of a guest's flows, three of five, that must have been silent: by its pace alone a flow that went silent by itself
/// seems to have spoken, but not half of them and more.
const MOST: (usize, usize) = (3, 5);

/// A time, in A's clock, in which a flow was silent although something was due.
struct Span<'a> {
    pair: &'a PairView<'a>,
    from: i64,
    /// The first packet after it.
    to: Stamp,
    /// The same bytes came several times at once after it.
    held: bool,
    /// The peer repeated segments into it.
    repeated: bool,
}

impl Span<'_> {
    fn proven(&self) -> bool {
        self.held || self.repeated
    }
}

/// Fewest flows of which something proves that it was due.
const PROVEN: usize = 2;

pub(super) fn observe(scene: &Scene) -> Vec<Claim> {
    let shortest = (SPEC.value(scene, "synchronous-stall.seconds") * SECOND as f64) as i64;
    let speaks =
        |pair: &&PairView| pair.family() != Family::Link && pair.track(Direction::Outbound, Point::A).packets > 1;
    let guest = |pair: &PairView| pair.inner_ends().0.ip();
    // Few flows are silent so, beside very many that are not.
    let mut silent: BTreeMap<IpAddr, Vec<Span>> = BTreeMap::new();
    for pair in scene.pairs_with(has::BOTH, has::PAUSES).filter(speaks) {
        let spans = spans(scene, pair, shortest);
        if !spans.is_empty() {
            silent.entry(guest(pair)).or_default().extend(spans);
        }
    }
    silent.retain(|_, spans| spans.iter().filter(|span| span.proven()).count() >= PROVEN);
    if silent.is_empty() {
        return Vec::new();
    }
    let mut guests: BTreeMap<IpAddr, Vec<&PairView>> = BTreeMap::new();
    for pair in scene.pairs_with(has::BOTH, 0).filter(speaks) {
        guests.entry(guest(pair)).or_default().push(pair);
    }
    if guests.len() < 2 {
        return Vec::new();
    }
    let stalls = |(guest, spans): (IpAddr, _)| stalls(scene, guest, &guests[&guest], spans, shortest);
    silent.into_iter().flat_map(stalls).collect()
}

/// Silences of a flow's outbound direction at A that TCP notices.
fn spans<'a>(scene: &Scene, pair: &'a PairView<'a>, shortest: i64) -> Vec<Span<'a>> {
    let heard = pair.facts.pauses.iter().copied();
    let held = pair.more(Direction::Outbound, Point::A).map_or(&[][..], |more| &more.held);
    let deaf = held.iter().map(|(first, silence)| (first.time - silence, *first));
    let mut spans: Vec<Span> = heard
        .chain(deaf)
        .filter(|(from, to)| to.time - from >= shortest)
        .map(|(from, to)| {
            let held = held.iter().any(|(first, _)| (first.time - to.time).abs() <= BURST);
            let mut repeats =
                scene.pair_events(EventKind::LostBeyond, Point::B, Direction::Inbound, pair.serial).iter();
            let repeated = repeats.any(|event| (from..=to.time).contains(&scene.clock.to_a(Point::B, event.time).0));
            Span { pair, from, to, held, repeated }
        })
        .collect();
    // A silence of both directions may be in both lists: the one that names its first packet stands for it.
    spans.sort_by_key(|span| (span.to.time, span.from));
    spans.dedup_by(|later, earlier| later.to.time - earlier.to.time <= BURST);
    spans
}

/// Times at which the flows of a guest resume together.
fn stalls(scene: &Scene, guest: IpAddr, flows: &[&PairView], mut all: Vec<Span>, shortest: i64) -> Vec<Claim> {
    all.sort_by_key(|span| (span.to.time, span.pair.serial));
    let mut claims: Vec<Claim> = Vec::new();
    let mut rest = &all[..];
    while let Some(first) = rest.first() {
        let together = rest.partition_point(|span| span.to.time - first.to.time <= BURST);
        let (members, later) = rest.split_at(together);
        claims.extend(judge(scene, guest, flows, members, shortest));
        rest = later;
    }
    claims
}

fn judge(scene: &Scene, guest: IpAddr, flows: &[&PairView], members: &[Span], shortest: i64) -> Option<Claim> {
    let from = members.iter().map(|span| span.from).max()?;
    let to = members.iter().map(|span| span.to).min()?;
    let length = to.time - from;
    let proven = members.iter().filter(|span| span.proven()).count();
    let held = members.iter().filter(|span| span.held).count();
    // What came at once afterwards had been held back. Without it the far ends must have repeated in vain in every flow.
    if length < shortest || proven < PROVEN || (held == 0 && proven < members.len()) {
        return None;
    }
    if (members.len() as f64) < SPEC.value(scene, "synchronous-stall.flows") {
        return None;
    }
    // Flows that had packets before and after and are not known to have been silent, but by their pace should have spoken.
    let others = flows.iter().filter(|pair| !members.iter().any(|span| span.pair.serial == pair.serial));
    let spoke = others.filter(|pair| due(pair, from, to.time, length)).count();
    if members.len() * MOST.1 < (members.len() + spoke) * MOST.0 {
        return None;
    }
    // The others spoke, so the point was not silent; and B has nothing from or to this guest that A lacks.
    let asleep = silent_for(scene, Point::A, Direction::Outbound, Time(from), Time(to.time));
    let missed = members.iter().any(|span| {
        let events = |way| scene.pair_events(EventKind::Unmatched, Point::B, way, span.pair.serial).iter();
        let mut both = Direction::BOTH.into_iter().flat_map(events);
        both.any(|event| (from..=to.time).contains(&scene.clock.to_a(Point::B, event.time).0))
    });
    if asleep || missed {
        return None;
    }
    let mut claim = Claim::new(SPEC.id, members[0].pair.serial, Where::Inside, Direction::Outbound);
    claim.flows = members.iter().map(|span| span.pair.serial).collect();
    claim.severity = Severity::Error;
    claim.protocol = if members.iter().all(|span| span.pair.is_tcp()) { "tcp" } else { "ip" };
    claim.packets = members.len() as u64;
    for span in members {
        let note = if span.held {
            "the first repetition after the silence; another follows at once: they had been held back"
        } else {
            "the first packet after the silence"
        };
        claim.cite(scene, Point::A, span.to.frame, span.to.time, note);
    }
    for event in during(scene, Direction::Inbound, Time(from), Time(to.time)) {
        if claim.flows.contains(&event.pair) {
            claim.cite(scene, Point::B, event.frame, event.time, "repeated into the silence");
        }
    }
    (claim.first, claim.last) = (Time(from), Time(to.time));
    claim.details.insert("guest".into(), guest.to_string().into());
    claim.details.insert("duration_seconds".into(), json!((length as f64 / 1e6).round() / 1e3));
    let repeated = members.iter().filter(|span| span.repeated).count() as u64;
    let number = counted(members.len() as u64, "flow");
    claim.reasons = Reasons::default()
        .support(0.5, format!("nothing of {number} of {guest} passed A for {}, while others spoke", duration(length)))
        .support_if(
            held > 0,
            0.7,
            format!(
                "in {} the same bytes came several times at once afterwards: they had been held back",
                counted(held as u64, "flow")
            ),
        )
        .support(0.4, format!("{number} went on within {}", duration(BURST)))
        .support_if(
            repeated > 0,
            0.7,
            format!("the far ends repeated segments meanwhile in {}", counted(repeated, "flow")),
        )
        .contradict_if(spoke > 0, 0.2, format!("{} of it may have spoken meanwhile", counted(spoke as u64, "flow")));
    Some(claim)
}

/// Whether a flow was alive before and after a time and would by its pace have spoken in it.
fn due(pair: &PairView, from: i64, to: i64, length: i64) -> bool {
    /// Packets that a flow must have been about to send to be counted.
    const PACKETS: f64 = 3.0;
    let track = pair.track(Direction::Outbound, Point::A);
    let first = pair.facts.first[Direction::Outbound.index()][Point::A.index()].time;
    let spoke = (track.last_time - first).saturating_sub(length).max(1);
    first < from && track.last_time > to && f64::from(track.packets) / spoke as f64 * length as f64 >= PACKETS
}
