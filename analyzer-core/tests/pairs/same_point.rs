//! A capture beside itself: the same point, nothing lost.

use crate::case::{self, analyze};
use crate::judge;
use analyzer_core::Options;
use analyzer_core::report::TopologyKind;

#[test]
fn a_capture_beside_itself_shows_nothing() {
    let names =
        ["healthy_mix", "ok_mix", "ok_mix_bridged_gso", "ok_fragments", "ok_pmtu", "ok_quic_close", "partial_ok"];
    for case in case::named(&names) {
        for point in 0..2 {
            let file = case.input(point);
            let report = analyze(&file, &file, Options::default()).expect("the capture can be read");
            assert_eq!(report.topology.kind, TopologyKind::SamePoint, "{}", file.display());
            assert_eq!((report.totals.unmatched_a, report.totals.unmatched_b), (0, 0), "{}", file.display());
            let json = serde_json::to_value(&report).expect("a report serialises");
            let loud: Vec<_> =
                json["findings"].as_array().into_iter().flatten().filter(|f| judge::is_loud(f)).collect();
            assert!(loud.is_empty(), "{}: {loud:?}", file.display());
        }
    }
}
