//! What lies between the points, by the majority of the paired flows.

use super::pairing::private;
use crate::packet::{Endpoint, Family, FlowKey};
use crate::report::{Topology, TopologyKind};
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// One paired flow, as the topology sees it.
#[derive(Clone, Copy, Debug)]
pub struct PairedFlow {
    /// Its key at A.
    pub key_a: FlowKey,
    /// Its key at B.
    pub key_b: FlowKey,
    /// Whether the inside endpoint is the high one, by point.
    pub inside_is_high: [bool; 2],
    /// TTL at A minus TTL at B of its outbound packets, if it had any.
    pub ttl_delta: Option<i32>,
    /// Whether it has packets in both directions.
    pub answered: bool,
}

/// What paired flows show of the relation of the points.
#[derive(Clone, Debug, Default)]
pub struct Votes {
    /// Whether there is a flow at all.
    any: bool,
    /// Of IP flows: those that were never answered, and the others.
    of: [Ballot; 2],
}

#[derive(Clone, Debug, Default)]
struct Ballot {
    nat: u64,
    flat: u64,
    route: u64,
    /// What inside addresses are translated to.
    outside: BTreeMap<IpAddr, u64>,
    /// TTL at A minus TTL at B of outbound packets.
    deltas: BTreeMap<i32, u64>,
    inside: BTreeSet<u128>,
}

impl Votes {
    /// Counts a flow.
    pub fn count(&mut self, flow: &PairedFlow) {
        self.any = true;
        if flow.key_a.family == Family::Link {
            return;
        }
        let ballot = &mut self.of[usize::from(flow.answered)];
        let (inner, outer) = (flow.key_a.ends(flow.inside_is_high[0]), flow.key_b.ends(flow.inside_is_high[1]));
        // A flow of a few packets says as much as a long one: one vote each.
        let votes = match flow.ttl_delta {
            _ if inner != outer => &mut ballot.nat,
            Some(0) => &mut ballot.flat,
            _ => &mut ballot.route,
        };
        *votes += 1;
        if inner.0.address != outer.0.address {
            *ballot.outside.entry(outer.0.ip()).or_default() += 1;
        }
        if let Some(delta) = flow.ttl_delta {
            *ballot.deltas.entry(delta).or_default() += 1;
        }
        ballot.inside.insert(inner.0.address);
    }

    /// Adds those of other flows.
    pub fn add(&mut self, other: Self) {
        self.any |= other.any;
        for (own, other) in self.of.iter_mut().zip(other.of) {
            own.nat += other.nat;
            own.flat += other.flat;
            own.route += other.route;
            other.outside.into_iter().for_each(|(address, votes)| *own.outside.entry(address).or_default() += votes);
            other.deltas.into_iter().for_each(|(delta, votes)| *own.deltas.entry(delta).or_default() += votes);
            own.inside.extend(other.inside);
        }
    }

    /// Those that count: what was never answered may be the very packets that were not translated, so that it has no vote
    /// if others have.
    fn valid(&self) -> &Ballot {
        let [alone, answered] = &self.of;
        if answered.nat + answered.flat + answered.route > 0 { answered } else { alone }
    }
}

/// Judges the relation of the points. `beyond` says which of some addresses are outer ends of flows at A.
pub fn judge(
    votes: &Votes,
    beyond: impl Fn(&BTreeSet<u128>) -> BTreeSet<u128>,
    any_at_both: bool,
    same_times: bool,
) -> Topology {
    let Ballot { nat, flat, route, outside, deltas, inside } = votes.valid();
    let kind = if !votes.any {
        if any_at_both { TopologyKind::Unrelated } else { TopologyKind::Unknown }
    } else if *nat > 0 && *nat >= flat + route {
        TopologyKind::Nat
    } else if same_times {
        TopologyKind::SamePoint
    } else if route > flat && deltas.iter().any(|(&delta, _)| delta != 0) {
        TopologyKind::Route
    } else {
        TopologyKind::Bridge
    };
    let beyond = beyond(inside);
    let inside = inside.difference(&beyond).map(|&address| Endpoint { address, port: 0 }.ip()).collect();
    Topology {
        kind,
        inside_networks: networks(inside),
        outside_address: (kind == TopologyKind::Nat)
            .then(|| outside.iter().max_by_key(|(_, votes)| **votes).map(|(address, _)| address.to_string()))
            .flatten(),
        ttl_delta: deltas.iter().max_by_key(|(_, votes)| **votes).map(|(&delta, _)| delta),
        vlan: Map::new(),
        tunnel: None,
    }
}

/// The inside networks: /24 and /64, as libvirt and most networks are cut; a single public host as itself.
fn networks(inside: BTreeSet<IpAddr>) -> Vec<String> {
    /// Beyond this the list stops being of use.
    const MOST: usize = 16;
    let mut names: Vec<String> = Vec::new();
    for address in inside {
        let name = match address {
            IpAddr::V4(ip) if private(Endpoint::v4(u32::from(ip), 0)) => {
                let [a, b, c, _] = ip.octets();
                format!("{a}.{b}.{c}.0/24")
            }
            IpAddr::V4(ip) => format!("{ip}/32"),
            IpAddr::V6(ip) => {
                let network = std::net::Ipv6Addr::from(u128::from(ip) >> 64 << 64);
                format!("{network}/64")
            }
        };
        if !names.contains(&name) && names.len() < MOST {
            names.push(name);
        }
    }
    names
}

/// The JSON form of the VLAN ids seen at each point; empty when none were.
pub fn vlans(a: &BTreeSet<u16>, b: &BTreeSet<u16>) -> Map<String, Value> {
    let mut map = Map::new();
    if !a.is_empty() || !b.is_empty() {
        map.insert("a".into(), a.iter().copied().collect());
        map.insert("b".into(), b.iter().copied().collect());
    }
    map
}
