//! Rows that wait: for a window that is yet to come, or for rows that stand behind them in the file and belong before them.
//!
//! A row stays where it was decoded; what is put in order are small places that name it. Rows that come in order cost
//! nothing but their place. Where some came late, those that can be taken are spread over short stretches of time, in which
//! hardly any stands beside another, so that each is moved once.

use crate::packet::{FlowKey, Row};
use crate::time::MILLISECOND;

/// How far records may stand from the order of their times: the queues of a network card and merged captures are within it
/// (measured: some milliseconds).
pub(super) const DISORDER: i64 = 10 * MILLISECOND;
/// The disorder of a capture is taken for so many times the largest seen so far: a larger one costs a sort.
const MARGIN: i64 = 4;
/// Least disorder that a capture is read with once it showed some.
const LEAST: i64 = MILLISECOND / 10;
/// Most stretches of time that places are spread over.
const STRETCHES: usize = 1 << 12;
/// Steps that a place may take on average within its stretch; where many crowd into few, sorting by comparison is quicker.
const STEPS: usize = 8;

/// Where a row stands, and when.
#[derive(Clone, Copy, Debug)]
struct Place {
    /// Counts the times that the clock was set back: what came before stays before.
    era: u32,
    slot: u32,
    time: i64,
}

/// Sorts places that stand nearly in order: by the stretch of time that each belongs to, then those of a stretch.
#[derive(Debug, Default)]
struct Spread {
    places: Vec<Place>,
    sorted: Vec<Place>,
    /// By stretch, where its next place goes.
    next: Vec<u32>,
}

impl Spread {
    /// The places by time, those of one time as they came; none is before `from`.
    fn sort(&mut self, from: i64) -> &[Place] {
        let Self { places, sorted, next } = self;
        let to = places.iter().map(|place| place.time).max().unwrap_or(from);
        let stretches = places.len().next_power_of_two().min(STRETCHES);
        let length =
            (u64::BITS - to.abs_diff(from).leading_zeros()).saturating_sub(stretches.ilog2()).min(u64::BITS - 1);
        let stretch = |place: &Place| (place.time.wrapping_sub(from) as u64 >> length) as usize & (stretches - 1);
        next.clear();
        next.resize(stretches, 0);
        for place in &*places {
            next[stretch(place)] += 1;
        }
        let mut sum = 0;
        for next in &mut *next {
            sum += std::mem::replace(next, sum);
        }
        sorted.clone_from(places);
        for place in &*places {
            let next = &mut next[stretch(place)];
            sorted[*next as usize] = *place;
            *next += 1;
        }
        let (mut latest, mut steps) = (i64::MIN, 0);
        for index in 0..sorted.len() {
            let place = sorted[index];
            if place.time >= latest {
                latest = place.time;
                continue;
            }
            let at = index - sorted[..index].iter().rev().take_while(|other| other.time > place.time).count();
            sorted.copy_within(at..index, at + 1);
            sorted[at] = place;
            steps += index - at;
            if steps > STEPS * sorted.len() {
                sorted.sort_by_key(|place| place.time);
                break;
            }
        }
        sorted
    }
}

/// Rows in the order of their times.
#[derive(Debug, Default)]
pub(super) struct Queue {
    rows: Vec<Row>,
    keys: Vec<FlowKey>,
    /// Hashes of the keys.
    prints: Vec<u64>,
    free: Vec<u32>,
    /// In the order of the file; once they are sorted, in that of their times.
    places: Vec<Place>,
    /// Puts those that can be taken in order.
    spread: Spread,
    /// Whether the places are not in order.
    unsorted: bool,
    /// Earliest time among places that may not be in order.
    earliest: i64,
    era: u32,
    /// Latest time of the era.
    newest: i64,
    /// The largest disorder seen.
    worst: i64,
    /// How far back a row may belong; 0 as long as all came in order.
    slack: i64,
}

impl Queue {
    /// Where to decode the next row to; [`push`](Self::push) puts it in its place.
    #[inline]
    pub(super) fn room(&mut self) -> (u32, &mut Row, &mut FlowKey) {
        let slot = if let Some(slot) = self.free.pop() {
            slot as usize
        } else {
            self.rows.push(Row::default());
            self.keys.push(FlowKey::default());
            self.prints.push(0);
            self.rows.len() - 1
        };
        (slot as u32, &mut self.rows[slot], &mut self.keys[slot])
    }

    /// Puts the row that was decoded to a slot, with the hash of its key, behind those that wait, even if it is a little older. A
    /// clock that was set back is no disorder.
    #[inline]
    pub(super) fn push(&mut self, slot: u32, print: u64) {
        self.prints[slot as usize] = print;
        let time = self.rows[slot as usize].time;
        if self.places.is_empty() {
            self.earliest = time;
        }
        // Whether a row is a little late is a coin's toss to the branch predictor, so that nothing is decided by it.
        let by = self.newest.saturating_sub(time);
        if by > self.worst {
            self.push_late(time, by);
        }
        self.unsorted |= time < self.newest;
        self.earliest = self.earliest.min(time);
        self.newest = self.newest.max(time);
        self.places.push(Place { era: self.era, slot, time });
    }

    /// A row to be pushed is out of order as none before it was, or the clock was set back.
    #[cold]
    fn push_late(&mut self, time: i64, by: i64) {
        if by > DISORDER {
            self.era += 1;
            self.newest = time;
        } else {
            self.late(by);
        }
    }

    /// A row came this much too late.
    pub(super) fn late(&mut self, by: i64) {
        self.worst = self.worst.max(by);
        self.slack = self.slack.max(by.saturating_mul(MARGIN).clamp(LEAST, DISORDER));
    }

    /// How far back a row may belong; 0 as long as all came in order.
    pub(super) fn slack(&self) -> i64 {
        self.slack
    }

    /// Time that no row to come is expected to lie before.
    pub(super) fn settled(&self) -> i64 {
        self.newest.saturating_sub(self.slack)
    }

    /// Time of the latest row, since the clock was set back last.
    pub(super) fn newest(&self) -> i64 {
        self.newest
    }

    /// Time of the first row, once they have been [put in order](Self::put_in_order).
    pub(super) fn first_time(&self) -> Option<i64> {
        self.places.first().map(|place| place.time)
    }

    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Takes rows from the front into `taken`: those before `until`, but of the time since the clock was set back last only
    /// those before `border`. Their slots go back to the queue with [`give_back`](Self::give_back).
    pub(super) fn take(&mut self, until: i64, border: i64, taken: &mut Vec<u32>) {
        let border = border.min(until);
        if self.unsorted {
            let Some(first) = self.places.first() else { return };
            // Of one era, all that can be taken come before all others: only they need to be put in order now.
            if first.era == self.era {
                self.take_unsorted(border, taken);
                return;
            }
            self.sort();
        }
        let era = self.era;
        let ready = |place: &Place| place.time < if place.era == era { border } else { until };
        let count = self.places.iter().take_while(|place| ready(place)).count();
        taken.extend(self.places.drain(..count).map(|place| place.slot));
        self.earliest = self.places.first().map_or(i64::MAX, |place| place.time);
    }

    /// Takes the rows before `border`, in order, out of places of one era that are in none.
    fn take_unsorted(&mut self, border: i64, taken: &mut Vec<u32>) {
        if self.earliest >= border {
            return;
        }
        let mut earliest = i64::MAX;
        let ready = &mut self.spread.places;
        ready.clear();
        self.places.retain(|place| {
            let stays = place.time >= border;
            if stays {
                earliest = earliest.min(place.time);
            } else {
                ready.push(*place);
            }
            stays
        });
        taken.extend(self.spread.sort(self.earliest).iter().map(|place| place.slot));
        self.earliest = earliest;
        self.unsorted = !self.places.is_empty();
    }

    /// Puts all places in order.
    fn sort(&mut self) {
        self.places.sort_by_key(|place| (place.era, place.time));
        self.unsorted = false;
    }

    /// The slots of rows that were taken may hold others.
    pub(super) fn give_back(&mut self, taken: &mut Vec<u32>) {
        self.free.append(taken);
    }

    /// The rows that slots name, their keys and the hashes of those.
    pub(super) fn slots_mut(&mut self) -> (&mut [Row], &[FlowKey], &[u64]) {
        (&mut self.rows, &self.keys, &self.prints)
    }

    /// Puts all rows in order.
    pub(super) fn put_in_order(&mut self) {
        if self.unsorted {
            self.sort();
        }
    }

    /// The rows, once they have been [put in order](Self::put_in_order).
    pub(super) fn iter(&self) -> impl Iterator<Item = (&Row, &FlowKey)> {
        self.places.iter().map(|place| (&self.rows[place.slot as usize], &self.keys[place.slot as usize]))
    }

    /// Shows each row that waits, to be changed.
    pub(super) fn for_each(&mut self, mut change: impl FnMut(&mut Row)) {
        for place in &self.places {
            change(&mut self.rows[place.slot as usize]);
        }
    }

    /// Keeps only rows of a time.
    pub(super) fn retain(&mut self, from: i64, to: i64) {
        let free = &mut self.free;
        self.places.retain(|place| {
            let keep = place.time >= from && place.time < to;
            if !keep {
                free.push(place.slot);
            }
            keep
        });
    }

    /// Moves the rows that wait together, where there is room for so many more than wait: as after a look ahead.
    pub(super) fn compact(&mut self, spare: usize) {
        if self.free.len() <= spare.max(self.places.len()) {
            return;
        }
        let mut rows = Vec::with_capacity(spare);
        let mut keys = Vec::with_capacity(spare);
        let mut prints = Vec::with_capacity(spare);
        for place in &mut self.places {
            rows.push(self.rows[place.slot as usize]);
            keys.push(self.keys[place.slot as usize]);
            prints.push(self.prints[place.slot as usize]);
            place.slot = (rows.len() - 1) as u32;
        }
        (self.rows, self.keys, self.prints, self.free) = (rows, keys, prints, Vec::new());
    }

    /// Frees the memory, when nothing waits.
    pub(super) fn shrink(&mut self) {
        if self.is_empty() {
            *self = Self { slack: self.slack, era: self.era, newest: self.newest, ..Self::default() };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn push(queue: &mut Queue, frame: u32, time: i64) {
        let (slot, row, _) = queue.room();
        *row = Row { time, frame, ..Row::default() };
        queue.push(slot, 0);
    }

    fn take(queue: &mut Queue, until: i64, border: i64) -> Vec<(i64, u32)> {
        let mut taken = Vec::new();
        queue.take(until, border, &mut taken);
        let rows = taken.iter().map(|slot| &queue.rows[*slot as usize]).map(|row| (row.time, row.frame)).collect();
        queue.give_back(&mut taken);
        rows
    }

    proptest! {
        /// Whatever the disorder, rows leave in a stable order of time, and none is lost or doubled.
        #[test]
        fn leaves_in_order(times in prop::collection::vec(0..DISORDER, 1..400), chunk in 1_usize..50) {
            let mut queue = Queue::default();
            let mut out = Vec::new();
            for (number, times) in times.chunks(chunk).enumerate() {
                for (index, time) in times.iter().enumerate() {
                    push(&mut queue, (number * chunk + index) as u32, *time);
                }
                let settled = queue.newest().saturating_sub(DISORDER);
                out.extend(take(&mut queue, i64::MAX, settled));
            }
            out.extend(take(&mut queue, i64::MAX, i64::MAX));
            let mut sorted: Vec<(i64, u32)> = times.iter().enumerate().map(|(n, time)| (*time, n as u32)).collect();
            sorted.sort_by_key(|row| row.0);
            prop_assert_eq!(out, sorted);
        }
    }

    #[test]
    fn a_clock_that_is_set_back_keeps_the_order_of_the_file() {
        let mut queue = Queue::default();
        for (frame, time) in [(1, 100 * DISORDER), (2, 5), (3, 3), (4, 100 * DISORDER)] {
            push(&mut queue, frame, time);
        }
        assert_eq!(take(&mut queue, 100 * DISORDER, i64::MAX), [], "the first one bars the way");
        let frames: Vec<u32> = take(&mut queue, i64::MAX, 0).iter().map(|row| row.1).collect();
        assert_eq!(frames, [1], "what came before the clock was set back does not wait for the new border");
        let frames: Vec<u32> = take(&mut queue, i64::MAX, i64::MAX).iter().map(|row| row.1).collect();
        assert_eq!(frames, [3, 2, 4]);
    }

    #[test]
    fn what_waits_stays_when_room_is_given_back() {
        let mut queue = Queue::default();
        for frame in 1..=100 {
            push(&mut queue, frame, i64::from(frame));
        }
        assert_eq!(take(&mut queue, 98, i64::MAX).len(), 97);
        queue.compact(10);
        assert_eq!(queue.rows.len(), 3);
        push(&mut queue, 101, 99);
        assert_eq!(take(&mut queue, i64::MAX, i64::MAX), [(98, 98), (99, 99), (99, 101), (100, 100)]);
    }

    #[test]
    fn the_slack_follows_the_disorder() {
        let mut queue = Queue::default();
        queue.late(20_000);
        assert_eq!(queue.slack(), LEAST);
        queue.late(90_000);
        assert_eq!(queue.slack(), 360_000);
        queue.late(8 * MILLISECOND);
        assert_eq!(queue.slack(), DISORDER);
    }
}
