//! What is left of a frame while it is being taken apart: the bytes at hand beside the length that the headers promise.
//!
//! The two differ when the capture was cut. Keeping them together is what lets every layer tell "the sender wrote
//! nonsense" ([`MALFORMED`](bits::MALFORMED)) from "the capture kept too little" ([`CUT`](bits::CUT)).

use super::row::bits;

/// A stretch of a frame. `bytes` is never longer than `len`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span<'a> {
    /// The captured part, from the start.
    pub(super) bytes: &'a [u8],
    /// The length by the headers around it.
    pub(super) len: usize,
}

impl<'a> Span<'a> {
    /// `bytes` of something that is `len` long; more bytes than that are believed over the length.
    pub(super) fn new(bytes: &'a [u8], len: usize) -> Self {
        Self { bytes, len: len.max(bytes.len()) }
    }

    /// Whether bytes are missing at the end.
    #[inline]
    pub(super) const fn is_cut(self) -> bool {
        self.bytes.len() < self.len
    }

    /// What follows the first `count` bytes.
    #[inline]
    pub(super) fn skip(self, count: usize) -> Self {
        Self { bytes: self.bytes.get(count..).unwrap_or_default(), len: self.len.saturating_sub(count) }
    }

    /// The same start with another length. A longer one than there was makes a cut span.
    #[inline]
    pub(super) fn with_len(self, len: usize) -> Self {
        Self { bytes: self.bytes.get(..len).unwrap_or(self.bytes), len }
    }

    /// Which bit a header of `need` bytes that is not all there deserves.
    pub(super) const fn shortage(self, need: usize) -> u16 {
        if self.len < need { bits::MALFORMED } else { bits::CUT }
    }

    /// The byte at `index`, when captured.
    #[inline]
    pub(super) fn byte(self, index: usize) -> Option<u8> {
        self.bytes.get(index).copied()
    }

    /// The big-endian number at `index`, when captured.
    #[inline]
    pub(super) fn be16(self, index: usize) -> Option<u16> {
        Some(u16::from_be_bytes(*self.bytes.get(index..)?.first_chunk()?))
    }

    /// The big-endian number at `index`, when captured.
    #[inline]
    pub(super) fn be32(self, index: usize) -> Option<u32> {
        Some(u32::from_be_bytes(*self.bytes.get(index..)?.first_chunk()?))
    }

    /// The big-endian number at `index`, when captured.
    pub(super) fn be64(self, index: usize) -> Option<u64> {
        Some(u64::from_be_bytes(*self.bytes.get(index..)?.first_chunk()?))
    }
}
