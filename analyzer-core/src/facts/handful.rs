//! A short list: one or two entries stand in place, so that most lists cost no memory of their own and no further line of the
//! cache.

use std::ops::{Deref, DerefMut};

/// A list that is no larger than a `Vec`, and needs no memory elsewhere for two entries of eight bytes.
#[derive(Clone, Debug, Default)]
pub struct Handful<T>(Kept<T>);

#[derive(Clone, Debug, Default)]
enum Kept<T> {
    #[default]
    Nothing,
    One([T; 1]),
    Two([T; 2]),
    More(Vec<T>),
}

impl<T: PartialEq> PartialEq for Handful<T> {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl<T: Eq> Eq for Handful<T> {}

impl<T> Deref for Handful<T> {
    type Target = [T];

    #[inline]
    fn deref(&self) -> &[T] {
        match &self.0 {
            Kept::Nothing => &[],
            Kept::One(entries) => entries,
            Kept::Two(entries) => entries,
            Kept::More(entries) => entries,
        }
    }
}

impl<T> DerefMut for Handful<T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut [T] {
        match &mut self.0 {
            Kept::Nothing => &mut [],
            Kept::One(entries) => entries,
            Kept::Two(entries) => entries,
            Kept::More(entries) => entries,
        }
    }
}

impl<T: Copy> Handful<T> {
    /// No entry.
    pub(super) const NONE: Self = Self(Kept::Nothing);

    /// Adds an entry at the end.
    #[inline]
    pub fn push(&mut self, entry: T) {
        self.insert(self.len(), entry);
    }

    /// Adds an entry before the one at `index`, or at the end.
    #[inline]
    pub fn insert(&mut self, index: usize, entry: T) {
        match &mut self.0 {
            Kept::Nothing => self.0 = Kept::One([entry]),
            Kept::One([one]) => self.0 = Kept::Two(if index == 0 { [entry, *one] } else { [*one, entry] }),
            Kept::Two(two) => {
                let mut all = two.to_vec();
                all.insert(index, entry);
                self.0 = Kept::More(all);
            }
            Kept::More(all) => all.insert(index, entry),
        }
    }

    /// Takes out the entry at `index`; those behind it move up.
    #[inline]
    pub fn remove(&mut self, index: usize) {
        match &mut self.0 {
            Kept::Nothing => {}
            Kept::One(_) => self.0 = Kept::Nothing,
            Kept::Two([one, other]) => self.0 = Kept::One([if index == 0 { *other } else { *one }]),
            Kept::More(all) => {
                all.remove(index);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// It is a vector, wherever its entries stand.
        #[test]
        fn agrees_with_a_vector(steps in prop::collection::vec((any::<bool>(), 0_usize..8, any::<u32>()), 1..60)) {
            let mut list = Handful::default();
            let mut model = Vec::new();
            for (add, index, entry) in steps {
                if add {
                    list.insert(index.min(model.len()), entry);
                    model.insert(index.min(model.len()), entry);
                } else if index < model.len() {
                    list.remove(index);
                    model.remove(index);
                }
                prop_assert_eq!(&list[..], &model[..]);
            }
        }
    }

    #[test]
    fn is_as_small_as_a_vector() {
        assert_eq!(size_of::<Handful<(u32, u32)>>(), size_of::<Vec<(u32, u32)>>());
    }
}
