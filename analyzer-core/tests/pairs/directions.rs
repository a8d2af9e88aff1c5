//! Captures of one direction (`tcpdump -Q in`, `-Q out`), made of whole ones: what a reflecting network sends back is then
//! the only copy that B has.

use crate::case::{self, Case};
use crate::each::each;
use crate::judge;
use crate::sane::filter_frames;
use crate::variants::{Capture, Frame, report};
use analyzer_core::Options;
use serde_json::{Value, json};
use std::net::Ipv4Addr;

/// What a frame says, without the padding and the trailer that a device on the way may have added.
fn said(frame: &Frame) -> &[u8] {
    let length = match frame.data.get(12..14) {
        Some([8, 0]) => 14 + usize::from(u16::from_be_bytes([frame.data[16], frame.data[17]])),
        Some([8, 6]) => 42,
        _ => frame.data.len(),
    };
    &frame.data[..length.min(frame.data.len())]
}

/// B divided into what left and what came in: of frames from inside the first copy left, and the second came back.
fn divided(b: &Capture, inside: &[Vec<u8>]) -> [Capture; 2] {
    /// The longest delay of a reflection in the lab is a tenth of that.
    const SOON: i64 = 500_000_000;
    let mut parts = [0, 1].map(|_| Capture { link: b.link, frames: Vec::new() });
    let mut waiting: Vec<&Frame> = Vec::new();
    for frame in &b.frames {
        let own = inside.iter().any(|mac| frame.data[6..12] == **mac);
        waiting.retain(|first| frame.time - first.time < SOON);
        let first = waiting.iter().position(|first| said(first) == said(frame)).filter(|_| own);
        match (own, first) {
            (true, None) => waiting.push(frame),
            (true, Some(place)) => drop(waiting.remove(place)),
            (false, _) => {}
        }
        parts[usize::from(!own || first.is_some())].frames.push(frame.clone());
    }
    parts
}

#[test]
fn a_reflection_is_found_by_captures_of_one_direction() {
    for case in case::named(&["reflected", "reflected_all", "reflected_broadcasts", "reflected_late"]) {
        let [a, b] = Capture::both(&case).expect("Ethernet");
        let whole = report(&a, &b);
        let found =
            whole["findings"].as_array().into_iter().flatten().find(|finding| finding["id"] == "reflected-frame");
        let macs = found.expect("the whole pair shows it")["details"]["macs"].as_array().expect("MACs").clone();
        let inside: Vec<Vec<u8>> = macs
            .iter()
            .filter_map(Value::as_str)
            .map(|mac| mac.split(':').map(|byte| u8::from_str_radix(byte, 16).expect("hexadecimal")).collect())
            .collect();
        let [out, back] = divided(&b, &inside);
        for (name, inner) in [("both directions", &a), ("what leaves", &out)] {
            let report = report(inner, &back);
            let faults = judge::judge(&case.truth, &report);
            assert!(faults.is_empty(), "{}, A holds {name}, B what comes in: {faults:#?}", case.name);
            // Counted again: what has a MAC from inside; of connections the first and the last frame are named.
            let all = report["findings"].as_array().into_iter().flatten();
            let found = all.filter(|finding| finding["id"] == "reflected-frame").collect::<Vec<_>>()[0];
            let returned: Vec<(u64, &Frame)> = (1..)
                .zip(&back.frames)
                .filter(|(_, frame)| inside.iter().any(|mac| frame.data[6..12] == **mac))
                .collect();
            let tcp = |frame: &Frame| frame.data[12..14] == [8, 0] && frame.data[23] == 6;
            let mut segments = returned.iter().filter(|(_, frame)| tcp(frame));
            let ends: Vec<u64> = segments.next().into_iter().chain(segments.next_back()).map(|found| found.0).collect();
            let rest = returned.iter().filter(|(_, frame)| !tcp(frame)).map(|found| found.0);
            assert_eq!(found["packet_count"], returned.len(), "{}, A holds {name}", case.name);
            assert_eq!(
                filter_frames(found["filters"]["b"].as_str().expect("a filter")),
                rest.chain(ends).collect(),
                "{}, A holds {name}",
                case.name
            );
        }
    }
}

/// The MAC that sends from an IPv4 address.
fn mac_of(capture: &Capture, address: Ipv4Addr) -> Option<Vec<u8>> {
    let from =
        |frame: &&Frame| frame.data.get(12..14) == Some(&[8, 0]) && frame.data.get(26..30) == Some(&address.octets());
    capture.frames.iter().find(from).map(|frame| frame.data[6..12].to_vec())
}

/// What the halves of these cases show besides, and why.
const SHOWN_BESIDES: &[(&str, &str, &str)] = &[
    ("loss_udp_beyond", "transit-loss", "nothing comes in at all: which directions B holds cannot be known"),
    ("partial_leak_udp", "dns-unanswered", "the questions went out unfinished, which B does not hold"),
];

#[test]
fn what_comes_in_alone_makes_no_fault_behind_nat() {
    let cases: Vec<Case> = case::all().into_iter().filter(Case::plain).collect();
    let wrong = each(&cases, |case| {
        let Some([a, b]) = Capture::both(case) else { return Vec::new() };
        let topology = case.report(Options::default()).expect("a report").topology;
        let outside: Option<Ipv4Addr> = topology.outside_address.and_then(|text| text.parse().ok());
        let Some(host) = outside.and_then(|address| mac_of(&b, address)) else { return Vec::new() };
        let kept = b.frames.iter().filter(|frame| frame.data[6..12] != host).cloned().collect();
        let ids = ["expect", "also"].iter().flat_map(|key| case.truth[*key].as_array().cloned().unwrap_or_default());
        let true_ones: Vec<Value> =
            ids.map(|entry| if entry.is_string() { entry } else { entry["id"].clone() }).collect();
        let besides = SHOWN_BESIDES.iter().filter(|(of, ..)| *of == case.name).map(|(_, id, _)| json!(id));
        let allowed: Vec<Value> = true_ones.iter().cloned().chain(besides).collect();
        let report = report(&a, &Capture { link: b.link, frames: kept });
        let faults = judge::judge(&json!({ "also": allowed }), &report);
        let mut wrong: Vec<String> =
            faults.into_iter().map(|fault| format!("{}, B in only: {fault}", case.name)).collect();
        let excepted = allowed.len() > true_ones.len();
        if excepted && judge::judge(&json!({ "also": true_ones }), &report).is_empty() {
            wrong.push(format!("{} shows nothing besides: no exception", case.name));
        }
        wrong
    });
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
    for (name, ..) in SHOWN_BESIDES {
        assert!(cases.iter().any(|case| case.name == *name), "no case is named {name}");
    }
}

#[test]
fn packets_that_were_given_one_name_are_ambiguous_and_not_lost() {
    for case in case::named(&["ok_mix"]) {
        let [a, b] = Capture::both(&case).expect("Ethernet");
        // Echo messages with their ends exchanged: neither their checksums nor those of the headers change. At A the peer asks
        // and the guest answers; at B both seem to come from the peer.
        let exchanged = |capture: &Capture, kinds: &[u8]| {
            let mut capture = capture.clone();
            for frame in &mut capture.frames {
                let echo = frame.data.get(12..14) == Some(&[8, 0]) && frame.data[23] == 1;
                if echo && kinds.contains(&frame.data[34]) {
                    frame.data[26..34].rotate_left(4);
                }
            }
            capture
        };
        let (a, b) = (exchanged(&a, &[0, 8]), exchanged(&b, &[8]));
        let report = report(&a, &b);
        let faults = judge::judge(&json!({}), &report);
        assert!(faults.is_empty(), "{}: {faults:#?}", case.name);
        let because: Vec<&Value> = report["findings"]
            .as_array()
            .into_iter()
            .flatten()
            .filter(|finding| finding["id"] == "transit-loss")
            .map(|finding| &finding["details"]["because"])
            .collect();
        assert!(!because.is_empty() && because.iter().all(|because| *because == "ambiguous-direction"), "{because:?}");
    }
}
