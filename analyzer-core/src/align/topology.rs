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
    /// Packets matched.
    pub matched: u64,
    /// Whether it has packets in both directions.
    pub answered: bool,
}

/// Judges the relation of the points.
pub fn judge(flows: impl Iterator<Item = PairedFlow> + Clone, any_at_both: bool, same_times: bool) -> Topology {
    // What was never answered may be the very packets that were not translated: it has no vote if others have.
    let answered = flows.clone().any(|flow| flow.key_a.family != Family::Link && flow.answered);
    let ip = || flows.clone().filter(|flow| flow.key_a.family != Family::Link && (flow.answered || !answered));
    let (mut nat, mut flat, mut route) = (0_u64, 0_u64, 0_u64);
    let mut outside: BTreeMap<IpAddr, u64> = BTreeMap::new();
    let mut deltas: BTreeMap<i32, u64> = BTreeMap::new();
    let mut inside: Vec<IpAddr> = Vec::new();
    for flow in ip() {
        let (inner, outer) = (flow.key_a.ends(flow.inside_is_high[0]), flow.key_b.ends(flow.inside_is_high[1]));
        // A flow of a few packets says as much as a long one: one vote each.
        let votes = match flow.ttl_delta {
            _ if inner != outer => &mut nat,
            Some(0) => &mut flat,
            _ => &mut route,
        };
        *votes += 1;
        if inner.0.address != outer.0.address {
            *outside.entry(outer.0.ip()).or_default() += 1;
        }
        if let Some(delta) = flow.ttl_delta {
            *deltas.entry(delta).or_default() += 1;
        }
        inside.push(inner.0.ip());
    }
    let kind = if flows.clone().next().is_none() {
        if any_at_both { TopologyKind::Unrelated } else { TopologyKind::Unknown }
    } else if nat > 0 && nat >= flat + route {
        TopologyKind::Nat
    } else if same_times {
        TopologyKind::SamePoint
    } else if route > flat && deltas.iter().any(|(&delta, _)| delta != 0) {
        TopologyKind::Route
    } else {
        TopologyKind::Bridge
    };
    Topology {
        kind,
        inside_networks: networks(inside, flows),
        outside_address: (kind == TopologyKind::Nat)
            .then(|| outside.iter().max_by_key(|(_, votes)| **votes).map(|(address, _)| address.to_string()))
            .flatten(),
        ttl_delta: deltas.iter().max_by_key(|(_, votes)| **votes).map(|(&delta, _)| delta),
        vlan: Map::new(),
        tunnel: None,
    }
}

/// The inside networks: /24 and /64, as libvirt and most networks are cut; a single public host as itself.
fn networks(mut inside: Vec<IpAddr>, flows: impl Iterator<Item = PairedFlow>) -> Vec<String> {
    /// Beyond this the list stops being of use.
    const MOST: usize = 16;
    // Sorted lists, since there may be very many flows.
    let mut outer: Vec<IpAddr> = flows.map(|flow| flow.key_a.ends(flow.inside_is_high[0]).1.ip()).collect();
    outer.sort_unstable();
    inside.sort_unstable();
    inside.dedup();
    let mut names: Vec<String> = Vec::new();
    for address in inside.iter().filter(|address| outer.binary_search(address).is_err()) {
        let name = match address {
            IpAddr::V4(ip) if private(Endpoint::v4(u32::from(*ip), 0)) => {
                let [a, b, c, _] = ip.octets();
                format!("{a}.{b}.{c}.0/24")
            }
            IpAddr::V4(ip) => format!("{ip}/32"),
            IpAddr::V6(ip) => {
                let network = std::net::Ipv6Addr::from(u128::from(*ip) >> 64 << 64);
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
