//! A detector of your own: connections that took long to open, and on which side of the host the time went.
//!
//! `cargo run --example custom_detector -- virbr0.pcap uplink.pcap`

use analyzer_core::detect::{Claim, PairView, Reasons, Scene, Spec, Threshold, fix, merge, text};
use analyzer_core::facts::SynOptions;
use analyzer_core::report::{Directions, Where};
use analyzer_core::{Analysis, Detector, Direction, Finding, Options, Point, Severity};
use std::error::Error;
use std::io::{self, Write};

/// Its id, what it says, and its threshold: `Options::thresholds` can change it by name.
const SPEC: Spec = Spec::new("slow-handshake", "a connection took long to open", Severity::Warning)
    .thresholds(&[Threshold::new(
        "slow-handshake.milliseconds",
        "from the SYN to its answer, at A",
        300.0,
        "a round trip half around the earth takes less",
    )])
    .source(include_str!("custom_detector.rs"));

struct SlowHandshake;

impl Detector for SlowHandshake {
    fn spec(&self) -> &Spec {
        &SPEC
    }

    /// Looks at each flow by itself, and makes a claim with the frames that prove it.
    fn observe(&self, scene: &Scene) -> Vec<Claim> {
        let limit = (SPEC.value(scene, "slow-handshake.milliseconds") * 1e6) as i64;
        scene.pairs.iter().filter_map(|pair| slow(scene, pair, limit)).collect()
    }

    /// Flows that opened slowly on the same side are one finding. `merge` has put together all but the words.
    fn conclude(&self, scene: &Scene, claims: &[Claim]) -> Finding {
        let mut finding = merge(scene, claims);
        let side = match finding.place {
            Where::Between => "in the host",
            _ => "beyond B",
        };
        let slowest = claims.iter().map(|claim| claim.number("milliseconds")).fold(0.0, f64::max);
        finding.summary = format!(
            "{} took up to {slowest:.1} ms to open; most of that was spent {side}.",
            text::counted(finding.flow_count, "connection")
        );
        finding.fixes = vec![fix(
            "Compare with the round trip of an echo request to the same peer.",
            &["ping -c 5 198.51.100.7"],
            "A busy peer answers echo requests sooner than connections.",
        )];
        finding
    }

    /// Connections that opened slowly matter even if they closed in peace long before the capture ended.
    fn keeps(&self, pair: &PairView) -> bool {
        pair.facts.syn.is_some()
    }
}

/// The claim about one flow, if it has both its SYNs at both points, and they were far apart.
fn slow(scene: &Scene, pair: &PairView, limit: i64) -> Option<Claim> {
    let syns = pair.facts.syn.as_ref()?;
    // The guest's SYN and the peer's, each where they were seen: times are in the clock of their point.
    let syn = |direction: Direction, point: Point| {
        Some(syns[direction.index()][point.index()]).filter(SynOptions::seen).map(|syn| syn.first)
    };
    let (asked, answered) = (syn(Direction::Outbound, Point::A)?, syn(Direction::Inbound, Point::A)?);
    let (left, came) = (syn(Direction::Outbound, Point::B)?, syn(Direction::Inbound, Point::B)?);
    let (all, beyond) = (answered.time - asked.time, came.time - left.time);
    if all < limit {
        return None;
    }
    let place = if beyond * 2 > all { Where::Outside } else { Where::Between };
    let mut claim = Claim::new(SPEC.id, pair.serial, place, Directions::Both);
    claim.protocol = "tcp";
    claim.packets = 2;
    claim.cite(scene, Point::A, asked.frame, asked.time, "the guest's SYN");
    claim.cite(scene, Point::A, answered.frame, answered.time, "the answer");
    claim.details.insert("milliseconds".into(), (all as f64 / 1e6).into());
    claim.reasons = Reasons::default().support(0.9, "both ends of the handshake are in both captures").contradict_if(
        syns[0][0].times > 1,
        0.3,
        "the SYN was repeated: it may have been lost, not late",
    );
    Some(claim)
}

fn main() -> Result<(), Box<dyn Error>> {
    let [a, b] = std::env::args().skip(1).collect::<Vec<_>>().try_into().map_err(|_| "usage: custom_detector A B")?;
    run(&a, &b, Options::default(), &mut io::stdout().lock())
}

/// Analyzes a pair with all detectors and prints what this one found.
pub(crate) fn run(a: &str, b: &str, options: Options, out: &mut dyn Write) -> Result<(), Box<dyn Error>> {
    let report = Analysis::builder().a_path(a).b_path(b).options(options).detector(SlowHandshake).run()?;
    for finding in report.findings.iter().filter(|finding| finding.id == SPEC.id) {
        writeln!(out, "{} (confidence {})", finding.summary, finding.confidence)?;
        for cited in &finding.evidence {
            writeln!(out, "  {:?} #{} {}: {}", cited.point, cited.frame, cited.time, cited.note)?;
        }
    }
    Ok(())
}
