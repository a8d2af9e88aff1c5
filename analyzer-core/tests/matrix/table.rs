//! What was found, as a table.

use crate::world::{Missed, Plan};
use crate::{CLOCKS, LOSS, MISSED, REORDERING};
use analyzer_core::report::Finding;
use std::collections::BTreeMap;
use std::fmt::{Display, Formatter, Result, Write};
use std::path::Path;

/// One thing that had to be found, or one that should not have been.
pub(crate) struct Outcome {
    plan: Plan,
    id: &'static str,
    kind: Kind,
}

enum Kind {
    Found,
    Missing,
    False(String),
}

impl Outcome {
    pub(crate) fn due(plan: &Plan, id: &'static str, found: bool) -> Self {
        Self { plan: *plan, id, kind: if found { Kind::Found } else { Kind::Missing } }
    }

    pub(crate) fn false_alarm(plan: &Plan, finding: &Finding) -> Self {
        Self { plan: *plan, id: finding.id, kind: Kind::False(finding.summary.clone()) }
    }

    /// What is wrong, in a line.
    pub(crate) fn wrong(&self) -> Option<String> {
        match &self.kind {
            Kind::Found => None,
            Kind::Missing => Some(format!("missing {}: {:?}", self.id, self.plan)),
            Kind::False(summary) => Some(format!("false {}: {summary} {:?}", self.id, self.plan)),
        }
    }
}

/// Found, due, false.
type Cell = [u64; 3];

/// The outcomes by detector, and by each kind of noise.
pub(crate) struct Table {
    pairs: usize,
    rows: BTreeMap<&'static str, Vec<Cell>>,
}

/// A heading, and whether a plan belongs to the column.
type Column = (String, Box<dyn Fn(&Plan) -> bool>);

/// One for all, and one for each degree of each kind of noise.
fn columns() -> Vec<Column> {
    let percent = |share: f64| format!("{} %", (share * 1000.0).round() / 10.0);
    let mut columns: Vec<Column> = vec![("all".into(), Box::new(|_| true))];
    for loss in LOSS {
        columns.push((format!("loss {}", percent(loss)), Box::new(move |plan| plan.loss == loss)));
    }
    for share in REORDERING {
        columns.push((format!("reordered {}", percent(share)), Box::new(move |plan| plan.reordering == share)));
    }
    for clock in CLOCKS {
        let heading = format!("clock {:+} s, {:+} ppm", clock.0, clock.1);
        columns.push((heading, Box::new(move |plan| plan.clock == clock)));
    }
    for missed in MISSED {
        let point = |point: usize| ["A", "B"][point];
        let heading = match missed {
            Missed::Nothing => "captures whole".into(),
            Missed::Evenly(at, share) => format!("{} misses {}", point(at), percent(share)),
            Missed::InRuns(at, share) => format!("{} misses {} in runs", point(at), percent(share)),
            Missed::WithoutSign(share) => format!("B misses {} of some datagrams", percent(share)),
        };
        columns.push((heading, Box::new(move |plan| plan.missed == missed)));
    }
    columns
}

impl Table {
    pub(crate) fn new(plans: &[Plan], outcomes: &[Outcome]) -> Self {
        let columns = columns();
        let mut rows: BTreeMap<&'static str, Vec<Cell>> = BTreeMap::new();
        for outcome in outcomes {
            let row = rows.entry(outcome.id).or_insert_with(|| vec![[0; 3]; columns.len()]);
            for (cell, _) in row.iter_mut().zip(&columns).filter(|(_, (_, holds))| holds(&outcome.plan)) {
                match outcome.kind {
                    Kind::Found => (cell[0], cell[1]) = (cell[0] + 1, cell[1] + 1),
                    Kind::Missing => cell[1] += 1,
                    Kind::False(_) => cell[2] += 1,
                }
            }
        }
        Self { pairs: plans.len(), rows }
    }
}

impl Display for Table {
    fn fmt(&self, out: &mut Formatter<'_>) -> Result {
        writeln!(out, "{}", HEAD.replace("{pairs}", &self.pairs.to_string()))?;
        let headings: Vec<String> = columns().into_iter().map(|(heading, _)| heading).collect();
        let parts = [(0, 1 + LOSS.len()), (1 + LOSS.len(), 1 + LOSS.len() + REORDERING.len() + CLOCKS.len())];
        let parts = [parts[0], parts[1], (parts[1].1, headings.len())];
        for (from, to) in parts {
            writeln!(out, "\n| detector | {} |", headings[from..to].join(" | "))?;
            writeln!(out, "| --- |{}", " --- |".repeat(to - from))?;
            for (id, cells) in &self.rows {
                write!(out, "| {id} |")?;
                for [found, due, wrong] in &cells[from..to] {
                    let mut text = if *due > 0 { format!("{found}/{due}") } else { String::new() };
                    if *wrong > 0 {
                        write!(text, " **+{wrong}**")?;
                    }
                    write!(out, " {} |", text.trim())?;
                }
                writeln!(out)?;
            }
        }
        Ok(())
    }
}

const HEAD: &str = "\
# Faults under noise

Of {pairs} pairs with and without a fault, in all combinations of the noise below: how often each finding was made
of how often it was due, and after a plus how many were false. Written by `UPDATE_SNAPSHOTS=1 cargo test --test matrix`.

Datagrams that a capture misses and nothing else tells of cannot be told from lost ones: the last column says how that
looks. A finding is due at any severity where it is context by nature, else as a warning or an error.";

/// Holds the table to the one that is kept.
pub(crate) fn check(table: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/snapshots/matrix.md");
    if std::fs::read_to_string(&path).unwrap_or_default() == table {
        return;
    }
    println!("{table}");
    assert!(std::env::var_os("UPDATE_SNAPSHOTS").is_some(), "{} is not what was found", path.display());
    std::fs::create_dir_all(path.parent().expect("a folder")).expect("the folder can be made");
    std::fs::write(&path, table).expect("the table is writable");
}
