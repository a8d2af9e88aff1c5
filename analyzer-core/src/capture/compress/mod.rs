//! Compressed captures: unpacked on a thread of their own, so that two of them are unpacked beside the analysis.
//!
//! The thread hands over buffers through a bounded channel and gets them back to fill again; four of 256 KiB stay in
//! cache and are enough to keep both sides busy. What was unpacked before the compressed data turn out to be cut off or
//! damaged is delivered first, the error after it. Several members (gzip) or frames (zstd, lz4) in a row are one
//! stream, as for the tools of those names; what stands behind the last of them is no error.
//!
//! - `stream`: one member or frame, by its library
//! - `packed`: the packed bytes

mod packed;
mod stream;

use self::packed::{Packed, Position};
use self::stream::{Stream, stream};
use super::Live;
use super::sniff::Compression;
use std::io::{self, ErrorKind, Read};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::thread;

/// Unpacked bytes handed over at once.
const PIECE: usize = 256 << 10;

/// Pieces on their way.
const PIECES: usize = 4;

/// The unpacked bytes of a compressed input.
pub(super) struct Unpacked {
    pieces: Receiver<io::Result<Vec<u8>>>,
    emptied: SyncSender<Vec<u8>>,
    piece: Vec<u8>,
    consumed: usize,
    ended: bool,
}

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
        let end = failure.map_or_else(|| Ok(Vec::new()), |error| Err(explain(error, self.compression)));
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

/// An error of a decoder in words that say what to do.
fn explain(error: io::Error, compression: Compression) -> io::Error {
    if Live::gave_up(&error) {
        return error;
    }
    let name = compression.name();
    let message = if error.kind() == ErrorKind::UnexpectedEof {
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
