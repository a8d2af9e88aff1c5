//! The report: plain data in the shape of the JSON schema `pcapdiff/1`. Renderers are the only code that knows a format.
//!
//! The structs here are plain data that anybody may make, so they are not `#[non_exhaustive]`; they gain fields in minor
//! versions all the same. Who takes them apart by pattern writes `..`.

use crate::point::{Direction, Point};
use crate::time::Time;
use serde::Serialize;
use serde_json::{Map, Value};

/// The schema id that every report carries.
pub const SCHEMA: &str = "pcapdiff/1";

/// All that one analysis has to say.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Always [`SCHEMA`].
    pub schema: &'static str,
    /// Version of the library that made the report.
    pub tool_version: &'static str,
    /// What was read.
    pub inputs: Inputs,
    /// How the two points are related.
    pub topology: Topology,
    /// How B's clock relates to A's.
    pub clock: Clock,
    /// What limits the verdicts.
    pub coverage: Vec<Coverage>,
    /// Packet and flow counts.
    pub totals: Totals,
    /// What was found: by severity, then by first time.
    pub findings: Vec<Finding>,
}

/// The limit of a report that was asked for before its captures had been read.
pub(crate) const INTERRUPTED: &str = "interrupted";

impl Report {
    /// The findings that call for somebody to act: errors and warnings.
    pub fn actionable(&self) -> impl Iterator<Item = &Finding> {
        self.findings.iter().filter(|finding| finding.actionable())
    }

    /// Whether the analysis was told to stop before it had read both captures: the report is of what precedes.
    pub fn interrupted(&self) -> bool {
        self.coverage.iter().any(|limit| limit.id == INTERRUPTED)
    }
}

/// The two inputs.
#[derive(Clone, Debug, Serialize)]
pub struct Inputs {
    /// Point A.
    pub a: Input,
    /// Point B.
    pub b: Input,
}

/// What was read at one point.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Input {
    /// File names as given, in reading order.
    pub files: Vec<String>,
    /// `pcap`, `pcapng`; with `+gzip`, `+zstd` or `+lz4` when compressed.
    pub format: String,
    /// Link type of the first interface, by its libpcap name (`EN10MB`).
    pub link_type: String,
    /// Records read.
    pub packets: u64,
    /// Bytes of the file or files, as stored.
    pub bytes: u64,
    /// Earliest time stamp, in this point's own clock.
    pub first: Option<Time>,
    /// Latest time stamp, in this point's own clock.
    pub last: Option<Time>,
    /// Snap length that the file header names; 0 when it names none.
    pub snaplen: u32,
    /// Byte offset at which the input was cut, if it was.
    pub truncated_at: Option<u64>,
    /// Damage met while reading, in order.
    pub problems: Vec<Problem>,
    /// The interface analyzed, as asked for, when the files hold several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
}

/// A damaged place in a capture.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// File name as given.
    pub file: String,
    /// Byte offset in the (decompressed) file.
    pub offset: u64,
    /// Number of the frame at which it happened, 1-based.
    pub frame: u64,
    /// What is wrong, in a sentence.
    pub message: String,
}

/// The relation of the two points.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum TopologyKind {
    /// Addresses or ports change between A and B.
    Nat,
    /// Addresses stay, TTL goes down.
    Route,
    /// Frames cross unchanged.
    Bridge,
    /// Both files hold the same frames at the same time.
    SamePoint,
    /// The captures share no traffic.
    Unrelated,
    /// Too little in common to tell.
    #[default]
    Unknown,
}

/// What lies between the points.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Topology {
    /// The relation.
    pub kind: TopologyKind,
    /// Networks whose hosts were seen inside, as CIDR.
    pub inside_networks: Vec<String>,
    /// The address that inside hosts are translated to.
    pub outside_address: Option<String>,
    /// TTL at A minus TTL at B, outbound.
    pub ttl_delta: Option<i32>,
    /// VLAN ids seen at each point.
    pub vlan: Map<String, Value>,
    /// Tunnel between or beyond the points.
    pub tunnel: Option<String>,
}

/// B's clock against A's: `time_b = time_a + offset + drift * elapsed`.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Clock {
    /// B minus A at the first matched packet.
    pub offset_seconds: f64,
    /// Rate of change of the offset, in parts per million.
    pub drift_ppm: f64,
    /// The true offset lies within this bound of the estimate; absent when nothing matched both ways.
    pub uncertainty_seconds: Option<f64>,
    /// Matched packets that the estimate rests on.
    pub samples: u64,
}

/// Something that limits what can be concluded.
#[derive(Clone, Debug, Serialize)]
pub struct Coverage {
    /// `capture-loss`, `no-overlap`, `filter-mismatch`, `clock-step`, `snap-length`, `truncated-file`, …
    pub id: String,
    /// The point concerned; none when both.
    pub point: Option<Point>,
    /// One sentence with the numbers.
    pub summary: String,
    /// Further fields of this kind of limit.
    #[serde(flatten)]
    pub details: Map<String, Value>,
}

/// Counts over both captures.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Totals {
    /// Records at A.
    pub packets_a: u64,
    /// Records at B.
    pub packets_b: u64,
    /// Packets of A that were found at B, whole or in parts.
    pub matched: u64,
    /// Packets seen at A alone.
    pub unmatched_a: u64,
    /// Packets seen at B alone.
    pub unmatched_b: u64,
    /// Flows at A or B; a paired flow counts once.
    pub flows: u64,
    /// Flows found at both points.
    pub paired_flows: u64,
}

/// How much a finding matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// A fault: somebody must act.
    Error,
    /// Something a person should look at.
    Warning,
    /// Context.
    Info,
}

/// Where the cause lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Where {
    /// Beyond A: the guest and its link.
    Inside,
    /// Between A and B: the host.
    Between,
    /// Beyond B: the network and the peer.
    Outside,
    /// The captures do not tell.
    Unknown,
}

/// Which way the traffic concerned went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Directions {
    /// From A towards B.
    Outbound,
    /// From B towards A.
    Inbound,
    /// Either way.
    Both,
}

impl From<Direction> for Directions {
    fn from(direction: Direction) -> Self {
        match direction {
            Direction::Outbound => Self::Outbound,
            Direction::Inbound => Self::Inbound,
        }
    }
}

/// One conclusion, with its proof and what to do.
#[derive(Clone, Debug, Serialize)]
pub struct Finding {
    /// The detector's id (`tcp-reset`).
    pub id: &'static str,
    /// How much it matters.
    pub severity: Severity,
    /// 0.0 to 1.0, from the conditions that held.
    pub confidence: f64,
    /// Where the cause lies.
    #[serde(rename = "where")]
    pub place: Where,
    /// Which way the traffic concerned went.
    pub direction: Directions,
    /// The cause, one of those that the detector's specification lists, when the id has causes.
    pub cause: Option<&'static str>,
    /// `tcp`, `udp`, `quic`, `icmp`, `arp`, …
    pub protocol: &'static str,
    /// The flows concerned, at most [`MAX_FLOWS`]; `flow_count` has the whole number.
    pub flows: Vec<FlowName>,
    /// Serial numbers of these, as in [`Trace::flows`](crate::evidence::Trace::flows).
    #[serde(skip)]
    pub serials: Vec<u32>,
    /// Flows concerned.
    pub flow_count: u64,
    /// Packets concerned.
    pub packet_count: u64,
    /// First packet concerned, in A's clock.
    pub first: Time,
    /// Last packet concerned, in A's clock.
    pub last: Time,
    /// From first to last, unless the finding measures a duration of its own.
    pub duration_seconds: f64,
    /// One sentence with the numbers.
    pub summary: String,
    /// Fields of this id; `reasons` has what speaks for and against.
    pub details: Map<String, Value>,
    /// The frames that prove it.
    pub evidence: Vec<Evidence>,
    /// All frames concerned, of which those are the best; the first [`MAX_FRAMES`] of each point.
    #[serde(skip)]
    pub frames: Vec<(Point, u32)>,
    /// Wireshark display filters for the frames concerned.
    pub filters: Filters,
    /// What to do, best first.
    pub fixes: Vec<Fix>,
}

impl Finding {
    /// Whether it calls for somebody to act: an error or a warning.
    pub fn actionable(&self) -> bool {
        // `Severity` is ordered worst first.
        self.severity <= Severity::Warning
    }
}

/// Most frames of a point that a finding lists.
pub const MAX_FRAMES: usize = 1000;

/// Most flows that a finding lists by name.
pub const MAX_FLOWS: usize = 100;

/// A flow by its names at both points.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct FlowName {
    /// `192.168.122.10:40364 198.51.100.7:443` at A: the inside endpoint first.
    pub a: Option<String>,
    /// The same flow at B.
    pub b: Option<String>,
    /// Transport protocol.
    pub protocol: &'static str,
}

/// A frame that proves something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Evidence {
    /// The file it stands in.
    pub point: Point,
    /// Its file, when the point has several: one of `inputs.*.files`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// Its number there, 1-based, as Wireshark counts.
    pub frame: u64,
    /// Its time, in A's clock.
    pub time: Time,
    /// What it proves.
    pub note: String,
}

/// Wireshark display filters, one for each file; empty when no frame of that file is concerned.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Filters {
    /// For the capture of point A.
    pub a: String,
    /// For the capture of point B.
    pub b: String,
}

/// A way to mend it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Fix {
    /// What to do, in a sentence.
    pub title: String,
    /// Commands to paste.
    pub commands: Vec<String>,
    /// What it costs or where it does not apply.
    pub caveat: String,
}
