//! Every case, judged.

use crate::each::each;
use crate::{case, judge, sane};
use analyzer_core::Options;

/// Cases that are not right yet, and why. A case that becomes right must leave this list.
const PENDING: &[(&str, &str)] = &[];

#[test]
fn every_case_is_judged_right() {
    let wrong = each(&case::all(), |case| {
        let faults = match case.json() {
            Ok(report) => judge::judge(&case.truth, &report).into_iter().chain(sane::faults(&report)).collect(),
            Err(error) => vec![error],
        };
        let pending = PENDING.iter().find(|(name, _)| *name == case.name);
        match (faults.is_empty(), pending) {
            (true, Some(_)) => vec![format!("{} is right now: take it off the list of the pending", case.name)],
            (false, None) => faults.into_iter().map(|fault| format!("{}: {fault}", case.name)).collect(),
            _ => Vec::new(),
        }
    });
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

#[test]
fn the_hosts_own_log_makes_nothing_wrong() {
    let cases: Vec<_> = case::all().into_iter().filter(|case| case.log().is_some()).collect();
    assert!(cases.len() > 50, "logs are missing");
    let wrong = each(&cases, |case| {
        let mut options = Options::default();
        options.conntrack = case.log();
        let faults = match case.report(options) {
            Ok(report) => judge::judge(&case.truth, &serde_json::to_value(report).expect("a report serialises")),
            Err(error) => vec![error],
        };
        let pending = PENDING.iter().any(|(name, _)| *name == case.name);
        faults.into_iter().filter(|_| !pending).map(|fault| format!("{}, with its log: {fault}", case.name)).collect()
    });
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

#[test]
fn what_is_pending_exists() {
    let cases = case::all();
    for (name, reason) in PENDING {
        assert!(cases.iter().any(|case| case.name == *name), "{name} is no case");
        assert!(!reason.is_empty(), "{name}: why?");
    }
}
