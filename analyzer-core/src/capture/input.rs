//! The bytes of one capture, read in large pieces into one reused buffer from which records are lent.
//!
//! It knows no format. A partly read record is carried to the front by a move of its bytes, so that every record is
//! one slice; the buffer grows only for a record that does not fit, and shrinks again after it. Reading a file this
//! way streams through the processor's prefetcher and is faster than a memory map, whose header-only walk waits for
//! memory at every record; it also works on pipes and cannot be killed by a file that shrinks.

use super::Live;
use std::io::{self, Read};

/// Size of the buffer in its normal state: large enough to make system calls rare, small enough to stay in cache.
const CHUNK: usize = 1 << 20;

/// How far [`Input::scan`] looks for a place to go on from before it gives up.
pub(super) const SCAN_LIMIT: u64 = 16 << 20;

/// A buffered byte stream that counts its position.
pub(super) struct Input {
    source: Box<dyn Read + Send>,
    /// Initialised throughout; `bytes[start..end]` is what was read and not consumed.
    bytes: Vec<u8>,
    start: usize,
    end: usize,
    /// Position in the stream of `bytes[0]`.
    base: u64,
    ended: bool,
    failure: Option<io::Error>,
}

impl Input {
    /// Reads nothing yet.
    pub(super) fn new(source: Box<dyn Read + Send>) -> Self {
        Self { source, bytes: Vec::new(), start: 0, end: 0, base: 0, ended: false, failure: None }
    }

    /// Goes on with another source for the stream from `offset` on.
    pub(super) fn resume(&mut self, source: Box<dyn Read + Send>, offset: u64) {
        *self = Self { base: offset, ..Self::new(source) };
    }

    /// What was read and not consumed.
    #[inline]
    pub(super) fn peek(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    /// Position in the stream of the first byte of [`peek`](Self::peek).
    #[inline]
    pub(super) fn offset(&self) -> u64 {
        self.base + self.start as u64
    }

    /// Consumes `count` bytes of those in [`peek`](Self::peek) and lends them.
    #[inline]
    pub(super) fn take(&mut self, count: usize) -> &[u8] {
        let taken = &self.bytes[self.start..self.end][..count];
        self.start += count;
        taken
    }

    /// Why reading ended early, if an error ended it.
    pub(super) fn failure(&self) -> Option<&io::Error> {
        self.failure.as_ref()
    }

    /// Whether reading ended because the analysis is to end.
    pub(super) fn gave_up(&self) -> bool {
        self.failure.as_ref().is_some_and(Live::gave_up)
    }

    /// Takes out the error that ended reading.
    pub(super) fn take_failure(&mut self) -> Option<io::Error> {
        self.failure.take()
    }

    /// Reads until [`peek`](Self::peek) has `count` bytes; false when the stream ends before that.
    pub(super) fn need(&mut self, count: usize) -> bool {
        loop {
            if self.end - self.start >= count {
                return true;
            }
            if self.ended {
                return false;
            }
            self.make_room(count);
            // Only now is the state of the buffer settled, so that an interrupted or failed read leaves it whole.
            match self.source.read(&mut self.bytes[self.end..]) {
                Ok(0) => self.ended = true,
                Ok(read) => self.end += read.min(self.bytes.len() - self.end),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.ended = true;
                    self.failure = Some(error);
                }
            }
        }
    }

    /// Makes sure that at least one byte can be read behind `end`, at a cost proportional to the bytes consumed.
    fn make_room(&mut self, count: usize) {
        let kept = self.end - self.start;
        // Moving no more than was consumed since the last move keeps the whole reading linear, whatever the callers
        // ask for and however small the pieces are in which the source delivers.
        if kept <= self.start {
            self.bytes.copy_within(self.start..self.end, 0);
            self.base += self.start as u64;
            self.start = 0;
            self.end = kept;
            if self.bytes.len() > CHUNK && count <= CHUNK && kept <= CHUNK / 2 {
                self.bytes.truncate(CHUNK);
                self.bytes.shrink_to_fit();
            }
        }
        if self.end == self.bytes.len() {
            // Grows with what really arrives, never at once to what a header claims.
            let size = (self.bytes.len() * 2).min(count.saturating_mul(2)).max(CHUNK).max(self.end + 1);
            self.bytes.resize(size, 0);
        }
    }

    /// Skips to the first position, at most [`SCAN_LIMIT`] ahead, that `accepts` the bytes there. It is shown at least
    /// `lookahead` bytes unless its second argument says that the stream ends with the bytes shown. False when there is
    /// no such position.
    pub(super) fn scan(&mut self, lookahead: usize, accepts: impl Fn(&[u8], bool) -> bool) -> bool {
        let mut scanned = 0;
        while scanned < SCAN_LIMIT {
            // Twice the look-ahead, so that each fill serves many positions.
            self.need(lookahead.saturating_mul(2).max(lookahead + 1));
            let bytes = self.peek();
            let ended = self.ended;
            let positions = if ended { bytes.len() } else { bytes.len().saturating_sub(lookahead) };
            if let Some(found) = (0..positions).find(|&at| accepts(&bytes[at..], ended)) {
                self.start += found;
                return true;
            }
            self.start += positions;
            scanned += positions as u64;
            if ended {
                return false;
            }
        }
        false
    }

    /// Gives back the stream from the current position on.
    pub(super) fn into_source(mut self) -> Box<dyn Read + Send> {
        self.bytes.truncate(self.end);
        let mut read = io::Cursor::new(self.bytes);
        read.set_position(self.start as u64);
        Box::new(read.chain(self.source))
    }
}
