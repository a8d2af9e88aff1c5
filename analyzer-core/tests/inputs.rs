//! Whole analyses of pairs that come in more than one file, in one file for both, or that are looked at in part.

use analyzer_core::report::{Report, Severity};
use analyzer_core::{Analysis, Options};
use etherparse::PacketBuilder;
use std::path::{Path, PathBuf};

const SECOND: i64 = 1_000_000_000;
const START: i64 = 1_795_229_846 * SECOND;

/// A frame at a time, in nanoseconds after the start.
type Frame = (i64, Vec<u8>);

/// A datagram of guest `guest` to a peer or back, at the inner or the outer point of a NAT.
fn datagram(guest: u8, outer: bool, inbound: bool, number: u32) -> Vec<u8> {
    let inside = if outer { [203, 0, 113, 5] } else { [192, 168, 122, guest] };
    let (port, peer) = (40_000 + u16::from(guest), [198, 51, 100, 7]);
    let ttl = if outer == inbound { 63 } else { 62 };
    let (source, destination) = if inbound { (peer, inside) } else { (inside, peer) };
    let ports = if inbound { (5000, port) } else { (port, 5000) };
    let builder = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2])
        .ipv4(source, destination, ttl)
        .udp(ports.0, ports.1);
    let mut payload = vec![guest, u8::from(inbound)];
    payload.extend(number.to_be_bytes());
    payload.resize(100, number as u8);
    let mut bytes = Vec::new();
    builder.write(&mut bytes, &payload).expect("memory takes all");
    bytes
}

/// Ten seconds of two guests that talk to a peer, at both points; the host loses every tenth request of guest 10.
fn pair(lossy: bool) -> [Vec<Frame>; 2] {
    let mut points = [Vec::new(), Vec::new()];
    for number in 0..400_u32 {
        let time = i64::from(number) * SECOND / 40;
        for guest in [10, 11] {
            let at = time + i64::from(guest) * 100_000;
            points[0].push((at, datagram(guest, false, false, number)));
            if lossy && guest == 10 && number % 10 == 5 {
                continue;
            }
            points[1].push((at + 50_000, datagram(guest, true, false, number)));
            points[1].push((at + 5_000_000, datagram(guest, true, true, number)));
            points[0].push((at + 5_050_000, datagram(guest, false, true, number)));
        }
    }
    for frames in &mut points {
        frames.sort();
    }
    points
}

fn pcap(frames: &[Frame]) -> Vec<u8> {
    let mut bytes = vec![0x4d, 0x3c, 0xb2, 0xa1, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 1, 0, 0, 0];
    for (time, data) in frames {
        let time = START + time;
        for word in [time / SECOND, time % SECOND, data.len() as i64, data.len() as i64] {
            bytes.extend((word as u32).to_le_bytes());
        }
        bytes.extend(data);
    }
    bytes
}

/// One pcapng file with both points as interfaces `virbr0` and `eth0`, in time order.
fn pcapng(points: &[Vec<Frame>; 2]) -> Vec<u8> {
    let block = |kind: u32, body: &[u8]| {
        let length = (body.len() as u32 + 12).to_le_bytes();
        [&kind.to_le_bytes(), &length, body, &length].concat()
    };
    let mut bytes = block(0x0a0d_0d0a, &[&0x1a2b_3c4d_u32.to_le_bytes()[..], &[1, 0, 0, 0], &[255; 8]].concat());
    for name in [b"virbr0\0\0", b"eth0\0\0\0\0"] {
        let length = name.iter().position(|&c| c == 0).unwrap_or(8) as u8;
        let padded = &name[..usize::from(length).next_multiple_of(4)];
        let options = [&[2, 0, length, 0], padded, &[9, 0, 1, 0, 9, 0, 0, 0], &[0; 4]].concat();
        bytes.extend(block(1, &[&[1, 0, 0, 0, 0, 0, 4, 0], &options[..]].concat()));
    }
    let mut frames: Vec<(i64, u32, &[u8])> = (0..)
        .zip(points)
        .flat_map(|(point, frames)| frames.iter().map(move |(time, data)| (START + time, point, data.as_slice())))
        .collect();
    frames.sort();
    for (time, point, data) in frames {
        let words = [point, (time >> 32) as u32, time as u32, data.len() as u32, data.len() as u32];
        let mut body: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        body.extend(data);
        body.resize(body.len().next_multiple_of(4), 0);
        bytes.extend(block(6, &body));
    }
    bytes
}

/// Writes frames as a ring of files of a hundred frames; `first` is the number that the oldest has in the ring of `size`.
fn ring(folder: &Path, frames: &[Frame], first: usize, size: usize) -> PathBuf {
    std::fs::create_dir(folder).unwrap();
    for (nth, part) in frames.chunks(100).enumerate() {
        std::fs::write(folder.join(format!("ring{:03}", (first + nth) % size)), pcap(part)).unwrap();
    }
    folder.to_owned()
}

fn analyze(a: &Path, b: &Path, options: Options) -> Report {
    Analysis::builder().a_path(a).b_path(b).options(options).run().unwrap()
}

fn write(folder: &Path, points: &[Vec<Frame>; 2]) -> [PathBuf; 2] {
    let paths = ["a.pcap", "b.pcap"].map(|name| folder.join(name));
    for (path, frames) in paths.iter().zip(points) {
        std::fs::write(path, pcap(frames)).unwrap();
    }
    paths
}

/// What findings say, without the names of frames.
fn said(report: &Report) -> Vec<(&str, Severity, u64, u64, &str)> {
    let finding = report.findings.iter();
    finding.map(|f| (f.id, f.severity, f.flow_count, f.packet_count, f.summary.as_str())).collect()
}

fn alarms(report: &Report) -> Vec<&str> {
    let bad = report.findings.iter().filter(|finding| finding.severity != Severity::Info);
    bad.map(|finding| finding.summary.as_str()).collect()
}

fn counts(report: &Report) -> String {
    serde_json::to_string(&report.totals).unwrap()
}

#[test]
fn rings_say_what_the_whole_says_and_name_file_and_frame() {
    let folder = tempfile::tempdir().unwrap();
    let points = pair(true);
    let [a, b] = write(folder.path(), &points);
    let whole = analyze(&a, &b, Options::default());
    assert!(!alarms(&whole).is_empty());
    assert!(whole.findings.iter().flat_map(|finding| &finding.evidence).all(|cited| cited.file.is_none()));

    let rings = [ring(&folder.path().join("a"), &points[0], 5, 16), ring(&folder.path().join("b"), &points[1], 9, 16)];
    let report = analyze(&rings[0], &rings[1], Options::default());
    assert_eq!(said(&report), said(&whole));
    assert_eq!(counts(&report), counts(&whole));
    assert_eq!(report.inputs.a.files.len(), points[0].chunks(100).len());
    assert!(report.inputs.a.files[0].ends_with("ring005"), "the oldest first");
    for (one, other) in report.findings.iter().zip(&whole.findings) {
        for (cited, known) in one.evidence.iter().zip(&other.evidence) {
            let first = if cited.point == analyzer_core::Point::A { 5 } else { 9 };
            let (nth, own) = ((known.frame - 1) / 100, (known.frame - 1) % 100 + 1);
            let name = format!("ring{:03}", (first + nth) % 16);
            assert!(cited.file.as_ref().is_some_and(|file| file.ends_with(&name)), "{cited:?} {known:?}");
            assert_eq!((cited.frame, cited.time), (own, known.time));
        }
        assert!(!one.filters.a.contains("frame.number in"), "numbers of several files make no filter");
    }
    let pattern = folder.path().join("b").join("ring0*");
    assert_eq!(said(&analyze(&a, &pattern, Options::default())), said(&whole), "a pattern");
    let files = std::fs::read_dir(&rings[0]).unwrap().map(|entry| entry.unwrap().path());
    let named = Analysis::builder().a_paths(files).b_path(&b).run().unwrap();
    assert_eq!(said(&named), said(&whole), "file by file, in any order");
}

#[test]
fn a_file_that_is_missing_from_a_ring_is_no_loss() {
    let folder = tempfile::tempdir().unwrap();
    let points = pair(false);
    let [a, b] = write(folder.path(), &points);
    assert_eq!(alarms(&analyze(&a, &b, Options::default())), [""; 0]);
    for (point, frames) in points.iter().enumerate() {
        for missing in [3, 7] {
            let name = folder.path().join(format!("ring-{point}-{missing}"));
            let ring = ring(&name, frames, 0, 999);
            std::fs::remove_file(ring.join(format!("ring{missing:03}"))).unwrap();
            let report = if point == 0 {
                analyze(&ring, &b, Options::default())
            } else {
                analyze(&a, &ring, Options::default())
            };
            assert_eq!(alarms(&report), [""; 0]);
            let gap = report.coverage.iter().find(|limit| limit.id == "file-gap").expect("the gap is reported");
            assert_eq!(gap.details["missing_files"], 1);
        }
    }
}

#[test]
fn one_file_can_hold_both_points() {
    let folder = tempfile::tempdir().unwrap();
    let points = pair(true);
    let [a, b] = write(folder.path(), &points);
    let whole = analyze(&a, &b, Options::default());
    let both = folder.path().join("both.pcapng");
    std::fs::write(&both, pcapng(&points)).unwrap();
    let run = |a: &str, b: &str| Analysis::builder().a_path(&both).b_path(&both).a_interface(a).b_interface(b).run();
    for (a, b) in [("virbr0", "eth0"), ("0", "1")] {
        let report = run(a, b).unwrap();
        assert_eq!(said(&report), said(&whole));
        assert_eq!(counts(&report), counts(&whole));
        assert_eq!(report.inputs.b.interface.as_deref(), Some(b));
    }
    let error = run("virbr0", "eth1").unwrap_err().to_string();
    assert!(
        error.ends_with(
            "no packets of an interface `eth1`; the capture has 0 virbr0 (1560 packets), 1 eth0 (1520 packets)"
        ),
        "{error}"
    );
}

#[test]
fn a_selection_of_flows_keeps_their_findings_only() {
    let folder = tempfile::tempdir().unwrap();
    let [a, b] = write(folder.path(), &pair(true));
    let lossy = alarms(&analyze(&a, &b, Options::default())).len();
    assert!(lossy > 0);
    for (host, port, found) in [
        (Some("192.168.122.10"), None, lossy),
        (Some("192.168.122.11"), None, 0),
        (Some("203.0.113.5"), None, lossy),
        (None, Some(40_010), lossy),
        (None, Some(40_011), 0),
        (Some("192.168.122.10"), Some(5000), lossy),
        (Some("192.168.122.11"), Some(40_010), 0),
    ] {
        let mut options = Options::default();
        options.hosts.extend(host.map(|host| host.parse::<std::net::IpAddr>().unwrap()));
        options.ports.extend(port);
        let report = analyze(&a, &b, options);
        assert_eq!(alarms(&report).len(), found, "{host:?} {port:?}");
        assert!(report.coverage.iter().any(|limit| limit.id == "selection"));
    }
}

#[test]
fn a_selection_of_time_is_cut_at_both_points_and_its_edges_are_no_loss() {
    let folder = tempfile::tempdir().unwrap();
    let mut points = pair(false);
    // B's clock is an hour and a bit ahead.
    points[1].iter_mut().for_each(|frame| frame.0 += 3_723 * SECOND);
    let [a, b] = write(folder.path(), &points);
    let whole = analyze(&a, &b, Options::default());
    for (from, to) in [("+2s", "+5s"), ("+0.025s", "+9.976"), ("+2001ms", "+3h")] {
        let mut options = Options::default();
        options.from = Some(from.parse().unwrap());
        options.to = Some(to.parse().unwrap());
        let report = analyze(&a, &b, options);
        assert_eq!(alarms(&report), [""; 0], "{from} {to}");
        let (first, last) = (report.inputs.a.first.unwrap(), report.inputs.a.last.unwrap());
        assert!(first >= whole.inputs.a.first.unwrap() && last <= whole.inputs.a.last.unwrap());
        assert!(report.totals.packets_a < whole.totals.packets_a);
        assert!(report.totals.packets_a.abs_diff(report.totals.packets_b) <= 4);
        assert!(report.totals.matched + 4 >= report.totals.packets_a);
    }
    let mut options = Options::default();
    options.from = Some(analyzer_core::Moment::At(analyzer_core::Time(START + 20 * SECOND)));
    let report = analyze(&a, &b, options);
    assert_eq!((report.totals.packets_a, alarms(&report).len()), (0, 0));
}
