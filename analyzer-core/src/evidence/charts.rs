//! What can be drawn of a whole analysis: traffic, delays and what was seen at one point only, in bounded lists.
//!
//! These are counts of facts. Whether what was seen at one point only was lost is for the findings to say.

use crate::align::clock::{ClockMap, Coarse};
use crate::detect::Scene;
use crate::facts::{DelayHistogram, Delays, EventKind, SIZE_CLASSES, Series};
use crate::packet::Kind;
use crate::point::{Direction, Point};
use crate::time::{MILLISECOND, SECOND, Time};
use std::collections::BTreeMap;

/// Bins of a chart over time: each is some pixels wide on a page.
const BINS: i64 = 180;
/// Time over which a rate is measured; shorter ones show the gaps between the packets of one burst.
const RATE_TIME: i64 = 100 * MILLISECOND;

/// Everything that is drawn.
#[derive(Clone, Debug, Default)]
pub struct Charts {
    /// Packets over time.
    pub traffic: Traffic,
    /// By direction: packets found at both points by the time from entry to exit; upper bounds in nanoseconds.
    pub delays: [Vec<(u64, u64)>; 2],
    /// By direction: smallest and largest time from entry to exit in nanoseconds, over time.
    pub delay_times: [Vec<(Time, i64, i64)>; 2],
    /// By direction: the packets that entered and those of them that were not found leaving, by size of the IP packet.
    pub sizes: [Vec<Share>; 2],
    /// As `sizes`, by protocol.
    pub protocols: [Vec<Share>; 2],
    /// As `sizes`, by packets that entered in a second.
    pub rates: [Vec<Share>; 2],
}

/// Packets of a kind that entered, and what became of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Share {
    /// Their kind.
    pub name: String,
    /// Packets that entered.
    pub offered: u64,
    /// Those of them that were seen there only.
    pub alone: u64,
}

/// Packets of each point over time.
#[derive(Clone, Debug, Default)]
pub struct Traffic {
    /// Start of the first bin, on A's clock.
    pub origin: Time,
    /// Width of a bin in nanoseconds.
    pub width: i64,
    /// Packets by point and bin.
    pub packets: [Vec<u64>; 2],
}

impl Charts {
    /// Takes what it needs of the facts; `coarse` is the offset that delays were measured by, unless it changed.
    pub(crate) fn new(scene: &Scene, series: &[Series; 2], delays: &[&Delays], coarse: Option<Coarse>) -> Self {
        let middle = delays.iter().filter_map(|delays| delays.latest()).map(|latest| latest.0).min().unwrap_or(0);
        let sides = Direction::BOTH;
        Self {
            traffic: traffic(scene, series),
            delays: sides.map(|direction| {
                let Some(coarse) = coarse else { return Vec::new() };
                let shift = scene.clock.from_a(Point::B, Time(middle)) - coarse.from_a(1, middle);
                histogram(
                    &scene.tally.delays[direction.index()],
                    if direction == Direction::Outbound { -shift } else { shift },
                )
            }),
            delay_times: sides.map(|direction| delay_times(delays, &scene.clock, direction)),
            sizes: sides.map(|direction| sizes(scene, direction)),
            protocols: sides.map(|direction| protocols(scene, direction)),
            rates: sides.map(|direction| rates(scene, direction)),
        }
    }
}

fn traffic(scene: &Scene, series: &[Series; 2]) -> Traffic {
    let bins = |point: Point| {
        let on_a = move |(start, packets, _)| (scene.clock.to_a(point, start).0, u64::from(packets));
        series[point.index()].iter().map(on_a)
    };
    let times = || Point::BOTH.into_iter().flat_map(|point| bins(point).filter(|bin| bin.1 > 0).map(|bin| bin.0));
    let (Some(first), Some(last)) = (times().min(), times().max()) else { return Traffic::default() };
    let widest = series.iter().map(Series::width).max().unwrap_or(1);
    let width = (last.saturating_sub(first) / BINS + 1).max(widest);
    let count = (last.saturating_sub(first) / width) as usize + 1;
    let mut traffic = Traffic { origin: Time(first), width, ..Traffic::default() };
    for point in Point::BOTH {
        let packets = &mut traffic.packets[point.index()];
        packets.resize(count, 0);
        for (start, more) in bins(point) {
            let bin = (start.saturating_sub(first).max(0) / width) as usize;
            packets[bin.min(count - 1)] += more;
        }
    }
    traffic
}

/// Bounds that people read: 1, 2 and 5 microseconds, and so on up to 50 s.
fn bounds() -> impl Iterator<Item = u64> {
    (3..11).flat_map(|power| [1, 2, 5].map(|step| step * 10_u64.pow(power)))
}

fn histogram(delays: &DelayHistogram, shift: i64) -> Vec<(u64, u64)> {
    let mut counts: BTreeMap<u64, u64> = bounds().map(|bound| (bound, 0)).collect();
    let mut add = |delay: i64, count: u64| {
        // What the clocks put before its entry took no time that could be measured.
        let delay = delay.max(0).unsigned_abs();
        let bound = bounds().find(|bound| delay <= *bound).or_else(|| bounds().last());
        if let Some(sum) = bound.and_then(|bound| counts.get_mut(&bound)) {
            *sum += count;
        }
    };
    add(0, delays.negative);
    for (delay, count) in delays.steps() {
        add(delay.saturating_add(shift), count);
    }
    let used = |counts: &BTreeMap<u64, u64>| -> Vec<u64> {
        counts.iter().filter(|(_, count)| **count > 0).map(|(bound, _)| *bound).collect()
    };
    let used = used(&counts);
    let (Some(first), Some(last)) = (used.first(), used.last()) else { return Vec::new() };
    counts.range(first..=last).map(|(bound, count)| (*bound, *count)).collect()
}

fn delay_times(shards: &[&Delays], clock: &ClockMap, direction: Direction) -> Vec<(Time, i64, i64)> {
    let bins = || shards.iter().flat_map(|delays| delays.envelope(direction));
    let (Some(first), Some(last)) = (bins().map(|bin| bin.0).min(), bins().map(|bin| bin.0).max()) else {
        return Vec::new();
    };
    let widest = shards.iter().map(|delays| delays.width()).max().unwrap_or(1);
    let width = (last.saturating_sub(first) / BINS + 1).max(widest);
    let mut chart: BTreeMap<i64, (i64, i64)> = BTreeMap::new();
    for (start, low, high) in bins() {
        let offset = clock.from_a(Point::B, Time(start)).saturating_sub(start);
        let (low, high) = match direction {
            Direction::Outbound => (low.saturating_sub(offset), high.saturating_sub(offset)),
            Direction::Inbound => (offset.saturating_sub(high), offset.saturating_sub(low)),
        };
        let bin = chart.entry(start.saturating_sub(first) / width).or_insert((i64::MAX, i64::MIN));
        *bin = (bin.0.min(low), bin.1.max(high));
    }
    chart.into_iter().map(|(bin, (low, high))| (Time(first + bin * width), low, high)).collect()
}

fn sizes(scene: &Scene, direction: Direction) -> Vec<Share> {
    let (side, entry) = (direction.index(), direction.entry().index());
    let name = |class: usize| match SIZE_CLASSES.get(class) {
        Some(bytes) => format!("up to {bytes} bytes"),
        None => "above an Ethernet MTU".to_owned(),
    };
    let share = |class| Share {
        name: name(class),
        offered: scene.tally.sizes[side][entry][class],
        alone: scene.tally.unmatched_sizes[side][entry][class],
    };
    (0..=SIZE_CLASSES.len()).map(share).filter(|share| share.offered > 0).collect()
}

fn protocols(scene: &Scene, direction: Direction) -> Vec<Share> {
    let (side, entry) = (direction.index(), direction.entry().index());
    let kinds: [(&str, &[Kind]); 7] = [
        ("TCP", &[Kind::Tcp]),
        ("UDP", &[Kind::Udp]),
        ("ICMP echo", &[Kind::IcmpEcho]),
        ("ICMP errors and others", &[Kind::IcmpError, Kind::IcmpOther]),
        ("fragments", &[Kind::Fragment]),
        ("other IP", &[Kind::Ip]),
        ("ARP and other frames", &[Kind::Arp, Kind::Link]),
    ];
    let sum = |counts: &[u64], kinds: &[Kind]| kinds.iter().map(|kind| counts[*kind as usize]).sum();
    kinds
        .into_iter()
        .map(|(name, kinds)| Share {
            name: name.to_owned(),
            offered: sum(&scene.tally.packets[side][entry], kinds),
            alone: sum(&scene.tally.unmatched[side][entry], kinds),
        })
        .filter(|share| share.offered > 0)
        .collect()
}

fn rates(scene: &Scene, direction: Direction) -> Vec<Share> {
    let entry = direction.entry();
    let series = scene.activity[entry.index()].series(direction);
    let width = series.width().max(RATE_TIME);
    // Packets that entered, and those that were seen there only, by bin.
    let mut bins: BTreeMap<i64, (u64, f64)> = BTreeMap::new();
    for (start, packets, _) in series.iter() {
        bins.entry(start.div_euclid(width)).or_default().0 += u64::from(packets);
    }
    let events = scene.events(EventKind::Unmatched, entry, direction);
    let whole = scene.events.count(EventKind::Unmatched, entry.index(), direction.index());
    // Of very many only some are kept, evenly.
    let weight = whole as f64 / events.len().max(1) as f64;
    for event in events {
        if let Some(bin) = bins.get_mut(&event.time.div_euclid(width)) {
            bin.1 += weight;
        }
    }
    let mut classes: BTreeMap<u64, (u64, f64)> = BTreeMap::new();
    for (offered, alone) in bins.into_values().filter(|bin| bin.0 > 0) {
        let rate = offered as f64 * SECOND as f64 / width as f64;
        let class = (0..9).flat_map(|power| [1, 2, 5].map(|step| step * 10_u64.pow(power)));
        let class = class.into_iter().find(|class| rate <= *class as f64).unwrap_or(u64::MAX);
        let sum = classes.entry(class).or_default();
        (sum.0, sum.1) = (sum.0 + offered, sum.1 + alone.min(offered as f64));
    }
    classes
        .into_iter()
        .map(|(class, (offered, alone))| Share {
            name: format!("up to {class} packets/s"),
            offered,
            alone: alone.round() as u64,
        })
        .collect()
}
