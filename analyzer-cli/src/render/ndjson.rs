//! The report as lines, for tools that read one object at a time: first everything but the lists, then each limit of
//! the coverage, then each finding. `record` says which of them a line is; the other fields are those of the JSON form.

use analyzer_core::report::{Clock, Coverage, Finding, Inputs, Report, Topology, Totals};
use serde::Serialize;

#[derive(Serialize)]
#[serde(tag = "record", rename_all = "lowercase")]
enum Record<'a> {
    Report {
        schema: &'a str,
        tool_version: &'a str,
        inputs: &'a Inputs,
        topology: &'a Topology,
        clock: &'a Clock,
        totals: &'a Totals,
    },
    Coverage(&'a Coverage),
    Finding(&'a Finding),
}

pub(crate) fn render(report: &Report) -> anyhow::Result<Vec<u8>> {
    let Report { schema, tool_version, inputs, topology, clock, coverage, totals, findings } = report;
    let first = Record::Report { schema, tool_version, inputs, topology, clock, totals };
    let records =
        std::iter::once(first).chain(coverage.iter().map(Record::Coverage)).chain(findings.iter().map(Record::Finding));
    let mut out = Vec::new();
    for record in records {
        serde_json::to_writer(&mut out, &record)?;
        out.push(b'\n');
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::sample;

    #[test]
    fn each_line_is_an_object_that_says_what_it_is() {
        for report in [sample::resets(), sample::hostile()] {
            let text = String::from_utf8(render(&report).unwrap()).unwrap();
            let lines: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
            let records: Vec<&str> = lines.iter().map(|line| line["record"].as_str().unwrap()).collect();
            assert_eq!(records, ["report", "coverage", "finding", "finding"]);
            assert_eq!(lines[0]["totals"]["matched"], 84);
            assert_eq!(lines[2]["id"], "tcp-reset");
        }
    }

    #[test]
    fn has_the_shape_that_programs_know() {
        sample::snapshot("resets.ndjson", &String::from_utf8(render(&sample::resets()).unwrap()).unwrap());
    }
}
