//! Alibis: reasons why a packet may be missing at a point although nothing was lost (faults.md 0.4).

use super::scene::{PairView, Scene};
use crate::packet::Family;
use crate::point::{Direction, Point};
use crate::report::Coverage;
use std::net::IpAddr;

/// Shortest run of a flow's matched packets that proves that both captures and both filters cover it.
const PROOF: u32 = 1;

/// Whether the captures show both sides of a flow: it was found at both points, and each direction that passed one point
/// has been seen at the other at some time.
pub fn covered(pair: &PairView) -> bool {
    pair.both() && pair.tracks.iter().flatten().map(|track| track.matched).sum::<u32>() >= PROOF
}

/// Whether traffic like this flow's was captured at the other point at all: its protocol and its outer port.
pub fn filter_allows(scene: &Scene, pair: &PairView, point: Point) -> bool {
    let Some((_, outside)) = pair.ends(point.other()).or_else(|| pair.ends(point)) else { return false };
    scene.presence[point.index()].has_port(pair.protocol(), outside.port)
}

/// Whether a flow stays on one side of the host by its addresses: multicast, broadcast, link-local, between inside hosts,
/// or with the host itself (an address that talks to inside hosts at A and never crosses).
pub fn local(scene: &Scene, pair: &PairView) -> bool {
    if pair.family() == Family::Link || pair.both() {
        return pair.family() == Family::Link && !pair.both();
    }
    let Some(point) = Point::BOTH.into_iter().find(|point| pair.key(*point).is_some()) else { return true };
    let Some(key) = pair.key(point) else { return true };
    if [key.low, key.high].iter().any(|end| never_forwarded(end.ip())) {
        return true;
    }
    match point {
        // Both ends in the inside networks: guest to guest, or guest to the host's own address there.
        Point::A => [key.low, key.high].iter().all(|end| scene.inside_network(end.ip())),
        // On the uplink, what does not concern the address that guests are translated to, nor an inside address, is not ours.
        Point::B => {
            let ours = scene.topology.outside_address.as_deref();
            ![key.low, key.high].iter().any(|end| {
                let ip = end.ip();
                scene.inside_network(ip) || ours == Some(ip.to_string().as_str())
            })
        }
    }
}

/// Multicast, broadcast, link-local, loopback and unspecified addresses.
fn never_forwarded(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => {
            ip.is_multicast() || ip.is_broadcast() || ip.is_link_local() || ip.is_loopback() || ip.is_unspecified()
        }
        IpAddr::V6(ip) => ip.is_multicast() || ip.is_unicast_link_local() || ip.is_loopback() || ip.is_unspecified(),
    }
}

/// Share of packets that a point's capture missed: packets that must have passed it and are not there (rules R1 and R2),
/// and bytes acknowledged there that it never saw (R3).
pub fn capture_loss(scene: &Scene, point: Point) -> f64 {
    // What left at the far point had entered here: outbound packets on B must be on A, inbound ones on A must be on B.
    let direction = match point {
        Point::A => Direction::Outbound,
        Point::B => Direction::Inbound,
    };
    let exit = point.other();
    let seen = scene.tally.packets(direction, exit);
    let missing = missed(scene, point);
    if seen == 0 { 0.0 } else { missing as f64 / seen as f64 }
}

/// Packets that a point's capture missed, by rules R1 to R3. Resets and ICMP errors do not count: hosts make them.
pub fn missed(scene: &Scene, point: Point) -> u64 {
    let direction = match point {
        Point::A => Direction::Outbound,
        Point::B => Direction::Inbound,
    };
    let exit = point.other();
    scene
        .pairs
        .iter()
        .filter(|pair| pair.both())
        .filter_map(|pair| {
            let more = pair.more(direction, exit)?;
            let made_by_host =
                pair.facts.resets.iter().filter(|reset| reset.direction == direction && reset.point == exit);
            Some(u64::from(more.unmatched).saturating_sub(made_by_host.count() as u64))
        })
        .sum::<u64>()
        + scene
            .pairs
            .iter()
            .filter_map(|pair| Some(u64::from(pair.more(direction.reverse(), exit)?.acked_unmatched)))
            .sum::<u64>()
}

/// Whether something limits what can be said of a point.
pub fn limited<'a>(scene: &'a Scene, id: &str, point: Point) -> Option<&'a Coverage> {
    scene.coverage.iter().find(|limit| limit.id == id && limit.point.is_none_or(|at| at == point))
}
