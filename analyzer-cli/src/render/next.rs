//! What to capture next where these captures do not tell enough: in words, with the commands.

use analyzer_core::Point;
use analyzer_core::report::{Finding, Report, TopologyKind, Where};

use super::describe;
use crate::select::actionable;

/// One thing to do differently, and the commands for it.
pub(super) struct Advice {
    pub(super) what: String,
    pub(super) commands: Vec<String>,
}

/// What would settle that which is not settled.
pub(super) fn next(report: &Report) -> Vec<Advice> {
    let mut list: Vec<Advice> = Vec::new();
    let has = |id: &str| report.coverage.iter().any(|limit| limit.id == id);
    let found: Vec<&Finding> = report.findings.iter().filter(|finding| actionable(finding)).collect();
    let doubts = || found.iter().flat_map(|finding| describe::reasons(finding, "against"));
    let hidden =
        report.coverage.iter().filter(|limit| limit.id == "filter-mismatch").map(|limit| limit.summary.as_str());
    let about_icmp = |text: &str| text.contains("ICMP") && text.contains("filter");
    let icmp = doubts().chain(hidden).any(about_icmp);
    if icmp || has("filter-mismatch") {
        let what = if icmp {
            "Let both captures have ICMP: without it nobody can say whether an error was sent and who kept it back."
        } else {
            "Give both captures the same filter, or none: what one cannot hold cannot be compared."
        };
        let extra = if icmp { " or icmp or icmp6 or arp" } else { "" };
        list.push(Advice { what: what.into(), commands: commands(report, &found, extra) });
    }
    if has("capture-loss") {
        list.push(Advice {
            what: "Give tcpdump a larger buffer, and keep less of each packet if that is not enough (`-s 256`).".into(),
            commands: vec!["tcpdump -B 65536 -i IFACE -w FILE".into()],
        });
    }
    if has("snap-length") {
        list.push(Advice {
            what: "Keep whole packets, so that checksums and payload can be judged.".into(),
            commands: vec!["tcpdump -s 0 -i IFACE -w FILE".into()],
        });
    }
    if has("no-overlap") {
        list.push(Advice {
            what: "Start both captures before the fault, on the same host, and stop them some seconds after it.".into(),
            commands: commands(report, &found, " or icmp or icmp6 or arp"),
        });
    }
    let open = |finding: &&Finding| finding.cause == Some("unknown") && finding.place == Where::Between;
    if found.iter().any(open) {
        list.push(Advice {
            what: "Let the host say what it does with its entries meanwhile, and give its log to `--conntrack`.".into(),
            commands: vec!["conntrack -E -o timestamp > conntrack.log".into()],
        });
    }
    list
}

/// A tcpdump for each point that has what the worst finding is about, and `extra`.
fn commands(report: &Report, found: &[&Finding], extra: &str) -> Vec<String> {
    let flow = found.iter().find_map(|finding| finding.flows.first());
    let host = |name: Option<&String>, outer: bool| -> Option<String> {
        let (inside, outside) = name?.split_once(' ')?;
        let end = if outer { outside } else { inside };
        Some(bare(end).to_owned())
    };
    let nat = report.topology.kind == TopologyKind::Nat;
    Point::BOTH
        .map(|point| {
            let name = flow.and_then(|flow| if point == Point::A { flow.a.as_ref() } else { flow.b.as_ref() });
            // Beyond NAT the guest has another address; the peer keeps its own.
            let host = host(name.or_else(|| flow.and_then(|flow| flow.a.as_ref())), nat && point == Point::B);
            let filter = host.map(|host| format!(" 'host {host}{extra}'")).unwrap_or_default();
            match point {
                Point::A => format!("tcpdump -i INSIDE -w a.pcap{filter}"),
                Point::B => format!("tcpdump -i UPLINK -w b.pcap{filter}"),
            }
        })
        .to_vec()
}

/// An endpoint without its port, an IPv6 address without its brackets.
fn bare(end: &str) -> &str {
    if let Some(rest) = end.strip_prefix('[') {
        return rest.split(']').next().unwrap_or(rest);
    }
    if end.matches(':').count() == 1 { end.split(':').next().unwrap_or(end) } else { end }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::sample;
    use analyzer_core::report::Coverage;
    use serde_json::Map;

    #[test]
    fn a_filter_that_hides_icmp_is_answered_with_one_that_does_not() {
        let mut report = sample::resets();
        let summary = "Nothing of ICMP is in the capture of A: its filter may have kept it out.".into();
        report.coverage =
            vec![Coverage { id: "filter-mismatch".into(), point: Some(Point::A), summary, details: Map::new() }];
        let advice = next(&report);
        assert_eq!(
            advice[0].commands,
            [
                "tcpdump -i INSIDE -w a.pcap 'host 192.168.122.10 or icmp or icmp6 or arp'",
                "tcpdump -i UPLINK -w b.pcap 'host 198.51.100.7 or icmp or icmp6 or arp'"
            ]
        );
        assert!(next(&sample::healthy()).is_empty());
    }

    #[test]
    fn ports_are_left_out() {
        assert_eq!(
            ["10.0.0.1:80", "10.0.0.1", "[fd00::1]:80", "fd00::1"].map(bare),
            ["10.0.0.1", "10.0.0.1", "fd00::1", "fd00::1"]
        );
    }
}
