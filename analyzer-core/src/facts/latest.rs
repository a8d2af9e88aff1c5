//! The latest few of what came, where their order does not matter: a ring that is written and not read, so that nothing waits for a
//! line that has left the cache.

/// At most `MOST` entries, the latest. No larger than two words while there are none, and no more than [`FEW`] entries elsewhere while
/// there were no more.
#[derive(Clone, Debug, Default)]
pub enum Latest<T, const MOST: usize> {
    /// No entry.
    #[default]
    Nothing,
    /// The first few.
    Few(u16, Box<[T; FEW]>),
    /// A ring of the latest: how many, and where the next goes.
    Ring(u16, u16, Box<[T; MOST]>),
}

/// What most lists hold at most: one hand of segments that changed places.
const FEW: usize = 4;

impl<T: Copy, const MOST: usize> Latest<T, MOST> {
    /// No entry.
    pub(super) const NONE: Self = Self::Nothing;

    /// Adds an entry; when there is no room, the oldest goes.
    #[inline]
    pub fn push(&mut self, entry: T) {
        match self {
            Self::Ring(len, next, entries) => {
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
        match self {
            Self::Few(len, entries) if usize::from(*len) < FEW => {
                entries[usize::from(*len)] = entry;
                *len += 1;
            }
            Self::Few(_, few) => {
                let mut entries = Box::new([entry; MOST]);
                entries[..FEW].copy_from_slice(&few[..]);
                let len = FEW as u16 + 1;
                *self = Self::Ring(len, len % MOST as u16, entries);
            }
            _ => *self = Self::Few(1, Box::new([entry; FEW])),
        }
    }

    /// The entries, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        let (len, entries) = match self {
            Self::Nothing => (0, &[][..]),
            Self::Few(len, entries) => (*len, &entries[..]),
            Self::Ring(len, _, entries) => (*len, &entries[..]),
        };
        entries.iter().take(len.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_stay() {
        let mut latest = Latest::<u32, 6>::default();
        for count in 0..20_u32 {
            let mut kept: Vec<u32> = latest.iter().copied().collect();
            kept.sort_unstable();
            assert_eq!(kept, (count.saturating_sub(6)..count).collect::<Vec<_>>());
            latest.push(count);
        }
    }

    #[test]
    fn is_two_words() {
        assert_eq!(size_of::<Latest<(u32, u32), 16>>(), 2 * size_of::<usize>());
    }
}
