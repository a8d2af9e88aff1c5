//! The report for a ticket or a chat, in CommonMark with GitHub's tables.
//!
//! Text is escaped so that nothing from a capture becomes a heading, a link, an image or HTML; what stands between
//! backticks becomes code, in which Markdown obeys nothing.

use analyzer_core::Point;
use analyzer_core::report::{Finding, Report};
use std::fmt::Write;

use super::next::next;
use super::text::{clock_time, date, printable, relative, spans, thousands};
use super::verdict::verdict;
use super::{View, describe};
use crate::select::actionable;

/// Rows of evidence unless all are asked for: a ticket is no place for hundreds.
const FEW: usize = 12;

pub(crate) fn render(report: &Report, view: View) -> String {
    let mut out = String::new();
    let [a, b] = [&report.inputs.a, &report.inputs.b];
    let _ = writeln!(out, "# {} ↔ {}\n", escape(&describe::input_name(a)), escape(&describe::input_name(b)));

    let verdict = verdict(report, view.hidden);
    let _ = writeln!(out, "**{}**\n", escape(&verdict.headline));
    for line in &verdict.more {
        let _ = writeln!(out, "{}\n", escape(line));
    }
    if let Some(todo) = &verdict.todo {
        let _ = writeln!(out, "**To do:** {}\n", escape(todo));
    }
    let (acute, context): (Vec<&Finding>, Vec<&Finding>) = report.findings.iter().partition(|f| actionable(f));
    if view.quiet {
        for finding in acute {
            short_finding(&mut out, finding);
        }
        return out;
    }
    for finding in acute {
        full_finding(&mut out, finding, report, view);
    }
    if view.verbose {
        for finding in context {
            full_finding(&mut out, finding, report, view);
        }
    } else if !context.is_empty() {
        out.push_str("## For context\n\n");
        for finding in context {
            short_finding(&mut out, finding);
        }
        out.push('\n');
    }
    about(&mut out, report);
    out
}

fn short_finding(out: &mut String, finding: &Finding) {
    let severity = describe::severity(finding.severity);
    let name = if actionable(finding) { finding.id.to_owned() } else { describe::context(finding) };
    let _ = writeln!(out, "- {severity} `{name}`: {}", escape(&finding.summary));
}

fn full_finding(out: &mut String, finding: &Finding, report: &Report, view: View) {
    let few = if view.verbose { usize::MAX } else { FEW };
    let _ = writeln!(out, "## {}: {}\n", describe::severity(finding.severity), finding.id);
    let _ = writeln!(out, "{}\n", escape(&finding.summary));
    let _ = writeln!(
        out,
        "*{}.* {}\n",
        escape(&describe::facts(finding).join(" · ")),
        describe::when(finding, report.inputs.a.first)
    );

    let (pro, contra) = (describe::reasons(finding, "for"), describe::reasons(finding, "against"));
    for (label, reasons) in [("For", &pro), ("Against", &contra)] {
        for reason in reasons {
            let _ = writeln!(out, "- {label}: {}", escape(reason));
        }
    }
    if !pro.is_empty() || !contra.is_empty() {
        if contra.is_empty() {
            out.push_str("- Against: nothing seen\n");
        }
        out.push('\n');
    }

    if !finding.evidence.is_empty() {
        out.push_str("| Point | Frame | Time | What it shows |\n| --- | ---: | ---: | --- |\n");
        for item in finding.evidence.iter().take(few) {
            let point = if item.point == Point::A { 'A' } else { 'B' };
            let _ = writeln!(
                out,
                "| {point} | {} | {} | {} |",
                cell(describe::frame(item).trim_start_matches('#')),
                relative(item.time, finding.first),
                cell(&item.note),
            );
        }
        left_out(out, finding.evidence.len(), few, "frames");
        out.push('\n');
    }

    if !finding.flows.is_empty() {
        out.push_str("Flows:\n\n");
        for flow in finding.flows.iter().take(few) {
            let _ = writeln!(out, "- {} {}", escape(flow.protocol), escape(&describe::flow(flow)));
        }
        let whole = usize::try_from(finding.flow_count).unwrap_or(usize::MAX);
        left_out(out, whole, few.min(finding.flows.len()), "flows");
        out.push('\n');
    }

    if !finding.fixes.is_empty() {
        out.push_str("### What to do\n\n");
        for (i, fix) in finding.fixes.iter().enumerate() {
            let _ = writeln!(out, "{}. {}", i + 1, escape(&fix.title));
            if !fix.commands.is_empty() {
                out.push('\n');
                fenced(out, "   ", fix.commands.iter().map(String::as_str));
            }
            if !fix.caveat.is_empty() {
                let _ = writeln!(out, "\n   But: {}", escape(&fix.caveat));
            }
            out.push('\n');
        }
    }

    for (point, filter) in [('A', &finding.filters.a), ('B', &finding.filters.b)] {
        if !filter.is_empty() {
            let _ = writeln!(out, "Wireshark, {point}:\n");
            fenced(out, "", std::iter::once(filter.as_str()));
            out.push('\n');
        }
    }
}

fn left_out(out: &mut String, whole: usize, shown: usize, what: &str) {
    if whole > shown {
        let _ = writeln!(out, "\n… and {} more {what}", thousands((whole - shown) as u64));
    }
}

fn about(out: &mut String, report: &Report) {
    out.push_str("## About this comparison\n\n");
    for (point, input) in [('A', &report.inputs.a), ('B', &report.inputs.b)] {
        let _ = writeln!(out, "- {point}: {}", escape(&describe::input(input)));
    }
    if let Some(first) = report.inputs.a.first.or(report.inputs.b.first) {
        let _ = writeln!(out, "- From {} {} UTC", date(first), clock_time(first));
    }
    let _ = writeln!(out, "- {}", escape(&describe::topology(&report.topology)));
    let _ = writeln!(out, "- {}", escape(&describe::clock(&report.clock)));
    let _ = writeln!(out, "- {}", escape(&describe::totals(&report.totals)));
    for limit in &report.coverage {
        let _ = writeln!(out, "- Not judged: {}", escape(&describe::limit(limit)));
    }
    for advice in next(report) {
        let _ = writeln!(out, "- Next time: {}\n", escape(&advice.what));
        fenced(out, "  ", advice.commands.iter().map(String::as_str));
        out.push('\n');
    }
    for problem in report.inputs.a.problems.iter().chain(&report.inputs.b.problems).take(FEW) {
        let _ = writeln!(out, "- Damage: {}", escape(&describe::problem(problem)));
    }
    let _ = writeln!(out, "- pcapdiff {}", escape(report.tool_version));
}

/// Lines to copy, in a fence that none of them can close.
pub(super) fn fenced<'a>(out: &mut String, indent: &str, blocks: impl Iterator<Item = &'a str>) {
    let lines: Vec<_> = blocks.flat_map(str::lines).map(printable).collect();
    let longest = lines.iter().flat_map(|line| line.split(|c| c != '`')).map(str::len).max().unwrap_or(0);
    let fence = "`".repeat(3.max(longest + 1));
    let _ = writeln!(out, "{indent}{fence}");
    for line in lines {
        let _ = writeln!(out, "{indent}{line}");
    }
    let _ = writeln!(out, "{indent}{fence}");
}

/// Text inside a table.
pub(super) fn cell(text: &str) -> String {
    // In text `|` is escaped already; in code GitHub wants it escaped too when it stands in a table.
    let mut out = String::new();
    for span in spans(&printable(text)) {
        if span.code {
            let _ = write!(out, "`{}`", span.text.replace('|', "\\|"));
        } else {
            escape_text(&mut out, span.text);
        }
    }
    out
}

/// Prose with its commands as code.
pub(super) fn escape(text: &str) -> String {
    let mut out = String::new();
    for span in spans(&printable(text)) {
        if span.code {
            let _ = write!(out, "`{}`", span.text);
        } else {
            escape_text(&mut out, span.text);
        }
    }
    out
}

fn escape_text(out: &mut String, text: &str) {
    for (i, c) in text.char_indices() {
        let begins = out.is_empty() && i == 0;
        let link = text[i..].starts_with("://") || (c == '.' && text[..i].to_ascii_lowercase().ends_with("www"));
        if matches!(c, '\\' | '`' | '*' | '_' | '[' | ']' | '<' | '>' | '#' | '|' | '~' | '&' | '!' | '@')
            || (begins && matches!(c, '-' | '+' | '='))
            || link
        {
            out.push('\\');
        }
        out.push(c);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::sample;

    const VIEW: View = View { width: 80, verbose: false, quiet: false, hidden: 0 };

    #[test]
    fn resets_for_a_ticket() {
        sample::snapshot("resets.md", &render(&sample::resets(), VIEW));
    }

    #[test]
    fn a_healthy_pair_for_a_ticket() {
        sample::snapshot("healthy.md", &render(&sample::healthy(), VIEW));
    }

    #[test]
    fn nothing_hostile_becomes_markup() {
        let text = render(&sample::hostile(), View { verbose: true, ..VIEW });
        assert!(text.chars().all(|c| c == '\n' || !c.is_control()));
        let mut fenced = false;
        for line in text.lines() {
            fenced ^= line.trim_start().starts_with("```");
            assert!(fenced || !line.replace("\\<", "").contains('<'), "{line}");
        }
        assert_eq!(escape("-a www.x http://y @me"), "\\-a www\\.x http\\://y \\@me");
        assert_eq!(cell("a|b `c|d`"), "a\\|b `c\\|d`");
    }

    #[test]
    fn a_fence_is_longer_than_what_it_holds() {
        let mut out = String::new();
        fenced(&mut out, "", ["````"].into_iter());
        assert_eq!(out, "`````\n````\n`````\n");
    }
}
