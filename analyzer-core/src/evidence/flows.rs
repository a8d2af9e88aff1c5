//! Every flow pair in numbers.

use crate::align::clock::ClockMap;
use crate::detect::PairView;
use crate::packet::FlowKey;
use crate::point::{Direction, Point};
use crate::report::FlowName;
use crate::time::Time;

/// A flow pair, or a flow of one point alone, in numbers.
#[derive(Clone, Debug, Default)]
pub struct FlowStats {
    /// Serial number, in the order in which flows began.
    pub serial: u32,
    /// Serial number of the flow that had the same inner name until its mapping changed.
    pub successor_of: Option<u32>,
    /// Its names.
    pub name: FlowName,
    /// Its key by point, where it was seen.
    pub keys: [Option<FlowKey>; 2],
    /// By point: whether the higher end of the key is the inner one.
    pub inside_is_high: [bool; 2],
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

/// One direction of a flow at one point.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Side {
    /// Packets.
    pub packets: u64,
    /// Bytes of the IP packets.
    pub bytes: u64,
    /// Packets found at the other point, whole or in parts.
    pub matched: u64,
    /// Packets seen at this point only, while the other capture ran.
    pub unmatched: u64,
    /// Packets seen at this point only, outside the time that both captures cover.
    pub edge: u64,
    /// TCP segments whose bytes had all been seen here before.
    pub retransmissions: u64,
    /// Of these, of bytes that had been acknowledged.
    pub spurious: u64,
    /// Packets seen twice.
    pub duplicates: u64,
    /// Checksums that do not verify and are not left to offload.
    pub wrong_checksums: u64,
    /// Times that its sender closed the receive window.
    pub zero_windows: u64,
    /// First packet, on A's clock.
    pub first: Option<Time>,
    /// Last packet, on A's clock.
    pub last: Option<Time>,
}

impl FlowStats {
    /// Of a flow; its times stay in the clock of their point until [`settle`](Self::settle).
    pub(crate) fn new(view: &PairView) -> Self {
        let facts = &view.facts;
        Self {
            serial: view.serial,
            successor_of: view.successor_of,
            name: view.name(),
            keys: [view.a, view.b],
            inside_is_high: view.inside_is_high,
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
            for direction in Direction::BOTH {
                let side = &mut self.sides[direction.index()][point.index()];
                side.first = side.first.map(|time| clock.to_a(point, time.0));
                side.last = side.last.map(|time| clock.to_a(point, time.0));
            }
        }
    }

    /// One direction at one point.
    pub fn side(&self, direction: Direction, point: Point) -> &Side {
        &self.sides[direction.index()][point.index()]
    }

    /// First packet at either point, on A's clock.
    pub fn first(&self) -> Option<Time> {
        self.sides.iter().flatten().filter_map(|side| side.first).min()
    }

    /// Last packet at either point, on A's clock.
    pub fn last(&self) -> Option<Time> {
        self.sides.iter().flatten().filter_map(|side| side.last).max()
    }
}

fn side(view: &PairView, direction: Direction, point: Point) -> Side {
    let track = view.track(direction, point);
    let first = view.facts.first[direction.index()][point.index()];
    let mut side = Side {
        packets: track.packets.into(),
        bytes: track.bytes,
        matched: track.matched.into(),
        first: (first.frame > 0).then_some(Time(first.time)),
        last: track.last().map(|stamp| Time(stamp.time)),
        ..Side::default()
    };
    if let Some(more) = view.more(direction, point) {
        side.unmatched = more.unmatched.into();
        side.edge = more.edge.into();
        side.retransmissions = more.retransmissions.into();
        side.spurious = more.spurious.into();
        side.duplicates = more.duplicates.into();
        side.wrong_checksums = more.wrong.into();
        side.zero_windows = more.zero_windows.into();
    }
    side
}
