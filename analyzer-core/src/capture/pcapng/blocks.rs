//! What the blocks say, one function for each kind.

use super::clock::Clock;
use super::fields::{Options, half, long, text};
use super::framing::{EMPTY_PACKET, section_byte_order};
use super::kinds::{
    CUSTOM, CUSTOM_NO_COPY, ENHANCED_PACKET, INTERFACE_DESCRIPTION, INTERFACE_STATISTICS, PACKET, SECTION_HEADER,
    SIMPLE_PACKET, SYSTEMD_JOURNAL,
};
use super::{InterfaceState, PcapNg};
use crate::capture::only::Wanted;
use crate::capture::problem::Grouped;
use crate::capture::{Interface, LinkType};

/// Most interfaces described in the summary.
const MAX_SUMMARISED: usize = 4096;

/// Most section comments kept.
const MAX_COMMENTS: usize = 100;

/// A packet found in a block.
pub(super) struct Found {
    pub(super) time: i64,
    pub(super) interface: u16,
    pub(super) wirelen: u32,
    /// Where its data stand in the block.
    pub(super) data: usize,
    pub(super) caplen: usize,
    /// By the options of the record; 0 when they do not say.
    pub(super) fcs_len: u8,
    /// Packets lost before it, by the record.
    pub(super) dropped: u64,
    /// The file says that more was captured than was on the wire.
    pub(super) longer_than_wire: bool,
}

/// What a block holds for the reader of records.
pub(super) enum Content {
    Packet(Found),
    Nothing,
    /// Something to tell.
    Odd(String),
    /// A block of good length with nonsense inside.
    Bad(String),
}

impl PcapNg {
    /// Takes in a block of good length.
    pub(super) fn read_block(&mut self, block: &[u8]) -> Content {
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
}

fn no_interface(index: u32) -> String {
    format!("of interface {}, which its section does not describe", Grouped(index.into()))
}
