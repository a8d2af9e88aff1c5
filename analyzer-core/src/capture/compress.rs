//! Compressed captures: unpacked on a thread of their own, so that two of them are unpacked beside the analysis.
//!
//! The thread hands over buffers through a bounded channel and gets them back to fill again; four of 256 KiB stay in
//! cache and are enough to keep both sides busy. What was unpacked before the compressed data turn out to be cut off or
//! damaged is delivered first, the error after it. Several members (gzip) or frames (zstd, lz4) in a row are one
//! stream, as for the tools of those names; what stands behind the last of them is no error.

use super::sniff::Compression;
#[cfg(feature = "gzip")]
use flate2::{Decompress, FlushDecompress, Status};
use std::io::{self, BufRead, ErrorKind, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::thread;

/// Unpacked bytes handed over at once.
const PIECE: usize = 256 << 10;

/// Pieces on their way.
const PIECES: usize = 4;

/// Packed bytes read at once.
const PACKED: usize = 256 << 10;

/// Window of deflate, as a power of two (RFC 1951, section 2: 32 KiB).
#[cfg(feature = "gzip")]
const GZIP_WINDOW_BITS: u8 = 15;

/// The unpacked bytes of a compressed input.
pub(super) struct Unpacked {
    pieces: Receiver<io::Result<Vec<u8>>>,
    emptied: SyncSender<Vec<u8>>,
    piece: Vec<u8>,
    consumed: usize,
    ended: bool,
}

/// How many packed bytes have been read.
pub(super) type Position = Arc<AtomicU64>;

/// Unpacks `source` on a new thread. The thread ends when the result is dropped, once its current read is done.
pub(super) fn unpack(source: Box<dyn Read + Send>, compression: Compression) -> io::Result<(Unpacked, Position)> {
    let position = Position::default();
    let packed = Packed::new(source, Arc::clone(&position));
    let (send_piece, pieces) = sync_channel(PIECES);
    let (emptied, take_emptied) = sync_channel(PIECES);
    thread::Builder::new().name(format!("unpack {}", compression.name())).spawn(move || {
        let mut unpacker = Unpacker { packed: Some(packed), stream: None, compression, streams: 0 };
        while unpacker.hand_over(&send_piece, &take_emptied) {}
    })?;
    Ok((Unpacked { pieces, emptied, piece: Vec::new(), consumed: 0, ended: false }, position))
}

impl Read for Unpacked {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.consumed == self.piece.len() {
            if self.ended {
                return Ok(0);
            }
            // A full channel or a finished thread: the buffer is simply dropped.
            let _ = self.emptied.try_send(std::mem::take(&mut self.piece));
            self.consumed = 0;
            match self.pieces.recv() {
                Ok(Ok(piece)) if piece.is_empty() => self.ended = true,
                Ok(Ok(piece)) => self.piece = piece,
                Ok(Err(error)) => {
                    self.ended = true;
                    return Err(error);
                }
                // The thread always ends with an empty piece or an error, unless a decoder panicked.
                Err(_) => {
                    self.ended = true;
                    return Err(io::Error::other("the decompressor failed"));
                }
            }
        }
        let count = buffer.len().min(self.piece.len() - self.consumed);
        buffer[..count].copy_from_slice(&self.piece[self.consumed..self.consumed + count]);
        self.consumed += count;
        Ok(count)
    }
}

/// The thread's side.
struct Unpacker {
    /// Between two streams.
    packed: Option<Packed>,
    /// Inside one.
    stream: Option<Box<dyn Stream>>,
    compression: Compression,
    /// Streams begun.
    streams: u64,
}

/// One gzip member, or one frame of zstd or lz4.
trait Stream: Read + Send {
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
impl Stream for zstd::stream::read::Decoder<'static, Packed> {
    fn finish(self: Box<Self>) -> io::Result<Packed> {
        Ok((*self).finish())
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
fn stream(compression: Compression, packed: Packed) -> io::Result<Box<dyn Stream>> {
    match compression {
        #[cfg(feature = "gzip")]
        Compression::Gzip => Ok(Box::new(Gzip::new(packed))),
        #[cfg(feature = "zstd")]
        Compression::Zstd => Ok(Box::new(zstd::stream::read::Decoder::with_buffer(packed)?.single_frame())),
        #[cfg(feature = "lz4")]
        Compression::Lz4 => Ok(Box::new(lz4_flex::frame::FrameDecoder::new(packed))),
        #[cfg(not(all(feature = "gzip", feature = "zstd", feature = "lz4")))]
        other => {
            drop(packed);
            Err(io::Error::new(ErrorKind::Unsupported, other.name()))
        }
    }
}

impl Unpacker {
    /// Fills one piece and hands it over; false when that was the last, or when nobody listens any more.
    fn hand_over(&mut self, pieces: &SyncSender<io::Result<Vec<u8>>>, emptied: &Receiver<Vec<u8>>) -> bool {
        let mut piece = match emptied.try_recv() {
            Ok(piece) => piece,
            Err(TryRecvError::Empty) => Vec::new(),
            Err(TryRecvError::Disconnected) => return false,
        };
        piece.resize(PIECE, 0);
        let mut filled = 0;
        let mut failure = None;
        while filled < PIECE {
            match self.read(&mut piece[filled..]) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => {
                    failure = Some(error);
                    break;
                }
            }
        }
        let last = filled < PIECE;
        piece.truncate(filled);
        // An empty piece is the end, so one must not be sent before an error.
        if (filled > 0 || failure.is_none()) && pieces.send(Ok(piece)).is_err() {
            return false;
        }
        if !last {
            return true;
        }
        let end = failure.map_or_else(|| Ok(Vec::new()), |error| Err(explain(&error, self.compression)));
        let _ = pieces.send(end);
        false
    }

    /// Unpacked bytes of this stream or of the next; none at the end.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if self.stream.is_none() && !self.begin()? {
                return Ok(0);
            }
            let Some(stream) = &mut self.stream else { return Ok(0) };
            match stream.read(buffer) {
                Ok(0) => self.finish()?,
                other => return other,
            }
        }
    }

    /// Begins the next stream; false when there is none.
    fn begin(&mut self) -> io::Result<bool> {
        let Some(mut packed) = self.packed.take() else { return Ok(false) };
        loop {
            let magic = packed.peek_magic()?;
            // Frames of user data, which zstd and lz4 share: 0x184D2A50 to 0x184D2A5F, then their length.
            let is_skippable = self.compression != Compression::Gzip
                && magic.is_some_and(|magic| magic[0] & 0xf0 == 0x50 && magic[1..] == [0x2a, 0x4d, 0x18]);
            if is_skippable {
                packed.skip_frame()?;
                continue;
            }
            // Padding of tapes and block devices, or whatever was appended: gzip, zstd and lz4 ignore it with a
            // warning at most.
            if magic.and_then(Compression::sniff) != Some(self.compression) {
                return Ok(false);
            }
            break;
        }
        packed.ended = false;
        self.streams += 1;
        self.stream = Some(stream(self.compression, packed)?);
        Ok(true)
    }

    /// Takes back the packed bytes from a stream that has ended.
    fn finish(&mut self) -> io::Result<()> {
        if let Some(stream) = self.stream.take() {
            self.packed = Some(stream.finish()?);
        }
        Ok(())
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

/// The packed bytes, with a look ahead at a magic number.
struct Packed {
    source: Box<dyn Read + Send>,
    bytes: Vec<u8>,
    start: usize,
    end: usize,
    position: Position,
    /// A read met the end of the source.
    ended: bool,
    /// The stream begun last is a legacy frame of lz4.
    legacy: bool,
}

impl Packed {
    fn new(source: Box<dyn Read + Send>, position: Position) -> Self {
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
    fn peek_magic(&mut self) -> io::Result<Option<[u8; 4]>> {
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
    fn skip_frame(&mut self) -> io::Result<()> {
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

/// An error of a decoder in words that say what to do.
fn explain(error: &io::Error, compression: Compression) -> io::Error {
    let name = compression.name();
    let message = if error.kind() == ErrorKind::UnexpectedEof || error.to_string() == "incomplete frame" {
        format!("the {name} data are cut off")
    } else if error.to_string().contains("too much memory") {
        // Up to 2 GiB of it (zstd --long=31) is not given without being asked.
        "the zstd data need more than 128 MiB of window: decompress them first with zstd -d --long=31".to_owned()
    } else if matches!(error.kind(), ErrorKind::InvalidData | ErrorKind::InvalidInput | ErrorKind::Other) {
        format!("the {name} data are damaged ({error})")
    } else {
        error.to_string()
    };
    io::Error::new(error.kind(), message)
}
