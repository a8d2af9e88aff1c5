//! Clocks that were set while a capture ran: where, and by how much.
//!
//! A clock that is set back shows it in its own capture: time stamps fall. One that is set forward looks like a silence;
//! only packets that stand in both captures tell, since from there on their times differ by more than before. So do those
//! of a full queue, but in one direction only and by no constant amount; hence a step is believed where the difference is
//! level before and after it.

use crate::capture::{Step, Steps};
use crate::time::MILLISECOND;

/// Smaller steps do no harm to the matching and could be a queue: bufferbloat beyond a quarter of a second is rare.
pub const SMALLEST: i64 = 250 * MILLISECOND;
/// More steps are no clock that is set, but a file that was put together from several.
const MOST: usize = 16;
/// Packets in both captures that are judged together, and where there are few: on 178 labelled pairs with steps put in,
/// blocks of five found those that have enough packets, and three two of the others.
const BLOCK: usize = 5;
const SMALL_BLOCK: usize = 3;
/// Below this number there are few.
const FEW: usize = 8 * BLOCK;
/// The part of a step (a fifth) within which the differences before and after it must stay: those of a queue that fills or
/// drains sweep the whole of it.
const LEVEL: i64 = 5;

/// A packet that both captures hold once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// Its frames.
    pub frames: [u32; 2],
    /// Its times, each in the clock of its point.
    pub times: [i64; 2],
}

/// What one capture shows of its own clock.
#[derive(Clone, Debug, Default)]
pub struct Leaps {
    last: Option<i64>,
    /// Times that are earlier than the one before: first frame after, and by how much.
    back: Vec<(u32, i64)>,
    /// Silences: first frame after, and how long.
    ahead: Vec<(u32, i64)>,
}

/// Most silences that are kept, the first ones: a megabyte.
const MOST_SILENCES: usize = 1 << 16;

impl Leaps {
    /// Takes the next frame into account.
    pub fn observe(&mut self, frame: u32, time: i64) {
        if let Some(last) = self.last.replace(time) {
            let by = time.saturating_sub(last);
            if by <= -SMALLEST && self.back.len() <= MOST {
                self.back.push((frame, -by));
            } else if by >= SMALLEST && self.ahead.len() < MOST_SILENCES {
                self.ahead.push((frame, by));
            }
        }
    }

    /// The clock's steps back, as if no time had passed meanwhile.
    fn steps_back(&self) -> Steps {
        Steps::new(self.back.iter().map(|&(frame, by)| Step { frame, by: -by }).collect())
    }

    /// The silence between two frames, both included, that is most like a step by `by`; none that is shorter.
    fn silence(&self, frames: (u32, u32), by: i64) -> Option<u32> {
        let enough = |silence: &&(u32, i64)| {
            (frames.0..=frames.1).contains(&silence.0) && silence.1 >= by.saturating_sub(by / LEVEL)
        };
        self.ahead.iter().filter(enough).min_by_key(|silence| silence.1.abs_diff(by)).map(|silence| silence.0)
    }
}

/// The steps of both clocks, by point, from packets in the order of their frames.
pub fn find(leaps: &[Leaps; 2], samples: &[Sample]) -> [Steps; 2] {
    if leaps.iter().any(|leaps| leaps.back.len() > MOST) {
        return Default::default();
    }
    let back = [leaps[0].steps_back(), leaps[1].steps_back()];
    let differences: Vec<i64> = samples
        .iter()
        .map(|sample| {
            let [a, b] = [0, 1].map(|point| back[point].undo(sample.frames[point], sample.times[point]));
            b.saturating_sub(a)
        })
        .collect();
    let mut steps = [back[0].list().to_vec(), back[1].list().to_vec()];
    for Change { at, by } in changes(&differences) {
        if samples[at - 1].frames[1] > samples[at].frames[1] {
            // The captures disagree on the order of packets, not on the time.
            return Default::default();
        }
        let around = |point: usize| {
            let range = [at - 1, at].map(|at| samples[at].frames[point]);
            (range[0].min(range[1]).saturating_add(1), range[0].max(range[1]))
        };
        // What a step back leaves undecided: how much time had passed meanwhile.
        let near = |point: usize| {
            let (from, to) = around(point);
            steps[point].iter().position(|step| step.by < 0 && (from..=to).contains(&step.frame))
        };
        if let Some(step) = near(1) {
            steps[1][step].by = steps[1][step].by.saturating_add(by);
        } else if let Some(step) = near(0) {
            steps[0][step].by = steps[0][step].by.saturating_sub(by);
        } else if by.saturating_abs() >= SMALLEST {
            // The clock that was set forward shows a silence of that length, the other one need not.
            let point = usize::from(by > 0);
            let silence = leaps[point].silence(around(point), by.saturating_abs());
            let frame = silence.unwrap_or(samples[at].frames[point]);
            steps[point].push(Step { frame, by: by.saturating_abs() });
        }
    }
    steps.map(|mut steps| {
        steps.retain(|step| step.by.saturating_abs() >= SMALLEST);
        if steps.len() > MOST { Steps::default() } else { Steps::new(steps) }
    })
}

/// A change of the level: the first sample after it, and by how much.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Change {
    at: usize,
    by: i64,
}

/// Where a level changes for good, that is, for two blocks.
fn changes(differences: &[i64]) -> Vec<Change> {
    let size = if differences.len() < FEW { SMALL_BLOCK } else { BLOCK };
    let blocks: Vec<(i64, i64)> = differences.chunks(size).map(level).collect();
    let mut changes = Vec::new();
    let mut block = 1;
    while block + 1 < blocks.len() && changes.len() <= 2 * MOST {
        let before = blocks[block - 1];
        // The block in which it happens is of either level.
        let changed = [block, block + 1].into_iter().find(|&after| {
            let by = blocks[after].0.saturating_sub(before.0);
            let flat = |spread: i64| spread <= by.saturating_abs() / LEVEL;
            let lasts = blocks.get(after + 1).is_none_or(|next| flat(next.0.saturating_sub(blocks[after].0).abs()));
            by.saturating_abs() >= MILLISECOND && flat(before.1) && flat(blocks[after].1) && lasts
        });
        let Some(after) = changed else {
            block += 1;
            continue;
        };
        let by = blocks[after].0.saturating_sub(before.0);
        let nearer_after = |difference: &i64| difference.abs_diff(blocks[after].0) < difference.abs_diff(before.0);
        let within = &differences[(block - 1) * size..(after * size + size).min(differences.len())];
        let first = within.iter().rposition(|difference| !nearer_after(difference)).map_or(0, |last| last + 1);
        changes.push(Change { at: ((block - 1) * size + first).max(1), by });
        block = after + 1;
    }
    changes
}

/// Median and the spread of the middle three fifths.
fn level(block: &[i64]) -> (i64, i64) {
    let mut sorted = block.to_vec();
    sorted.sort_unstable();
    let cut = sorted.len() / 5;
    (sorted[sorted.len() / 2], sorted[sorted.len() - 1 - cut].saturating_sub(sorted[cut]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::SECOND;

    /// Packets of both directions every 20 ms, whose times are changed by what the clocks were set by.
    fn captures(clock: impl Fn(usize, i64) -> i64, transit: impl Fn(i64) -> i64) -> ([Leaps; 2], Vec<Sample>) {
        let mut leaps = [Leaps::default(), Leaps::default()];
        let mut samples = Vec::new();
        for n in 0..400_i64 {
            let true_time = 1_700_000_000 * SECOND + n * 20 * MILLISECOND;
            let crossed = if n % 2 == 0 { true_time + transit(n) } else { true_time - 8_000 };
            let times = [true_time + clock(0, n), crossed + clock(1, n)];
            let frames = [n as u32 + 1, n as u32 + 1];
            for point in 0..2 {
                leaps[point].observe(frames[point], times[point]);
            }
            samples.push(Sample { frames, times });
        }
        (leaps, samples)
    }

    fn after(n: i64, by: i64) -> impl Fn(i64) -> i64 {
        move |at| if at >= n { by } else { 0 }
    }

    #[test]
    fn a_step_is_found_in_the_clock_that_made_it() {
        for by in [3 * SECOND, -3 * SECOND, 3600 * SECOND, -3600 * SECOND, -400 * MILLISECOND, 400 * MILLISECOND] {
            for point in 0..2 {
                let step = after(150, by);
                let (leaps, samples) = captures(|of, n| if of == point { step(n) } else { 0 }, |_| 9_000);
                let found = find(&leaps, &samples);
                let list = found[point].list();
                assert_eq!(list.len(), 1, "{by} at {point}: {found:?}");
                assert_eq!(list[0].frame, 151, "{by} at {point}");
                assert!((list[0].by - by).abs() < MILLISECOND, "{by} at {point}: {list:?}");
                assert!(found[1 - point].is_empty(), "{by} at {point}: {found:?}");
            }
        }
    }

    #[test]
    fn one_clock_of_two_captures_steps_in_both() {
        let step = after(150, -5 * SECOND);
        let (leaps, samples) = captures(|_, n| step(n), |_| 9_000);
        for found in find(&leaps, &samples) {
            assert!((found.list()[0].by + 5 * SECOND).abs() < 30 * MILLISECOND, "{found:?}");
        }
    }

    #[test]
    fn clocks_that_drift_and_queues_that_fill_make_no_step() {
        let steady = |_: i64| 9_000;
        let drift = |of: usize, n: i64| if of == 1 { n * 20 * MILLISECOND / 2000 } else { 0 };
        let queue = |n: i64| if (100..200).contains(&n) { 900 * MILLISECOND } else { 9_000 };
        let stall = |n: i64| if (100..150).contains(&n) { (150 - n) * 20 * MILLISECOND } else { 9_000 };
        for (leaps, samples) in [captures(drift, steady), captures(|_, _| 0, queue), captures(|_, _| 0, stall)] {
            assert_eq!(find(&leaps, &samples), <[Steps; 2]>::default());
        }
    }

    #[test]
    fn a_file_put_together_out_of_order_has_no_clock_to_mend() {
        let (_, mut samples) = captures(|_, _| 0, |_| 9_000);
        let mut leaps = [Leaps::default(), Leaps::default()];
        // B's second half stands first in its file.
        for sample in &mut samples {
            leaps[0].observe(sample.frames[0], sample.times[0]);
            sample.frames[1] = (sample.frames[1] + 199) % 400 + 1;
        }
        let mut of_b = samples.clone();
        of_b.sort_by_key(|sample| sample.frames[1]);
        for sample in &of_b {
            leaps[1].observe(sample.frames[1], sample.times[1]);
        }
        assert_eq!(find(&leaps, &samples), <[Steps; 2]>::default());
    }
}
