//! What a detector holds of one flow (or of several at once), before what belongs together becomes one finding.

use super::scene::{PairView, Scene};
use crate::point::Point;
use crate::report::{Directions, Evidence, Finding, Fix, MAX_FLOWS, MAX_FRAMES, Severity, Where};
use crate::time::Time;
use serde_json::{Map, Value, json};
use std::borrow::Cow;
use std::sync::Arc;

/// Most frames that a finding cites.
const MAX_EVIDENCE: usize = 12;

/// A frame that proves something; its time is in the clock of its point.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cited {
    /// Where it was captured.
    pub point: Point,
    /// Its number.
    pub frame: u32,
    /// Its time in the clock of its point.
    pub time: i64,
    /// What it proves.
    pub note: Cow<'static, str>,
}

/// What speaks for and against a claim, each with its weight.
///
/// Many claims may have the same ones, so that a copy costs nothing until it is changed.
#[derive(Clone, Debug, Default)]
pub struct Reasons(Option<Arc<Weighed>>);

type Reason = (f64, Cow<'static, str>);

#[derive(Clone, Debug, Default)]
struct Weighed {
    supports: Vec<Reason>,
    contradicts: Vec<Reason>,
}

impl Reasons {
    /// Something that speaks for it: `weight` is the share of the remaining doubt that it removes (0 to 1).
    #[must_use]
    pub fn support(mut self, weight: f64, reason: impl Into<Cow<'static, str>>) -> Self {
        self.weighed().supports.push((weight, reason.into()));
        self
    }

    /// As [`Reasons::support`], if the condition holds.
    #[must_use]
    pub fn support_if(self, condition: bool, weight: f64, reason: impl Into<Cow<'static, str>>) -> Self {
        if condition { self.support(weight, reason) } else { self }
    }

    /// As [`Reasons::support`], named before the others: what somebody says who was there.
    #[must_use]
    pub fn support_first(mut self, weight: f64, reason: impl Into<Cow<'static, str>>) -> Self {
        self.weighed().supports.insert(0, (weight, reason.into()));
        self
    }

    /// Something that speaks against it: `weight` is the share of the confidence that it takes away.
    #[must_use]
    pub fn contradict(mut self, weight: f64, reason: impl Into<Cow<'static, str>>) -> Self {
        self.weighed().contradicts.push((weight, reason.into()));
        self
    }

    /// As [`Reasons::contradict`], if the condition holds.
    #[must_use]
    pub fn contradict_if(self, condition: bool, weight: f64, reason: impl Into<Cow<'static, str>>) -> Self {
        if condition { self.contradict(weight, reason) } else { self }
    }

    /// The confidence: doubt left by the supports, times what the contradictions leave. Never certain, never nought.
    pub fn confidence(&self) -> f64 {
        let left = |list: &[Reason]| list.iter().map(|(weight, _)| 1.0 - weight).product::<f64>();
        let (doubt, kept) = (left(self.supports()), left(self.contradicts()));
        (((1.0 - doubt) * kept).clamp(0.05, 0.99) * 100.0).round() / 100.0
    }

    /// The reasons as the report's `details.reasons`.
    pub fn to_value(&self) -> Value {
        let texts = |list: &[Reason]| list.iter().map(|(_, text)| text.clone()).collect::<Vec<_>>();
        json!({"for": texts(self.supports()), "against": texts(self.contradicts())})
    }

    fn weighed(&mut self) -> &mut Weighed {
        Arc::make_mut(self.0.get_or_insert_default())
    }

    fn supports(&self) -> &[Reason] {
        self.0.as_ref().map_or(&[], |weighed| &weighed.supports)
    }

    fn contradicts(&self) -> &[Reason] {
        self.0.as_ref().map_or(&[], |weighed| &weighed.contradicts)
    }
}

/// What one detector holds of some packets.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Claim {
    /// The detector's id.
    pub id: &'static str,
    /// Serial numbers of the flows concerned.
    pub flows: Vec<u32>,
    /// Further flows whose symptoms it explains, although it is not about them.
    pub explains: Vec<u32>,
    /// How much it matters.
    pub severity: Severity,
    /// Where the cause lies.
    pub place: Where,
    /// Which way the traffic concerned went.
    pub direction: Directions,
    /// The cause, when the id has causes.
    pub cause: Option<&'static str>,
    /// Protocol name.
    pub protocol: &'static str,
    /// Packets concerned.
    pub packets: u64,
    /// First packet concerned, on A's clock.
    pub first: Time,
    /// Last packet concerned, on A's clock.
    pub last: Time,
    /// Frames that prove it, the best first.
    pub evidence: Vec<Cited>,
    /// All frames concerned, for the filters; may be more than are cited.
    pub frames: Vec<(Point, u32)>,
    /// For and against.
    pub reasons: Reasons,
    /// Numbers that the conclusion needs; merged into `details` when a finding has one claim.
    pub details: Map<String, Value>,
    /// When most of it began, where a packet or two came earlier that may have another reason.
    pub bulk: Option<Time>,
    /// The detector that explains these packets, if one does.
    pub because: Option<&'static str>,
}

impl Claim {
    /// A claim about one flow without its particulars.
    pub fn new(id: &'static str, flow: u32, place: Where, direction: impl Into<Directions>) -> Self {
        Self {
            id,
            flows: vec![flow],
            explains: Vec::new(),
            severity: Severity::Warning,
            place,
            direction: direction.into(),
            cause: None,
            protocol: "ip",
            packets: 0,
            first: Time(i64::MAX),
            last: Time(i64::MIN),
            evidence: Vec::new(),
            frames: Vec::new(),
            reasons: Reasons::default(),
            details: Map::new(),
            bulk: None,
            because: None,
        }
    }

    /// Cites a frame, counts it into the claim's time and its frames.
    pub fn cite(&mut self, scene: &Scene, point: Point, frame: u32, time: i64, note: impl Into<Cow<'static, str>>) {
        if frame == 0 {
            return;
        }
        // More than a finding cites is not needed of one of its claims.
        if self.evidence.len() < MAX_EVIDENCE {
            if self.evidence.is_empty() {
                // Where a finding has very many claims, hardly any of them has a second one.
                self.evidence.reserve_exact(1);
            }
            self.evidence.push(Cited { point, frame, time, note: note.into() });
        }
        self.frame(scene, point, frame, time);
    }

    /// Counts a frame into the claim's time and its frames without citing it.
    pub fn frame(&mut self, scene: &Scene, point: Point, frame: u32, time: i64) {
        self.frames.push((point, frame));
        self.span(scene.clock.to_a(point, time));
    }

    /// Widens the claim's time.
    pub fn span(&mut self, time: Time) {
        self.first = self.first.min(time);
        self.last = self.last.max(time);
    }

    /// A number of the details, 0 when it is not there.
    pub fn number(&self, name: &str) -> f64 {
        self.details.get(name).and_then(Value::as_f64).unwrap_or(0.0)
    }
}

/// A finding from claims of one id, place, direction, cause and protocol: flows, counts, times, evidence and filters are
/// put together; summary, further details and fixes are the detector's.
pub fn merge(scene: &Scene, claims: &[Claim]) -> Finding {
    let head = &claims[0];
    let mut flows: Vec<u32> = claims.iter().flat_map(|claim| claim.flows.iter().copied()).collect();
    flows.sort_unstable();
    flows.dedup();
    let named: Vec<&PairView> = flows.iter().take(MAX_FLOWS).filter_map(|serial| scene.pair(*serial)).collect();
    let first = claims.iter().map(|claim| claim.first).min().unwrap_or_default();
    let last = claims.iter().map(|claim| claim.last).max().unwrap_or_default();
    // The best of each claim first, so that every flow gets a word before one gets two.
    let mut evidence = Vec::new();
    let deepest = claims.iter().map(|claim| claim.evidence.len()).max().unwrap_or(0);
    for depth in 0..deepest {
        for cited in claims.iter().filter_map(|claim| claim.evidence.get(depth)) {
            if evidence.len() < MAX_EVIDENCE {
                evidence.push(Evidence {
                    point: cited.point,
                    file: None,
                    frame: u64::from(cited.frame),
                    time: scene.clock.to_a(cited.point, cited.time),
                    note: cited.note.clone().into_owned(),
                });
            }
        }
    }
    evidence.sort_by_key(|cited| (cited.time, cited.point, cited.frame));
    evidence.dedup();
    let strongest = claims
        .iter()
        .max_by(|one, other| one.reasons.confidence().total_cmp(&other.reasons.confidence()))
        .unwrap_or(head);
    let mut details = if claims.len() == 1 { head.details.clone() } else { Map::new() };
    details.insert("reasons".into(), strongest.reasons.to_value());
    if let Some(because) = head.because {
        details.insert("because".into(), because.into());
    }
    let told: Vec<Value> =
        claims.iter().filter_map(|claim| claim.details.get("conntrack")).take(MAX_FLOWS).cloned().collect();
    if !told.is_empty() {
        details.insert("conntrack".into(), told.into());
    }
    let frames = frames(claims);
    Finding {
        id: head.id,
        severity: head.severity,
        confidence: strongest.reasons.confidence(),
        place: head.place,
        direction: head.direction,
        cause: head.cause,
        protocol: head.protocol,
        flows: named.iter().map(|pair| pair.name()).collect(),
        serials: named.iter().map(|pair| pair.serial).collect(),
        flow_count: flows.len() as u64,
        packet_count: claims.iter().map(|claim| claim.packets).sum(),
        first,
        last,
        duration_seconds: last.seconds_since(first),
        summary: String::new(),
        details,
        evidence,
        filters: super::filter::filters(scene, claims, &flows, &frames),
        frames: Point::BOTH
            .into_iter()
            .zip(frames)
            .flat_map(|(point, frames)| frames.into_iter().take(MAX_FRAMES).map(move |frame| (point, frame)))
            .collect(),
        fixes: Vec::new(),
    }
}

/// All frames of the claims by point, in order.
fn frames(claims: &[Claim]) -> [Vec<u32>; 2] {
    let mut frames = <[Vec<u32>; 2]>::default();
    for &(point, frame) in claims.iter().flat_map(|claim| &claim.frames) {
        frames[point.index()].push(frame);
    }
    for frames in &mut frames {
        frames.sort_unstable();
        frames.dedup();
    }
    frames
}

/// A fix in one call.
pub fn fix(title: impl Into<String>, commands: &[&str], caveat: impl Into<String>) -> Fix {
    Fix {
        title: title.into(),
        commands: commands.iter().map(|command| (*command).to_owned()).collect(),
        caveat: caveat.into(),
    }
}
