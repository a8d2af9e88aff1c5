//! # What it is
//! Frames that left the guest or the host come back in from outside, with the sender's own MAC: a loop, a bundle that is
//! configured at one end only, or a switch that reflects. The bridge then believes that the guest lives outside, and its
//! answers go astray until it speaks again.
//!
//! # In paired captures
//! Set for the uplink when all of the following are true:
//! - a frame to a group (broadcast or multicast) stands at B twice within half a second, the very same packet;
//! - its source MAC is one that sends from inside at B (a guest's on a bridge, the host's own behind NAT);
//! - `reflected-frame.frames` or more of them, of which `reflected-frame.packets` or more carry an IP identification;
//!   or they come at different times, sooner than senders repeat themselves or longer than the first time;
//! - frames of other senders do not come twice.
//!
//! Set also when B holds only what comes in (`tcpdump -Q in`), and frames with a MAC from inside stand there; A may hold
//! both directions, or only what leaves the same link (`-Q out`). That B does is known from connections: nothing that leaves
//! stands there although it is acknowledged, or what does was acknowledged before it came.
//!
//! A trailer on the second copy (such as a VSS Monitoring time stamp) and padding to 60 bytes prove that it went through
//! a device outside.
//!
//! # Mistaken for it
//! - Senders that repeat themselves (announcements, three copies and more, ARP again after a second; LLMNR and reports of
//!   multicast listeners within half a second, and over IPv6 without an identification to tell).
//! - A capture that holds every packet twice.
//! - A network that doubles what comes in from others: those are not our frames.
//!
//! # What to do
//! Remove the loop, bundle both ends, or stop the device that reflects; meanwhile keep the bridge from learning.
//!
//! # References
//! IEEE 802.1Q section 8.7 (learning); `bridge(8)`; `tcpdump(1)` option -Q; RFC 4795 section 2.7 (LLMNR repeats after 100 ms).

use crate::detect::census::has;
use crate::detect::claim::{fix, merge};
use crate::detect::text::{count, counted, duration, mac_text};
use crate::detect::{Claim, PairView, Reasons, Scene, Spec, Threshold, alibi};
use crate::facts::{Echo, Event, EventKind, Stamp};
use crate::packet::FlowKey;
use crate::point::{Direction, Point};
use crate::report::{Directions, Finding, Severity, Where};
use crate::time::{MICROSECOND, MILLISECOND, SECOND};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};

/// What this detector says of itself.
pub(super) const SPEC: Spec = Spec {
    id: "reflected-frame",
    says: "frames with an inside MAC come back in from outside (loop, one-ended bond, reflecting switch)",
    causes: &[],
    severity: Severity::Error,
    thresholds: &[
        Threshold {
            name: "reflected-frame.frames",
            unit: "frames that came twice",
            default: 3.0,
            source: "one or two may be a sender that repeats itself",
        },
        Threshold {
            name: "reflected-frame.packets",
            unit: "of these, with an IP identification",
            default: 2.0,
            source: "an IP stack does not use an identification twice in half a second (RFC 6864)",
        },
    ],
    source: include_str!("reflected_frame.rs"),
};

pub(super) fn observe(scene: &Scene) -> Vec<Claim> {
    came_twice(scene).or_else(|| in_and_out(scene)).or_else(|| only_in(scene)).into_iter().collect()
}

fn came_twice(scene: &Scene) -> Option<Claim> {
    /// A copy that comes sooner did not leave the machine: two taps on one path.
    const SOONEST: i64 = 20 * MICROSECOND;
    /// No sender repeats itself sooner: LLMNR does after 100 ms at least, a listener's report at random within a second.
    const SENDERS: i64 = 50 * MILLISECOND;
    let link = &scene.link[Point::B.index()];
    let own = scene.own_macs(Point::B);
    let all = link.echoes.items();
    let ours: Vec<&Echo> =
        all.iter().filter(|echo| own.contains(&echo.mac) && echo.again.time - echo.first.time >= SOONEST).collect();
    let others = all.len() - all.iter().filter(|echo| own.contains(&echo.mac)).count();
    let same_packet = ours.iter().filter(|echo| echo.same_packet).count();
    let enough = ours.len() as f64 >= SPEC.value(scene, "reflected-frame.frames");
    // Without an identification it may be the sender that repeats itself, but not so soon, and not in another form.
    let certain = ours
        .iter()
        .filter(|echo| echo.trailer || echo.padded || echo.same_packet || echo.again.time - echo.first.time < SENDERS);
    let certain = same_packet as f64 >= SPEC.value(scene, "reflected-frame.packets")
        || apart(&certain.copied().collect::<Vec<_>>()) >= 3;
    if !enough || !certain || others > ours.len() / 4 || alibi::doubled(scene, Point::B) {
        return None;
    }
    let mut claim = new_claim();
    let macs: BTreeSet<u64> = ours.iter().map(|echo| echo.mac).collect();
    // The kernel's own copies reach A as well, where they come in from the uplink.
    let at_a = scene.link[Point::A.index()].echoes.items().iter().filter(|echo| macs.contains(&echo.mac)).count();
    let trailers = ours.iter().filter(|echo| echo.trailer).count();
    let padded = ours.iter().filter(|echo| echo.padded).count();
    // Where all comes back, packets to a single host do so as well.
    let returned: BTreeSet<u32> = ours.iter().map(|echo| echo.again.frame).collect();
    let from_own = |event: &&Event| {
        let mac = scene.pair(event.pair).and_then(|pair| pair.macs[Point::B.index()]);
        mac.is_some_and(|(mac, _)| own.contains(&mac)) && !returned.contains(&event.frame)
    };
    let single: Vec<&Event> =
        scene.events(EventKind::CrossedAgain, Point::B, Direction::Outbound).iter().filter(from_own).collect();
    claim.packets = (ours.len() + single.len()) as u64;
    for echo in &ours {
        let delay = echo.again.time - echo.first.time;
        claim.frames.push((Point::B, echo.first.frame));
        let changed = match (echo.trailer, echo.padded) {
            (true, _) => ", with a trailer",
            (_, true) => ", padded",
            _ => "",
        };
        claim.cite(
            scene,
            Point::B,
            echo.again.frame,
            echo.again.time,
            format!("#{} of {} again, after {}{changed}", echo.first.frame, mac_text(echo.mac), duration(delay)),
        );
    }
    for event in &single {
        claim.frames.push((Point::B, event.a as u32));
        claim.frame(scene, Point::B, event.frame, event.time);
    }
    let mut delays: Vec<i64> = ours.iter().map(|echo| echo.again.time - echo.first.time).collect();
    delays.sort_unstable();
    let median = delays[delays.len() / 2];
    describe(&mut claim, &macs, (trailers > 0).then_some(trailers));
    claim.details.insert("delay_seconds".into(), json!(median as f64 / SECOND as f64));
    claim.details.insert("group_frames".into(), (link.group_frames - link.echoes.count).into());
    claim.details.insert("group_frames_returned".into(), ours.len().into());
    let steady = delays.iter().all(|delay| *delay >= median / 3 && *delay <= median.saturating_mul(3));
    claim.reasons = Reasons::default()
        .support(0.6, format!("{} with an inside MAC stand at B twice", counted(ours.len() as u64, "frame")))
        .support_if(same_packet >= 2, 0.6, "the same IP identification: the same packet, not a repetition")
        .support_if(steady, 0.4, format!("always after about {}", duration(median)))
        .support_if(at_a > 0, 0.3, "the second copies reach A as well: the bridge took them in")
        .support_if(trailers > 0 || padded > 0, 0.5, "the second copies are longer: a device outside handled them")
        .contradict_if(
            others > 0,
            0.2,
            format!("{} of other senders come twice as well", counted(others as u64, "frame")),
        );
    Some(claim)
}

/// Moments, a second or more apart, at which frames came twice.
fn apart(echoes: &[&Echo]) -> usize {
    let mut last = i64::MIN / 2;
    let mut moments = 0;
    for echo in echoes {
        if echo.first.time - last >= SECOND {
            moments += 1;
        }
        last = echo.first.time;
    }
    moments
}

/// A holds what leaves a link and B what enters it: the halves of the same flows, one in each. What stands in both
/// has come back.
fn in_and_out(scene: &Scene) -> Option<Claim> {
    if scene.pairs_with(has::BOTH | has::TCP, 0).next().is_some() {
        return None;
    }
    let halves = |point: Point| -> BTreeMap<FlowKey, bool> {
        scene
            .pairs_with(has::ALONE, has::TCP | has::UDP)
            .filter_map(|pair| {
                let ways = Direction::BOTH.map(|way| pair.track(way, point).packets > 0);
                Some((*pair.key(point)?, ways[0] != ways[1]))
            })
            .collect()
    };
    let (a, b) = (halves(Point::A), halves(Point::B));
    let split = a.iter().filter(|(key, one_way)| **one_way && b.get(key) == Some(&true)).count();
    if split == 0 {
        return None;
    }
    let back: Vec<&PairView> = scene
        .pairs
        .iter()
        .filter(|pair| pair.both() && pair.macs[0].is_some())
        .filter(|pair| pair.macs[0].map(|mac| mac.0) == pair.macs[1].map(|mac| mac.0))
        .collect();
    came_back(scene, &back, "A holds the outbound halves of the flows and B the inbound ones")
}

/// B holds what comes in and nothing that leaves; what stands there with a MAC from inside has come back.
fn only_in(scene: &Scene) -> Option<Claim> {
    let acknowledged_before = alibi::only_in(scene);
    if !acknowledged_before && !nothing_leaves(scene) {
        return None;
    }
    let inside: BTreeSet<u64> = scene
        .pairs
        .iter()
        .filter(|pair| pair.is_tcp())
        .filter_map(|pair| pair.macs[0])
        .filter(|(_, way)| *way == Direction::Outbound)
        .map(|(mac, _)| mac)
        .collect();
    let from_inside = |mac: Option<(u64, Direction)>| mac.is_some_and(|(mac, _)| inside.contains(&mac));
    let back: Vec<&PairView> = scene
        .pairs
        .iter()
        .filter(|pair| pair.both() && (!pair.is_tcp() || pair.track(Direction::Outbound, Point::B).matched > 0))
        // A connection's first frame at B may well be the peer's: what left of it and stands there came back.
        .filter(|pair| {
            let point = if pair.is_tcp() { Point::A } else { Point::B };
            from_inside(pair.macs[point.index()])
        })
        .collect();
    let why = if acknowledged_before {
        "B holds inbound packets only: what left was acknowledged there before it stood there, if it ever did"
    } else {
        "B holds inbound packets only"
    };
    came_back(scene, &back, why)
}

/// Whether connections show that B holds nothing of what leaves, by their number alone.
fn nothing_leaves(scene: &Scene) -> bool {
    /// Packets that prove which directions a capture holds.
    const ENOUGH: u32 = 20;
    let connections = || scene.pairs_with(has::TCP, 0);
    let packets = |way, point| connections().map(|pair| pair.track(way, point).packets).sum::<u32>();
    scene.census.totals.left == 0
        && packets(Direction::Outbound, Point::A) >= ENOUGH
        && packets(Direction::Inbound, Point::B) >= ENOUGH
}

/// The claim that what stands at B of these flows has come back in: their frames to groups, and what was matched of the rest,
/// of which the first and the last frame of each flow are known.
fn came_back(scene: &Scene, back: &[&PairView], why: &'static str) -> Option<Claim> {
    // What a peer sends has not come back; which way other packets went may be a guess.
    let ways = |pair: &PairView| Direction::BOTH.into_iter().take(if pair.is_tcp() { 1 } else { 2 });
    let macs: BTreeSet<u64> = back.iter().filter_map(|pair| pair.macs[0]).map(|mac| mac.0).collect();
    let all = &scene.link[Point::B.index()].groups;
    let groups: BTreeMap<u32, Stamp> =
        all.items().iter().filter(|(mac, _)| macs.contains(mac)).map(|(_, at)| (at.frame, *at)).collect();
    let mut claim = new_claim();
    if all.complete() {
        claim.packets = groups.len() as u64;
    }
    for pair in back {
        for way in ways(pair) {
            let first = pair.facts.first[way.index()];
            if !pair.is_tcp() {
                claim.cite(scene, Point::A, first[0].frame, first[0].time, "left here");
            }
            claim.cite(scene, Point::B, first[1].frame, first[1].time, "came back in");
            let track = pair.track(way, Point::B);
            let to_group = all.complete() && groups.contains_key(&first[1].frame);
            if track.matched > 0 && !to_group {
                claim.packets += u64::from(track.matched);
                claim.frame(scene, Point::B, track.last_frame, track.last_time);
            }
        }
    }
    if (claim.packets as f64) < SPEC.value(scene, "reflected-frame.frames") {
        return None;
    }
    for at in groups.values() {
        claim.frame(scene, Point::B, at.frame, at.time);
    }
    let trailers = scene.link[Point::B.index()].trailers.0;
    describe(&mut claim, &macs, (trailers > 0).then_some(trailers as usize));
    claim.reasons = Reasons::default()
        .support(0.7, why)
        .support(0.5, format!("{} with an inside MAC stand there", counted(claim.packets, "frame")))
        .support_if(trailers > 0, 0.5, "a trailer was added on the way");
    Some(claim)
}

fn new_claim() -> Claim {
    let mut claim = Claim::new(SPEC.id, 0, Where::Outside, Directions::Inbound);
    claim.flows.clear();
    claim.severity = Severity::Error;
    claim.protocol = "ethernet";
    claim
}

fn describe(claim: &mut Claim, macs: &BTreeSet<u64>, trailers: Option<usize>) {
    let names: Vec<String> = macs.iter().take(16).map(|mac| mac_text(*mac)).collect();
    claim.details.insert("macs".into(), names.into());
    claim.details.insert("trailer".into(), json!(trailers));
}

pub(super) fn conclude(scene: &Scene, claims: &[Claim]) -> Finding {
    let mut finding = merge(scene, claims);
    let macs: Vec<String> = claims[0]
        .details
        .get("macs")
        .and_then(|list| list.as_array())
        .map(|list| list.iter().filter_map(|mac| mac.as_str()).map(str::to_owned).collect())
        .unwrap_or_default();
    let delay = claims[0].number("delay_seconds");
    let after = if delay > 0.0 { format!(" after about {}", duration((delay * 1e9) as i64)) } else { String::new() };
    let [groups, returned] = ["group_frames", "group_frames_returned"].map(|name| claims[0].number(name) as u64);
    let whole = if groups > 0 {
        format!(", {} of {} to groups among them", count(returned), count(groups))
    } else {
        String::new()
    };
    finding.summary = format!(
        "Something beyond the uplink sent {} of {} back in{after}: frames that had left from inside{whole}.",
        counted(finding.packet_count, "frame"),
        macs.first().map_or("inside MACs", String::as_str),
    );
    let mac = macs.first().cloned().unwrap_or_default();
    finding.fixes = vec![
        fix(
            "Remove the loop, or stop the device outside that reflects; bundle both ends of a bond or neither.",
            &[
                "cat /proc/net/bonding/BOND",
                "tcpdump -Q in -nei UPLINK ether src GUEST_MAC",
                "ip -s -d link show UPLINK",
            ]
            .map(|command| command.replace("GUEST_MAC", &mac))
            .each_ref()
            .map(String::as_str),
            "Frames with a guest's MAC must never come in by the uplink: the second command shows whether they still do.",
        ),
        fix(
            "Until then, keep the bridge from unlearning where the guest is.",
            &["brctl setageing BRIDGE 0", &format!("bridge fdb replace {mac} dev VNET master static")],
            "With an ageing of 0 the bridge floods everything; the static entry must go when the guest moves.",
        ),
    ];
    finding
}
