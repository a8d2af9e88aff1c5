//! The forms of input that targets and seeds agree on.

use analyzer_core::capture::{LinkType, Record};
use analyzer_core::packet::link::SUPPORTED;

/// A link type that is not supported, after those that are.
const UNKNOWN: LinkType = LinkType(147);

/// Two captures in one input: the length of the first in four bytes, the first, the second.
pub fn join(a: &[u8], b: &[u8]) -> Vec<u8> {
    [&(a.len() as u32).to_le_bytes(), a, b].concat()
}

/// What [`join`] joined, or halves of something else.
pub fn split(data: &[u8]) -> Option<[&[u8]; 2]> {
    let (length, rest) = data.split_first_chunk()?;
    let (a, b) = rest.split_at((u32::from_le_bytes(*length) as usize).min(rest.len()));
    Some([a, b])
}

/// Writes frames of one link type as an input: its place in the list of those that are supported, then for each frame
/// its length, what the wire had more, its check sequence, and its bytes.
pub fn frames<'a>(link_type: LinkType, frames: impl Iterator<Item = &'a [u8]>) -> Vec<u8> {
    let place = SUPPORTED.iter().position(|(known, _)| *known == link_type).unwrap_or(SUPPORTED.len());
    let mut bytes = vec![place as u8];
    for frame in frames {
        let frame = &frame[..frame.len().min(usize::from(u16::MAX))];
        bytes.extend((frame.len() as u16).to_le_bytes());
        bytes.extend([0; 3]);
        bytes.extend(frame);
    }
    bytes
}

/// Shows each frame of an input that [`frames`] wrote.
pub fn each_frame(data: &[u8], mut show: impl FnMut(&Record<'_>)) {
    let Some((&place, mut rest)) = data.split_first() else { return };
    let link_type = SUPPORTED.get(usize::from(place) % (SUPPORTED.len() + 1)).map_or(UNKNOWN, |(known, _)| *known);
    let mut frame = 0;
    while let Some(([low, high, more, more_high, fcs_len], after)) = rest.split_first_chunk() {
        let (data, after) = after.split_at(usize::from(u16::from_le_bytes([*low, *high])).min(after.len()));
        frame += 1;
        show(&Record {
            time: i64::from(frame) * 1_000_000,
            frame,
            wirelen: data.len() as u32 + u32::from(u16::from_le_bytes([*more, *more_high])),
            interface: 0,
            link_type,
            fcs_len: *fcs_len,
            data,
        });
        rest = after;
    }
}

/// Numbers that follow from a seed (Numerical Recipes' generator).
pub struct Numbers(u64);

impl Numbers {
    pub fn new(seed: u32) -> Self {
        Self(u64::from(seed) ^ 0x9e37_79b9_7f4a_7c15)
    }

    /// One below `limit`; 0 when there is none.
    pub fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % limit.max(1)
    }
}
