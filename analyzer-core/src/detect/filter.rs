//! Wireshark display filters: by frame number while that is short, else by flow and time.

use super::claim::Claim;
use super::scene::{PairView, Scene};
use crate::capture::Files;
use crate::packet::Family;
use crate::point::Point;
use crate::report::{Directions, Filters};
use crate::time::{MICROSECOND, Time};

/// Longest list of frame numbers, in characters: a few lines of a terminal. Beyond it the flows and the time are named.
const LONGEST: usize = 480;
/// Most flows named in a filter; beyond it the time alone is.
const MOST_FLOWS: usize = 8;

/// The filters of a finding, one for each file, for its flows and for its frames by point.
pub(super) fn filters(scene: &Scene, claims: &[Claim], flows: &[u32], frames: &[Vec<u32>; 2]) -> Filters {
    let one = |point: Point| {
        let frames = &frames[point.index()];
        if frames.is_empty() {
            return String::new();
        }
        // A number says nothing without its file, and a filter cannot name one.
        if let Some(frames) = of_one_file(&scene.files[point.index()], frames) {
            let ranges = ranges(&frames);
            // A range takes a digit and a comma at least: most long lists need not be written to be known as such.
            if ranges.len() <= LONGEST / 2 {
                let filter = by_frame(&ranges);
                if filter.len() <= LONGEST {
                    return filter;
                }
            }
        }
        by_flow(scene, point, claims, flows, frames)
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

fn by_flow(scene: &Scene, point: Point, claims: &[Claim], flows: &[u32], frames: &[u32]) -> String {
    let within = if scene.steps[point.index()].is_empty() || scene.files[point.index()].is_set() {
        let first = claims.iter().map(|claim| claim.first).min().unwrap_or_default();
        let last = claims.iter().map(|claim| claim.last).max().unwrap_or_default();
        // The times are A's, and B's file has its own clock. A microsecond more holds what rounding took.
        let own = |time: Time| scene.clock.from_a(point, time).div_euclid(MICROSECOND);
        // With its `Z`: Wireshark takes a time without one for local time.
        let stamp = |micros: i64| {
            let text = Time(micros.saturating_mul(MICROSECOND)).to_string();
            text.strip_suffix("000Z").map_or(text.clone(), |short| format!("{short}Z"))
        };
        format!("frame.time >= \"{}\" && frame.time <= \"{}\"", stamp(own(first) - 1), stamp(own(last) + 2))
    } else {
        // A clock that was set has no times to go by.
        let ends = frames.first().copied().zip(frames.last().copied()).unwrap_or_default();
        format!("frame.number >= {} && frame.number <= {}", ends.0, ends.1)
    };
    let within = match interface(scene, point) {
        Some(name) => format!("frame.interface_name == \"{name}\" && {within}"),
        None => within,
    };
    let way = claims.first().map_or(Directions::Both, |claim| claim.direction);
    let way = if claims.iter().all(|claim| claim.direction == way) { way } else { Directions::Both };
    let named: Vec<String> = flows
        .iter()
        .filter_map(|serial| scene.pair(*serial))
        .filter_map(|pair| flow_filter(pair, point, way))
        .take(MOST_FLOWS + 1)
        .collect();
    match named.as_slice() {
        [] => within,
        [one] => format!("{one} && {within}"),
        several if several.len() <= MOST_FLOWS => format!("(({})) && {within}", several.join(") || (")),
        _ => within,
    }
}

/// The name of the interface that stands for a point, where both points are of one file.
fn interface<'a>(scene: &'a Scene, point: Point) -> Option<&'a str> {
    if scene.files[0].names() != scene.files[1].names() {
        return None;
    }
    let interfaces = &scene.summaries[point.index()].interfaces;
    let name = interfaces.iter().find(|interface| interface.packets > 0).map(|interface| interface.name.as_str())?;
    (!name.is_empty() && !name.contains(['"', '\\'])).then_some(name)
}

/// The filter of one flow at a point.
fn flow_filter(pair: &PairView, point: Point, way: Directions) -> Option<String> {
    let (inside, outside) = pair.ends(point)?;
    let family = match pair.family() {
        Family::V4 => "ip",
        Family::V6 => "ipv6",
        Family::Link => return None,
    };
    let (source, destination) = if way == Directions::Inbound { (outside, inside) } else { (inside, outside) };
    // Either field of a pair means both of them.
    let (from, to, from_port, to_port) =
        if way == Directions::Both { ("addr", "addr", "port", "port") } else { ("src", "dst", "srcport", "dstport") };
    let hosts = format!("{family}.{from} == {} && {family}.{to} == {}", source.ip(), destination.ip());
    let ports = |protocol: &str| {
        let (source, destination) = (source.port, destination.port);
        format!("{hosts} && {protocol}.{from_port} == {source} && {protocol}.{to_port} == {destination}")
    };
    Some(match pair.protocol() {
        6 => ports("tcp"),
        17 => ports("udp"),
        _ => hosts,
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
