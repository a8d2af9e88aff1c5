//! Every detector under noise: pairs are made in memory, seeded, with and without a fault, in all combinations of loss and
//! reordering in the host, clocks that differ, and captures that miss packets. What was found and what was false stands in
//! `tests/snapshots/matrix.md`; `UPDATE_SNAPSHOTS=1 cargo test --test matrix` writes it anew, and `MATRIX_KEEP=FOLDER`
//! keeps the pairs that were not judged right.
//!
//! Faults of the link layer (ARP, DHCP, STP, MACs) are not in it: this noise does not touch them. The lab has them.

#[path = "../pairs/each.rs"]
mod each;
mod fault;
mod table;
mod tcp;
mod wire;
mod world;

use analyzer_core::report::{Report, Severity, Where};
use analyzer_core::{Analysis, Options};
use each::each;
use fault::Fault;
use std::io::Cursor;
use std::path::Path;
use table::{Outcome, Table};
use world::{Missed, Plan, Truth};

/// Shares of packets that the host loses.
const LOSS: [f64; 5] = [0.0, 0.002, 0.01, 0.03, 0.1];
/// Shares of packets that leave it late.
const REORDERING: [f64; 3] = [0.0, 0.01, 0.05];
/// Seconds and parts in a million between the clocks.
const CLOCKS: [(f64, f64); 3] = [(0.0, 0.0), (3600.5, 50.0), (-0.25, -30.0)];
/// What the captures miss.
const MISSED: [Missed; 7] = [
    Missed::Nothing,
    Missed::Evenly(0, 0.01),
    Missed::Evenly(0, 0.05),
    Missed::Evenly(1, 0.01),
    Missed::Evenly(1, 0.05),
    Missed::InRuns(1, 0.05),
    Missed::WithoutSign(0.05),
];
/// Faults that each combination of noise meets, besides none: they take turns.
const FAULTS_EACH: usize = 3;

/// Packets that a direction has to lose before silence about it counts as a miss.
const WORTH_A_WORD: u64 = 6;

fn plans() -> Vec<Plan> {
    let mut plans = Vec::new();
    let mut turn = 0;
    for loss in LOSS {
        for reordering in REORDERING {
            for clock in CLOCKS {
                for missed in MISSED {
                    for number in 0..=FAULTS_EACH {
                        let fault = if number == 0 { Fault::Nothing } else { fault::in_turn(turn) };
                        turn += usize::from(number > 0);
                        let seed = plans.len() as u64 + 1;
                        let offload = seed.is_multiple_of(3);
                        plans.push(Plan { seed, loss, reordering, clock, missed, offload, fault });
                    }
                }
            }
        }
    }
    plans
}

fn analyze(captures: [Vec<u8>; 2]) -> Report {
    let [a, b] = captures.map(Cursor::new);
    let mut options = Options::default();
    options.threads = 1;
    Analysis::builder().a_reader("a", a).b_reader("b", b).options(options).run().expect("both are captures")
}

/// What a report says of a plan: for each thing due whether it was found, and what is false.
fn judge(plan: &Plan, truth: &Truth, report: &Report) -> Vec<Outcome> {
    let (due, besides) = plan.fault.truth();
    let mut due = due.to_vec();
    let mut besides = besides.to_vec();
    let noise = [("transit-loss", truth.lost), ("one-sided-retransmission", truth.lost_segments)];
    for (id, lost) in noise {
        if plan.fault == Fault::Nothing && lost.iter().any(|&lost| lost >= WORTH_A_WORD) {
            due.push((id, Where::Between, None));
        }
        if lost != [0, 0] {
            besides.push(id);
        }
    }
    if plan.fault == Fault::Nothing && plan.reordering > 0.0 {
        due.push(("reordering", Where::Between, None));
    }
    if truth.questions > 0 {
        besides.push("dns-unanswered");
    }
    let loud = |severity| severity != Severity::Info;
    let mut outcomes: Vec<Outcome> = due
        .iter()
        .map(|&(id, place, cause)| {
            let found = report.findings.iter().any(|finding| {
                let right = finding.place == place && cause.is_none_or(|cause| finding.cause == Some(cause));
                let context = matches!(id, "header-rewritten" | "mss-clamped" | "reordering");
                finding.id == id && right && (loud(finding.severity) || context)
            });
            Outcome::due(plan, id, found)
        })
        .collect();
    let false_ids = report.findings.iter().filter(|finding| {
        let due = due.iter().any(|&(id, place, _)| id == finding.id && finding.place == place);
        loud(finding.severity) && !due && !besides.contains(&finding.id)
    });
    outcomes.extend(false_ids.map(|finding| Outcome::false_alarm(plan, finding)));
    outcomes
}

/// What is not right is written to the folder that `MATRIX_KEEP` names, if it names one, and said.
fn keep(plan: &Plan, captures: &[Vec<u8>; 2], outcomes: &[Outcome]) {
    let Some(folder) = std::env::var_os("MATRIX_KEEP") else { return };
    let wrong: Vec<String> = outcomes.iter().filter_map(Outcome::wrong).collect();
    for (name, capture) in ["a", "b"].iter().zip(captures).filter(|_| !wrong.is_empty()) {
        let path = Path::new(&folder).join(format!("{}-{name}.pcap", plan.seed));
        std::fs::write(path, capture).expect("the folder is writable");
    }
    for line in wrong {
        println!("{line}");
    }
}

#[test]
fn noise_hides_few_faults_and_makes_none() {
    let plans = plans();
    let outcomes = each(&plans, |plan| {
        let (captures, truth) = world::run(*plan);
        let outcomes = judge(plan, &truth, &analyze(captures.clone()));
        keep(plan, &captures, &outcomes);
        outcomes
    });
    let table = Table::new(&plans, &outcomes).to_string();
    table::check(&table);
}

#[test]
fn the_same_plan_gives_the_same_bytes() {
    let plan = plans()[400];
    assert!(world::run(plan).0 == world::run(plan).0);
    assert!(world::run(plan).0 != world::run(Plan { seed: 1, ..plan }).0);
}
