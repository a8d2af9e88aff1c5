//! The numbers of findings, counted again from the frames by a reader that shares nothing with the library.

use crate::case::{self, Case};
use crate::frames::{self, Frame, RST, numbered};
use crate::{judge, sane};
use serde_json::Value;
use std::collections::{BTreeSet, HashSet};

/// A case's loud findings of an id.
fn findings(case: &Case, id: &str) -> Vec<Value> {
    let report = case.json().unwrap_or_else(|error| panic!("{}: {error}", case.name));
    let all = report["findings"].as_array().cloned().unwrap_or_default();
    let found: Vec<Value> = all.into_iter().filter(|finding| finding["id"] == id && judge::is_loud(finding)).collect();
    assert!(!found.is_empty(), "{}: no {id}", case.name);
    found
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("{value} is no count"))
}

fn point(value: &Value) -> usize {
    usize::from(value == "b")
}

/// Sees to it that a cited frame has the time that is cited for it. The clocks of these pairs are one.
fn check_times(case: &Case, finding: &Value, files: &[Vec<Frame>; 2]) {
    for cited in finding["evidence"].as_array().into_iter().flatten() {
        let Some(frame) = files[point(&cited["point"])].iter().find(|frame| frame.number == number(&cited["frame"]))
        else {
            continue;
        };
        let cited_time = cited["time"].as_str().expect("a time");
        let seconds = (frame.time / 1_000_000_000) % 60;
        let said: f64 = cited_time[17..29].parse().expect("seconds");
        let true_seconds = seconds as f64 + (frame.time % 1_000_000_000) as f64 / 1e9;
        let apart = (said - true_seconds).abs();
        assert!(!(0.001..=59.999).contains(&apart), "{}: frame {} is not at {cited_time}", case.name, frame.number);
    }
}

#[test]
fn resets_are_resets_and_those_of_the_host_are_in_one_capture_only() {
    for case in case::named(&[
        "rst_by_host",
        "rst_by_peer",
        "rst_host_1flow",
        "rst_host_inbound",
        "rst_firewall_outbound",
        "rst_peer_many",
        "rst_guest_half_open",
        "rst_forged",
    ]) {
        let files = [frames::read(&case, 0), frames::read(&case, 1)];
        for finding in findings(&case, "tcp-reset") {
            check_times(&case, &finding, &files);
            let resets = finding["details"]["resets"].as_array().expect("the resets are listed");
            assert_eq!(resets.len() as u64, number(&finding["packet_count"]), "{}", case.name);
            let mut flows = HashSet::new();
            for reset in resets {
                let at = point(&reset["point"]);
                let frame = numbered(&files[at], number(&reset["frame"]));
                assert_ne!(frame.tcp_flags & RST, 0, "{}: frame {} is no RST", case.name, frame.number);
                assert_eq!(u64::from(frame.ttl), number(&reset["ttl"]), "{}: frame {}", case.name, frame.number);
                if finding["where"] == "between" {
                    let copy = |other: &&Frame| other.tcp_flags & RST != 0 && other.seq == frame.seq;
                    assert_eq!(files[1 - at].iter().find(copy).map(|frame| frame.number), None, "{}", case.name);
                }
                if let Some(offender) = reset["offending_frame"].as_u64() {
                    let offender = numbered(&files[at], offender);
                    assert!(offender.number < frame.number, "{}: it answers what came later", case.name);
                    assert_eq!((offender.source, offender.target), (frame.target, frame.source), "{}", case.name);
                }
                flows.insert(frame.flow());
            }
            assert_eq!(flows.len() as u64, number(&finding["flow_count"]), "{}", case.name);
        }
    }
}

/// The frames of a finding's flows and direction where they enter the host, and those of them that have no copy beyond.
fn missing(case: &Case, finding: &Value) -> (Vec<Frame>, Vec<Frame>) {
    let outbound = finding["direction"] == "outbound";
    let entry = usize::from(!outbound);
    let files = [frames::read(case, 0), frames::read(case, 1)];
    check_times(case, finding, &files);
    let flows = finding["flows"].as_array().expect("flows");
    assert_eq!(flows.len() as u64, number(&finding["flow_count"]), "{}: all flows are named", case.name);
    let this_way = |point: usize| -> Vec<Frame> {
        let named: HashSet<&str> = flows.iter().filter_map(|flow| flow[["a", "b"][point]].as_str()).collect();
        let name = |frame: &Frame| {
            let (inner, outer) = if outbound { (frame.source, frame.target) } else { (frame.target, frame.source) };
            format!("{}:{} {}:{}", inner.0, inner.1, outer.0, outer.1)
        };
        files[point].iter().filter(|frame| named.contains(name(frame).as_str())).cloned().collect()
    };
    let far: HashSet<_> = this_way(1 - entry).iter().map(|frame| frame.identity(outbound)).collect();
    let offered = this_way(entry);
    let lost = offered.iter().filter(|frame| !far.contains(&frame.identity(outbound))).cloned().collect();
    (offered, lost)
}

#[test]
fn lost_packets_are_in_the_first_capture_and_not_in_the_second() {
    for case in case::named(&[
        "loss_tcp_out",
        "loss_tcp_in",
        "loss_acks_in",
        "loss_bursty",
        "loss_pps_policer",
        "loss_size_soft",
        "tcp_keepalive_death",
    ]) {
        for finding in findings(&case, "transit-loss") {
            let (offered, lost) = missing(&case, &finding);
            let details = &finding["details"];
            assert_eq!(number(&details["lost"]), lost.len() as u64, "{}: lost", case.name);
            assert_eq!(number(&details["offered"]), offered.len() as u64, "{}: offered", case.name);
            let ratio = number(&details["lost"]) as f64 / number(&details["offered"]) as f64;
            assert!((ratio - details["ratio"].as_f64().expect("a ratio")).abs() < 1e-3, "{}: ratio", case.name);
            let entry = if finding["direction"] == "outbound" { "a" } else { "b" };
            let lost: BTreeSet<u64> = lost.iter().map(|frame| frame.number).collect();
            let named = sane::filter_frames(finding["filters"][entry].as_str().expect("a filter"));
            let cited = finding["evidence"].as_array().expect("evidence").iter();
            let named: BTreeSet<u64> = cited.map(|cited| number(&cited["frame"])).chain(named).collect();
            assert!(named.is_subset(&lost), "{}: {named:?} of {lost:?}", case.name);
        }
    }
}

#[test]
fn retransmitted_segments_bring_what_had_left_before_and_not_arrived() {
    for case in case::named(&["loss_tcp_out", "loss_tcp_in"]) {
        for finding in findings(&case, "one-sided-retransmission") {
            let (offered, lost) = missing(&case, &finding);
            let entry = if finding["direction"] == "outbound" { "a" } else { "b" };
            let mut bytes = 0;
            let named = sane::filter_frames(finding["filters"][entry].as_str().expect("a filter"));
            for number in &named {
                let again = numbered(&offered, *number);
                bytes += again.payload_len;
                let first = lost.iter().find(|first| {
                    first.flow() == again.flow() && first.seq == again.seq && first.number < again.number
                });
                let first = first.unwrap_or_else(|| panic!("{}: frame {number} repeats nothing lost", case.name));
                assert_ne!(first.ip_id, again.ip_id, "{}: a copy is no retransmission", case.name);
            }
            assert_eq!(named.len() as u64, number(&finding["packet_count"]), "{}", case.name);
            assert_eq!(bytes, number(&finding["details"]["retransmitted_bytes"]), "{}", case.name);
        }
    }
}

#[test]
fn the_path_mtu_stands_in_the_icmp_message_and_larger_segments_go_on() {
    for case in case::named(&["pmtu_not_relayed", "pmtu_ignored", "pmtu_not_relayed_1400", "pmtu_ignored_1440"]) {
        let files = [frames::read(&case, 0), frames::read(&case, 1)];
        for finding in findings(&case, "pmtu-black-hole") {
            check_times(&case, &finding, &files);
            let mtu = number(&finding["details"]["mtu"]);
            let (mut announced, mut larger) = (0, 0);
            for cited in finding["evidence"].as_array().expect("evidence") {
                let frame = numbered(&files[point(&cited["point"])], number(&cited["frame"]));
                match frame.icmp {
                    Some((3, 4, said)) => {
                        assert_eq!(said, mtu, "{}: frame {}", case.name, frame.number);
                        announced += 1;
                    }
                    _ => larger += u64::from(frame.ip_len > mtu),
                }
            }
            assert!(announced > 0 && larger > 0, "{}: {announced} announcements, {larger} larger", case.name);
            if finding["cause"] == "icmp-not-relayed" {
                assert!(!files[0].iter().any(|frame| frame.icmp.is_some_and(|icmp| icmp.0 == 3)), "{}", case.name);
            }
        }
    }
}

#[test]
fn stalled_datagrams_reach_one_point_after_the_silence_that_is_named() {
    for case in case::named(&["udp_expiry_stream", "udp_expiry_push", "udp_expiry_dropped", "quic_expiry"]) {
        for finding in findings(&case, "udp-stall") {
            let (offered, lost) = missing(&case, &finding);
            assert_eq!(number(&finding["packet_count"]), lost.len() as u64, "{}", case.name);
            let first = &lost[0];
            let silent_since = frames::read(&case, 1)
                .iter()
                .filter(|frame| frame.number < first.number)
                .filter(|frame| frame.flow() == first.flow() || frame.flow() == (17, first.target, first.source))
                .map(|frame| frame.time)
                .max()
                .expect("the flow spoke before");
            let idle = (first.time - silent_since) as f64 / 1e9;
            let said = finding["details"]["idle_before_seconds"].as_f64().expect("a number of seconds");
            assert!((idle - said).abs() < 0.01, "{}: {said} s, but {idle}", case.name);
            assert!(offered.len() > lost.len(), "{}: the flow lived before", case.name);
        }
    }
}
