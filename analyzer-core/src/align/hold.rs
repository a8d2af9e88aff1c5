//! The packets of flows without a partner, held for a while so that the first ones are matched too.
//!
//! They are numbered in the order in which they came, and those of a flow are linked. Nearly all are taken soon, and one that
//! is not must not keep room for all that came after it: a ring of numbers says where each row stands.

use crate::packet::{Detail, Row};
use std::collections::VecDeque;

/// No packet.
pub(super) const NONE: u32 = u32::MAX;

/// A packet of an unpaired flow.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) row: Row,
    pub(super) detail: Option<Box<Detail>>,
    /// Number of the next one of the flow; of a place that is free, the next such place. [`NONE`] for none.
    pub(super) next: u32,
    /// Number of the last one of the flow: kept with the first.
    last: u32,
}

/// Packets held at one point, oldest first.
#[derive(Debug)]
pub(super) struct Hold {
    /// Where the rows stand, by their numbers from `base` on; [`NONE`] for those that were taken.
    places: VecDeque<u32>,
    base: u32,
    rows: Vec<Held>,
    /// The first place of `rows` that is free.
    free: u32,
}

impl Default for Hold {
    fn default() -> Self {
        Self { places: VecDeque::new(), base: 0, rows: Vec::new(), free: NONE }
    }
}

impl Hold {
    /// From the oldest to the newest, taken ones between them included.
    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    /// The number of the next packet. They wrap, and no packet has that of none.
    fn next(&self) -> u32 {
        self.base.wrapping_add(self.places.len() as u32)
    }

    fn place(&self, number: u32) -> Option<usize> {
        self.places.get(number.wrapping_sub(self.base) as usize).filter(|&&place| place != NONE).map(|&at| at as usize)
    }

    /// A packet that was not taken yet.
    pub(super) fn get(&self, number: u32) -> Option<&Held> {
        Some(&self.rows[self.place(number)?])
    }

    /// Holds a packet of the flow whose first one is `first`; returns the number of the flow's first one.
    pub(super) fn push(&mut self, first: u32, row: Row, detail: Option<Box<Detail>>) -> u32 {
        if self.next() == NONE {
            self.places.push_back(NONE);
        }
        let number = self.next();
        let held = Held { row, detail, next: NONE, last: number };
        let place = if self.free == NONE {
            self.rows.push(held);
            (self.rows.len() - 1) as u32
        } else {
            let place = self.free;
            self.free = std::mem::replace(&mut self.rows[place as usize], held).next;
            place
        };
        self.places.push_back(place);
        let Some(first_place) = self.place(first) else { return number };
        let last = std::mem::replace(&mut self.rows[first_place].last, number);
        if let Some(last) = self.place(last) {
            self.rows[last].next = number;
        }
        first
    }

    /// Takes a packet out: its row, its detail and the next one of its flow.
    pub(super) fn take(&mut self, number: u32) -> Option<(Row, Option<Box<Detail>>, u32)> {
        let place = self.place(number)?;
        self.places[number.wrapping_sub(self.base) as usize] = NONE;
        let held = &mut self.rows[place];
        let taken = (held.row, held.detail.take(), held.next);
        held.next = self.free;
        self.free = place as u32;
        Some(taken)
    }

    /// The oldest packet that was not taken.
    pub(super) fn oldest(&mut self) -> Option<Row> {
        while self.places.front() == Some(&NONE) {
            self.places.pop_front();
            self.base = self.base.wrapping_add(1);
        }
        self.places.front().map(|&place| self.rows[place as usize].row)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(frame: u32) -> Row {
        Row { frame, ..Row::default() }
    }

    #[test]
    fn packets_of_a_flow_come_out_in_their_order() {
        let mut hold = Hold::default();
        let first = hold.push(NONE, row(1), None);
        let other = hold.push(NONE, row(2), None);
        assert_eq!(hold.push(first, row(3), None), first);
        assert_eq!(hold.push(first, row(4), None), first);
        let (mut at, mut frames) = (first, Vec::new());
        while let Some((row, _, next)) = hold.take(at) {
            frames.push(row.frame);
            at = next;
        }
        assert_eq!((frames, hold.take(first).is_none()), (vec![1, 3, 4], true));
        assert_eq!((hold.oldest().map(|row| row.frame), hold.len()), (Some(2), 3));
        assert_eq!(hold.take(other).map(|(row, _, next)| (row.frame, next)), Some((2, NONE)));
        assert_eq!((hold.oldest().is_none(), hold.len()), (true, 0));
    }

    #[test]
    fn numbers_wrap_and_leave_none_out() {
        let mut hold = Hold { base: NONE - 1, ..Hold::default() };
        let numbers = [1, 2, 3].map(|frame| hold.push(NONE, row(frame), None));
        assert_eq!((numbers, hold.get(NONE).is_none()), ([NONE - 1, 0, 1], true));
        assert_eq!(hold.push(numbers[0], row(4), None), numbers[0]);
        assert_eq!(hold.take(numbers[0]).map(|(row, _, next)| (row.frame, next)), Some((1, 2)));
        assert_eq!(hold.oldest().map(|row| row.frame), Some(2));
    }

    #[test]
    fn one_that_stays_keeps_no_room_for_those_taken() {
        let mut hold = Hold::default();
        hold.push(NONE, row(0), None);
        for frame in 1..1000 {
            let number = hold.push(NONE, row(frame), None);
            assert_eq!(hold.get(number).map(|held| held.row.frame), Some(frame));
            hold.take(number);
        }
        assert_eq!((hold.oldest().map(|row| row.frame), hold.len(), hold.rows.len()), (Some(0), 1000, 2));
    }
}
