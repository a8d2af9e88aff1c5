//! The findings there are: what `--only` and `--ignore` accept and what `pcapdiff detectors` lists.

/// A kind of finding.
pub(crate) struct Entry {
    /// Its id, as in the report.
    pub(crate) id: &'static str,
    /// What it says.
    pub(crate) says: &'static str,
    /// The causes it tells apart.
    pub(crate) causes: &'static [&'static str],
    /// How severe it is.
    pub(crate) severity: &'static str,
}

const fn entry(id: &'static str, says: &'static str, causes: &'static [&'static str], severity: &'static str) -> Entry {
    Entry { id, says, causes, severity }
}

/// Every kind of finding, in the order in which the documentation lists them.
pub(crate) const ENTRIES: &[Entry] = &[
    entry(
        "tcp-reset",
        "an RST cut a connection that was alive, and who sent it",
        &[
            "nat-state-lost",
            "nat-expired",
            "conntrack-invalid",
            "firewall-reject",
            "peer-abort",
            "guest-abort",
            "forged",
            "unknown",
        ],
        "error (between), warning",
    ),
    entry(
        "udp-stall",
        "a QUIC or other UDP flow goes silent although one end still speaks",
        &["nat-expired", "dropped", "peer-silent", "guest-silent"],
        "error",
    ),
    entry(
        "nat-rebinding",
        "the outer address or port of an inner flow changed mid-life",
        &["nat-expired", "unknown"],
        "warning",
    ),
    entry("nat-bypass", "packets left with the inner address, untranslated", &[], "error"),
    entry(
        "pmtu-black-hole",
        "packets above the path MTU vanish and the sender does not learn or obey",
        &["icmp-not-relayed", "icmp-ignored", "icmp-absent"],
        "error",
    ),
    entry(
        "one-sided-retransmission",
        "the original passed one point and never the other: lost between",
        &[],
        "error, warning when rare",
    ),
    entry(
        "retransmission",
        "the original crossed both points: lost outside (outbound) or inside (inbound)",
        &[],
        "warning",
    ),
    entry(
        "transit-loss",
        "packets of any protocol that entered the host and never left it",
        &[],
        "error, warning when rare",
    ),
    entry("bad-checksum", "a wrong checksum that is a fault", &["partial-leaked", "corrupted"], "error"),
    entry("offload-artifact", "partial checksums and superframes at one point, right beyond it: normal", &[], "info"),
    entry(
        "synchronous-drop",
        "several live flows end or stop crossing within a second",
        &["nat-flushed", "address-flush", "gateway-unreachable", "bridge-down", "firewall", "unknown"],
        "error",
    ),
    entry("synchronous-stall", "all flows fall silent from one side at once and resume", &[], "error"),
    entry(
        "connection-not-forwarded",
        "new connections enter the host and never leave it, while others live",
        &["table-full", "port-exhausted", "firewall", "unknown"],
        "error",
    ),
    entry("connection-unanswered", "SYNs cross both points and no answer comes", &[], "warning"),
    entry("icmp-rate-limit", "echo requests or replies above a rate vanish", &[], "warning"),
    entry(
        "duplicate-frame",
        "the same frame twice within a few milliseconds at one point, once at the other",
        &[],
        "warning",
    ),
    entry("reflected-frame", "frames with an inside MAC come back in from outside", &[], "error"),
    entry("mac-move", "a MAC changes side", &[], "warning"),
    entry("stp-topology-change", "BPDUs announce topology changes", &[], "warning"),
    entry("arp-unanswered", "ARP requests without an answer", &[], "warning"),
    entry("dhcp-unanswered", "DHCP requests without an answer", &[], "warning"),
    entry("dns-unanswered", "DNS queries without an answer", &[], "warning"),
    entry("tcp-zero-window", "a receiver closed its window: the sender had to wait", &[], "info"),
    entry("reordering", "packets overtook one another", &[], "info"),
    entry("mss-clamped", "the MSS option was lowered on the way", &[], "info"),
    entry("header-rewritten", "DSCP, ECN or options were changed on the way", &[], "info"),
];

/// All ids.
pub(crate) fn ids() -> impl Iterator<Item = &'static str> {
    ENTRIES.iter().map(|entry| entry.id)
}

/// The entry of an id.
pub(crate) fn find(id: &str) -> Option<&'static Entry> {
    ENTRIES.iter().find(|entry| entry.id == id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use analyzer_core::detect::SPECS;

    #[test]
    fn every_detector_is_listed_once() {
        for spec in SPECS {
            assert_eq!(ids().filter(|id| *id == spec.id).count(), 1, "{}", spec.id);
            assert_eq!(find(spec.id).map(|entry| entry.causes), Some(spec.causes), "{}", spec.id);
        }
    }
}
