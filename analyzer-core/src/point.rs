//! Where a packet was seen, and which way it went.

use serde::{Deserialize, Serialize};

/// A capture point: one of the two places where tcpdump stood.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[repr(u8)]
pub enum Point {
    /// The inner point: the bridge or tap on the guest's side (`virbr0`).
    A = 0,
    /// The outer point: the uplink.
    B = 1,
}

impl Point {
    /// Both points, A first.
    pub const BOTH: [Self; 2] = [Self::A, Self::B];

    /// The point's place in an array of two.
    pub const fn index(self) -> usize {
        self as usize
    }

    /// The direction whose packets pass this point last.
    pub const fn leaving(self) -> Direction {
        match self {
            Self::A => Direction::Inbound,
            Self::B => Direction::Outbound,
        }
    }

    /// The point across the host.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }
}

/// The way a packet went: outbound is from A towards B.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[repr(u8)]
pub enum Direction {
    /// From A towards B: the guest speaks.
    Outbound = 0,
    /// From B towards A: the peer speaks.
    Inbound = 1,
}

impl Direction {
    /// Both directions, outbound first.
    pub const BOTH: [Self; 2] = [Self::Outbound, Self::Inbound];

    /// The direction's place in an array of two.
    pub const fn index(self) -> usize {
        self as usize
    }

    /// The opposite direction.
    #[must_use]
    pub const fn reverse(self) -> Self {
        match self {
            Self::Outbound => Self::Inbound,
            Self::Inbound => Self::Outbound,
        }
    }

    /// The point that a packet of this direction passes first.
    pub const fn entry(self) -> Point {
        match self {
            Self::Outbound => Point::A,
            Self::Inbound => Point::B,
        }
    }

    /// The point that a packet of this direction passes last.
    pub const fn exit(self) -> Point {
        self.entry().other()
    }
}
