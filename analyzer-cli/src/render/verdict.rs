//! The sentence that a colleague would say first: what happened, on whose side, what to do. Shared by all forms for
//! people. It says nothing that the findings do not.

use analyzer_core::report::{Finding, Report, Severity, TopologyKind, Where};

use std::fmt::Write;

use crate::render::describe;
use crate::render::text::{count, percent, thousands};
use crate::select::actionable;

/// What all of it comes to.
pub(crate) struct Verdict {
    /// The worst severity found, if any calls for action.
    pub(crate) severity: Option<Severity>,
    /// What happened.
    pub(crate) headline: String,
    /// On whose side, and what else there is.
    pub(crate) more: Vec<String>,
    /// The first thing to do.
    pub(crate) todo: Option<String>,
}

/// The side that a finding blames, as people call it.
pub(crate) fn side(place: Where) -> &'static str {
    match place {
        Where::Inside => "the guest's side",
        Where::Between => "the host",
        Where::Outside => "the network or the peer",
        Where::Unknown => "the captures do not tell where",
    }
}

/// Sums the report up.
pub(crate) fn verdict(report: &Report, hidden: usize) -> Verdict {
    let found: Vec<&Finding> = report.findings.iter().filter(|finding| actionable(finding)).collect();
    let Some(worst) = found.first() else {
        return nothing_found(report, hidden);
    };
    let mut more = vec![blame(worst.place, &found)];
    if found.len() > 1 {
        let rest: Vec<String> =
            found[1..].iter().take(4).map(|f| format!("{} ({})", f.id, short_side(f.place))).collect();
        let beyond = found.len() - 1 - rest.len();
        let ellipsis = if beyond > 0 { format!(", and {beyond} more") } else { String::new() };
        more.push(format!("Found besides: {}{ellipsis}.", rest.join(", ")));
    }
    more.extend(left_out(hidden));
    Verdict {
        severity: found.iter().map(|finding| finding.severity).min(),
        headline: worst.summary.clone(),
        more,
        todo: worst.fixes.first().map(|fix| fix.title.clone()),
    }
}

fn short_side(place: Where) -> &'static str {
    match place {
        Where::Inside => "guest's side",
        Where::Between => "host",
        Where::Outside => "outside",
        Where::Unknown => "side unknown",
    }
}

/// Whose side it is, and which sides nothing was found against.
fn blame(place: Where, found: &[&Finding]) -> String {
    let blamed = |side: Where| found.iter().any(|finding| finding.place == side);
    let mut text = match place {
        Where::Inside => "It comes from the guest's side, beyond A.",
        Where::Between => "It happens in the host, between A and B.",
        Where::Outside => "It comes from beyond B: the network or the peer.",
        Where::Unknown => "The captures do not tell on which side it happens.",
    }
    .to_owned();
    // Where one finding is undecided, no side is clear of it.
    if blamed(Where::Unknown) {
        return text;
    }
    let clear: Vec<&str> =
        [(Where::Inside, "on the guest's side"), (Where::Between, "in the host"), (Where::Outside, "beyond B")]
            .into_iter()
            .filter(|(side, _)| !blamed(*side))
            .map(|(_, name)| name)
            .collect();
    if !clear.is_empty() {
        let _ = write!(text, " Nothing was found wrong {}.", clear.join(" or "));
    }
    text
}

fn left_out(hidden: usize) -> Option<String> {
    (hidden > 0).then(|| format!("{} left out, as the options ask.", were(hidden as u64, "finding")))
}

fn were(number: u64, noun: &str) -> String {
    format!("{} {}", count(number, noun), if number == 1 { "was" } else { "were" })
}

fn nothing_found(report: &Report, hidden: usize) -> Verdict {
    let totals = &report.totals;
    let mut more = Vec::new();
    let mut todo = None;
    let headline = if totals.packets_a == 0 || totals.packets_b == 0 {
        let (empty, point) = if totals.packets_a == 0 { (&report.inputs.a, 'A') } else { (&report.inputs.b, 'B') };
        todo = Some("Check the interface and the filter that the empty capture was taken with.".to_owned());
        format!("Nothing can be said: {} ({point}) holds no packets.", describe::input_name(empty))
    } else if totals.matched == 0 || report.topology.kind == TopologyKind::Unrelated {
        todo = Some("Check that both were taken on the same host, in the same minutes, with filters that pass the same traffic.".to_owned());
        "Nothing can be said: the two captures share no traffic.".to_owned()
    } else {
        more.push(format!(
            "{} of A's {} packets ({}) were found at B; of those seen at one point only ({} at A, {} at B), none was \
             judged a fault.",
            thousands(totals.matched),
            thousands(totals.packets_a),
            percent(totals.matched, totals.packets_a),
            thousands(totals.unmatched_a),
            thousands(totals.unmatched_b),
        ));
        more.push(format!(
            "Looked for every kind of fault that `pcapdiff detectors` lists, in {}.",
            count(totals.flows, "flow"),
        ));
        if hidden > 0 { "No fault was found among what was asked for." } else { "No fault was found." }.to_owned()
    };
    more.extend(left_out(hidden));
    match report.coverage.len() {
        0 => {}
        1 => more.push("One thing limits this: see \"Not judged\".".into()),
        limits => more.push(format!("{limits} things limit this: see \"Not judged\".")),
    }
    Verdict { severity: None, headline, more, todo }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::sample;

    #[test]
    fn a_side_is_cleared_only_when_nothing_blames_it() {
        let mut report = sample::resets();
        assert_eq!(
            verdict(&report, 0).more[0],
            "It happens in the host, between A and B. Nothing was found wrong on the guest's side or beyond B."
        );
        let mut second = report.findings[0].clone();
        second.place = Where::Outside;
        report.findings.insert(1, second);
        assert!(verdict(&report, 0).more[0].ends_with("Nothing was found wrong on the guest's side."));
        report.findings[1].place = Where::Unknown;
        assert!(!verdict(&report, 0).more[0].contains("Nothing"));
    }

    #[test]
    fn captures_without_common_traffic_are_not_called_healthy() {
        let mut report = sample::healthy();
        report.totals.matched = 0;
        assert!(verdict(&report, 0).headline.starts_with("Nothing can be said"));
        report.totals.packets_b = 0;
        assert!(verdict(&report, 0).headline.contains("holds no packets"));
    }

    #[test]
    fn filters_are_mentioned() {
        assert!(verdict(&sample::healthy(), 2).more.iter().any(|line| line.contains("2 findings were left out")));
    }
}
