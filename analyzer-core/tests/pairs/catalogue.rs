//! Every detector has what shows that it works: cases in which it speaks, each cause among them, and cases in which it has
//! to be silent although they look alike.

use crate::case::{self, Case};
use crate::each::each;
use analyzer_core::detect::SPECS;
use analyzer_core::report::Severity;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// For each id what is mistaken for it: cases in which it must not be reported, not even as context where it is nothing else.
const NEAR_MISSES: &[(&str, &[&str])] = &[
    ("arp-unanswered", &["ok_ping", "ok_mac_migrated", "ok_guest_to_guest"]),
    ("bad-checksum", &["partial_ok", "ok_mix_vxlan", "ok_repeated_questions", "ok_snap_differs"]),
    ("connection-not-forwarded", &["ok_server_port_closed", "ok_host_local_traffic", "ok_filter_b_port443"]),
    ("connection-unanswered", &["ok_refused", "ok_server_port_closed"]),
    ("dhcp-unanswered", &["ok_dhcp_answered"]),
    ("dns-unanswered", &["ok_dns", "ok_filter_b_port443"]),
    ("duplicate-frame", &["ok_duplicate_capture_b", "ok_mix_bridged_gso"]),
    ("header-rewritten", &["ok_mix", "ok_ping"]),
    ("icmp-rate-limit", &["ok_ping", "ok_ping_lossless_slow", "ok_traceroute"]),
    ("mac-move", &["ok_mac_migrated", "ok_mix_bridged_gso"]),
    ("mss-clamped", &["ok_mix", "ok_options_stripped"]),
    ("nat-bypass", &["ok_host_own_traffic", "ok_host_local_traffic"]),
    ("nat-rebinding", &["ok_same_source_port", "ok_quic_idle"]),
    ("offload-artifact", &["ok_ping", "ok_fragments"]),
    ("one-sided-retransmission", &["loss_beyond_out", "loss_inside_in", "ok_reorder_between", "ok_capture_drops_b"]),
    ("pmtu-black-hole", &["ok_pmtu", "ok_pmtu6", "ok_pmtu_host_bottleneck", "ok_udp_pmtu"]),
    ("reflected-frame", &["ok_repeated_questions", "ok_duplicates_outside", "ok_duplicate_capture_b"]),
    ("reordering", &["ok_reorder_outside", "ok_mix"]),
    ("retransmission", &["ok_keepalive", "ok_zero_window", "ok_reorder_between", "loss_tcp_out"]),
    ("stp-topology-change", &["ok_stp_hello", "ok_stp_steady"]),
    ("synchronous-drop", &["ok_idle", "ok_edges_a_early_end", "ok_capture_drops_a", "stall_host"]),
    ("synchronous-stall", &["ok_idle", "ok_edges_a_early_end", "sync_peers_dead"]),
    ("tcp-reset", &["ok_rst_after_exchange", "ok_rst_ignored", "ok_refused", "ok_guest_socket_closed"]),
    ("tcp-zero-window", &["ok_keepalive", "ok_idle"]),
    ("transit-loss", &["loss_udp_beyond", "ok_capture_drops_b", "ok_edges_no_overlap", "ok_filter_b_inbound_only"]),
    ("udp-stall", &["ok_quic_close", "ok_quic_idle", "quic_rebinding"]),
];

/// Causes that say that the captures do not tell: no case can be made to show them for good.
const UNTOLD: &str = "unknown";

/// The findings that count of a case: id, cause.
fn said(case: &Case) -> Vec<(String, Option<String>)> {
    let report = case.json().unwrap_or_else(|error| panic!("{}: {error}", case.name));
    let by_nature = |id: &Value| SPECS.iter().any(|spec| id == spec.id && spec.severity == Severity::Info);
    let all = report["findings"].as_array().cloned().unwrap_or_default();
    all.iter()
        .filter(|finding| finding["severity"] != "info" || by_nature(&finding["id"]))
        .map(|finding| (finding["id"].as_str().unwrap_or("?").to_owned(), finding["cause"].as_str().map(str::to_owned)))
        .collect()
}

#[test]
fn every_detector_speaks_where_it_should_and_is_silent_where_it_must() {
    let cases = case::all();
    let found = each(&cases, |case| vec![(case.name.clone(), said(case))]);
    let by_case: BTreeMap<&str, &Vec<_>> = found.iter().map(|(name, said)| (name.as_str(), said)).collect();
    let all: BTreeSet<_> = found.iter().flat_map(|(_, said)| said).cloned().collect();
    let due: BTreeSet<&str> = cases
        .iter()
        .flat_map(|case| ["expect", "info"].map(|key| case.truth[key].as_array().into_iter().flatten()))
        .flatten()
        .filter_map(|entry| entry["id"].as_str().or(entry.as_str()))
        .collect();
    let mut wrong = Vec::new();
    for spec in SPECS {
        if !due.contains(spec.id) {
            wrong.push(format!("{}: no case demands it", spec.id));
        }
        for cause in spec.causes.iter().filter(|cause| **cause != UNTOLD) {
            if !all.contains(&(spec.id.to_owned(), Some((*cause).to_owned()))) {
                wrong.push(format!("{}: no case shows the cause {cause}", spec.id));
            }
        }
        let near = NEAR_MISSES.iter().find(|(id, _)| *id == spec.id).map_or(&[][..], |(_, near)| near);
        if near.is_empty() {
            wrong.push(format!("{}: nothing is mistaken for it", spec.id));
        }
        for name in near {
            match by_case.get(name) {
                None => wrong.push(format!("{}: {name} is no case", spec.id)),
                Some(said) if said.iter().any(|(id, _)| id == spec.id) => {
                    wrong.push(format!("{}: reported in {name}", spec.id));
                }
                Some(_) => {}
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}
