//! Rare events, kept with a bound: when a list is full, every other entry goes and from then on every other event is kept.

use rayon::prelude::*;

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
#[non_exhaustive]
pub enum EventKind {
    /// A packet was seen at this point only. `a`: its number in its track; `b`: bytes of the track before it.
    Unmatched,
    /// A retransmission whose original passed this point and not the other. `a`: bytes.
    LostBetween,
    /// A retransmission whose original crossed both points. `a`: bytes; `b`: 1 when it was not needed (D-SACK, already
    /// acknowledged).
    LostBeyond,
    /// A checksum that does not verify and is not partial. `a`: 3 for the IP header, 4 for the transport; `b`: the
    /// [`Fate`](super::Fate) at the other point, as a number.
    WrongChecksum,
    /// The same range with other bytes at the other point. `a`: bytes.
    PayloadDiffers,
    /// DSCP or ECN differ between the points. `a`: TOS at A; `b`: TOS at B.
    TosDiffers,
    /// Seen at B in another order than at A.
    Reordered,
    /// The same packet again at the point that its direction passes last. `a`: frame of the first copy.
    Duplicate,
    /// The receiver closed its window.
    ZeroWindow,
    /// The same packet, IP identification and all, crossed both points once more. `a`: frame of the earlier one at the point
    /// that the direction passes last.
    CrossedAgain,
}

/// Number of event kinds.
const KINDS: usize = EventKind::CrossedAgain as usize + 1;

/// One event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Event {
    /// Time in the clock of the point.
    pub time: i64,
    /// Serial number of the flow pair.
    pub pair: u32,
    /// Frame at the point.
    pub frame: u32,
    /// Frame at the other point, 0 when there is none.
    pub other_frame: u32,
    /// Length of the IP packet.
    pub size: u32,
    /// 0 for A, 1 for B.
    pub point: u8,
    /// 0 outbound, 1 inbound.
    pub direction: u8,
    /// IP protocol.
    pub protocol: u8,
    /// TCP flags.
    pub flags: u8,
    /// See [`EventKind`].
    pub a: u64,
    /// See [`EventKind`].
    pub b: u64,
}

/// A list that thins itself when it is full: what stays is spread evenly over what came, and the count is exact.
#[derive(Clone, Debug)]
pub struct Thinned<T> {
    items: Vec<T>,
    /// Only each `stride`-th is kept; a power of two.
    stride: u64,
    /// How many came.
    pub count: u64,
}

/// Most entries kept in one list.
const CAPACITY: usize = 2048;

impl<T> Default for Thinned<T> {
    fn default() -> Self {
        Self { items: Vec::new(), stride: 1, count: 0 }
    }
}

impl<T> Thinned<T> {
    /// Adds one.
    pub fn push(&mut self, item: T) {
        if self.is_next() {
            if self.items.len() == CAPACITY {
                let mut index = 0;
                self.items.retain(|_| {
                    index += 1;
                    index % 2 == 1
                });
                self.stride *= 2;
            }
            if self.is_next() {
                self.items.push(item);
            }
        }
        self.count += 1;
    }

    /// Whether the one that comes now is kept.
    fn is_next(&self) -> bool {
        self.count & (self.stride - 1) == 0
    }

    /// What was kept.
    pub fn items(&self) -> &[T] {
        &self.items
    }

    /// Whether all that came was kept.
    pub fn complete(&self) -> bool {
        self.stride == 1
    }
}

/// Events by kind, point and direction.
#[derive(Clone, Debug)]
pub struct Events {
    lists: Vec<Thinned<Event>>,
}

impl Default for Events {
    fn default() -> Self {
        Self { lists: (0..KINDS * 4).map(|_| Thinned::default()).collect() }
    }
}

impl Events {
    /// Records an event.
    #[cold]
    pub fn push(&mut self, kind: EventKind, event: Event) {
        let index = kind as usize * 4 + event.point as usize * 2 + event.direction as usize;
        self.lists[index].push(event);
    }

    /// The list of a kind at a point in a direction.
    pub fn list(&self, kind: EventKind, point: usize, direction: usize) -> &Thinned<Event> {
        &self.lists[kind as usize * 4 + point * 2 + direction]
    }
}

/// The events of all shards, in order of time and by pair: what detectors ask.
#[derive(Debug, Default)]
pub struct EventIndex {
    lists: Vec<Sorted>,
}

#[derive(Debug, Default)]
struct Sorted {
    by_time: Vec<Event>,
    by_pair: Vec<Event>,
    /// Pairs, and where their events begin in `by_pair`: far fewer bytes to look through.
    starts: Vec<(u32, u32)>,
    count: u64,
}

impl EventIndex {
    /// Sorts the events of all shards.
    pub fn new(mut shards: Vec<Events>) -> Self {
        let parts = |list| shards.iter_mut().map(|shard| std::mem::take(&mut shard.lists[list])).collect();
        let lists: Vec<Vec<Thinned<Event>>> = (0..KINDS * 4).map(parts).collect();
        let sort = |parts: Vec<Thinned<Event>>| {
            let mut by_time: Vec<Event> = parts.iter().flat_map(|part| part.items().iter().copied()).collect();
            let count = parts.iter().map(|part| part.count).sum();
            // Each list is given up as soon as it has been copied.
            drop(parts);
            // The list of each shard is nearly in order.
            by_time.sort_by_key(|event| (event.time, event.frame, event.pair));
            let mut order: Vec<(u32, u32)> = by_time.iter().map(|event| event.pair).zip(0..).collect();
            order.sort_unstable();
            let by_pair = order.iter().map(|&(_, index)| by_time[index as usize]).collect();
            let mut starts: Vec<(u32, u32)> = order.into_iter().map(|(pair, _)| pair).zip(0..).collect();
            starts.dedup_by_key(|(pair, _)| *pair);
            Sorted { by_time, by_pair, starts, count }
        };
        let lists = lists.into_par_iter().with_max_len(1).map(sort).collect();
        Self { lists }
    }

    fn list(&self, kind: EventKind, point: usize, direction: usize) -> Option<&Sorted> {
        self.lists.get(kind as usize * 4 + point * 2 + direction)
    }

    /// Events of a kind at a point in a direction, by time.
    pub fn all(&self, kind: EventKind, point: usize, direction: usize) -> &[Event] {
        self.list(kind, point, direction).map_or(&[], |list| &list.by_time)
    }

    /// The events of one pair among them, by time.
    pub fn of_pair(&self, kind: EventKind, point: usize, direction: usize, pair: u32) -> &[Event] {
        let Some(list) = self.list(kind, point, direction) else { return &[] };
        let Ok(place) = list.starts.binary_search_by_key(&pair, |(pair, _)| *pair) else { return &[] };
        let start = list.starts[place].1 as usize;
        let end = list.starts.get(place + 1).map_or(list.by_pair.len(), |(_, start)| *start as usize);
        &list.by_pair[start..end]
    }

    /// Events of a kind at a point in a direction, by pair, and of each by time.
    pub fn by_pair(&self, kind: EventKind, point: usize, direction: usize) -> &[Event] {
        self.list(kind, point, direction).map_or(&[], |list| &list.by_pair)
    }

    /// How many there were; more than are kept when there were very many.
    pub fn count(&self, kind: EventKind, point: usize, direction: usize) -> u64 {
        self.list(kind, point, direction).map_or(0, |list| list.count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_list_thins_evenly_and_counts_exactly() {
        let mut list = Thinned::default();
        for n in 0..CAPACITY as u64 * 3 {
            list.push(n);
        }
        assert_eq!(list.count, CAPACITY as u64 * 3);
        assert!(!list.complete());
        assert!(list.items().len() <= CAPACITY);
        let steps: Vec<u64> = list.items().windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert!(steps.iter().all(|&step| step == steps[0]), "even spacing");
    }
}
