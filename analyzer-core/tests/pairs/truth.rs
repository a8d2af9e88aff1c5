//! Every case, judged.

use crate::{case, judge, sane};

/// Cases that are not right yet, and why. A case that becomes right must leave this list.
const PENDING: &[(&str, &str)] = &[
    ("arp_unanswered_gateway", NO_DETECTOR),
    ("arp_unanswered_neighbour", NO_DETECTOR),
    ("arp_unanswered_uplink", NO_DETECTOR),
    ("dhcp_unanswered", NO_DETECTOR),
    ("dhcp_unanswered_bridged", NO_DETECTOR),
    ("dns_unanswered_between", NO_DETECTOR),
    ("dns_unanswered_outside", NO_DETECTOR),
    ("dns_unanswered_some", NO_DETECTOR),
    ("duplicates_inbound", NO_DETECTOR),
    ("duplicates_outbound_bridged", NO_DETECTOR),
    ("icmp_policed", NO_DETECTOR),
    ("icmp_policed_beyond", NO_DETECTOR),
    ("icmp_policed_out", NO_DETECTOR),
    ("loss_total", "a loss of everything has no shape yet"),
    ("mac_move", NO_DETECTOR),
    ("quic_expiry__with_log", "--conntrack is not read yet"),
    ("reflected", NO_DETECTOR),
    ("reflected_all", NO_DETECTOR),
    ("reflected_broadcasts", NO_DETECTOR),
    ("reflected_late", NO_DETECTOR),
    ("rst_by_firewall", "the reset of a rule towards the peer"),
    ("rst_host_5flows__ring", "folders of ring-buffer files are not read yet"),
    ("stp_topology_change", NO_DETECTOR),
    ("sync_flush_invalid_dropped__with_log", "--conntrack is not read yet"),
    ("two_ping_limit_and_pmtu", NO_DETECTOR),
];

const NO_DETECTOR: &str = "its detector is not there yet";

#[test]
fn every_case_is_judged_right() {
    let wrong = case::each(&case::all(), |case| {
        let faults = match case.json() {
            Ok(report) => judge::judge(&case.truth, &report).into_iter().chain(sane::faults(&report)).collect(),
            Err(error) => vec![error],
        };
        let pending = PENDING.iter().find(|(name, _)| *name == case.name);
        match (faults.is_empty(), pending) {
            (true, Some(_)) => vec![format!("{} is right now: take it off the list of the pending", case.name)],
            (false, None) => faults.into_iter().map(|fault| format!("{}: {fault}", case.name)).collect(),
            _ => Vec::new(),
        }
    });
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

#[test]
fn what_is_pending_exists() {
    let cases = case::all();
    for (name, reason) in PENDING {
        assert!(cases.iter().any(|case| case.name == *name), "{name} is no case");
        assert!(!reason.is_empty(), "{name}: why?");
    }
}
