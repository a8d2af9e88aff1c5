//! What is taken away: extracts and merged captures, read again.

use crate::case::{self, Case};
use crate::each::each;
use analyzer_core::capture::{CaptureSet, Next, Only};
use analyzer_core::evidence::{self, Partner, Traced};
use analyzer_core::report::{Finding, Report};
use analyzer_core::{Analysis, Error, Point};
use std::cell::RefCell;
use std::io::{Cursor, Write};
use std::rc::Rc;

/// A file in memory that can be read after its writer is gone.
#[derive(Clone, Default)]
struct Shared(Rc<RefCell<Vec<u8>>>);

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.borrow_mut().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn traced(case: &Case) -> Traced {
    let analysis = Analysis::builder().a_path(case.input(0)).b_path(case.input(1));
    analysis.every_flow(true).matches(true).run_traced().expect("a case can be analyzed")
}

fn open(case: &Case) -> impl Fn(Point) -> Result<CaptureSet, Error> + Sync {
    let inputs = [case.input(0), case.input(1)];
    move |point| CaptureSet::open(&inputs[point.index()..=point.index()], None)
}

/// The captures of each finding, A and B.
fn extracts(case: &Case, traced: &Traced) -> Vec<[Vec<u8>; 2]> {
    let (findings, open) = (&traced.report.findings, open(case));
    let extracts = evidence::select(findings, &traced.trace, &open).expect("the captures can be read again");
    let files: Vec<[Shared; 2]> = findings.iter().map(|_| Default::default()).collect();
    evidence::write(
        findings,
        &extracts,
        &traced.trace,
        &open,
        |number, point| Ok(files[number][point.index()].clone()),
    )
    .expect("memory can be written to");
    files.iter().map(|pair| pair.each_ref().map(|file| file.0.take())).collect()
}

/// What the report says of two captures in memory.
fn report(pair: &[Vec<u8>; 2], interfaces: [Option<&str>; 2]) -> Report {
    let [a, b] = pair.clone().map(Cursor::new);
    let mut analysis = Analysis::builder().a_reader("a", a).b_reader("b", b);
    if let [Some(a), Some(b)] = interfaces {
        analysis = analysis.a_interface(a).b_interface(b);
    }
    analysis.run().expect("what was written can be analyzed")
}

fn loud(report: &Report) -> impl Iterator<Item = &Finding> {
    report.findings.iter().filter(|finding| finding.severity <= analyzer_core::report::Severity::Warning)
}

/// The frames of a capture in memory.
fn frames(bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut set = CaptureSet::from_reader("x", Box::new(Cursor::new(bytes.to_vec())), None).expect("a capture");
    let mut frames = Vec::new();
    while let Next::Record(record) = set.next(i64::MAX) {
        frames.push(record.data.to_vec());
    }
    frames
}

#[test]
fn the_files_of_a_ring_give_the_same_evidence_as_one_file() {
    let cases = case::named(&["rst_host_5flows__ring", "rst_host_5flows__pcapng"]);
    for case in cases {
        let traced = traced(&case);
        let extracts = extracts(&case, &traced);
        let (finding, pair) = (&traced.report.findings[0], &extracts[0]);
        assert_eq!(finding.id, "tcp-reset");
        let again = report(pair, [None, None]);
        let found: Vec<_> = loud(&again).map(|found| (found.id, found.flow_count)).collect();
        assert_eq!(found, [("tcp-reset", finding.flow_count)], "{}", case.name);
        // The words stand on the frames that were meant.
        let picked = evidence::select(&traced.report.findings, &traced.trace, &open(&case)).expect("as before");
        let frames = frames(&pair[1]);
        assert_eq!(frames.len(), picked[0].picked[1].len());
        let mut resets = 0;
        for (picked, data) in picked[0].picked[1].iter().zip(&frames) {
            if picked.notes.iter().any(|note| note.starts_with("RST by the host")) {
                resets += 1;
                // Ethernet, IPv4 without options, TCP's flags.
                assert!(data[47] & 4 != 0, "{}: {picked:?}", case.name);
            }
        }
        assert_eq!(resets, finding.flow_count, "{}", case.name);
    }
}

#[test]
fn a_merged_capture_says_the_same_as_the_two() {
    for case in case::named(&["rst_host_5flows__ring", "rst_host_5flows__ahead37", "ok_mix", "loss_size_step"]) {
        let traced = traced(&case);
        let mut file = Vec::new();
        evidence::merge(&traced.report, &traced.trace, &open(&case), &mut file).expect("memory can be written to");
        let again = report(&[file.clone(), file], [Some("A"), Some("B")]);
        let say = |report: &Report| loud(report).map(|found| found.summary.clone()).collect::<Vec<_>>();
        assert_eq!(say(&again), say(&traced.report), "{}", case.name);
        assert_eq!(again.totals.matched, traced.report.totals.matched, "{}", case.name);
        assert!(again.clock.offset_seconds.abs() < 1e-3, "{}: B is on A's clock", case.name);
    }
}

#[test]
fn two_interfaces_of_one_file_give_evidence_too() {
    let case = &case::named(&["rst_host_5flows__ahead37"])[0];
    let traced = traced(case);
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("both.pcapng");
    let file = std::fs::File::create(&path).expect("the folder is writable");
    evidence::merge(&traced.report, &traced.trace, &open(case), file).expect("the folder is writable");
    let again = Analysis::builder().a_path(&path).b_path(&path).a_interface("A").b_interface("B");
    let again = again.run_traced().expect("a capture");
    let open = |point| {
        let name = if point == Point::A { "A" } else { "B" };
        CaptureSet::open(std::slice::from_ref(&path), Some(&Only::new(name)))
    };
    let findings = &again.report.findings;
    let extracts = evidence::select(findings, &again.trace, &open).expect("the capture can be read again");
    for (finding, extract) in findings.iter().zip(&extracts) {
        for cited in &finding.evidence {
            let picked = &extract.picked[cited.point.index()];
            assert!(picked.iter().any(|picked| u64::from(picked.frame) == cited.frame), "{}", finding.id);
        }
    }
}

#[test]
fn partners_are_the_same_packet() {
    for case in case::named(&["rst_host_5flows__ring", "ok_mix_bridged_gso"]) {
        let traced = traced(&case);
        let matches = traced.trace.matches.as_ref().expect("they were asked for");
        let open = open(&case);
        let mut read = [Vec::new(), Vec::new()];
        for point in Point::BOTH {
            let mut set = open(point).expect("the capture");
            loop {
                if let Next::Record(record) = set.next(i64::MAX) {
                    assert_eq!(record.frame as usize, read[point.index()].len() + 1);
                    read[point.index()].push(record.data.to_vec());
                } else if !set.turn(i64::MAX) {
                    break;
                }
            }
        }
        let mut matched = 0;
        for (number, data) in (1..).zip(&read[0]) {
            let Partner::Frames(first, last) = matches.of(Point::A, number) else { continue };
            matched += 1;
            assert!(matches.of(Point::B, first) != Partner::Alone);
            let other = &read[1][first as usize - 1];
            if first == last && data.len() == other.len() && data.len() > 54 {
                // NAT leaves sequence numbers and payload alone: Ethernet and IPv4 without options.
                assert_eq!(data[54..], other[54..], "{}: {number}", case.name);
            }
        }
        assert_eq!(matched, traced.report.totals.matched, "{}", case.name);
    }
}

#[test]
fn a_ladder_shows_what_was_lost_and_what_crossed() {
    for case in case::named(&["loss_pps_policer", "loss_queue_overflow", "rst_host_5flows__ring", "rst_by_host"]) {
        let traced = traced(&case);
        let ladders = evidence::ladders(&traced.report.findings, &traced.trace, &open(&case), 1).expect("a thread");
        let ladder = ladders[0].as_ref().expect("the worst finding has one");
        let matches = traced.trace.matches.as_ref().expect("they were asked for");
        let mut crossed = 0;
        for rung in &ladder.rungs {
            if let [Some((a, _)), Some((b, _))] = rung.seen {
                crossed += 1;
                assert_eq!(matches.of(Point::A, a), Partner::Frames(b, b), "{}: {rung:?}", case.name);
            }
            for point in Point::BOTH {
                if let (Some((frame, _)), None) = (rung.seen[point.index()], rung.seen[point.other().index()]) {
                    assert_eq!(matches.of(point, frame), Partner::Alone, "{}: {rung:?}", case.name);
                }
            }
        }
        let cited = ladder.rungs.iter().filter(|rung| !rung.note.is_empty()).count();
        assert!(crossed >= 4 && cited >= 1, "{}: {ladder:?}", case.name);
    }
}

#[test]
fn charts_count_what_the_report_counts() {
    for case in case::named(&["loss_pps_policer", "ok_mix", "rst_host_5flows__ring"]) {
        let Traced { report, trace } = traced(&case);
        let sum = |point: usize| trace.charts.traffic.packets[point].iter().sum::<u64>();
        assert_eq!([sum(0), sum(1)], [report.totals.packets_a, report.totals.packets_b], "{}", case.name);
        for direction in 0..2 {
            let [sizes, protocols] = [&trace.charts.sizes, &trace.charts.protocols].map(|shares| {
                let shares = &shares[direction];
                (
                    shares.iter().map(|share| share.offered).sum::<u64>(),
                    shares.iter().map(|share| share.alone).sum::<u64>(),
                )
            });
            assert_eq!(sizes, protocols, "{}", case.name);
            assert!(trace.charts.rates[direction].iter().all(|share| share.alone <= share.offered), "{}", case.name);
            let delayed: u64 = trace.charts.delays[direction].iter().map(|(_, count)| count).sum();
            assert!(delayed > 0 && delayed <= report.totals.matched, "{}", case.name);
            // Both are on one host: packets cross in well under a second, and not before they came.
            for &(_, low, high) in &trace.charts.delay_times[direction] {
                assert!(low <= high && low > -1_000_000 && high < 1_000_000_000, "{}: {low} {high}", case.name);
            }
        }
    }
}

/// Findings that their extract alone does not show again, and why. What becomes right must leave the list.
const NOT_AGAIN: &[(&str, &str, &str)] =
    &[("sync_firewall_new", "transit-loss", "nothing of these flows crosses; that B holds their like, others show")];

#[test]
fn the_extract_of_a_finding_shows_it_again_and_nothing_else() {
    let wrong = each(&case::all(), |case| {
        let traced = traced(case);
        let mut wrong = Vec::new();
        for (finding, pair) in traced.report.findings.iter().zip(extracts(case, &traced)) {
            if finding.severity > analyzer_core::report::Severity::Warning {
                continue;
            }
            let again = report(&pair, [None, None]);
            let same = |found: &&Finding| {
                (found.id, found.place, found.direction) == (finding.id, finding.place, finding.direction)
            };
            let excused = NOT_AGAIN.iter().any(|(name, id, _)| *name == case.name && *id == finding.id);
            let shown = loud(&again).any(|found| same(&found));
            if shown == excused {
                let what = if excused { "shown now: take it off the list" } else { "not shown again" };
                wrong.push(format!("{}: {} {:?} is {what}", case.name, finding.id, finding.place));
            }
            for found in loud(&again) {
                if !loud(&traced.report).any(|known| known.id == found.id && known.place == found.place) {
                    wrong.push(format!("{}: {} shows what is not there: {}", case.name, finding.id, found.summary));
                }
            }
        }
        wrong
    });
    assert!(wrong.is_empty(), "{} wrong\n{}\n", wrong.len(), wrong.join("\n"));
}
