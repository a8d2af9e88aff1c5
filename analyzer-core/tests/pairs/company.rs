//! Another guest at work beside: whatever happened to one, the traffic of the other that nothing happened to must not change
//! what is said of it, nor be drawn into it.

use crate::each::each;
use crate::judge::is_loud;
use crate::variants::{Capture, Frame, ethernet, report};
use serde_json::Value;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The cases whose traffic goes on beside: one guest behind NAT each, to which nothing happens.
const BESIDE: [&str; 6] =
    ["ok_mix", "ok_source_port_reused", "ok_quic_moves", "ok_keepalive", "ok_refused", "ok_rst_after_fin"];
/// Their guest, which gets another address and another MAC.
const GUEST: [u8; 4] = [192, 168, 122, 10];
const OTHER: u8 = 70;
/// The network of its servers, which get other addresses: what is wrong with a path is not so with theirs.
const SERVERS: [u8; 3] = [198, 51, 100];
/// How long after the first packet of the case the other guest begins, in nanoseconds. It ends with the later capture.
const LATER: i64 = 50_000_000;

/// Of captures that end early or miss a stretch.
const RAN_ON: &str = "what goes on beside says that the capture ran when it did not";

/// Cases about which more is known, or less, when somebody else's traffic goes on, and why.
const EXCEPTIONS: &[(&str, &str)] = &[
    ("ok_edges_a_early_end", RAN_ON),
    ("ok_capture_drops_b", RAN_ON),
    ("new_not_forwarded", "new connections of the other guest cross: it is no rule for all of them"),
    ("ok_udp_mtu_probes", "packets of the size of the probes cross: no path between the points is too narrow for them"),
];

/// A unicast IPv4 packet with both ends under other names; none of ICMP errors, which quote names.
fn renamed(frame: &Frame) -> Option<Frame> {
    let mut frame = frame.clone();
    let data = &mut frame.data;
    if data.len() < 34 || data[12..14] != [8, 0] || data[0] & 1 == 1 {
        return None;
    }
    let (header, protocol, length) = (14 + usize::from(data[14] & 15) * 4, data[23], word(data, 16));
    if protocol == 1 && !matches!(data.get(header), Some(0 | 8)) {
        return None;
    }
    let old = sum(&data[26..34]);
    for (address, mac) in [(26, 6), (30, 0)] {
        if data[address..address + 4] == GUEST {
            data[address + 3] = OTHER;
            data[mac + 5] ^= 0x40;
        } else if data[address..address + 3] == SERVERS {
            data[address + 3] ^= 0x80;
        }
    }
    let new = sum(&data[26..34]);
    // RFC 1624, equation 3.
    let updated = |checksum: u16| !fold(u32::from(!checksum) + u32::from(!fold(old)) + new);
    let changed = updated(word(data, 24));
    data[24..26].copy_from_slice(&changed.to_be_bytes());
    let place = header + if protocol == 6 { 16 } else { 6 };
    let later_fragment = word(data, 20) & 0x1fff > 0;
    if matches!(protocol, 6 | 17) && !later_fragment && data.len() >= place + 2 {
        let checksum = word(data, place);
        let rest = u32::from(protocol) + u32::from(length) - (header as u32 - 14);
        // What is left to offload holds the sum of the pseudo-header alone; nought is no checksum.
        let changed = match checksum {
            0 if protocol == 17 => 0,
            partial if partial == fold(old + rest) => fold(new + rest),
            whole => updated(whole),
        };
        data[place..place + 2].copy_from_slice(&changed.to_be_bytes());
    }
    Some(frame)
}

fn word(data: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([data[at], data[at + 1]])
}

fn sum(words: &[u8]) -> u32 {
    words.chunks(2).map(|word| u32::from(u16::from_be_bytes([word[0], word[1]]))).sum()
}

fn fold(mut sum: u32) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

/// A capture and what goes on beside, as one.
fn together(capture: &Capture, beside: &Capture, shift: i64, until: i64) -> Capture {
    let kept = capture.frames.iter().map(|frame| frame.data.len()).max().unwrap_or(0);
    let mut frames = capture.frames.clone();
    for mut frame in beside.frames.iter().filter_map(renamed) {
        frame.time += shift;
        frame.data.truncate(kept);
        if frame.time <= until {
            frames.push(frame);
        }
    }
    frames.sort_by_key(|frame| frame.time);
    Capture { link: capture.link, frames }
}

/// What is called an error or a warning. What hits all at once may name idle flows as well.
fn loud(report: &Value) -> Vec<String> {
    let findings = report["findings"].as_array().into_iter().flatten().filter(|finding| is_loud(finding));
    let named = |finding: &Value| {
        let fields = ["id", "where", "direction", "cause", "severity", "flow_count"];
        let all_at_once = finding["id"].as_str().is_some_and(|id| id.starts_with("synchronous-"));
        let fields = &fields[..fields.len() - usize::from(all_at_once)];
        fields.iter().map(|field| finding[field].to_string()).collect::<Vec<_>>().join(" ")
    };
    let mut loud: Vec<String> = findings.map(named).collect();
    loud.sort();
    loud
}

#[test]
fn somebody_elses_traffic_changes_no_verdict() {
    let cases = ethernet();
    let beside = BESIDE.map(|name| &cases.iter().find(|(case, _)| case.name == name).expect("there is such a case").1);
    let tried = AtomicUsize::new(0);
    let wrong = each(&cases, |(case, captures)| {
        let alone = report(&captures[0], &captures[1]);
        if alone["topology"]["kind"] != "nat" {
            return Vec::new();
        }
        tried.fetch_add(1, Ordering::Relaxed);
        let times = |capture: &Capture| capture.frames.iter().map(|frame| frame.time).collect::<Vec<_>>();
        let first = |capture: &Capture| times(capture).into_iter().min().unwrap_or_default();
        let behind = (alone["clock"]["offset_seconds"].as_f64().unwrap_or_default() * 1e9) as i64;
        let ends = [0, 1].map(|point| times(&captures[point]).into_iter().max().unwrap_or_default());
        let until = ends[0].max(ends[1] - behind);
        let alone = loud(&alone);
        let mut wrong = Vec::new();
        for (other, name) in beside.iter().zip(BESIDE) {
            let shift = first(&captures[0]) - first(&other[0]) + LATER;
            let [a, b] = [(0, 0), (1, behind)]
                .map(|(point, behind)| together(&captures[point], &other[point], shift + behind, until + behind));
            let loud = loud(&report(&a, &b));
            if loud != alone {
                wrong.push(format!("{} beside {name}: {alone:?} became {loud:?}", case.name));
            }
        }
        match (wrong.is_empty(), EXCEPTIONS.iter().any(|(name, _)| *name == case.name)) {
            (true, true) => vec![format!("{} is right: no exception", case.name)],
            (false, true) => Vec::new(),
            _ => wrong,
        }
    });
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
    let tried = tried.into_inner();
    assert!(tried > 100, "only {tried} cases are behind NAT");
}
