//! The faults: what each does to the traffic, and what a report must say of it.

use crate::wire::{ACK, Body, End, MSS, Packet, RST, SYN};
use crate::world::{Flow, OUTER, SECOND, World};
use analyzer_core::report::Where;

/// A fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nothing is wrong but for the noise.
    Nothing,
    /// The host forgets three connections and resets their peers, who speak first.
    HostReset,
    /// A peer aborts two connections.
    PeerAbort,
    /// A guest aborts two connections.
    GuestAbort,
    /// The host forgets two UDP flows; then their peers speak.
    UdpExpiry,
    /// The host drops what comes in of one QUIC flow.
    UdpDropped,
    /// A UDP flow gets another outer port after it was forgotten.
    Rebinding,
    /// New flows leave untranslated.
    Bypass,
    /// The host keeps the router's ICMP errors to itself.
    MtuNotRelayed,
    /// The guest does not obey them.
    MtuIgnored,
    /// What leaves the uplink is lost: 3 % of the segments with data.
    LossOutside,
    /// What leaves the bridge is lost before it is in the guest: 3 %.
    LossInside,
    /// The host drops all flows that live.
    AllDropped,
    /// The guest says nothing for a second and a half, then all at once.
    GuestStall,
    /// New connections stay in the host.
    NotForwarded,
    /// A peer does not answer new connections.
    Unanswered,
    /// The host passes ten echo requests a second.
    EchoLimit,
    /// Segments are damaged between the points.
    Damaged,
    /// Packets leave twice.
    Doubled,
    /// A server answers no question.
    Dns,
    /// The host wipes the class of service.
    DscpWiped,
    /// The host clamps the segment size.
    MssClamped,
}

/// All of them.
const ALL: [Fault; 21] = [
    Fault::HostReset,
    Fault::PeerAbort,
    Fault::GuestAbort,
    Fault::UdpExpiry,
    Fault::UdpDropped,
    Fault::Rebinding,
    Fault::Bypass,
    Fault::MtuNotRelayed,
    Fault::MtuIgnored,
    Fault::LossOutside,
    Fault::LossInside,
    Fault::AllDropped,
    Fault::GuestStall,
    Fault::NotForwarded,
    Fault::Unanswered,
    Fault::EchoLimit,
    Fault::Damaged,
    Fault::Doubled,
    Fault::Dns,
    Fault::DscpWiped,
    Fault::MssClamped,
];

/// All of them in turn, each round beginning with another one, so that none meets the same noise again and again.
pub(crate) fn in_turn(turn: usize) -> Fault {
    ALL[(turn + turn / ALL.len() * 8) % ALL.len()]
}

/// MTU of the link behind the router that has a smaller one.
const NARROW: u64 = 1300;
/// Echo requests a second that a host with a limit passes.
const LIMIT: u64 = 10;
/// Those that it passes at once (nftables' default burst).
const BURST: u64 = 5;
/// Packets that are damaged or doubled: each of so many.
const EACH: usize = 25;

/// What a report must say of a fault: id, place and cause.
pub(crate) type Due = (&'static str, Where, Option<&'static str>);

impl Fault {
    /// How long traffic lasts with it.
    pub(crate) fn span(self) -> u64 {
        if matches!(self, Self::UdpExpiry | Self::Rebinding) { 140 * SECOND } else { 10 * SECOND }
    }

    /// What must be found, and what may be said besides.
    pub(crate) fn truth(self) -> (&'static [Due], &'static [&'static str]) {
        match self {
            Self::Nothing => (&[], &[]),
            Self::HostReset => {
                (&[("tcp-reset", Where::Between, Some("nat-state-lost"))], &["synchronous-drop", "transit-loss"])
            }
            Self::PeerAbort => (&[("tcp-reset", Where::Outside, Some("peer-abort"))], &["synchronous-drop"]),
            Self::GuestAbort => (&[("tcp-reset", Where::Inside, Some("guest-abort"))], &["synchronous-drop"]),
            Self::UdpExpiry => {
                (&[("udp-stall", Where::Between, Some("nat-expired"))], &["transit-loss", "synchronous-drop"])
            }
            Self::UdpDropped => (&[("udp-stall", Where::Between, Some("dropped"))], &["transit-loss"]),
            Self::Rebinding => (&[("nat-rebinding", Where::Between, Some("nat-expired"))], &[]),
            Self::Bypass => (&[("nat-bypass", Where::Between, None)], &["connection-unanswered", "retransmission"]),
            Self::MtuNotRelayed => (
                &[("pmtu-black-hole", Where::Between, Some("icmp-not-relayed"))],
                &["retransmission", "one-sided-retransmission", "transit-loss"],
            ),
            Self::MtuIgnored => (
                &[("pmtu-black-hole", Where::Inside, Some("icmp-ignored"))],
                &["retransmission", "one-sided-retransmission", "transit-loss"],
            ),
            Self::LossOutside => (&[("retransmission", Where::Outside, None)], &["dns-unanswered"]),
            Self::LossInside => (&[("retransmission", Where::Inside, None)], &["dns-unanswered"]),
            Self::AllDropped => (
                &[("synchronous-drop", Where::Between, None)],
                &[
                    "transit-loss",
                    "one-sided-retransmission",
                    "retransmission",
                    "udp-stall",
                    "icmp-rate-limit",
                    "dns-unanswered",
                    "connection-not-forwarded",
                ],
            ),
            Self::GuestStall => (&[("synchronous-stall", Where::Inside, None)], &["retransmission"]),
            Self::NotForwarded => (
                &[("connection-not-forwarded", Where::Between, None)],
                &["transit-loss", "one-sided-retransmission", "connection-unanswered"],
            ),
            Self::Unanswered => (&[("connection-unanswered", Where::Outside, None)], &["retransmission"]),
            Self::EchoLimit => (&[("icmp-rate-limit", Where::Between, None)], &["transit-loss"]),
            Self::Damaged => (
                &[("bad-checksum", Where::Between, Some("corrupted"))],
                &["retransmission", "one-sided-retransmission", "transit-loss"],
            ),
            Self::Doubled => (&[("duplicate-frame", Where::Between, None)], &["retransmission"]),
            Self::Dns => (&[("dns-unanswered", Where::Outside, None)], &["udp-stall", "transit-loss"]),
            Self::DscpWiped => (&[("header-rewritten", Where::Between, None)], &[]),
            Self::MssClamped => (&[("mss-clamped", Where::Between, None)], &[]),
        }
    }

    /// Adds the flows that it needs.
    pub(crate) fn set_up(self, world: &mut World) {
        let (span, middle) = (world.span, world.span / 2);
        let mark = |world: &mut World, flow: usize| world.flows[flow].marked = true;
        match self {
            Self::HostReset => {
                for number in 0..3 {
                    let flow = world.connection(1, 300_000 + number * 90_000, span, 60, 3 * MSS);
                    mark(world, flow);
                }
            }
            Self::PeerAbort | Self::GuestAbort => {
                for number in 0..2 {
                    let side = usize::from(self == Self::PeerAbort);
                    let flow = world.connection(side, 300_000, span, 60, 2 * MSS);
                    world.abort(flow, side, middle + number * 400_000);
                }
            }
            Self::UdpExpiry => {
                for number in 0..2 {
                    let flow = world.talk(false, 300_000 + number * 100_000, 5 * SECOND, 40);
                    for datagram in 0..4 {
                        let payload = world.random.bytes(180);
                        world.datagram(flow, 1, (128 + number) * SECOND + datagram * 700_000, payload);
                    }
                }
            }
            Self::UdpDropped => {
                let flow = world.talk(true, 300_000, span, 150);
                mark(world, flow);
            }
            Self::Rebinding => {
                let flow = world.talk(false, 300_000, 5 * SECOND, 40);
                mark(world, flow);
                for datagram in 0..20 {
                    for side in [0, 1] {
                        let payload = world.random.bytes(180);
                        let time = 130 * SECOND + datagram * 200_000 + side as u64 * 9_000;
                        world.datagram(flow, side, time, payload);
                    }
                }
            }
            Self::Bypass | Self::NotForwarded | Self::Unanswered => {
                for number in 0..8 {
                    let from = middle + number * 120_000;
                    let flow = world.connection(0, from, from + SECOND, 2, MSS);
                    mark(world, flow);
                }
            }
            Self::MtuNotRelayed | Self::MtuIgnored => {
                let flow = world.connection(0, 300_000, span, 20, 2 * MSS);
                mark(world, flow);
            }
            Self::EchoLimit => {
                let flow = world.flow(0);
                mark(world, flow);
                for number in 0..400 {
                    world.ping(flow, 300_000 + u64::from(number) * 20_000, number);
                }
            }
            Self::Dns => {
                for number in 0..10 {
                    let flow = world.question(middle + number * 150_000);
                    mark(world, flow);
                }
            }
            Self::LossOutside => {
                for _ in 0..3 {
                    world.connection(0, 300_000, span, 30, 6 * MSS);
                }
            }
            Self::LossInside | Self::Damaged | Self::Doubled => {
                for side in [0, 1, 0, 1] {
                    world.connection(side, 300_000, span, 30, 6 * MSS);
                }
            }
            Self::Nothing | Self::AllDropped | Self::GuestStall | Self::DscpWiped | Self::MssClamped => {}
        }
    }

    /// Until when the guest's packets are held.
    pub(crate) fn held_until(self, world: &World) -> Option<u64> {
        let middle = world.span / 2;
        let until = middle + SECOND * 3 / 2;
        (self == Self::GuestStall && (middle..until).contains(&world.now)).then_some(until)
    }

    /// What the host does before it translates: what is returned goes on.
    pub(crate) fn in_host(world: &mut World, packet: Packet) -> Option<Packet> {
        let middle = world.span / 2;
        let (marked, born) = (world.flows[packet.flow].marked, world.flows[packet.flow].born);
        let late = world.now >= middle;
        let dropped = match world.plan.fault {
            Self::HostReset => marked && late && Self::reset(world, &packet),
            Self::UdpDropped => marked && late && !packet.outbound,
            Self::MtuNotRelayed => !packet.outbound && matches!(packet.body, Body::Error { code: 4, .. }),
            Self::AllDropped => late && born > 0 && born < middle,
            Self::NotForwarded => marked,
            Self::EchoLimit => marked && packet.outbound && !Self::token(world),
            Self::Rebinding => {
                if marked && late && packet.outbound {
                    world.flows[packet.flow].outer = (OUTER, 21_000);
                }
                false
            }
            _ => false,
        };
        world.truth.struck += u64::from(dropped);
        (!dropped).then_some(packet)
    }

    /// The host has no entry for what comes in: it answers in its own name, until the guest speaks again.
    fn reset(world: &mut World, packet: &Packet) -> bool {
        let flow = &mut world.flows[packet.flow];
        if packet.outbound {
            // The entry is made anew, once and for all.
            flow.marked = !flow.forgotten;
            return false;
        }
        let Body::Tcp { ack, length, .. } = packet.body else { return false };
        flow.forgotten |= length > 0;
        if flow.forgotten {
            let (source, target) = (packet.target, packet.source);
            let body = Body::Tcp { seq: ack, ack: 0, flags: RST, length: 0, window: 0, mss: None };
            world.say(Packet { outbound: true, source, target, id: 0, ttl: 64, body, ..packet.clone() });
        }
        world.flows[packet.flow].forgotten
    }

    /// Takes a token out of the bucket of the echo limit, if there is one. The last entry of `passed` is the time until
    /// which tokens are spoken for.
    fn token(world: &mut World) -> bool {
        let taken = world.passed.last().copied().unwrap_or_default().max(world.now);
        let passes = taken < world.now + BURST * SECOND / LIMIT;
        if passes {
            world.passed.push(taken + SECOND / LIMIT);
        }
        passes
    }

    /// What happens behind the second point.
    pub(crate) fn beyond(world: &mut World, packet: Packet) -> Option<Packet> {
        let data = matches!(packet.body, Body::Tcp { length: 1.., .. });
        let lost = match world.plan.fault {
            Self::LossOutside => packet.outbound && data && world.random.happens(0.03),
            Self::LossInside => !packet.outbound && data && world.random.happens(0.03),
            // What is not translated is not answered.
            Self::Bypass => packet.outbound && packet.source.0 != OUTER,
            Self::MtuNotRelayed | Self::MtuIgnored => {
                let big = packet.outbound && world.flows[packet.flow].marked && packet.ip_length() > NARROW;
                if big {
                    world.too_big(&packet, NARROW as u16);
                }
                big
            }
            _ => false,
        };
        world.truth.struck += u64::from(lost);
        (!lost).then_some(packet)
    }

    /// The address that a flow gets instead of the host's.
    pub(crate) fn translation(self, flow: &Flow) -> Option<End> {
        (self == Self::Bypass && flow.marked).then_some(flow.guest)
    }

    /// What the host changes besides.
    pub(crate) fn rewrite(world: &mut World, packet: &mut Packet) {
        match (world.plan.fault, &mut packet.body) {
            (Self::Damaged, Body::Tcp { length: 1.., .. } | Body::Udp(_)) if packet.outbound => {
                packet.damaged = Self::each(world);
            }
            (Self::MssClamped, Body::Tcp { mss: Some(mss), flags, .. }) if *flags & SYN != 0 => *mss = 1360,
            (Self::DscpWiped, _) => packet.tos = 0,
            _ => {}
        }
    }

    /// Whether a packet leaves twice.
    pub(crate) fn doubles(world: &mut World, packet: &Packet) -> bool {
        let data = matches!(packet.body, Body::Tcp { length: 1.., flags: ACK, .. } | Body::Udp(_));
        world.plan.fault == Self::Doubled && packet.outbound && data && Self::each(world)
    }

    fn each(world: &mut World) -> bool {
        world.passed.push(world.now);
        let struck = world.passed.len().is_multiple_of(EACH);
        world.truth.struck += u64::from(struck);
        struck
    }

    /// The class of service that guests ask for.
    pub(crate) fn tos(self) -> u8 {
        // Expedited forwarding.
        if self == Self::DscpWiped { 0xb8 } else { 0 }
    }
}
