//! All flows as a table: one line each, RFC 4180, with a header line whose names end in their unit.

use analyzer_core::evidence::{FlowStats, Side, Trace};
use analyzer_core::report::{FlowName, Report};
use analyzer_core::{Direction, Point, Time};
use std::collections::BTreeMap;
use std::io::Write;

use super::csv::cell;

/// A number of one side of a flow.
type Counter = fn(&Side) -> u64;

/// What is counted of each direction at each point; the names are completed as in `outbound_a_packets`.
const COUNTERS: &[(&str, Counter)] = &[
    ("packets", |side| side.packets),
    ("ip_bytes", |side| side.bytes),
    ("matched_packets", |side| side.matched),
    ("unmatched_packets", |side| side.unmatched),
    ("uncovered_packets", |side| side.edge),
    ("retransmitted_segments", |side| side.retransmissions),
    ("spurious_segments", |side| side.spurious),
    ("duplicate_packets", |side| side.duplicates),
    ("wrong_checksum_packets", |side| side.wrong_checksums),
    ("window_closed_times", |side| side.zero_windows),
];

/// The findings that name a flow.
pub(crate) fn findings(report: &Report) -> BTreeMap<&FlowName, Vec<(usize, &'static str)>> {
    let mut findings: BTreeMap<&FlowName, Vec<(usize, &'static str)>> = BTreeMap::new();
    for (number, finding) in report.findings.iter().enumerate() {
        for flow in &finding.flows {
            findings.entry(flow).or_default().push((number, finding.id));
        }
    }
    findings
}

/// Writes the table.
pub(crate) fn write(report: &Report, trace: &Trace, out: impl Write) -> std::io::Result<()> {
    let mut writer = ::csv::Writer::from_writer(out);
    writer.write_record(header()).map_err(failed)?;
    let findings = findings(report);
    for flow in &trace.flows {
        let ids = findings.get(&flow.name).map(|list| list.iter().map(|(_, id)| *id).collect::<Vec<_>>());
        writer.write_record(row(flow, &ids.unwrap_or_default())).map_err(failed)?;
    }
    writer.flush()
}

fn failed(error: ::csv::Error) -> std::io::Error {
    match error.into_kind() {
        ::csv::ErrorKind::Io(error) => error,
        other => std::io::Error::other(format!("{other:?}")),
    }
}

/// The directions and points in the order in which packets pass them.
const SIDES: [(&str, Direction, Point); 4] = [
    ("outbound_a", Direction::Outbound, Point::A),
    ("outbound_b", Direction::Outbound, Point::B),
    ("inbound_b", Direction::Inbound, Point::B),
    ("inbound_a", Direction::Inbound, Point::A),
];

fn header() -> Vec<String> {
    let mut header: Vec<String> = [
        "serial",
        "protocol",
        "a_inside",
        "a_outside",
        "b_inside",
        "b_outside",
        "first_utc",
        "last_utc",
        "duration_seconds",
    ]
    .map(str::to_owned)
    .to_vec();
    for (side, ..) in SIDES {
        header.extend(COUNTERS.iter().map(|(name, _)| format!("{side}_{name}")));
    }
    for direction in ["outbound", "inbound"] {
        for name in ["lost_between_segments", "lost_between_bytes", "lost_beyond_segments"] {
            header.push(format!("{direction}_{name}"));
        }
    }
    header.extend(["resets", "icmp_errors", "successor_of_serial", "findings"].map(str::to_owned));
    header
}

fn row(flow: &FlowStats, findings: &[&str]) -> Vec<String> {
    let time = |time: Option<Time>| time.map(|time| time.to_string()).unwrap_or_default();
    let (first, last) = (flow.first(), flow.last());
    let mut row = vec![flow.serial.to_string(), flow.name.protocol.to_owned()];
    for name in [&flow.name.a, &flow.name.b] {
        let (inside, outside) = name.as_deref().and_then(|name| name.split_once(' ')).unwrap_or_default();
        row.extend([inside, outside].map(|end| cell(end).into_owned()));
    }
    row.extend([time(first), time(last)]);
    row.push(first.zip(last).map(|(first, last)| last.seconds_since(first).to_string()).unwrap_or_default());
    for (_, direction, point) in SIDES {
        row.extend(COUNTERS.iter().map(|(_, count)| count(flow.side(direction, point)).to_string()));
    }
    for direction in Direction::BOTH.map(Direction::index) {
        row.push(flow.lost_between[direction].to_string());
        row.push(flow.lost_between_bytes[direction].to_string());
        row.push(flow.lost_beyond[direction].to_string());
    }
    row.extend([flow.resets.to_string(), flow.icmp_errors.to_string()]);
    row.push(flow.successor_of.map(|serial| serial.to_string()).unwrap_or_default());
    row.push(findings.join(" "));
    row
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::sample;

    fn table(report: &Report, trace: &Trace) -> String {
        let mut out = Vec::new();
        write(report, trace, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn every_line_has_a_field_for_every_name() {
        let report = sample::resets();
        let text = table(&report, &sample::trace(&report));
        sample::snapshot("flows.csv", &text);
        let mut reader = ::csv::Reader::from_reader(text.as_bytes());
        let header = reader.headers().unwrap().clone();
        let rows: Vec<::csv::StringRecord> = reader.records().map(Result::unwrap).collect();
        assert_eq!(rows.len(), 3);
        let field = |name: &str| header.iter().position(|other| other == name).map(|place| &rows[0][place]);
        assert_eq!(field("a_inside"), Some("192.168.122.10:41594"));
        assert_eq!(field("outbound_a_packets"), Some("12"));
        assert_eq!(field("findings"), Some("tcp-reset"));
    }

    #[test]
    fn without_flows_there_is_the_header() {
        assert_eq!(table(&sample::healthy(), &Trace::default()).lines().count(), 1);
    }
}
