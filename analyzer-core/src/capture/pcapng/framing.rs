//! Where blocks begin and end, and where to go on behind damage.

use super::PcapNg;
use super::fields::word;
use super::kinds::{
    BYTE_ORDER_MAGIC, CUSTOM, CUSTOM_NO_COPY, DECRYPTION_SECRETS, ENHANCED_PACKET, INTERFACE_DESCRIPTION,
    INTERFACE_STATISTICS, NAME_RESOLUTION, PACKET, SECTION_HEADER, SIMPLE_PACKET, SYSTEMD_JOURNAL,
};
use crate::capture::MAX_RECORD;
use crate::capture::input::{Input, SCAN_LIMIT};
use crate::capture::problem::{Grouped, Place, Problems};

/// Type, length and the length at the end.
const SMALLEST_BLOCK: usize = 12;

/// An enhanced packet block without data: 8 of header, 20 of fixed fields, 4 of length.
pub(super) const EMPTY_PACKET: usize = 32;

/// Largest block at which reading goes on behind damage.
const RESYNC_BLOCK: usize = 512 << 10;

/// How the block at the current position is delimited.
pub(super) enum Framing {
    /// A whole block of this length.
    Block(usize),
    /// The clean end of the input.
    End,
    /// The input ends inside it; with its length, if that much is there.
    Cut(Option<u64>),
    /// It cannot be a block.
    Bad(String),
}

impl PcapNg {
    /// Checks that a whole block with equal lengths at both ends stands at the current position.
    pub(super) fn frame_block(&self, input: &mut Input) -> Framing {
        if !input.need(SMALLEST_BLOCK) {
            let whole = (input.peek().is_empty() && input.failure().is_none()) || input.gave_up();
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
            return if input.gave_up() { Framing::End } else { Framing::Cut(Some(u64::from(length))) };
        }
        let trailer = word(input.peek(), size - 4, swapped);
        if trailer != length {
            let (length, trailer) = (Grouped(length.into()), Grouped(trailer.into()));
            return Framing::Bad(format!("length {length} at its start but {trailer} at its end"));
        }
        Framing::Block(size)
    }

    /// Goes on behind a block that is not one (`Ok(reason)`), or that the input is too short for (`Err(its length)`): it
    /// may be cut off, or its length may be wrong.
    pub(super) fn resync(&mut self, input: &mut Input, problems: &mut Problems, why: Result<&str, Option<u64>>) {
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

/// Whether a section header's bytes are in another byte order than little-endian; none if they are in no order.
pub(super) fn section_byte_order(bytes: &[u8]) -> Option<bool> {
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
