//! Parts of the report in words, for every form that people read.

use analyzer_core::report::{
    Clock, Coverage, Directions, Evidence, Finding, FlowName, Input, Problem, Severity, Topology, TopologyKind, Totals,
    Where,
};
use analyzer_core::{Point, Time};
use serde_json::Value;
use std::fmt::Write;

use super::text::{clock_time, count, date, duration, percent, thousands};
use super::verdict::side;

/// The name of an input, its packets and how long it is.
pub(super) fn input(input: &Input) -> String {
    let seconds = input_seconds(input).map(|seconds| format!(", {}", duration(seconds))).unwrap_or_default();
    format!("{} ({}{seconds})", input_name(input), count(input.packets, "packet"))
}

/// How the points are related, in a few words.
pub(super) fn relation(topology: &Topology) -> String {
    let networks = match topology.inside_networks.as_slice() {
        [] => String::new(),
        [one] => format!(" {one}"),
        [first, rest @ ..] => format!(" {first} and {} more", rest.len()),
    };
    match topology.kind {
        TopologyKind::Nat => match &topology.outside_address {
            Some(address) => format!("NAT{networks} → {address}"),
            None => format!("NAT{networks}"),
        },
        TopologyKind::Route => format!("routed{networks}"),
        TopologyKind::Bridge => format!("bridged{networks}"),
        TopologyKind::SamePoint => "both files are of the same point".into(),
        TopologyKind::Unrelated => "the captures share no traffic".into(),
        TopologyKind::Unknown => "relation of the points unknown".into(),
    }
}

/// How the clocks are related, in a few words.
pub(super) fn clocks(clock: &Clock) -> String {
    if clock.samples == 0 {
        return "clocks not compared".into();
    }
    let bound = clock.uncertainty_seconds.filter(|bound| *bound > 0.0);
    match bound {
        Some(bound) if clock.offset_seconds.abs() <= bound => format!("clocks agree within {}", duration(bound)),
        _ => {
            let relation = if clock.offset_seconds < 0.0 { "behind" } else { "ahead of" };
            let bound = bound.map(|bound| format!(" (± {})", duration(bound))).unwrap_or_default();
            match clock.offset_seconds {
                0.0 => "clocks agree".into(),
                offset => format!("B's clock is {} {relation} A's{bound}", duration(offset.abs())),
            }
        }
    }
}

/// As in the JSON report.
pub(super) fn severity(severity: Severity) -> &'static str {
    match severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
        Severity::Info => "info",
    }
}

/// As in the JSON report.
pub(super) fn place(place: Where) -> &'static str {
    match place {
        Where::Inside => "inside",
        Where::Between => "between",
        Where::Outside => "outside",
        Where::Unknown => "unknown",
    }
}

/// A finding that is context: its id, which way, and what explains it.
pub(super) fn context(finding: &Finding) -> String {
    let because = finding.details.get("because").and_then(Value::as_str);
    let mut text = finding.id.to_owned();
    if finding.direction != Directions::Both {
        let _ = write!(text, ", {}", direction(finding.direction));
    }
    if let Some(because) = because {
        let _ = write!(text, " (explained by {because})");
    }
    text
}

/// Which way the traffic went.
pub(super) fn direction(direction: Directions) -> &'static str {
    match direction {
        Directions::Outbound => "outbound",
        Directions::Inbound => "inbound",
        Directions::Both => "both ways",
    }
}

/// What is known of a finding in a few words each: where, which way, why, how much, how sure.
pub(super) fn facts(finding: &Finding) -> Vec<String> {
    let mut facts =
        vec![format!("{} ({})", place(finding.place), side(finding.place)), direction(finding.direction).to_owned()];
    facts.extend(finding.cause.filter(|cause| *cause != "unknown").map(str::to_owned));
    if finding.flow_count > 0 {
        facts.push(count(finding.flow_count, "flow"));
    }
    facts.push(count(finding.packet_count, "packet"));
    facts.push(format!("confidence {:.2}", finding.confidence));
    facts
}

/// The finding's absolute time, once; the date only where it is not that of the header.
pub(super) fn when(finding: &Finding, origin: Option<Time>) -> String {
    let day = match origin {
        Some(origin) if date(origin) == date(finding.first) => String::new(),
        _ => format!("{} ", date(finding.first)),
    };
    let mut text = format!("At {day}{}", clock_time(finding.first));
    if let Some(origin) = origin
        && finding.first > origin
    {
        let _ = write!(text, ", {} after the first packet", duration(finding.first.seconds_since(origin)));
    }
    if finding.duration_seconds > 0.0 {
        let _ = write!(text, ", over {}", duration(finding.duration_seconds));
    }
    text.push('.');
    text
}

/// The sentences of `details.reasons[side]`.
pub(super) fn reasons<'a>(finding: &'a Finding, side: &str) -> Vec<&'a str> {
    let list = finding.details.get("reasons").and_then(|reasons| reasons.get(side)).and_then(Value::as_array);
    list.into_iter().flatten().filter_map(Value::as_str).collect()
}

/// All that is known of the relation of the points.
pub(super) fn topology(topology: &Topology) -> String {
    let mut text = relation(topology);
    if let Some(delta) = topology.ttl_delta {
        let _ = write!(text, "; TTL goes down by {delta} from A to B");
    }
    if !topology.vlan.is_empty() {
        let _ = write!(text, "; VLAN {}", Value::Object(topology.vlan.clone()));
    }
    if let Some(tunnel) = &topology.tunnel {
        let _ = write!(text, "; tunnel {tunnel}");
    }
    text
}

/// All that is known of the clocks.
pub(super) fn clock(clock: &Clock) -> String {
    if clock.samples == 0 {
        return clocks(clock);
    }
    format!(
        "{}; offset of B {}, drift {:.3} ppm, from {}",
        clocks(clock),
        duration(clock.offset_seconds),
        clock.drift_ppm,
        count(clock.samples, "matched packet"),
    )
}

/// The name of an input as people call it: the file name without its folder; of several files, what they share.
pub(super) fn input_name(input: &Input) -> String {
    let name = match input.files.as_slice() {
        [] => "(none)".into(),
        [file] if file == "-" => "standard input".into(),
        [file] => file_name(file).to_owned(),
        [first, rest @ ..] => set_name(first, rest),
    };
    match &input.interface {
        Some(interface) => format!("{name} [{interface}]"),
        None => name,
    }
}

/// `virbr0/ring_0000* (5 files)`; `first.pcap and 1 more` when the names share nothing.
fn set_name(first: &str, rest: &[String]) -> String {
    let shared = |length: usize, other: &String| {
        let same = first.char_indices().zip(other.chars()).take_while(|((_, one), two)| one == two);
        same.last().map_or(0, |((at, c), _)| at + c.len_utf8()).min(length)
    };
    let shared = &first[..rest.iter().fold(first.len(), shared)];
    let (folder, start) = match shared.rfind(std::path::is_separator) {
        Some(place) => shared.split_at(place + 1),
        None => ("", shared),
    };
    // The folder's own name says more than the start of its files' names does.
    let folder = match file_name(folder) {
        "" | "." | ".." => "",
        name => &folder[folder.rfind(name).unwrap_or(0)..],
    };
    if folder.is_empty() && start.is_empty() {
        return format!("{} and {} more", file_name(first), rest.len());
    }
    format!("{folder}{start}* ({})", count(rest.len() as u64 + 1, "file"))
}

/// A path without its folder.
fn file_name(path: &str) -> &str {
    path.rsplit(std::path::is_separator).find(|part| !part.is_empty()).unwrap_or(path)
}

/// The frame that is cited, with its file where the point has several: `#57`, `ring3.pcap #57`.
pub(super) fn frame(item: &Evidence) -> String {
    match &item.file {
        Some(file) => format!("{} #{}", file_name(file), item.frame),
        None => format!("#{}", item.frame),
    }
}

/// Seconds between the first and the last packet of an input.
pub(super) fn input_seconds(input: &Input) -> Option<f64> {
    Some(input.last?.seconds_since(input.first?))
}

/// A flow by its endpoints: those at A, and what the inside endpoint is called at B where that differs.
pub(super) fn flow(flow: &FlowName) -> String {
    let arrow = |name: &str| name.replacen(' ', " ↔ ", 1);
    match (&flow.a, &flow.b) {
        (Some(a), Some(b)) if a == b => arrow(a),
        (Some(a), Some(b)) => match (a.split_once(' '), b.split_once(' ')) {
            (Some((_, peer)), Some((outer, same))) if peer == same => format!("{} (at B: {outer})", arrow(a)),
            _ => format!("{} (at B: {})", arrow(a), arrow(b)),
        },
        (Some(a), None) => format!("{} (at A only)", arrow(a)),
        (None, Some(b)) => format!("{} (at B only)", arrow(b)),
        (None, None) => "(unnamed)".into(),
    }
}

/// A limit of what could be judged.
pub(super) fn limit(limit: &Coverage) -> String {
    let point = match limit.point {
        Some(Point::A) => "A: ",
        Some(Point::B) => "B: ",
        None => "",
    };
    format!("{point}{} ({})", limit.summary, limit.id)
}

/// A damaged place of an input.
pub(crate) fn problem(problem: &Problem) -> String {
    let (offset, frame) = (thousands(problem.offset), thousands(problem.frame));
    if problem.frame == 0 {
        // The file as a whole.
        return format!("{}: {}", problem.file, problem.message);
    }
    format!("{}: byte {offset}, frame {frame}: {}", problem.file, problem.message)
}

/// The counts over both captures.
pub(super) fn totals(totals: &Totals) -> String {
    format!(
        "A: {} packets, {} of them matched ({}), {} seen there alone. B: {} packets, {} seen there alone. \
         {}, {} of them paired.",
        thousands(totals.packets_a),
        thousands(totals.matched),
        percent(totals.matched, totals.packets_a),
        thousands(totals.unmatched_a),
        thousands(totals.packets_b),
        thousands(totals.unmatched_b),
        count(totals.flows, "flow"),
        thousands(totals.paired_flows),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_are_named_by_what_their_files_share() {
        let name = |files: &[&str]| {
            let files = files.iter().map(|file| (*file).to_owned()).collect();
            input_name(&Input { files, ..Input::default() })
        };
        assert_eq!(name(&["/x/virbr0/ring_01.pcap", "/x/virbr0/ring_02.pcap"]), "virbr0/ring_0* (2 files)");
        assert_eq!(name(&["./a1", "./a2", "./b"]), "a1 and 2 more");
        assert_eq!(name(&["üa", "üb"]), "ü* (2 files)");
        assert_eq!(name(&["-"]), "standard input");
    }

    #[test]
    fn clocks_are_described_by_what_is_known() {
        let clock = Clock { offset_seconds: -1.3, drift_ppm: 0.0, uncertainty_seconds: Some(2e-6), samples: 9 };
        assert_eq!(clocks(&clock), "B's clock is 1.3 s behind A's (± 2 µs)");
        let clock = Clock { offset_seconds: 1e-6, ..clock };
        assert_eq!(clocks(&clock), "clocks agree within 2 µs");
        assert_eq!(clocks(&Clock::default()), "clocks not compared");
    }
}
