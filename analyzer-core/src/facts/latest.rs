//! The latest few of what came, where their order does not matter: a ring that is written and not read, so that nothing waits for a
//! line that has left the cache.

/// At most `MOST` entries, the latest. No larger than two words while there are none.
#[derive(Clone, Debug, Default)]
pub struct Latest<T, const MOST: usize> {
    entries: Option<Box<[T; MOST]>>,
    len: u16,
    next: u16,
}

impl<T: Copy, const MOST: usize> Latest<T, MOST> {
    /// No entry.
    pub(super) const NONE: Self = Self { entries: None, len: 0, next: 0 };

    /// Adds an entry; when there is no room, the oldest goes.
    #[inline]
    pub fn push(&mut self, entry: T) {
        let entries = self.entries.get_or_insert_with(|| Box::new([entry; MOST]));
        entries[usize::from(self.next) % MOST] = entry;
        self.next = (self.next + 1) % MOST as u16;
        self.len = (self.len + 1).min(MOST as u16);
    }

    /// The entries, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.entries.iter().flat_map(|entries| &entries[..]).take(self.len.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_stay() {
        let mut latest = Latest::<u32, 4>::default();
        for count in 0..20_u32 {
            let mut kept: Vec<u32> = latest.iter().copied().collect();
            kept.sort_unstable();
            assert_eq!(kept, (count.saturating_sub(4)..count).collect::<Vec<_>>());
            latest.push(count);
        }
    }

    #[test]
    fn is_two_words() {
        assert_eq!(size_of::<Latest<(u32, u32), 16>>(), 2 * size_of::<usize>());
    }
}
