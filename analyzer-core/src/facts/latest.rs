//! The latest few of what came, where their order does not matter: a ring that is written and not read, so that nothing waits
//! for a line that has left the cache.

/// At most `MOST` entries, the latest. No larger than two words; while there were few, they take no more room elsewhere than
/// few need.
#[derive(Clone, Debug)]
pub struct Latest<T, const MOST: usize>(Entries<T, MOST>);

#[derive(Clone, Debug)]
enum Entries<T, const MOST: usize> {
    /// No entry.
    Nothing,
    /// The first few.
    Few(u16, Box<[T; FEW]>),
    /// A ring of the latest: how many, and where the next goes.
    Ring(u16, u16, Box<[T; MOST]>),
}

/// Entries of eight bytes in the smallest piece of memory that `malloc` gives: 24 bytes.
const FEW: usize = 3;

impl<T: Copy, const MOST: usize> Default for Latest<T, MOST> {
    fn default() -> Self {
        Self::NONE
    }
}

impl<T: Copy, const MOST: usize> Latest<T, MOST> {
    /// No entry.
    pub(super) const NONE: Self = {
        assert!(FEW < MOST && MOST < u16::MAX as usize, "the ring holds more than what it grows from");
        Self(Entries::Nothing)
    };

    /// Adds an entry; when there is no room, the oldest goes.
    #[inline]
    pub fn push(&mut self, entry: T) {
        match &mut self.0 {
            Entries::Ring(len, next, entries) => {
                entries[usize::from(*next) % MOST] = entry;
                *next = (*next + 1) % MOST as u16;
                *len = (*len + 1).min(MOST as u16);
            }
            _ => self.begin(entry),
        }
    }

    /// Adds one of the first entries.
    #[inline(never)]
    fn begin(&mut self, entry: T) {
        let Entries::Few(len, entries) = &mut self.0 else {
            self.0 = Entries::Few(1, Box::new([entry; FEW]));
            return;
        };
        if let Some(place) = entries.get_mut(usize::from(*len)) {
            *place = entry;
            *len += 1;
            return;
        }
        let mut ring = Box::new([entry; MOST]);
        ring[..FEW].copy_from_slice(&entries[..]);
        self.0 = Entries::Ring(*len + 1, (*len + 1) % MOST as u16, ring);
    }

    /// The entries, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        let (len, entries) = match &self.0 {
            Entries::Nothing => (0, &[][..]),
            Entries::Few(len, entries) => (*len, &entries[..]),
            Entries::Ring(len, _, entries) => (*len, &entries[..]),
        };
        entries.iter().take(len.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_stay() {
        let mut latest = Latest::<u32, 7>::default();
        for count in 0..40_u32 {
            let mut kept: Vec<u32> = latest.iter().copied().collect();
            kept.sort_unstable();
            assert_eq!(kept, (count.saturating_sub(7)..count).collect::<Vec<_>>());
            latest.push(count);
        }
    }

    #[test]
    fn is_two_words() {
        assert_eq!(size_of::<Latest<(u32, u32), 7>>(), 2 * size_of::<usize>());
    }
}
