//! A and B given the wrong way round: the mistake that everybody makes once.

use crate::case::{self, analyze};
use crate::each::each;
use crate::{judge, sane};
use analyzer_core::Options;
use analyzer_core::report::{Report, TopologyKind};

/// Whether a report says that the captures were given the wrong way round.
fn told(report: &Report) -> bool {
    report.coverage.iter().any(|limit| limit.id == "points-swapped")
}

#[test]
fn the_wrong_order_is_said_where_the_ttl_shows_it() {
    for case in case::named(&["healthy_mix", "rst_by_host", "pmtu_ignored", "loss_total", "quic_expiry"]) {
        let swapped = analyze(&case.input(1), &case.input(0), Options::default()).expect("the pair can be read");
        assert!(told(&swapped), "{}", case.name);
    }
}

#[test]
fn nothing_breaks_and_healthy_pairs_stay_silent() {
    let cases: Vec<_> = case::all().into_iter().filter(case::Case::plain).collect();
    let wrong = each(&cases, |case| {
        let (a, b) = (case.input(0), case.input(1));
        let right = analyze(&a, &b, Options::default()).expect("the pair can be read");
        let swapped = analyze(&b, &a, Options::default()).expect("the pair can be read");
        let mut faults = Vec::new();
        let found = |kind| !matches!(kind, TopologyKind::Unknown | TopologyKind::Unrelated);
        if found(right.topology.kind) && !found(swapped.topology.kind) {
            faults.push(format!("{:?} becomes {:?}", right.topology.kind, swapped.topology.kind));
        }
        if told(&right) {
            faults.push("the right order is called wrong".into());
        }
        let json = serde_json::to_value(&swapped).expect("a report serialises");
        faults.extend(sane::faults(&json));
        if case.healthy() {
            faults.extend(judge::judge(&case.truth, &json).into_iter().filter(|text| text.starts_with("not true")));
        }
        faults.into_iter().map(|fault| format!("{}, swapped: {fault}", case.name)).collect()
    });
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}
