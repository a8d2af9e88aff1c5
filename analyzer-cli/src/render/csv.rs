//! The findings as a table: one line each, RFC 4180, with a header line. Lists are left to the JSON form.

use analyzer_core::report::{Finding, Report};
use std::borrow::Cow;

use super::describe;
use super::text::printable;

const HEADER: [&str; 16] = [
    "severity",
    "id",
    "confidence",
    "where",
    "direction",
    "cause",
    "protocol",
    "flow_count",
    "packet_count",
    "first",
    "last",
    "duration_seconds",
    "summary",
    "filter_a",
    "filter_b",
    "fix",
];

pub(crate) fn render(report: &Report) -> anyhow::Result<Vec<u8>> {
    let mut writer = ::csv::Writer::from_writer(Vec::new());
    writer.write_record(HEADER)?;
    for finding in &report.findings {
        writer.write_record(fields(finding).iter().map(|field| cell(field).into_owned()))?;
    }
    writer.into_inner().map_err(|error| error.into_error().into())
}

fn fields(finding: &Finding) -> [Cow<'_, str>; HEADER.len()] {
    [
        describe::severity(finding.severity).into(),
        finding.id.into(),
        finding.confidence.to_string().into(),
        describe::place(finding.place).into(),
        match finding.direction {
            analyzer_core::report::Directions::Both => "both".into(),
            direction => describe::direction(direction).into(),
        },
        finding.cause.unwrap_or_default().into(),
        finding.protocol.into(),
        finding.flow_count.to_string().into(),
        finding.packet_count.to_string().into(),
        finding.first.to_string().into(),
        finding.last.to_string().into(),
        finding.duration_seconds.to_string().into(),
        finding.summary.as_str().into(),
        finding.filters.a.as_str().into(),
        finding.filters.b.as_str().into(),
        finding.fixes.first().map(|fix| fix.title.as_str()).unwrap_or_default().into(),
    ]
}

/// A field that a spreadsheet shows rather than runs: one that would begin a formula gets an apostrophe before it.
pub(super) fn cell(field: &str) -> Cow<'_, str> {
    let field = printable(field);
    let number = field.parse::<f64>().is_ok();
    if !number && field.starts_with(['=', '+', '-', '@', '|', '%']) {
        return format!("'{field}").into();
    }
    field
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::sample;

    fn lines(bytes: &[u8]) -> usize {
        bytes.split_inclusive(|byte| *byte == b'\n').count()
    }

    #[test]
    fn is_a_table_of_the_findings() {
        let text = String::from_utf8(render(&sample::resets()).unwrap()).unwrap();
        sample::snapshot("resets.csv", &text);
    }

    #[test]
    fn nothing_becomes_a_formula_or_a_second_line() {
        let bytes = render(&sample::hostile()).unwrap();
        let mut reader = ::csv::Reader::from_reader(bytes.as_slice());
        let rows: Vec<::csv::StringRecord> = reader.records().map(Result::unwrap).collect();
        assert_eq!(rows.len(), 2);
        assert_eq!(lines(&bytes), 3);
        assert!(rows[0][12].starts_with("'=summary\\x1b"));
        assert_eq!(cell("-1.5"), "-1.5");
        assert_eq!(cell("-x"), "'-x");
    }

    #[test]
    fn a_healthy_pair_has_a_header_only() {
        assert_eq!(lines(&render(&sample::healthy()).unwrap()), 1);
    }
}
