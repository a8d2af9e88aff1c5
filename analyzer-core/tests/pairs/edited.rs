//! Captures that were edited afterwards: what no host would have forwarded is no fault of one.

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
