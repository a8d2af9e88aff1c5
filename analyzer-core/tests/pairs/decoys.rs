//! Every decoy that is known for a fault has a case that looks like it and is none, in which the detector is silent.

use crate::case::{self, Case};
use crate::each::each;
use crate::judge;
use std::collections::BTreeSet;

/// What is mistaken for a fault: the detector's id, the decoy, and cases of it.
const DECOYS: &[(&str, &str, &[&str])] = &[
    ("tcp-reset", "an application aborts after an orderly exchange", &["ok_rst_after_exchange"]),
    ("tcp-reset", "late data to a socket that was closed in order", &["ok_rst_after_fin"]),
    ("tcp-reset", "a reset in the window, answered by a challenge ACK", &["ok_rst_ignored"]),
    ("tcp-reset", "the host resets a connection that was dead already", &["ok_reset_after_death"]),
    ("tcp-reset", "resets to those who try the host's own ports", &["ok_host_scanned", "ok_host_own_traffic"]),
    ("tcp-reset", "a refused connection", &["ok_refused", "ok_server_port_closed"]),
    ("tcp-reset", "two guests with the same source port", &["ok_same_source_port"]),
    ("udp-stall", "an application that pauses and goes on", &["ok_idle", "ok_quic_idle", "quic_idle_ok"]),
    ("udp-stall", "a question and its answer, whose entry expires afterwards", &["ok_dns"]),
    ("udp-stall", "the guest's program closed its socket", &["ok_guest_socket_closed"]),
    ("udp-stall", "a QUIC connection that was closed", &["ok_quic_close"]),
    ("udp-stall", "groups and broadcasts, which are not forwarded", &["ok_groups_and_broadcasts"]),
    ("udp-stall", "datagrams to ports of the host itself", &["ok_host_scanned"]),
    ("pmtu-black-hole", "path MTU discovery at work", &["ok_pmtu", "ok_pmtu6", "pmtu_healthy"]),
    ("pmtu-black-hole", "a sender that forgets the path's MTU and learns it again", &["ok_pmtu_rediscovery"]),
    ("retransmission", "a sender that forgets the path's MTU and learns it again", &["ok_pmtu_rediscovery"]),
    ("pmtu-black-hole", "the host itself is the narrow link and says so", &["ok_pmtu_host_bottleneck", "ok_mix_vxlan"]),
    ("pmtu-black-hole", "superframes", &["ok_mix_bridged_gso", "ok_mix_gso_split"]),
    ("pmtu-black-hole", "a probe of a closed window with a whole segment", &["ok_zero_window"]),
    ("pmtu-black-hole", "loss by a policer that counts bytes", &["loss_byte_policer"]),
    ("pmtu-black-hole", "a sender of datagrams that learns from the first error", &["ok_udp_pmtu"]),
    ("pmtu-black-hole", "fragments", &["ok_fragments"]),
    ("bad-checksum", "partial checksums that the network card finishes", &["partial_ok", "qemu_ok", "ok_mix_mtu9000"]),
    ("bad-checksum", "the outer checksum of a tunnel", &["ok_mix_vxlan"]),
    ("bad-checksum", "checksums that the snap length cut off", &["ok_snap_differs", "ok_snap96", "ok_snap68_gso"]),
    ("retransmission", "keep-alive probes", &["ok_keepalive"]),
    ("retransmission", "packets that change places on the way", &["ok_reorder_outside", "ok_reorder_between"]),
    ("transit-loss", "a capture that missed packets", &["ok_capture_drops_a", "ok_capture_drops_b"]),
    ("transit-loss", "captures of other times", &["ok_edges_a_early_end", "ok_edges_no_overlap"]),
    (
        "transit-loss",
        "captures with other filters",
        &["ok_filter_a_tcp_b_udp", "ok_filter_b_no_icmp", "ok_filter_b_port443", "ok_filter_b_inbound_only"],
    ),
    ("transit-loss", "a capture that holds its packets twice", &["ok_duplicate_capture_b"]),
    (
        "transit-loss",
        "packets that end at the host",
        &["ok_host_local_traffic", "ok_guest_to_guest", "ok_host_scanned"],
    ),
    ("transit-loss", "packets whose TTL ends at the host", &["ok_traceroute"]),
    ("transit-loss", "probes of the path's MTU", &["ok_udp_mtu_probes"]),
    ("pmtu-black-hole", "a sender of datagrams that looks for the path's MTU", &["ok_udp_mtu_probes"]),
    ("transit-loss", "packets after the receiver's reset", &["ok_reset_after_death"]),
    ("transit-loss", "groups and broadcasts", &["ok_groups_and_broadcasts"]),
    ("synchronous-drop", "all applications pause", &["ok_idle"]),
    ("synchronous-drop", "a capture that ends early", &["ok_edges_a_early_end"]),
    ("synchronous-stall", "the applications of one guest pause together", &["ok_one_guest_pauses"]),
    ("synchronous-stall", "all is quiet", &["ok_idle", "ok_quic_idle"]),
    ("connection-not-forwarded", "a server that does not listen", &["ok_server_port_closed"]),
    ("connection-not-forwarded", "a rule that refuses openly", &["ok_reject_icmp"]),
    ("connection-not-forwarded", "a gateway that does not answer ARP", &["arp_unanswered_gateway"]),
    ("connection-not-forwarded", "connections to the host itself", &["ok_host_local_traffic"]),
    ("icmp-rate-limit", "pings that are all answered, however fast", &["ok_ping", "ok_ping_lossless_slow"]),
    ("reflected-frame", "a sender that repeats itself", &["ok_repeated_questions"]),
    ("reflected-frame", "a network that doubles what comes in", &["ok_duplicates_outside"]),
    ("duplicate-frame", "a capture of two interfaces", &["ok_duplicate_capture_b"]),
    ("mac-move", "a guest that moved to another host", &["ok_mac_migrated"]),
    ("stp-topology-change", "a bridge that says hello", &["ok_stp_hello", "ok_stp_steady"]),
    ("dhcp-unanswered", "a lease that was given", &["ok_dhcp_answered"]),
    ("nat-rebinding", "another guest with the same source port", &["ok_same_source_port"]),
    ("nat-rebinding", "a guest that uses its port again", &["ok_source_port_reused"]),
    ("nat-rebinding", "a QUIC client that moves", &["ok_quic_moves"]),
    ("udp-stall", "a QUIC client that moves", &["ok_quic_moves"]),
    ("udp-stall", "an answer later than the timer of new flows", &["ok_late_answers"]),
    ("mac-move", "a gateway whose address moves to another router", &["ok_gateway_takes_over"]),
    ("mac-move", "a querier of multicast groups, and those who answer it", &["ok_igmp_querier"]),
    ("reflected-frame", "a router that sends groups' datagrams on from its own MAC", &["ok_igmp_querier"]),
    ("nat-bypass", "the host's own traffic", &["ok_host_own_traffic"]),
];

#[test]
fn every_decoy_has_a_case_in_which_its_detector_is_silent() {
    let all = case::all();
    let known: BTreeSet<&str> = all.iter().map(|case| case.name.as_str()).collect();
    let mut wrong: Vec<String> = DECOYS
        .iter()
        .flat_map(|(id, decoy, cases)| cases.iter().map(move |case| (id, decoy, case)))
        .filter(|(.., case)| !known.contains(*case))
        .map(|(id, decoy, case)| format!("{id}, {decoy}: there is no case {case}"))
        .collect();
    let concerned: Vec<&Case> =
        all.iter().filter(|case| DECOYS.iter().any(|(.., cases)| cases.contains(&case.name.as_str()))).collect();
    wrong.extend(each(&concerned, |case| {
        let report = case.json().unwrap_or_else(|error| panic!("{}: {error}", case.name));
        let loud: Vec<&str> = report["findings"]
            .as_array()
            .into_iter()
            .flatten()
            .filter(|finding| judge::is_loud(finding))
            .filter_map(|finding| finding["id"].as_str())
            .collect();
        DECOYS
            .iter()
            .filter(|(id, _, cases)| cases.contains(&case.name.as_str()) && loud.contains(id))
            .map(|(id, decoy, _)| format!("{}: {id} is reported, but it is {decoy}", case.name))
            .collect()
    }));
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}
