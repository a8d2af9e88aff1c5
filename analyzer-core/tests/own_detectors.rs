//! Detectors of a caller go the same way as those that come with the library.

use analyzer_core::detect::{Claim, PairView, Reasons, Scene, Spec, Threshold, merge};
use analyzer_core::report::{Directions, Where};
use analyzer_core::{Analysis, Detector, Direction, Error, Finding, Options, Report, Severity};
use etherparse::PacketBuilder;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Names flows of many packets, and counts those that it is shown.
struct Heavy {
    spec: Spec,
    keep: bool,
    shown: Arc<AtomicUsize>,
}

const HEAVY: Spec = Spec::new("heavy-flow", "a flow of many packets", Severity::Warning).thresholds(&[Threshold::new(
    "heavy-flow.packets",
    "packets at A",
    20.0,
    "this test",
)]);

impl Default for Heavy {
    fn default() -> Self {
        Self { spec: HEAVY, keep: false, shown: Arc::default() }
    }
}

fn packets(pair: &PairView) -> u64 {
    Direction::BOTH.iter().map(|&direction| u64::from(pair.track(direction, direction.entry()).packets)).sum()
}

impl Detector for Heavy {
    fn spec(&self) -> &Spec {
        &self.spec
    }

    fn observe(&self, scene: &Scene) -> Vec<Claim> {
        self.shown.store(scene.pairs.len(), Ordering::Relaxed);
        let most = self.spec.value(scene, "heavy-flow.packets");
        let heavy = scene.pairs.iter().filter(|pair| packets(pair) as f64 >= most);
        let claim = |pair: &PairView| {
            let mut claim = Claim::new("an id that nobody has", pair.serial, Where::Inside, Directions::Both);
            claim.packets = packets(pair);
            claim.reasons = Reasons::default().support(0.9, "it was counted");
            for direction in Direction::BOTH {
                let track = pair.track(direction, direction.entry());
                if let Some(last) = track.last() {
                    claim.cite(scene, direction.entry(), last.frame, last.time, "its last packet");
                }
            }
            claim
        };
        heavy.map(claim).collect()
    }

    fn conclude(&self, scene: &Scene, claims: &[Claim]) -> Finding {
        let mut finding = merge(scene, claims);
        finding.summary = format!("{} flows are heavy.", claims.len());
        finding
    }

    fn keeps(&self, _pair: &PairView) -> bool {
        self.keep
    }
}

fn pair(folder: &str) -> Analysis {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata").join(folder);
    Analysis::builder().a_path(folder.join("virbr0.pcap")).b_path(folder.join("uplink.pcap"))
}

fn with(packets: f64) -> Options {
    let mut options = Options::default();
    options.thresholds.insert("heavy-flow.packets".into(), packets);
    options
}

fn heavy(report: &Report) -> Option<&Finding> {
    report.findings.iter().find(|finding| finding.id == HEAVY.id)
}

#[test]
fn a_detector_of_the_caller_reports_beside_the_others() {
    let plain = pair("pairs/rst_by_host").run().unwrap();
    let report = pair("pairs/rst_by_host").detector(Heavy::default()).run().unwrap();
    let finding = heavy(&report).expect("three transfers of more than twenty packets");
    assert_eq!((finding.flow_count, finding.summary.as_str()), (3, "3 flows are heavy."));
    assert!(finding.evidence.len() >= 3 && finding.filters.a.starts_with("frame.number"), "{finding:?}");
    // Errors come first, and nothing else is changed by it.
    assert_eq!(report.findings[0].id, "tcp-reset");
    assert_eq!(report.findings.len(), plain.findings.len() + 1);
}

#[test]
fn its_thresholds_can_be_set_and_unknown_ones_are_refused() {
    let report = pair("pairs/rst_by_host").detector(Heavy::default()).options(with(1e6)).run().unwrap();
    assert!(heavy(&report).is_none());
    let refused = pair("pairs/rst_by_host").options(with(1.0)).run().unwrap_err();
    assert!(matches!(&refused, Error::Usage(text) if text.contains("`heavy-flow.packets`")), "{refused}");
}

#[test]
fn an_id_is_given_once() {
    let twice = pair("pairs/rst_by_host").detector(Heavy::default()).detector(Heavy::default()).run();
    assert!(matches!(twice.unwrap_err(), Error::Usage(text) if text.contains("`heavy-flow`")));
    let taken = Heavy { spec: Spec::new("tcp-reset", "", Severity::Info), ..Heavy::default() };
    assert!(matches!(pair("pairs/rst_by_host").detector(taken).run().unwrap_err(), Error::Usage(_)));
}

/// A capture of frames, each with its time in milliseconds.
fn pcap(frames: &[(u32, Vec<u8>)]) -> Vec<u8> {
    let mut bytes = vec![0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 1, 0, 0, 0];
    for (time, data) in frames {
        let length = data.len() as u32;
        for word in [1_795_229_846 + time / 1000, time % 1000 * 1000, length, length] {
            bytes.extend(word.to_le_bytes());
        }
        bytes.extend(data);
    }
    bytes
}

/// A connection that is opened and closed, and a minute and a half of datagrams after it.
fn a_connection_that_is_over() -> Vec<u8> {
    let (guest, peer) = ([192, 168, 122, 10], [198, 51, 100, 7]);
    let frame = |inbound: bool| {
        let (source, destination) = if inbound { (peer, guest) } else { (guest, peer) };
        PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]).ipv4(source, destination, 64)
    };
    let mut frames = Vec::new();
    let mut push = |time: u32, builder: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = Vec::new();
        builder(&mut bytes);
        frames.push((time, bytes));
    };
    // From inside or not, sequence and acknowledgment numbers, SYN, FIN.
    let segments = [
        (false, 1000, None, true, false),
        (true, 5000, Some(1001), true, false),
        (false, 1001, Some(5001), false, false),
        (false, 1001, Some(5001), false, true),
        (true, 5001, Some(1002), false, true),
        (false, 1002, Some(5002), false, false),
    ];
    for (time, (inbound, seq, ack, syn, fin)) in (0..).zip(segments) {
        push(time, &|bytes| {
            let (from, to) = if inbound { (443, 40_000) } else { (40_000, 443) };
            let mut builder = frame(inbound).tcp(from, to, seq, 64_000);
            builder = if let Some(ack) = ack { builder.ack(ack) } else { builder };
            builder = if syn { builder.syn() } else { builder };
            builder = if fin { builder.fin() } else { builder };
            builder.write(bytes, &[]).expect("memory takes all");
        });
    }
    for number in 0..90_u32 {
        push(1000 * (number + 1), &|bytes| {
            let payload = [number as u8; 64];
            frame(false).udp(40_001, 5000).write(bytes, &payload).expect("memory takes all");
        });
    }
    pcap(&frames)
}

#[test]
fn finished_flows_are_kept_on_request() {
    for (keep, flows) in [(false, 1), (true, 2)] {
        let detector = Heavy { keep, ..Heavy::default() };
        let shown = Arc::clone(&detector.shown);
        let bytes = a_connection_that_is_over();
        let (a, b) = (std::io::Cursor::new(bytes.clone()), std::io::Cursor::new(bytes));
        let report = Analysis::builder().a_reader("a", a).b_reader("b", b).detector(detector).run().unwrap();
        assert_eq!((report.totals.flows, shown.load(Ordering::Relaxed)), (2, flows));
    }
}
