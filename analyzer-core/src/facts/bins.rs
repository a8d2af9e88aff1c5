//! Bins of equal width over time, which double in width where there would be too many.

/// What is kept of a stretch of time.
pub(super) trait Bin: Copy {
    /// Of a stretch in which nothing happened.
    const EMPTY: Self;

    /// Takes in what was kept of the stretch behind it.
    fn absorb(&mut self, next: &Self);
}

/// Bins over time, at most so many.
#[derive(Clone, Debug)]
pub(super) struct Bins<B> {
    origin: Option<i64>,
    width: i64,
    most: usize,
    kept: Vec<B>,
    /// Start and place of the bin that was asked for last: the next packet is of the same one as a rule.
    last: (i64, usize),
}

impl<B: Bin> Bins<B> {
    /// No bins yet; the first is `width` nanoseconds wide.
    pub(super) const fn new(width: i64, most: usize) -> Self {
        Self { origin: None, width, most, kept: Vec::new(), last: (0, usize::MAX) }
    }

    /// The bin of a time. What is before the first belongs to the first bin.
    #[inline]
    pub(super) fn at(&mut self, time: i64) -> &mut B {
        let (start, index) = self.last;
        let same = (time.wrapping_sub(start) as u64) < self.width as u64 && index < self.kept.len();
        let index = if same { index } else { self.find(time) };
        &mut self.kept[index]
    }

    #[inline(never)]
    fn find(&mut self, time: i64) -> usize {
        let origin = *self.origin.get_or_insert(time);
        let elapsed = time.saturating_sub(origin).max(0);
        while elapsed / self.width >= self.most as i64 {
            self.join();
        }
        let index = (elapsed / self.width) as usize;
        if index >= self.kept.len() {
            self.kept.resize(index + 1, B::EMPTY);
        }
        self.last = (self.start(index), index);
        index
    }

    #[cold]
    fn join(&mut self) {
        self.width = self.width.saturating_mul(2);
        let joined = |pair: &[B]| {
            pair.iter().fold(B::EMPTY, |mut sum, bin| {
                sum.absorb(bin);
                sum
            })
        };
        self.kept = self.kept.chunks(2).map(joined).collect();
    }

    fn start(&self, index: usize) -> i64 {
        self.origin.unwrap_or(0).saturating_add(self.width.saturating_mul(index as i64))
    }

    /// Width of a bin in nanoseconds.
    pub(super) fn width(&self) -> i64 {
        self.width
    }

    /// The bins, each with its start.
    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = (i64, &B)> + '_ {
        self.kept.iter().enumerate().map(|(index, bin)| (self.start(index), bin))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Bin for u32 {
        const EMPTY: Self = 0;

        fn absorb(&mut self, next: &Self) {
            *self += next;
        }
    }

    #[test]
    fn bins_double_in_width_and_lose_nothing() {
        let mut bins = Bins::<u32>::new(10, 4);
        for time in [105, 107, 116, 128, 139, 144, 190, 90] {
            *bins.at(time) += 1;
        }
        let kept: Vec<(i64, u32)> = bins.iter().map(|(start, count)| (start, *count)).collect();
        assert_eq!((bins.width(), kept), (40, vec![(105, 7), (145, 0), (185, 1)]));
    }
}
