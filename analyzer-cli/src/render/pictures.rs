//! The drawings of the page: numbers turned into places on a canvas, and into words for those who do not see it.

use analyzer_core::evidence::{FlowStats, Ladder, Rung, Share, Trace, Traffic};
use analyzer_core::packet::FlowKey;
use analyzer_core::report::{Finding, Report, Severity};
use analyzer_core::{Direction, Point, Time};
use serde::Serialize;
use std::fmt::Write;

use super::describe;
use super::text::{clock_time, count, duration, percent, relative, thousands};

/// Width of a drawing, in its own units.
const CANVAS: f64 = 1000.0;
/// Height of a finding's row of the timeline, and of a strip of traffic.
const ROW: usize = 34;
const STRIP: f64 = 26.0;
/// More rows or marks than these show nothing.
const MOST_ROWS: usize = 20;
const MOST_TICKS: usize = 100;
/// A pause between two packets of a ladder that is told.
const PAUSE: f64 = 0.1;
/// Most mappings of one flow, and flows, that are drawn.
const MOST_MAPPINGS: usize = 20;
const MOST_MAPPED: usize = 5;
const NANOSECONDS: f64 = 1e9;

/// When each finding happened, over what passed both points.
#[derive(Serialize)]
pub(super) struct Timeline {
    start: String,
    end: String,
    height: usize,
    strips: Vec<Strip>,
    rows: Vec<TimelineRow>,
}

/// The packets of one point.
#[derive(Serialize)]
struct Strip {
    label: String,
    y: usize,
    /// Corners of an area.
    points: String,
}

#[derive(Serialize)]
struct TimelineRow {
    id: &'static str,
    anchor: String,
    severity: &'static str,
    y: usize,
    x: f64,
    width: f64,
    ticks: Vec<f64>,
    label: String,
}

/// The traffic of both captures, then a row for each finding, with a mark for each frame of evidence.
pub(super) fn timeline(report: &Report, traffic: &Traffic) -> Option<Timeline> {
    let shown = || report.findings.iter().enumerate().filter(|(_, f)| f.severity != Severity::Info).take(MOST_ROWS);
    let bins = traffic.packets[0].len() as i64;
    let drawn = (bins > 0).then(|| [traffic.origin, Time(traffic.origin.0 + traffic.width * bins)]);
    let first = shown().map(|(_, f)| f.first).chain(report.inputs.a.first).chain(drawn.map(|ends| ends[0])).min()?;
    let last = shown().map(|(_, f)| f.last).chain(report.inputs.a.last).chain(drawn.map(|ends| ends[1])).max()?;
    let whole = last.seconds_since(first);
    if whole <= 0.0 || (shown().next().is_none() && drawn.is_none()) {
        return None;
    }
    let x = |time: Time| tenths((time.seconds_since(first) / whole).clamp(0.0, 1.0) * CANVAS);
    let strips = if drawn.is_some() { strips(traffic, &x) } else { Vec::new() };
    let below = strips.len() * (STRIP as usize + 26);
    let rows: Vec<TimelineRow> = shown()
        .enumerate()
        .map(|(row, (number, finding))| TimelineRow {
            id: finding.id,
            anchor: super::html::anchor(number),
            severity: describe::severity(finding.severity),
            y: below + row * ROW,
            x: x(finding.first),
            // Visible even when it took no time.
            width: tenths((x(finding.last) - x(finding.first)).max(3.0)),
            ticks: finding.evidence.iter().take(MOST_TICKS).map(|item| x(item.time)).collect(),
            label: format!("{} at {}", finding.id, relative(finding.first, first)),
        })
        .collect();
    Some(Timeline {
        start: format!("{} UTC", clock_time(first)),
        end: relative(last, first),
        height: below + rows.len() * ROW + 22,
        strips,
        rows,
    })
}

fn strips(traffic: &Traffic, x: &impl Fn(Time) -> f64) -> Vec<Strip> {
    let width = traffic.width as f64 / NANOSECONDS;
    let place = |bin: usize| x(Time(traffic.origin.0 + traffic.width * bin as i64));
    // Both points on one scale, so that what is missing shows.
    let most = traffic.packets.iter().flatten().copied().max().unwrap_or(0);
    let strip = |(row, name): (usize, &str)| {
        let packets = &traffic.packets[row];
        let mut points = format!("{},{STRIP}", place(0));
        for (bin, &packets) in packets.iter().enumerate() {
            let y = tenths(STRIP - STRIP * packets as f64 / most.max(1) as f64);
            // Steps: a bin has one height.
            let _ = write!(points, " {},{y} {},{y}", place(bin), place(bin + 1));
        }
        let _ = write!(points, " {},{STRIP}", place(packets.len()));
        let busiest = thousands(packets.iter().copied().max().unwrap_or(0));
        let all = count(packets.iter().sum(), "packet");
        Strip {
            label: format!("{name}: {all}, at most {busiest} in {}", duration(width)),
            y: row * (STRIP as usize + 26),
            points,
        }
    };
    ["A, inside", "B, outside"].into_iter().enumerate().map(strip).collect()
}

/// A ladder as a table: time goes down, A stands left and B right.
#[derive(Serialize)]
pub(super) struct LadderTable {
    flow: String,
    rows: Vec<LadderRow>,
}

#[derive(Serialize)]
struct LadderRow {
    /// The silence before it, when it is one.
    pause: String,
    time: String,
    a: String,
    b: String,
    /// `out`, `in`, `out-lost`, `in-lost`: which way it went, and whether it arrived.
    way: &'static str,
    /// The same for those who do not see the arrow.
    words: &'static str,
    /// From one point to the other.
    delay: String,
    label: String,
    note: String,
}

/// The ladder of a finding.
pub(super) fn ladder(ladder: &Ladder, finding: &Finding) -> LadderTable {
    let time = |rung: &Rung| rung.seen.iter().flatten().map(|(_, time)| *time).min().unwrap_or_default();
    let mut before: Option<Time> = None;
    let rows = ladder.rungs.iter().map(|rung| {
        let at = time(rung);
        let pause = before.map_or(0.0, |before| at.seconds_since(before));
        before = Some(at);
        let [a, b] = rung.seen;
        let (way, words) = match (rung.direction, a, b) {
            (Direction::Outbound, Some(_), Some(_)) => ("out", "to B"),
            (Direction::Inbound, Some(_), Some(_)) => ("in", "to A"),
            (Direction::Outbound, Some(_), None) => ("out-lost", "outbound, not seen at B"),
            (Direction::Inbound, None, Some(_)) => ("in-lost", "inbound, not seen at A"),
            (Direction::Outbound, ..) => ("out-made", "outbound, not seen at A"),
            (Direction::Inbound, ..) => ("in-made", "inbound, not seen at B"),
        };
        let delay = match (rung.direction, a, b) {
            (Direction::Outbound, Some((_, entry)), Some((_, exit)))
            | (Direction::Inbound, Some((_, exit)), Some((_, entry))) => duration(exit.seconds_since(entry)),
            _ => String::new(),
        };
        let frame = |seen: Option<(u32, Time)>| seen.map(|(frame, _)| format!("#{frame}")).unwrap_or_default();
        LadderRow {
            pause: if pause >= PAUSE { format!("{} of silence", duration(pause)) } else { String::new() },
            time: relative(at, finding.first),
            a: frame(a),
            b: frame(b),
            way,
            words,
            delay,
            label: rung.label.clone(),
            note: rung.note.clone(),
        }
    });
    LadderTable { flow: describe::flow(&ladder.flow), rows: rows.collect() }
}

/// The outer names that an inner flow had one after the other.
#[derive(Serialize)]
pub(super) struct Mappings {
    protocol: &'static str,
    inner: String,
    peer: String,
    rows: Vec<Mapping>,
}

#[derive(Serialize)]
struct Mapping {
    from: String,
    length: String,
    outer: String,
    /// Whether it is another one than before.
    changed: bool,
    out: String,
    back: String,
}

/// The mappings of a finding's flows, where it is about NAT.
pub(super) fn mappings(finding: &Finding, trace: &Trace) -> Vec<Mappings> {
    let nat = finding.id.starts_with("nat-") || finding.cause.is_some_and(|cause| cause.starts_with("nat-"));
    if !nat {
        return Vec::new();
    }
    let key = |flow: &FlowStats| flow.keys[Point::A.index()];
    let mut names: Vec<(String, FlowKey)> = (trace.flows.iter())
        .filter(|flow| finding.serials.contains(&flow.serial))
        .filter_map(|flow| Some((flow.name().a?, key(flow)?)))
        .collect();
    names.sort_unstable();
    names.dedup();
    let mapping = |(name, inner): (String, FlowKey)| {
        mapping(&name, trace.flows.iter().filter(|flow| key(flow) == Some(inner)).collect(), finding)
    };
    names.into_iter().take(MOST_MAPPED).filter_map(mapping).collect()
}

fn mapping(name: &str, mut flows: Vec<&FlowStats>, finding: &Finding) -> Option<Mappings> {
    let (inner, peer) = name.split_once(' ')?;
    let protocol = flows.first()?.protocol;
    flows.sort_by_key(|flow| (flow.first(), flow.serial));
    let mut before: Option<String> = None;
    let rows = flows.into_iter().take(MOST_MAPPINGS).map(|flow| {
        let outer = flow.name().b.and_then(|b| Some(b.split_once(' ')?.0.to_owned()));
        let changed = before.is_some() && outer.is_some() && outer != before;
        before = outer.clone().or(before.take());
        let (first, last) = (flow.first().unwrap_or(finding.first), flow.last().unwrap_or(finding.first));
        let packets = |direction: Direction| {
            let side = |point| flow.side(direction, point).packets.into();
            format!("{} → {}", thousands(side(direction.entry())), thousands(side(direction.exit())))
        };
        Mapping {
            from: relative(first, finding.first),
            length: duration(last.seconds_since(first)),
            outer: outer.unwrap_or_else(|| "no packet at B".into()),
            changed,
            out: packets(Direction::Outbound),
            back: packets(Direction::Inbound),
        }
    });
    let rows: Vec<Mapping> = rows.collect();
    // One mapping throughout is what every other list of flows says.
    (rows.len() > 1).then(|| Mappings { protocol, inner: inner.to_owned(), peer: peer.to_owned(), rows })
}

/// Packets by kind, and how many of each were seen at one point only.
#[derive(Serialize)]
pub(super) struct Shares {
    pub(super) caption: String,
    pub(super) rows: Vec<ShareRow>,
}

#[derive(Serialize)]
pub(super) struct ShareRow {
    name: String,
    alone: String,
    offered: String,
    percent: String,
    /// 0 to 100, of the longest bar.
    width: f64,
}

impl ShareRow {
    pub(super) fn new(name: String, alone: u64, offered: u64) -> Self {
        let width = if offered == 0 { 0.0 } else { tenths((alone as f64 * 100.0 / offered as f64).min(100.0)) };
        Self { name, alone: thousands(alone), offered: thousands(offered), percent: percent(alone, offered), width }
    }
}

/// What was seen where it entered and not where it leaves, by size, protocol and rate.
pub(super) fn alone(trace: &Trace) -> Vec<Shares> {
    let charts = &trace.charts;
    let mut tables = Vec::new();
    for (side, name) in [(0, "Outbound"), (1, "Inbound")] {
        for (list, by) in [
            (&charts.sizes, "size of the packet"),
            (&charts.protocols, "protocol"),
            (&charts.rates, "packets offered a second"),
        ] {
            let list: &Vec<Share> = &list[side];
            if list.iter().any(|share| share.alone > 0) {
                let row = |share: &Share| ShareRow::new(share.name.clone(), share.alone, share.offered);
                tables.push(Shares { caption: format!("{name}, by {by}"), rows: list.iter().map(row).collect() });
            }
        }
    }
    tables
}

/// How long packets took from one point to the other.
#[derive(Serialize)]
pub(super) struct Delays {
    caption: String,
    rows: Vec<DelayRow>,
    area: Option<Area>,
}

#[derive(Serialize)]
struct DelayRow {
    name: String,
    packets: String,
    percent: String,
    width: f64,
}

/// The range of delays over time.
#[derive(Serialize)]
struct Area {
    bins: Vec<[f64; 3]>,
    bin: f64,
    label: String,
    start: String,
    end: String,
    top: String,
}

/// Height of the drawing of delays over time.
const AREA: f64 = 120.0;

/// The delays of each direction.
pub(super) fn delays(trace: &Trace) -> Vec<Delays> {
    let name = |direction| match direction {
        Direction::Outbound => "Outbound, from A to B",
        Direction::Inbound => "Inbound, from B to A",
    };
    let table = |direction: Direction| {
        let counts = &trace.charts.delays[direction.index()];
        let whole: u64 = counts.iter().map(|(_, count)| count).sum();
        let most = counts.iter().map(|(_, count)| *count).max().unwrap_or(0);
        let row = |&(bound, packets): &(u64, u64)| DelayRow {
            name: format!("up to {}", duration(bound as f64 / NANOSECONDS)),
            packets: thousands(packets),
            percent: percent(packets, whole),
            width: tenths(packets as f64 * 100.0 / most.max(1) as f64),
        };
        let area = area(&trace.charts.delay_times[direction.index()], name(direction));
        let rows: Vec<DelayRow> = counts.iter().map(row).collect();
        (!rows.is_empty() || area.is_some()).then(|| Delays { caption: name(direction).to_owned(), rows, area })
    };
    Direction::BOTH.into_iter().filter_map(table).collect()
}

fn area(bins: &[(Time, i64, i64)], name: &str) -> Option<Area> {
    let (first, last) = (bins.first()?.0, bins.last()?.0);
    let whole = last.seconds_since(first);
    let top = bins.iter().map(|bin| bin.2).max().filter(|top| *top > 0)?;
    let least = bins.iter().map(|bin| bin.1).min().unwrap_or(0).max(0);
    if bins.len() < 3 || whole <= 0.0 {
        return None;
    }
    let y = |delay: i64| tenths(AREA - AREA * (delay.max(0) as f64 / top as f64).min(1.0));
    let narrowest = bins.windows(2).map(|pair| pair[1].0.0 - pair[0].0.0).min().unwrap_or(1);
    let bin = (narrowest as f64 / NANOSECONDS / whole * (CANVAS - 10.0)).max(2.0);
    let place = |time: Time| tenths(time.seconds_since(first) / whole * (CANVAS - bin));
    let seconds = |delay: i64| duration(delay as f64 / NANOSECONDS);
    Some(Area {
        bins: bins
            .iter()
            .map(|&(time, low, high)| [place(time), y(high), tenths((y(low) - y(high)).max(2.0))])
            .collect(),
        bin: tenths(bin),
        label: format!("{name}: between {} and {} over {}", seconds(least), seconds(top), duration(whole)),
        start: format!("{} UTC", clock_time(first)),
        end: relative(last, first),
        top: seconds(top),
    })
}

/// Rounded, so that the page does not fill up with digits.
pub(super) fn tenths(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}
