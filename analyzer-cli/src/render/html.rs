//! The report as one page for a browser: no network, no other files, dark and light, printable, usable from a keyboard
//! and with a screen reader.
//!
//! The template escapes every value, and control characters are made visible on top of that. Should something slip
//! through all the same, the page's content security policy lets no script run but its own, and lets nothing be loaded.

use analyzer_core::evidence::{FlowStats, Trace};
use analyzer_core::report::{Evidence, Finding, Input, Report};
use analyzer_core::{Direction, Point, Time};
use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{Environment, Value};
use serde::Serialize;
use serde_json::Value as Json;

use super::next::next;
use super::pictures::{self, Delays, LadderTable, Mappings, ShareRow, Shares, Timeline, tenths};
use super::text::{clock_time, count, date, duration, percent, printable, relative, spans, thousands};
use super::verdict::verdict;
use super::{Material, View, describe, flows};
use crate::select::actionable;

const TEMPLATE: &str = include_str!("report.html");
/// The page's only script: adds buttons that copy, and to the table of flows a field that filters and heads that sort.
const SCRIPT: &str = include_str!("report.js");
/// `openssl dgst -sha256 -binary analyzer-cli/src/render/report.js | base64`
const SCRIPT_HASH: &str = "MLxnetp4cPH0XrCHbY7D9vRQdghZ1lbUR08rseAIeDI=";

/// Rows of evidence and flows unless all are asked for.
const FEW: usize = 25;
/// Rows of the table of all flows: more are for a spreadsheet.
const MOST_FLOWS: usize = 1000;

pub(crate) fn render(report: &Report, material: Material<'_>, view: View) -> anyhow::Result<String> {
    let mut environment = Environment::new();
    environment.set_syntax(SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build()?);
    // The name decides about escaping.
    environment.add_template("report.html", TEMPLATE)?;
    environment.set_formatter(|out, state, value| match value.as_str() {
        Some(text) if !value.is_safe() => {
            minijinja::escape_formatter(out, state, &Value::from(printable(text).as_ref()))
        }
        _ => minijinja::escape_formatter(out, state, value),
    });
    environment.add_filter("prose", prose);
    Ok(environment.get_template("report.html")?.render(Serde(Page::new(report, material, view)))?)
}

/// Prose with what stands between backticks as code.
fn prose(text: &str) -> Value {
    let mut out = String::with_capacity(text.len());
    for span in spans(&printable(text)) {
        if span.code {
            out.push_str("<code>");
        }
        for c in span.text.chars() {
            match c {
                '<' => out.push_str("&lt;"),
                '>' => out.push_str("&gt;"),
                '&' => out.push_str("&amp;"),
                '"' => out.push_str("&quot;"),
                '\'' => out.push_str("&#x27;"),
                c => out.push(c),
            }
        }
        if span.code {
            out.push_str("</code>");
        }
    }
    Value::from_safe_string(out)
}

/// What the template shows.
#[derive(Serialize)]
struct Page<'a> {
    script: Value,
    heads: [&'static str; CELLS.len()],
    script_hash: &'a str,
    version: &'a str,
    title: String,
    /// `error`, `warning`, `good` or `unclear`.
    mood: &'a str,
    headline: String,
    more: Vec<String>,
    todo: Option<String>,
    points: [PointRow; 2],
    bars: [Bar; 2],
    timeline: Option<Timeline>,
    alone: Vec<Shares>,
    delays: Vec<Delays>,
    uncertainty: String,
    findings: Vec<Section<'a>>,
    context: Vec<Section<'a>>,
    flows: Vec<FlowRow>,
    all_flows: Vec<AnyFlow>,
    flows_left_out: String,
    limits: Vec<String>,
    next: Vec<(String, Vec<String>)>,
    damage: Vec<String>,
    topology: String,
    clock: Vec<(&'a str, String)>,
    totals: String,
}

#[derive(Serialize)]
struct PointRow {
    name: &'static str,
    file: String,
    files: Vec<String>,
    packets: String,
    bytes: String,
    format: String,
    from: String,
    length: String,
    snaplen: String,
}

/// A point's packets: how many of them were matched.
#[derive(Serialize)]
struct Bar {
    name: &'static str,
    /// Share of the bar, 0 to 100.
    matched: f64,
    label: String,
}

#[derive(Serialize)]
struct Section<'a> {
    anchor: String,
    id: &'a str,
    severity: &'a str,
    summary: &'a str,
    facts: Vec<String>,
    when: String,
    reasons_for: Vec<&'a str>,
    reasons_against: Vec<&'a str>,
    evidence: Vec<EvidenceRow<'a>>,
    evidence_left_out: String,
    filters: Vec<(&'a str, &'a str)>,
    fixes: Vec<FixRow<'a>>,
    shares: Vec<Shares>,
    ladder: Option<LadderTable>,
    mappings: Vec<Mappings>,
}

#[derive(Serialize)]
struct EvidenceRow<'a> {
    point: &'a str,
    frame: String,
    time: String,
    relative: String,
    note: &'a str,
}

#[derive(Serialize)]
struct FixRow<'a> {
    title: &'a str,
    commands: &'a [String],
    caveat: &'a str,
}

#[derive(Serialize)]
struct FlowRow {
    finding: String,
    anchor: String,
    protocol: &'static str,
    a: String,
    b: String,
}

/// A flow with its counters, concerned or not.
#[derive(Serialize)]
struct AnyFlow {
    findings: Vec<(String, &'static str)>,
    protocol: &'static str,
    a: String,
    b: String,
    /// What a column sorts by, and what it shows.
    cells: [(f64, String); CELLS.len()],
}

/// Heads of the columns with numbers.
const CELLS: [&str; 9] =
    ["Start", "Length", "Out at A", "Out at B", "In at B", "In at A", "Bytes", "At one point only", "Sent again"];

impl<'a> Page<'a> {
    fn new(report: &'a Report, material: Material<'_>, view: View) -> Self {
        let Material { trace, ladders } = material;
        let verdict = verdict(report, view.hidden);
        let mood = match verdict.severity {
            Some(severity) => describe::severity(severity),
            None if verdict.todo.is_some() => "unclear",
            None => "good",
        };
        let few = if view.verbose { usize::MAX } else { FEW };
        let origin = report.inputs.a.first;
        let sections = report.findings.iter().enumerate();
        let (findings, context): (Vec<_>, Vec<_>) = sections.partition(|(_, finding)| actionable(finding));
        let section = |(i, finding): (usize, &'a Finding)| {
            let ladder = ladders.get(i).and_then(Option::as_ref).map(|ladder| pictures::ladder(ladder, finding));
            Section { ladder, mappings: pictures::mappings(finding, trace), ..Section::new(i, finding, origin, few) }
        };
        let [a, b] = [&report.inputs.a, &report.inputs.b];
        let totals = &report.totals;
        Self {
            script: Value::from_safe_string(SCRIPT.to_owned()),
            script_hash: SCRIPT_HASH,
            heads: CELLS,
            version: report.tool_version,
            title: format!("{} ↔ {}", describe::input_name(a), describe::input_name(b)),
            mood,
            headline: verdict.headline,
            more: verdict.more,
            todo: verdict.todo,
            points: [PointRow::new("A, inside", a), PointRow::new("B, outside", b)],
            bars: [
                Bar::new("A", totals.packets_a.saturating_sub(totals.unmatched_a), totals.packets_a),
                Bar::new("B", totals.packets_b.saturating_sub(totals.unmatched_b), totals.packets_b),
            ],
            timeline: pictures::timeline(report, &trace.charts.traffic),
            alone: pictures::alone(trace),
            delays: pictures::delays(trace),
            uncertainty: report.clock.uncertainty_seconds.map_or_else(|| "an unknown amount".into(), duration),
            flows: if trace.flows.is_empty() { flows(report, few) } else { Vec::new() },
            flows_left_out: match trace.flows.len().saturating_sub(MOST_FLOWS) as u64 + trace.flows_left_out {
                0 => String::new(),
                more => count(more, "more flow"),
            },
            all_flows: all_flows(report, trace),
            findings: findings.into_iter().map(section).collect(),
            context: context.into_iter().map(section).collect(),
            limits: report.coverage.iter().map(describe::limit).collect(),
            next: next(report).into_iter().map(|advice| (advice.what, advice.commands)).collect(),
            damage: a.problems.iter().chain(&b.problems).take(few).map(describe::problem).collect(),
            topology: describe::topology(&report.topology),
            clock: clock(report),
            totals: describe::totals(totals),
        }
    }
}

impl PointRow {
    fn new(name: &'static str, input: &Input) -> Self {
        let when = |time: Time| format!("{} {} UTC", date(time), clock_time(time));
        Self {
            name,
            file: describe::input_name(input),
            files: input.files.clone(),
            packets: thousands(input.packets),
            bytes: thousands(input.bytes),
            format: format!("{}, {}", input.format, input.link_type),
            from: input.first.map_or_else(|| "no packets".into(), when),
            length: describe::input_seconds(input).map(duration).unwrap_or_default(),
            snaplen: if input.snaplen == 0 { "not stated".into() } else { thousands(input.snaplen.into()) },
        }
    }
}

impl Bar {
    fn new(name: &'static str, matched: u64, all: u64) -> Self {
        let share = if all == 0 { 0.0 } else { matched as f64 * 100.0 / all as f64 };
        let label = format!(
            "{name}: {} of {} seen at both points ({})",
            thousands(matched),
            count(all, "packet"),
            percent(matched, all)
        );
        Self { name, matched: tenths(share), label }
    }
}

impl<'a> Section<'a> {
    fn new(number: usize, finding: &'a Finding, origin: Option<Time>, few: usize) -> Self {
        let filters = [("A", finding.filters.a.as_str()), ("B", finding.filters.b.as_str())];
        let left_out = finding.evidence.len().saturating_sub(few);
        Self {
            anchor: anchor(number),
            id: finding.id,
            severity: describe::severity(finding.severity),
            summary: &finding.summary,
            facts: describe::facts(finding),
            when: describe::when(finding, origin),
            reasons_for: describe::reasons(finding, "for"),
            reasons_against: describe::reasons(finding, "against"),
            evidence: finding.evidence.iter().take(few).map(|item| EvidenceRow::new(item, finding.first)).collect(),
            evidence_left_out: if left_out > 0 { count(left_out as u64, "more frame") } else { String::new() },
            filters: filters.into_iter().filter(|(_, filter)| !filter.is_empty()).collect(),
            fixes: finding
                .fixes
                .iter()
                .map(|fix| FixRow { title: &fix.title, commands: &fix.commands, caveat: &fix.caveat })
                .collect(),
            shares: shares(finding),
            ladder: None,
            mappings: Vec::new(),
        }
    }
}

impl<'a> EvidenceRow<'a> {
    fn new(item: &'a Evidence, origin: Time) -> Self {
        Self {
            point: if item.point == Point::A { "A" } else { "B" },
            frame: describe::frame(item).trim_start_matches('#').to_owned(),
            time: item.time.to_string(),
            relative: relative(item.time, origin),
            note: &item.note,
        }
    }
}

/// The place of a finding in the page. Numbered, because a kind of finding can occur more than once.
pub(super) fn anchor(number: usize) -> String {
    format!("finding-{}", number + 1)
}

fn flows(report: &Report, few: usize) -> Vec<FlowRow> {
    let mut rows = Vec::new();
    for (i, finding) in report.findings.iter().enumerate() {
        for flow in finding.flows.iter().take(few) {
            let name = |name: &Option<String>| name.clone().unwrap_or_else(|| "not seen".into());
            rows.push(FlowRow {
                finding: finding.id.to_owned(),
                anchor: anchor(i),
                protocol: flow.protocol,
                a: name(&flow.a),
                b: name(&flow.b),
            });
        }
    }
    rows
}

/// All flows, those of findings first, then by packets.
fn all_flows(report: &Report, trace: &Trace) -> Vec<AnyFlow> {
    let findings = flows::findings(report);
    let packets = |flow: &FlowStats| -> u64 { flow.sides.iter().flatten().map(|side| u64::from(side.packets)).sum() };
    let rank = |flow: &FlowStats| {
        let worst = findings.get(&flow.serial).and_then(|list| list.first()).map_or(usize::MAX, |(number, _)| *number);
        (worst, std::cmp::Reverse(packets(flow)), flow.serial)
    };
    let mut order: Vec<_> = trace.flows.iter().map(|flow| (rank(flow), flow)).collect();
    if order.len() > MOST_FLOWS {
        order.select_nth_unstable_by_key(MOST_FLOWS, |(rank, _)| *rank);
        order.truncate(MOST_FLOWS);
    }
    order.sort_unstable_by_key(|(rank, _)| *rank);
    let origin = report.inputs.a.first.or(report.inputs.b.first).unwrap_or_default();
    let row = |flow: &FlowStats| AnyFlow::new(flow, findings.get(&flow.serial).map(Vec::as_slice), origin);
    order.into_iter().map(|(_, flow)| row(flow)).collect()
}

impl AnyFlow {
    fn new(flow: &FlowStats, findings: Option<&[(usize, &'static str)]>, origin: Time) -> Self {
        let names = flow.name();
        let name = |name: Option<String>| name.map_or_else(|| "not seen".into(), |name| name.replacen(' ', " ↔ ", 1));
        let mut named: Vec<(String, &'static str)> = Vec::new();
        for (number, id) in findings.unwrap_or_default() {
            if !named.iter().any(|(_, other)| other == id) {
                named.push((anchor(*number), id));
            }
        }
        let first = flow.first().unwrap_or(origin);
        let length = flow.last().map_or(0.0, |last| last.seconds_since(first));
        let number = |number: u64| (number as f64, thousands(number));
        let packets = |direction, point| number(flow.side(direction, point).packets.into());
        // Bytes as they were where the sender is nearer.
        let bytes: u64 = Direction::BOTH.map(|direction| flow.side(direction, direction.entry()).bytes).iter().sum();
        let sides = || flow.sides.iter().flatten();
        let again = Direction::BOTH
            .map(|direction| u64::from(flow.side(direction, direction.entry()).retransmissions))
            .iter()
            .sum();
        Self {
            findings: named,
            protocol: flow.protocol,
            a: name(names.a),
            b: name(names.b),
            cells: [
                (first.seconds_since(origin), relative(first, origin)),
                (length, duration(length)),
                packets(Direction::Outbound, Point::A),
                packets(Direction::Outbound, Point::B),
                packets(Direction::Inbound, Point::B),
                packets(Direction::Inbound, Point::A),
                number(bytes),
                number(sides().map(|side| u64::from(side.unmatched)).sum()),
                number(again),
            ],
        }
    }
}

/// What was lost by size, offered rate, protocol and path, where a finding counts that.
fn shares(finding: &Finding) -> Vec<Shares> {
    let rows = |key: &str, name: &dyn Fn(&Json) -> String| -> Vec<ShareRow> {
        let list = finding.details.get(key).and_then(Json::as_array);
        let row = |row: &Json| Some(ShareRow::new(name(row), row["lost"].as_u64()?, row["offered"].as_u64()?));
        list.into_iter().flatten().filter_map(row).collect()
    };
    let size = |row: &Json| match row["up_to"].as_u64() {
        Some(bytes) => format!("up to {} bytes", thousands(bytes)),
        None => "larger".into(),
    };
    let rate = |row: &Json| format!("up to {} packets/s", thousands(row["up_to_per_second"].as_u64().unwrap_or(0)));
    let text = |row: &Json, key: &str| row[key].as_str().unwrap_or_default().to_owned();
    let path = |row: &Json| format!("{} ({} → {})", text(row, "path"), text(row, "from"), text(row, "to"));
    let tables = [
        Shares { caption: "Lost by size of the packet".into(), rows: rows("by_size", &size) },
        Shares { caption: "Lost by offered rate".into(), rows: rows("by_rate", &rate) },
        Shares { caption: "Lost by protocol".into(), rows: rows("by_protocol", &|row| text(row, "protocol")) },
        Shares { caption: "Lost by path".into(), rows: rows("by_path", &path) },
    ];
    tables.into_iter().filter(|table| table.rows.len() > 1).collect()
}

fn clock(report: &Report) -> Vec<(&'static str, String)> {
    let clock = &report.clock;
    if clock.samples == 0 {
        return vec![("Clocks", describe::clocks(clock))];
    }
    vec![
        ("Clocks", describe::clocks(clock)),
        ("Offset of B", duration(clock.offset_seconds)),
        ("Drift of B", format!("{:.3} ppm", clock.drift_ppm)),
        ("Uncertainty", clock.uncertainty_seconds.map_or_else(|| "unknown".into(), duration)),
        ("Matched packets it rests on", thousands(clock.samples)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::sample;
    use sha2::{Digest, Sha256};

    const VIEW: View = View { width: 80, verbose: false, quiet: false, hidden: 0 };

    fn base64(bytes: &[u8]) -> String {
        const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let mut out = String::new();
        for chunk in bytes.chunks(3) {
            let group =
                chunk.iter().fold(0_u32, |group, byte| group << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
            for i in 0..4 {
                let digit = DIGITS[(group >> (18 - 6 * i)) as usize & 63];
                out.push(if i > chunk.len() { '=' } else { digit as char });
            }
        }
        out
    }

    #[test]
    fn the_policy_lets_the_pages_own_script_run() {
        assert_eq!(base64(&Sha256::digest(SCRIPT)), SCRIPT_HASH);
        let page = render(&sample::healthy(), Material::of(&Trace::default()), VIEW).unwrap();
        assert!(page.contains(&format!("<script>{SCRIPT}</script>")));
        assert!(page.contains(&format!("script-src 'sha256-{SCRIPT_HASH}'")));
    }

    #[test]
    fn resets_for_a_browser() {
        sample::snapshot(
            "resets.html",
            &render(&sample::resets(), Material::of(&sample::trace(&sample::resets())), VIEW).unwrap(),
        );
    }

    #[test]
    fn a_healthy_pair_for_a_browser() {
        sample::snapshot("healthy.html", &render(&sample::healthy(), Material::of(&Trace::default()), VIEW).unwrap());
    }

    #[test]
    fn nothing_hostile_becomes_markup() {
        let page = render(
            &sample::hostile(),
            Material::of(&sample::trace(&sample::hostile())),
            View { verbose: true, ..VIEW },
        )
        .unwrap();
        assert_eq!(page.matches("<script").count(), 1);
        assert!(page.contains("&lt;script&gt;alert(1)"));
        assert!(page.chars().all(|c| c == '\n' || !c.is_control()));
        assert!(!page.contains('\u{202e}'));
    }

    #[test]
    fn the_page_needs_nothing_from_elsewhere() {
        let page = render(&sample::resets(), Material::of(&sample::trace(&sample::resets())), VIEW).unwrap();
        for attribute in ["src=", "@import", "url(", "<link", "http://", "https://"] {
            assert!(!page.contains(attribute), "{attribute}");
        }
    }
}
