//! The numbers of findings about links, names, headers and moments, counted again from the frames by a reader that shares
//! nothing with the library. Those about lost and repeated packets are in `numbers`.

use crate::case::{self, Case};
use crate::frames::{self, Frame, RST, Raw, SYN, mac};
use crate::numbers::{check_times, number, point};
use crate::sane::filter_frames;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::Ipv4Addr;

const SECOND: i64 = 1_000_000_000;

/// A case's findings of an id, at any severity.
fn findings(case: &Case, id: &str) -> Vec<Value> {
    let report = case.json().unwrap_or_else(|error| panic!("{}: {error}", case.name));
    let all = report["findings"].as_array().cloned().unwrap_or_default();
    let found: Vec<Value> = all.into_iter().filter(|finding| finding["id"] == id).collect();
    assert!(!found.is_empty(), "{}: no {id}", case.name);
    for finding in &found {
        check_times(case, finding, &[frames::read(case, 0), frames::read(case, 1)]);
    }
    found
}

/// The frames that a finding's filter for a point names.
fn named(finding: &Value, point: usize) -> BTreeSet<u64> {
    filter_frames(finding["filters"][["a", "b"][point]].as_str().expect("a filter"))
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text"))
}

fn seconds(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is no number of seconds"))
}

/// An ARP message: operation, sender's and target's address.
fn arp(frame: &Raw) -> Option<(u8, Ipv4Addr, Ipv4Addr)> {
    let address = |at: usize| Some(Ipv4Addr::from(<[u8; 4]>::try_from(frame.data.get(at..at + 4)?).ok()?));
    (frame.ether_type() == 0x0806).then_some(())?;
    Some((frame.data[21], address(28)?, address(38)?))
}

#[test]
fn unanswered_arp_questions_are_a_run_without_an_answer() {
    for case in case::named(&["arp_unanswered_gateway", "arp_unanswered_neighbour", "arp_unanswered_uplink"]) {
        for finding in findings(&case, "arp-unanswered") {
            let details = &finding["details"];
            let [asker, target] = [text(&details["asker"]), text(&details["target"])];
            let at = point(&finding["evidence"][0]["point"]);
            let (mut run, mut longest, mut answers) = (BTreeSet::new(), BTreeSet::new(), 0);
            for frame in frames::raw(&case, at) {
                let Some((operation, from, to)) = arp(&frame) else { continue };
                let (from, to) = (from.to_string(), to.to_string());
                if operation == 1 && from == asker && to == target {
                    assert_eq!(frame.source(), text(&details["asker_mac"]), "{}", case.name);
                    run.insert(frame.number);
                } else if operation == 2 && from == target && to == asker {
                    answers += 1;
                    run.clear();
                }
                if run.len() > longest.len() {
                    longest.clone_from(&run);
                }
            }
            assert_eq!(number(&finding["packet_count"]), longest.len() as u64, "{}", case.name);
            assert_eq!(number(&details["answered_before"]), answers, "{}", case.name);
            assert_eq!(named(&finding, at), longest, "{}", case.name);
        }
    }
}

#[test]
fn unanswered_dhcp_questions_are_of_the_client_and_have_no_offer() {
    for case in case::named(&["dhcp_unanswered", "dhcp_unanswered_bridged"]) {
        for finding in findings(&case, "dhcp-unanswered") {
            let client = text(&finding["details"]["client_mac"]).to_owned();
            let at = point(&finding["evidence"][0]["point"]);
            let mut asked = BTreeSet::new();
            for frame in frames::read(&case, at).iter().filter(|frame| [frame.source.1, frame.target.1] == [68, 67]) {
                // Options begin behind 236 bytes and the cookie (RFC 2131); the message type comes first.
                let (hardware, option) = (&frame.payload[28..34], &frame.payload[240..243]);
                if mac(hardware) == client && option == [53, 1, 1] {
                    asked.insert(frame.number);
                }
            }
            assert!(!frames::read(&case, at).iter().any(|frame| frame.source.1 == 67), "{}: an answer", case.name);
            assert_eq!(number(&finding["packet_count"]), asked.len() as u64, "{}", case.name);
            assert_eq!(named(&finding, at), asked, "{}", case.name);
        }
    }
}

#[test]
fn unanswered_connections_are_their_syns() {
    for case in case::named(&["new_unanswered_1", "new_unanswered_inbound"]) {
        for finding in findings(&case, "connection-unanswered") {
            let far = usize::from(finding["direction"] == "outbound");
            let answered: HashSet<_> = frames::read(&case, far)
                .iter()
                .filter(|frame| frame.tcp_flags & !SYN != 0)
                .map(|frame| (frame.target, frame.source))
                .collect();
            let syns: Vec<Frame> = frames::read(&case, far)
                .into_iter()
                .filter(|frame| frame.tcp_flags == SYN && !answered.contains(&(frame.source, frame.target)))
                .collect();
            let flows: HashSet<_> = syns.iter().map(Frame::flow).collect();
            assert_eq!(number(&finding["flow_count"]), flows.len() as u64, "{}", case.name);
            assert_eq!(number(&finding["packet_count"]), syns.len() as u64, "{}", case.name);
        }
    }
}

/// Pairs of the same packet at A and at B, by what translation leaves alone.
fn crossing(case: &Case, outbound: bool) -> Vec<(Frame, Frame)> {
    let [a, b] = [0, 1].map(|point| frames::read(case, point));
    let mut there: HashMap<_, Vec<Frame>> = HashMap::new();
    for frame in b.into_iter().rev() {
        there.entry(frame.identity(outbound)).or_default().push(frame);
    }
    let inside = |frame: &Frame| frame.source.0.octets()[..2] == [192, 168];
    a.into_iter()
        .filter(|frame| inside(frame) == outbound)
        .filter_map(|frame| Some((there.get_mut(&frame.identity(outbound))?.pop()?, frame)))
        .map(|(b, a)| (a, b))
        .collect()
}

#[test]
fn rewritten_headers_differ_between_the_points() {
    let case = &case::named(&["ok_dscp_wiped"])[0];
    for finding in findings(case, "header-rewritten") {
        let outbound = finding["direction"] == "outbound";
        let changed: Vec<(Frame, Frame)> =
            crossing(case, outbound).into_iter().filter(|(a, b)| a.tos >> 2 != b.tos >> 2).collect();
        assert_eq!(number(&finding["packet_count"]), changed.len() as u64);
        let flows: HashSet<_> = changed.iter().map(|(a, _)| a.flow()).collect();
        assert_eq!(number(&finding["flow_count"]), flows.len() as u64);
        let (a, b) = &changed[0];
        let told = format!("DSCP {} at A, {} at B ({} packets)", a.tos >> 2, b.tos >> 2, changed.len());
        assert!(text(&finding["summary"]).contains(&told), "{told}");
    }
    let case = &case::named(&["ok_options_stripped"])[0];
    for finding in findings(case, "header-rewritten") {
        let outbound = finding["direction"] == "outbound";
        // SACK permitted and timestamps, by their kinds.
        let has = |frame: &Frame| [4, 8].map(|kind| frame.option(kind).is_some());
        let syns = crossing(case, outbound).into_iter().filter(|(a, _)| a.tcp_flags & SYN != 0);
        let changed: Vec<(Frame, Frame)> =
            syns.filter(|(a, b)| has(a) == [true, true] && has(b) == [false, false]).collect();
        assert_eq!(number(&finding["packet_count"]), changed.len() as u64);
        assert_eq!(named(&finding, 0), changed.iter().map(|(a, _)| a.number).collect());
        assert_eq!(named(&finding, 1), changed.iter().map(|(_, b)| b.number).collect());
    }
}

#[test]
fn a_clamped_mss_is_lower_behind_the_host() {
    let case = &case::named(&["ok_mss_clamped"])[0];
    for finding in findings(case, "mss-clamped") {
        let outbound = finding["direction"] == "outbound";
        let mss = |frame: &Frame| frame.option(2).map(|value| u64::from(u16::from_be_bytes([value[0], value[1]])));
        let mut changed = 0;
        for (a, b) in crossing(case, outbound).iter().filter(|(a, _)| a.tcp_flags & SYN != 0) {
            let (before, after) = if outbound { (a, b) } else { (b, a) };
            assert_eq!(mss(before), finding["details"]["mss_before"].as_u64());
            assert_eq!(mss(after), finding["details"]["mss_after"].as_u64());
            assert!(named(&finding, 0).contains(&a.number) && named(&finding, 1).contains(&b.number));
            changed += 1;
        }
        assert_eq!(number(&finding["packet_count"]), changed);
    }
}

#[test]
fn a_moved_mac_stands_in_the_frames_across_the_uplink() {
    let case = &case::named(&["mac_move"])[0];
    for finding in findings(case, "mac-move") {
        let moved = text(&finding["details"]["macs"][0]).to_owned();
        let ends: HashSet<&str> = text(&finding["flows"][0]["b"]).split(' ').collect();
        let across: BTreeSet<u64> = frames::read(case, 1)
            .iter()
            .filter(|frame| [frame.source.0, frame.target.0].iter().all(|ip| ends.contains(ip.to_string().as_str())))
            .map(|frame| frame.number)
            .collect();
        assert_eq!(number(&finding["packet_count"]), across.len() as u64);
        assert!(named(&finding, 1).is_subset(&across));
        for frame in frames::raw(case, 1).iter().filter(|frame| across.contains(&frame.number)) {
            assert!([mac(&frame.data[..6]), frame.source()].contains(&moved), "frame {}", frame.number);
        }
    }
}

#[test]
fn a_flow_that_got_another_name_had_the_one_and_then_the_other() {
    for case in case::named(&["quic_rebinding", "udp_rebinding_midlife", "udp_expiry_rebinding"]) {
        for finding in findings(&case, "nat-rebinding") {
            let names: Vec<&str> = finding["details"]["mappings"].as_array().expect("names").iter().map(text).collect();
            let at_b = frames::read(&case, 1);
            let of = |name: &str| -> Vec<i64> {
                let is = |end: (Ipv4Addr, u16)| format!("{}:{}", end.0, end.1) == name;
                at_b.iter().filter(|frame| is(frame.source) || is(frame.target)).map(|frame| frame.time).collect()
            };
            let (old, new) = (of(names[0]), of(names[1]));
            // What a peer still sends to the old name does not count as life of it.
            let before = old.iter().rfind(|&&time| time < new[0]).expect("the old name was in use");
            let idle = (new[0] - before) as f64 / 1e9;
            let told = seconds(&finding["details"]["idle_before_seconds"]);
            if case.name != "udp_expiry_rebinding" {
                assert!((told - idle).abs() < 0.002, "{}: {told} s, but {idle}", case.name);
            }
            assert!(told + 0.002 >= idle, "{}: {told} s, but {idle}", case.name);
        }
    }
}

#[test]
fn unfinished_checksums_and_superframes_are_counted() {
    for case in case::named(&["ok_mix_gso_split"]) {
        for finding in findings(&case, "offload-artifact") {
            for (at, name) in ["a", "b"].iter().enumerate() {
                let all = frames::read(&case, at);
                let partial = all.iter().filter(|frame| frame.checksum_partial()).count() as u64;
                let large = all.iter().filter(|frame| frame.ip_len > 1500).count() as u64;
                assert_eq!(number(&finding["details"][format!("partial_{name}")]), partial, "{}", case.name);
                assert_eq!(number(&finding["details"][format!("superframes_{name}")]), large, "{}", case.name);
            }
        }
    }
}

#[test]
fn reflected_frames_stand_twice_at_b() {
    for case in case::named(&["reflected_all", "reflected_broadcasts", "reflected_late"]) {
        for finding in findings(&case, "reflected-frame") {
            let own = text(&finding["details"]["macs"][0]).to_owned();
            let mut first: HashMap<Vec<u8>, (u64, i64)> = HashMap::new();
            let (mut delays, mut frames_of_both, mut groups, mut single) = (Vec::new(), BTreeSet::new(), 0, 0);
            for frame in frames::raw(&case, 1) {
                groups += u64::from(frame.to_group());
                match first.get(&frame.data) {
                    Some(&(number, time)) if frame.source() == own => {
                        frames_of_both.extend([number, frame.number]);
                        if frame.to_group() {
                            delays.push(frame.time - time);
                        } else {
                            single += 1;
                        }
                    }
                    _ => drop(first.insert(frame.data.clone(), (frame.number, frame.time))),
                }
            }
            delays.sort_unstable();
            let median = delays[delays.len() / 2] as f64 / 1e9;
            let returned = delays.len() as u64;
            assert_eq!(number(&finding["packet_count"]), returned + single, "{}", case.name);
            assert_eq!(number(&finding["details"]["group_frames_returned"]), returned, "{}", case.name);
            assert_eq!(named(&finding, 1), frames_of_both, "{}", case.name);
            assert!((seconds(&finding["details"]["delay_seconds"]) - median).abs() < 2e-6, "{}", case.name);
            assert_eq!(number(&finding["details"]["group_frames"]), groups - returned, "{}", case.name);
        }
    }
}

#[test]
fn reordered_packets_changed_places() {
    let case = &case::named(&["ok_reorder_between"])[0];
    for finding in findings(case, "reordering") {
        let outbound = finding["direction"] == "outbound";
        let entered = |(a, b): &(Frame, Frame)| if outbound { a.number } else { b.number };
        let left = |(a, b): &(Frame, Frame)| if outbound { b.number } else { a.number };
        let mut flows: BTreeMap<_, Vec<(Frame, Frame)>> = BTreeMap::new();
        let pairs = crossing(case, outbound);
        for pair in pairs {
            flows.entry(pair.0.flow()).or_default().push(pair);
        }
        let mut late = 0;
        for flow in flows.values_mut() {
            flow.sort_by_key(left);
            let mut highest = 0;
            for pair in flow.iter() {
                // RFC 4737: it left after one that had entered behind it.
                late += u64::from(entered(pair) < highest);
                highest = highest.max(entered(pair));
            }
        }
        assert_eq!(number(&finding["packet_count"]), late, "{outbound}");
    }
}

#[test]
fn announced_topology_changes_are_bpdus_that_say_so() {
    let case = &case::named(&["stp_topology_change"])[0];
    for finding in findings(case, "stp-topology-change") {
        // Logical link control of spanning tree, protocol 0: then version, type, flags (IEEE 802.1D).
        let bpdus: Vec<Raw> =
            frames::raw(case, 1).into_iter().filter(|frame| frame.data[14..19] == [0x42, 0x42, 3, 0, 0]).collect();
        let says_so = |frame: &Raw| frame.data[20] == 0x80 || frame.data[21] & 1 == 1;
        let changes: BTreeSet<u64> = bpdus.iter().filter(|frame| says_so(frame)).map(|frame| frame.number).collect();
        let senders: BTreeSet<String> = bpdus.iter().map(Raw::source).collect();
        assert_eq!(number(&finding["details"]["bpdus"]), bpdus.len() as u64);
        assert_eq!(number(&finding["packet_count"]), changes.len() as u64);
        assert_eq!(named(&finding, 1), changes);
        assert_eq!(finding["details"]["bridges"], serde_json::json!(senders));
    }
}

#[test]
fn flows_that_stopped_together_have_their_first_missing_packets_close_together() {
    for case in case::named(&["sync_gateway_gone", "sync_flush_invalid_dropped"]) {
        for finding in findings(&case, "synchronous-drop") {
            let [a, b] = [0, 1].map(|point| frames::read(&case, point));
            let names: HashSet<&str> =
                finding["flows"].as_array().expect("flows").iter().filter_map(|flow| flow["a"].as_str()).collect();
            let name =
                |frame: &Frame| format!("{}:{} {}:{}", frame.source.0, frame.source.1, frame.target.0, frame.target.1);
            let crossed: HashSet<_> = b.iter().map(|frame| frame.identity(true)).collect();
            let lost: Vec<Frame> = a
                .into_iter()
                .filter(|frame| names.contains(name(frame).as_str()) && !crossed.contains(&frame.identity(true)))
                .collect();
            let mut first: BTreeMap<_, &Frame> = BTreeMap::new();
            for frame in &lost {
                first.entry(frame.flow()).or_insert(frame);
            }
            assert_eq!(number(&finding["packet_count"]), lost.len() as u64, "{}", case.name);
            assert_eq!(number(&finding["flow_count"]), first.len() as u64, "{}", case.name);
            assert_eq!(named(&finding, 0), first.values().map(|frame| frame.number).collect(), "{}", case.name);
            let times: Vec<i64> = first.values().map(|frame| frame.time).collect();
            let spread = times.iter().max().expect("flows") - times.iter().min().expect("flows");
            let told = seconds(&finding["details"]["spread_seconds"]);
            assert!((told - spread as f64 / 1e9).abs() < 1e-5, "{}: {told}", case.name);
        }
    }
}

#[test]
fn a_stall_is_a_silence_of_one_side_and_then_a_burst() {
    for case in case::named(&["stall_guest_short", "stall_upstream"]) {
        for finding in findings(&case, "synchronous-stall") {
            let outbound = finding["where"] == "inside";
            let at = usize::from(!outbound);
            let all: Vec<Frame> =
                frames::read(&case, at).into_iter().filter(|frame| matches!(frame.protocol, 1 | 6 | 17)).collect();
            let inside = ["192.168.", "203.0.113.5"];
            let way = |frame: &Frame| inside.iter().any(|start| frame.source.0.to_string().starts_with(start));
            let silent: Vec<&Frame> = all.iter().filter(|frame| way(frame) == outbound).collect();
            let gap = silent.windows(2).max_by_key(|two| two[1].time - two[0].time).expect("packets");
            let (from, to) = (gap[0].time, gap[1].time);
            let within = |frame: &&Frame, from: i64, to: i64| (from..to).contains(&frame.time);
            let burst = silent.iter().filter(|frame| within(frame, to, to + SECOND / 2 + 1)).count() as u64;
            let opposite = all.iter().filter(|frame| way(frame) != outbound && within(frame, from, to)).count() as u64;
            let details = &finding["details"];
            let length = (to - from) as f64 / 1e9;
            assert!((seconds(&details["duration_seconds"]) - length).abs() < 0.001, "{}: {length}", case.name);
            assert_eq!(number(&details["burst_after"]), burst, "{}", case.name);
            assert_eq!(number(&details["opposite"]), opposite, "{}", case.name);
            let cited: BTreeSet<u64> =
                finding["evidence"].as_array().expect("evidence").iter().map(|cited| number(&cited["frame"])).collect();
            assert!(cited.is_superset(&BTreeSet::from([gap[0].number, gap[1].number])), "{}", case.name);
        }
    }
}

#[test]
fn a_closed_window_is_a_window_of_zero() {
    let case = &case::named(&["ok_zero_window"])[0];
    for finding in findings(case, "tcp-zero-window") {
        let at = point(&finding["evidence"][0]["point"]);
        let mut closed: HashMap<_, bool> = HashMap::new();
        let mut times = BTreeSet::new();
        for frame in
            frames::read(case, at).iter().filter(|frame| frame.protocol == 6 && frame.tcp_flags & (SYN | RST) == 0)
        {
            let was = closed.insert(frame.flow(), frame.window == 0).unwrap_or_default();
            if frame.window == 0 && !was {
                times.insert(frame.number);
            }
        }
        assert_eq!(number(&finding["packet_count"]), times.len() as u64);
        assert_eq!(named(&finding, at), times);
    }
}
