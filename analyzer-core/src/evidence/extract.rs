//! The frames that prove a finding and those around them, out of captures of any size.
//!
//! Three readings: the first, up to the last frame cited, learns of which flows the cited frames are; the second chooses
//! the frames of those flows that lie next to them in time, at both points; the third copies what was chosen. None holds
//! more than numbers of frames.

use super::output::Output;
use super::{Held, Open, Trace, on_a};
use crate::capture::{Interface, LinkType, Next, Record};
use crate::error::Error;
use crate::packet::{Decoder, FlowKey};
use crate::point::Point;
use crate::report::Finding;
use crate::time::{SECOND, Time};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::io::{self, Write};

/// Frames of the same flow on either side of a cited frame.
const AROUND: usize = 20;
/// Most frames of one finding at one point, unless more are cited.
const MOST_FRAMES: usize = 200;
/// How long after the last cited frame context is looked for.
const PATIENCE: i64 = 600 * SECOND;

/// The frames of one finding, by point, in file order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Extract {
    /// The frames.
    pub picked: [Vec<Picked>; 2],
}

/// A frame that goes into an extract.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Picked {
    /// Its number in the capture.
    pub frame: u32,
    /// What it proves; nothing for those around.
    pub notes: Vec<String>,
}

/// A moment of a finding that wants its surroundings.
#[derive(Clone, Copy, Debug)]
struct Anchor {
    finding: usize,
    time: Time,
    key: FlowKey,
}

/// Chooses the frames of each finding.
pub fn select(findings: &[Finding], trace: &Trace, open: &Open<'_>) -> Result<Vec<Extract>, Error> {
    let learn = |point| anchors(findings, trace, open, point);
    let (a, b) = rayon::join(|| learn(Point::A), || learn(Point::B));
    let anchors = [a?, b?];
    let around = |point| surroundings(&anchors, trace, open, point);
    let (a, b) = rayon::join(|| around(Point::A), || around(Point::B));
    let mut ranks = [a?, b?];
    let mut extracts = Vec::new();
    for (number, finding) in findings.iter().enumerate() {
        let picked = Point::BOTH.map(|point| {
            let near = ranks[point.index()].remove(&number).unwrap_or_default();
            pick(finding, point, near)
        });
        extracts.push(Extract { picked });
    }
    Ok(extracts)
}

/// The cited frames and the nearest of those around them, by number.
fn pick(finding: &Finding, point: Point, near: HashMap<u32, usize>) -> Vec<Picked> {
    let mut picked: BTreeMap<u32, Vec<String>> = BTreeMap::new();
    for cited in finding.evidence.iter().filter(|cited| cited.point == point) {
        picked.entry(cited.frame as u32).or_default().push(cited.note.clone());
    }
    let mut near: Vec<(usize, u32)> = near.into_iter().map(|(frame, rank)| (rank, frame)).collect();
    near.sort_unstable();
    for (_, frame) in near {
        if picked.len() >= MOST_FRAMES {
            break;
        }
        picked.entry(frame).or_default();
    }
    picked.into_iter().map(|(frame, notes)| Picked { frame, notes }).collect()
}

/// First reading: the flows of the frames cited at a point.
fn anchors(findings: &[Finding], trace: &Trace, open: &Open<'_>, point: Point) -> Result<Vec<Anchor>, Error> {
    let mut cited: HashMap<u32, Vec<usize>> = HashMap::new();
    for (number, finding) in findings.iter().enumerate() {
        for evidence in finding.evidence.iter().filter(|evidence| evidence.point == point) {
            let list = cited.entry(evidence.frame as u32).or_default();
            if !list.contains(&number) {
                list.push(number);
            }
        }
    }
    let mut anchors = Vec::new();
    let mut flows = Flows::default();
    each(open, point, |record| {
        // Every record is decoded: a fragment's flow is known from the fragments before it.
        let key = flows.key(record);
        if let Some(findings) = cited.remove(&record.frame) {
            let time = on_a(trace, point, record.time);
            anchors.extend(findings.into_iter().map(|finding| Anchor { finding, time, key }));
        }
        !cited.is_empty()
    })?;
    Ok(anchors)
}

/// A flow that cited frames belong to, at one point.
#[derive(Default)]
struct Watch {
    /// What is waited for, by time.
    ahead: VecDeque<(Time, usize)>,
    /// What is under way: the finding, and the frames that it still gets.
    open: Vec<(usize, usize)>,
    /// The last frames.
    recent: VecDeque<u32>,
}

/// Frames next to cited ones by finding, each with its distance in frames.
type Ranks = HashMap<usize, HashMap<u32, usize>>;

/// Second reading: the frames of the same flows at a point that lie next to the cited ones in time.
fn surroundings(anchors: &[Vec<Anchor>; 2], trace: &Trace, open: &Open<'_>, point: Point) -> Result<Ranks, Error> {
    let mut watches: HashMap<FlowKey, Watch> = HashMap::new();
    for from in Point::BOTH {
        let names = if from == point { HashMap::new() } else { trace.names(from) };
        for anchor in &anchors[from.index()] {
            // Where no pair is known, the flow may have kept its name.
            let here = names.get(&anchor.key).cloned().unwrap_or_else(|| vec![anchor.key]);
            for key in here {
                watches.entry(key).or_default().ahead.push_back((anchor.time, anchor.finding));
            }
        }
    }
    let mut ranks = Ranks::new();
    let Some(last) = watches.values().flat_map(|watch| &watch.ahead).map(|(time, _)| *time).max() else {
        return Ok(ranks);
    };
    for watch in watches.values_mut() {
        watch.ahead.make_contiguous().sort_unstable();
    }
    let mut flows = Flows::default();
    each(open, point, |record| {
        let key = flows.key(record);
        let time = on_a(trace, point, record.time);
        if let Some(watch) = watches.get_mut(&key) {
            watch.see(record.frame, time, &mut ranks);
        }
        time.0 <= last.0.saturating_add(PATIENCE)
    })?;
    for watch in watches.values_mut() {
        watch.reach(Time(i64::MAX), &mut ranks);
    }
    Ok(ranks)
}

impl Watch {
    /// A frame of the flow.
    fn see(&mut self, frame: u32, time: Time, ranks: &mut Ranks) {
        self.reach(time, ranks);
        for (finding, left) in &mut self.open {
            note(ranks, *finding, frame, AROUND + 1 - *left);
            *left -= 1;
        }
        self.open.retain(|(_, left)| *left > 0);
        if self.recent.len() > AROUND {
            self.recent.pop_front();
        }
        self.recent.push_back(frame);
    }

    /// All frames before this time have been seen.
    fn reach(&mut self, time: Time, ranks: &mut Ranks) {
        while let Some((at, finding)) = self.ahead.front().copied()
            && at < time
        {
            self.ahead.pop_front();
            // The last of them is the cited frame itself, if it is of this point.
            for (distance, frame) in self.recent.iter().rev().enumerate() {
                note(ranks, finding, *frame, distance);
            }
            self.open.push((finding, AROUND));
        }
    }
}

fn note(ranks: &mut Ranks, finding: usize, frame: u32, distance: usize) {
    let rank = ranks.entry(finding).or_default().entry(frame).or_insert(distance);
    *rank = distance.min(*rank);
}

/// Which flow a record is of.
#[derive(Default)]
struct Flows {
    decoder: Decoder,
    details: Vec<crate::packet::Detail>,
}

impl Flows {
    fn key(&mut self, record: &Record<'_>) -> FlowKey {
        self.details.clear();
        self.decoder.decode(record, &mut self.details).1
    }
}

/// Shows every record of a point until one is enough.
fn each(open: &Open<'_>, point: Point, mut more: impl FnMut(&Record<'_>) -> bool) -> Result<(), Error> {
    let mut reader = open(point)?;
    while let Next::Record(record) = reader.next(i64::MAX) {
        if !more(&record) {
            break;
        }
    }
    Ok(())
}

/// Third reading: writes two captures for each finding, to what `create` makes for its number and a point. Frames have
/// their bytes, their times in the clock of their point, and their interface; comments say what a cited frame proves.
pub fn write<W: Write>(
    findings: &[Finding],
    extracts: &[Extract],
    open: &Open<'_>,
    mut create: impl FnMut(usize, Point) -> io::Result<W>,
) -> Result<(), Error> {
    for point in Point::BOTH {
        let mut wanted: BTreeMap<u32, Vec<(usize, &Picked)>> = BTreeMap::new();
        let mut files = Vec::new();
        for (number, (finding, extract)) in findings.iter().zip(extracts).enumerate() {
            let comment = format!("{}: {}", finding.id, finding.summary);
            files.push(File::new(create(number, point).map_err(Error::Output)?, &comment)?);
            for picked in &extract.picked[point.index()] {
                wanted.entry(picked.frame).or_default().push((number, picked));
            }
        }
        let mut reader = open(point)?;
        let mut held = Held::default();
        let mut described: HashMap<(u16, LinkType, u8), Interface> = HashMap::new();
        while !wanted.is_empty()
            && let Next::Record(record) = reader.next(i64::MAX)
        {
            let Some(takers) = wanted.remove(&record.frame) else { continue };
            held.hold(&record);
            let name = (held.interface, held.link_type, held.fcs_len);
            let interface = described.entry(name).or_insert_with(|| held.interface(&reader));
            for (number, picked) in takers {
                files[number].take(name, interface, &held, &picked.notes)?;
            }
        }
        // A file without frames still says of what kind they would be.
        let first = reader.summary().interfaces.into_iter().next().unwrap_or_default();
        for file in files {
            file.finish(&first)?;
        }
    }
    Ok(())
}

/// One capture of an extract.
struct File<W: Write> {
    output: Output<W>,
    interfaces: HashMap<(u16, LinkType, u8), u32>,
}

impl<W: Write> File<W> {
    fn new(writer: W, comment: &str) -> Result<Self, Error> {
        Ok(Self { output: Output::new(writer, comment)?, interfaces: HashMap::new() })
    }

    fn take(
        &mut self,
        name: (u16, LinkType, u8),
        interface: &Interface,
        record: &Held,
        notes: &[String],
    ) -> Result<(), Error> {
        let number = if let Some(number) = self.interfaces.get(&name) {
            *number
        } else {
            let number = self.output.interface(interface)?;
            self.interfaces.insert(name, number);
            number
        };
        let comments: Vec<String> = notes.iter().map(|note| format!("frame {}: {note}", record.frame)).collect();
        self.output.packet(number, record, record.time, comments.iter().map(String::as_str))
    }

    fn finish(mut self, first: &Interface) -> Result<(), Error> {
        if self.interfaces.is_empty() {
            self.output.interface(first)?;
        }
        self.output.finish()
    }
}
