//! Writes one capture, in the order of time although packets that were forwarded are known before their time has come.

use std::collections::VecDeque;
use std::io::{self, Write};

/// Magic number of a capture with microseconds, in the writer's byte order.
const MAGIC: u32 = 0xa1b2_c3d4;
/// `LINKTYPE_ETHERNET`.
const ETHERNET: u32 = 1;
/// What tcpdump takes unless told otherwise.
const SNAPLEN: u32 = 262_144;

/// A capture being written.
pub(crate) struct Capture<W> {
    out: W,
    /// Frames that will pass here later, in the order of their times (microseconds).
    coming: VecDeque<(u64, Vec<u8>)>,
    /// Buffers to use again.
    spare: Vec<Vec<u8>>,
    pub(crate) packets: u64,
    pub(crate) bytes: u64,
}

impl<W: Write> Capture<W> {
    pub(crate) fn new(mut out: W) -> io::Result<Self> {
        let mut header = [0; 24];
        header[0..4].copy_from_slice(&MAGIC.to_le_bytes());
        header[4..6].copy_from_slice(&2_u16.to_le_bytes());
        header[6..8].copy_from_slice(&4_u16.to_le_bytes());
        header[16..20].copy_from_slice(&SNAPLEN.to_le_bytes());
        header[20..24].copy_from_slice(&ETHERNET.to_le_bytes());
        out.write_all(&header)?;
        Ok(Self { out, coming: VecDeque::new(), spare: Vec::new(), packets: 0, bytes: header.len() as u64 })
    }

    /// A frame passes at `time`, which is not before that of any frame that passed already.
    pub(crate) fn pass(&mut self, time: u64, frame: &[u8]) -> io::Result<()> {
        self.advance(time)?;
        self.record(time, frame)
    }

    /// A frame will pass at `time`, or with the one that is last in the queue. Returns when.
    pub(crate) fn will_pass(&mut self, time: u64, frame: &[u8]) -> u64 {
        let time = self.coming.back().map_or(time, |(last, _)| time.max(*last));
        let mut buffer = self.spare.pop().unwrap_or_default();
        buffer.clear();
        buffer.extend_from_slice(frame);
        self.coming.push_back((time, buffer));
        time
    }

    /// Writes what has come until `time`.
    fn advance(&mut self, time: u64) -> io::Result<()> {
        while self.coming.front().is_some_and(|(due, _)| *due <= time) {
            let Some((due, frame)) = self.coming.pop_front() else { break };
            self.record(due, &frame)?;
            self.spare.push(frame);
        }
        Ok(())
    }

    /// Writes what is still to come, and the end.
    pub(crate) fn finish(&mut self) -> io::Result<()> {
        self.advance(u64::MAX)?;
        self.out.flush()
    }

    /// A record as it is, whatever its time.
    pub(crate) fn record(&mut self, time: u64, frame: &[u8]) -> io::Result<()> {
        let mut header = [0; 16];
        header[0..4].copy_from_slice(&((time / 1_000_000) as u32).to_le_bytes());
        header[4..8].copy_from_slice(&((time % 1_000_000) as u32).to_le_bytes());
        header[8..12].copy_from_slice(&(frame.len() as u32).to_le_bytes());
        header[12..16].copy_from_slice(&(frame.len() as u32).to_le_bytes());
        self.out.write_all(&header)?;
        self.out.write_all(frame)?;
        self.packets += 1;
        self.bytes += (header.len() + frame.len()) as u64;
        Ok(())
    }
}
