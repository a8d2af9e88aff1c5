//! What limits the verdicts, found before any detector runs. An alibi that touches a verdict stands here in words.

use super::alibi;
use super::census::has;
use super::scene::Scene;
use super::text::{count, counted, duration, percent};
use crate::align::clock::GUARD;
use crate::align::steps::SMALLEST;
use crate::facts::{EventKind, GivenUp};
use crate::packet::Kind;
use crate::point::{Direction, Point};
use crate::report::{Coverage, INTERRUPTED, TopologyKind};
use crate::time::Time;
use serde_json::{Map, Value, json};

/// Share of packets missed by a capture beyond which its silence proves little: a tenth of a percent.
const NOTABLE_LOSS: f64 = 0.001;
/// Packets of a protocol at one point before its absence at the other means a filter.
const ENOUGH: u64 = 4;

/// All limits, in a fixed order.
pub(super) fn judge(scene: &Scene) -> Vec<Coverage> {
    let mut limits = Vec::new();
    interrupted(scene, &mut limits);
    selection(scene, &mut limits);
    overlap(scene, &mut limits);
    swapped(scene, &mut limits);
    for point in Point::BOTH {
        capture_loss(scene, point, &mut limits);
    }
    for point in Point::BOTH {
        clock_steps(scene, point, &mut limits);
        filters(scene, point, &mut limits);
        snap_length(scene, point, &mut limits);
        truncated(scene, point, &mut limits);
        file_gaps(scene, point, &mut limits);
        duplicates(scene, point, &mut limits);
        unsupported(scene, point, &mut limits);
    }
    memory(scene, &mut limits);
    scene.witness.limits(&mut limits);
    limits
}

/// What went for lack of memory.
fn memory(scene: &Scene, limits: &mut Vec<Coverage>) {
    let GivenUp { flows, packets, finished } = scene.given_up;
    let mut words = Vec::new();
    if flows > 0 {
        words.push(format!(
            "{} ended before their time, those of a packet or two and the longest silent first (what they sent later \
             counts as a flow of its own, and what ends a long silence may be missed)",
            counted(flows, "live flow")
        ));
    }
    if finished > 0 {
        words.push(format!(
            "{} to which least had happened are in the counters but in no finding (findings may name too few flows)",
            counted(finished, "finished flow")
        ));
    }
    if packets > 0 {
        words.push(format!(
            "{} could not wait for their copies and are not judged (losses may be missed)",
            counted(packets, "packet")
        ));
    }
    if words.is_empty() {
        return;
    }
    let summary =
        format!("Memory did not suffice for all: {}. `--memory` sets how much may be used.", words.join("; "));
    let numbers = [("flows", flows), ("finished_flows", finished), ("packets", packets)];
    limits.push(limit("memory", None, summary, &numbers.map(|(name, number)| (name, json!(number)))));
}

fn limit(id: &str, point: Option<Point>, summary: String, details: &[(&str, Value)]) -> Coverage {
    let details: Map<String, Value> = details.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
    Coverage { id: id.into(), point, summary, details }
}

fn name(point: Point) -> &'static str {
    match point {
        Point::A => "A",
        Point::B => "B",
    }
}

/// No common time, no common traffic, or a part of one capture that the other does not cover.
fn overlap(scene: &Scene, limits: &mut Vec<Coverage>) {
    let [Some(a), Some(b)] = [0, 1].map(|point| scene.presence[point].span) else {
        for point in Point::BOTH.into_iter().filter(|point| scene.presence[point.index()].span.is_none()) {
            limits.push(limit(
                "no-packets",
                Some(point),
                format!("The capture of {} holds no packets.", name(point)),
                &[],
            ));
        }
        return;
    };
    let (first, last) = (scene.clock.to_a(Point::B, b.0).0, scene.clock.to_a(Point::B, b.1).0);
    let common = a.1.min(last).saturating_sub(a.0.max(first));
    if scene.totals.matched == 0 {
        let summary = if common < 0 {
            format!(
                "The captures share no time (B {} {} after A ended or began) and no packet of one was found in the other.",
                if first > a.1 { "begins" } else { "ends" },
                duration(if first > a.1 { first - a.1 } else { a.0 - last })
            )
        } else {
            "No packet of one capture was found in the other: they may be of different traffic, a proxy may stand \
             between them, or a filter kept the common part out."
                .into()
        };
        limits.push(limit("no-overlap", None, summary, &[("common_seconds", json!(common.max(0) as f64 / 1e9))]));
        return;
    }
    for point in Point::BOTH {
        let (from, to) = (scene.overlap.from[point.index()], scene.overlap.to[point.index()]);
        let other = if point == Point::A { (first, last) } else { a };
        let edge: u64 = scene.census.totals.edge.iter().map(|points| points[point.other().index()]).sum();
        // What is closer to an end than the guard is not judged either, and then there is no more to it than that.
        let notable = |gap: &i64| *gap > GUARD;
        let late = (from != i64::MIN).then(|| from.saturating_sub(other.0)).filter(notable);
        let early = (to != i64::MAX).then(|| other.1.saturating_sub(to)).filter(notable);
        let (one, two) = (name(point), name(point.other()));
        let words = match (late, early) {
            (Some(late), Some(early)) => {
                format!("The capture of {one} starts {} later and ends {} earlier", duration(late), duration(early))
            }
            (Some(late), None) => format!("The capture of {one} starts {} later", duration(late)),
            (None, Some(early)) => format!("The capture of {one} ends {} earlier", duration(early)),
            (None, None) if edge == 0 => continue,
            (None, None) => String::new(),
        };
        let packets = counted(edge, "packet");
        let summary = if words.is_empty() {
            format!(
                "{packets} of {two} within {} of an end of the capture of {one}, and without a copy there: not judged.",
                duration(GUARD)
            )
        } else {
            format!("{words} than that of {two}: {packets} of {two} outside the common time are not judged.")
        };
        limits.push(limit("partial-overlap", Some(point), summary, &[("not_judged_packets", json!(edge))]));
    }
}

/// A clock that was set while the capture ran.
fn clock_steps(scene: &Scene, point: Point, limits: &mut Vec<Coverage>) {
    let named = |frame: u32| match scene.files[point.index()].place(frame) {
        Some((file, own)) => format!("frame {} of {file}", count(own.into())),
        None => format!("frame {}", count(frame.into())),
    };
    let whose = name(point);
    for step in scene.steps[point.index()].list() {
        let way = if step.by < 0 { "back" } else { "forward" };
        let summary = format!(
            "The clock of {whose} was set {way} by {} before {}: times are given as if it had not been.",
            duration(step.by.saturating_abs()),
            named(step.frame),
        );
        let details = [("frame", json!(step.frame)), ("step_seconds", json!(step.by as f64 / 1e9))];
        limits.push(limit("clock-step", Some(point), summary, &details));
    }
    if let Some((frame, by)) = scene.set_back[point.index()].filter(|(_, by)| *by >= SMALLEST) {
        let summary = format!(
            "The times of {whose} go back by {} at {}: the clock was set, or the file was put together from several. Packets \
             that stand more than three seconds from their copies are not found.",
            duration(by),
            named(frame),
        );
        let details = [("frame", json!(frame)), ("step_seconds", json!(by as f64 / -1e9))];
        limits.push(limit("clock-step", Some(point), summary, &details));
    }
}

/// The captures were given the wrong way round: a router takes from the TTL, it never adds, and both directions show it.
fn swapped(scene: &Scene, limits: &mut Vec<Coverage>) {
    let (right, wrong) = (scene.census.totals.fallen, scene.census.totals.risen);
    if wrong == 0 || right > 0 {
        return;
    }
    limits.push(limit(
        "points-swapped",
        None,
        format!(
            "A seems to be the outer point and B the inner one: in {} the TTL is higher behind the host than before it, both \
             ways. Give the captures the other way round: what is said of places and directions is wrong as they are.",
            counted(wrong, "flow")
        ),
        &[("flows", json!(wrong))],
    ));
}

/// Packets that the capture itself missed: by its own counters, or because they must have passed (rules R1 to R3).
fn capture_loss(scene: &Scene, point: Point, limits: &mut Vec<Coverage>) {
    let counters: u64 = scene.summaries[point.index()]
        .interfaces
        .iter()
        .map(|interface| {
            interface.dropped.unwrap_or(0) + interface.dropped_by_os.unwrap_or(0) + interface.dropped_between
        })
        .sum();
    let missed = scene.missed[point.index()];
    let share = alibi::capture_loss(scene, point);
    if counters == 0 && share <= NOTABLE_LOSS {
        return;
    }
    let seen = alibi::tell_of(scene, point);
    let mut words = Vec::new();
    if counters > 0 {
        words.push(format!("its own counters say that it dropped {}", counted(counters, "packet")));
    }
    if missed > 0 {
        words.push(format!(
            "{} that must have passed it are not in it ({} of {} seen at {} beyond it)",
            counted(missed, "packet"),
            percent(missed, seen),
            count(seen),
            name(point.other()),
        ));
    }
    limits.push(limit(
        "capture-loss",
        Some(point),
        format!(
            "The capture of {} missed packets: {}. What is absent there proves little.",
            name(point),
            words.join("; ")
        ),
        &[("missed_packets", json!(missed)), ("dropped_by_counters", json!(counters)), ("share", json!(share))],
    ));
}

/// Protocols, ports and directions that one point never shows.
fn filters(scene: &Scene, point: Point, limits: &mut Vec<Coverage>) {
    if scene.totals.packets_a == 0 || scene.totals.packets_b == 0 || scene.topology.kind == TopologyKind::Unrelated {
        return;
    }
    let (here, there) = (&scene.presence[point.index()], &scene.presence[point.other().index()]);
    let kinds = [
        ("TCP", &[Kind::Tcp][..]),
        ("UDP", &[Kind::Udp][..]),
        ("ICMP", &[Kind::IcmpEcho, Kind::IcmpError, Kind::IcmpOther][..]),
    ];
    for (protocol, members) in kinds {
        let sum = |kinds: &[u64; 9]| members.iter().map(|kind| kinds[*kind as usize]).sum::<u64>();
        let (own, other) = (sum(&here.kinds), sum(&there.kinds));
        if own == 0 && other >= ENOUGH && forwarded(scene, point.other(), members) {
            limits.push(limit(
                "filter-mismatch",
                Some(point),
                format!(
                    "The capture of {} holds no {protocol} at all, that of {} holds {}: a capture filter, or all of it is \
                     lost. Nothing is concluded from its absence.",
                    name(point),
                    name(point.other()),
                    counted(other, "packet"),
                ),
                &[("protocol", json!(protocol.to_lowercase())), ("packets", json!(other))],
            ));
        }
    }
    for direction in Direction::BOTH {
        let other = scene.tally.packets(direction, point.other());
        if other > 0 && scene.leaves_out(direction, point) {
            let back = if scene.tally.packets(direction, point) > 0 { " but what has come back" } else { "" };
            limits.push(limit(
                "filter-mismatch",
                Some(point),
                format!(
                    "The capture of {} shows no {} packets at all{back}, that of {} shows {}: taken in one direction \
                     only (tcpdump -Q)?",
                    name(point),
                    if direction == Direction::Outbound { "outbound" } else { "inbound" },
                    name(point.other()),
                    count(other),
                ),
                &[("direction", json!(direction)), ("packets", json!(other))],
            ));
        }
    }
    let mut ports: Vec<(u16, u16)> = scene
        .pairs_with(has::ALONE, has::TCP | has::UDP)
        .filter(|pair| pair.key(point.other()).is_some() && !alibi::local(scene, pair))
        .filter(|pair| !alibi::filter_allows(scene, pair, point))
        .filter_map(|pair| Some((pair.protocol(), pair.ends(point.other())?.1.port)))
        .collect();
    ports.sort_unstable();
    ports.dedup();
    // A handful of ports that one capture never shows is how a port filter looks; many are how scans look.
    if !ports.is_empty() && ports.len() <= 8 && scene.totals.paired_flows > 0 {
        let names: Vec<String> = ports
            .iter()
            .map(|(protocol, port)| format!("{} {port}", if *protocol == 6 { "tcp" } else { "udp" }))
            .collect();
        limits.push(limit(
            "filter-mismatch",
            Some(point),
            format!(
                "The capture of {} never shows {}, which that of {} does: its capture filter may leave that out.",
                name(point),
                names.join(", "),
                name(point.other()),
            ),
            &[("ports", json!(names))],
        ));
    }
}

/// Whether packets of these kinds at a point belong to traffic that crosses the host, rather than staying on its side.
fn forwarded(scene: &Scene, point: Point, kinds: &[Kind]) -> bool {
    scene.pairs.iter().any(|pair| {
        let protocol = pair.protocol();
        let fits = kinds.iter().any(|kind| match kind {
            Kind::Tcp => protocol == 6,
            Kind::Udp => protocol == 17,
            _ => protocol == 1 || protocol == 58,
        });
        fits && pair.key(point).is_some() && !alibi::local(scene, pair)
    })
}

fn snap_length(scene: &Scene, point: Point, limits: &mut Vec<Coverage>) {
    let cut = scene.presence[point.index()].cut;
    if cut == 0 {
        return;
    }
    let total = if point == Point::A { scene.totals.packets_a } else { scene.totals.packets_b };
    limits.push(limit(
        "snap-length",
        Some(point),
        format!(
            "The snap length cut {} of {} packets of {}: their checksums and payload are not judged.",
            count(cut),
            count(total),
            name(point)
        ),
        &[("cut_packets", json!(cut))],
    ));
}

/// Times between the files of a set in which the capture did not run, or may not have.
fn file_gaps(scene: &Scene, point: Point, limits: &mut Vec<Coverage>) {
    let not_judged = scene.overlap.holes(point.index());
    for hole in &scene.summaries[point.index()].holes {
        let (from, to) = (scene.clock.to_a(point, hole.from), scene.clock.to_a(point, hole.to));
        let judged = !not_judged.iter().any(|&(start, end)| start < to.0 && from.0 < end);
        let base = |name: &str| name.rsplit(std::path::is_separator).next().unwrap_or(name).to_owned();
        let place =
            format!("{} between {} and {}", duration(hole.to - hole.from), base(&hole.before), base(&hole.after));
        let why = match (hole.missing, hole.cut) {
            (1.., _) => format!("{} missing there by the numbers in the names", counted(hole.missing, "file")),
            (_, true) => format!("{} is cut off", base(&hole.before)),
            _ if judged => "a silence, or a time in which nothing was captured".into(),
            _ => format!("packets passed {} then that must have passed here", name(point.other())),
        };
        let then = if judged { "" } else { "; what the other capture shows then is not judged" };
        let details = [
            ("before", json!(hole.before)),
            ("after", json!(hole.after)),
            ("from", json!(from)),
            ("to", json!(to)),
            ("missing_files", json!(hole.missing)),
            ("judged", json!(judged)),
        ];
        let summary = format!("The capture of {} holds nothing for {place}: {why}{then}.", name(point));
        limits.push(limit("file-gap", Some(point), summary, &details));
    }
}

/// What the user restricted the analysis to.
fn interrupted(scene: &Scene, limits: &mut Vec<Coverage>) {
    let Some(at) = scene.interrupted else { return };
    let summary = format!(
        "The analysis was interrupted: both captures were read up to {}, and nothing is said of what follows.",
        Time(at)
    );
    limits.push(limit(INTERRUPTED, None, summary, &[("read_to", json!(Time(at)))]));
}

fn selection(scene: &Scene, limits: &mut Vec<Coverage>) {
    let asked = &scene.selection;
    if let Some((from, to)) = asked.time {
        let mut details = Vec::new();
        details.extend((from != i64::MIN).then(|| ("from", json!(Time(from)))));
        details.extend((to != i64::MAX).then(|| ("to", json!(Time(to)))));
        let words = match (from, to) {
            (i64::MIN, to) => format!("before {}", Time(to)),
            (from, i64::MAX) => format!("from {} on", Time(from)),
            (from, to) => format!("from {} to {}", Time(from), Time(to)),
        };
        let summary = format!("Only packets {words} were analyzed, as asked.");
        limits.push(limit("selection", None, summary, &details));
    }
    if asked.of_flows() {
        let flows = scene.pairs.iter().filter(|pair| asked.has(pair)).count() as u64;
        let hosts = asked.hosts.iter().map(ToString::to_string);
        let names: Vec<String> = hosts.chain(asked.ports.iter().map(|port| format!("port {port}"))).collect();
        let summary = format!(
            "Only what concerns {} is reported, as asked: {} of {}. Other flows may have findings too.",
            names.join(", "),
            count(flows),
            counted(scene.pairs.len() as u64, "flow"),
        );
        limits.push(limit("selection", None, summary, &[("flows", json!(flows))]));
    }
}

fn truncated(scene: &Scene, point: Point, limits: &mut Vec<Coverage>) {
    for (file, offset) in &scene.summaries[point.index()].truncated_files {
        let summary =
            format!("{file} of {} is cut off at byte {}: what precedes it was analyzed.", name(point), count(*offset));
        limits.push(limit("truncated-file", Some(point), summary, &[("file", json!(file)), ("offset", json!(offset))]));
    }
    if let Some(offset) = scene.summaries[point.index()].truncated_at {
        limits.push(limit(
            "truncated-file",
            Some(point),
            format!(
                "The capture of {} is cut off at byte {}: what precedes it was analyzed.",
                name(point),
                count(offset)
            ),
            &[("offset", json!(offset))],
        ));
    }
}

fn duplicates(scene: &Scene, point: Point, limits: &mut Vec<Coverage>) {
    if !alibi::doubled(scene, point) {
        return;
    }
    let again = scene.event_count(EventKind::Duplicate, point, point.leaving());
    let seen = scene.tally.packets(point.leaving(), point);
    limits.push(limit(
        "duplicate-capture",
        Some(point),
        format!(
            "The capture of {} holds packets twice ({} of {} {} ones come again): it was taken on two interfaces, or twice \
             on one. Losses of what enters there are not judged.",
            name(point),
            count(again),
            count(seen),
            if point == Point::A { "inbound" } else { "outbound" },
        ),
        &[("again", json!(again)), ("packets", json!(seen))],
    ));
}

fn unsupported(scene: &Scene, point: Point, limits: &mut Vec<Coverage>) {
    for interface in &scene.summaries[point.index()].interfaces {
        if interface.packets > 0 && !crate::packet::supported(interface.link_type) {
            limits.push(limit(
                "unsupported-link-type",
                Some(point),
                format!(
                    "{} of {} are of link type {} (number {}), which is not understood.",
                    counted(interface.packets, "packet"),
                    name(point),
                    interface.link_type.name(),
                    interface.link_type.0
                ),
                &[("link_type", json!(interface.link_type.0)), ("packets", json!(interface.packets))],
            ));
        }
    }
}
