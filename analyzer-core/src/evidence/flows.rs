//! Every flow pair in numbers.

use crate::align::clock::ClockMap;
use crate::detect::PairView;
use crate::packet::FlowKey;
use crate::point::{Direction, Point};
use crate::report::FlowName;
use crate::time::Time;
use std::ops::Deref;

/// A flow pair, or a flow of one point alone, in numbers.
#[derive(Clone, Debug, Default)]
pub struct FlowStats {
    /// Serial number, in the order in which flows began.
    pub serial: u32,
    /// Serial number of the flow that had the same inner name until its mapping changed.
    pub successor_of: Option<u32>,
    /// `tcp`, `udp`, `quic`, `icmp`, …
    pub protocol: &'static str,
    /// Its key by point, where it was seen.
    pub keys: [Option<FlowKey>; 2],
    /// By point: whether the higher end of the key is the inner one.
    pub inside_is_high: [bool; 2],
    /// By point: its first and its last packet there, on A's clock.
    pub seen: [Option<(Time, Time)>; 2],
    /// By direction and point.
    pub sides: [[Side; 2]; 2],
    /// Retransmissions by direction whose original passed one point and never the other.
    pub lost_between: [u32; 2],
    /// Bytes of those.
    pub lost_between_bytes: [u64; 2],
    /// Retransmissions by direction whose original crossed both points.
    pub lost_beyond: [u32; 2],
    /// TCP resets.
    pub resets: u32,
    /// ICMP errors about it.
    pub icmp_errors: u32,
}

/// One direction of a flow at one point. What few flows have reads as if it stood here, see [`Trouble`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Side {
    /// Packets.
    pub packets: u32,
    /// Packets found at the other point, whole or in parts.
    pub matched: u32,
    /// Bytes of the IP packets.
    pub bytes: u64,
    /// What few flows have: a box, since there may be as many flows as there is memory for.
    pub trouble: Option<Box<Trouble>>,
}

/// What few flows have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Trouble {
    /// Packets seen at this point only, while the other capture ran.
    pub unmatched: u32,
    /// Packets seen at this point only, outside the time that both captures cover.
    pub edge: u32,
    /// TCP segments whose bytes had all been seen here before.
    pub retransmissions: u32,
    /// Of these, of bytes that had been acknowledged.
    pub spurious: u32,
    /// Packets seen twice.
    pub duplicates: u32,
    /// Checksums that do not verify and are not left to offload.
    pub wrong_checksums: u32,
    /// Times that its sender closed the receive window.
    pub zero_windows: u32,
}

impl Deref for Side {
    type Target = Trouble;

    fn deref(&self) -> &Trouble {
        const NONE: &Trouble = &Trouble {
            unmatched: 0,
            edge: 0,
            retransmissions: 0,
            spurious: 0,
            duplicates: 0,
            wrong_checksums: 0,
            zero_windows: 0,
        };
        self.trouble.as_deref().unwrap_or(NONE)
    }
}

impl FlowStats {
    /// Of a flow; its times stay in the clock of their point until [`settle`](Self::settle).
    pub(crate) fn new(view: &PairView) -> Self {
        let facts = &view.facts;
        Self {
            serial: view.serial,
            successor_of: view.successor_of,
            protocol: view.protocol_name(),
            keys: [view.a, view.b],
            inside_is_high: view.inside_is_high,
            seen: Point::BOTH.map(|point| seen(view, point)),
            sides: Direction::BOTH.map(|direction| Point::BOTH.map(|point| side(view, direction, point))),
            lost_between: facts.lost_between,
            lost_between_bytes: facts.lost_between_bytes,
            lost_beyond: facts.lost_beyond,
            resets: facts.reset_count,
            icmp_errors: facts.icmp_count,
        }
    }

    /// Puts its times on A's clock, once that is known.
    pub(crate) fn settle(&mut self, clock: &ClockMap) {
        for point in Point::BOTH {
            let seen = &mut self.seen[point.index()];
            *seen = seen.map(|(first, last)| (clock.to_a(point, first.0), clock.to_a(point, last.0)));
        }
    }

    /// Its names.
    pub fn name(&self) -> FlowName {
        let name =
            |point: Point| self.keys[point.index()].as_ref().map(|key| key.name(self.inside_is_high[point.index()]));
        FlowName { a: name(Point::A), b: name(Point::B), protocol: self.protocol }
    }

    /// One direction at one point.
    pub fn side(&self, direction: Direction, point: Point) -> &Side {
        &self.sides[direction.index()][point.index()]
    }

    /// First packet at either point, on A's clock.
    pub fn first(&self) -> Option<Time> {
        self.seen.iter().flatten().map(|seen| seen.0).min()
    }

    /// Last packet at either point, on A's clock.
    pub fn last(&self) -> Option<Time> {
        self.seen.iter().flatten().map(|seen| seen.1).max()
    }
}

/// First and last packet at a point, in its clock.
fn seen(view: &PairView, point: Point) -> Option<(Time, Time)> {
    let times = Direction::BOTH.into_iter().filter_map(|direction| {
        let first = view.facts.first[direction.index()][point.index()];
        let last = view.track(direction, point).last().filter(|_| first.frame > 0)?;
        Some((Time(first.time), Time(last.time)))
    });
    times.reduce(|one, other| (one.0.min(other.0), one.1.max(other.1)))
}

fn side(view: &PairView, direction: Direction, point: Point) -> Side {
    let track = view.track(direction, point);
    let trouble = view.more(direction, point).map(|more| Trouble {
        unmatched: more.unmatched,
        edge: more.edge,
        retransmissions: more.retransmissions,
        spurious: more.spurious,
        duplicates: more.duplicates,
        wrong_checksums: more.wrong,
        zero_windows: more.zero_windows,
    });
    Side {
        packets: track.packets,
        matched: track.matched,
        bytes: track.bytes,
        trouble: trouble.filter(|trouble| *trouble != Trouble::default()).map(Box::new),
    }
}
