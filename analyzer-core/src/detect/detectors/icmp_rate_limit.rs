//! # What it is
//! Echo requests or replies above a rate vanish, while other traffic passes: something rations ICMP. Lost pings then say
//! nothing of the network.
//!
//! # In paired captures
//! Set for pings when all of the following are true:
//! - `icmp-rate-limit.lost` or more echo messages are missing at one place (between the points, or beyond them: requests
//!   that crossed without a reply), and `icmp-rate-limit.share` or more of those sent;
//! - from the first missing one on, those that pass come at a regular pace, as from a token bucket, and slower than they
//!   were sent;
//! - TCP and UDP do not lose likewise.
//!
//! # Mistaken for it
//! - Random loss: what passes then comes at irregular times, and other protocols lose as well.
//! - A host that is down: nothing passes at all.
//!
//! # What to do
//! Find the limit, and measure loss with TCP or UDP instead.
//!
//! # References
//! RFC 1812 section 4.3.2.8; `Documentation/networking/ip-sysctl.rst` (`icmp_ratelimit`, `icmp_ratemask`: Linux does not
//! limit echo replies by default).

use crate::detect::census::has;
use crate::detect::claim::{fix, merge};
use crate::detect::text::{count, percent};
use crate::detect::{Claim, PairView, Reasons, Scene, Spec, Threshold, alibi};
use crate::facts::{EchoPace, pair_flags};
use crate::point::{Direction, Point};
use crate::report::{Finding, Severity, Where};
use serde_json::json;

/// What this detector says of itself.
pub(super) const SPEC: Spec = Spec {
    id: "icmp-rate-limit",
    says: "echo requests or replies above a rate vanish",
    causes: &[],
    severity: Severity::Warning,
    thresholds: &[
        Threshold {
            name: "icmp-rate-limit.lost",
            unit: "echo messages",
            default: 10.0,
            source: "fewer intervals do not tell a regular pace from a random one",
        },
        Threshold {
            name: "icmp-rate-limit.share",
            unit: "share of the messages sent",
            default: 0.2,
            source: "a limit that is exceeded by less loses too few for its pace to show",
        },
        Threshold {
            name: "icmp-rate-limit.irregularity",
            unit: "standard deviation of the intervals by their mean",
            default: 0.55,
            source: "a token bucket gives next to 0 at a low rate and 0.5 at the worst, when it skips every third; random loss about 1",
        },
    ],
    source: include_str!("icmp_rate_limit.rs"),
};

pub(super) fn observe(scene: &Scene) -> Vec<Claim> {
    scene.pairs_with(has::BOTH | has::ICMP, 0).filter_map(|pair| claim(scene, pair)).collect()
}

/// Where echo messages are missing.
struct Missing {
    place: Where,
    direction: Direction,
    lost: u32,
    offered: u32,
    /// Where those that passed were seen first.
    beyond: (Direction, Point),
}

fn claim(scene: &Scene, pair: &PairView) -> Option<Claim> {
    let requests = match pair.facts.flags & (pair_flags::ECHO_OUTBOUND | pair_flags::ECHO_INBOUND) {
        pair_flags::ECHO_OUTBOUND => Direction::Outbound,
        pair_flags::ECHO_INBOUND => Direction::Inbound,
        _ => return None,
    };
    let missing = missing(pair, requests);
    let pace = pair.more(missing.beyond.0, missing.beyond.1)?.echo;
    let rate = pace.rate()?;
    let irregularity = pace.irregularity()?;
    let share = f64::from(missing.lost) / f64::from(missing.offered.max(1));
    let sent = sent_rate(pair, requests)?;
    let many = f64::from(missing.lost) >= SPEC.value(scene, "icmp-rate-limit.lost");
    let much = share >= SPEC.value(scene, "icmp-rate-limit.share");
    let regular = irregularity <= SPEC.value(scene, "icmp-rate-limit.irregularity") && pace.count >= 5;
    let rationed = sent >= 1.2 * rate;
    if !many || !much || !regular || !rationed {
        return None;
    }
    let others = other_loss(scene, &missing);
    if others > share / 4.0 {
        return None;
    }
    let mut claim = Claim::new(SPEC.id, pair.serial, missing.place, missing.direction);
    claim.severity = Severity::Warning;
    claim.protocol = pair.protocol_name();
    claim.packets = u64::from(missing.lost);
    cite(scene, pair, requests, &missing, &pace, &mut claim);
    claim.details.insert("rate_per_second".into(), json!((rate * 100.0).round() / 100.0));
    claim.details.insert("sent_per_second".into(), json!((sent * 100.0).round() / 100.0));
    claim.details.insert("lost".into(), missing.lost.into());
    claim.details.insert("offered".into(), missing.offered.into());
    claim.reasons = Reasons::default()
        .support(
            0.5,
            format!("{} of {} echo messages are missing", count(missing.lost.into()), count(missing.offered.into())),
        )
        .support_if(irregularity < 0.3, 0.6, format!("those that pass come evenly, {rate:.1} a second"))
        .support_if(irregularity >= 0.3, 0.3, format!("those that pass come at about {rate:.1} a second"))
        .support_if(sent >= 2.0 * rate, 0.3, format!("{sent:.0} a second were sent"))
        .support_if(others == 0.0, 0.4, "no other protocol loses on the same way");
    Some(claim)
}

fn missing(pair: &PairView, requests: Direction) -> Missing {
    let replies = requests.reverse();
    let (near, far) = (requests.entry(), requests.exit());
    let unmatched = |direction: Direction| pair.more(direction, direction.entry()).map_or(0, |more| more.unmatched);
    let asked = pair.track(requests, near).packets;
    let left = pair.track(requests, far).packets;
    let answered = pair.track(replies, far).packets;
    let beyond = if requests == Direction::Outbound { Where::Outside } else { Where::Inside };
    [
        Missing {
            place: Where::Between,
            direction: requests,
            lost: unmatched(requests),
            offered: asked,
            beyond: (requests, far),
        },
        Missing {
            place: Where::Between,
            direction: replies,
            lost: unmatched(replies),
            offered: answered,
            beyond: (replies, near),
        },
        Missing {
            place: beyond,
            direction: requests,
            lost: left.saturating_sub(answered),
            offered: left,
            beyond: (replies, far),
        },
    ]
    .into_iter()
    .max_by(|one, other| one.lost.cmp(&other.lost).then(std::cmp::Ordering::Greater))
    .unwrap_or(Missing { place: beyond, direction: requests, lost: 0, offered: 0, beyond: (replies, far) })
}

/// Requests a second where they enter.
fn sent_rate(pair: &PairView, requests: Direction) -> Option<f64> {
    let track = pair.track(requests, requests.entry());
    let first = pair.facts.first[requests.index()][requests.entry().index()].time;
    let seconds = (track.last_time - first) as f64 / 1e9;
    (track.packets > 1 && seconds > 0.0).then(|| f64::from(track.packets - 1) / seconds)
}

/// Share of TCP and UDP that is lost between the points in the same direction, now and then: without the packets after which
/// none of their flow crosses.
fn other_loss(scene: &Scene, missing: &Missing) -> f64 {
    if missing.place != Where::Between {
        return 0.0;
    }
    let (direction, entry) = (missing.direction, missing.direction.entry());
    let (mut lost, mut offered) = (0, 0);
    for pair in scene.pairs.iter().filter(|pair| pair.both() && (pair.is_tcp() || pair.is_udp())) {
        let at_the_end = pair.more(direction, entry).map_or(0, |more| u64::from(more.run.count));
        lost += alibi::lost(scene, pair, direction).saturating_sub(at_the_end);
        offered += u64::from(pair.track(direction, entry).packets);
    }
    if offered == 0 { 0.0 } else { lost as f64 / offered as f64 }
}

fn cite(scene: &Scene, pair: &PairView, requests: Direction, missing: &Missing, pace: &EchoPace, claim: &mut Claim) {
    let (direction, point) = missing.beyond;
    claim.cite(
        scene,
        point,
        pace.first.frame,
        pace.first.time,
        "passed; the number before it is the first one missing",
    );
    let track = pair.track(direction, point);
    claim.cite(scene, point, track.last_frame, track.last_time, "the last one that passed");
    let sent = pair.track(requests, requests.entry());
    claim.cite(scene, requests.entry(), sent.last_frame, sent.last_time, "the last request");
    if missing.place == Where::Between {
        let entry = missing.direction.entry();
        for event in scene.events(crate::facts::EventKind::Unmatched, entry, missing.direction) {
            if event.pair == pair.serial {
                claim.frame(scene, entry, event.frame, event.time);
            }
        }
    }
}

pub(super) fn conclude(scene: &Scene, claims: &[Claim]) -> Finding {
    let mut finding = merge(scene, claims);
    let sum = |name: &str| claims.iter().map(|claim| claim.number(name)).sum::<f64>();
    let (rate, sent) = (sum("rate_per_second"), sum("sent_per_second"));
    let (lost, offered) = (sum("lost") as u64, sum("offered") as u64);
    for (name, value) in [("rate_per_second", rate), ("sent_per_second", sent)] {
        finding.details.insert(name.into(), json!((value * 100.0).round() / 100.0));
    }
    finding.details.insert("lost".into(), lost.into());
    finding.details.insert("offered".into(), offered.into());
    let who = match finding.place {
        Where::Between => "The host lets",
        Where::Outside => "Something beyond the uplink lets",
        _ => "The guest lets",
    };
    finding.summary = format!(
        "{who} about {rate:.0} pings a second pass of {sent:.0}: {} of {} ({}) are missing, at an even pace.",
        count(lost),
        count(offered),
        percent(lost, offered),
    );
    finding.fixes = vec![fix(
        if finding.place == Where::Between {
            "Find the limit on the host; measure loss with TCP or UDP instead of pings."
        } else {
            "Ask who runs the limit; measure loss with TCP or UDP instead of pings."
        },
        &[
            "nft list ruleset | grep -nE 'icmp.*limit'",
            "iptables -vnL | grep -E 'icmp.*limit'",
            "sysctl net.ipv4.icmp_ratelimit net.ipv4.icmp_ratemask",
            "iperf3 -u -c PEER",
        ],
        "A limit on pings protects the host and is seldom a fault: lost pings then say nothing of other traffic.",
    )];
    finding
}
