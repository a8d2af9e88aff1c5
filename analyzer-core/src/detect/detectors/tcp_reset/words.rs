//! The sentence that a colleague would say first of a reset, and what to do about it.

use crate::detect::Claim;
use crate::detect::claim::fix;
use crate::detect::testimony;
use crate::detect::text::{clock_time, counted, duration};
use crate::report::{Directions, Finding, Fix};
use crate::time::SECOND;

pub(super) fn summary(finding: &Finding, claims: &[Claim]) -> String {
    let n = finding.flow_count;
    let flows = counted(n, "live connection");
    let spread = finding.last.0 - finding.first.0;
    let at = if n > 1 {
        format!(" at {}, within {}", clock_time(finding.first), duration(spread))
    } else {
        format!(" at {}", clock_time(finding.first))
    };
    let (them, their, segment) =
        if n == 1 { ("it", "its", "the peer's next segment") } else { ("them", "their", "the peers' next segments") };
    let idle = claims.iter().map(|claim| claim.number("idle_before_seconds")).fold(0.0, f64::max);
    match finding.cause {
        Some("nat-state-lost") => format!(
            "The host itself reset {flows}{at}: {}, so {segment} ended in its own stack.",
            testimony::lost(claims).unwrap_or_else(|| {
                format!("it no longer had {their} NAT {}", if n == 1 { "entry" } else { "entries" })
            })
        ),
        Some("nat-expired") => format!(
            "The host itself reset {flows}{at}: after {} of silence {their} NAT {} had expired, and {segment} ended in its \
             own stack.",
            duration((idle * 1e9) as i64),
            if n == 1 { "entry" } else { "entries" }
        ),
        Some("conntrack-invalid") => format!(
            "The host itself reset {flows}{at}: its connection tracking took a segment out of the window for invalid and \
             did not translate it.",
        ),
        Some("firewall-reject") if claims.iter().any(|claim| claim.details.contains_key("reset_seen")) => format!(
            "The host cut {flows}{at}: it kept back what the guest sent, and the guest fell silent as after a reset. \
             The reset itself is on neither capture.",
        ),
        Some("firewall-reject") if finding.direction == Directions::Outbound => format!(
            "A firewall rule on the host cut {flows}{at}: it kept back what the guest sent and answered with a reset in \
             the peer's name.",
        ),
        Some("firewall-reject") => {
            format!("A firewall rule on the host cut {flows}{at}: it kept back what came in and reset {them}.")
        }
        Some("peer-abort") => format!("The peer reset {flows}{at}; the host passed the reset on."),
        Some("guest-abort") => format!("The guest itself reset {flows}{at}."),
        Some("forged") => format!(
            "Something on the path reset {flows}{at} in the name of an end that did not send {}.",
            if n == 1 { "it" } else { "the resets" }
        ),
        _ => format!("A reset cut {flows}{at}; the captures do not tell who sent it."),
    }
}

pub(super) fn fixes(finding: &Finding) -> Vec<Fix> {
    let around = |before: i64, after: i64| {
        let stamp = |time: i64| crate::time::Time(time).to_string().get(..19).unwrap_or_default().replace('T', " ");
        format!(
            "journalctl --utc --since \"{}\" --until \"{}\"",
            stamp(finding.first.0 - before * SECOND),
            stamp(finding.last.0 + after * SECOND)
        )
    };
    let log = around(60, 5);
    let stray = fix(
        "Keep the host from answering segments in mid-connection that it cannot place: they are then repeated until the \
         guest's next packet makes the entry anew.",
        &["iptables -I INPUT -p tcp ! --syn -m conntrack --ctstate NEW,INVALID -j DROP"],
        "The rule also silences the host's own stale connections; it does not keep the entries from vanishing.",
    );
    let keepalive = fix(
        "Let the guest send keep-alives: a packet from inside makes a lost entry anew, one from outside cannot.",
        &["sysctl -w net.ipv4.tcp_keepalive_time=60 net.ipv4.tcp_keepalive_intvl=20"],
        "In the guest, and only for sockets with SO_KEEPALIVE.",
    );
    match finding.cause {
        Some("nat-state-lost") => vec![
            fix(
                format!(
                    "Find what emptied the NAT table shortly before {}: `conntrack -F` or `-D`, a DHCP client that takes \
                     the uplink's address away and sets it again, a restart of the firewall or of libvirt's network.",
                    clock_time(finding.first)
                ),
                &[&log, "conntrack -E -e DESTROY -o timestamp", "ip -t monitor address link route"],
                "The last two show it when it happens again; `[USERSPACE]` in conntrack's line means that a program did it.",
            ),
            stray,
            keepalive,
        ],
        Some("nat-expired") => vec![
            keepalive,
            fix(
                "See how long the host remembers a silent connection, and raise it.",
                &[
                    "sysctl net.netfilter.nf_conntrack_tcp_timeout_established",
                    "sysctl -w net.netfilter.nf_conntrack_tcp_timeout_established=432000",
                ],
                "The default is five days; entries that wait for an acknowledgment live for 300 s only.",
            ),
            stray,
        ],
        Some("conntrack-invalid") => vec![
            fix(
                "Let connection tracking forgive segments outside its window.",
                &["sysctl -w net.netfilter.nf_conntrack_tcp_be_liberal=1"],
                "It then marks only resets outside the window as invalid.",
            ),
            fix(
                "Drop what connection tracking calls invalid, instead of letting the host answer it.",
                &["iptables -I INPUT -m conntrack --ctstate INVALID -j DROP"],
                "A rule in FORWARD alone does not help: the segment is not forwarded, it is addressed to the host.",
            ),
            fix(
                "See what it calls invalid, and use Linux 6.1 or later, which forgives more.",
                &["sysctl -w net.netfilter.nf_conntrack_log_invalid=6", "conntrack -S"],
                "It logs each such packet.",
            ),
        ],
        Some("firewall-reject") => vec![fix(
            "Find the rule that answers with a reset, and let established connections pass before it.",
            &["iptables-save | grep -n 'reject-with tcp-reset'", "nft list ruleset | grep -n 'reject with tcp reset'"],
            "A rule added in mid-life cuts connections that an older rule had accepted.",
        )],
        Some("peer-abort") => vec![fix(
            "Look at the peer: a crash, a restart, a timeout or a full queue of the application.",
            &[],
            "The host and the guest did nothing wrong. A load balancer in front of the peer may have sent the reset.",
        )],
        Some("guest-abort") => vec![fix(
            "Look in the guest: which process closed its socket at that moment, and why.",
            &[&log, "ss -tnpi"],
            "A reset without ACK means that the guest had no such socket any more: a crash or a reboot.",
        )],
        Some("forged") => vec![fix(
            "Find the device: its distance is told by the reset's TTL. Ask the network's operator, or go round it by a tunnel.",
            &["traceroute -T -p 443 <peer>"],
            "Intrusion prevention, censorship and some load balancers reset in another's name.",
        )],
        _ => Vec::new(),
    }
}
