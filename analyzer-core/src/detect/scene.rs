//! What a detector sees: the facts of the whole, the flow pairs, the clock, and what the captures cover.

use super::census::{Brief, Census};
use super::testimony::Witness;
use crate::align::clock::{ClockMap, Overlap};
use crate::align::topology::PairedFlow;
use crate::capture::{CaptureSummary, Files, Steps};
use crate::facts::{
    Activity, Event, EventIndex, EventKind, GivenUp, LinkFacts, PairFacts, Tally, Track, TrackMore, pair_flags, state,
};
use crate::flow::ingest::Presence;
use crate::packet::{Endpoint, Family, FlowKey};
use crate::point::{Direction, Point};
use crate::report::{Coverage, FlowName, Topology, Totals};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// All that one analysis has learned.
#[derive(Debug)]
#[non_exhaustive]
pub struct Scene<'a> {
    /// Flow pairs, and flows of one point alone, by serial number.
    pub pairs: Vec<PairView<'a>>,
    /// Rare events.
    pub events: EventIndex,
    /// Counters.
    pub tally: Tally,
    /// What passed each point over time.
    pub activity: [Activity; 2],
    /// What passed each point at all.
    pub presence: [Presence; 2],
    /// What the link layer of each point shows.
    pub link: [LinkFacts; 2],
    /// B's clock against A's.
    pub clock: ClockMap,
    /// What each clock was set by while the captures ran, by point; undone in all times here.
    pub steps: [Steps; 2],
    /// The furthest that time stamps still go back at a point: first frame after, and by how much.
    pub set_back: [Option<(u32, i64)>; 2],
    /// What each capture covers of the other's time.
    pub overlap: Overlap,
    /// What lies between the points.
    pub topology: Topology,
    /// The addresses inside and outside of it.
    pub boundary: Boundary,
    /// Packet and flow counts.
    pub totals: Totals,
    /// What the readers say of their inputs.
    pub summaries: [CaptureSummary; 2],
    /// Names the frames of each input.
    pub files: [Files; 2],
    /// What the report is restricted to.
    pub selection: Selection,
    /// Up to where both captures had been read when the caller asked to stop, on A's clock.
    pub interrupted: Option<i64>,
    /// Thresholds that differ from their defaults.
    pub thresholds: BTreeMap<String, f64>,
    /// Packets that each capture missed although they must have passed it.
    pub missed: [u64; 2],
    /// By direction and point: whether the capture there was taken without that direction.
    pub left_out: [[bool; 2]; 2],
    /// What there was no room for.
    pub given_up: GivenUp,
    /// What limits the verdicts.
    pub coverage: Vec<Coverage>,
    /// What the host itself says.
    pub witness: Witness,
    /// What each pair has, and all together.
    pub(crate) census: Census,
}

/// The flows that the report is restricted to; both lists empty for all.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Selection {
    /// Addresses, one of which is an end of the flow at either point.
    pub hosts: Vec<IpAddr>,
    /// Ports, one of which is an end's at either point.
    pub ports: Vec<u16>,
    /// The time asked for, on A's clock.
    pub time: Option<(i64, i64)>,
}

impl Selection {
    /// Whether only some flows are reported.
    pub fn of_flows(&self) -> bool {
        !self.hosts.is_empty() || !self.ports.is_empty()
    }

    /// Whether a flow is among those asked for.
    pub fn has(&self, pair: &PairView) -> bool {
        let keys = [pair.a, pair.b].into_iter().flatten();
        let ends: Vec<Endpoint> = keys.flat_map(|key| [key.low, key.high]).collect();
        let ported = matches!(pair.protocol(), 6 | 17) && pair.family() != Family::Link;
        let host = |end: &Endpoint| pair.family() != Family::Link && self.hosts.contains(&end.ip());
        (self.hosts.is_empty() || ends.iter().any(host))
            && (self.ports.is_empty() || (ported && ends.iter().any(|end| self.ports.contains(&end.port))))
    }
}

/// A flow pair, or a flow of one point alone.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct PairView<'a> {
    /// Serial number, as in events.
    pub serial: u32,
    /// Serial number of the pair that held the same inner flow before its mapping changed.
    pub successor_of: Option<u32>,
    /// Its key at A.
    pub a: Option<FlowKey>,
    /// Its key at B.
    pub b: Option<FlowKey>,
    /// Whether the inside endpoint is the high one, by point.
    pub inside_is_high: [bool; 2],
    /// By point: source MAC of its first packet, and which way that went.
    pub macs: [Option<(u64, Direction)>; 2],
    /// Hot facts by direction and point.
    pub tracks: &'a [[Track; 2]; 2],
    /// Cold facts.
    pub facts: &'a PairFacts,
}

/// What a pair is called.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Named {
    /// As in [`PairView`].
    pub(crate) serial: u32,
    /// As in [`PairView`].
    pub(crate) successor_of: Option<u32>,
    /// Its key by point.
    pub(crate) keys: [Option<FlowKey>; 2],
    /// As in [`PairView`].
    pub(crate) inside_is_high: [bool; 2],
    /// As in [`PairView`].
    pub(crate) macs: [Option<(u64, Direction)>; 2],
}

impl Named {
    /// The pair with its facts.
    pub(crate) fn view<'a>(&self, tracks: &'a [[Track; 2]; 2], facts: &'a PairFacts) -> PairView<'a> {
        let Self { serial, successor_of, keys: [a, b], inside_is_high, macs } = *self;
        PairView { serial, successor_of, a, b, inside_is_high, macs, tracks, facts }
    }
}

/// A flow that is over, kept for the detectors.
#[derive(Debug)]
pub(crate) struct Finished {
    /// What it was called.
    pub(crate) named: Named,
    /// Its hot facts.
    pub(crate) tracks: [[Track; 2]; 2],
    /// Its cold facts.
    pub(crate) facts: PairFacts,
}

impl Finished {
    /// As detectors see it.
    pub(crate) fn view(&self) -> PairView<'_> {
        self.named.view(&self.tracks, &self.facts)
    }
}

impl<'a> PairView<'a> {
    /// The key at a point.
    pub fn key(&self, point: Point) -> Option<&FlowKey> {
        match point {
            Point::A => self.a.as_ref(),
            Point::B => self.b.as_ref(),
        }
    }

    /// Whether it was found at both points.
    pub fn both(&self) -> bool {
        self.a.is_some() && self.b.is_some()
    }

    /// The facts of a direction at a point.
    pub fn track(&self, direction: Direction, point: Point) -> &'a Track {
        &self.tracks[direction.index()][point.index()]
    }

    /// The rare facts of a direction at a point.
    pub fn more(&self, direction: Direction, point: Point) -> Option<&'a TrackMore> {
        self.facts.more(direction, point)
    }

    /// Inside and outside endpoint at a point.
    pub fn ends(&self, point: Point) -> Option<(Endpoint, Endpoint)> {
        Some(self.key(point)?.ends(self.inside_is_high[point.index()]))
    }

    /// Inside and outside endpoint at the innermost point where it was seen.
    pub fn inner_ends(&self) -> (Endpoint, Endpoint) {
        self.ends(Point::A).or_else(|| self.ends(Point::B)).unwrap_or_default()
    }

    /// IP protocol number.
    pub fn protocol(&self) -> u16 {
        self.a.or(self.b).map_or(0, |key| key.protocol)
    }

    /// Whether it is TCP.
    pub fn is_tcp(&self) -> bool {
        self.protocol() == 6 && self.family() != Family::Link
    }

    /// Whether it is UDP.
    pub fn is_udp(&self) -> bool {
        self.protocol() == 17 && self.family() != Family::Link
    }

    /// Address family.
    pub fn family(&self) -> Family {
        self.a.or(self.b).map_or(Family::Link, |key| key.family)
    }

    /// Whether it carries QUIC: a long header was seen, or short headers alone with a constant connection id on a port
    /// where QUIC is usual.
    pub fn is_quic(&self) -> bool {
        /// Where QUIC without its handshake is believed: HTTPS, cloudflared, DNS over QUIC.
        const PORTS: [u16; 5] = [443, 7844, 8443, 853, 784];
        if !self.is_udp() {
            return false;
        }
        if self.tracks.iter().flatten().any(|track| track.has(state::QUIC_LONG)) {
            return true;
        }
        let port = self.inner_ends().1.port;
        let packets: u64 = self.tracks.iter().flatten().map(|track| u64::from(track.packets)).sum();
        let steady = self.facts.dcid.iter().any(|&(id, changes)| id != 0 && changes <= 2);
        !self.tracks.iter().flatten().any(|track| track.has(state::NOT_QUIC))
            && packets >= 20
            && steady
            && PORTS.contains(&port)
    }

    /// `tcp`, `udp`, `quic`, `icmp`, …
    pub fn protocol_name(&self) -> &'static str {
        match (self.family(), self.protocol()) {
            (Family::Link, 0x0806) => "arp",
            (Family::Link, _) => "link",
            (_, 6) => "tcp",
            (_, 17) if self.is_quic() => "quic",
            (_, 17) => "udp",
            (_, 1) => "icmp",
            (_, 58) => "icmpv6",
            (_, 47) => "gre",
            (_, 50) => "esp",
            (_, 132) => "sctp",
            _ => "ip",
        }
    }

    /// Its names at both points, inside endpoint first.
    pub fn name(&self) -> FlowName {
        let name = |point: Point| self.key(point).map(|key| key.name(self.inside_is_high[point.index()]));
        FlowName { a: name(Point::A), b: name(Point::B), protocol: self.protocol_name() }
    }

    /// An endpoint as text.
    pub fn endpoint(&self, end: Endpoint) -> String {
        self.a.or(self.b).unwrap_or_default().endpoint(end)
    }

    /// What the topology needs of a paired flow.
    pub fn paired(&self) -> Option<PairedFlow> {
        let (key_a, key_b) = (self.a?, self.b?);
        let outbound = &self.tracks[0];
        let ttl_delta = (outbound[0].packets > 0 && outbound[1].packets > 0)
            .then(|| i32::from(outbound[0].ttl) - i32::from(outbound[1].ttl))
            .or_else(|| {
                let inbound = &self.tracks[1];
                (inbound[0].packets > 0 && inbound[1].packets > 0)
                    .then(|| i32::from(inbound[1].ttl) - i32::from(inbound[0].ttl))
            });
        let answered = self.tracks.iter().all(|direction| direction.iter().any(|track| track.packets > 0));
        Some(PairedFlow { key_a, key_b, inside_is_high: self.inside_is_high, ttl_delta, answered })
    }

    /// Whether anything in it may interest a detector once the flow is over.
    pub fn notable(&self) -> bool {
        let closed = self.tracks.iter().flatten().any(|track| track.has(state::FIN));
        self.eventful() || (self.is_tcp() && !closed)
    }

    /// How much a flow that is over can tell: what happened to it counts, then whether it was one at all.
    pub fn weight(&self) -> u64 {
        let facts = &self.facts;
        let more = facts.more.iter().flatten().flatten();
        let lost = facts.lost_between.iter().chain(&facts.lost_beyond).map(|&lost| u64::from(lost)).sum::<u64>();
        let unmatched = more.map(|more| u64::from(more.unmatched) + u64::from(more.wrong)).sum::<u64>();
        let told = u64::from(facts.reset_count) + u64::from(facts.icmp_count);
        // A flow of one point has nothing but unmatched packets: it is one of many as a rule.
        let met = if self.both() { lost + unmatched } else { 0 };
        (met + told) * 4 + u64::from(self.both()) * 2 + u64::from(unmatched > 2)
    }

    /// Whether anything happened to it but packets that crossed.
    pub fn eventful(&self) -> bool {
        let facts = &self.facts;
        !self.both()
            || !facts.resets.is_empty()
            || !facts.icmp.is_empty()
            || facts.lost_between != [0; 2]
            || facts.lost_beyond != [0; 2]
            || self.successor_of.is_some()
            || facts.flags & pair_flags::REBOUND != 0
            || facts.more.iter().flatten().flatten().any(|more| more.unmatched > 0 || more.wrong > 0)
            || self.tracks.iter().flatten().any(|track| track.has(state::PARTIAL) && !track.has(state::RIGHT))
    }
}

impl<'a> Scene<'a> {
    /// Events of a kind at a point in a direction, by time; thinned when there were very many.
    pub fn events(&self, kind: EventKind, point: Point, direction: Direction) -> &[Event] {
        self.events.all(kind, point.index(), direction.index())
    }

    /// The events of one pair among them, by time.
    pub fn pair_events(&self, kind: EventKind, point: Point, direction: Direction, pair: u32) -> &[Event] {
        self.events.of_pair(kind, point.index(), direction.index(), pair)
    }

    /// The serial numbers of the pairs that have all of some bits.
    pub(super) fn serials_with(&self, all: u32) -> impl Iterator<Item = u32> {
        self.census.briefs.iter().filter(move |brief| brief.has & all == all).map(|brief| brief.serial)
    }

    /// The events of a kind at a point in a direction, pair by pair.
    pub(super) fn events_by_pair(
        &self,
        kind: EventKind,
        point: Point,
        direction: Direction,
    ) -> impl Iterator<Item = &[Event]> {
        self.events.by_pair(kind, point.index(), direction.index()).chunk_by(|one, other| one.pair == other.pair)
    }

    /// Whether a point's capture was taken in the other direction only (`tcpdump -Q`).
    pub fn leaves_out(&self, direction: Direction, point: Point) -> bool {
        self.left_out[direction.index()][point.index()]
    }

    /// How many events of a kind there were.
    pub fn event_count(&self, kind: EventKind, point: Point, direction: Direction) -> u64 {
        self.events.count(kind, point.index(), direction.index())
    }

    /// The pair of an event.
    pub fn pair(&self, serial: u32) -> Option<&PairView<'a>> {
        self.place(serial).map(|place| &self.pairs[place])
    }

    /// What is asked of a pair most often.
    pub(super) fn brief(&self, serial: u32) -> Option<&Brief> {
        self.place(serial).map(|place| &self.census.briefs[place])
    }

    fn place(&self, serial: u32) -> Option<usize> {
        let briefs = &self.census.briefs;
        // Where none was left out, serial numbers follow one another.
        let place = serial.wrapping_sub(briefs.first()?.serial) as usize;
        if briefs.get(place).is_some_and(|brief| brief.serial == serial) {
            return Some(place);
        }
        briefs.binary_search_by_key(&serial, |brief| brief.serial).ok()
    }

    /// The pairs that have all of some bits, and one at least of some others if any are named, by serial number.
    pub(super) fn pairs_with(&self, all: u32, any: u32) -> impl Iterator<Item = &PairView<'a>> {
        let fit = move |has: u32| has & all == all && (any == 0 || has & any != 0);
        let pairs = self.census.briefs.iter().zip(&self.pairs);
        pairs.filter(move |(brief, _)| fit(brief.has)).map(|(_, pair)| pair)
    }

    /// MACs that sent outbound packets of IP flows that cross, at a point: guests at A, the host or its guests at B.
    pub fn own_macs(&self, point: Point) -> BTreeSet<u64> {
        self.census.own_macs[point.index()].clone()
    }

    /// Whether an address lies in one of the inside networks.
    pub fn inside_network(&self, end: Endpoint) -> bool {
        self.boundary.inside(end)
    }

    /// A threshold: the caller's value or the default.
    pub fn threshold(&self, name: &str, default: f64) -> f64 {
        self.thresholds.get(name).copied().unwrap_or(default)
    }
}

/// The addresses of the topology as numbers: asked for every flow, so they are not to be parsed each time.
#[derive(Clone, Debug, Default)]
pub struct Boundary {
    /// Networks: address and mask, IPv4 ones in their IPv4-mapped form.
    networks: Vec<(u128, u128)>,
    /// What inside addresses are translated to.
    outside: Option<u128>,
}

impl Boundary {
    /// From the topology's own words.
    pub fn new(topology: &Topology) -> Self {
        let mapped = |ip: IpAddr| match ip {
            IpAddr::V4(ip) => u128::from(ip.to_ipv6_mapped()),
            IpAddr::V6(ip) => u128::from(ip),
        };
        let network = |text: &String| {
            let (base, bits) = text.split_once('/')?;
            let (base, bits) = (base.parse::<IpAddr>().ok()?, bits.parse::<u32>().ok()?);
            let host_bits = if base.is_ipv4() { 32 } else { 128 } - bits.min(if base.is_ipv4() { 32 } else { 128 });
            let mask = u128::MAX.checked_shl(host_bits).unwrap_or(0);
            Some((mapped(base) & mask, mask))
        };
        Self {
            networks: topology.inside_networks.iter().filter_map(network).collect(),
            outside: topology.outside_address.as_deref().and_then(|text| text.parse().ok()).map(mapped),
        }
    }

    /// Whether an address lies in one of the inside networks.
    pub fn inside(&self, end: Endpoint) -> bool {
        self.networks.iter().any(|(base, mask)| end.address & mask == *base)
    }

    /// Whether an address is in the network of the one that inside addresses are translated to.
    pub fn beside_outside(&self, end: Endpoint) -> bool {
        self.outside.is_some_and(|address| neighbours(Endpoint { address, port: 0 }, end))
    }

    /// Whether an address is the one that inside addresses are translated to.
    pub fn is_outside(&self, end: Endpoint) -> bool {
        self.outside == Some(end.address)
    }
}

/// Whether two addresses are of one network, as most are cut: /24 and /64.
pub fn neighbours(one: Endpoint, other: Endpoint) -> bool {
    let host_bits = if one.ip().is_ipv4() { 8 } else { 64 };
    one.address >> host_bits == other.address >> host_bits
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::TopologyKind;

    #[test]
    fn networks_hold_their_addresses_and_no_others() {
        let topology = Topology {
            kind: TopologyKind::Nat,
            inside_networks: vec!["192.168.122.0/24".into(), "10.1.2.3/32".into(), "fd00:1::/64".into()],
            outside_address: Some("203.0.113.5".into()),
            ttl_delta: None,
            vlan: serde_json::Map::new(),
            tunnel: None,
        };
        let boundary = Boundary::new(&topology);
        let v4 = |a: u8, b: u8, c: u8, d: u8| Endpoint::v4(u32::from_be_bytes([a, b, c, d]), 80);
        let v6 = |text: &str| Endpoint { address: u128::from(text.parse::<std::net::Ipv6Addr>().unwrap()), port: 0 };
        assert!(boundary.inside(v4(192, 168, 122, 77)) && boundary.inside(v4(10, 1, 2, 3)));
        assert!(boundary.inside(v6("fd00:1::77")));
        assert!(!boundary.inside(v4(192, 168, 123, 77)) && !boundary.inside(v4(10, 1, 2, 4)));
        assert!(!boundary.inside(v6("fd00:2::77")) && !boundary.inside(v6("::c0a8:7a4d")));
        assert!(boundary.is_outside(v4(203, 0, 113, 5)) && !boundary.is_outside(v4(203, 0, 113, 6)));
        assert!(!Boundary::default().inside(v4(10, 1, 2, 3)) && !Boundary::default().is_outside(v4(10, 1, 2, 3)));
    }
}
