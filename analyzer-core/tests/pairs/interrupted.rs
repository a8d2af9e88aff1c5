//! Analyses that the caller stops: what was read by then is reported, and nothing is made of what was not.

use crate::case::{self, Case};
use crate::each::each;
use crate::{judge, sane};
use analyzer_core::{Analysis, Error};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// What is reported when the flag is set while the `nth` window is told of, 0 being before there is any.
fn stopped(case: &Case, nth: u32) -> Result<analyzer_core::report::Report, Error> {
    let cancel = Arc::new(AtomicBool::new(nth == 0));
    let (flag, windows) = (Arc::clone(&cancel), AtomicU32::new(0));
    Analysis::builder()
        .a_path(case.input(0))
        .b_path(case.input(1))
        .cancel(cancel)
        .progress(move |_| {
            if windows.fetch_add(1, Ordering::Relaxed) + 1 == nth {
                flag.store(true, Ordering::Relaxed);
            }
        })
        .run()
}

/// Findings that a case has, all of them allowed and none required.
fn allowed(case: &Case) -> Value {
    let entries = ["expect", "also"].iter().flat_map(|key| case.truth[key].as_array().cloned().unwrap_or_default());
    let ids: Vec<Value> = entries.map(|entry| if entry.is_string() { entry } else { entry["id"].clone() }).collect();
    json!({ "also": ids })
}

#[test]
fn an_analysis_stopped_anywhere_reports_what_it_had_and_no_fault_that_the_whole_has_not() {
    let cases: Vec<Case> = case::all().into_iter().filter(Case::plain).step_by(3).collect();
    let stops: Vec<(&Case, u32)> =
        cases.iter().flat_map(|case| [1, 2, 3, 5, 8, 13, 21, 34].map(|nth| (case, nth))).collect();
    let partial = AtomicU32::new(0);
    let wrong = each(&stops, |&(case, nth)| {
        let report = match stopped(case, nth) {
            Ok(report) => report,
            // Their clocks need a second reading.
            Err(Error::Cancelled) => return Vec::new(),
            Err(error) => return vec![format!("{}: {error}", case.name)],
        };
        partial.fetch_add(u32::from(report.interrupted()), Ordering::Relaxed);
        let report = serde_json::to_value(report).expect("a report serialises");
        let mut faults = sane::faults(&report);
        faults.extend(judge::judge(&allowed(case), &report));
        faults.into_iter().map(|fault| format!("{} stopped in window {nth}: {fault}", case.name)).collect()
    });
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
    assert!(partial.into_inner() as usize > stops.len() / 2, "most of these stop before the end");
}

#[test]
fn a_fault_that_was_read_is_found_and_the_report_says_how_far_it_goes() {
    let [case] = &case::named(&["rst_by_host"])[..] else { panic!("one case") };
    let whole = case.report(analyzer_core::Options::default()).expect("the pair can be read");
    let found = (1..200)
        .map_while(|nth| stopped(case, nth).ok().filter(analyzer_core::report::Report::interrupted))
        .find(|report| report.findings.iter().any(|finding| finding.id == "tcp-reset"))
        .expect("the resets come before the end");
    assert!(found.totals.packets_a < whole.totals.packets_a);
    let limit = found.coverage.iter().find(|limit| limit.id == "interrupted").expect("it says so");
    let (read_to, last) = (limit.details["read_to"].as_str().expect("a time"), whole.inputs.a.last.expect("packets"));
    assert!(read_to < last.to_string().as_str(), "{read_to} {last}");
    assert!(limit.summary.contains(read_to));
}

#[test]
fn an_analysis_stopped_before_it_began_has_nothing_to_say() {
    let [case] = &case::named(&["rst_by_host"])[..] else { panic!("one case") };
    assert!(matches!(stopped(case, 0), Err(Error::Cancelled)));
}
