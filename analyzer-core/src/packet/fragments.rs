//! Remembers which flow a fragmented datagram belongs to: only its first fragment has ports.
//!
//! Bounded in number and in age (RFC 791, section 3.2 suggests 15 s for reassembly, Linux uses 30 s), because a datagram whose
//! rest never comes would otherwise stay for ever, and identifications are used again.

use std::collections::{HashMap, VecDeque};

use super::key::FlowKey;

/// Datagrams remembered at most.
const CAPACITY: usize = 4096;
/// How long a datagram is remembered, nanoseconds of capture time (`net.ipv4.ipfrag_time`).
const MAX_AGE: i64 = 30_000_000_000;

/// What names a datagram: RFC 791, section 2.3; RFC 8200, section 4.5.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Name {
    /// Source address.
    pub(super) source: u128,
    /// Destination address.
    pub(super) destination: u128,
    /// Identification.
    pub(super) id: u32,
    /// Protocol.
    pub(super) protocol: u8,
}

#[derive(Clone, Copy, Debug)]
struct Known {
    time: i64,
    key: FlowKey,
    from_high: bool,
}

/// The table. Every entry of `known` has its name in `order`, so the latter's length bounds both.
#[derive(Debug, Default)]
pub(super) struct Fragments {
    known: HashMap<Name, Known>,
    order: VecDeque<(i64, Name)>,
}

impl Fragments {
    /// Remembers the flow of the datagram whose first fragment came at `time`.
    pub(super) fn learn(&mut self, name: Name, time: i64, key: FlowKey, from_high: bool) {
        while let Some((learnt, _)) = self.order.front() {
            if self.order.len() < CAPACITY && time.saturating_sub(*learnt) <= MAX_AGE {
                break;
            }
            self.forget_oldest();
        }
        self.known.insert(name, Known { time, key, from_high });
        self.order.push_back((time, name));
    }

    /// The flow of a datagram, and whether its sender is the high end.
    pub(super) fn find(&self, name: Name, time: i64) -> Option<(FlowKey, bool)> {
        let known = self.known.get(&name)?;
        // Captures may run backwards a little, so age is a distance.
        (time.abs_diff(known.time) <= MAX_AGE.unsigned_abs()).then_some((known.key, known.from_high))
    }

    fn forget_oldest(&mut self) {
        let Some((time, name)) = self.order.pop_front() else { return };
        // A later use of the same name has its own place in the order.
        if self.known.get(&name).is_some_and(|known| known.time == time) {
            self.known.remove(&name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000_000;

    fn name(id: u32) -> Name {
        Name { source: 1, destination: 2, id, protocol: 17 }
    }

    #[test]
    fn forgets_after_thirty_seconds() {
        let mut table = Fragments::default();
        table.learn(name(7), 0, FlowKey::default(), true);
        assert_eq!(table.find(name(7), 30 * SECOND), Some((FlowKey::default(), true)));
        assert_eq!(table.find(name(7), 31 * SECOND), None);
        table.learn(name(8), 31 * SECOND, FlowKey::default(), false);
        assert_eq!(table.known.len(), 1);
    }

    #[test]
    fn never_holds_more_than_its_capacity() {
        let mut table = Fragments::default();
        for id in 0..3 * CAPACITY as u32 {
            table.learn(name(id % 5000), 0, FlowKey::default(), false);
        }
        assert!(table.order.len() <= CAPACITY);
        assert!(table.known.len() <= CAPACITY);
    }

    #[test]
    fn a_name_used_again_outlives_its_first_use() {
        let mut table = Fragments::default();
        table.learn(name(1), 0, FlowKey::default(), false);
        table.learn(name(1), 20 * SECOND, FlowKey::default(), true);
        table.learn(name(2), 40 * SECOND, FlowKey::default(), false);
        assert_eq!(table.find(name(1), 40 * SECOND), Some((FlowKey::default(), true)));
    }
}
