//! Times of a capture whose clock was set while it ran, as if it had not been.

/// A point in a capture at which its clock was set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// The first frame after it.
    pub frame: u32,
    /// What the clock was set forward by, in nanoseconds; negative when it was set back.
    pub by: i64,
}

/// The steps of one capture's clock, in the order of the frames.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Steps {
    /// First frames, and what is to be taken off from there on in all.
    offsets: Vec<(u32, i64)>,
    steps: Vec<Step>,
}

impl Steps {
    /// A capture whose clock made these steps.
    pub fn new(mut steps: Vec<Step>) -> Self {
        steps.sort_unstable_by_key(|step| step.frame);
        let mut sum = 0_i64;
        let offsets = steps
            .iter()
            .map(|step| {
                sum = sum.saturating_add(step.by);
                (step.frame, sum)
            })
            .collect();
        Self { offsets, steps }
    }

    /// The steps.
    pub fn list(&self) -> &[Step] {
        &self.steps
    }

    /// Whether the clock made none.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// What is to be taken off a frame's time stamp.
    pub fn offset(&self, frame: u32) -> i64 {
        let passed = self.offsets.partition_point(|&(first, _)| first <= frame);
        passed.checked_sub(1).map_or(0, |last| self.offsets[last].1)
    }

    /// A frame's time, had the clock made no step.
    pub fn undo(&self, frame: u32, time: i64) -> i64 {
        if self.is_empty() { time } else { crate::time::shifted(time, self.offset(frame)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_add_up() {
        let steps = Steps::new(vec![Step { frame: 20, by: -7 }, Step { frame: 10, by: 5 }]);
        assert_eq!([1, 9, 10, 19, 20, 99].map(|frame| steps.undo(frame, 100)), [100, 100, 95, 95, 102, 102]);
        assert_eq!(Steps::default().undo(3, 100), 100);
    }
}
