//! One gzip member, or one frame of zstd or lz4, by the library that unpacks it.

use super::packed::Packed;
use crate::capture::sniff::Compression;
#[cfg(feature = "gzip")]
use flate2::{Decompress, FlushDecompress, Status};
#[cfg(any(feature = "gzip", feature = "zstd"))]
use std::io::BufRead;
use std::io::{self, ErrorKind, Read};
#[cfg(feature = "zstd")]
use zstd::stream::raw::{InBuffer, Operation, OutBuffer};

/// Window of deflate, as a power of two (RFC 1951, section 2: 32 KiB).
#[cfg(feature = "gzip")]
const GZIP_WINDOW_BITS: u8 = 15;

/// One gzip member, or one frame of zstd or lz4.
pub(super) trait Stream: Read + Send {
    /// Gives the packed bytes back once it has ended.
    fn finish(self: Box<Self>) -> io::Result<Packed>;
}

#[cfg(feature = "gzip")]
impl Stream for Gzip {
    fn finish(self: Box<Self>) -> io::Result<Packed> {
        Ok(self.packed)
    }
}

#[cfg(feature = "zstd")]
impl Stream for Zstd {
    fn finish(self: Box<Self>) -> io::Result<Packed> {
        Ok(self.packed)
    }
}

#[cfg(feature = "lz4")]
impl Stream for lz4_flex::frame::FrameDecoder<Packed> {
    fn finish(self: Box<Self>) -> io::Result<Packed> {
        let packed = self.into_inner();
        // A frame cut between two blocks ends for the decoder as if it were whole; only a whole one ends without having
        // asked for more than there is. A legacy frame has no end mark to ask for.
        if packed.ended && !packed.legacy { Err(ErrorKind::UnexpectedEof.into()) } else { Ok(packed) }
    }
}

/// Begins a stream.
pub(super) fn stream(compression: Compression, packed: Packed) -> io::Result<Box<dyn Stream>> {
    match compression {
        #[cfg(feature = "gzip")]
        Compression::Gzip => Ok(Box::new(Gzip::new(packed))),
        #[cfg(feature = "zstd")]
        Compression::Zstd => Ok(Box::new(Zstd::new(packed)?)),
        #[cfg(feature = "lz4")]
        Compression::Lz4 => Ok(Box::new(lz4_flex::frame::FrameDecoder::new(packed))),
        #[cfg(not(all(feature = "gzip", feature = "zstd", feature = "lz4")))]
        other => {
            drop(packed);
            Err(io::Error::new(ErrorKind::Unsupported, other.name()))
        }
    }
}

/// One gzip member. The library's own reader forgets what it unpacked in the call that meets the damage, which is up to
/// a whole piece.
#[cfg(feature = "gzip")]
struct Gzip {
    packed: Packed,
    inflate: Decompress,
    /// Whether it has ended, and whole.
    whole: Option<bool>,
}

#[cfg(feature = "gzip")]
impl Gzip {
    fn new(packed: Packed) -> Self {
        Self { packed, inflate: Decompress::new_gzip(GZIP_WINDOW_BITS), whole: None }
    }
}

#[cfg(feature = "gzip")]
impl Read for Gzip {
    /// Unpacked bytes; none when the member has ended as it should.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.whole {
                Some(true) => return Ok(0),
                // Its own words depend on how much was read before.
                Some(false) => return Err(io::Error::new(ErrorKind::InvalidData, "corrupt deflate stream")),
                None => {}
            }
            let input = self.packed.fill_buf()?;
            let ended = input.is_empty();
            let (taken, given) = (self.inflate.total_in(), self.inflate.total_out());
            let status = self.inflate.decompress(input, buffer, FlushDecompress::None);
            let (taken, given) = (self.inflate.total_in() - taken, self.inflate.total_out() - given);
            self.packed.consume(taken as usize);
            match status {
                Ok(Status::Ok | Status::BufError) if taken == 0 && given == 0 && ended => {
                    return Err(ErrorKind::UnexpectedEof.into());
                }
                Ok(Status::Ok | Status::BufError) => {}
                Ok(Status::StreamEnd) => self.whole = Some(true),
                Err(_) => self.whole = Some(false),
            }
            if given > 0 {
                return Ok(given as usize);
            }
        }
    }
}

/// The magic number and the descriptor of a zstd frame (RFC 8878, section 3.1.1): what its decoder asks for first.
#[cfg(feature = "zstd")]
const ZSTD_START: usize = 5;

/// The header of a zstd block (RFC 8878, section 3.1.1.2).
#[cfg(feature = "zstd")]
const ZSTD_BLOCK_HEADER: usize = 3;

/// One zstd frame. The library's own reader forgets what it unpacked in the call that meets the damage; here a call ends with
/// the block that it began with.
#[cfg(feature = "zstd")]
struct Zstd {
    packed: Packed,
    decoder: zstd::stream::raw::Decoder<'static>,
    /// Packed bytes that the decoder would like: those of a block and the next header, or of a part of the frame that is
    /// short; 0 at the end of the frame.
    asked: usize,
    /// Whether there may be more of the block than there was room for.
    full: bool,
}

#[cfg(feature = "zstd")]
impl Zstd {
    fn new(packed: Packed) -> io::Result<Self> {
        Ok(Self { packed, decoder: zstd::stream::raw::Decoder::new()?, asked: ZSTD_START, full: false })
    }
}

#[cfg(feature = "zstd")]
impl Read for Zstd {
    /// Unpacked bytes; none when the frame has ended as it should.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.asked > 0 {
            // What the decoder still holds comes out without more input, which might be damaged.
            let mut input = InBuffer::around(&[]);
            if !self.full {
                let there = self.packed.fill_buf()?;
                if there.is_empty() {
                    return Err(ErrorKind::UnexpectedEof.into());
                }
                // A header that turns out to be nonsense must not be in one call with the block before it.
                let block = self.asked.saturating_sub(ZSTD_BLOCK_HEADER).max(1);
                input = InBuffer::around(&there[..there.len().min(block)]);
            }
            let mut output = OutBuffer::around(&mut *buffer);
            self.asked = self.decoder.run(&mut input, &mut output)?;
            let (taken, given) = (input.pos(), output.pos());
            self.full = given == buffer.len();
            self.packed.consume(taken);
            if given > 0 {
                return Ok(given);
            }
        }
        Ok(0)
    }
}
