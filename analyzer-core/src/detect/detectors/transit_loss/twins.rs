//! Flows of which nothing crosses, beside others of their kind that cross.

use crate::detect::census::has;
use crate::detect::{PairView, Scene, alibi};
use crate::point::{Direction, Point};
use crate::report::TopologyKind;
use std::collections::HashSet;
use std::ops::Deref;

/// A one-sided flow whose like crosses: other flows to the same outer address were found at both points, it got no
/// answer, and no filter of the far capture explains its absence there.
pub(super) fn unanswered_twin(
    scene: &Scene,
    pair: &PairView,
    direction: Direction,
    crossing: &impl Deref<Target = Crossing>,
) -> bool {
    let (entry, exit) = (direction.entry(), direction.exit());
    if pair.key(entry).is_none() || alibi::local(scene, pair) || pair.track(direction.reverse(), entry).packets > 0 {
        return false;
    }
    // Where B lacks what leaves, the host's own traffic looks like a guest's that was not answered.
    if entry == Point::B && scene.leaves_out(Direction::Outbound, Point::B) {
        return false;
    }
    // Behind NAT an inside address at B is of a packet that the host has sent there itself.
    let inner = pair.inner_ends().0;
    if entry == Point::B && scene.topology.kind == TopologyKind::Nat && scene.inside_network(inner) {
        return false;
    }
    // Nor does it forward what comes in for a port of its own address that no flow that crosses has: that is for itself.
    let own = port(pair);
    if entry == Point::B
        && scene.topology.kind == TopologyKind::Nat
        && own.is_none_or(|own| !crossing.ports.contains(&own))
    {
        return false;
    }
    let open = alibi::unfiltered(scene, exit);
    if (open || alibi::filter_allows(scene, pair, exit)) && crossing.peers.contains(&peer(pair)) {
        return true;
    }
    // Nothing of the protocol is there: a filter, unless all that was ever answered is there and the same peer among it.
    open && direction == Direction::Outbound
        && crossing.all_answered
        && crossing.answered.contains(&{ pair.inner_ends().1.address })
}

/// What crosses the host, for the flows of which nothing does.
pub(super) struct Crossing {
    /// Protocols and outer addresses of flows found at both points.
    peers: HashSet<(u16, u128)>,
    /// Protocols and ports at B of their inner ends.
    ports: HashSet<(u16, u16)>,
    /// Outer addresses among them that answered.
    answered: HashSet<u128>,
    /// Whether every flow that was answered at the entry point was found at both.
    all_answered: bool,
}

impl Crossing {
    /// Of a direction, as far as flows ask for it that may have lost something and stand at one point alone: as a rule there
    /// are few of them, and very many that cross.
    pub(super) fn new(scene: &Scene, direction: Direction) -> Self {
        let entry = direction.entry();
        let answered = |pair: &PairView| pair.tracks[Direction::Inbound.index()][entry.index()].packets > 0;
        let asking = || scene.pairs_with(has::way(has::LOST, direction) | has::ALONE, 0);
        let asked_peers: HashSet<(u16, u128)> = asking().map(peer).collect();
        let asked_ports: HashSet<(u16, u16)> = asking().filter_map(port).collect();
        let asked: HashSet<u128> = asked_peers.iter().map(|(_, address)| *address).collect();
        let (mut peers, mut ports, mut answering) = (HashSet::new(), HashSet::new(), HashSet::new());
        for pair in scene.pairs_with(has::BOTH, 0) {
            let peer = peer(pair);
            if asked.contains(&peer.1) {
                peers.extend(Some(peer).filter(|peer| asked_peers.contains(peer)));
                answering.extend(Some(peer.1).filter(|_| answered(pair)));
            }
            ports.extend(port(pair).filter(|port| asked_ports.contains(port)));
        }
        let all_answered =
            scene.pairs_with(has::ALONE, 0).filter(|pair| answered(pair)).all(|pair| alibi::local(scene, pair));
        Self { peers, ports, answered: answering, all_answered }
    }
}

/// Protocol of a flow, and the port at B of its inner end.
fn port(pair: &PairView) -> Option<(u16, u16)> {
    Some((pair.protocol(), pair.ends(Point::B)?.0.port))
}

/// Protocol and outer address of a flow.
fn peer(pair: &PairView) -> (u16, u128) {
    (pair.protocol(), pair.inner_ends().1.address)
}
