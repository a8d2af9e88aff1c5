//! Captures that come through a pipe, a FIFO or standard input.
//!
//! Whoever waits for one of two streams must not keep the other one from being read: a program that writes both by turns
//! would wait for us, and we for it. So who waits reads the other stream meanwhile, for those who ask for it later. And
//! whoever waits must be able to stop: a stream may be silent for hours.

use super::is_stream;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::OFlags;
use rustix::io::Errno;
use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Bytes read ahead at once: what a pipe holds (pipe(7)).
const PIECE: usize = 64 << 10;

/// Most bytes that are read ahead of one stream: more than writers keep in buffers of their own.
const MOST_AHEAD: usize = 16 << 20;

/// How long one stream is waited for alone: 1 ms, what a writer that is at work needs at most. Otherwise a stream that only is
/// slower than the other one would have that read ahead for nothing.
const ALONE: Timespec = Timespec { tv_sec: 0, tv_nsec: 1_000_000 };

/// How often one who waits looks whether to go on: 50 ms.
const LOOK: Timespec = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };

/// One of the streams of an analysis.
pub(crate) struct Live {
    streams: Arc<Streams>,
    own: usize,
}

/// The streams of an analysis, and what ends it.
struct Streams {
    of: [Option<Stream>; 2],
    cancel: Option<Arc<AtomicBool>>,
}

struct Stream {
    file: File,
    /// Locked by whoever reads.
    ahead: Mutex<Ahead>,
    /// Somebody asks for it, so that nobody else should.
    wanted: AtomicBool,
}

/// What was read of a stream before anybody asked for it.
#[derive(Default)]
struct Ahead {
    bytes: VecDeque<u8>,
    /// The end of the stream, or what ended it.
    end: Option<io::Result<()>>,
}

impl Live {
    /// Opens those of the two paths that name streams, `-` being standard input.
    pub(crate) fn open(paths: [Option<&Path>; 2], cancel: Option<Arc<AtomicBool>>) -> [io::Result<Option<Self>>; 2] {
        let mut failures = [None, None];
        let mut of = [None, None];
        for point in 0..2 {
            match paths[point].map(Stream::open) {
                Some(Ok(stream)) => of[point] = stream,
                Some(Err(error)) => failures[point] = Some(error),
                None => {}
            }
        }
        let there = [of[0].is_some(), of[1].is_some()];
        let streams = Arc::new(Streams { of, cancel });
        [0, 1].map(|own| match failures[own].take() {
            Some(error) => Err(error),
            None => Ok(there[own].then(|| Self { streams: Arc::clone(&streams), own })),
        })
    }

    /// The error of a read that was given up because the analysis is to end: no fault of the stream.
    pub(super) fn gave_up(error: &io::Error) -> bool {
        error.get_ref().and_then(|inner| inner.downcast_ref::<GaveUp>()).is_some()
    }
}

#[derive(Debug, thiserror::Error)]
#[error("interrupted")]
struct GaveUp;

impl Stream {
    /// None for what is no stream, or not there.
    fn open(path: &Path) -> io::Result<Option<Self>> {
        if !is_stream(path) {
            return Ok(None);
        }
        let file = if path == Path::new("-") {
            File::from(rustix::io::dup(io::stdin())?)
        } else {
            // A FIFO opens before anybody writes to it, so that both are open before one is waited for.
            let flags = OFlags::NONBLOCK.bits().cast_signed();
            OpenOptions::new().read(true).custom_flags(flags).open(path)?
        };
        Ok(Some(Self { file, ahead: Mutex::default(), wanted: AtomicBool::new(false) }))
    }

    /// To read ahead, if there is room and nobody asks for it.
    fn beside(&self) -> Option<(&File, MutexGuard<'_, Ahead>)> {
        if self.wanted.load(Ordering::SeqCst) {
            return None;
        }
        let ahead = self.ahead.try_lock().ok()?;
        ahead.has_room().then_some((&self.file, ahead))
    }
}

impl Ahead {
    /// Reads once, what can be read without waiting.
    fn fill(&mut self, mut file: &File) {
        let mut piece = vec![0; PIECE];
        match file.read(&mut piece) {
            Ok(0) => self.end = Some(Ok(())),
            Ok(count) => self.bytes.extend(&piece[..count]),
            Err(error) if passing(&error) => {}
            Err(error) => self.end = Some(Err(error)),
        }
    }

    fn has_room(&self) -> bool {
        self.end.is_none() && self.bytes.len() < MOST_AHEAD
    }

    /// Gives what was read ahead; none when nothing is left of it.
    fn give(&mut self, buffer: &mut [u8]) -> Option<io::Result<usize>> {
        if !self.bytes.is_empty() {
            return Some(self.bytes.read(buffer));
        }
        // The room that it took is given back.
        self.bytes = VecDeque::new();
        let end = self.end.take()?;
        self.end = Some(Ok(()));
        Some(end.map(|()| 0))
    }
}

/// Whether reading may go on after it.
fn passing(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

/// Waits for any of these; none when time ran out, or for a signal.
fn any(asked: &mut [PollFd<'_>], time: Timespec) -> io::Result<bool> {
    match poll(asked, Some(&time)) {
        Ok(count) => Ok(count > 0),
        Err(Errno::INTR) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

impl Streams {
    /// Waits until a stream can be read, but not for ever, and reads the other one meanwhile; whether it can be.
    fn wait(&self, own: usize, stream: &Stream) -> io::Result<bool> {
        let asked = PollFd::new(&stream.file, PollFlags::IN);
        if any(&mut [asked.clone()], ALONE)? {
            return Ok(true);
        }
        let Some((file, mut ahead)) = self.of[1 - own].as_ref().and_then(Stream::beside) else {
            return any(&mut [asked], LOOK);
        };
        let both = &mut [asked, PollFd::new(file, PollFlags::IN)];
        // The end and an error can be read as well.
        let ready = any(both, LOOK)? && !both[0].revents().is_empty();
        if !ready && !both[1].revents().is_empty() {
            ahead.fill(file);
        }
        Ok(ready)
    }

    fn read(&self, own: usize, stream: &Stream, buffer: &mut [u8]) -> io::Result<usize> {
        let mut ahead = stream.ahead.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(given) = ahead.give(buffer) {
            return given;
        }
        loop {
            if self.wait(own, stream)? {
                match (&stream.file).read(buffer) {
                    Err(error) if passing(&error) => {}
                    result => return result,
                }
            }
            if self.cancel.as_ref().is_some_and(|cancel| cancel.load(Ordering::Relaxed)) {
                return Err(io::Error::other(GaveUp));
            }
        }
    }
}

impl Read for Live {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(stream) = &self.streams.of[self.own] else { return Ok(0) };
        stream.wanted.store(true, Ordering::SeqCst);
        let result = self.streams.read(self.own, stream, buffer);
        stream.wanted.store(false, Ordering::SeqCst);
        result
    }
}
