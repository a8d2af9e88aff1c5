//! Which findings are reported: `--only`, `--ignore`, `--min-severity`, `--min-confidence`.

use analyzer_core::report::{Finding, Report, Severity};

use crate::args::Analyze;

/// Removes the findings that were not asked for, and returns how many those were.
pub(crate) fn select(report: &mut Report, asked: &Analyze) -> usize {
    let before = report.findings.len();
    report.findings.retain(|finding| wanted(finding, asked));
    before - report.findings.len()
}

fn wanted(finding: &Finding, asked: &Analyze) -> bool {
    let named = asked.only.is_empty() || asked.only.iter().any(|id| id == finding.id);
    let ignored = asked.ignore.iter().any(|id| id == finding.id);
    // `Severity` is ordered worst first.
    let severe = finding.severity <= Severity::from(asked.min_severity);
    let sure = finding.confidence >= asked.min_confidence;
    named && !ignored && severe && sure
}

/// Whether a person should act on this finding.
pub(crate) fn actionable(finding: &Finding) -> bool {
    finding.actionable()
}
