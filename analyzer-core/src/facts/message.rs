//! Questions and answers of a flow: ICMP echo and DNS.

use super::track::Stamp;

/// The pace of echo messages at a point, from the first one on that a number before is missing.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct EchoPace {
    /// The first message after a missing one.
    pub first: Stamp,
    /// Messages since.
    pub count: u32,
    /// Numbers missing.
    pub missing: u32,
    /// Time of the latest.
    pub last: i64,
    /// Sum of the squares of the seconds between them.
    pub squares: f64,
}

impl EchoPace {
    /// No message.
    pub(super) const NONE: Self = Self { first: Stamp::NONE, count: 0, missing: 0, last: 0, squares: 0.0 };

    /// Takes a message; `missing` numbers are missing just before it.
    pub fn add(&mut self, at: Stamp, missing: u32) {
        if self.count == 0 {
            self.first = at;
        } else {
            let seconds = (at.time - self.last) as f64 / 1e9;
            self.squares += seconds * seconds;
        }
        self.count = self.count.saturating_add(1);
        self.missing = self.missing.saturating_add(missing);
        self.last = at.time;
    }

    /// Messages a second.
    pub fn rate(&self) -> Option<f64> {
        let seconds = (self.last - self.first.time) as f64 / 1e9;
        (self.count > 1 && seconds > 0.0).then(|| f64::from(self.count - 1) / seconds)
    }

    /// Standard deviation of the intervals by their mean: near 0 for a regular pace, near 1 for a random one.
    pub fn irregularity(&self) -> Option<f64> {
        let mean = 1.0 / self.rate()?;
        let variance = self.squares / f64::from(self.count - 1) - mean * mean;
        Some(variance.max(0.0).sqrt() / mean)
    }
}

/// A DNS question whose answer has not reached the client yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Question {
    /// Transaction id.
    pub id: u16,
    /// Type that it asks for.
    pub question_type: u16,
    /// 0 outbound, 1 inbound.
    pub direction: u8,
    /// Times it was asked, by point.
    pub times: [u8; 2],
    /// Where and when it was asked first, by point.
    pub asked: [Stamp; 2],
    /// The same times on A's clock.
    pub when: [i64; 2],
    /// When it was asked last, on A's clock.
    pub latest: i64,
    /// The answer, by point.
    pub answer: [Stamp; 2],
}

/// Most DNS questions of one flow that are followed at once.
const MAX_QUESTIONS: usize = 32;

impl Question {
    /// Whether it asks for a type; 0 stands for one that the snap length has cut off.
    fn of_type(&self, question_type: u16) -> bool {
        question_type == 0 || self.question_type == 0 || self.question_type == question_type
    }
}

/// The DNS questions of one flow.
#[derive(Clone, Debug, Default)]
pub struct DnsFacts {
    /// Not answered yet, oldest first; a bounded number.
    pub open: Vec<Question>,
    /// Questions in all, repetitions not counted.
    pub asked: u32,
    /// Answers that reached the client.
    pub answered: u32,
    /// Questions given up because too many were open.
    pub given_up: u32,
    /// Questions whose first copy entered the host and did not leave it, while another of the same socket did within
    /// milliseconds; at most a few.
    pub raced: Vec<Question>,
    /// The latest questions that were answered: transaction id and direction.
    closed: [Option<(u16, u8)>; 4],
}

impl DnsFacts {
    /// How long a stub resolver waits before it asks again: 5 s in glibc (resolv.conf(5)); the shortest usual time is half.
    const RETRY: i64 = 2_500_000_000;
    /// How close questions of one socket stand that race each other.
    const TOGETHER: i64 = 50_000_000;

    /// Takes a question at a point; `when` is its time on A's clock.
    pub fn ask(&mut self, id: u16, question_type: u16, direction: usize, point: usize, at: Stamp, when: i64) {
        let known = self.open.iter().position(|question| {
            question.id == id && question.direction as usize == direction && question.of_type(question_type)
        });
        // Clocks are estimates: the copy beyond the host may come after the answer on this side.
        if known.is_none() && point != direction && self.closed.contains(&Some((id, direction as u8))) {
            return;
        }
        let index = known.unwrap_or_else(|| {
            if self.open.len() >= MAX_QUESTIONS {
                self.open.remove(0);
                self.given_up += 1;
            }
            self.asked += 1;
            self.open.push(Question { id, question_type, direction: direction as u8, ..Question::default() });
            self.open.len() - 1
        });
        let question = &mut self.open[index];
        question.times[point] = question.times[point].saturating_add(1);
        question.latest = when;
        if question.asked[point].frame == 0 {
            question.asked[point] = at;
            question.when[point] = when;
            self.check_race(index, direction, point);
        }
    }

    /// A question that leaves the host only when it is asked again, while its sibling left at once.
    fn check_race(&mut self, index: usize, entry: usize, point: usize) {
        let question = self.open[index];
        let late = point != entry
            && question.asked[entry].frame != 0
            && question.when[point] - question.when[entry] >= Self::RETRY
            && question.times[entry] > 1;
        if late && self.raced.len() < MAX_QUESTIONS {
            self.raced.push(question);
        }
    }

    /// Takes an answer at a point. `direction` is the answer's.
    pub fn answer(&mut self, id: u16, question_type: u16, direction: usize, point: usize, at: Stamp) {
        let Some(index) = self.open.iter().position(|question| {
            question.id == id && question.direction as usize == 1 - direction && question.of_type(question_type)
        }) else {
            return;
        };
        let question = &mut self.open[index];
        question.answer[point] = at;
        // The point nearest to the client: where the question entered, if it was seen there.
        let entry = question.direction as usize;
        let near = if question.asked[entry].frame == 0 { 1 - entry } else { entry };
        if point == near {
            self.closed[self.answered as usize % self.closed.len()] = Some((id, entry as u8));
            self.open.remove(index);
            self.answered += 1;
        }
    }

    /// Whether a raced question had a sibling: another question of the flow within milliseconds.
    pub fn together(one: &Question, other: &Question) -> bool {
        let entry = one.direction as usize;
        one.id != other.id && (one.when[entry] - other.when[entry]).abs() <= Self::TOGETHER
    }

    /// Swaps the directions.
    pub(super) fn flip(&mut self) {
        for question in self.open.iter_mut().chain(&mut self.raced) {
            question.direction ^= 1;
        }
        for (_, direction) in self.closed.iter_mut().flatten() {
            *direction ^= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(frame: u32) -> Stamp {
        Stamp { time: i64::from(frame), frame }
    }

    #[test]
    fn a_token_bucket_is_regular_and_chance_is_not() {
        let pace = |times: &[i64]| {
            let mut pace = EchoPace::default();
            for (frame, time) in times.iter().enumerate() {
                pace.add(Stamp { time: time * 1_000_000, frame: frame as u32 + 1 }, 1);
            }
            pace
        };
        let bucket = pace(&[0, 100, 200, 301, 400, 499]);
        assert!((bucket.rate().unwrap() - 10.0).abs() < 0.1);
        assert!(bucket.irregularity().unwrap() < 0.05);
        let chance = pace(&[0, 10, 20, 310, 320, 800]);
        assert!(chance.irregularity().unwrap() > 0.9);
        assert_eq!(pace(&[5]).rate(), None);
    }

    #[test]
    fn an_answer_closes_its_question_at_the_clients_side_only() {
        let mut dns = DnsFacts::default();
        dns.ask(7, 1, 0, 0, at(1), 10);
        dns.ask(7, 1, 0, 1, at(1), 11);
        dns.answer(7, 1, 1, 1, at(2));
        assert_eq!((dns.open.len(), dns.answered), (1, 0));
        dns.answer(7, 0, 1, 0, at(2));
        assert_eq!((dns.open.len(), dns.asked, dns.answered), (0, 1, 1));
    }

    #[test]
    fn a_copy_that_comes_after_the_answer_is_no_new_question() {
        let mut dns = DnsFacts::default();
        dns.ask(7, 1, 0, 0, at(1), 10);
        dns.answer(7, 1, 1, 0, at(2));
        dns.ask(7, 1, 0, 1, at(1), 30);
        assert_eq!((dns.open.len(), dns.asked, dns.answered), (0, 1, 1));
        // The next question with that id is one.
        dns.ask(7, 1, 0, 0, at(3), 99);
        assert_eq!((dns.open.len(), dns.asked), (1, 2));
    }

    #[test]
    fn a_question_that_leaves_only_when_repeated_has_raced() {
        let second = 1_000_000_000;
        let mut dns = DnsFacts::default();
        dns.ask(7, 1, 0, 0, at(1), 0);
        dns.ask(8, 28, 0, 0, at(2), 1000);
        dns.ask(7, 1, 0, 1, at(1), 20);
        dns.ask(8, 28, 0, 0, at(3), 5 * second);
        dns.ask(8, 28, 0, 1, at(2), 5 * second + 20);
        assert_eq!(dns.raced.len(), 1);
        assert!(DnsFacts::together(&dns.raced[0], &dns.open[0]));
    }

    #[test]
    fn many_open_questions_are_given_up_oldest_first() {
        let mut dns = DnsFacts::default();
        for id in 0..40 {
            dns.ask(id, 1, 0, 0, at(u32::from(id) + 1), 0);
        }
        assert_eq!((dns.open.len(), dns.given_up, dns.open[0].id), (MAX_QUESTIONS, 8, 8));
    }
}
