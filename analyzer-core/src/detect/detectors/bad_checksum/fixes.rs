//! What to do about unfinished and about damaged packets.

use crate::detect::claim::fix;
use crate::report::{Fix, Where};

pub(super) fn leak_fixes(dhcp: bool) -> Vec<Fix> {
    if dhcp {
        return vec![
            fix(
                "Let the host finish the checksums of its DHCP replies.",
                &[
                    "ethtool -K virbr0 tx off",
                    "iptables -t mangle -A POSTROUTING -o virbr0 -p udp --dport 68 -j CHECKSUM --checksum-fill",
                ],
                "One of the two. nftables has no CHECKSUM target: switch the offload off there.",
            ),
            fix(
                "Update the guest's DHCP client or its network driver.",
                &[],
                "Clients that ask the kernel whether a checksum is finished (PACKET_AUXDATA) are not affected.",
            ),
        ];
    }
    vec![
        fix(
            "Switch checksum offload off where the packets leave.",
            &["ethtool -K <uplink> tx off"],
            "Costs CPU time, and TSO with it. If it helps, the card's driver (or a tunnel on it) does not finish checksums: update it.",
        ),
        fix("Or in the guest.", &["ethtool -K eth0 tx off tso off gso off"], "In the guest; the same cost there."),
    ]
}

pub(super) fn corruption_fixes(place: Where) -> Vec<Fix> {
    let counters = fix(
        "Watch the counters of damaged packets while it happens.",
        &[
            "nstat -az | grep -iE 'csum|InErrors|HdrErrors'",
            "ethtool -S <uplink> | grep -iE 'err|crc|csum'",
            "conntrack -S",
        ],
        "Read them twice: only what grows matters.",
    );
    let first = match place {
        Where::Inside => fix(
            "Switch offload off in the guest, one kind at a time.",
            &["ethtool -K eth0 tx off tso off gso off"],
            "In the guest. Costs CPU time. If it helps, update the guest's network driver (virtio, vhost).",
        ),
        Where::Between => fix(
            "Switch offload off on the host, one interface at a time.",
            &["ethtool -K virbr0 tx off", "ethtool -K <uplink> rx off tx off tso off gso off gro off"],
            "Costs CPU time. If nothing changes, suspect memory or a driver: test another card or kernel.",
        ),
        Where::Unknown => fix(
            "Capture whole packets at both points.",
            &["tcpdump -s 0 -i virbr0 -w a.pcap", "tcpdump -s 0 -i <uplink> -w b.pcap"],
            "Only a checksum that can be verified where the packets come in tells whether the host damages them.",
        ),
        Where::Outside => fix(
            "Test the cable, the switch port and the far end.",
            &["ethtool <uplink>", "ethtool -S <uplink> | grep -iE 'crc|symbol|align'"],
            "Damage before the uplink is not the host's doing.",
        ),
    };
    vec![first, counters]
}
