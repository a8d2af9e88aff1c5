//! The classic capture format: a 24-byte file header, then records of a 16-byte header and the captured bytes.
//!
//! Read with both byte orders, microseconds and nanoseconds, and the longer record header of the "modified" libpcap of
//! the nineties. Its records carry no mark by which to recognise one, so after damage the next three record headers
//! that fit together are searched.

use super::input::{Input, SCAN_LIMIT};
use super::only::Wanted;
use super::problem::{Grouped, Place, Problems};
use super::{Interface, LinkType, MAX_RECORD, Next, Record};
use crate::time::SECOND;

/// libpcap's own bound on the snap length (`MAXIMUM_SNAPLEN`): what a record may have whatever the file header says.
const USUAL_SNAPLEN: u32 = 262_144;

/// Longest record that is believed without looking at what follows it.
const BELIEVED_SNAPLEN: u32 = 1 << 20;

/// Records that must fit together before reading goes on behind damage.
const RESYNC_RECORDS: usize = 3;

/// Time stamps of records found behind damage are within this of the last good one.
const RESYNC_TIME: u64 = 86_400 * SECOND as u64;

/// Length of the file header.
const FILE_HEADER: usize = 24;

/// Length of a record header, but for the modified format.
const HEADER: usize = 16;

/// The state of reading one classic capture.
pub(super) struct Pcap {
    /// The file's byte order is not little-endian.
    swapped: bool,
    /// Nanoseconds in a unit of the second half of a time stamp.
    unit: i64,
    /// [`HEADER`], or 24 for the modified format.
    header_len: usize,
    /// Longest record that needs no second look.
    limit: u32,
    link_type: LinkType,
    fcs_len: u8,
    packets: u64,
    last_time: i64,
    /// Of the record before the last: the last one may have been misread damage already.
    before_last_time: i64,
    ended: bool,
    snaplen: u32,
    /// Version 2.3 and before: the two lengths may stand in the other order.
    lengths_swapped: bool,
    noted_long: bool,
    noted_longer_than_wire: bool,
    /// Of a cooked capture, the interface wanted.
    wanted: Wanted,
}

/// A record header in the host's byte order.
#[derive(Clone, Copy)]
struct Header {
    seconds: u32,
    fraction: u32,
    caplen: u32,
    wirelen: u32,
}

/// What became of a look at a record.
enum Verdict {
    Good,
    /// The input ends inside the record.
    Cut,
    /// It cannot be a record.
    Bad(String),
}

impl Pcap {
    /// Whether a file that starts with these bytes is of this format.
    pub(super) fn sniff(magic: [u8; 4]) -> bool {
        Self::variant(magic).is_some()
    }

    /// Byte order, unit of time and length of the record header by the magic number.
    fn variant(magic: [u8; 4]) -> Option<(bool, i64, usize)> {
        let variant = |number| match number {
            0xa1b2_c3d4_u32 => Some((1000, HEADER)),
            0xa1b2_3c4d => Some((1, HEADER)),
            0xa1b2_cd34 => Some((1000, 24)),
            _ => None,
        };
        let (unit, header_len, swapped) = match variant(u32::from_le_bytes(magic)) {
            Some((unit, header_len)) => (unit, header_len, false),
            None => variant(u32::from_be_bytes(magic)).map(|(unit, header_len)| (unit, header_len, true))?,
        };
        Some((swapped, unit, header_len))
    }

    /// Reads the file header; the reason when there is none.
    pub(super) fn open(input: &mut Input, problems: &mut Problems) -> Result<Self, String> {
        if !input.need(FILE_HEADER) {
            return Err(format!("is cut off in the pcap file header, after {} bytes", input.peek().len()));
        }
        let header = input.take(FILE_HEADER);
        let word = |at: usize| [header[at], header[at + 1], header[at + 2], header[at + 3]];
        let Some((swapped, unit, header_len)) = Self::variant(word(0)) else {
            return Err("is not a pcap capture".to_owned());
        };
        let number = |at| if swapped { u32::from_be_bytes(word(at)) } else { u32::from_le_bytes(word(at)) };
        let versions = number(4);
        // The two halves are separate 16-bit fields, so their order in the word depends on the byte order.
        let (major, minor) =
            if swapped { (versions >> 16, versions & 0xffff) } else { (versions & 0xffff, versions >> 16) };
        if major != 2 {
            problems.note(4, 1, format_args!("file header: version {major}.{minor} is unknown; read as version 2.4"));
        }
        let snaplen = number(16);
        let network = number(20);
        if network & 0x03ff_0000 != 0 {
            let link_type = network & 0xffff;
            let message = format_args!("file header: link type {network:#010x} has reserved bits; read as {link_type}");
            problems.note(20, 1, message);
        }
        // Bit 26 says that the upper four bits count the 16-bit words of frame check sequence (LT_FCS_LENGTH).
        let fcs_len = if network & 0x0400_0000 != 0 { (network >> 28) as u8 * 2 } else { 0 };
        Ok(Self {
            swapped,
            unit,
            header_len,
            limit: snaplen.clamp(USUAL_SNAPLEN, BELIEVED_SNAPLEN),
            link_type: LinkType(network as u16),
            fcs_len,
            packets: 0,
            last_time: 0,
            before_last_time: 0,
            ended: false,
            snaplen,
            lengths_swapped: major == 2 && minor <= 3,
            noted_long: false,
            noted_longer_than_wire: false,
            wanted: Wanted::All,
        })
    }

    /// Hands on the frames of one interface only; from now on through [`next_wanted`](Self::next_wanted).
    pub(super) fn want(&mut self, wanted: Wanted) {
        self.wanted = wanted;
    }

    /// The next record of the interface wanted.
    pub(super) fn next_wanted<'a>(&mut self, input: &'a mut Input, problems: &mut Problems, until: i64) -> Next<'a> {
        self.next_slow(input, problems, until)
    }

    /// Goes on behind so many records, the last one of this time.
    pub(super) fn resume(&mut self, packets: u64, time: i64) {
        (self.packets, self.last_time, self.before_last_time) = (packets, time, time);
    }

    /// Time of the last record.
    pub(super) fn last_time(&self) -> i64 {
        self.last_time
    }

    /// Records read.
    pub(super) fn packets(&self) -> u64 {
        self.packets
    }

    /// The one interface.
    pub(super) fn interface(&self) -> Interface {
        Interface {
            link_type: self.link_type,
            snaplen: self.snaplen,
            fcs_len: self.fcs_len,
            packets: self.packets,
            ticks_per_second: Some((SECOND / self.unit) as u64),
            ..Interface::default()
        }
    }

    #[inline]
    fn header(&self, bytes: &[u8]) -> Option<Header> {
        let bytes = bytes.first_chunk::<HEADER>()?;
        let word = |at: usize| {
            let word = u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
            if self.swapped { word.swap_bytes() } else { word }
        };
        Some(Header { seconds: word(0), fraction: word(4), caplen: word(8), wirelen: word(12) })
    }

    /// Cannot overflow: at most 2^32 seconds are 4.3e18 ns. A fraction of a second or more is carried.
    #[inline]
    fn time(&self, header: Header) -> i64 {
        i64::from(header.seconds) * SECOND + i64::from(header.fraction) * self.unit
    }

    /// The next record. This much is the path of nearly every record, and small enough to be inlined into the loop.
    #[inline]
    pub(super) fn next<'a>(&mut self, input: &'a mut Input, problems: &mut Problems, until: i64) -> Next<'a> {
        let bytes = input.peek();
        if let Some(header) = self.header(bytes) {
            let caplen = header.caplen as usize;
            // One comparison refuses both an absurd length and none at all.
            if header.caplen.wrapping_sub(1) < self.limit
                && header.caplen <= header.wirelen
                && bytes.len() >= self.header_len + caplen
            {
                let time = self.time(header);
                if time >= until {
                    return Next::Later;
                }
                return Next::Record(self.lend(input, header, time));
            }
        }
        self.next_slow(input, problems, until)
    }

    /// Shows the next records as long as nothing about them is odd, they are all in the buffer and below `until`; at most
    /// `most`. How many there were; [`next`](Self::next) goes on from there. Between them nothing is looked up again.
    #[inline]
    pub(super) fn each(
        &mut self,
        input: &mut Input,
        until: i64,
        most: usize,
        show: &mut impl FnMut(&Record<'_>),
    ) -> usize {
        let mut rest = input.peek();
        let buffered = rest.len();
        let mut count = 0;
        while count < most && self.header_len == HEADER && !self.swapped {
            let Some(header) = self.header(rest) else { break };
            let end = HEADER + header.caplen as usize;
            let usual = header.caplen.wrapping_sub(1) < self.limit && header.caplen <= header.wirelen;
            let time = self.time(header);
            if !usual || rest.len() < end || time >= until {
                break;
            }
            let (record, after) = rest.split_at(end);
            rest = after;
            show(&self.record(header, time, &record[HEADER..]));
            count += 1;
        }
        let read = buffered - rest.len();
        input.take(read);
        count
    }

    #[inline]
    fn lend<'a>(&mut self, input: &'a mut Input, header: Header, time: i64) -> Record<'a> {
        self.record(header, time, &input.take(self.header_len + header.caplen as usize)[self.header_len..])
    }

    /// Counts a record.
    #[inline]
    fn record<'a>(&mut self, header: Header, time: i64, data: &'a [u8]) -> Record<'a> {
        self.packets += 1;
        self.before_last_time = self.last_time;
        self.last_time = time;
        Record {
            time,
            frame: u32::try_from(self.packets).unwrap_or(u32::MAX),
            wirelen: header.wirelen,
            interface: 0,
            link_type: self.link_type,
            fcs_len: self.fcs_len,
            data,
        }
    }

    /// The next record when the buffer must be filled, or when something about the record is odd.
    #[cold]
    #[inline(never)]
    fn next_slow<'a>(&mut self, input: &'a mut Input, problems: &mut Problems, until: i64) -> Next<'a> {
        while !self.ended {
            let (offset, frame) = (input.offset(), self.packets + 1);
            if !input.need(self.header_len) {
                self.ended = true;
                let left = input.peek().len() as u64;
                if !input.gave_up() && (left > 0 || input.failure().is_some()) {
                    problems.cut("record", frame, offset, offset + left, None, input.failure());
                    input.take(left as usize);
                }
                break;
            }
            let Some(mut header) = self.header(input.peek()) else { break };
            if self.lengths_swapped && header.caplen > header.wirelen {
                (header.caplen, header.wirelen) = (header.wirelen, header.caplen);
            }
            match self.judge(input, header) {
                Verdict::Good => {}
                // The rest of it may still come, but nobody waits any more.
                Verdict::Cut if input.gave_up() => {
                    self.ended = true;
                    break;
                }
                Verdict::Cut => {
                    self.resync(input, problems, header, None);
                    continue;
                }
                Verdict::Bad(reason) => {
                    self.resync(input, problems, header, Some(&reason));
                    continue;
                }
            }
            let time = self.time(header);
            if time >= until {
                return Next::Later;
            }
            let place = Place { what: "record", offset, frame };
            if header.caplen > self.limit && !self.noted_long {
                self.noted_long = true;
                let (caplen, snaplen) = (Grouped(header.caplen.into()), Grouped(self.snaplen.into()));
                let message =
                    format_args!("{place}: has {caplen} bytes, more than the snap length {snaplen}; accepted");
                problems.note(offset, frame, message);
            }
            if header.caplen > header.wirelen {
                if !self.noted_longer_than_wire {
                    self.noted_longer_than_wire = true;
                    let (caplen, wirelen) = (Grouped(header.caplen.into()), Grouped(header.wirelen.into()));
                    let message = format_args!(
                        "{place}: has {caplen} bytes but a length on the wire of {wirelen}; accepted, here and in later records"
                    );
                    problems.note(offset, frame, message);
                }
                header.wirelen = header.caplen;
            }
            let length = self.header_len + header.caplen as usize;
            if !self.wanted.has(&input.peek()[self.header_len..length]) {
                self.lend(input, header, time);
                continue;
            }
            return Next::Record(self.lend(input, header, time));
        }
        Next::End
    }

    /// Whether the record at the current position can be one.
    fn judge(&self, input: &mut Input, header: Header) -> Verdict {
        let total = self.header_len + header.caplen as usize;
        if (header.seconds, header.fraction, header.caplen, header.wirelen) == (0, 0, 0, 0) {
            return Verdict::Bad("only zero bytes where a record header should be".to_owned());
        }
        if header.caplen > MAX_RECORD {
            let (caplen, bound) = (Grouped(header.caplen.into()), Grouped(MAX_RECORD.into()));
            return Verdict::Bad(format!("length {caplen} is more than a record can have ({bound})"));
        }
        if !input.need(total) {
            return Verdict::Cut;
        }
        // Legal, but damage is likelier: believed when another record or the end of the file follows.
        let odd = header.caplen > self.limit || header.caplen > header.wirelen || header.caplen == 0;
        if odd && input.need(total + self.header_len) {
            let follows = self.header(&input.peek()[total..]).is_some_and(|next| Self::possible(next, MAX_RECORD));
            if !follows {
                let (caplen, wirelen) = (Grouped(header.caplen.into()), Grouped(header.wirelen.into()));
                return Verdict::Bad(format!("length {caplen} ({wirelen} on the wire), and no record follows it"));
            }
        }
        Verdict::Good
    }

    /// Goes on behind a record that is not one (`reason`) or that the input is too short for: it may be cut off, or its
    /// length may be wrong.
    fn resync(&mut self, input: &mut Input, problems: &mut Problems, header: Header, reason: Option<&str>) {
        let (offset, frame) = (input.offset(), self.packets + 1);
        let end = offset + input.peek().len() as u64;
        let place = Place { what: "record", offset, frame };
        input.take(1);
        let lookahead = (RESYNC_RECORDS - 1) * (self.header_len + self.limit as usize) + self.header_len;
        let found = input.scan(lookahead, |bytes, ended| self.fits(bytes, ended));
        if found {
            let (resumed, skipped) = (input.offset(), Grouped(input.offset() - offset));
            let resumed = Grouped(resumed);
            let tail =
                format_args!("{skipped} bytes skipped, the record at byte {resumed} is counted as frame {frame}");
            if let Some(reason) = reason {
                problems.note(offset, frame, format_args!("{place}: {reason}; {tail}"));
            } else {
                let caplen = Grouped(header.caplen.into());
                problems.note(offset, frame, format_args!("{place}: length {caplen} reaches beyond the end; {tail}"));
            }
            return;
        }
        self.ended = true;
        let Some(reason) = reason else {
            let size = self.header_len as u64 + u64::from(header.caplen);
            problems.cut("record", frame, offset, end, Some(size), input.failure());
            return;
        };
        problems.stopped_at(offset);
        let scanned = Grouped((input.offset() - offset).min(SCAN_LIMIT));
        let message =
            format_args!("{place}: {reason}; no record found in the {scanned} bytes from there, reading stopped");
        problems.note(offset, frame, message);
    }

    /// Whether [`RESYNC_RECORDS`] plausible records follow each other from here on, or fewer that end the file exactly.
    fn fits(&self, bytes: &[u8], ended: bool) -> bool {
        let mut previous = match self.packets {
            0 => [None, None],
            1 => [Some(self.last_time), None],
            _ => [Some(self.last_time), Some(self.before_last_time)],
        };
        let mut at = 0;
        for nth in 0..RESYNC_RECORDS {
            if nth > 0 && ended && at == bytes.len() {
                return true;
            }
            let Some(header) = bytes.get(at..).and_then(|rest| self.header(rest)) else { return false };
            if !self.plausible(header, previous) {
                return false;
            }
            previous = [Some(self.time(header)), None];
            at += self.header_len + header.caplen as usize;
        }
        true
    }

    /// Whether a record of any writer, of at most `longest` bytes, can have this header.
    fn possible(header: Header, longest: u32) -> bool {
        header.caplen <= longest && header.wirelen <= MAX_RECORD && (header.caplen > 0 || header.wirelen > 0)
    }

    /// Whether a header is what a record here should have, its time near to one of `previous` if there are any.
    fn plausible(&self, header: Header, previous: [Option<i64>; 2]) -> bool {
        let ordered = header.caplen <= header.wirelen || self.lengths_swapped || self.noted_longer_than_wire;
        let time = self.time(header);
        let mut times = previous.into_iter().flatten().peekable();
        let near = times.peek().is_none() || times.any(|previous| time.abs_diff(previous) <= RESYNC_TIME);
        // Writers that count nanoseconds under the microsecond magic exist, so that is the bound for both.
        Self::possible(header, self.limit)
            && header.caplen > 0
            && ordered
            && i64::from(header.fraction) < SECOND
            && near
    }
}
