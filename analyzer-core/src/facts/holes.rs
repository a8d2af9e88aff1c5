//! A small set of sequence ranges: the holes in a byte stream, in order.
//!
//! Streams have no holes most of the time and a handful under loss, so this is a sorted vector with a bound:
//! when it is full the oldest hole is forgotten (it then counts as seen).

use super::handful::Handful;
use crate::seq;

/// Most holes kept for one direction of one flow.
const MAX_HOLES: usize = 64;

/// Sorted, disjoint half-open ranges of sequence numbers, all within 2^31 of one another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Holes {
    ranges: Handful<(u32, u32)>,
}

impl Holes {
    /// No holes.
    pub(super) const NONE: Self = Self { ranges: Handful::NONE };

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// The last one.
    pub fn last(&self) -> Option<(u32, u32)> {
        self.ranges.last().copied()
    }

    /// Adds `[start, end)`, which lies after every range in the set.
    pub fn push(&mut self, start: u32, end: u32) {
        if self.ranges.len() == MAX_HOLES {
            self.ranges.remove(0);
        }
        self.ranges.push((start, end));
    }

    /// Takes `[start, end)` out of the set; returns how many bytes of it were holes.
    pub fn fill(&mut self, start: u32, end: u32) -> u32 {
        let mut filled = 0;
        let mut index = 0;
        while index < self.ranges.len() {
            let (low, high) = self.ranges[index];
            if !seq::after(high, start) {
                index += 1;
                continue;
            }
            if !seq::before(low, end) {
                break;
            }
            let (cut_low, cut_high) = (seq::later(low, start), seq::earlier(high, end));
            filled += cut_high.wrapping_sub(cut_low);
            match (low == cut_low, high == cut_high) {
                (true, true) => {
                    self.ranges.remove(index);
                }
                (true, false) => {
                    self.ranges[index].0 = cut_high;
                    index += 1;
                }
                (false, true) => {
                    self.ranges[index].1 = cut_low;
                    index += 1;
                }
                (false, false) => {
                    self.ranges[index].1 = cut_low;
                    self.ranges.insert(index + 1, (cut_high, high));
                    index += 2;
                }
            }
        }
        filled
    }

    /// Takes out all that lies before `edge`, calling `each` with every range taken.
    pub fn drain_before(&mut self, edge: u32, mut each: impl FnMut(u32, u32)) {
        while let Some(&(low, high)) = self.ranges.first() {
            if !seq::before(low, edge) {
                break;
            }
            let cut = seq::earlier(high, edge);
            each(low, cut);
            if cut == high {
                self.ranges.remove(0);
            } else {
                self.ranges[0].0 = cut;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// The set agrees with a bitmap of the same stream, across the wrap of the sequence space.
        #[test]
        fn agrees_with_a_bitmap(base: u32, holes in prop::collection::vec((1_u32..20, 1_u32..20), 1..20),
                                fills in prop::collection::vec((0_u32..400, 0_u32..60), 1..40)) {
            let mut set = Holes::default();
            let mut map = vec![false; 1000];
            let mut at = 0;
            for (gap, len) in holes {
                let (start, end) = (at + gap, at + gap + len);
                set.push(base.wrapping_add(start), base.wrapping_add(end));
                map[start as usize..end as usize].fill(true);
                at = end;
            }
            for (start, len) in fills {
                let range = start as usize..(start + len) as usize;
                let expected = map[range.clone()].iter().filter(|&&hole| hole).count() as u32;
                map[range].fill(false);
                prop_assert_eq!(set.fill(base.wrapping_add(start), base.wrapping_add(start + len)), expected);
            }
            let left = map.iter().filter(|&&hole| hole).count() as u32;
            let mut drained = 0;
            set.drain_before(base.wrapping_add(1000), |low, high| drained += high.wrapping_sub(low));
            prop_assert_eq!(drained, left);
            prop_assert!(set.is_empty());
        }
    }
}
