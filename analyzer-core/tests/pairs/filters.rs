//! Display filters, tried with tshark; where there is none the test says so and passes.

use crate::case;
use crate::case::Case;
use analyzer_core::report::{Finding, MAX_FRAMES};
use analyzer_core::{Analysis, Options, Point};
use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

/// The frames that a filter selects; an error is tshark's own words.
fn select(file: &Path, filter: &str) -> Result<BTreeSet<u32>, String> {
    let output =
        Command::new("tshark").arg("-r").arg(file).args(["-Y", filter, "-T", "fields", "-e", "frame.number"]).output();
    let output = output.map_err(|error| error.to_string())?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    Ok(String::from_utf8_lossy(&output.stdout).lines().filter_map(|line| line.parse().ok()).collect())
}

fn concerned(finding: &Finding, point: Point) -> BTreeSet<u32> {
    finding.frames.iter().filter(|(at, _)| *at == point).map(|(_, frame)| *frame).collect()
}

fn wrong(case: &Case) -> Vec<String> {
    let report = case.report(Options::default()).expect("a case can be analyzed");
    let mut wrong = Vec::new();
    for finding in &report.findings {
        for (point, filter) in [(Point::A, &finding.filters.a), (Point::B, &finding.filters.b)] {
            if filter.is_empty() {
                continue;
            }
            let fault = |text: String| format!("{}: {} {point:?} {filter}: {text}", case.name, finding.id);
            let selected = match select(&case.input(point.index()), filter) {
                Ok(selected) => selected,
                Err(error) => {
                    wrong.push(fault(error));
                    continue;
                }
            };
            let concerned = concerned(finding, point);
            if filter.len() > 1200 {
                wrong.push(fault(format!("{} characters", filter.len())));
            }
            if !concerned.is_subset(&selected) {
                wrong.push(fault(format!("misses {:?}", concerned.difference(&selected).collect::<Vec<_>>())));
            }
            let numbers = filter.starts_with("frame.number in") || filter.starts_with("frame.number ==");
            if numbers && concerned.len() < MAX_FRAMES && concerned != selected {
                wrong.push(fault("selects more than is concerned".into()));
            }
        }
    }
    wrong
}

#[test]
fn filters_select_what_they_are_about() {
    if Command::new("tshark").arg("--version").output().is_err() {
        eprintln!("skipped: there is no tshark");
        return;
    }
    let cases = case::named(&[
        "rst_by_host",
        "rst_host_5flows__ahead37",
        "loss_queue_overflow",
        "loss_tcp_out_gso",
        "icmp_policed",
        "udp_blackhole_out",
        "pmtu6_not_relayed",
        "sync_gateway_gone",
        "reflected_broadcasts",
        "ok_dscp_wiped",
    ]);
    let wrong: Vec<String> = cases.iter().flat_map(wrong).collect();
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

#[test]
fn of_two_interfaces_in_one_file_a_filter_selects_one() {
    if Command::new("tshark").arg("--version").output().is_err() {
        eprintln!("skipped: there is no tshark");
        return;
    }
    let case = &case::named(&["loss_queue_overflow"])[0];
    let traced = Analysis::builder().a_path(case.input(0)).b_path(case.input(1)).run_traced().expect("a case");
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("both.pcapng");
    let open = |point: Point| {
        let input = case.input(point.index());
        analyzer_core::capture::CaptureSet::open(std::slice::from_ref(&input), None)
    };
    let file = std::fs::File::create(&path).expect("the folder is writable");
    analyzer_core::evidence::merge(&traced.report, &traced.trace, &open, file).expect("the folder is writable");
    let again =
        Analysis::builder().a_path(&path).b_path(&path).a_interface("A").b_interface("B").run().expect("a capture");
    let loss = again.findings.iter().find(|finding| finding.id == "transit-loss").expect("the same finding");
    assert!(loss.filters.a.contains("frame.time"), "{}", loss.filters.a);
    let of_a = select(&path, "frame.interface_name == \"A\"").expect("tshark understands it");
    let selected = select(&path, &loss.filters.a).expect("tshark understands it");
    assert!(!selected.is_empty() && selected.is_subset(&of_a));
    assert!(concerned(loss, Point::A).is_subset(&selected));
}
