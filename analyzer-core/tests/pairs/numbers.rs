//! The numbers of findings, counted again from the frames by a reader that shares nothing with the library.

use crate::case::{self, Case};
use crate::frames::{self, Frame, RST, SYN, numbered};
use crate::{judge, sane};
use analyzer_core::Time;
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

pub(crate) fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("{value} is no count"))
}

pub(crate) fn point(value: &Value) -> usize {
    usize::from(value == "b")
}

/// Sees to it that a cited frame has the time that is cited for it. The clocks of these pairs are one.
pub(crate) fn check_times(case: &Case, finding: &Value, files: &[Vec<Frame>; 2]) {
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
    // What the end of the other capture leaves in doubt is not judged: what comes when it has ended, or nearly, and only that.
    let judged = finding["last"].as_str().expect("a time").to_owned();
    let end = files[1 - entry].iter().map(|frame| frame.time).max().unwrap_or_default();
    let lost = offered.iter().filter(|frame| !far.contains(&frame.identity(outbound)));
    let (lost, open): (Vec<Frame>, Vec<Frame>) =
        lost.cloned().partition(|frame| Time(frame.time - 1_000_000).to_string() <= judged);
    assert!(open.iter().all(|frame| frame.time > end - 1_000_000_000), "{}: lost at the end", case.name);
    (offered, lost)
}

#[test]
fn losses_on_the_way_to_the_gateway_have_a_row_of_their_own() {
    let case = case::named(&["loss_to_gateway"]).remove(0);
    let finding = findings(&case, "transit-loss").remove(0);
    let (_, lost) = missing(&case, &finding);
    let rows = finding["details"]["by_path"].as_array().expect("a table").clone();
    for (path, to) in [("guest to gateway", "203.0.113.1"), ("guest to outside", "198.51.100.7")] {
        let row = rows.iter().find(|row| row["path"] == path).unwrap_or_else(|| panic!("{path}: {rows:?}"));
        assert_eq!(row["to"], to);
        assert_eq!(
            number(&row["lost"]),
            lost.iter().filter(|frame| frame.target.0.to_string() == to).count() as u64,
            "{path}"
        );
    }
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
        "loss_to_gateway",
        "tcp_keepalive_death",
    ]) {
        for finding in findings(&case, "transit-loss") {
            let (offered, lost) = missing(&case, &finding);
            let details = &finding["details"];
            assert_eq!(number(&details["lost"]), lost.len() as u64, "{}: lost", case.name);
            assert_eq!(number(&details["offered"]), offered.len() as u64, "{}: offered", case.name);
            let sum = |table: &str, column: &str| -> u64 {
                details[table].as_array().expect("a table").iter().map(|row| number(&row[column])).sum()
            };
            assert_eq!(sum("by_size", "lost"), lost.len() as u64, "{}: lost by size", case.name);
            assert_eq!(sum("by_protocol", "lost"), lost.len() as u64, "{}: lost by protocol", case.name);
            assert_eq!(sum("by_rate", "lost"), lost.len() as u64, "{}: lost by rate", case.name);
            assert_eq!(sum("by_path", "lost"), lost.len() as u64, "{}: lost by path", case.name);
            assert_eq!(sum("by_path", "offered"), offered.len() as u64, "{}: offered by path", case.name);
            assert_eq!(sum("by_protocol", "offered"), offered.len() as u64, "{}: offered by protocol", case.name);
            if case.name == "loss_pps_policer" {
                // One flow has the direction to itself.
                let tenth = |frame: &Frame| frame.time / 100_000_000;
                let slowest = lost
                    .iter()
                    .map(|one| offered.iter().filter(|frame| tenth(frame) == tenth(one)).count() as u64)
                    .min();
                let said = number(&details["loss_begins_at_per_second"]);
                assert!(said.abs_diff(slowest.expect("losses") * 10) <= 10, "{said} is not {slowest:?} in 100 ms");
            }
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

#[test]
fn repeated_segments_lost_beyond_had_crossed_before() {
    for case in case::named(&["loss_beyond_out", "loss_inside_in"]) {
        for finding in findings(&case, "retransmission") {
            let (offered, _) = missing(&case, &finding);
            let entry = usize::from(finding["direction"] != "outbound");
            let far = frames::read(&case, 1 - entry);
            let named = sane::filter_frames(finding["filters"][["a", "b"][entry]].as_str().expect("a filter"));
            assert_eq!(named.len() as u64, number(&finding["packet_count"]), "{}", case.name);
            for number in named {
                let again = numbered(&offered, number);
                let first = offered.iter().find(|first| first.seq == again.seq && first.flow() == again.flow());
                let first = first.expect("the segment itself at least");
                assert!(first.number < again.number, "{}: frame {number} is the first", case.name);
                let copies = far.iter().filter(|copy| copy.seq == again.seq && copy.payload_len == again.payload_len);
                assert!(copies.count() >= 2, "{}: frame {number}: the first did not cross", case.name);
            }
        }
    }
}

#[test]
fn damaged_packets_were_right_before() {
    for case in case::named(&["corrupt_between_in_udp_routed", "corrupt_before_bridged"]) {
        let files = [frames::read(&case, 0), frames::read(&case, 1)];
        for finding in findings(&case, "bad-checksum") {
            check_times(&case, &finding, &files);
            let outbound = finding["direction"] == "outbound";
            let exit = usize::from(outbound);
            let wrong = |point: usize| -> BTreeSet<u64> {
                let wrong = files[point].iter().filter(|frame| frame.protocol != 1 && frame.protocol != 2);
                // Unfinished checksums of a guest's own offload are wrong as well, but not damaged: another test's matter.
                wrong.filter(|frame| frame.checksum_right() == Some(false)).map(|frame| frame.number).collect()
            };
            let named = sane::filter_frames(finding["filters"][["a", "b"][exit]].as_str().expect("a filter"));
            assert_eq!(named.len() as u64, number(&finding["packet_count"]), "{}", case.name);
            assert!(named.is_subset(&wrong(exit)), "{}: {named:?}", case.name);
            if finding["where"] == "between" {
                let before = sane::filter_frames(finding["filters"][["a", "b"][1 - exit]].as_str().expect("a filter"));
                assert_eq!(before.len(), named.len(), "{}", case.name);
                assert!(before.is_disjoint(&wrong(1 - exit)), "{}: wrong already at the entry", case.name);
            }
        }
    }
}

#[test]
fn pings_and_questions_are_counted() {
    for case in case::named(&["icmp_policed_out", "icmp_policed"]) {
        for finding in findings(&case, "icmp-rate-limit") {
            let mut seen = [0, 1].map(|point| -> HashSet<Vec<u8>> {
                let requests =
                    frames::read(&case, point).into_iter().filter(|frame| frame.icmp.is_some_and(|icmp| icmp.0 == 8));
                // The sequence number and the payload: NAT may change the identifier and the checksum.
                requests.map(|frame| frame.payload[6..].to_vec()).collect()
            });
            let [a, b] = &mut seen;
            assert_eq!(number(&finding["details"]["offered"]), a.len() as u64, "{}", case.name);
            assert_eq!(number(&finding["details"]["lost"]), a.difference(b).count() as u64, "{}", case.name);
        }
    }
    for case in case::named(&["dns_unanswered_some", "dns_unanswered_outside"]) {
        for finding in findings(&case, "dns-unanswered") {
            let at_a = frames::read(&case, 0);
            // A question asked again is the same question.
            let distinct = |frames: Vec<&Frame>| frames.iter().map(|frame| frame.payload[..2].to_vec()).collect();
            let asked: HashSet<Vec<u8>> =
                distinct(at_a.iter().filter(|frame| frame.protocol == 17 && frame.target.1 == 53).collect());
            let answered: HashSet<Vec<u8>> =
                distinct(at_a.iter().filter(|frame| frame.protocol == 17 && frame.source.1 == 53).collect());
            assert_eq!(number(&finding["details"]["questions"]), asked.len() as u64, "{}", case.name);
            assert_eq!(number(&finding["packet_count"]), asked.difference(&answered).count() as u64, "{}", case.name);
        }
    }
}

#[test]
fn doubled_packets_stand_twice_in_one_capture() {
    for case in case::named(&["duplicates_inbound", "duplicates_outbound_bridged"]) {
        for finding in findings(&case, "duplicate-frame") {
            let outbound = finding["direction"] == "outbound";
            let exit = usize::from(outbound);
            let count = |point: usize| {
                let mut seen = HashSet::new();
                let frames = frames::read(&case, point);
                frames.iter().filter(|frame| frame.ip_id != 0 && !seen.insert(frame.identity(outbound))).count() as u64
            };
            assert_eq!(count(exit), number(&finding["packet_count"]), "{}", case.name);
            assert_eq!(count(1 - exit), 0, "{}", case.name);
        }
    }
}

#[test]
fn untranslated_packets_bear_the_inside_address_at_b() {
    for case in case::named(&["nat_bypass_new_flows", "nat_bypass_second_guest"]) {
        let at_b = frames::read(&case, 1);
        let private = |frame: &&Frame| frame.source.0.octets()[..2] == [192, 168];
        let told: u64 = findings(&case, "nat-bypass").iter().map(|finding| number(&finding["packet_count"])).sum();
        assert_eq!(told, at_b.iter().filter(private).count() as u64, "{}", case.name);
        let flows: HashSet<_> = at_b.iter().filter(private).map(Frame::flow).collect();
        let told: u64 = findings(&case, "nat-bypass").iter().map(|finding| number(&finding["flow_count"])).sum();
        assert_eq!(told, flows.len() as u64, "{}", case.name);
    }
}

#[test]
fn connections_that_are_not_forwarded_are_in_the_first_capture_alone() {
    for case in case::named(&["new_not_forwarded", "new_port_exhausted_3"]) {
        let [a, b] = [0, 1].map(|point| frames::read(&case, point));
        let crossed: HashSet<u32> = b.iter().filter(|frame| frame.tcp_flags == SYN).map(|frame| frame.seq).collect();
        let stuck: Vec<&Frame> =
            a.iter().filter(|frame| frame.tcp_flags == SYN && !crossed.contains(&frame.seq)).collect();
        for finding in findings(&case, "connection-not-forwarded") {
            let flows: HashSet<_> = stuck.iter().map(|frame| frame.flow()).collect();
            assert_eq!(number(&finding["flow_count"]), flows.len() as u64, "{}", case.name);
            assert_eq!(number(&finding["packet_count"]), stuck.len() as u64, "{}", case.name);
        }
    }
}
