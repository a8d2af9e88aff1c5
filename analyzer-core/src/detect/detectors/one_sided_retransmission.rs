//! # What it is
//! A TCP sender repeated bytes because the host between the two points lost the first copy.
//!
//! # In paired captures
//! Set for a direction of a flow when all of the following are true:
//! - a segment at the point that the direction passes first repeats bytes already seen there (a new IP identification,
//!   so it is no duplicate);
//! - its copy at the other point brings bytes that were new there: the first copy never passed it;
//! - as many packets of the flow are missing there in the end (a first copy that comes late was overtaken, not lost);
//! - at least `one-sided-retransmission.ranges` such segments in that direction make it an error; fewer are a warning
//!   when they are a pair or more, and context when it is a single one.
//!
//! # Mistaken for it
//! - Superframes: one frame at A is many at B. Bytes are compared, never frames.
//! - A capture that dropped packets: then the receiver acknowledges bytes that the capture never saw, and nothing is
//!   repeated. The retransmission proves that the loss was real, but not where, when it is one of many that were lost
//!   beyond: of these, too, the capture missed its share.
//! - Keep-alives and probes of a closed window repeat a byte on purpose; they are not counted.
//!
//! # What to do
//! Find the drop on the host: its counters name the place.
//!
//! # References
//! RFC 9293 section 3.8; RFC 7680 (loss needs a time limit: three seconds here).

use crate::detect::census::has;
use crate::detect::claim::{fix, merge};
use crate::detect::text::{counted, percent};
use crate::detect::{Claim, PairView, Reasons, Scene, Spec, Threshold, alibi};
use crate::facts::EventKind;
use crate::point::{Direction, Point};
use crate::report::{Directions, Finding, Severity, Where};

/// What this detector says of itself.
pub(super) const SPEC: Spec = Spec {
    id: "one-sided-retransmission",
    says: "the original passed one point and never the other: lost between",
    causes: &[],
    severity: Severity::Error,
    thresholds: &[Threshold {
        name: "one-sided-retransmission.ranges",
        unit: "segments in one direction",
        default: 5.0,
        source: "a place is named only from five lost ranges on: fewer may be chance",
    }],
    source: include_str!("one_sided_retransmission.rs"),
};

pub(super) fn observe(scene: &Scene) -> Vec<Claim> {
    let mut claims = Vec::new();
    for direction in Direction::BOTH {
        // A first copy that came late was overtaken, not lost: then nothing is missing in the end.
        let lost = |pair: &PairView| {
            u64::from(pair.facts.lost_between[direction.index()]).min(missing(scene, pair, direction))
        };
        let concerned = scene.pairs_with(has::way(has::LOST_BETWEEN, direction), 0);
        let concerned: Vec<(&PairView, u64)> =
            concerned.map(|pair| (pair, lost(pair))).filter(|(_, lost)| *lost > 0).collect();
        let total: u64 = concerned.iter().map(|(_, lost)| lost).sum();
        // The far capture may have missed the first copy of what was lost beyond it.
        let repeated = total + scene.event_count(EventKind::LostBeyond, direction.entry(), direction);
        let missed = alibi::capture_explains(scene, direction.exit(), total, repeated);
        let severity = if total as f64 >= SPEC.value(scene, "one-sided-retransmission.ranges") {
            Severity::Error
        } else if total >= 2 {
            Severity::Warning
        } else {
            Severity::Info
        };
        // All have the same, which one copy holds.
        let reasons = reasons(scene, direction, total);
        for (pair, lost) in concerned {
            let mut claim = Claim::new(SPEC.id, pair.serial, Where::Between, direction);
            claim.severity = if missed { Severity::Info } else { severity };
            claim.because = missed.then_some("capture-loss");
            claim.protocol = pair.protocol_name();
            claim.packets = lost;
            for event in scene.pair_events(EventKind::LostBetween, direction.entry(), direction, pair.serial) {
                claim.cite(
                    scene,
                    direction.entry(),
                    event.frame,
                    event.time,
                    format!(
                        "repeats {}; the first copy never reached {}",
                        counted(event.a, "byte"),
                        name(direction.exit())
                    ),
                );
                claim.frames.push((direction.exit(), event.other_frame));
            }
            if claim.frames.is_empty() {
                continue;
            }
            claim.reasons = reasons.clone();
            claims.push(claim);
        }
    }
    claims
}

/// Packets of a direction that entered and did not leave, and may have been what was repeated.
fn missing(scene: &Scene, pair: &PairView, direction: Direction) -> u64 {
    /// The largest acknowledgment: the headers of IPv6 and TCP with all options.
    const ACK: u32 = 100;
    if pair.facts.lost_between[direction.index()] == 0 {
        return 0;
    }
    let all = alibi::lost(scene, pair, direction);
    if alibi::announced_mtu(pair, direction).is_none() {
        return all;
    }
    // Most of what was repeated had been too large: what else is missing may be acknowledgments, which nobody repeats.
    let events = scene.pair_events(EventKind::Unmatched, direction.entry(), direction, pair.serial);
    all.min(events.iter().filter(|event| event.size > ACK && alibi::is_lost(pair, direction, event)).count() as u64)
}

fn reasons(scene: &Scene, direction: Direction, total: u64) -> Reasons {
    let loss = alibi::capture_loss(scene, direction.exit());
    Reasons::default()
        .support(0.8, "the repeated bytes were new at the far point: their first copy never passed it")
        .support_if(total >= 5, 0.7, format!("{} of them", counted(total, "such segment")))
        .contradict_if(
            loss > 0.001,
            0.2,
            format!(
                "the capture of point {} itself missed {:.1} % of what passed",
                name(direction.exit()),
                loss * 100.0
            ),
        )
}

pub(super) fn conclude(scene: &Scene, claims: &[Claim]) -> Finding {
    let mut finding = merge(scene, claims);
    let direction = if finding.direction == Directions::Inbound { Direction::Inbound } else { Direction::Outbound };
    // There may be very many claims, so that none of them carries its numbers along.
    let pairs = || claims.iter().flat_map(|claim| &claim.flows).filter_map(|serial| scene.pair(*serial));
    let bytes: u64 = pairs().map(|pair| pair.facts.lost_between_bytes[direction.index()]).sum();
    let segments: u64 = pairs().map(|pair| u64::from(pair.track(direction, direction.entry()).packets)).sum();
    finding.details.insert("retransmitted_bytes".into(), bytes.into());
    finding.details.insert("segments".into(), segments.into());
    finding.summary = format!(
        "{} of {} ({}) had to be sent again because the host lost the first copy: it passed {} and never {}.",
        counted(finding.packet_count, "segment"),
        crate::detect::text::count(segments),
        percent(finding.packet_count, segments),
        name(direction.entry()),
        name(direction.exit()),
    );
    finding.fixes = vec![fix(
        "Find where the host drops: its counters name the place.",
        &["nstat -az | grep -iE 'drop|invalid|csum'", "tc -s qdisc", "conntrack -S", "cat /proc/net/softnet_stat"],
        "Read them twice during the fault: only what grows matters.",
    )];
    finding
}

/// A point in a sentence.
fn name(point: Point) -> &'static str {
    match point {
        Point::A => "A",
        Point::B => "B",
    }
}
