//! A and B given the wrong way round: the mistake that everybody makes once.

use crate::case::{self, analyze};
use crate::each::each;
use crate::{judge, sane};
use analyzer_core::Options;
use analyzer_core::report::TopologyKind;

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
        let json = serde_json::to_value(&swapped).expect("a report serialises");
        faults.extend(sane::faults(&json));
        if case.healthy() {
            faults.extend(judge::judge(&case.truth, &json).into_iter().filter(|text| text.starts_with("not true")));
        }
        faults.into_iter().map(|fault| format!("{}, swapped: {fault}", case.name)).collect()
    });
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}
