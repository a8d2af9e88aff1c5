//! What was lost beside what was offered: by size, by protocol, by path, by offered rate; and what only looked for a size.

use crate::detect::{PairView, Scene, alibi};
use crate::facts::{Event, EventKind, SIZE_CLASSES, size_step};
use crate::packet::Endpoint;
use crate::point::{Direction, Point};
use crate::time::{MILLISECOND, SECOND};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// Lost packets by size of the IP packet, and what all flows of the direction offered of that size.
pub(super) fn by_size(scene: &Scene, direction: Direction, losses: &[[u64; 5]]) -> Value {
    let offered = &scene.tally.sizes[direction.index()][direction.entry().index()];
    let row = |class: usize| {
        let lost = losses.iter().map(|sizes| sizes[class]).sum::<u64>();
        json!({ "up_to": SIZE_CLASSES.get(class), "offered": offered[class], "lost": lost })
    };
    (0..offered.len()).filter(|&class| offered[class] > 0).map(row).collect()
}

/// Offered and lost packets of the flows by protocol.
pub(super) fn by_protocol(direction: Direction, pairs: &[&PairView], losses: &[u64]) -> Value {
    let mut rows = BTreeMap::<&str, (u64, u64)>::new();
    for (pair, own) in pairs.iter().zip(losses) {
        let (offered, lost) = rows.entry(pair.protocol_name()).or_default();
        *offered += super::offered(pair, direction);
        *lost += own;
    }
    rows.iter().map(|(name, (offered, lost))| json!({ "protocol": name, "offered": offered, "lost": lost })).collect()
}

/// Offered and lost packets of the flows by the hosts between which they go, most lost first.
pub(super) fn by_path(scene: &Scene, direction: Direction, pairs: &[&PairView], losses: &[u64]) -> Value {
    /// Most rows.
    const MOST: usize = 16;
    let mut rows = BTreeMap::<[u128; 2], (Endpoint, u64, u64)>::new();
    for (pair, own) in pairs.iter().zip(losses) {
        let (inner, outer) = pair.inner_ends();
        let ends = if direction == Direction::Outbound { [inner, outer] } else { [outer, inner] };
        let (_, offered, lost) = rows.entry(ends.map(|end| end.address)).or_insert((outer, 0, 0));
        *offered += super::offered(pair, direction);
        *lost += own;
    }
    let mut rows: Vec<([u128; 2], (Endpoint, u64, u64))> = rows.into_iter().collect();
    rows.sort_by_key(|&(_, (_, _, lost))| std::cmp::Reverse(lost));
    let gateway = gateway(scene);
    let row = |(ends, (outer, offered, lost)): ([u128; 2], (Endpoint, u64, u64))| {
        let path = match (gateway == Some(outer.address), scene.inside_network(outer), direction) {
            (true, _, Direction::Outbound) => "guest to gateway",
            (true, _, Direction::Inbound) => "gateway to guest",
            (_, true, _) => "guest to guest",
            (_, _, Direction::Outbound) => "guest to outside",
            (_, _, Direction::Inbound) => "outside to guest",
        };
        let [from, to] = ends.map(|address| Endpoint { address, port: 0 }.ip().to_string());
        json!({ "path": path, "from": from, "to": to, "offered": offered, "lost": lost })
    };
    rows.into_iter().take(MOST).map(row).collect()
}

/// The gateway beyond B: the one address there whose MAC is asked for by ARP although packets go to other networks.
fn gateway(scene: &Scene) -> Option<u128> {
    let asked = scene.link[Point::B.index()].arp.keys().map(|&(target, asker)| (Endpoint::v4(target, 0), asker));
    // What is asked for from outside is ours.
    let ours = |end: &Endpoint| scene.boundary.is_outside(*end);
    let mut asked = asked.filter(|(target, _)| !ours(target)).peekable();
    asked.peek()?;
    let inside: BTreeSet<u128> = scene.pairs.iter().map(|pair| pair.inner_ends().0.address).collect();
    let beyond = asked.filter(|(target, _)| !inside.contains(&{ target.address }));
    let beyond: BTreeSet<u128> = beyond.map(|(target, _)| target.address).collect();
    let only = beyond.first().copied().filter(|_| beyond.len() == 1)?;
    let elsewhere = |pair: &PairView| pair.both() && !beyond.contains(&{ pair.inner_ends().1.address });
    scene.pairs.iter().any(elsewhere).then_some(only)
}

/// What is lost at which offered rate.
pub(super) struct Rates {
    /// Packets a second in the slowest bin in which one of the flows lost a packet.
    pub(super) loss_begins_at: u64,
    /// What all flows of the direction offered and these flows lost in the bins of a rate, by doubling rates; none when the
    /// times of only some losses are known.
    pub(super) by_rate: Option<Value>,
}

/// Counts by bins of a tenth of a second, or more in long captures; none when nothing was lost.
pub(super) fn rates(scene: &Scene, direction: Direction, pairs: &[&PairView]) -> Option<Rates> {
    let entry = direction.entry();
    let series = scene.activity[entry.index()].series(direction);
    let width = series.width().max(100 * MILLISECOND);
    let mut bins = BTreeMap::<i64, (u64, u64)>::new();
    for (start, packets, _) in series.iter() {
        bins.entry(start.div_euclid(width)).or_default().0 += u64::from(packets);
    }
    for pair in pairs {
        let own = scene.pair_events(EventKind::Unmatched, entry, direction, pair.serial);
        for event in own.iter().filter(|event| alibi::is_lost(pair, direction, event)) {
            if let Some(bin) = bins.get_mut(&event.time.div_euclid(width)) {
                bin.1 += 1;
            }
        }
    }
    let rate = |packets: u64| (packets as f64 * SECOND as f64 / width as f64).round() as u64;
    let slowest = bins.values().filter(|(_, lost)| *lost > 0).map(|(offered, _)| *offered).min()?;
    let mut rows = BTreeMap::<u64, (u64, u64)>::new();
    for (offered, lost) in bins.into_values().filter(|(offered, _)| *offered > 0) {
        let row = rows.entry(rate(offered).next_power_of_two()).or_default();
        *row = (row.0 + offered, row.1 + lost);
    }
    let row = |(up_to, (offered, lost))| json!({ "up_to_per_second": up_to, "offered": offered, "lost": lost });
    let known = scene.events(EventKind::Unmatched, entry, direction).len() as u64;
    let complete = known == scene.event_count(EventKind::Unmatched, entry, direction);
    Some(Rates { loss_begins_at: rate(slowest), by_rate: complete.then(|| rows.into_iter().map(row).collect()) })
}

/// Whether a flow of datagrams lost hardly more than probes of the path's MTU (RFC 8899): each larger than anything that
/// crossed in this direction, few at a time, among others that cross. `events` are those of the losses whose times are known.
pub(super) fn probes(
    scene: &Scene,
    pair: &PairView,
    direction: Direction,
    events: &[&Event],
    (lost, offered): (u64, u64),
) -> bool {
    /// Times that a size is tried (MAX_PROBES, RFC 8899 section 5.1.2).
    const TRIES: u32 = 3;
    /// What crosses is at least so many times what is lost: probes are few beside the data.
    const BESIDE: u64 = 5;
    /// Other losses beside them, which say nothing of a host (see `transit-loss.packets`).
    const OTHERS: usize = 2;
    let crossed = &scene.tally.steps[direction.index()][direction.exit().index()];
    let largest = crossed.iter().rposition(|packets| *packets > 0).unwrap_or(0);
    let probes = events.iter().filter(|event| event.size > alibi::CARRIED && size_step(event.size) > largest).count();
    let few =
        pair.more(direction, direction.entry()).is_some_and(|more| more.run.count.max(more.longest.count) <= TRIES);
    probes > 0 && few && events.len() - probes <= OTHERS && lost * BESIDE <= offered
}
