//! Wireshark display filters: by frame number while that is short, else by flow and time.

use super::claim::Claim;
use super::scene::{PairView, Scene};
use crate::capture::Files;
use crate::packet::Family;
use crate::point::Point;
use crate::report::Filters;
use crate::time::Time;

/// Most ranges of frame numbers in a filter; beyond it the flows and the time are named instead.
const MOST_RANGES: usize = 40;
/// Most flows named in a filter; beyond it the time alone is.
const MOST_FLOWS: usize = 8;

/// The filters of a finding, one for each file.
pub(super) fn filters(scene: &Scene, claims: &[Claim], flows: &[u32]) -> Filters {
    let one = |point: Point| {
        let mut frames: Vec<u32> = claims
            .iter()
            .flat_map(|claim| claim.frames.iter())
            .filter(|(at, _)| *at == point)
            .map(|(_, frame)| *frame)
            .collect();
        if frames.is_empty() {
            return String::new();
        }
        frames.sort_unstable();
        frames.dedup();
        // A number says nothing without its file, and a filter cannot name one.
        if let Some(frames) = of_one_file(&scene.files[point.index()], &frames) {
            let ranges = ranges(&frames);
            if ranges.len() <= MOST_RANGES {
                return by_frame(&ranges);
            }
        }
        let first = claims.iter().map(|claim| claim.first).min().unwrap_or_default();
        let last = claims.iter().map(|claim| claim.last).max().unwrap_or_default();
        by_flow(scene, point, flows, first, last)
    };
    Filters { a: one(Point::A), b: one(Point::B) }
}

/// The frames by their numbers in the one file that holds them all.
fn of_one_file(files: &Files, frames: &[u32]) -> Option<Vec<u32>> {
    if !files.is_set() {
        return Some(frames.to_vec());
    }
    let (file, _) = files.place(*frames.first()?)?;
    frames.iter().map(|&frame| files.place(frame).filter(|place| place.0 == file).map(|place| place.1)).collect()
}

/// Runs of consecutive numbers.
fn ranges(frames: &[u32]) -> Vec<(u32, u32)> {
    let mut ranges: Vec<(u32, u32)> = Vec::new();
    for &frame in frames {
        match ranges.last_mut() {
            Some(last) if last.1 + 1 == frame => last.1 = frame,
            _ => ranges.push((frame, frame)),
        }
    }
    ranges
}

fn by_frame(ranges: &[(u32, u32)]) -> String {
    if let [(only, end)] = ranges
        && only == end
    {
        return format!("frame.number == {only}");
    }
    let parts: Vec<String> = ranges
        .iter()
        .map(|&(first, last)| if first == last { first.to_string() } else { format!("{first}..{last}") })
        .collect();
    format!("frame.number in {{{}}}", parts.join(","))
}

fn by_flow(scene: &Scene, point: Point, flows: &[u32], first: Time, last: Time) -> String {
    // The times are A's; B's file has its own clock.
    let shift = |time: Time| match point {
        Point::A => time,
        Point::B => Time(time.0.saturating_mul(2).saturating_sub(scene.clock.to_a(Point::B, time.0).0)),
    };
    // With its `Z`: Wireshark takes a time without one for local time.
    let stamp = |time: Time| shift(time).to_string();
    let time = format!("frame.time >= \"{}\" && frame.time <= \"{}\"", stamp(first), stamp(last));
    let named: Vec<String> =
        flows.iter().filter_map(|serial| scene.pair(*serial)).filter_map(|pair| flow_filter(pair, point)).collect();
    if named.is_empty() || named.len() > MOST_FLOWS {
        return time;
    }
    format!("({}) && {time}", named.join(" || "))
}

/// The filter of one flow at a point.
pub(super) fn flow_filter(pair: &PairView, point: Point) -> Option<String> {
    let (inside, outside) = pair.ends(point)?;
    let family = match pair.family() {
        Family::V4 => "ip",
        Family::V6 => "ipv6",
        Family::Link => return None,
    };
    let hosts = format!("{family}.addr == {} && {family}.addr == {}", inside.ip(), outside.ip());
    Some(match pair.protocol() {
        6 => format!("({hosts} && tcp.port == {} && tcp.port == {})", inside.port, outside.port),
        17 => format!("({hosts} && udp.port == {} && udp.port == {})", inside.port, outside.port),
        _ => format!("({hosts})"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_frame_sets_as_wireshark_reads_them() {
        assert_eq!(by_frame(&ranges(&[7])), "frame.number == 7");
        assert_eq!(by_frame(&ranges(&[72, 74, 75, 76, 80])), "frame.number in {72,74..76,80}");
    }
}
