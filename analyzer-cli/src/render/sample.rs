//! Reports made by hand, for the tests of the renderers, and the comparison with golden files.

use analyzer_core::evidence::{FlowStats, Side, Trace, Trouble};
use analyzer_core::packet::{Endpoint, Family, FlowKey};
use analyzer_core::report::{
    Clock, Coverage, Directions, Evidence, Filters, Finding, Fix, FlowName, Input, Inputs, Problem, Report, SCHEMA,
    Severity, Topology, TopologyKind, Totals, Where,
};
use analyzer_core::time::{MILLISECOND, SECOND};
use analyzer_core::{Point, Time};
use serde_json::{Map, json};
use std::path::PathBuf;

/// 2026-11-21 00:52:02.195012 UTC.
const START: Time = Time(1_795_222_322_195_012_000);

fn after(milliseconds: i64) -> Time {
    Time(START.0 + milliseconds * MILLISECOND)
}

fn map(value: serde_json::Value) -> Map<String, serde_json::Value> {
    match value {
        serde_json::Value::Object(map) => map,
        _ => Map::new(),
    }
}

fn input(file: &str, packets: u64) -> Input {
    Input {
        files: vec![file.to_owned()],
        format: "pcap".into(),
        link_type: "EN10MB".into(),
        packets,
        bytes: packets * 900,
        first: Some(START),
        last: Some(Time(START.0 + 53 * SECOND / 10)),
        snaplen: 262_144,
        truncated_at: None,
        problems: Vec::new(),
        interface: None,
    }
}

/// A pair in which nothing is wrong.
pub(crate) fn healthy() -> Report {
    Report {
        schema: SCHEMA,
        tool_version: "0.1.0",
        inputs: Inputs { a: input("/tmp/captures/virbr0.pcap", 2306), b: input("uplink.pcap", 2311) },
        topology: Topology {
            kind: TopologyKind::Nat,
            inside_networks: vec!["192.168.122.0/24".into()],
            outside_address: Some("203.0.113.5".into()),
            ttl_delta: Some(1),
            ..Topology::default()
        },
        clock: Clock { offset_seconds: 4e-7, drift_ppm: 0.012, uncertainty_seconds: Some(2e-6), samples: 2300 },
        coverage: Vec::new(),
        totals: Totals {
            packets_a: 2306,
            packets_b: 2311,
            matched: 2300,
            unmatched_a: 6,
            unmatched_b: 11,
            flows: 3,
            paired_flows: 3,
        },
        findings: Vec::new(),
    }
}

/// Three connections that the host reset, with an offload finding beside it.
pub(crate) fn resets() -> Report {
    let mut report = healthy();
    report.inputs.a.packets = 90;
    report.inputs.b.packets = 95;
    report.totals = Totals {
        packets_a: 90,
        packets_b: 95,
        matched: 84,
        unmatched_a: 6,
        unmatched_b: 11,
        flows: 3,
        paired_flows: 3,
    };
    report.coverage.push(Coverage {
        id: "no-icmp".into(),
        point: None,
        summary: "ICMP: none in either capture, so path MTU and rate limits could not be judged".into(),
        details: Map::new(),
    });
    let flow = |port: u16| FlowName {
        a: Some(format!("192.168.122.10:{port} 198.51.100.7:443")),
        b: Some(format!("203.0.113.5:{port} 198.51.100.7:443")),
        protocol: "tcp",
    };
    let rst = |frame, milliseconds, port| Evidence {
        point: Point::B,
        file: None,
        frame,
        time: after(milliseconds),
        note: format!("RST 203.0.113.5:{port} → 198.51.100.7:443, TTL 64, sequence = ACK of #{}", frame - 1),
    };
    report.findings.push(Finding {
        id: "tcp-reset",
        severity: Severity::Error,
        confidence: 0.97,
        place: Where::Between,
        direction: Directions::Inbound,
        cause: Some("nat-state-lost"),
        protocol: "tcp",
        flows: vec![flow(41594), flow(41602), flow(41610)],
        flow_count: 3,
        packet_count: 3,
        first: after(5260),
        last: after(5319),
        duration_seconds: 0.059,
        summary: "The host reset 3 live connections of 198.51.100.7:443 within 59 ms, because it had lost their NAT \
                  entries."
            .into(),
        details: map(json!({
            "offending_frame": 78, "ttl": 64, "rst_sequence_accepted": true,
            "reasons": {
                "for": [
                    "RST from 203.0.113.5 with TTL 64, IP ID 0, window 0: the host's own stack made it",
                    "the flows were translated until 00:52:07.29, and 3 lost their entry within 60 ms",
                ],
                "against": [],
            },
        })),
        evidence: vec![
            rst(79, 5260, 41594),
            rst(81, 5281, 41602),
            rst(83, 5319, 41610),
            Evidence {
                point: Point::A,
                file: None,
                frame: 72,
                time: after(5100),
                note: "last segment that was translated".into(),
            },
            Evidence {
                point: Point::A,
                file: None,
                frame: 74,
                time: after(5101),
                note: "the same of the second flow".into(),
            },
            Evidence {
                point: Point::A,
                file: None,
                frame: 76,
                time: after(5102),
                note: "the same of the third flow".into(),
            },
        ],
        serials: vec![0, 1, 2],
        frames: Vec::new(),
        filters: Filters {
            a: "frame.number in {72,74,76}".into(),
            b: "frame.number in {78..83} && ip.addr == 198.51.100.7 && tcp.port == 443 && tcp.flags.reset == 1".into(),
        },
        fixes: vec![
            Fix {
                title:
                    "Find what flushed the NAT table at 00:52:07: a DHCP client that adds the uplink's address again, \
                        a restart of the firewall, or of libvirt's network."
                        .into(),
                commands: vec![
                    "conntrack -E -e DESTROY -o timestamp".into(),
                    "journalctl --since '00:52:00' --until '00:52:10'".into(),
                ],
                caveat: String::new(),
            },
            Fix {
                title: "Let conntrack pick live connections up again.".into(),
                commands: vec!["sysctl -w net.netfilter.nf_conntrack_tcp_loose=1".into()],
                caveat: "It helps forwarded connections only, not translated ones.".into(),
            },
        ],
    });
    report.findings.push(Finding {
        id: "offload-artifact",
        severity: Severity::Info,
        confidence: 1.0,
        place: Where::Inside,
        direction: Directions::Outbound,
        cause: None,
        protocol: "tcp",
        flows: Vec::new(),
        flow_count: 3,
        packet_count: 12,
        first: after(10),
        last: after(5000),
        duration_seconds: 4.99,
        summary: "12 packets of virbr0 carry partial checksums that are right on the uplink: offload, no fault.".into(),
        details: Map::new(),
        evidence: vec![Evidence {
            point: Point::A,
            file: None,
            frame: 4,
            time: after(10),
            note: "partial checksum".into(),
        }],
        serials: Vec::new(),
        frames: Vec::new(),
        filters: Filters { a: "frame.number == 4".into(), b: String::new() },
        fixes: Vec::new(),
    });
    report
}

/// A report whose every string tries to do something to its reader.
pub(crate) fn hostile() -> Report {
    let evil = |what: &str| format!("{what}\x1b[2J\x07\u{9b}31m\r\n<script>alert(1)</script> | `$(x)` \u{202e}=1+1");
    let mut report = resets();
    report.inputs.a.files = vec![evil("a.pcap")];
    report.inputs.b.files = vec![evil("b.pcap"), evil("c.pcap")];
    report.inputs.b.problems =
        vec![Problem { file: evil("b.pcap"), offset: 81_920, frame: 412, message: evil("length") }];
    report.topology.inside_networks = vec![evil("net"), evil("net")];
    report.topology.outside_address = Some(evil("address"));
    report.topology.tunnel = Some(evil("tunnel"));
    report.topology.vlan = map(json!({ "a": [evil("vlan")] }));
    report.coverage[0].summary = evil("coverage");
    report.coverage[0].id = evil("id");
    let finding = &mut report.findings[0];
    finding.summary = evil("=summary");
    finding.flows[0] = FlowName { a: Some(evil("flow")), b: None, protocol: "tcp" };
    finding.evidence[0].note = evil("note");
    finding.filters.a = evil("filter");
    finding.fixes[0] = Fix { title: evil("title"), commands: vec![evil("command")], caveat: evil("caveat") };
    finding.details =
        map(json!({ "reasons": { "for": [evil("for")], "against": [evil("against"), 7] }, "name": evil("x") }));
    report.findings[1].summary = evil("info");
    report
}

/// The flows of a report's first finding, with made-up numbers.
pub(crate) fn trace(report: &Report) -> Trace {
    let names = report.findings.first().map_or(&[][..], |finding| finding.flows.as_slice());
    let flows = names.iter().enumerate().map(|(number, name)| FlowStats {
        serial: number as u32,
        protocol: name.protocol,
        keys: [&name.a, &name.b].map(|name| key(name.as_deref()?)),
        seen: [Some((after(number as i64), after(5260 + number as i64))); 2],
        sides: [[12, 11], [9, 14]].map(|packets| {
            packets.map(|packets: u32| Side {
                packets,
                bytes: u64::from(packets) * 700,
                matched: 9,
                trouble: Some(Box::new(Trouble { unmatched: packets - 9, ..Trouble::default() })),
            })
        }),
        resets: 1,
        ..FlowStats::default()
    });
    Trace { flows: flows.collect(), ..Trace::default() }
}

/// The key of a flow's name, whose inside endpoint is the lower one; none for a name that is made up.
fn key(name: &str) -> Option<FlowKey> {
    let end = |text: &str| -> Option<Endpoint> {
        let end: std::net::SocketAddrV4 = text.parse().ok()?;
        Some(Endpoint::v4(u32::from(*end.ip()), end.port()))
    };
    let (inside, outside) = name.split_once(' ')?;
    Some(FlowKey { low: end(inside)?, high: end(outside)?, protocol: 6, family: Family::V4 })
}

/// Compares `text` with a golden file. `UPDATE_SNAPSHOTS=1 cargo test -p pcapdiff` writes the golden files anew.
pub(crate) fn snapshot(name: &str, text: &str) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/snapshots").join(name);
    if std::env::var_os("UPDATE_SNAPSHOTS").is_some() {
        std::fs::create_dir_all(path.parent().expect("the path has a folder")).expect("the folder can be made");
        std::fs::write(&path, text).expect("the golden file can be written");
        return;
    }
    let golden = std::fs::read_to_string(&path).unwrap_or_default().replace("\r\n", "\n");
    assert!(golden == text, "{name} differs; UPDATE_SNAPSHOTS=1 refreshes it.\n--- golden\n{golden}\n--- now\n{text}");
}
