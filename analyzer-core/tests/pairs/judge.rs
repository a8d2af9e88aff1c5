//! Whether a report is right about a case: what must be found is there, nothing else is called an error or a warning.

use serde_json::Value;

/// What is wrong with a report, in sentences; empty when it is right.
///
/// Each entry of `expect` needs a finding of its own with severity error or warning that agrees in every field that
/// the entry names. Ids under `also` may be reported besides. Ids under `info` must be there at any severity.
pub(crate) fn judge(truth: &Value, report: &Value) -> Vec<String> {
    let empty = Vec::new();
    let list = |value: &'static str, of: &Value| of[value].as_array().unwrap_or(&empty).clone();
    let all = list("findings", report);
    let loud: Vec<&Value> = all.iter().filter(|finding| is_loud(finding)).collect();
    let mut wrong = Vec::new();
    let mut used = vec![false; loud.len()];
    for expected in list("expect", truth) {
        let candidates: Vec<(usize, Option<String>)> = loud
            .iter()
            .enumerate()
            .filter(|(_, finding)| finding["id"] == expected["id"])
            .map(|(place, finding)| (place, disagreement(&expected, finding)))
            .collect();
        if let Some((place, _)) = candidates.iter().find(|(_, reason)| reason.is_none()) {
            used[*place] = true;
        } else {
            let closest = candidates.first().and_then(|(_, reason)| reason.clone());
            wrong.push(format!("missing {expected}{}", closest.map_or(String::new(), |text| format!(" ({text})"))));
        }
    }
    let also = list("also", truth);
    for (finding, used) in loud.iter().zip(used) {
        if !used && !also.contains(&finding["id"]) {
            wrong.push(format!("not true: {} {}: {}", finding["severity"], finding["id"], finding["summary"]));
        }
    }
    for id in list("info", truth) {
        if !all.iter().any(|finding| finding["id"] == id) {
            wrong.push(format!("missing {id}"));
        }
    }
    wrong
}

/// Whether a finding asks a person to act.
pub(crate) fn is_loud(finding: &Value) -> bool {
    finding["severity"] == "error" || finding["severity"] == "warning"
}

/// Where a finding differs from what is expected.
fn disagreement(expected: &Value, finding: &Value) -> Option<String> {
    let details = &finding["details"];
    for (key, wanted) in expected.as_object()? {
        let (got, right) = match key.as_str() {
            "id" => continue,
            "where" | "cause" | "protocol" | "direction" => (&finding[key], finding[key] == *wanted),
            "mtu" | "shape" => (&details[key], details[key] == *wanted),
            "flows" => {
                let got = &finding["flow_count"];
                // What takes all flows at once may name idle ones as well.
                let together = expected["id"].as_str().is_some_and(|id| id.starts_with("synchronous-"));
                let more = together && got.as_u64() >= wanted.as_u64();
                (got, got == wanted || more)
            }
            "lost" => (&details["lost"], near(&details["lost"], wanted, 0.15)),
            "packets" => (&finding["packet_count"], near(&finding["packet_count"], wanted, 0.15)),
            "period" => (&details["period_seconds"], near(&details["period_seconds"], wanted, 0.1)),
            "rate" => (&details["rate_per_second"], near(&details["rate_per_second"], wanted, 0.2)),
            "duration" => (&finding["duration_seconds"], near(&finding["duration_seconds"], wanted, 0.2)),
            _ => return Some(format!("the judge does not know the field {key}")),
        };
        if !right {
            return Some(format!("{key} is {got}, not {wanted}"));
        }
    }
    None
}

/// Whether two amounts agree: within a share of the true one, and small counts within one.
fn near(got: &Value, wanted: &Value, tolerance: f64) -> bool {
    let (Some(got), Some(wanted)) = (got.as_f64(), wanted.as_f64()) else { return false };
    let least = if wanted > 3.0 { 1.01 } else { 0.26 };
    (got - wanted).abs() <= (tolerance * wanted).max(least)
}
