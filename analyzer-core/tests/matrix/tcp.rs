//! One end of a TCP connection, as plain as can be: a fixed window, an acknowledgment for every second segment, fast
//! retransmission after three duplicates (RFC 5681, RFC 6582) and a timer that doubles (RFC 6298).

use crate::wire::{ACK, FIN, MSS, SYN};
use std::collections::{BTreeMap, VecDeque};

/// Bytes that may be under way.
const WINDOW: u64 = 12 * MSS;
/// The first timeout, in microseconds: Linux's least.
const TIMEOUT: u64 = 200_000;
/// The timeout of a SYN (RFC 6298, section 2.1).
const SYN_TIMEOUT: u64 = 1_000_000;
/// Repetitions after which an end gives up.
const PATIENCE: u32 = 7;

/// A range of the stream, in which SYN and FIN take a place each.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Range {
    pub(crate) from: u64,
    pub(crate) to: u64,
    /// SYN or FIN, if it is one.
    pub(crate) control: u8,
}

/// What an end wants after it has been told of something.
#[derive(Debug, Default)]
pub(crate) struct Wish {
    /// To send these ranges.
    pub(crate) send: Vec<Range>,
    /// To acknowledge: at once, or in a while.
    pub(crate) acknowledge: Option<bool>,
    /// To be woken after so many microseconds.
    pub(crate) timer: Option<u64>,
    /// The other end has closed.
    pub(crate) closed: bool,
}

/// One end.
#[derive(Debug)]
pub(crate) struct Half {
    /// The first sequence number.
    pub(crate) first: u32,
    una: u64,
    nxt: u64,
    /// Bytes (and then perhaps a FIN) to be sent yet.
    waiting: u64,
    closing: bool,
    closed: bool,
    /// Most bytes in one packet: more than a segment where offload cuts it.
    largest: u64,
    flight: VecDeque<Range>,
    got: u64,
    early: BTreeMap<u64, u64>,
    duplicates: u32,
    recover: Option<u64>,
    timeout: u64,
    repeats: u32,
    unacknowledged: u32,
    /// The timer that counts: those of earlier generations are void.
    pub(crate) generation: u64,
    pub(crate) acknowledgments: u64,
    pub(crate) dead: bool,
}

impl Half {
    pub(crate) fn new(first: u32, largest: u64) -> Self {
        Self {
            first,
            una: 0,
            nxt: 0,
            waiting: 0,
            closing: false,
            closed: false,
            largest,
            flight: VecDeque::new(),
            got: 0,
            early: BTreeMap::new(),
            duplicates: 0,
            recover: None,
            timeout: SYN_TIMEOUT,
            repeats: 0,
            unacknowledged: 0,
            generation: 0,
            acknowledgments: 0,
            dead: false,
        }
    }

    /// What it has received without a hole.
    pub(crate) fn received(&self) -> u64 {
        self.got
    }

    /// Where its next new byte stands.
    pub(crate) fn next(&self) -> u64 {
        self.nxt
    }

    /// Whether it has sent or received anything.
    pub(crate) fn begun(&self) -> bool {
        self.nxt > 0
    }

    pub(crate) fn open(&mut self) -> Wish {
        self.nxt = 1;
        let syn = Range { from: 0, to: 1, control: SYN };
        self.flight.push_back(syn);
        Wish { send: vec![syn], timer: Some(self.arm()), ..Wish::default() }
    }

    pub(crate) fn write(&mut self, bytes: u64) -> Wish {
        self.waiting += bytes;
        self.go_on(Wish::default())
    }

    pub(crate) fn close(&mut self) -> Wish {
        self.closing = !self.closed;
        self.closed = true;
        self.go_on(Wish::default())
    }

    fn arm(&mut self) -> u64 {
        self.generation += 1;
        self.timeout
    }

    /// Sends what the window has room for.
    fn go_on(&mut self, mut wish: Wish) -> Wish {
        let idle = self.flight.is_empty();
        while !self.dead && self.una > 0 && self.nxt - self.una < WINDOW {
            let range = if self.waiting > 0 {
                let length = self.waiting.min(self.largest).min(WINDOW);
                self.waiting -= length;
                Range { from: self.nxt, to: self.nxt + length, control: 0 }
            } else if self.closing {
                self.closing = false;
                Range { from: self.nxt, to: self.nxt + 1, control: FIN }
            } else {
                break;
            };
            self.nxt = range.to;
            self.flight.push_back(range);
            wish.send.push(range);
        }
        if idle && !self.flight.is_empty() {
            wish.timer = Some(self.arm());
        }
        wish
    }

    /// The first segment that is not acknowledged, to be sent again.
    fn again(&mut self) -> Option<Range> {
        let first = self.flight.pop_front()?;
        let cut = first.to.min(first.from + MSS);
        if cut < first.to {
            self.flight.push_front(Range { from: cut, ..first });
        }
        let part = Range { to: cut, ..first };
        self.flight.push_front(part);
        Some(part)
    }

    pub(crate) fn timer(&mut self, generation: u64) -> Wish {
        if self.dead || generation != self.generation || self.flight.is_empty() {
            return Wish::default();
        }
        self.repeats += 1;
        if self.repeats > PATIENCE {
            self.dead = true;
            return Wish::default();
        }
        self.timeout *= 2;
        self.recover = Some(self.nxt);
        Wish { send: self.again().into_iter().collect(), timer: Some(self.arm()), ..Wish::default() }
    }

    /// Whether an acknowledgment that was put off is still owed.
    pub(crate) fn owes(&mut self, number: u64) -> bool {
        let owed = number == self.acknowledgments && self.unacknowledged > 0 && !self.dead;
        if owed {
            self.unacknowledged = 0;
        }
        owed
    }

    /// A segment: the range that it brings, with SYN or FIN as control, and what it acknowledges.
    pub(crate) fn segment(&mut self, range: Range, flags: u8, acked: u64) -> Wish {
        let mut wish = Wish::default();
        if flags & ACK != 0 {
            self.acknowledged(range, acked, &mut wish);
        }
        if range.to > range.from {
            let in_order = range.from == self.got && self.early.is_empty() && range.control == 0;
            self.received_range(range);
            wish.closed = range.control == FIN && self.got >= range.to;
            self.unacknowledged += (range.to - range.from).div_ceil(MSS) as u32;
            let at_once = !in_order || self.unacknowledged >= 2;
            self.acknowledgments += 1;
            if at_once {
                self.unacknowledged = 0;
            }
            wish.acknowledge = Some(at_once);
        }
        self.go_on(wish)
    }

    fn received_range(&mut self, range: Range) {
        if range.from > self.got {
            self.early.insert(range.from, range.to);
            return;
        }
        self.got = self.got.max(range.to);
        while let Some((&from, &to)) = self.early.first_key_value()
            && from <= self.got
        {
            self.got = self.got.max(to);
            self.early.remove(&from);
        }
    }

    fn acknowledged(&mut self, range: Range, acked: u64, wish: &mut Wish) {
        if acked > self.una && acked <= self.nxt {
            self.una = acked;
            while self.flight.front().is_some_and(|first| first.to <= acked) {
                self.flight.pop_front();
            }
            if let Some(first) = self.flight.front_mut() {
                first.from = first.from.max(acked);
            }
            (self.duplicates, self.repeats, self.timeout) = (0, 0, TIMEOUT);
            self.recover = self.recover.filter(|&until| acked < until);
            if self.recover.is_some() {
                wish.send.extend(self.again());
            }
            wish.timer = Some(self.arm());
        } else if acked == self.una && range.from == range.to && !self.flight.is_empty() {
            self.duplicates += 1;
            if self.duplicates == 3 && self.recover.is_none() {
                self.recover = Some(self.nxt);
                wish.send.extend(self.again());
                wish.timer = Some(self.arm());
            }
        }
    }
}
