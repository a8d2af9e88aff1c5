//! The packed bytes of an input, as decoders ask for them.

use std::io::{self, BufRead, ErrorKind, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Packed bytes read at once.
const PACKED: usize = 256 << 10;

/// How many packed bytes have been read.
pub(in crate::capture) type Position = Arc<AtomicU64>;

/// The packed bytes, with a look ahead at a magic number.
pub(super) struct Packed {
    source: Box<dyn Read + Send>,
    bytes: Vec<u8>,
    start: usize,
    end: usize,
    position: Position,
    /// A read met the end of the source.
    pub(super) ended: bool,
    /// The stream begun last is a legacy frame of lz4.
    pub(super) legacy: bool,
}

impl Packed {
    pub(super) fn new(source: Box<dyn Read + Send>, position: Position) -> Self {
        Self { source, bytes: vec![0; PACKED], start: 0, end: 0, position, ended: false, legacy: false }
    }

    /// Reads once behind what is buffered; 0 at the end.
    fn fill(&mut self) -> io::Result<usize> {
        self.bytes.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        loop {
            match self.source.read(&mut self.bytes[self.end..]) {
                Ok(count) => {
                    self.ended |= count == 0;
                    self.end += count;
                    return Ok(count);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// The next four bytes, if there are as many.
    pub(super) fn peek_magic(&mut self) -> io::Result<Option<[u8; 4]>> {
        while self.end - self.start < 4 {
            if self.fill()? == 0 {
                return Ok(None);
            }
        }
        let magic = self.bytes[self.start..self.end].first_chunk::<4>().copied();
        self.legacy = magic == Some([0x02, 0x21, 0x4c, 0x18]);
        Ok(magic)
    }

    /// Skips a frame of user data.
    pub(super) fn skip_frame(&mut self) -> io::Result<()> {
        let mut head = [0; 8];
        self.read_exact(&mut head)?;
        let length = u64::from(u32::from_le_bytes([head[4], head[5], head[6], head[7]]));
        let skipped = io::copy(&mut self.by_ref().take(length), &mut io::sink())?;
        if skipped < length { Err(ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
    }
}

impl Read for Packed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let available = self.fill_buf()?;
        let count = available.len().min(buffer.len());
        buffer[..count].copy_from_slice(&available[..count]);
        self.consume(count);
        Ok(count)
    }
}

impl BufRead for Packed {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.start == self.end {
            self.fill()?;
        }
        Ok(&self.bytes[self.start..self.end])
    }

    fn consume(&mut self, count: usize) {
        let count = count.min(self.end - self.start);
        self.start += count;
        self.position.fetch_add(count as u64, Ordering::Relaxed);
    }
}
