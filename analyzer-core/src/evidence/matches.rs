//! Which frame of the one capture is which of the other, for every frame: kept only when it is asked for.

use crate::point::Point;

/// Frames of a capture beyond this number are not kept: a quarter of a gigabyte for each point.
const MOST: usize = 1 << 25;

/// The partners of the frames of both points.
#[derive(Clone, Debug, Default)]
pub struct Matches {
    /// First and last partner by point and frame; 0 for none.
    partners: [Vec<(u32, u32)>; 2],
}

/// What is known of a frame's partner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Partner {
    /// These frames at the other point, from first to last: several where a superframe was cut.
    Frames(u32, u32),
    /// Not found at the other point.
    Alone,
    /// Too far into the capture to be kept.
    NotKept,
}

impl Matches {
    /// Notes that a frame of A and one of B hold the same packet, or parts of it.
    pub(crate) fn note(&mut self, frames: [u32; 2]) {
        for (point, partners) in self.partners.iter_mut().enumerate() {
            let (own, other) = (frames[point] as usize, frames[1 - point]);
            if own >= MOST {
                continue;
            }
            if own >= partners.len() {
                partners.resize(own + 1, (0, 0));
            }
            let (first, last) = &mut partners[own];
            *first = if *first == 0 { other } else { other.min(*first) };
            *last = other.max(*last);
        }
    }

    /// The partner of a frame.
    pub fn of(&self, point: Point, frame: u32) -> Partner {
        match self.partners[point.index()].get(frame as usize) {
            _ if frame as usize >= MOST => Partner::NotKept,
            None | Some((0, _)) => Partner::Alone,
            Some(&(first, last)) => Partner::Frames(first, last),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_superframe_has_several_partners() {
        let mut matches = Matches::default();
        for frames in [[3, 8], [3, 7], [5, 9]] {
            matches.note(frames);
        }
        assert_eq!(matches.of(Point::A, 3), Partner::Frames(7, 8));
        assert_eq!(matches.of(Point::B, 7), Partner::Frames(3, 3));
        assert_eq!([matches.of(Point::A, 4), matches.of(Point::B, 10)], [Partner::Alone; 2]);
        assert_eq!(matches.of(Point::A, MOST as u32), Partner::NotKept);
    }
}
