//! The pcapng format (draft-ietf-opsawg-pcapng): sections of blocks, each block with its length at both ends.
//!
//! Each section has its own byte order and interfaces, each interface its own link type and unit of time. The two
//! equal lengths make a block recognisable, so reading goes on behind damage at the next block of a known type.

use super::input::{Input, SCAN_LIMIT};
use super::only::{Only, Wanted};
use super::problem::{Grouped, Place, Problems};
use super::{CaptureSummary, Interface, LinkType, MAX_RECORD, Next, Record};
use crate::time::{EARLIEST, LATEST, SECOND};

const SECTION_HEADER: u32 = 0x0a0d_0d0a;
const INTERFACE_DESCRIPTION: u32 = 1;
/// The obsolete one: as an enhanced packet, but for a 16-bit interface and a 16-bit count of drops.
const PACKET: u32 = 2;
const SIMPLE_PACKET: u32 = 3;
const NAME_RESOLUTION: u32 = 4;
const INTERFACE_STATISTICS: u32 = 5;
const ENHANCED_PACKET: u32 = 6;
const SYSTEMD_JOURNAL: u32 = 9;
const DECRYPTION_SECRETS: u32 = 10;
const CUSTOM: u32 = 0x0bad;
const CUSTOM_NO_COPY: u32 = 0x4000_0bad;

const BYTE_ORDER_MAGIC: u32 = 0x1a2b_3c4d;

/// Type, length and the length at the end.
const SMALLEST_BLOCK: usize = 12;

/// An enhanced packet block without data: 8 of header, 20 of fixed fields, 4 of length.
const EMPTY_PACKET: usize = 32;

/// Largest block at which reading goes on behind damage.
const RESYNC_BLOCK: usize = 512 << 10;

/// Most interfaces described in the summary.
const MAX_SUMMARISED: usize = 4096;

/// Most section comments kept.
const MAX_COMMENTS: usize = 100;

/// Longest text kept of an option, in bytes.
const MAX_TEXT: usize = 1024;

/// The state of reading one pcapng capture.
pub(super) struct PcapNg {
    /// The section's byte order is not little-endian.
    swapped: bool,
    /// Of the current section.
    interfaces: Vec<InterfaceState>,
    /// Records, and blocks of other kinds that Wireshark gives a frame number.
    frames: u64,
    /// Those of `frames` that are no records.
    other_frames: u64,
    last_time: i64,
    ended: bool,
    sections: u32,
    /// The section is of a version whose blocks cannot be understood.
    foreign: bool,
    /// Interfaces of all sections.
    described: Vec<Interface>,
    comments: Vec<String>,
    application: Option<String>,
    noted_longer_than_wire: bool,
    noted_interfaces: bool,
    /// The interface wanted, if not all are.
    only: Option<Only>,
    /// Interfaces of all sections so far.
    interface_count: u32,
}

/// What the records of an interface need.
struct InterfaceState {
    link_type: LinkType,
    fcs_len: u8,
    snaplen: u32,
    clock: Clock,
    packets: u64,
    /// Its place in `described`; none beyond [`MAX_SUMMARISED`].
    described: Option<usize>,
    wanted: Wanted,
}

/// How the time stamps of an interface become nanoseconds.
#[derive(Clone, Copy)]
struct Clock {
    resolution: Resolution,
    /// Added, in nanoseconds.
    offset: i128,
}

#[derive(Clone, Copy)]
enum Resolution {
    /// Nanoseconds in a unit: 10^-9 seconds or coarser.
    Times(u64),
    /// Units in a nanosecond: finer than 10^-9 seconds.
    Over(u64),
    /// The unit is this power of one half of a second.
    Halvings(u32),
}

impl Clock {
    /// From the `if_tsresol` octet and the `if_tsoffset` seconds.
    fn new(resolution: u8, offset: i64) -> Self {
        let exponent = u32::from(resolution & 0x7f);
        let resolution = if resolution & 0x80 != 0 {
            Resolution::Halvings(exponent)
        } else if exponent <= 9 {
            Resolution::Times(10_u64.pow(9 - exponent))
        } else {
            // Beyond 64 bits every time stamp is less than a nanosecond.
            10_u64.checked_pow(exponent - 9).map_or(Resolution::Halvings(127), Resolution::Over)
        };
        Self { resolution, offset: i128::from(offset) * i128::from(SECOND) }
    }

    /// Nanoseconds since 1970, held to the bounds of believable time stamps.
    #[inline]
    fn time(self, ticks: u64) -> i64 {
        // Nearly always: 64 bits are enough and there is no offset.
        if let Resolution::Times(factor) = self.resolution
            && self.offset == 0
            && let Some(nanoseconds) = ticks.checked_mul(factor)
            && nanoseconds <= LATEST as u64
        {
            return nanoseconds as i64;
        }
        self.exact_time(ticks)
    }

    #[cold]
    fn exact_time(self, ticks: u64) -> i64 {
        let nanoseconds = match self.resolution {
            Resolution::Times(factor) => u128::from(ticks) * u128::from(factor),
            Resolution::Over(divisor) => u128::from(ticks / divisor),
            Resolution::Halvings(shift) => (u128::from(ticks) * SECOND as u128) >> shift,
        };
        let time = nanoseconds as i128 + self.offset;
        time.clamp(i128::from(EARLIEST), i128::from(LATEST)) as i64
    }

    /// For the summary.
    fn ticks_per_second(self) -> Option<u64> {
        match self.resolution {
            Resolution::Times(factor) => Some(SECOND as u64 / factor),
            Resolution::Over(divisor) => divisor.checked_mul(SECOND as u64),
            Resolution::Halvings(shift) => 1_u64.checked_shl(shift),
        }
    }
}

/// A packet found in a block.
struct Found {
    time: i64,
    interface: u16,
    wirelen: u32,
    /// Where its data stand in the block.
    data: usize,
    caplen: usize,
    /// By the options of the record; 0 when they do not say.
    fcs_len: u8,
    /// Packets lost before it, by the record.
    dropped: u64,
    /// The file says that more was captured than was on the wire.
    longer_than_wire: bool,
}

/// What a block holds for the reader of records.
enum Content {
    Packet(Found),
    Nothing,
    /// Something to tell.
    Odd(String),
    /// A block of good length with nonsense inside.
    Bad(String),
}

impl PcapNg {
    /// Whether a file that starts with these bytes is of this format.
    pub(super) fn sniff(magic: [u8; 4]) -> bool {
        u32::from_le_bytes(magic) == SECTION_HEADER
    }

    /// Looks at the first section header and consumes nothing; the reason when it is none.
    pub(super) fn open(input: &mut Input) -> Result<Self, String> {
        if !input.need(28) {
            return Err(format!("is cut off in the pcapng section header, after {} bytes", input.peek().len()));
        }
        let bytes = input.peek();
        let Some(swapped) = section_byte_order(bytes) else {
            return Err("has no pcapng byte-order magic behind its block type: not a capture, or damaged".to_owned());
        };
        let (major, minor) = (half(bytes, 12, swapped), half(bytes, 14, swapped));
        if major != 1 {
            return Err(format!("is of pcapng version {major}.{minor}, which is not known"));
        }
        Ok(Self {
            swapped,
            interfaces: Vec::new(),
            frames: 0,
            other_frames: 0,
            last_time: 0,
            ended: false,
            sections: 0,
            foreign: false,
            described: Vec::new(),
            comments: Vec::new(),
            application: None,
            noted_longer_than_wire: false,
            noted_interfaces: false,
            only: None,
            interface_count: 0,
        })
    }

    /// Hands on the frames of one interface only; from now on through [`next_wanted`](Self::next_wanted).
    pub(super) fn want(&mut self, only: Only) {
        self.only = Some(only);
    }

    /// The next record of the interface wanted.
    pub(super) fn next_wanted<'a>(&mut self, input: &'a mut Input, problems: &mut Problems, until: i64) -> Next<'a> {
        self.next_slow(input, problems, until)
    }

    /// Frames so far, time of the last one, and what must be known to read on from here: interfaces and sections.
    pub(super) fn place(&self) -> (u64, i64, (u32, u32)) {
        (self.frames, self.last_time, (self.interface_count, self.sections))
    }

    /// Goes on behind so many frames, the last one of this time.
    pub(super) fn resume(&mut self, frames: u64, time: i64) {
        (self.frames, self.last_time) = (frames, time);
    }

    /// What is known so far.
    pub(super) fn summary(&self) -> CaptureSummary {
        let mut interfaces = self.described.clone();
        // Those of earlier sections were brought up to date when the section ended.
        for interface in &self.interfaces {
            if let Some(described) = interface.described.and_then(|index| interfaces.get_mut(index)) {
                described.packets = interface.packets;
            }
        }
        CaptureSummary {
            interfaces,
            packets: self.frames - self.other_frames,
            comments: self.comments.clone(),
            application: self.application.clone(),
            ..CaptureSummary::default()
        }
    }

    /// What is known so far of the interfaces wanted.
    pub(super) fn summary_wanted(&self) -> CaptureSummary {
        let mut summary = self.summary();
        let mut id = 0..;
        summary.interfaces.retain(|interface| {
            let wanted = |id| self.only.as_ref().is_none_or(|only| only.of(interface, id) != Wanted::None);
            id.next().is_some_and(wanted)
        });
        summary
    }

    #[inline]
    fn word(&self, bytes: &[u8], at: usize) -> u32 {
        word(bytes, at, self.swapped)
    }

    /// The next record. This much is the path of an enhanced packet without options.
    #[inline]
    pub(super) fn next<'a>(&mut self, input: &'a mut Input, problems: &mut Problems, until: i64) -> Next<'a> {
        let bytes = input.peek();
        if let Some(head) = bytes.first_chunk::<28>() {
            let length = self.word(head, 4) as usize;
            let (caplen, wirelen) = (self.word(head, 20), self.word(head, 24));
            if self.word(head, 0) == ENHANCED_PACKET
                && length <= bytes.len()
                && caplen <= wirelen
                && (caplen as usize) < length
                && (caplen as usize).next_multiple_of(4) + EMPTY_PACKET == length
                && self.word(bytes, length - 4) as usize == length
            {
                let index = self.word(head, 8);
                if let Some(interface) = self.interfaces.get_mut(index as usize) {
                    let ticks =
                        (u64::from(word(head, 12, self.swapped)) << 32) | u64::from(word(head, 16, self.swapped));
                    let time = interface.clock.time(ticks);
                    if time >= until {
                        return Next::Later;
                    }
                    interface.packets += 1;
                    self.frames += 1;
                    self.last_time = time;
                    return Next::Record(Record {
                        time,
                        frame: u32::try_from(self.frames).unwrap_or(u32::MAX),
                        wirelen,
                        interface: index as u16,
                        link_type: interface.link_type,
                        fcs_len: interface.fcs_len,
                        data: &input.take(length)[28..28 + caplen as usize],
                    });
                }
            }
        }
        self.next_slow(input, problems, until)
    }

    /// The next record through blocks of every kind.
    #[inline(never)]
    fn next_slow<'a>(&mut self, input: &'a mut Input, problems: &mut Problems, until: i64) -> Next<'a> {
        while !self.ended {
            let (offset, frame) = (input.offset(), self.frames + 1);
            let length = match self.frame_block(input) {
                Framing::Block(length) => length,
                Framing::End => {
                    self.ended = true;
                    break;
                }
                Framing::Cut(length) => {
                    self.resync(input, problems, Err(length));
                    continue;
                }
                Framing::Bad(reason) => {
                    self.resync(input, problems, Ok(&reason));
                    continue;
                }
            };
            let place = Place { what: "block", offset, frame };
            let found = match self.read_block(&input.peek()[..length]) {
                Content::Packet(found) => found,
                Content::Nothing => {
                    input.take(length);
                    continue;
                }
                Content::Odd(reason) => {
                    problems.note(offset, frame, format_args!("{place}: {reason}"));
                    input.take(length);
                    continue;
                }
                Content::Bad(reason) => {
                    problems.note(offset, frame, format_args!("{place}: {reason}; skipped"));
                    input.take(length);
                    continue;
                }
            };
            if found.time >= until {
                return Next::Later;
            }
            if found.longer_than_wire && !self.noted_longer_than_wire {
                self.noted_longer_than_wire = true;
                problems.note(
                    offset,
                    frame,
                    format_args!(
                        "{place}: has more bytes than its length on the wire; accepted, here and in later ones"
                    ),
                );
            }
            let interface = &mut self.interfaces[usize::from(found.interface)];
            interface.packets += 1;
            if let Some(described) = interface.described.filter(|_| found.dropped > 0) {
                let dropped = &mut self.described[described].dropped_between;
                *dropped = dropped.saturating_add(found.dropped);
            }
            self.frames += 1;
            self.last_time = found.time;
            if !interface.wanted.has(&input.peek()[found.data..found.data + found.caplen]) {
                input.take(length);
                continue;
            }
            return Next::Record(Record {
                time: found.time,
                frame: u32::try_from(self.frames).unwrap_or(u32::MAX),
                wirelen: found.wirelen,
                interface: found.interface,
                link_type: interface.link_type,
                fcs_len: if found.fcs_len > 0 { found.fcs_len } else { interface.fcs_len },
                data: &input.take(length)[found.data..found.data + found.caplen],
            });
        }
        Next::End
    }

    /// Checks that a whole block with equal lengths at both ends stands at the current position.
    fn frame_block(&self, input: &mut Input) -> Framing {
        if !input.need(SMALLEST_BLOCK) {
            let whole = input.peek().is_empty() && input.failure().is_none();
            return if whole { Framing::End } else { Framing::Cut(None) };
        }
        let bytes = input.peek();
        let mut swapped = self.swapped;
        if word(bytes, 0, swapped) == SECTION_HEADER {
            let Some(order) = section_byte_order(bytes) else {
                return Framing::Bad("section header without a byte-order magic".to_owned());
            };
            swapped = order;
        }
        let length = word(bytes, 4, swapped);
        if (length as usize) < SMALLEST_BLOCK {
            return Framing::Bad(format!("length {length} is less than a block has ({SMALLEST_BLOCK})"));
        }
        if !length.is_multiple_of(4) {
            return Framing::Bad(format!("length {} is not a multiple of 4", Grouped(length.into())));
        }
        if length > MAX_RECORD {
            let (length, bound) = (Grouped(length.into()), Grouped(MAX_RECORD.into()));
            return Framing::Bad(format!("length {length} is more than a block can have ({bound})"));
        }
        let size = length as usize;
        if !input.need(size) {
            return Framing::Cut(Some(u64::from(length)));
        }
        let trailer = word(input.peek(), size - 4, swapped);
        if trailer != length {
            let (length, trailer) = (Grouped(length.into()), Grouped(trailer.into()));
            return Framing::Bad(format!("length {length} at its start but {trailer} at its end"));
        }
        Framing::Block(size)
    }

    /// Takes in a block of good length.
    fn read_block(&mut self, block: &[u8]) -> Content {
        let kind = self.word(block, 0);
        if self.foreign && kind != SECTION_HEADER {
            return Content::Nothing;
        }
        match kind {
            ENHANCED_PACKET | PACKET => self.read_packet(block, kind),
            SIMPLE_PACKET => self.read_simple_packet(block),
            SECTION_HEADER => self.read_section(block),
            INTERFACE_DESCRIPTION => self.read_interface(block),
            INTERFACE_STATISTICS => self.read_statistics(block),
            // No packets, but Wireshark shows them among the packets, and a frame number must be the same in both.
            CUSTOM | CUSTOM_NO_COPY | SYSTEMD_JOURNAL => {
                self.frames += 1;
                self.other_frames += 1;
                Content::Nothing
            }
            _ => Content::Nothing,
        }
    }

    fn read_packet(&self, block: &[u8], kind: u32) -> Content {
        if block.len() < EMPTY_PACKET {
            return Content::Bad(format!("length {} is too short for a packet", block.len()));
        }
        let (index, mut dropped) = if kind == PACKET {
            // All ones when the number of drops is not known.
            let dropped = u64::from(half(block, 10, self.swapped));
            (u32::from(half(block, 8, self.swapped)), if dropped == 0xffff { 0 } else { dropped })
        } else {
            (self.word(block, 8), 0)
        };
        let Some(interface) = self.interfaces.get(index as usize) else { return Content::Bad(no_interface(index)) };
        let ticks = (u64::from(self.word(block, 12)) << 32) | u64::from(self.word(block, 16));
        let (caplen, wirelen) = (self.word(block, 20), self.word(block, 24));
        if caplen as usize > block.len() - EMPTY_PACKET {
            let (caplen, length) = (Grouped(caplen.into()), Grouped(block.len() as u64));
            return Content::Bad(format!("{caplen} captured bytes do not fit its length {length}"));
        }
        let mut fcs_len = 0;
        let options = 28 + (caplen as usize).next_multiple_of(4);
        for (code, value) in Options::new(&block[..block.len() - 4], options, self.swapped) {
            match (code, value.len()) {
                // epb_flags: bits 5 to 8 are the length of the frame check sequence.
                (2, 4) => fcs_len = (self.word(value, 0) >> 5 & 0xf) as u8,
                (4, 8) if kind == ENHANCED_PACKET => dropped = long(value, self.swapped),
                _ => {}
            }
        }
        Content::Packet(Found {
            time: interface.clock.time(ticks),
            interface: index as u16,
            wirelen: wirelen.max(caplen),
            data: 28,
            caplen: caplen as usize,
            fcs_len,
            dropped,
            longer_than_wire: caplen > wirelen,
        })
    }

    /// A simple packet is of the first interface, has no time, and does not say how much of it was captured.
    fn read_simple_packet(&self, block: &[u8]) -> Content {
        if block.len() < 16 {
            return Content::Bad(format!("length {} is too short for a simple packet", block.len()));
        }
        let Some(interface) = self.interfaces.first() else { return Content::Bad(no_interface(0)) };
        let wirelen = self.word(block, 8);
        let snaplen = if interface.snaplen == 0 { u32::MAX } else { interface.snaplen };
        let caplen = (wirelen.min(snaplen) as usize).min(block.len() - 16);
        Content::Packet(Found {
            time: self.last_time,
            interface: 0,
            wirelen,
            data: 12,
            caplen,
            fcs_len: 0,
            dropped: 0,
            longer_than_wire: false,
        })
    }

    fn read_section(&mut self, block: &[u8]) -> Content {
        let Some(swapped) = section_byte_order(block).filter(|_| block.len() >= 28) else {
            return Content::Bad(format!("length {} is too short for a section header", block.len()));
        };
        for interface in self.interfaces.drain(..) {
            if let Some(described) = interface.described {
                self.described[described].packets = interface.packets;
            }
        }
        self.swapped = swapped;
        self.sections = self.sections.saturating_add(1);
        for (code, value) in Options::new(&block[..block.len() - 4], 24, swapped) {
            match code {
                1 if self.comments.len() < MAX_COMMENTS => self.comments.push(text(value)),
                4 if self.application.is_none() => self.application = Some(text(value)),
                _ => {}
            }
        }
        let (major, minor) = (half(block, 12, swapped), half(block, 14, swapped));
        self.foreign = major != 1;
        match (major, minor) {
            // Some writers say 1.2, and nothing in it is different.
            (1, 0 | 2) => Content::Nothing,
            (1, _) => Content::Odd(format!("section of version {major}.{minor}; read as version 1.0")),
            _ => Content::Odd(format!("section of version {major}.{minor}, which is not known; skipped as a whole")),
        }
    }

    fn read_interface(&mut self, block: &[u8]) -> Content {
        let index = self.interfaces.len();
        if index > usize::from(u16::MAX) {
            let first = !std::mem::replace(&mut self.noted_interfaces, true);
            let reason = || "more than 65,536 interfaces in one section".to_owned();
            return if first { Content::Bad(reason()) } else { Content::Nothing };
        }
        // One that is too short still takes its number, or those that follow would be mistaken for others.
        let short = block.len() < 20;
        let described = Interface {
            section: self.sections.saturating_sub(1),
            index: index as u16,
            link_type: LinkType(if short { u16::MAX } else { half(block, 8, self.swapped) }),
            snaplen: if short { 0 } else { self.word(block, 12) },
            ..Interface::default()
        };
        // Microseconds unless it says otherwise.
        let (mut resolution, mut offset) = (6, 0);
        let mut described = described;
        let options = if short { block.len() } else { 16 };
        for (code, value) in Options::new(&block[..block.len() - 4], options, self.swapped) {
            match (code, value.len()) {
                (2, _) => described.name = text(value),
                (3, _) => described.description = text(value),
                (9, 1) => resolution = value[0],
                // The first octet tells a filter string (0) from compiled code.
                (11, 1..) if value[0] == 0 => described.filter = text(&value[1..]),
                (13, 1) => described.fcs_len = value[0],
                (14, 8) => offset = long(value, self.swapped) as i64,
                _ => {}
            }
        }
        let clock = Clock::new(resolution, offset);
        let wanted = self.only.as_ref().map_or(Wanted::All, |only| only.of(&described, self.interface_count));
        self.interface_count += 1;
        described.ticks_per_second = clock.ticks_per_second();
        self.interfaces.push(InterfaceState {
            link_type: described.link_type,
            fcs_len: described.fcs_len,
            snaplen: described.snaplen,
            clock,
            packets: 0,
            described: (self.described.len() < MAX_SUMMARISED).then_some(self.described.len()),
            wanted,
        });
        if self.described.len() < MAX_SUMMARISED {
            self.described.push(described);
        }
        if short {
            return Content::Bad(format!("length {} is too short for an interface description", block.len()));
        }
        Content::Nothing
    }

    fn read_statistics(&mut self, block: &[u8]) -> Content {
        if block.len() < 24 {
            return Content::Bad(format!("length {} is too short for interface statistics", block.len()));
        }
        let index = self.word(block, 8);
        let Some(interface) = self.interfaces.get(index as usize) else { return Content::Bad(no_interface(index)) };
        let Some(described) = interface.described.and_then(|index| self.described.get_mut(index)) else {
            return Content::Nothing;
        };
        for (code, value) in Options::new(&block[..block.len() - 4], 20, self.swapped) {
            match (code, value.len()) {
                (4, 8) => described.received = Some(long(value, self.swapped)),
                (5, 8) => described.dropped = Some(long(value, self.swapped)),
                (7, 8) => described.dropped_by_os = Some(long(value, self.swapped)),
                _ => {}
            }
        }
        Content::Nothing
    }

    /// Goes on behind a block that is not one (`Ok(reason)`), or that the input is too short for (`Err(its length)`): it
    /// may be cut off, or its length may be wrong.
    fn resync(&mut self, input: &mut Input, problems: &mut Problems, why: Result<&str, Option<u64>>) {
        let (offset, frame) = (input.offset(), self.frames + 1);
        let end = offset + input.peek().len() as u64;
        let place = Place { what: "block", offset, frame };
        if !input.peek().is_empty() {
            input.take(1);
        }
        let swapped = self.swapped;
        if input.scan(RESYNC_BLOCK, |bytes, _| is_known_block(bytes, swapped)) {
            let (resumed, skipped) = (Grouped(input.offset()), Grouped(input.offset() - offset));
            let tail =
                format_args!("{skipped} bytes skipped to the block at byte {resumed}, counting on from frame {frame}");
            match why {
                Ok(reason) => problems.note(offset, frame, format_args!("{place}: {reason}; {tail}")),
                Err(length) => {
                    let length = Grouped(length.unwrap_or_default());
                    problems.note(
                        offset,
                        frame,
                        format_args!("{place}: length {length} reaches beyond the end; {tail}"),
                    );
                }
            }
            return;
        }
        self.ended = true;
        match why {
            Ok(reason) => {
                problems.stopped_at(offset);
                let scanned = Grouped((input.offset() - offset).min(SCAN_LIMIT));
                problems.note(
                    offset,
                    frame,
                    format_args!(
                        "{place}: {reason}; no block found in the {scanned} bytes from there, reading stopped"
                    ),
                );
            }
            Err(length) => problems.cut("block", frame, offset, end, length, input.failure()),
        }
    }
}

/// How the block at the current position is delimited.
enum Framing {
    /// A whole block of this length.
    Block(usize),
    /// The clean end of the input.
    End,
    /// The input ends inside it; with its length, if that much is there.
    Cut(Option<u64>),
    /// It cannot be a block.
    Bad(String),
}

fn no_interface(index: u32) -> String {
    format!("of interface {}, which its section does not describe", Grouped(index.into()))
}

/// Whether a section header's bytes are in another byte order than little-endian; none if they are in no order.
fn section_byte_order(bytes: &[u8]) -> Option<bool> {
    let magic = bytes.get(8..12)?;
    if word(magic, 0, false) == BYTE_ORDER_MAGIC {
        return Some(false);
    }
    (word(magic, 0, true) == BYTE_ORDER_MAGIC).then_some(true)
}

/// Whether a block of a known type, with equal lengths at both ends, stands here.
fn is_known_block(bytes: &[u8], swapped: bool) -> bool {
    let Some(head) = bytes.first_chunk::<SMALLEST_BLOCK>() else { return false };
    let (swapped, smallest) = match word(head, 0, swapped) {
        SECTION_HEADER => match section_byte_order(head) {
            Some(order) => (order, 28),
            None => return false,
        },
        ENHANCED_PACKET | PACKET => (swapped, EMPTY_PACKET),
        INTERFACE_DESCRIPTION => (swapped, 20),
        INTERFACE_STATISTICS => (swapped, 24),
        SIMPLE_PACKET | NAME_RESOLUTION | SYSTEMD_JOURNAL | DECRYPTION_SECRETS | CUSTOM | CUSTOM_NO_COPY => {
            (swapped, 16)
        }
        _ => return false,
    };
    let length = word(head, 4, swapped) as usize;
    length.is_multiple_of(4)
        && (smallest..=RESYNC_BLOCK).contains(&length)
        && length <= bytes.len()
        && word(bytes, length - 4, swapped) as usize == length
}

/// The options of a block: code and value. They end at `opt_endofopt`, at the end of the block, or where one does not
/// fit.
struct Options<'a> {
    bytes: &'a [u8],
    swapped: bool,
}

impl<'a> Options<'a> {
    fn new(block: &'a [u8], from: usize, swapped: bool) -> Self {
        Self { bytes: block.get(from..).unwrap_or_default(), swapped }
    }
}

impl<'a> Iterator for Options<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let head = self.bytes.first_chunk::<4>()?;
        let (code, length) = (half(head, 0, self.swapped), usize::from(half(head, 2, self.swapped)));
        if code == 0 {
            return None;
        }
        let value = self.bytes.get(4..4 + length)?;
        self.bytes = self.bytes.get(4 + length.next_multiple_of(4)..).unwrap_or_default();
        Some((code, value))
    }
}

/// Text of an option: some writers end it with zero bytes, and not all keep to UTF-8.
fn text(value: &[u8]) -> String {
    let value = &value[..value.len().min(MAX_TEXT)];
    String::from_utf8_lossy(value).trim_end_matches('\0').to_owned()
}

#[inline]
fn word(bytes: &[u8], at: usize, swapped: bool) -> u32 {
    let word = u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
    if swapped { word.swap_bytes() } else { word }
}

fn half(bytes: &[u8], at: usize, swapped: bool) -> u16 {
    let half = u16::from_le_bytes([bytes[at], bytes[at + 1]]);
    if swapped { half.swap_bytes() } else { half }
}

/// Of exactly eight bytes; 0 for others.
fn long(bytes: &[u8], swapped: bool) -> u64 {
    let Ok(bytes) = bytes.try_into() else { return 0 };
    if swapped { u64::from_be_bytes(bytes) } else { u64::from_le_bytes(bytes) }
}
