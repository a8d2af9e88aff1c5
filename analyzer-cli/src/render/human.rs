//! The report for people at a terminal: who did it first, then the proof, then what to do.
//!
//! Prose is wrapped to the terminal; commands and display filters never are, because they are there to be copied. A date
//! is printed once, after that times are distances from the finding's first packet.

use analyzer_core::Time;
use analyzer_core::report::{Evidence, Finding, FlowName, Report, Severity};
use anstyle::{AnsiColor, Style};
use serde_json::Value;
use std::fmt::Write;

use super::next::next;
use super::page::{BOLD, DIM, Page, whole_parts};
use super::text::{clock_time, count, date, printable, relative, thousands, width};
use super::verdict::verdict;
use super::{View, describe};
use crate::select::actionable;

/// Evidence, flows and reasons listed unless the reader asks for all.
const FEW: usize = 4;

const ERROR: Style = AnsiColor::Red.on_default().bold();
const WARNING: Style = AnsiColor::Yellow.on_default().bold();
const INFO: Style = AnsiColor::Cyan.on_default();
const GOOD: Style = AnsiColor::Green.on_default().bold();

/// The whole report.
pub(crate) fn render(report: &Report, view: View) -> String {
    let mut page = Page::new(view.width);
    if !view.quiet {
        header(&mut page, report);
    }
    conclusion(&mut page, report, view);
    let (acute, context): (Vec<&Finding>, Vec<&Finding>) = report.findings.iter().partition(|f| actionable(f));
    if view.quiet {
        for finding in acute {
            page.blank_once();
            short_finding(&mut page, finding);
        }
        return page.out;
    }
    for finding in acute {
        page.blank();
        full_finding(&mut page, finding, report.inputs.a.first, view);
    }
    if view.verbose {
        for finding in context {
            page.blank();
            full_finding(&mut page, finding, report.inputs.a.first, view);
        }
    } else if !context.is_empty() {
        page.blank();
        for finding in context {
            short_finding(&mut page, finding);
        }
    }
    footer(&mut page, report, view);
    page.out
}

fn header(page: &mut Page, report: &Report) {
    let [a, b] = [&report.inputs.a, &report.inputs.b].map(describe::input);
    let (plain_a, plain_b) = (printable(&a), printable(&b));
    if width("pcapdiff    ↔  ") + width(&plain_a) + width(&plain_b) <= page.width {
        let _ = writeln!(page.out, "{BOLD}pcapdiff{BOLD:#}  {plain_a}  ↔  {plain_b}");
    } else {
        page.styled_line(BOLD, "pcapdiff");
        page.hanging("  A", DIM, 5, &a);
        page.hanging("  B", DIM, 5, &b);
    }
    let totals = &report.totals;
    let mut parts = vec![
        describe::relation(&report.topology),
        format!("{}, {} paired", count(totals.flows, "flow"), thousands(totals.paired_flows)),
        format!("{} matched", count(totals.matched, "packet")),
        describe::clocks(&report.clock),
    ];
    if let Some(first) = report.inputs.a.first.or(report.inputs.b.first) {
        parts.push(format!("from {} {} UTC", date(first), clock_time(first)));
    }
    page.row(&parts);
}

fn conclusion(page: &mut Page, report: &Report, view: View) {
    let verdict = verdict(report, view.hidden);
    let style = match verdict.severity {
        Some(severity) => severity_style(severity),
        None if verdict.todo.is_some() => WARNING,
        None => GOOD,
    };
    page.blank();
    page.hanging("VERDICT", style, 9, &verdict.headline);
    for line in &verdict.more {
        page.prose(9, line);
    }
    if let Some(todo) = &verdict.todo {
        page.hanging("To do", BOLD, 9, todo);
    }
}

fn severity_style(severity: Severity) -> Style {
    match severity {
        Severity::Error => ERROR,
        Severity::Warning => WARNING,
        Severity::Info => INFO,
    }
}

/// A finding in a sentence.
fn short_finding(page: &mut Page, finding: &Finding) {
    let name = if actionable(finding) { finding.id.to_owned() } else { describe::context(finding) };
    let text = format!("{name}: {}", finding.summary);
    page.hanging(describe::severity(finding.severity), severity_style(finding.severity), 9, &text);
}

/// A finding with its proof and its remedy.
fn full_finding(page: &mut Page, finding: &Finding, origin: Option<Time>, view: View) {
    let few = if view.verbose { usize::MAX } else { FEW };
    let mut parts = vec![finding.id.to_owned()];
    parts.extend(describe::facts(finding));
    let style = severity_style(finding.severity);
    page.hanging(describe::severity(finding.severity), style, 9, &whole_parts(&parts, page.width));

    page.prose(2, &finding.summary);
    page.prose(2, &describe::when(finding, origin));
    reasons(page, finding, few);
    evidence(page, finding, few);
    flows(page, &finding.flows, finding.flow_count, few);
    if view.verbose {
        details(page, finding);
    }
    fixes(page, finding);
    if !finding.filters.a.is_empty() || !finding.filters.b.is_empty() {
        page.styled_line(BOLD, "  Wireshark");
        for (point, filter) in [("a", &finding.filters.a), ("b", &finding.filters.b)] {
            if !filter.is_empty() {
                let _ = writeln!(page.out, "    {DIM}{point}{DIM:#}  {}", printable(filter));
            }
        }
    }
}

fn reasons(page: &mut Page, finding: &Finding, few: usize) {
    let (pro, contra) = (describe::reasons(finding, "for"), describe::reasons(finding, "against"));
    if pro.is_empty() && contra.is_empty() {
        return;
    }
    for (label, list) in [("    for", &pro), ("    against", &contra)] {
        for reason in list.iter().take(few) {
            page.hanging(label, DIM, 13, reason);
        }
        more(page, 13, list.len(), few);
    }
    if contra.is_empty() {
        page.hanging("    against", DIM, 13, "nothing seen");
    }
}

/// Says how many items of a list were not shown.
fn more(page: &mut Page, indent: usize, have: usize, shown: usize) {
    if have > shown {
        page.prose(indent, &format!("(… {} more)", thousands((have - shown) as u64)));
    }
}

fn evidence(page: &mut Page, finding: &Finding, few: usize) {
    let list = &finding.evidence;
    let labels: Vec<String> = list.iter().take(few).map(|item| evidence_label(item, finding.first)).collect();
    let column = labels.iter().map(|label| width(label)).max().unwrap_or(0) + 2;
    for (item, label) in list.iter().zip(&labels) {
        page.hanging(label, DIM, column, &item.note);
    }
    more(page, column, list.len(), few);
}

fn evidence_label(item: &Evidence, origin: Time) -> String {
    let point = match item.point {
        analyzer_core::Point::A => 'a',
        analyzer_core::Point::B => 'b',
    };
    format!("    {point} {}  {}", describe::frame(item), relative(item.time, origin))
}

fn flows(page: &mut Page, list: &[FlowName], whole: u64, few: usize) {
    if list.is_empty() {
        return;
    }
    page.styled_line(BOLD, "  Flows");
    for flow in list.iter().take(few) {
        page.hanging(&format!("    {}", flow.protocol), DIM, 10, &describe::flow(flow));
    }
    let shown = few.min(list.len());
    more(page, 10, usize::try_from(whole).unwrap_or(usize::MAX).max(list.len()), shown);
}

fn details(page: &mut Page, finding: &Finding) {
    let shown: Vec<_> = finding.details.iter().filter(|(key, _)| *key != "reasons").collect();
    if shown.is_empty() {
        return;
    }
    page.styled_line(BOLD, "  Details");
    for (key, value) in shown {
        let value = match value {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        page.hanging(&format!("    {key}"), DIM, 6 + width(key), &value);
    }
}

fn fixes(page: &mut Page, finding: &Finding) {
    if finding.fixes.is_empty() {
        return;
    }
    page.styled_line(BOLD, "  What to do");
    for (i, fix) in finding.fixes.iter().enumerate() {
        page.hanging(&format!("    {}.", i + 1), BOLD, 7, &fix.title);
        for command in &fix.commands {
            page.verbatim(9, command);
        }
        if !fix.caveat.is_empty() {
            page.prose(7, &format!("But: {}", fix.caveat));
        }
    }
}

fn footer(page: &mut Page, report: &Report, view: View) {
    page.blank();
    for limit in &report.coverage {
        page.hanging("Not judged", BOLD, 12, &describe::limit(limit));
    }
    for advice in next(report) {
        page.hanging("Next time", BOLD, 12, &advice.what);
        for command in &advice.commands {
            page.verbatim(14, command);
        }
    }
    let few = if view.verbose { usize::MAX } else { FEW };
    for input in [&report.inputs.a, &report.inputs.b] {
        for problem in input.problems.iter().take(few) {
            page.hanging("Damage", BOLD, 12, &describe::problem(problem));
        }
        more(page, 12, input.problems.len(), few);
    }
    if view.verbose {
        page.hanging("Topology", BOLD, 12, &describe::topology(&report.topology));
        page.hanging("Clock", BOLD, 12, &describe::clock(&report.clock));
    }
    page.hanging("Totals", BOLD, 12, &describe::totals(&report.totals));
    if let Some(finding) = report.findings.iter().find(|finding| actionable(finding)) {
        page.hanging("More", BOLD, 12, &format!("`pcapdiff explain {}`", finding.id));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::sample;

    const VIEW: View = View { width: 80, verbose: false, quiet: false, hidden: 0 };

    fn plain(report: &Report, view: View) -> String {
        anstream::adapter::strip_str(&render(report, view)).to_string()
    }

    /// Lines that are prose, and so must fit.
    fn too_wide(text: &str, columns: usize) -> Vec<&str> {
        let copied = |line: &&str| {
            let start = line.trim_start();
            let filter = start.starts_with("a  ") || start.starts_with("b  ");
            let command = line.starts_with("         ") && line.len() - start.len() == 9;
            filter || command
        };
        // A single word, or a command between backticks, may be longer than the line.
        let one_word = |line: &&str| line.trim_start().matches(' ').count() == 0 || line.contains('`');
        text.lines().filter(|line| width(line) > columns && !copied(line) && !one_word(line)).collect()
    }

    #[test]
    fn resets_at_80_columns() {
        let text = plain(&sample::resets(), VIEW);
        assert_eq!(too_wide(&text, 80), Vec::<&str>::new());
        sample::snapshot("human-resets-80.txt", &text);
    }

    #[test]
    fn resets_at_20_columns() {
        let text = plain(&sample::resets(), View { width: 1, ..VIEW });
        assert_eq!(too_wide(&text, 20), Vec::<&str>::new());
        sample::snapshot("human-resets-20.txt", &text);
    }

    #[test]
    fn resets_in_full() {
        sample::snapshot(
            "human-resets-verbose.txt",
            &plain(&sample::resets(), View { width: 500, verbose: true, ..VIEW }),
        );
    }

    #[test]
    fn resets_in_brief() {
        sample::snapshot("human-resets-quiet.txt", &plain(&sample::resets(), View { quiet: true, ..VIEW }));
    }

    #[test]
    fn a_healthy_pair_says_what_was_checked() {
        sample::snapshot("human-healthy.txt", &plain(&sample::healthy(), VIEW));
    }

    #[test]
    fn hostile_strings_drive_no_terminal() {
        let text = plain(&sample::hostile(), View { verbose: true, ..VIEW });
        assert!(text.chars().all(|c| c == '\n' || !c.is_control()), "{text:?}");
        // With colours, the only escapes are the renderer's own.
        let coloured = render(&sample::hostile(), VIEW);
        assert!(coloured.split('\x1b').skip(1).all(|rest| rest.starts_with('[') && rest[1..].contains('m')));
        assert!(!coloured.contains("\x1b[2J") && !coloured.contains('\x07'));
        sample::snapshot("human-hostile.txt", &text);
    }

    #[test]
    fn no_width_makes_it_fail() {
        for columns in 0..130 {
            for report in [sample::resets(), sample::healthy(), sample::hostile()] {
                let text = plain(&report, View { width: columns, verbose: columns % 2 == 0, ..VIEW });
                assert!(text.contains("VERDICT"));
            }
        }
    }
}
