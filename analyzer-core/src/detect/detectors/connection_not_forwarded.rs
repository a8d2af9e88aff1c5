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
//! - `port-exhausted`: all go to one service, and the outer ports of its flows that cross are not the guests' own but those of
//!   a narrow range that is in use; or one of them went to another flow when it became free;
//! - `table-full`: several destinations, some new connections cross and some do not;
//! - `firewall`: several destinations, and no new connection at all crosses; or all go to one service whose older flows kept
//!   their own ports (so that ports are left), and `connection-not-forwarded.flows` or more new ones to other services cross;
//! - `unknown`: too few to tell, or what tells is not in the captures. A range of ports whose flows are silent looks like a
//!   rule for that service, and a rule for all that is new like a full table that gives nothing back: only the counters know.
//!
//! # Mistaken for it
//! - DNS questions alone that do not get through: `dns-unanswered` says that.
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

use crate::detect::census::has;
use crate::detect::claim::{fix, merge};
use crate::detect::stops::End;
use crate::detect::text::counted;
use crate::detect::{Claim, PairView, Reasons, Scene, Spec, Threshold, alibi, stops};
use crate::facts::{EventKind, state};
use crate::packet::{Endpoint, Family};
use crate::point::{Direction, Point};
use crate::report::{Finding, Severity, Where};
use crate::time::{SECOND, Time};
use std::collections::{BTreeMap, BTreeSet};

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
    let stuck: Vec<&PairView> =
        scene.pairs_with(has::ALONE, has::TCP | has::UDP).filter(|pair| stuck(scene, pair)).collect();
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
    // Names that are asked for in vain, and nothing else, are what `dns-unanswered` says.
    if matches!(cause, "unknown" | "firewall") && stuck.iter().all(|pair| pair.facts.dns.is_some()) {
        return Vec::new();
    }
    let enough = stuck.len() as f64 >= SPEC.value(scene, "connection-not-forwarded.flows");
    let loss = alibi::capture_loss(scene, Point::B);
    let delayed: Vec<u32> = delayed(scene, &stuck).map(|pair| pair.serial).collect();
    let mut claims: Vec<Claim> = stuck
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
        .collect();
    if let Some(claim) = claims.first_mut() {
        claim.details.insert("flows_delayed".into(), delayed.len().into());
        claim.explains = delayed;
    }
    claims
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

/// Whether the host stopped forwarding altogether: then new connections are not the point. Flows that it reset it had only
/// forgotten.
fn stopped(scene: &Scene) -> bool {
    /// Two may meet by chance.
    const TOGETHER: usize = 3;
    let together = stops::together(&stops::stops(scene), false, SECOND);
    together.len() >= TOGETHER && together.iter().any(|stop| stop.end == End::Host)
}

fn cause(scene: &Scene, stuck: &[&PairView], first: Time) -> (&'static str, Option<String>) {
    if (stuck.len() as f64) < SPEC.value(scene, "connection-not-forwarded.cause") {
        return ("unknown", None);
    }
    if let Some((entries, most)) = scene.witness.host.table_full() {
        return ("table-full", Some(format!("its settings tell of {entries} entries where {most} are the most")));
    }
    let services: BTreeSet<Service> = stuck.iter().map(|pair| service(pair)).collect();
    let late = |pair: &&PairView| {
        let stamp = pair.facts.first[0][Point::A.index()];
        stamp.frame != 0
            && scene.clock.to_a(Point::A, stamp.time) > first
            && pair.track(Direction::Inbound, Point::A).matched > 0
    };
    let new: Vec<&PairView> = crossing(scene).filter(late).collect();
    if let [only] = services.iter().collect::<Vec<_>>()[..] {
        return of_one_service(scene, *only, &new);
    }
    let addresses: BTreeSet<u128> = services.iter().map(|service| service.1.address).collect();
    let several = addresses.len().max(services.len()) >= 3;
    if !several {
        return ("unknown", None);
    }
    if !new.is_empty() {
        return (
            "table-full",
            Some(format!("{} to other places crossed meanwhile", counted(new.len() as u64, "new flow"))),
        );
    }
    ("firewall", Some("no new flow at all crossed after the first of them".into()))
}

/// Protocol and outer end of a flow.
type Service = (u16, Endpoint);

fn service(pair: &PairView) -> Service {
    (pair.protocol(), pair.inner_ends().1)
}

/// Flows that were found at both points.
fn crossing<'a>(scene: &'a Scene<'a>) -> impl Iterator<Item = &'a PairView<'a>> {
    scene.pairs.iter().filter(|pair| pair.both() && pair.family() != Family::Link)
}

/// The outer ports of a service's flows that cross.
#[derive(Default)]
struct Ports {
    used: BTreeSet<u16>,
    /// Flows that have them, and of these the ones whose port is not the guest's own.
    flows: usize,
    moved: usize,
    /// Ports that went from one flow to another.
    handed_on: usize,
}

impl Ports {
    fn of(scene: &Scene, wanted: Service) -> Self {
        let mut ports = Self::default();
        let mut holders: BTreeMap<u16, Endpoint> = BTreeMap::new();
        for pair in crossing(scene).filter(|pair| service(pair) == wanted) {
            let (Some((inner, _)), Some((outer, _))) = (pair.ends(Point::A), pair.ends(Point::B)) else { continue };
            ports.used.insert(outer.port);
            ports.flows += 1;
            ports.moved += usize::from(outer.port != inner.port);
            let holder = *holders.entry(outer.port).or_insert(inner);
            ports.handed_on += usize::from(outer.port != inner.port && holder != inner);
        }
        ports
    }

    /// How many ports lie between the lowest and the highest.
    fn span(&self) -> usize {
        self.used.first().zip(self.used.last()).map_or(0, |(low, high)| usize::from(high - low) + 1)
    }

    /// Whether few but these can be had: of a wide range, ports that the translation chooses at random would not lie side
    /// by side (two of 64,512 do with a chance of 1 in 10,000), and most guests would keep their own.
    fn crowded(&self) -> bool {
        self.used.len() >= 2 && self.moved * 2 >= self.flows && self.span() <= 2 * self.used.len()
    }

    /// Whether ports are left: guests keep theirs, or they come from so wide a range that it would take very many silent
    /// flows to use it up.
    fn plenty(&self) -> bool {
        /// More than one guest's flows to one service while all of them are silent.
        const WIDE: usize = 1024;
        self.flows > 0 && (self.moved == 0 || self.span() >= WIDE)
    }
}

fn of_one_service(scene: &Scene, only: Service, new: &[&PairView]) -> (&'static str, Option<String>) {
    let ports = Ports::of(scene, only);
    let [low, high] = [ports.used.first(), ports.used.last()].map(|port| port.copied().unwrap_or_default());
    if ports.crowded() {
        let used = counted(ports.used.len() as u64, "port");
        let again = if ports.handed_on > 0 { ", and one went on to another flow when it was free" } else { "" };
        return (
            "port-exhausted",
            Some(format!(
                "all go to one service, whose other flows have {used} of {low} to {high} on the uplink{again}"
            )),
        );
    }
    if ports.handed_on > 0 {
        return (
            "port-exhausted",
            Some(format!(
                "all go to one service, and port {low} on the uplink went on to another flow when it was free"
            )),
        );
    }
    let (same, elsewhere): (Vec<&PairView>, Vec<&PairView>) = new.iter().partition(|pair| service(pair) == only);
    let enough = elsewhere.len() as f64 >= SPEC.value(scene, "connection-not-forwarded.flows");
    if ports.plenty() && same.is_empty() && enough {
        let others = counted(elsewhere.len() as u64, "new flow");
        let kept = if ports.moved == 0 { "keep their own ports" } else { "have ports of a wide range" };
        return (
            "firewall",
            Some(format!("{others} to other services crossed meanwhile, and older ones to this one {kept}")),
        );
    }
    ("unknown", None)
}

/// Flows to the same services that crossed after all: their first packets did not, and from some packet on all did.
fn delayed<'a>(scene: &'a Scene<'a>, stuck: &[&PairView]) -> impl Iterator<Item = &'a PairView<'a>> {
    let services: BTreeSet<Service> = stuck.iter().map(|pair| service(pair)).collect();
    crossing(scene).filter(move |pair| {
        let crossed = scene.clock.to_a(Point::B, pair.facts.first[0][Point::B.index()].time);
        let lost = scene.pair_events(EventKind::Unmatched, Point::A, Direction::Outbound, pair.serial);
        let at_first = lost.last().is_some_and(|event| scene.clock.to_a(Point::A, event.time) < crossed);
        at_first && services.contains(&service(pair))
    })
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
    let delayed = claims.iter().map(|claim| claim.number("flows_delayed") as u64).sum::<u64>();
    finding.details.insert("flows_delayed".into(), delayed.into());
    let flows = counted(finding.flow_count, "new connection");
    let to = counted(services.len() as u64, "destination");
    let why = match finding.cause {
        Some("port-exhausted") => ": no outer port is left for that service",
        Some("table-full") => ", while some others did: its connection table may be full",
        Some("firewall") if services.len() == 1 => ", while new ones to others did: a rule may drop what opens them",
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
    let tcp = claims.first().and_then(|claim| scene.pair(claim.flows[0])).is_some_and(PairView::is_tcp);
    let transport = if tcp { "tcp" } else { "udp" };
    let special = match finding.cause {
        Some("port-exhausted") => Some(fix(
            "Give the NAT rule more ports or more addresses.",
            &[
                "iptables -t nat -nvL POSTROUTING",
                &format!(
                    "iptables -t nat -I POSTROUTING -o <uplink> -p {transport} -j MASQUERADE --to-ports 1024-65535"
                ),
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
