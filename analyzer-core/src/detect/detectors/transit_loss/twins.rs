//! Flows of which nothing crosses, beside others of their kind that cross.

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
    let own = pair.ends(Point::B).map(|ends| (pair.protocol(), ends.0.port));
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
    pub(super) fn new(scene: &Scene, entry: Point) -> Self {
        let answered = |pair: &&PairView| pair.tracks[Direction::Inbound.index()][entry.index()].packets > 0;
        let both = || scene.pairs.iter().filter(|pair| pair.both());
        Self {
            peers: both().map(peer).collect(),
            ports: both().filter_map(|pair| Some((pair.protocol(), pair.ends(Point::B)?.0.port))).collect(),
            answered: both().filter(answered).map(|pair| pair.inner_ends().1.address).collect(),
            all_answered: scene.pairs.iter().filter(answered).all(|pair| pair.both() || alibi::local(scene, pair)),
        }
    }
}

/// Protocol and outer address of a flow.
fn peer(pair: &PairView) -> (u16, u128) {
    (pair.protocol(), pair.inner_ends().1.address)
}
