//! The commands that need no capture.

use analyzer_core::detect::{SPECS, Threshold};
use analyzer_core::report::Severity;
use anstyle::Style;
use clap::CommandFactory;
use clap_complete::Shell;

use crate::args::{Cli, When};
use crate::output::Destination;
use crate::render::page::{BOLD, Page};
use crate::schema;

/// `pcapdiff detectors`: one finding a paragraph.
pub(crate) fn detectors() -> anyhow::Result<()> {
    let column = SPECS.iter().map(|spec| spec.id.len()).max().unwrap_or(0) + 2;
    let mut page = Page::new(Destination::Stdout.width());
    for spec in SPECS {
        page.hanging(spec.id, BOLD, column, &format!("{} [{}]", spec.says, severity(spec.severity)));
    }
    Destination::Stdout.write_styled(&page.out, When::Auto)
}

/// `pcapdiff explain ID`.
pub(crate) fn explain(id: &str) -> anyhow::Result<()> {
    let Some(spec) = SPECS.iter().find(|spec| spec.id == id) else {
        anyhow::bail!("{id}: no such finding; `pcapdiff detectors` lists them");
    };
    let mut page = Page::new(Destination::Stdout.width());
    page.hanging(spec.id, BOLD, spec.id.len() + 2, spec.says);
    page.prose(0, &format!("Severity: {}", severity(spec.severity)));
    if !spec.causes.is_empty() {
        page.prose(0, &format!("Causes: {}", spec.causes.join(", ")));
    }
    page.blank();
    document(&mut page, &spec.doc());
    if !spec.thresholds.is_empty() {
        page.blank();
        page.styled_line(BOLD, "Thresholds (--threshold NAME=VALUE)");
        for threshold in spec.thresholds {
            let Threshold { name, unit, default, source, .. } = threshold;
            page.hanging("-", Style::new(), 2, &format!("`{name}={default}`: {unit}. {source}"));
        }
    }
    Destination::Stdout.write_styled(&page.out, When::Auto)
}

/// A severity in words; it is the worst that a detector reports.
fn severity(severity: Severity) -> &'static str {
    match severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
        Severity::Info => "info",
    }
}

/// A detector's text: headings, paragraphs, lists, and indented lines to copy.
fn document(page: &mut Page, text: &str) {
    let mut open = String::new();
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        if let Some(heading) = line.strip_prefix('#') {
            page.styled_line(BOLD, heading.trim_start_matches('#').trim());
        } else if line.is_empty() {
            page.blank();
        } else if line.starts_with("    ") {
            page.verbatim(0, line);
        } else {
            if !open.is_empty() {
                open.push(' ');
            }
            open.push_str(line.trim());
            let goes_on = lines.peek().is_some_and(|next| {
                !next.is_empty() && !["- ", "#", "    "].iter().any(|start| next.starts_with(start))
            });
            if !goes_on {
                match open.strip_prefix("- ") {
                    Some(item) => page.hanging("-", Style::new(), 2, item),
                    None => page.prose(0, &open),
                }
                open.clear();
            }
        }
    }
}

/// `pcapdiff schema`.
pub(crate) fn schema() -> anyhow::Result<()> {
    Destination::Stdout.write(schema::TEXT.as_bytes())
}

/// `pcapdiff completions SHELL`.
pub(crate) fn completions(shell: Shell) -> anyhow::Result<()> {
    let mut out = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "pcapdiff", &mut out);
    Destination::Stdout.write(&out)
}

/// `pcapdiff man`: the manual page in roff.
pub(crate) fn man() -> anyhow::Result<()> {
    let mut out = Vec::new();
    // What `-h` leaves out would stand in the page without its words; the facts of a build are no matter for a manual.
    let whole = Cli::command().mut_args(|arg| arg.hide_short_help(false)).long_version(env!("CARGO_PKG_VERSION"));
    clap_mangen::Man::new(whole).render(&mut out)?;
    Destination::Stdout.write(&out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_detectors_text_is_wrapped_and_its_commands_are_not() {
        let mut page = Page::new(24);
        document(
            &mut page,
            "# What it is\nA reset that nobody\nwanted to see.\n\n- first of all\n  a condition\n- second\n\n    sysctl -w \
             net.netfilter.something=1\n",
        );
        assert_eq!(
            anstream::adapter::strip_str(&page.out).to_string(),
            "What it is\nA reset that nobody\nwanted to see.\n\n- first of all a\n  condition\n- second\n\n    sysctl -w \
             net.netfilter.something=1\n"
        );
    }
}
