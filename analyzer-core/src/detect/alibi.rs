//! Alibis: reasons why a packet may be missing at a point although nothing was lost.

use super::scene::{PairView, Scene};
use crate::facts::{Event, EventKind, Fate, pair_flags, size_class};
use crate::packet::row::tcp_flags;
use crate::packet::{Family, Kind};
use crate::point::{Direction, Point};
use crate::report::Coverage;
use std::net::IpAddr;

/// Bytes of an IP packet that every path carries as a rule, so that a smaller one is not lost for its size (RFC 9000, section
/// 14; BASE_PLPMTU of RFC 8899).
pub const CARRIED: u32 = 1200;

/// Shortest run of a flow's matched packets that proves that both captures and both filters cover it.
const PROOF: u64 = 1;

/// Whether the captures show both sides of a flow: it was found at both points, and each direction that passed one point
/// has been seen at the other at some time.
pub fn covered(pair: &PairView) -> bool {
    pair.both() && pair.tracks.iter().flatten().map(|track| u64::from(track.matched)).sum::<u64>() >= PROOF
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
        Point::A => [key.low, key.high].iter().all(|end| scene.inside_network(*end)),
        // On the uplink, what does not concern the address that guests are translated to, nor an inside address, is not ours.
        Point::B => {
            ![key.low, key.high].iter().any(|end| scene.inside_network(*end) || scene.boundary.is_outside(*end))
        }
    }
}

/// Multicast, broadcast, link-local, loopback and unspecified addresses.
pub fn never_forwarded(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => {
            ip.is_multicast() || ip.is_broadcast() || ip.is_link_local() || ip.is_loopback() || ip.is_unspecified()
        }
        IpAddr::V6(ip) => ip.is_multicast() || ip.is_unicast_link_local() || ip.is_loopback() || ip.is_unspecified(),
    }
}

/// Whether a capture seems to have been taken without a filter: it holds what no filter for hosts or ports lets through.
pub fn unfiltered(scene: &Scene, point: Point) -> bool {
    let kinds = &scene.presence[point.index()].kinds;
    kinds[Kind::Arp as usize] > 0 || kinds[Kind::Link as usize] > 0
}

/// Packets of a direction that entered the host and did not leave it: without those that the receiver acknowledged (the
/// far capture missed them), without the resets and ICMP errors that hosts make themselves, without those above an MTU that
/// the sender was told of (path MTU discovery at work), and without those after their receiver reset the connection.
pub fn lost(scene: &Scene, pair: &PairView, direction: Direction) -> u64 {
    lost_sizes(scene, pair, direction).iter().sum()
}

/// What [`lost`] counts, by size (see [`size_class`]).
pub fn lost_sizes(scene: &Scene, pair: &PairView, direction: Direction) -> [u64; 5] {
    let entry = direction.entry();
    let mut sizes = pair.more(direction, entry).map_or([0; 5], |more| more.lost_sizes.map(u64::from));
    let mtu = announced_mtu(pair, direction);
    if mtu.is_some() || !pair.facts.resets.is_empty() {
        let events = scene.pair_events(EventKind::Unmatched, entry, direction, pair.serial);
        let excused = |event: &&Event| mtu.is_some_and(|mtu| event.size > mtu) || unwanted(pair, direction, event);
        for event in events.iter().filter(|event| event.other_frame == 0).filter(excused) {
            let size = &mut sizes[size_class(event.size)];
            *size = size.saturating_sub(1);
        }
    }
    // Fragments may stand there under no ports.
    let exit = direction.exit();
    let nameless = |key| scene.census.has_nameless(key, exit);
    if pair.facts.flags & pair_flags::FRAGMENTS != 0 && pair.key(exit).is_some_and(nameless) {
        return [0; 5];
    }
    sizes
}

/// Whether an unmatched packet is one that [`lost`] counts.
pub fn is_lost(pair: &PairView, direction: Direction, event: &Event) -> bool {
    let reset = event.protocol == 6 && event.flags & tcp_flags::RST != 0;
    let error = pair.facts.icmp.iter().any(|error| error.at.frame == event.frame && error.point as u8 == event.point);
    let told = announced_mtu(pair, direction).is_some_and(|mtu| event.size > mtu);
    let unwanted = unwanted(pair, direction, event);
    event.pair == pair.serial && event.other_frame == 0 && !reset && !error && !told && !unwanted
}

/// Whether a packet came after its receiver had ended the connection by a reset that crossed: the host forgets such a
/// connection within seconds (`nf_conntrack_tcp_timeout_close`, 10 s), and nobody waits for the packet.
fn unwanted(pair: &PairView, direction: Direction, event: &Event) -> bool {
    let ended = pair.facts.resets.iter().filter(|reset| {
        reset.direction == direction.reverse() && reset.fate == Fate::Crossed && reset.acked_after == 0
    });
    ended
        .filter_map(|reset| if reset.point as u8 == event.point { Some(reset.at) } else { reset.copy })
        .any(|reset| reset.time < event.time)
}

/// The smallest MTU that the sender of a direction was told of at its side, by an ICMP error that went to it.
pub fn announced_mtu(pair: &PairView, direction: Direction) -> Option<u32> {
    let told = pair.facts.icmp.iter().filter(|error| {
        error.direction == direction.reverse()
            && error.mtu > 0
            && (error.fate == Fate::Crossed || error.point == direction.entry())
    });
    told.map(|error| error.mtu).min()
}

/// Share of packets that a point's capture missed: packets that must have passed it and are not there (rules R1 and R2),
/// and bytes acknowledged there that it never saw (R3).
pub fn capture_loss(scene: &Scene, point: Point) -> f64 {
    let seen = tell_of(scene, point);
    if seen == 0 { 0.0 } else { scene.missed[point.index()] as f64 / seen as f64 }
}

/// Packets at the far point that would tell if a point's capture had missed them.
pub(super) fn tell_of(scene: &Scene, point: Point) -> u64 {
    // What left at the far point had entered here: outbound packets on B must be on A, inbound ones on A must be on B.
    let direction = match point {
        Point::A => Direction::Outbound,
        Point::B => Direction::Inbound,
    };
    let exit = point.other();
    // Of the other direction acknowledgments tell, and only of data: of TCP's packets that are larger than bare headers.
    let back = direction.reverse().index();
    let connections = scene.tally.packets[back][exit.index()][Kind::Tcp as usize];
    let told = connections.min(scene.tally.sizes[back][exit.index()][1..].iter().sum());
    scene.tally.packets(direction, exit) + told
}

/// Whether a point's capture missed more than a sound one may seem to miss.
pub fn captures_badly(scene: &Scene, point: Point) -> bool {
    const NOTABLE: f64 = 0.001;
    capture_loss(scene, point) > NOTABLE
}

/// Whether the share that a point's capture misses explains that `missing` of `offered` packets are not in it: three times
/// as many as expected, or three standard deviations more (of a Poisson distribution), are within reach of chance, and one
/// always is.
pub fn capture_explains(scene: &Scene, point: Point, missing: u64, offered: u64) -> bool {
    let expected = capture_loss(scene, point) * offered as f64;
    captures_badly(scene, point) && missing as f64 <= (3.0 * expected).max(expected + 3.0 * expected.sqrt()) + 1.0
}

/// Packets that a point's capture missed, by rules R1 to R3. Resets and ICMP errors do not count: hosts make them.
pub(crate) fn count_missed(scene: &Scene, point: Point) -> u64 {
    let direction = match point {
        Point::A => Direction::Outbound,
        Point::B => Direction::Inbound,
    };
    let exit = point.other();
    let totals = &scene.census.totals;
    totals.unmatched[direction.index()][exit.index()]
        + totals.acked_unmatched[direction.reverse().index()][exit.index()]
}

/// Whether a capture holds a good part of its packets twice (`-i any`, two interfaces in one file): what leaves the host
/// there comes again with the same content and IP identification, and of what enters there half comes again or seems lost.
pub fn doubled(scene: &Scene, point: Point) -> bool {
    /// Fewest packets that come again.
    const FEWEST: u64 = 4;
    /// Half of all packets come again, less what has no identification.
    const SHARE: u64 = 3;
    let leaving = point.leaving();
    let again = scene.event_count(EventKind::Duplicate, point, leaving);
    if again < FEWEST {
        return false;
    }
    let entering = leaving.reverse();
    let unmatched = scene.tally.unmatched(entering, point) + scene.event_count(EventKind::Duplicate, point, entering);
    // Of what the other capture covers.
    let judged = |direction: Direction| {
        let edge = scene.census.totals.edge[direction.index()][point.index()];
        scene.tally.packets(direction, point).saturating_sub(edge)
    };
    again * SHARE >= judged(leaving) && unmatched * SHARE >= judged(entering)
}

/// Acknowledgments of bytes that a point never saw, from which on its capture lacks that direction by intent: if it missed
/// every second packet by mistake, five in a row would be a matter of 1 in 32, and none of the other direction missing
/// beside them one of 1 in 1024.
const UNSEEN: u64 = 5;

/// Whether a point's capture was taken in the other direction only (`tcpdump -Q`): of packets to a single host it shows none
/// of this one, and enough of the other, fewer of which do where they answer this one; or what it shows has come back
/// ([`only_in`]).
pub fn one_way(scene: &Scene, point: Point, direction: Direction) -> bool {
    /// Packets of the other direction that are enough without a word about this one.
    const ENOUGH: u64 = 20;
    let (way, at) = (direction.index(), point.index());
    let totals = &scene.census.totals;
    let (seen, other) = (totals.single[way][at], totals.single[direction.reverse().index()][at]);
    let answers = totals.answers[way][at];
    let unseen = acked_unseen(scene, point, direction);
    (seen == 0 && (other >= ENOUGH || unseen + answers >= UNSEEN))
        || (point == Point::B && direction == Direction::Outbound && only_in(scene))
}

/// Acknowledgments at a point of bytes of a direction that it never saw.
fn acked_unseen(scene: &Scene, point: Point, direction: Direction) -> u64 {
    scene.census.totals.acked_unseen[direction.index()][point.index()]
}

/// Whether B holds only what comes in by the uplink: of what leaves there, TCP's segments are acknowledged before they stand
/// there, if they ever do. Those that do have come back.
pub fn only_in(scene: &Scene) -> bool {
    /// Fewest segments that stand there too late: one that was repeated without need looks the same where A missed one of
    /// its two copies, and tcpdump misses a packet now and then, but hardly three of just that kind.
    const LATE: u64 = 3;
    /// How many times as many packets as of the other direction are missing from a capture that lacks one by intent. One that
    /// misses packets at random misses both alike: one or none of eleven of a certain direction then has a chance below 1 %
    /// (12 in 2^11), two or fewer of 22 below 1 in 10,000.
    const ONE_SIDED: u64 = 10;
    let unseen = acked_unseen(scene, Point::B, Direction::Outbound);
    if unseen < UNSEEN {
        return false;
    }
    let totals = &scene.census.totals;
    let missed = totals.unmatched[Direction::Inbound.index()][Point::A.index()];
    totals.left == 0 || (totals.late >= LATE && missed * ONE_SIDED <= unseen)
}

/// Whether a rewrite on the way may have given the packets of both ends one name, so that they stand at the other point in
/// the wrong direction: all of one direction is missing there, and as many packets of the other are too many.
pub fn one_name(pair: &PairView) -> bool {
    Direction::BOTH.into_iter().any(|direction| {
        let (entry, exit) = (direction.entry(), direction.exit());
        let unmatched = |way, point| pair.more(way, point).map_or(0, |more| more.unmatched);
        let missing = unmatched(direction, entry);
        pair.both()
            && missing > 0
            && pair.track(direction, exit).packets == 0
            && missing == pair.track(direction, entry).packets
            && missing == unmatched(direction.reverse(), exit)
    })
}

/// Whether something limits what can be said of a point.
pub fn limited<'a>(scene: &'a Scene, id: &str, point: Point) -> Option<&'a Coverage> {
    scene.coverage.iter().find(|limit| limit.id == id && limit.point.is_none_or(|at| at == point))
}
