//! # What it is
//! Packets above what some link on the path carries vanish, and their sender does not learn it or does not obey: small
//! packets pass, large ones never do (a path MTU black hole).
//!
//! # In paired captures
//! Set for a direction of a flow when all of the following are true.
//!
//! With an ICMP error "fragmentation needed" (IPv6: "packet too big") about the flow:
//! - TCP: the sender repeats a segment above the announced MTU without making it smaller, at least
//!   `pmtu-black-hole.repeats` times after the error, and it is never acknowledged in that size;
//! - UDP and QUIC: datagrams above the announced MTU go on more than half a second after the error, at least
//!   `pmtu-black-hole.datagrams` of them, and one in five packets or more (a few are the probes of RFC 8899);
//! - who failed: the error crossed both points, or the host made it itself right beside the sender: the sender ignores it
//!   (`icmp-ignored`). It stands at the far point alone: the host did not pass it on (`icmp-not-relayed`).
//!
//! Without any such error (`icmp-absent`):
//! - the same TCP segment is repeated `pmtu-black-hole.silent-repeats` times or more and never acknowledged;
//! - it is at least `pmtu-black-hole.smallest` bytes long and larger than any that was acknowledged in this direction, of
//!   this flow or of another one to the same address;
//! - that address goes on answering small packets meanwhile, and the segment is as large as the MSS allows, or the flow's
//!   own receiver still speaks; without that it is context only;
//! - it lies between the points when the segment never reached the second one, else outside.
//!
//! # Mistaken for it
//! - Superframes: a frame above the MTU that offload cuts later. Sizes are those on the wire.
//! - Path MTU discovery at work: one error, then smaller packets; again every ten minutes.
//! - Probes of a closed window repeat a whole segment, and each of them is answered.
//! - A policer or a full queue loses large packets more often than small ones, but no size always.
//! - A peer that died: then small packets are not answered either.
//!
//! # What to do
//! Clamp the MSS on the host, let ICMP errors through, or give the guest the smaller MTU.
//!
//! # References
//! RFC 1191, RFC 8201 (path MTU discovery), RFC 2923 (its black holes), RFC 4821 and RFC 8899 (probing without ICMP);
//! the kernel's ip-sysctl (`tcp_mtu_probing`, `mtu_expires`).

use crate::detect::census::has;
use crate::detect::claim::{fix, merge};
use crate::detect::text::{counted, letter};
use crate::detect::{Claim, PairView, Reasons, Scene, Spec, Threshold};
use crate::facts::{Fate, Head, IcmpSeen, state};
use crate::packet::{Endpoint, Kind};
use crate::point::{Direction, Point};
use crate::report::{Directions, Finding, Fix, Severity, Where};
use crate::seq;
use serde_json::Value;
use std::cell::LazyCell;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Deref;

/// What this detector says of itself.
pub(super) const SPEC: Spec = Spec {
    id: "pmtu-black-hole",
    says: "packets above the path MTU vanish and the sender does not learn or obey",
    causes: &["icmp-not-relayed", "icmp-ignored", "icmp-absent"],
    severity: Severity::Error,
    thresholds: &[
        Threshold {
            name: "pmtu-black-hole.repeats",
            unit: "repetitions of one segment after an ICMP error",
            default: 2.0,
            source: "a sender that obeys repeats with smaller segments at once; one repetition may have been under way",
        },
        Threshold {
            name: "pmtu-black-hole.silent-repeats",
            unit: "repetitions of one segment without an ICMP error",
            default: 3.0,
            source: "three timeouts are what Linux waits for before it suspects the path MTU (tcp_retries1)",
        },
        Threshold {
            name: "pmtu-black-hole.smallest",
            unit: "bytes of the IP packet",
            default: 1200.0,
            source: "paths carry 1280 bytes (RFC 8200) and QUIC assumes 1200 (RFC 9000, section 14)",
        },
        Threshold {
            name: "pmtu-black-hole.datagrams",
            unit: "datagrams above the announced MTU",
            default: 5.0,
            source: "RFC 8899 gives up a size after three probes: more than that are data",
        },
    ],
    source: include_str!("pmtu_black_hole.rs"),
};

pub(super) fn observe(scene: &Scene) -> Vec<Claim> {
    // Hardly any capture needs them.
    let peers = LazyCell::new(|| Peers::new(scene));
    let mut claims = Vec::new();
    for pair in scene.pairs_with(0, has::ERRORS | has::HEAD) {
        for direction in Direction::BOTH {
            claims.extend(told(scene, pair, direction, &peers).or_else(|| silent(scene, pair, direction, &peers)));
        }
    }
    claims
}

/// The errors about packets of this direction; they travel the other way.
fn errors<'a>(pair: &PairView<'a>, direction: Direction) -> Vec<&'a IcmpSeen> {
    pair.facts.icmp.iter().filter(|error| error.too_big() && error.direction == direction.reverse()).collect()
}

/// A segment that its sender repeats in vain.
struct Stuck {
    head: Head,
    point: Point,
}

/// The segment that was repeated most without ever passing, at the point where its sender's packets come first.
fn stuck(pair: &PairView, direction: Direction) -> Option<Stuck> {
    let point = direction.entry();
    let head = pair.more(direction, point)?.worst_head;
    let over = [Point::A, Point::B].into_iter().any(|point| {
        let track = pair.track(direction, point);
        track.has(state::ACK) && seq::after(track.acked, head.seq)
    });
    let passed = head.passed || (over && !head.shrunk);
    (head.times > 0 && !passed).then_some(Stuck { head, point })
}

/// A black hole that an ICMP error announced.
fn told(scene: &Scene, pair: &PairView, direction: Direction, peers: &impl Deref<Target = Peers>) -> Option<Claim> {
    let errors = errors(pair, direction);
    let first = *errors.first()?;
    let mtu = errors.iter().map(|error| error.limit()).filter(|limit| *limit > 0).min()?;
    let reached = errors.iter().any(|error| error.fate == Fate::Crossed || error.point == direction.entry());
    let sender = if direction == Direction::Outbound { Where::Inside } else { Where::Outside };
    let (cause, place) = if reached { ("icmp-ignored", sender) } else { ("icmp-not-relayed", Where::Between) };

    let mut claim = Claim::new(SPEC.id, pair.serial, place, direction);
    claim.severity = Severity::Error;
    claim.cause = Some(cause);
    claim.protocol = pair.protocol_name();
    cite_error(scene, &mut claim, first, reached);
    let stuck = stuck(pair, direction).filter(|stuck| stuck.head.size > mtu);
    let (unmoved, smallest_lost) = if pair.is_tcp() {
        let Stuck { head, point } = stuck?;
        let enough = f64::from(head.times) >= SPEC.value(scene, "pmtu-black-hole.repeats");
        // Three timeouts at full size are a black hole even when the sender found its own way out afterwards.
        let learned = head.shrunk && f64::from(head.times) < SPEC.value(scene, "pmtu-black-hole.silent-repeats");
        let later = scene.clock.to_a(point, head.last.time) > scene.clock.to_a(first.point, first.at.time);
        if !enough || learned || !later {
            return None;
        }
        cite_head(scene, &mut claim, point, &head);
        (head.times, head.size)
    } else {
        let error = errors.iter().max_by_key(|error| error.larger_after)?;
        let enough = f64::from(error.larger_after) >= SPEC.value(scene, "pmtu-black-hole.datagrams");
        // Probes are a few among the data; a sender that ignores the error goes on with data of that size.
        if !enough || error.larger_after * 4 < error.smaller_after {
            return None;
        }
        let note = format!("still above {mtu} bytes");
        claim.cite(scene, error.point, error.first_larger.frame, error.first_larger.time, note.clone());
        claim.cite(scene, error.point, error.last_larger.frame, error.last_larger.time, note);
        (error.larger_after, first.quoted_len)
    };
    claim.packets = u64::from(unmoved);
    claim.details.insert("mtu".into(), mtu.into());
    claim.details.insert("smallest_lost".into(), smallest_lost.into());
    claim.details.insert("largest_passed".into(), passed(pair, direction, mtu, peers));
    claim.details.insert("icmp_errors".into(), pair.facts.icmp_count.into());
    let far = direction.entry();
    let icmp_there: u64 = [Kind::IcmpEcho, Kind::IcmpError, Kind::IcmpOther]
        .iter()
        .map(|kind| scene.presence[far.index()].kinds[*kind as usize])
        .sum();
    claim.reasons = Reasons::default()
        .support(0.8, format!("ICMP announces {mtu} bytes for the path, and the sender goes on with {smallest_lost}"))
        .support(0.5, counted(u64::from(unmoved), "packet") + " above it after the announcement")
        .support_if(errors.len() > 1, 0.5, counted(errors.len() as u64, "ICMP error") + " about the flow")
        .support_if(reached, 0.3, format!("the error stands at {}, beside the sender", letter(far)))
        .contradict_if(
            !reached && icmp_there == 0,
            0.1,
            format!("the capture of {} holds no ICMP at all: a capture filter would look the same", letter(far)),
        );
    Some(claim)
}

/// How far below the limit a full segment may stay: options that the SYN did not announce.
const FULL: u32 = 20;

/// A black hole that nobody announced.
fn silent(scene: &Scene, pair: &PairView, direction: Direction, peers: &impl Deref<Target = Peers>) -> Option<Claim> {
    if !pair.is_tcp() || !pair.both() || !errors(pair, direction).is_empty() {
        return None;
    }
    let Stuck { head, point } = stuck(pair, direction)?;
    let enough = f64::from(head.times) >= SPEC.value(scene, "pmtu-black-hole.silent-repeats");
    let large = f64::from(head.size) >= SPEC.value(scene, "pmtu-black-hole.smallest");
    if !enough || !large {
        return None;
    }
    let peer = peers.of(pair, direction);
    let own_largest = pair.facts.largest_acked[direction.index()];
    let largest_passed = peer.and_then(|peer| peer.sizes.last().copied()).unwrap_or(0).max(own_largest);
    if largest_passed == 0 || largest_passed >= head.size {
        return None;
    }
    // The receiver's end speaks after the first repetition: in this flow, or in another one with the same address.
    let answers = pair.track(direction.reverse(), point);
    let own_answers = answers.packets > 0 && answers.last_time > head.first.time;
    let alive = own_answers || peer.and_then(|peer| peer.answered).is_some_and(|last| last > head.first.time);
    let full = head.size.saturating_add(FULL) >= pair.facts.frame_limit();
    let convincing = alive && (full || own_answers);
    let exit = direction.exit();
    let crossed = pair.more(direction, exit).is_some_and(|more| more.worst_head.seq == head.seq);
    let place = match (crossed, direction) {
        (false, _) => Where::Between,
        (true, Direction::Outbound) => Where::Outside,
        (true, Direction::Inbound) => Where::Inside,
    };
    let mut claim = Claim::new(SPEC.id, pair.serial, place, direction);
    claim.severity = if convincing { Severity::Error } else { Severity::Info };
    claim.cause = Some("icmp-absent");
    claim.protocol = "tcp";
    claim.packets = u64::from(head.times);
    cite_head(scene, &mut claim, point, &head);
    if crossed && let Some(more) = pair.more(direction, exit) {
        let copy = more.worst_head;
        claim.cite(scene, exit, copy.last.frame, copy.last.time, format!("its last copy passes {}", letter(exit)));
    }
    claim.details.insert("mtu".into(), Value::Null);
    claim.details.insert("smallest_lost".into(), head.size.into());
    claim.details.insert("largest_passed".into(), largest_passed.into());
    claim.reasons = Reasons::default()
        .support(
            0.5,
            format!("a segment of {} bytes was repeated {} and never acknowledged", head.size, times(head.times)),
        )
        .support(0.3, format!("none above {largest_passed} bytes was ever acknowledged on this path"))
        .support_if(alive, 0.6, "the other end went on answering small packets")
        .support_if(full, 0.3, "it is as large as the MSS allows")
        .support_if(head.times >= 5, 0.3, "five repetitions or more")
        .contradict_if(!alive, 0.5, "nothing came back afterwards: the other end may be gone");
    Some(claim)
}

/// What is known of a receiver by all paired flows that it has.
#[derive(Default)]
struct Peer {
    /// Sizes of packets that passed.
    sizes: BTreeSet<u32>,
    /// When its end spoke last, at the point where its senders' packets come first.
    answered: Option<i64>,
}

/// Receivers, by direction and address.
struct Peers {
    known: BTreeMap<(usize, u128), Peer>,
}

impl Peers {
    fn new(scene: &Scene) -> Self {
        let mut known: BTreeMap<(usize, u128), Peer> = BTreeMap::new();
        for pair in scene.pairs.iter().filter(|pair| pair.both()) {
            for direction in Direction::BOTH {
                let Some(receiver) = receiver(pair, direction) else { continue };
                let peer = known.entry((direction.index(), receiver)).or_default();
                peer.sizes.insert(pair.facts.largest_acked[direction.index()]);
                peer.answered =
                    peer.answered.max(pair.track(direction.reverse(), direction.entry()).last().map(|last| last.time));
            }
        }
        Self { known }
    }

    fn of(&self, pair: &PairView, direction: Direction) -> Option<&Peer> {
        self.known.get(&(direction.index(), receiver(pair, direction)?))
    }
}

/// The address of the receiver of a direction, as the point calls it where its senders' packets come first.
fn receiver(pair: &PairView, direction: Direction) -> Option<u128> {
    let (inside, outside) = pair.ends(direction.entry())?;
    Some(if direction == Direction::Outbound { outside.address } else { inside.address })
}

/// The largest packet known to have passed in this direction, not above the MTU.
fn passed(pair: &PairView, direction: Direction, mtu: u32, peers: &impl Deref<Target = Peers>) -> Value {
    let own = pair.facts.largest_acked[direction.index()];
    let others = peers.of(pair, direction).and_then(|peer| peer.sizes.range(..=mtu).next_back().copied());
    others.into_iter().chain([own]).filter(|size| (1..=mtu).contains(size)).max().map_or(Value::Null, Value::from)
}

fn cite_error(scene: &Scene, claim: &mut Claim, error: &IcmpSeen, reached: bool) {
    let reporter = Endpoint { address: error.reporter, port: 0 }.ip();
    let fate = if error.fate == Fate::Crossed {
        "and it crosses both points"
    } else if reached {
        "right beside the sender"
    } else {
        "and it never crosses the host"
    };
    let note = match error.mtu {
        0 => format!("ICMP from {reporter}: {} bytes are too many, {fate}", error.quoted_len),
        mtu => {
            format!("ICMP from {reporter}: {} bytes are too many, the next link takes {mtu}, {fate}", error.quoted_len)
        }
    };
    claim.cite(scene, error.point, error.at.frame, error.at.time, note);
}

fn cite_head(scene: &Scene, claim: &mut Claim, point: Point, head: &Head) {
    let size = head.size;
    claim.cite(scene, point, head.first.frame, head.first.time, format!("the same segment of {size} bytes again"));
    if head.times > 1 {
        let note = format!("the same once more, now repeated {}", times(head.times));
        claim.cite(scene, point, head.last.frame, head.last.time, note);
    }
}

fn times(n: u32) -> String {
    match n {
        1 => "once".into(),
        2 => "twice".into(),
        n => format!("{n} times"),
    }
}

pub(super) fn conclude(scene: &Scene, claims: &[Claim]) -> Finding {
    let mut finding = merge(scene, claims);
    let numbers = |name: &str| claims.iter().filter_map(|claim| claim.details.get(name)?.as_u64()).collect::<Vec<_>>();
    let mtu = numbers("mtu").into_iter().min();
    let smallest_lost = numbers("smallest_lost").into_iter().min().unwrap_or(0);
    let limit = mtu.unwrap_or(smallest_lost.saturating_sub(1));
    let largest_passed = numbers("largest_passed").into_iter().filter(|size| *size <= limit).max();
    let value = |number: Option<u64>| number.map_or(Value::Null, Value::from);
    finding.details.insert("mtu".into(), value(mtu));
    finding.details.insert("smallest_lost".into(), smallest_lost.into());
    finding.details.insert("largest_passed".into(), value(largest_passed));
    let outbound = finding.direction == Directions::Outbound;
    let flows = counted(finding.flow_count, "flow");
    let repeats = counted(finding.packet_count, "packet");
    let mtu_text = mtu.unwrap_or(0);
    finding.summary = match (finding.cause, outbound) {
        (Some("icmp-not-relayed"), _) => format!(
            "The host kept back the ICMP error that the path takes {mtu_text} bytes at most, so the sender of {flows} went \
             on with {smallest_lost} bytes: {repeats} above the limit after it, none of which passed."
        ),
        (Some("icmp-ignored"), true) => format!(
            "The guest was told that the path takes {mtu_text} bytes at most and went on with {smallest_lost} bytes on \
             {flows}: {repeats} above the limit after it, none of which passed."
        ),
        (Some("icmp-ignored"), false) => format!(
            "The peer was told that the path takes {mtu_text} bytes at most and went on with {smallest_lost} bytes on \
             {flows}: {repeats} above the limit after it, none of which passed."
        ),
        _ => {
            let place = match finding.place {
                Where::Between => "in the host",
                Where::Outside => "beyond B",
                Where::Inside => "beyond A",
                Where::Unknown => "on the path",
            };
            let small = largest_passed.map_or_else(|| "small packets".into(), |size| format!("up to {size} bytes"));
            format!(
                "Packets of {smallest_lost} bytes vanish {place} and no ICMP error says so: {repeats} repeated on {flows} \
                 without an answer, while {small} pass."
            )
        }
    };
    finding.fixes = fixes(&finding, mtu, largest_passed);
    finding
}

fn fixes(finding: &Finding, mtu: Option<u64>, passed: Option<u64>) -> Vec<Fix> {
    let v6 =
        finding.flows.first().and_then(|flow| flow.a.as_ref().or(flow.b.as_ref())).is_some_and(|a| a.contains('['));
    let iptables = if v6 { "ip6tables" } else { "iptables" };
    let mut fixes = Vec::new();
    if finding.protocol == "tcp" {
        let clamp =
            format!("{iptables} -t mangle -A FORWARD -p tcp --tcp-flags SYN,RST SYN -j TCPMSS --clamp-mss-to-pmtu");
        let set = mtu.or(passed).map(|size| {
            let mss = size.saturating_sub(if v6 { 60 } else { 40 });
            format!("{iptables} -t mangle -A FORWARD -p tcp --tcp-flags SYN,RST SYN -j TCPMSS --set-mss {mss}")
        });
        let commands: Vec<&str> = std::iter::once(clamp.as_str()).chain(set.as_deref()).collect();
        fixes.push(fix(
            "Clamp the MSS of forwarded connections on the host.",
            &commands,
            "TCP only, and new connections only. --clamp-mss-to-pmtu helps where the host itself knows the smaller MTU; \
             else set the value.",
        ));
    }
    match finding.cause {
        Some("icmp-not-relayed") => {
            let protocol =
                if v6 { "ipv6-icmp --icmpv6-type packet-too-big" } else { "icmp --icmp-type fragmentation-needed" };
            let allow = format!("{iptables} -I FORWARD -p {protocol} -j ACCEPT");
            fixes.push(fix(
                "Let the ICMP error through the host's firewall.",
                &[&allow, "conntrack -S | grep -o 'invalid=[0-9]*'"],
                "If the count of invalid packets grows instead, the error does not fit any known connection: look for a \
                 second NAT upstream.",
            ));
        }
        Some("icmp-ignored") if finding.place == Where::Inside => fixes.push(fix(
            "Let the guest's firewall accept the ICMP error.",
            &[&format!(
                "{iptables} -I INPUT -p {} -j ACCEPT",
                if v6 { "ipv6-icmp --icmpv6-type packet-too-big" } else { "icmp --icmp-type fragmentation-needed" }
            )],
            "In the guest. Rules that drop all ICMP break path MTU discovery for every connection.",
        )),
        _ => {}
    }
    let link = mtu.or(passed).map_or_else(|| "<mtu>".into(), |size| size.to_string());
    fixes.push(fix(
        "Or give the guest's interface the smaller MTU.",
        &[&format!("ip link set dev eth0 mtu {link}")],
        "In the guest (libvirt: <mtu size='…'/> in the interface). Works for UDP and QUIC too.",
    ));
    if finding.protocol == "tcp" {
        fixes.push(fix(
            "Or let the sender probe for itself.",
            &["sysctl -w net.ipv4.tcp_mtu_probing=1"],
            "On the sender; it wakes up only after three timeouts, so connections stall for seconds first.",
        ));
    }
    fixes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_in_words() {
        assert_eq!((times(1), times(2), times(7)), ("once".into(), "twice".into(), "7 times".into()));
    }
}
