//! How much may be kept of what grows with the traffic, for a limit of memory; and what was given up for it.
//!
//! The costs are of this program's own structures, measured; what does not grow (buffers, windows, the binary) is taken off
//! first.

/// Memory that a limit leaves when the caller sets none: 1 GiB.
const USUAL: u64 = 1 << 30;
/// Windows, read buffers, keys of flows that look for their partner, the binary (measured: 20 to 30 MiB).
const FIXED: u64 = 32 << 20;
/// The smallest limit that can be kept.
const LEAST: u64 = 64 << 20;
/// A live flow pair: tracks and facts, the flow at both points, its places in their tables, and what the report makes of it;
/// in a flood the rare facts of a lost packet, too (measured there: 76,000 of them in 200 MiB).
const PAIR: u64 = 1536;
/// A flow that is over and that a detector may want, and what detectors say of it.
const FINISHED: u64 = 4096;
/// A flow in numbers, with its names.
const LISTED: u64 = 1024;
/// A packet that waits for its copy.
const WAITING: u64 = 128;
/// A packet whose flow waits for its partner.
const HELD: u64 = 112;

/// A packet that the look for clock steps remembers: its place in a table that doubles, at both points, and as a sample.
const SURVEYED: u64 = 192;

/// Most of each thing that is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// Live flow pairs.
    pub pairs: usize,
    /// Flows that are over.
    pub finished: usize,
    /// Flows in numbers.
    pub listed: usize,
    /// Packets that wait for their copy.
    pub waiting: usize,
    /// Packets of flows without a partner, at each point.
    pub held: usize,
    /// Packets remembered at each point while a clock is suspected of having been set: after the reading, when none is held.
    pub surveyed: usize,
    /// Bytes of the busier capture in a window.
    pub window: u64,
}

impl Room {
    /// What a limit of so many bytes leaves room for: half of it for live flows, a quarter for those that are over, the rest
    /// for packets between the points and numbers.
    pub fn new(limit: Option<u64>) -> Self {
        let limit = limit.unwrap_or(USUAL).max(LEAST);
        let left = limit - FIXED;
        let room = |share: u64, cost: u64, most: u64| (left / share / cost).min(most) as usize;
        Self {
            pairs: room(2, PAIR, 1 << 28),
            finished: room(4, FINISHED, 50_000),
            listed: room(8, LISTED, 200_000),
            waiting: room(16, WAITING, 512 * 1024),
            held: room(32, HELD, 128 * 1024),
            surveyed: room(16, SURVEYED, 256 * 1024),
            // New flows of one window come on top of the others before any can go.
            window: (limit / 128).clamp(256 << 10, 4 << 20),
        }
    }
}

/// What went because there was no room for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GivenUp {
    /// Live flows that were taken for over.
    pub flows: u64,
    /// Packets that could not wait for as long as their copies take.
    pub packets: u64,
    /// Flows that were over and that a detector might have wanted.
    pub finished: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_fits_into_the_limit() {
        for limit in [64 << 20, 256 << 20, 1 << 30, 16 << 30] {
            let room = Room::new(Some(limit));
            let sum = room.pairs as u64 * PAIR
                + room.finished as u64 * FINISHED
                + room.listed as u64 * LISTED
                + room.waiting as u64 * WAITING
                + room.held as u64 * 2 * HELD;
            assert!(FIXED + sum <= limit, "{limit}: {room:?}");
            assert!(room.surveyed as u64 * SURVEYED <= (limit - FIXED) / 16, "{limit}: {room:?}");
        }
    }

    #[test]
    fn the_usual_limit_holds_what_a_gateway_sees() {
        // Most connections that Linux tracks unasked (nf_conntrack_max, with 4 GiB of memory or more).
        const TRACKED: usize = 262_144;
        let room = Room::new(None);
        assert!(room.pairs > TRACKED && room.finished == 50_000 && room.waiting > 400_000, "{room:?}");
        assert_eq!(room.window, 4 << 20);
    }
}
