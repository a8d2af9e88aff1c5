//! The same faults in other clothes: other clocks, snap lengths, link types, file formats, tunnels; frames captured twice
//! or out of order. The verdicts must be the same.

use crate::case::{self, Case};
use crate::each::each;
use crate::judge;
use analyzer_core::Analysis;
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::Cursor;

const ETHERNET: u32 = 1;
const RAW: u32 = 101;
const COOKED: u32 = 113;
const COOKED_2: u32 = 276;
const SECOND: i64 = 1_000_000_000;

/// Variants in which a point lacks payload.
const CUT: &[&str] = &[
    "A cut to 68",
    "B cut to 68",
    "both cut to 68",
    "A cut to 96",
    "both cut to 96",
    "B cut to 128",
    "both tagged, B cut to 96",
];

/// The variant in which identifications were rewritten, and what that takes away.
const RENUMBERED: &[&str] = &["B renumbered"];
const WHICH: &str = "which of two equal packets crossed cannot be told, so the delays of some are not theirs";

/// Verdicts that variants of a case cannot have, and why.
const EXCEPTIONS: &[(&str, &[&str], &str)] = &[
    (
        "corrupt_before_bridged",
        &["A cut to 68", "A cut to 96", "both cut to 68", "both cut to 96"],
        "whether the frames were damaged when they came in cannot be verified",
    ),
    ("corrupt_before_bridged", RENUMBERED, "damaged packets are told from what their sender repeats by nothing else"),
    ("loss_byte_policer", RENUMBERED, WHICH),
    ("loss_pps_policer", RENUMBERED, WHICH),
    ("loss_queue_overflow", RENUMBERED, WHICH),
    ("ok_pmtu_host_bottleneck", RENUMBERED, "what was too large and is sent again in pieces looks like a superframe"),
    ("ok_reorder_between", RENUMBERED, WHICH),
    (
        "corrupt_between_in_udp_routed",
        &[
            "A cut to 68",
            "A cut to 96",
            "B cut to 68",
            "B cut to 128",
            "both cut to 68",
            "both cut to 96",
            "both tagged, B cut to 96",
        ],
        "no checksum can be verified, or not where the packets came in",
    ),
    ("corrupt_laundered", CUT, "the payload was cut off at one point: its checksums cannot be compared"),
    ("corrupt_laundered_udp_ipv6", CUT, "the payload was cut off at one point: its checksums cannot be compared"),
    (
        "corrupt_outside_in",
        &["B cut to 68", "B cut to 128", "both cut to 68", "both cut to 96", "both tagged, B cut to 96"],
        "no checksum can be verified where the damaged packets are",
    ),
    ("dhcp_unanswered", &["A cut to 68", "both cut to 68"], "the client's hardware address was cut off"),
    ("dhcp_unanswered_bridged", &["both cut to 68"], "the client's hardware address was cut off"),
    (
        "rst_firewall_inbound_ipv6",
        &["B cut to 68", "both cut to 68"],
        "the reset's checksum was cut off, which alone tells a rule's from the stack's",
    ),
    ("loss_total", &["B raw", "both raw"], "no ARP shows that B was not filtered, and no other datagram passed it"),
    ("rst_host_expired", &["B stamped late"], "the reset stands before the segment that it answers"),
    ("rst_host_ipv6", &["B stamped late"], "the reset stands before the segment that it answers"),
    (
        "reflected",
        &["B 10 s behind, 80 ppm fast"],
        "on a bridge only the time tells which point saw a flow first: microseconds, and the clocks drift more than that in a second",
    ),
    ("reflected", &["B raw", "both raw"], "no addresses of the link layer"),
    ("reflected_all", &["B raw", "both raw"], "no addresses of the link layer"),
    ("reflected_broadcasts", &["B raw", "both raw"], "no addresses of the link layer"),
    ("reflected_late", &["B raw", "both raw"], "no addresses of the link layer"),
    ("mac_move", &["B raw", "both raw"], "no addresses of the link layer"),
    ("mac_move_slow", &["B raw", "both raw"], "no addresses of the link layer"),
    ("stp_topology_change", &["B raw", "both raw"], "no frames but those of IP"),
    ("stp_topology_change_once", &["B raw", "both raw"], "no frames but those of IP"),
    ("arp_unanswered_gateway", &["both raw"], "no frames but those of IP"),
    ("arp_unanswered_neighbour", &["both raw"], "no frames but those of IP"),
    ("arp_unanswered_uplink", &["B raw", "both raw"], "no frames but those of IP"),
    ("duplicates_inbound", &["A captured twice in part"], "which copies the host made cannot be known"),
    ("duplicates_outbound_bridged", &["B captured twice in part"], "which copies the host made cannot be known"),
];

/// A record.
#[derive(Clone)]
pub(crate) struct Frame {
    /// Nanoseconds since 1970.
    pub(crate) time: i64,
    pub(crate) data: Vec<u8>,
    /// Its length on the wire.
    length: usize,
}

/// A capture of one link type.
#[derive(Clone)]
pub(crate) struct Capture {
    pub(crate) link: u32,
    pub(crate) frames: Vec<Frame>,
}

/// All cases with nothing but two plain captures of Ethernet, and these.
pub(crate) fn ethernet() -> Vec<(Case, [Capture; 2])> {
    let plain = case::all().into_iter().filter(|case| case.plain() && case.truth["args"].is_null());
    let cases: Vec<(Case, [Capture; 2])> =
        plain.filter_map(|case| Capture::both(&case).map(|captures| (case, captures))).collect();
    assert!(cases.len() > 150, "only {} cases are plain", cases.len());
    cases
}

impl Capture {
    /// Both captures of a case; `None` unless they are classic files of Ethernet.
    pub(crate) fn both(case: &Case) -> Option<[Self; 2]> {
        let read = |point: usize| Self::read(&std::fs::read(case.input(point)).expect("it can be read"));
        let captures = [read(0)?, read(1)?];
        captures.iter().all(|capture| capture.link == ETHERNET).then_some(captures)
    }

    /// Reads a pcap file with microseconds in the byte order of this machine's tcpdump; `None` for another.
    fn read(bytes: &[u8]) -> Option<Self> {
        const MAGIC: u32 = 0xa1b2_c3d4;
        let word = |at: usize| Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?));
        if word(0)? != MAGIC {
            return None;
        }
        let mut frames = Vec::new();
        let mut at = 24;
        while let (Some(seconds), Some(micros), Some(kept), Some(length)) =
            (word(at), word(at + 4), word(at + 8), word(at + 12))
        {
            let Some(data) = bytes.get(at + 16..at + 16 + kept as usize) else { break };
            let time = i64::from(seconds) * SECOND + i64::from(micros) * 1000;
            frames.push(Frame { time, data: data.to_vec(), length: length as usize });
            at += 16 + kept as usize;
        }
        Some(Self { link: word(20)?, frames })
    }

    /// As a classic file.
    pub(crate) fn pcap(&self, big: bool, nano: bool) -> Vec<u8> {
        let word = |value: u32| if big { value.to_be_bytes() } else { value.to_le_bytes() };
        let half = |value: u16| if big { value.to_be_bytes() } else { value.to_le_bytes() };
        let mut bytes = word(if nano { 0xa1b2_3c4d } else { 0xa1b2_c3d4 }).to_vec();
        bytes.extend([half(2), half(4)].concat());
        bytes.extend([word(0), word(0), word(262_144), word(self.link)].concat());
        for frame in &self.frames {
            let part = (frame.time % SECOND) as u32 / if nano { 1 } else { 1000 };
            let lengths = [frame.data.len() as u32, frame.length as u32].map(word);
            bytes.extend([word((frame.time / SECOND) as u32), word(part), lengths[0], lengths[1]].concat());
            bytes.extend(&frame.data);
        }
        bytes
    }

    /// One section with three interfaces of the same kind and nanoseconds, over which the frames are spread.
    fn pcapng(&self) -> Vec<u8> {
        const INTERFACES: u32 = 3;
        const RESOLUTION: u16 = 9;
        const NANOSECONDS: u8 = 9;
        let block = |kind: u32, body: Vec<u8>| {
            let padded = body.len().next_multiple_of(4);
            let length = (padded as u32 + 12).to_le_bytes();
            let mut bytes = [kind.to_le_bytes(), length].concat();
            bytes.extend(body);
            bytes.resize(8 + padded, 0);
            bytes.extend(length);
            bytes
        };
        let mut bytes = block(0x0a0d_0d0a, [&0x1a2b_3c4d_u32.to_le_bytes()[..], &[1, 0, 0, 0], &[0xff; 8]].concat());
        for _ in 0..INTERFACES {
            let head = [&(self.link as u16).to_le_bytes()[..], &[0; 2], &262_144_u32.to_le_bytes()].concat();
            bytes.extend(block(1, [head, option(RESOLUTION, NANOSECONDS)].concat()));
        }
        for (number, frame) in self.frames.iter().enumerate() {
            let words = [
                number as u32 % INTERFACES,
                (frame.time >> 32) as u32,
                frame.time as u32,
                frame.data.len() as u32,
                frame.length as u32,
            ];
            let head = words.map(u32::to_le_bytes).concat();
            bytes.extend(block(6, [head, frame.data.clone()].concat()));
        }
        bytes
    }

    fn each(&self, link: u32, change: impl Fn(&Frame) -> Option<Frame>) -> Self {
        Self { link, frames: self.frames.iter().filter_map(change).collect() }
    }

    /// Moves the clock, and lets it run faster by so many millionths.
    fn clock(&self, offset: i64, drift: i64) -> Self {
        let first = self.frames.first().map_or(0, |frame| frame.time);
        let moved = |time: i64| time + offset + (time - first) / 1000 * drift / 1000;
        self.each(self.link, |frame| Some(Frame { time: moved(frame.time), ..frame.clone() }))
    }

    fn cut(&self, snap: usize) -> Self {
        self.each(self.link, |frame| {
            let mut frame = frame.clone();
            frame.data.truncate(snap);
            Some(frame)
        })
    }

    /// Puts bytes in the place of the first `old` ones.
    fn replaced(frame: &Frame, old: usize, new: &[u8]) -> Option<Frame> {
        let data = [new, frame.data.get(old..)?].concat();
        Some(Frame { time: frame.time, data, length: frame.length - old + new.len() })
    }

    fn tagged(&self, tags: &[[u8; 4]]) -> Self {
        self.each(self.link, |frame| Self::replaced(frame, 12, &[frame.data.get(..12)?, &tags.concat()].concat()))
    }

    fn raw(&self) -> Self {
        let ip = |frame: &Frame| matches!(frame.data.get(12..14), Some([8, 0] | [0x86, 0xdd]));
        self.each(RAW, |frame| ip(frame).then(|| Self::replaced(frame, 14, &[])).flatten())
    }

    /// As on `any`: the destination is lost, what the capture's own machine sends is marked.
    fn cooked(&self, second: bool) -> Self {
        const LLC: [u8; 2] = [0, 4];
        let own = self.busiest();
        self.each(if second { COOKED_2 } else { COOKED }, |frame| {
            let (to, from) = (frame.data.get(..6)?, frame.data.get(6..12)?);
            let announced = frame.data.get(12..14)?;
            let protocol = if announced[0] < 6 { &LLC } else { announced };
            let kind = match to {
                _ if from == own => 4,
                _ if to == own => 0,
                [255, 255, 255, 255, 255, 255] => 1,
                [first, ..] if first & 1 == 1 => 2,
                _ => 3,
            };
            let head = if second {
                [protocol, &[0, 0, 0, 0, 0, 4, 0, 1, kind, 6], from, &[0, 0]].concat()
            } else {
                [&[0, kind, 0, 1, 0, 6], from, &[0, 0], protocol].concat()
            };
            Self::replaced(frame, 14, &head)
        })
    }

    /// The address in most frames.
    fn busiest(&self) -> Vec<u8> {
        let mut seen: BTreeMap<&[u8], usize> = BTreeMap::new();
        for frame in &self.frames {
            for address in [0..6, 6..12].into_iter().filter_map(|range| frame.data.get(range)) {
                *seen.entry(address).or_default() += 1;
            }
        }
        seen.into_iter().max_by_key(|(_, times)| *times).map(|(address, _)| address.to_vec()).unwrap_or_default()
    }

    /// Inside IPv4 between two tunnel ends, behind `head`.
    fn tunnelled(&self, protocol: u8, head: &[u8]) -> Self {
        let own = self.busiest();
        self.each(self.link, |frame| {
            let outward = frame.data.get(6..12)? == own;
            let inner = frame.length + head.len();
            let ports = [&[0xc0, 1, 0x12, 0xb5][..], &(inner as u16 + 8).to_be_bytes(), &[0, 0]].concat();
            let ports = if protocol == 17 { &ports[..] } else { &[] };
            let total = (inner + ports.len() + 20) as u16;
            let mut ip = [&[0x45, 0][..], &total.to_be_bytes(), &[0, 0, 0x40, 0, 64, protocol, 0, 0]].concat();
            let ends = [[10, 9, 0, 1], [10, 9, 0, 2]];
            ip.extend(ends[usize::from(!outward)]);
            ip.extend(ends[usize::from(outward)]);
            let sum: u32 = ip.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1])).sum();
            let folded = (sum & 0xffff) + (sum >> 16);
            ip[10..12].copy_from_slice(&(!(folded as u16)).to_be_bytes());
            let ethernet = [2, 0, 0, 0, 0, 10, 2, 0, 0, 0, 0, 11, 8, 0];
            Self::replaced(frame, 0, &[&ethernet[..], &ip, ports, head].concat())
        })
    }

    /// One frame of a hundred stands twice, some microseconds apart.
    fn twice(&self) -> Self {
        let mut random = Random(7);
        let mut frames = Vec::new();
        for frame in &self.frames {
            frames.push(frame.clone());
            if random.below(100) == 0 {
                frames.push(Frame { time: frame.time + 1000 + random.below(8) * 1000, ..frame.clone() });
            }
        }
        Self { link: self.link, frames }
    }

    /// Written in the order of several queues, some microseconds off.
    fn disordered(&self, seed: u64) -> Self {
        let mut random = Random(seed);
        let mut frames: Vec<(i64, Frame)> =
            self.frames.iter().map(|frame| (frame.time + random.below(30_000), frame.clone())).collect();
        frames.sort_by_key(|(place, _)| *place);
        Self { link: self.link, frames: frames.into_iter().map(|(_, frame)| frame).collect() }
    }

    /// With other IPv4 identifications, as a firewall that hides them gives (`scrub random-id` of pf).
    fn renumbered(&self) -> Self {
        self.each(self.link, |frame| {
            let mut frame = frame.clone();
            let ip = frame.data.get_mut(14..34).filter(|ip| ip[0] >> 4 == 4);
            let ipv4 = ip.is_some() && frame.data[12..14] == [8, 0];
            if ipv4 {
                let word = |at: usize, frame: &Frame| u16::from_be_bytes([frame.data[at], frame.data[at + 1]]);
                let (old, sum) = (word(18, &frame), word(24, &frame));
                let new = old.wrapping_mul(40_503).wrapping_add(77);
                // RFC 1624, equation 3.
                let mut total = u32::from(!sum) + u32::from(!old) + u32::from(new);
                total = (total & 0xffff) + (total >> 16);
                total = (total & 0xffff) + (total >> 16);
                frame.data[18..20].copy_from_slice(&new.to_be_bytes());
                frame.data[24..26].copy_from_slice(&(!(total as u16)).to_be_bytes());
            }
            Some(frame)
        })
    }

    /// Stamped by several processors, each up to `most` nanoseconds late: what came within that time stands in another order.
    fn stamped_late(&self, seed: u64, most: i64) -> Self {
        let mut random = Random(seed);
        let late = |frame: &Frame| Frame { time: frame.time + random.below(most), ..frame.clone() };
        let mut frames: Vec<Frame> = self.frames.iter().map(late).collect();
        frames.sort_by_key(|frame| frame.time);
        Self { link: self.link, frames }
    }
}

/// A pcapng option of one byte, and the end of the options.
fn option(code: u16, value: u8) -> Vec<u8> {
    [&code.to_le_bytes()[..], &[1, 0, value, 0, 0, 0], &[0; 4]].concat()
}

/// What the library reports of two captures, as JSON.
pub(crate) fn report(a: &Capture, b: &Capture) -> Value {
    let [a, b] = [a, b].map(|capture| Cursor::new(capture.pcap(false, false)));
    let report = Analysis::builder().a_reader("a", a).b_reader("b", b).run().expect("both are captures");
    serde_json::to_value(report).expect("a report serialises")
}

/// Numerical Recipes' generator: the same in each run.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, limit: i64) -> i64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as i64 % limit
    }
}

type Change = fn(&Capture) -> Capture;
type Write = fn(&Capture) -> Vec<u8>;

/// What is done to A, to B, and how both are written.
struct Variant {
    name: &'static str,
    change: [Change; 2],
    write: Write,
}

fn as_it_is(capture: &Capture) -> Capture {
    capture.clone()
}

const PLAIN: Write = |capture| capture.pcap(false, false);

const fn a(name: &'static str, change: Change) -> Variant {
    Variant { name, change: [change, as_it_is], write: PLAIN }
}

const fn b(name: &'static str, change: Change) -> Variant {
    Variant { name, change: [as_it_is, change], write: PLAIN }
}

const fn both(name: &'static str, change: Change) -> Variant {
    Variant { name, change: [change, change], write: PLAIN }
}

const fn written(name: &'static str, write: Write) -> Variant {
    Variant { name, change: [as_it_is, as_it_is], write }
}

/// All are of Ethernet to begin with.
const VARIANTS: &[Variant] = &[
    a("A an hour ahead", |capture| capture.clock(3600 * SECOND, 0)),
    b("B 400 days behind", |capture| capture.clock(-400 * 86_400 * SECOND, 0)),
    b("B a second ahead, 200 ppm fast", |capture| capture.clock(SECOND, 200)),
    b("B 10 s behind, 80 ppm fast", |capture| capture.clock(-10 * SECOND, 80)),
    b("B 7 ms behind, 50 ppm slow", |capture| capture.clock(-7_000_000, -50)),
    b("B 0.3 ms behind", |capture| capture.clock(-300_000, 0)),
    a("A cut to 68", |capture| capture.cut(68)),
    b("B cut to 68", |capture| capture.cut(68)),
    both("both cut to 68", |capture| capture.cut(68)),
    a("A cut to 96", |capture| capture.cut(96)),
    both("both cut to 96", |capture| capture.cut(96)),
    b("B cut to 128", |capture| capture.cut(128)),
    b("B cooked", |capture| capture.cooked(false)),
    a("A cooked", |capture| capture.cooked(true)),
    both("both cooked", |capture| capture.cooked(true)),
    b("B raw", Capture::raw),
    both("both raw", Capture::raw),
    b("B tagged", |capture| capture.tagged(&[[0x81, 0, 0, 100]])),
    a("A tagged twice", |capture| capture.tagged(&[[0x88, 0xa8, 0, 200], [0x81, 0, 0, 100]])),
    Variant {
        name: "both tagged, B cut to 96",
        change: [
            |capture| capture.tagged(&[[0x81, 0, 0, 100]]),
            |capture| capture.tagged(&[[0x81, 0, 0x01, 0x2c]]).cut(96),
        ],
        write: PLAIN,
    },
    b("B in VXLAN", |capture| capture.tunnelled(17, &[8, 0, 0, 0, 0, 0, 77, 0])),
    b("B in GRE", |capture| capture.tunnelled(47, &[0, 0, 0x65, 0x58])),
    a("A captured twice in part", Capture::twice),
    b("B captured twice in part", Capture::twice),
    Variant {
        name: "both out of order",
        change: [|capture| capture.disordered(1), |capture| capture.disordered(2)],
        write: PLAIN,
    },
    a("A stamped late", |capture| capture.stamped_late(3, 20_000)),
    b("B stamped late", |capture| capture.stamped_late(4, 20_000)),
    b("B renumbered", Capture::renumbered),
    written("nanoseconds, big-endian", |capture| capture.pcap(true, true)),
    written("pcapng", Capture::pcapng),
];

/// Packets of a report that were found at both points.
fn matched(report: &Value) -> u64 {
    report["totals"]["matched"].as_u64().expect("a number")
}

/// What is wrong with the verdicts on a case in this variant, of which so many packets match as it is: a healthy pair of which
/// none do has no wrong verdict either.
fn judged(case: &Case, captures: &[Capture; 2], variant: &Variant, usual: u64) -> Vec<String> {
    let [first, second] = [0, 1].map(|point| Cursor::new((variant.write)(&(variant.change[point])(&captures[point]))));
    let report = match Analysis::builder().a_reader("a", first).b_reader("b", second).run() {
        Ok(report) => serde_json::to_value(report).expect("a report serialises"),
        Err(error) => return vec![error.to_string()],
    };
    let mut truth = case.truth.clone();
    if variant.name.contains("twice in part") {
        // That the capture and not the host doubled them cannot be seen from outside.
        truth["also"].as_array_mut().expect("`also` is a list").push("duplicate-frame".into());
    }
    let mut faults = judge::judge(&truth, &report);
    // Raw and cooked captures lack what is not IP, and what is cut may lack what tells packets apart.
    let whole = !["raw", "cooked", "cut"].iter().any(|word| variant.name.contains(word));
    if whole && matched(&report) * 3 < usual * 2 {
        faults.push(format!("{} packets match, not {usual}", matched(&report)));
    }
    faults
}

#[test]
fn the_verdict_is_the_same_in_other_clothes() {
    let cases = ethernet();
    let wrong = each(&cases, |(case, captures)| {
        let mut wrong = Vec::new();
        let usual = matched(&report(&captures[0], &captures[1]));
        for variant in VARIANTS {
            let excepted = EXCEPTIONS.iter().any(|(of, how, _)| case.name == *of && how.contains(&variant.name));
            let faults = judged(case, captures, variant, usual);
            match (faults.is_empty(), excepted) {
                (false, false) => {
                    wrong.extend(faults.into_iter().map(|fault| format!("{}, {}: {fault}", case.name, variant.name)));
                }
                (true, true) => wrong.push(format!("{} is right with {}: no exception", case.name, variant.name)),
                _ => {}
            }
        }
        wrong
    });
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

#[test]
fn exceptions_have_reasons_and_are_met() {
    let cases = case::all();
    for (case, variants, reason) in EXCEPTIONS {
        assert!(cases.iter().any(|known| known.name == *case), "no case is named {case}");
        for variant in *variants {
            assert!(VARIANTS.iter().any(|known| known.name == *variant), "no variant is named {variant}");
        }
        assert!(!reason.is_empty(), "{case}: why?");
    }
}
