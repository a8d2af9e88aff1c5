//! All flows as a table: one line each, RFC 4180, with a header line whose names end in their unit.

use analyzer_core::evidence::{FlowStats, Side, Trace};
use analyzer_core::report::Report;
use analyzer_core::{Direction, Point, Time};
use rayon::prelude::*;
use std::collections::HashMap;
use std::io::Write;

use super::csv::cell;

/// A number of one side of a flow.
type Counter = fn(&Side) -> u64;

/// What is counted of each direction at each point; the names are completed as in `outbound_a_packets`.
const COUNTERS: &[(&str, Counter)] = &[
    ("packets", |side| side.packets.into()),
    ("ip_bytes", |side| side.bytes),
    ("matched_packets", |side| side.matched.into()),
    ("unmatched_packets", |side| side.unmatched.into()),
    ("uncovered_packets", |side| side.edge.into()),
    ("retransmitted_segments", |side| side.retransmissions.into()),
    ("spurious_segments", |side| side.spurious.into()),
    ("duplicate_packets", |side| side.duplicates.into()),
    ("wrong_checksum_packets", |side| side.wrong_checksums.into()),
    ("window_closed_times", |side| side.zero_windows.into()),
];

/// The findings that name a flow, by its serial number: which they are, and their ids.
pub(crate) fn findings(report: &Report) -> HashMap<u32, Vec<(usize, &'static str)>> {
    let mut findings: HashMap<u32, Vec<(usize, &'static str)>> = HashMap::new();
    for (number, finding) in report.findings.iter().enumerate() {
        for serial in &finding.serials {
            findings.entry(*serial).or_default().push((number, finding.id));
        }
    }
    findings
}

/// Lines that one thread puts into words at a time.
const BLOCK: usize = 256;
/// Blocks that are in memory together.
const BLOCKS: usize = 16;

/// Writes the table.
pub(crate) fn write(report: &Report, trace: &Trace, mut out: impl Write) -> std::io::Result<()> {
    let mut writer = ::csv::Writer::from_writer(&mut out);
    writer.write_record(header()).map_err(failed)?;
    writer.flush()?;
    drop(writer);
    let findings = findings(report);
    let block = |flows: &[FlowStats]| -> ::csv::Result<Vec<u8>> {
        let mut line = Line { writer: ::csv::Writer::from_writer(Vec::new()), number: itoa::Buffer::new() };
        for flow in flows {
            line.write(flow, findings.get(&flow.serial).map(Vec::as_slice).unwrap_or_default())?;
        }
        Ok(line.writer.into_inner().map_err(::csv::IntoInnerError::into_error)?)
    };
    for flows in trace.flows.chunks(BLOCK * BLOCKS) {
        let blocks: Vec<::csv::Result<Vec<u8>>> = flows.par_chunks(BLOCK).map(block).collect();
        for block in blocks {
            out.write_all(&block.map_err(failed)?)?;
        }
    }
    out.flush()
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

/// Writes a flow field by field: there are many flows, and most fields are numbers.
struct Line<W: Write> {
    writer: ::csv::Writer<W>,
    number: itoa::Buffer,
}

impl<W: Write> Line<W> {
    fn write(&mut self, flow: &FlowStats, findings: &[(usize, &str)]) -> ::csv::Result<()> {
        let time = |time: Option<Time>| time.map(|time| time.to_string()).unwrap_or_default();
        let (first, last) = (flow.first(), flow.last());
        self.number(flow.serial.into())?;
        self.text(flow.protocol)?;
        let name = flow.name();
        for name in [name.a, name.b] {
            let (inside, outside) = name.as_deref().and_then(|name| name.split_once(' ')).unwrap_or_default();
            self.text(&cell(inside))?;
            self.text(&cell(outside))?;
        }
        self.text(&time(first))?;
        self.text(&time(last))?;
        let length = first.zip(last).map(|(first, last)| last.seconds_since(first).to_string());
        self.text(&length.unwrap_or_default())?;
        for (_, direction, point) in SIDES {
            for (_, count) in COUNTERS {
                self.number(count(flow.side(direction, point)))?;
            }
        }
        for direction in Direction::BOTH.map(Direction::index) {
            self.number(flow.lost_between[direction].into())?;
            self.number(flow.lost_between_bytes[direction])?;
            self.number(flow.lost_beyond[direction].into())?;
        }
        self.number(flow.resets.into())?;
        self.number(flow.icmp_errors.into())?;
        match flow.successor_of {
            Some(serial) => self.number(serial.into())?,
            None => self.text("")?,
        }
        self.text(&findings.iter().map(|(_, id)| *id).collect::<Vec<_>>().join(" "))?;
        // An empty record ends the line.
        self.writer.write_record(None::<&[u8]>)
    }

    fn text(&mut self, text: &str) -> ::csv::Result<()> {
        self.writer.write_field(text)
    }

    fn number(&mut self, number: u64) -> ::csv::Result<()> {
        self.writer.write_field(self.number.format(number))
    }
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
