//! What must hold for every report, right or wrong.

use serde_json::Value;
use std::collections::BTreeSet;

/// What a report says that cannot be.
pub(crate) fn faults(report: &Value) -> Vec<String> {
    let mut wrong = Vec::new();
    let totals = |key: &str| report["totals"][key].as_u64().unwrap_or(0);
    for point in ["a", "b"] {
        if totals(&format!("packets_{point}")) != report["inputs"][point]["packets"].as_u64().unwrap_or(0) {
            wrong.push(format!("totals and inputs count the packets of {point} differently"));
        }
    }
    if totals("matched") + totals("unmatched_a") > totals("packets_a") {
        wrong.push(format!("more packets of A matched and unmatched than there are: {}", report["totals"]));
    }
    let mut last_severity = 0;
    for finding in report["findings"].as_array().expect("findings are a list") {
        let mut check = |right: bool, text: &str| {
            if !right {
                wrong.push(format!("{} ({}): {text}", finding["id"], finding["summary"]));
            }
        };
        let severity = ["error", "warning", "info"].iter().position(|name| finding["severity"] == *name);
        check(severity.is_some_and(|severity| severity >= last_severity), "findings are not in order of severity");
        last_severity = severity.unwrap_or(last_severity);
        let loud = severity.is_some_and(|severity| severity < 2);
        let confidence = finding["confidence"].as_f64().unwrap_or(-1.0);
        check((0.0..=1.0).contains(&confidence), "confidence is not between 0 and 1");
        check(finding["first"].as_str() <= finding["last"].as_str(), "it ends before it begins");
        check(finding["duration_seconds"].as_f64().is_some_and(|seconds| seconds >= 0.0), "a negative duration");
        let summary = finding["summary"].as_str().unwrap_or("");
        check(summary.ends_with('.') && !summary.contains("NaN"), "the summary is no sentence");
        let flows = finding["flows"].as_array().map_or(0, Vec::len) as u64;
        check(flows <= finding["flow_count"].as_u64().unwrap_or(0), "more flows are named than counted");
        let evidence = finding["evidence"].as_array().expect("evidence is a list");
        check(!evidence.is_empty(), "nothing proves it");
        check(!loud || finding["fixes"].as_array().is_some_and(|fixes| !fixes.is_empty()), "it says not what to do");
        for cited in evidence {
            let point = cited["point"].as_str().unwrap_or("?");
            let frame = cited["frame"].as_u64().unwrap_or(0);
            check((1..=totals(&format!("packets_{point}"))).contains(&frame), "it cites a frame that is not there");
        }
        for point in ["a", "b"] {
            let named = filter_frames(finding["filters"][point].as_str().unwrap_or(""));
            let last = named.last().copied().unwrap_or(0);
            check(last <= totals(&format!("packets_{point}")), "its filter names a frame that is not there");
        }
    }
    wrong
}

/// The frames that a Wireshark filter of a finding names, if it names frames: too many are described by flow and time.
pub(crate) fn filter_frames(filter: &str) -> BTreeSet<u64> {
    let list = filter.strip_prefix("frame.number in {").and_then(|rest| rest.strip_suffix('}'));
    let mut frames = BTreeSet::new();
    for part in
        list.or(filter.strip_prefix("frame.number == ")).unwrap_or("").split(',').filter(|part| !part.is_empty())
    {
        let (first, last) = part.split_once("..").unwrap_or((part, part));
        let number = |text: &str| text.parse::<u64>().unwrap_or_else(|_| panic!("no frame number: {filter}"));
        frames.extend(number(first)..=number(last));
    }
    frames
}

#[test]
fn filters_are_read() {
    assert_eq!(filter_frames(""), BTreeSet::new());
    assert_eq!(filter_frames("frame.number == 7"), BTreeSet::from([7]));
    assert_eq!(filter_frames("frame.number in {2..4,9}"), BTreeSet::from([2, 3, 4, 9]));
    assert_eq!(filter_frames("ip.addr == 192.0.2.1"), BTreeSet::new());
}
