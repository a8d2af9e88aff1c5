//! Captures that were edited afterwards: what no host would have forwarded is no fault of one, and what two processors recorded
//! the wrong way round is none either.

use crate::case;
use crate::judge;
use crate::variants::{Capture, Frame, report};
use serde_json::{Value, json};

/// Whether a packet is one of a fifth of the peer's, by its identification: the same at both points.
fn chosen(frame: &Frame) -> bool {
    let from_peer = frame.data.get(12..14) == Some(&[8, 0]) && frame.data[26..30] == [198, 51, 100, 7];
    from_peer && u16::from_be_bytes([frame.data[18], frame.data[19]]).is_multiple_of(5)
}

/// The chosen packets with a wrong checksum in their header.
fn spoiled(capture: &Capture) -> Capture {
    let mut capture = capture.clone();
    for frame in capture.frames.iter_mut().filter(|frame| chosen(frame)) {
        frame.data[24] ^= 0x55;
    }
    let chosen = capture.frames.iter().filter(|frame| chosen(frame)).count();
    assert!((3..capture.frames.len()).contains(&chosen));
    capture
}

fn wrong_headers(report: &Value) -> usize {
    let all = report["findings"].as_array().into_iter().flatten();
    all.filter(|finding| finding["id"] == "bad-checksum" && judge::is_loud(finding)).count()
}

#[test]
fn a_header_that_a_router_drops_was_spoiled_in_the_file() {
    for case in case::named(&["ok_mix"]) {
        let [a, b] = Capture::both(&case).expect("Ethernet");
        let faults = judge::judge(&json!({}), &report(&spoiled(&a), &spoiled(&b)));
        assert!(faults.is_empty(), "{}: {faults:#?}", case.name);
        // Not forwarded by the host that they reached, they are what they seem.
        let inner = a.frames.iter().filter(|frame| !chosen(frame)).cloned().collect();
        let inner = Capture { link: a.link, frames: inner };
        assert_eq!(wrong_headers(&report(&inner, &spoiled(&b))), 1, "{}", case.name);
    }
}

#[test]
fn a_capture_beside_itself_says_nothing_of_damage() {
    for case in case::named(&["ok_mix", "ok_mix_bridged_gso"]) {
        let [_, b] = Capture::both(&case).expect("Ethernet");
        let b = spoiled(&b);
        assert_eq!(wrong_headers(&report(&b, &b)), 0, "{}", case.name);
    }
}

/// Of a SYN over IPv4 or its answer: whether it is the answer, the ports of the SYN, and the number that is the SYN's or that the
/// answer acknowledges.
fn opening(frame: &Frame) -> Option<(bool, [u8; 4], u32)> {
    let segment = frame.data.get(34..54).filter(|_| frame.data[12..15] == [8, 0, 0x45] && frame.data[23] == 6)?;
    let number = |at: usize| segment[at..at + 4].try_into().map(u32::from_be_bytes).ok();
    let ports = [segment[0], segment[1], segment[2], segment[3]];
    match segment[13] & 0x17 {
        0x02 => Some((false, ports, number(4)?)),
        0x12 => Some((true, [ports[2], ports[3], ports[0], ports[1]], number(8)?.wrapping_sub(1))),
        _ => None,
    }
}

/// With each answer to a SYN that came soon in the SYN's place, and the SYN in its; how many there were.
fn answered_first(capture: &Capture) -> (Capture, usize) {
    let mut capture = capture.clone();
    let mut count = 0;
    for at in 0..capture.frames.len() {
        let Some((false, ports, number)) = opening(&capture.frames[at]) else { continue };
        // Of ports that were used before, the answer alone does not tell that this is another connection.
        let before = |frame: &Frame| opening(frame).is_some_and(|(_, other, _)| other == ports);
        if capture.frames[..at].iter().any(before) {
            continue;
        }
        // What processors stamp the wrong way round lies close together; 2 ms is more than the lab's round trip.
        let soon = capture.frames[at].time + 2_000_000;
        let answer = |frame: &Frame| opening(frame) == Some((true, ports, number)) && frame.time < soon;
        let Some(later) = capture.frames[at..].iter().position(answer).map(|place| at + place) else { continue };
        capture.frames.swap(at, later);
        let times = [at, later].map(|place| capture.frames[place].time);
        (capture.frames[at].time, capture.frames[later].time) = (times[1], times[0]);
        count += 1;
    }
    (capture, count)
}

#[test]
fn an_answer_recorded_before_its_syn_belongs_to_the_same_connection() {
    let mut swapped = 0;
    for case in case::all().into_iter().filter(|case| case.healthy() && case.plain()) {
        let Some([a, b]) = Capture::both(&case) else { continue };
        let plain = report(&a, &b);
        for (a, b) in [((a.clone(), 0), answered_first(&b)), (answered_first(&a), (b.clone(), 0))] {
            swapped += a.1 + b.1;
            let found = report(&a.0, &b.0);
            let faults = judge::judge(&json!({}), &found);
            assert!(faults.is_empty(), "{}: {faults:#?}", case.name);
            for count in ["flows", "paired_flows", "matched"] {
                assert_eq!(found["totals"][count], plain["totals"][count], "{}: {count}", case.name);
            }
        }
    }
    assert!(swapped > 50, "only {swapped} connections were tried");
}
