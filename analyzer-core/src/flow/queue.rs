//! Rows that wait: for a window that is yet to come, or for rows that stand behind them in the file and belong before them.
//!
//! A row stays where it was decoded; what is put in order are small places that name it. Rows that come in order cost
//! nothing but their place, and a row that comes some places late moves as many of those.

use crate::packet::{FlowKey, Row};
use crate::time::MILLISECOND;

/// How far records may stand from the order of their times: the queues of a network card and merged captures are within it
/// (measured: some milliseconds).
pub(super) const DISORDER: i64 = 10 * MILLISECOND;
/// The disorder of a capture is taken for so many times the largest seen so far: a larger one costs a sort.
const MARGIN: i64 = 4;
/// Least disorder that a capture is read with once it showed some.
const LEAST: i64 = MILLISECOND / 10;
/// Places that a late row moves up at once; from there on all are sorted when they are needed.
const STEPS: usize = 64;

/// Where a row stands, and when.
#[derive(Clone, Copy, Debug)]
struct Place {
    /// Counts the times that the clock was set back: what came before stays before.
    era: u32,
    slot: u32,
    time: i64,
}

/// Rows in the order of their times.
#[derive(Debug, Default)]
pub(super) struct Queue {
    rows: Vec<Row>,
    keys: Vec<FlowKey>,
    free: Vec<u32>,
    places: Vec<Place>,
    /// Whether the places are not in order.
    unsorted: bool,
    /// Earliest time among places that may not be in order.
    earliest: i64,
    era: u32,
    /// Latest time of the era.
    newest: i64,
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
            self.rows.len() - 1
        };
        (slot as u32, &mut self.rows[slot], &mut self.keys[slot])
    }

    /// Puts the row that was decoded to a slot before those that are a little younger. A clock that was set back is no
    /// disorder.
    #[inline]
    pub(super) fn push(&mut self, slot: u32) {
        let time = self.rows[slot as usize].time;
        if self.places.is_empty() {
            self.earliest = time;
        }
        if time >= self.newest || self.newest.saturating_sub(time) > DISORDER {
            self.era += u32::from(time < self.newest);
            self.newest = time;
            self.places.push(Place { era: self.era, slot, time });
            return;
        }
        self.late(self.newest - time);
        self.earliest = self.earliest.min(time);
        let first = self.places.len().saturating_sub(STEPS);
        let stands = |place: &Place| place.era != self.era || place.time <= time;
        let at = first + self.places[first..].partition_point(stands);
        let place = Place { era: self.era, slot, time };
        if self.unsorted || at == first && at > 0 && !stands(&self.places[at - 1]) {
            self.unsorted = true;
            self.places.push(place);
        } else {
            self.places.insert(at, place);
        }
    }

    /// A row came this much too late.
    pub(super) fn late(&mut self, by: i64) {
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

    /// Time of the first row, once they have been put in order by [`iter`](Self::iter).
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
            if self.earliest >= border && self.places[0].era == self.era {
                return;
            }
            self.places.sort_by_key(|place| (place.era, place.time));
            self.unsorted = false;
        }
        let era = self.era;
        let ready = |place: &Place| place.time < if place.era == era { border } else { until };
        let count = self.places.iter().take_while(|place| ready(place)).count();
        taken.extend(self.places.drain(..count).map(|place| place.slot));
        self.earliest = self.places.first().map_or(i64::MAX, |place| place.time);
    }

    /// The slots of rows that were taken may hold others.
    pub(super) fn give_back(&mut self, taken: &mut Vec<u32>) {
        self.free.append(taken);
    }

    /// The rows and keys that slots name.
    pub(super) fn slots(&self) -> (&[Row], &[FlowKey]) {
        (&self.rows, &self.keys)
    }

    /// The rows in order.
    pub(super) fn iter(&mut self) -> impl Iterator<Item = (&Row, &FlowKey)> {
        if self.unsorted {
            self.places.sort_by_key(|place| (place.era, place.time));
            self.unsorted = false;
        }
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
        queue.push(slot);
    }

    fn take(queue: &mut Queue, until: i64, border: i64) -> Vec<(i64, u32)> {
        let mut taken = Vec::new();
        queue.take(until, border, &mut taken);
        let rows = taken.iter().map(|slot| &queue.slots().0[*slot as usize]).map(|row| (row.time, row.frame)).collect();
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
