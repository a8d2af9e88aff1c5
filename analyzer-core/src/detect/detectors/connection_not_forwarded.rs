//! # What it is
//! New connections enter the host and never leave it, while connections that were there before go on.
//!
//! # In paired captures
//! Set when all of the following are true:
//! - the first packets of `connection-not-forwarded.flows` or more new flows (SYNs, first datagrams) are at A and not at B;
//! - A shows no answer of any kind to them: no SYN-ACK, no reset, no ICMP error;
//! - the capture of B ran, and shows a flow to one of the same ports, or flows with two or more of the same peers
//!   (a warning, if only of another protocol);
//! - at least one other flow crossed both ways at the same time;
//! - their destinations lie beyond the host.
//!
//! The cause:
//! - `port-exhausted`: all go to one service, and other flows to that very service cross: its outer ports are used up;
//! - `table-full`: several destinations, some new connections cross and some do not;
//! - `firewall`: several destinations, and no new connection at all crosses;
//! - `unknown`: too few to tell.
//!
//! # Mistaken for it
//! - A server that does not answer: its SYNs are at B.
//! - A filter that keeps those ports out of B's capture: then A shows the answers.
//! - A rule that refuses: the guest is told, by a reset or by ICMP.
//! - Traffic with the host itself, or among guests: it never belongs on the uplink.
//!
//! # What to do
//! Read the counters of connection tracking: they tell a full table from used-up ports and from a rule.
//!
//! # References
//! Linux `nf_conntrack-sysctl` (`nf_conntrack_max`); RFC 6335 section 6 (port ranges); RFC 9293 section 3.8.1.

use crate::detect::claim::{fix, merge};
use crate::detect::text::counted;
use crate::detect::{Claim, PairView, Reasons, Scene, Spec, Threshold, alibi, stops};
use crate::facts::state;
use crate::packet::{Endpoint, Family};
use crate::point::{Direction, Point};
use crate::report::{Finding, Severity, Where};
use crate::time::{SECOND, Time};
use std::collections::BTreeSet;

/// What this detector says of itself.
pub(super) const SPEC: Spec = Spec {
    id: "connection-not-forwarded",
    says: "new connections enter the host and never leave it, while others live",
    causes: &["table-full", "port-exhausted", "firewall", "unknown"],
    severity: Severity::Error,
    thresholds: &[
        Threshold {
            name: "connection-not-forwarded.flows",
            unit: "new flows",
            default: 3.0,
            source: "one or two may meet a rule that somebody wanted",
        },
        Threshold {
            name: "connection-not-forwarded.cause",
            unit: "new flows, to tell the cause",
            default: 5.0,
            source: "fewer do not tell a full table from used-up ports",
        },
    ],
    source: include_str!("connection_not_forwarded.rs"),
};

pub(super) fn observe(scene: &Scene) -> Vec<Claim> {
    let stuck: Vec<&PairView> = scene.pairs.iter().filter(|pair| stuck(scene, pair)).collect();
    let Some(first) = stuck.iter().filter_map(|pair| first(scene, pair)).min() else { return Vec::new() };
    let known =
        stuck.iter().any(|pair| alibi::filter_allows(scene, pair, Point::B)) || peers_known(scene, &stuck, true);
    // Without anything of the protocol at B a filter is not excluded; many attempts at several living peers make it unlikely.
    let many = stuck.len() as f64 >= SPEC.value(scene, "connection-not-forwarded.cause");
    let likely = known || (many && peers_known(scene, &stuck, false));
    let lively = lively(scene, first);
    if !likely || lively == 0 || stopped(scene) {
        return Vec::new();
    }
    let (cause, why) = cause(scene, &stuck, first);
    let enough = stuck.len() as f64 >= SPEC.value(scene, "connection-not-forwarded.flows");
    let loss = alibi::capture_loss(scene, Point::B);
    stuck
        .iter()
        .map(|pair| {
            let track = pair.track(Direction::Outbound, Point::A);
            let mut claim = Claim::new(SPEC.id, pair.serial, Where::Between, Direction::Outbound);
            claim.severity = match (enough, known) {
                (true, true) => Severity::Error,
                (true, false) => Severity::Warning,
                _ => Severity::Info,
            };
            claim.cause = Some(cause);
            claim.protocol = "ip";
            claim.packets = u64::from(track.packets);
            let begun = pair.facts.first[0][Point::A.index()];
            let outside = pair.endpoint(pair.inner_ends().1);
            let what = if pair.is_tcp() { "SYN" } else { "first datagram" };
            claim.cite(scene, Point::A, begun.frame, begun.time, format!("{what} to {outside}; it never reached B"));
            if track.packets > 1 {
                claim.frame(scene, Point::A, track.last_frame, track.last_time);
            }
            claim.details.insert("flows_that_crossed".into(), lively.into());
            claim.reasons = Reasons::default()
                .support(0.5, "their first packets are at A and not at B, and A shows no answer")
                .support(0.4, format!("{} crossed both ways meanwhile", counted(lively as u64, "other flow")))
                .support_if(stuck.len() >= 5, 0.5, format!("{} of them", counted(stuck.len() as u64, "new flow")))
                .support_if(track.packets > 1, 0.4, "their senders repeat themselves")
                .support_if(why.is_some(), 0.3, why.clone().unwrap_or_default())
                .contradict_if(!known, 0.3, "B shows nothing of their protocol with these peers: a filter may hide it")
                .contradict_if(loss > 0.01, 0.4, format!("the capture of B itself missed {:.1} %", loss * 100.0));
            claim
        })
        .collect()
}

/// A new flow that A shows and B does not, without an answer of any kind.
fn stuck(scene: &Scene, pair: &PairView) -> bool {
    let out = pair.track(Direction::Outbound, Point::A);
    let answered = pair.track(Direction::Inbound, Point::A).packets > 0 || pair.facts.icmp_count > 0;
    let opens = if pair.is_tcp() { out.has(state::SYN) && !out.has(state::ACK | state::DATA) } else { pair.is_udp() };
    let judged = pair.more(Direction::Outbound, Point::A).is_some_and(|more| more.unmatched > 0 && more.edge == 0);
    pair.a.is_some() && pair.b.is_none() && opens && judged && !answered && !alibi::local(scene, pair)
}

/// Whether B shows flows with the same peers, two or more of them, that are answered. Were it a filter that hides the
/// ports, several living peers would all have left these attempts without an answer.
fn peers_known(scene: &Scene, stuck: &[&PairView], same_protocol: bool) -> bool {
    let protocol = |pair: &PairView| if same_protocol { pair.protocol() } else { 0 };
    let peers: BTreeSet<(u16, u128)> = stuck.iter().map(|pair| (protocol(pair), pair.inner_ends().1.address)).collect();
    let seen: BTreeSet<(u16, u128)> = scene
        .pairs
        .iter()
        .filter(|pair| pair.both() && pair.family() != Family::Link)
        .filter(|pair| pair.track(Direction::Inbound, Point::B).packets > 0)
        .map(|pair| (protocol(pair), pair.inner_ends().1.address))
        .collect();
    peers.intersection(&seen).count() >= 2
}

fn first(scene: &Scene, pair: &PairView) -> Option<Time> {
    let stamp = pair.facts.first[0][Point::A.index()];
    (stamp.frame != 0).then(|| scene.clock.to_a(Point::A, stamp.time))
}

/// Flows that crossed both ways at or after a time.
fn lively(scene: &Scene, time: Time) -> usize {
    scene
        .pairs
        .iter()
        .filter(|pair| pair.both() && pair.family() != Family::Link)
        .filter(|pair| {
            Direction::BOTH.into_iter().all(|direction| {
                let track = pair.track(direction, direction.exit());
                track.matched > 0 && scene.clock.to_a(direction.exit(), track.last_time) > time
            })
        })
        .count()
}

/// Whether the host stopped forwarding altogether: then new connections are not the point.
fn stopped(scene: &Scene) -> bool {
    stops::together(&stops::stops(scene), false, SECOND).len() >= 3
}

fn cause(scene: &Scene, stuck: &[&PairView], first: Time) -> (&'static str, Option<String>) {
    if (stuck.len() as f64) < SPEC.value(scene, "connection-not-forwarded.cause") {
        return ("unknown", None);
    }
    if let Some((entries, most)) = scene.witness.host.table_full() {
        return ("table-full", Some(format!("its settings tell of {entries} entries where {most} are the most")));
    }
    let services: BTreeSet<(u16, Endpoint)> = stuck.iter().map(|pair| (pair.protocol(), pair.inner_ends().1)).collect();
    let crossing = scene.pairs.iter().filter(|pair| pair.both() && pair.family() != Family::Link);
    if let [service] = services.iter().collect::<Vec<_>>()[..] {
        let outer: BTreeSet<u16> = crossing
            .filter(|pair| (pair.protocol(), pair.inner_ends().1) == *service)
            .filter_map(|pair| Some(pair.ends(Point::B)?.0.port))
            .collect();
        if !outer.is_empty() {
            let why = format!(
                "all go to one service, whose other flows use {} on the uplink, {} to {}",
                counted(outer.len() as u64, "port"),
                outer.first().unwrap_or(&0),
                outer.last().unwrap_or(&0)
            );
            return ("port-exhausted", Some(why));
        }
        return ("unknown", None);
    }
    let addresses: BTreeSet<u128> = services.iter().map(|service| service.1.address).collect();
    let several = addresses.len().max(services.len()) >= 3;
    let late = |pair: &&PairView| {
        let stamp = pair.facts.first[0][Point::A.index()];
        stamp.frame != 0
            && scene.clock.to_a(Point::A, stamp.time) > first
            && pair.track(Direction::Inbound, Point::A).matched > 0
    };
    let new = crossing.filter(late).count() as u64;
    if !several {
        return ("unknown", None);
    }
    if new > 0 {
        return ("table-full", Some(format!("{} to other places crossed meanwhile", counted(new, "new flow"))));
    }
    ("firewall", Some("no new flow at all crossed after the first of them".into()))
}

pub(super) fn conclude(scene: &Scene, claims: &[Claim]) -> Finding {
    let mut finding = merge(scene, claims);
    let lively = claims[0].number("flows_that_crossed") as u64;
    finding.details.insert("flows_that_crossed".into(), lively.into());
    let services: BTreeSet<String> = claims
        .iter()
        .filter_map(|claim| scene.pair(claim.flows[0]))
        .map(|pair| pair.endpoint(pair.inner_ends().1))
        .collect();
    finding.details.insert("destinations".into(), services.len().into());
    let flows = counted(finding.flow_count, "new connection");
    let to = counted(services.len() as u64, "destination");
    let why = match finding.cause {
        Some("port-exhausted") => ": no outer port is left for that service",
        Some("table-full") => ", while some others did: its connection table may be full",
        Some("firewall") => ", nor did any other new one: a rule may drop them",
        _ => "",
    };
    finding.summary = format!(
        "{flows} to {to} entered the host and never left it{why}; {} went on ({} in all at A only).",
        counted(lively, "other flow"),
        counted(finding.packet_count, "packet"),
    );
    let counters = fix(
        "Let the host's counters tell which it is; read them twice, only what grows matters.",
        &[
            "conntrack -S",
            "sysctl net.netfilter.nf_conntrack_count net.netfilter.nf_conntrack_max",
            "dmesg | grep 'table full'",
            "iptables -nvL FORWARD",
        ],
        "`drop` grows when the table is full or no port is left, `insert_failed` when two connections want one mapping.",
    );
    let special = match finding.cause {
        Some("port-exhausted") => Some(fix(
            "Give the NAT rule more ports or more addresses.",
            &[
                "iptables -t nat -nvL POSTROUTING",
                "iptables -t nat -I POSTROUTING -o <uplink> -p tcp -j MASQUERADE --to-ports 1024-65535",
            ],
            "Connections keep the ports that they have.",
        )),
        Some("table-full") => Some(fix(
            "Enlarge the connection table and let idle entries go earlier.",
            &[
                "sysctl -w net.netfilter.nf_conntrack_max=262144",
                "sysctl -w net.netfilter.nf_conntrack_tcp_timeout_established=86400",
            ],
            "An entry takes about 320 bytes; enlarge nf_conntrack_buckets with it.",
        )),
        Some("firewall") => Some(fix(
            "Find the rule that drops what is new.",
            &["iptables -nvL FORWARD --line-numbers", "nft list ruleset | grep -nE 'drop|ct state'"],
            "",
        )),
        _ => None,
    };
    finding.fixes = special.into_iter().chain([counters]).collect();
    finding
}
