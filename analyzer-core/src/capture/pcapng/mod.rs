//! The pcapng format (draft-ietf-opsawg-pcapng): sections of blocks, each block with its length at both ends.
//!
//! Each section has its own byte order and interfaces, each interface its own link type and unit of time. The two
//! equal lengths make a block recognisable, so reading goes on behind damage at the next block of a known type.

//!
//! - `kinds`: the types of blocks
//! - `framing`: where blocks begin and end, and where to go on behind damage
//! - `blocks`: what they say
//! - `fields`, `clock`: numbers, options, text; time stamps

mod blocks;
mod clock;
mod fields;
mod framing;
mod kinds;

use self::blocks::Content;
use self::clock::Clock;
use self::fields::{half, word};
use self::framing::{EMPTY_PACKET, Framing, section_byte_order};
use self::kinds::{ENHANCED_PACKET, SECTION_HEADER};
use super::input::Input;
use super::only::{Only, Wanted};
use super::problem::{Place, Problems};
use super::{CaptureSummary, Interface, LinkType, Next, Record};

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
}
