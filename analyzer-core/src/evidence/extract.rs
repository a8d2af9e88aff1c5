//! The frames that prove a finding and those around them, out of captures of any size.
//!
//! Three readings: the first, up to the last frame cited, learns of which flows the cited frames are; the second chooses
//! the frames of those flows, whole where that is little, else those that lie next to the cited ones in time, at both
//! points; the third copies what was chosen. None holds more than numbers of frames. Both extracts are cut at the same
//! times, so that analyzed again they show the finding and nothing that is not in the originals.

use super::output::Output;
use super::{CameBy, Held, Open, Trace, on_a};
use crate::capture::{Interface, Next, Record};
use crate::error::Error;
use crate::packet::{Decoder, FlowKey};
use crate::point::Point;
use crate::report::Finding;
use crate::time::{SECOND, Time};
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::io::{self, Write};

/// Frames of the same flow on either side of a cited frame, at each point.
const AROUND: usize = 20;
/// So many times fewer are around a frame that is concerned but not cited.
const LESS: usize = 4;
/// And so many times fewer are of any flow: they show that both captures ran and what else crossed.
const OTHERS: usize = 2;
/// Most frames of one finding at one point, unless more are cited.
const MOST_FRAMES: usize = 200;
/// If more frames of one finding than these are concerned at one point, only those cited are taken: hundreds of lost
/// packets without those that passed in between show nothing.
const MOST_CONCERNED: usize = 60;
/// Most frames of a finding's flows at one point that are taken whole, from their first to their last: what is whole is
/// judged as the original was.
const MOST_WHOLE: usize = 2000;
/// Time before and after what is cited from which frames of all flows are taken, if they are few.
const CONTEXT: i64 = SECOND;
/// Most of those at one point.
const MOST_CONTEXT: usize = 1000;
/// Frames with which a flow begins that are taken in any case: with the handshake, what follows can be told.
const HEAD: usize = 4;
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

/// A frame of a finding, which wants its surroundings.
#[derive(Clone, Copy, Debug)]
struct Anchor {
    finding: usize,
    cited: bool,
    time: Time,
    key: FlowKey,
}

/// The frames next to an anchor at one point.
#[derive(Clone, Debug, Default)]
struct Around {
    /// Of its flow, under each of the names that it has there.
    flow: Vec<Nearby>,
    /// Of any flow.
    any: Vec<Nearby>,
}

/// Frames next to an anchor, by time.
#[derive(Clone, Debug, Default)]
struct Nearby {
    /// Those up to it, the last being the frame itself if it is of this point.
    before: Vec<(Time, u32)>,
    after: Vec<(Time, u32)>,
}

/// What belongs to a finding at one point, as far as it is little.
#[derive(Clone, Debug, Default)]
struct Whole {
    /// The frames of its flows.
    flow: Few<MOST_WHOLE>,
    /// The frames of all flows around what it cites.
    context: Few<MOST_CONTEXT>,
    /// The first frames of its flows.
    heads: Vec<u32>,
}

/// A list that gives up when it becomes too long.
#[derive(Clone, Debug, Default)]
struct Few<const MOST: usize> {
    frames: Vec<u32>,
    many: bool,
}

impl<const MOST: usize> Few<MOST> {
    fn push(&mut self, frame: u32) {
        if self.frames.len() == MOST {
            self.many = true;
            self.frames = Vec::new();
        }
        if !self.many {
            self.frames.push(frame);
        }
    }
}

/// Chooses the frames of each finding.
pub fn select(findings: &[Finding], trace: &Trace, open: &Open<'_>) -> Result<Vec<Extract>, Error> {
    let learn = |point| anchors(findings, trace, open, point);
    let (a, b) = rayon::join(|| learn(Point::A), || learn(Point::B));
    let anchors = [a?, b?];
    let around = |point| surroundings(&anchors, findings.len(), trace, open, point);
    let (a, b) = rayon::join(|| around(Point::A), || around(Point::B));
    let (around, whole) = {
        let ((around_a, whole_a), (around_b, whole_b)) = (a?, b?);
        ([around_a, around_b], [whole_a, whole_b])
    };
    let mut of_finding: Vec<Vec<usize>> = vec![Vec::new(); findings.len()];
    let all: Vec<Anchor> = anchors.into_iter().flatten().collect();
    for (number, anchor) in all.iter().enumerate() {
        of_finding[anchor.finding].push(number);
    }
    let extract = |(number, (finding, anchors)): (usize, (&Finding, Vec<usize>))| {
        let whole = whole.each_ref().map(|point| &point[number]);
        if whole.iter().all(|whole| !whole.flow.many) {
            return Extract { picked: Point::BOTH.map(|point| all_of_it(finding, trace, whole, point)) };
        }
        let sizes = [AROUND, 14, 10, 7, 5, 3, 2, 1, 0];
        let choose = |size| Point::BOTH.map(|point| pick(finding, trace, &all, &anchors, &around, point, size));
        let small = |picked: &[Vec<Picked>; 2]| picked.iter().all(|list| list.len() <= MOST_FRAMES);
        let mut picked = sizes.into_iter().map(choose).find(small).unwrap_or_else(|| choose(0));
        for (picked, whole) in picked.iter_mut().zip(whole) {
            let known: HashSet<u32> = picked.iter().map(|picked| picked.frame).collect();
            let heads = whole.heads.iter().filter(|frame| !known.contains(frame)).take(MOST_FRAMES);
            picked.extend(heads.map(|&frame| Picked { frame, notes: Vec::new() }));
            picked.sort_by_key(|picked| picked.frame);
        }
        Extract { picked }
    };
    Ok(findings.iter().zip(of_finding).enumerate().map(extract).collect())
}

/// The flows of a finding from their beginning to their end, and what else passed around what it cites: the same time at
/// both points, or nothing of either.
fn all_of_it(finding: &Finding, trace: &Trace, whole: [&Whole; 2], point: Point) -> Vec<Picked> {
    let mut picked: BTreeMap<u32, Vec<String>> = BTreeMap::new();
    for cited in finding.evidence.iter().filter(|cited| cited.point == point) {
        picked.entry(trace.number(cited)).or_default().push(cited.note.clone());
    }
    let own = whole[point.index()];
    let context = whole.iter().all(|whole| !whole.context.many);
    for frame in own.flow.frames.iter().chain(own.context.frames.iter().filter(|_| context)) {
        picked.entry(*frame).or_default();
    }
    picked.into_iter().map(|(frame, notes)| Picked { frame, notes }).collect()
}

/// The frames of a finding at a point, by number: those cited, those concerned, and so many around them.
fn pick(
    finding: &Finding,
    trace: &Trace,
    all: &[Anchor],
    anchors: &[usize],
    around: &[Vec<Around>; 2],
    point: Point,
    size: usize,
) -> Vec<Picked> {
    let mut picked: BTreeMap<u32, Vec<String>> = BTreeMap::new();
    for cited in finding.evidence.iter().filter(|cited| cited.point == point) {
        picked.entry(trace.number(cited)).or_default().push(cited.note.clone());
    }
    for frame in concerned(finding, point) {
        picked.entry(frame).or_default();
    }
    let mut add = |time: Time, both: [&[Nearby]; 2], size: usize| {
        let (from, to) = window(time, both, size);
        let frames = both[point.index()].iter().flat_map(|list| list.before.iter().chain(&list.after));
        for (_, frame) in frames.filter(|(time, _)| (from..=to).contains(time)) {
            picked.entry(*frame).or_default();
        }
    };
    for &number in anchors {
        let Anchor { time, cited, .. } = all[number];
        let both = around.each_ref().map(|point| &point[number]);
        add(time, both.map(|around| around.flow.as_slice()), if cited { size } else { size / LESS });
        if cited {
            add(time, both.map(|around| around.any.as_slice()), size / OTHERS);
        }
    }
    picked.into_iter().map(|(frame, notes)| Picked { frame, notes }).collect()
}

/// The frames of a finding that are concerned at a point, if they are few.
fn concerned(finding: &Finding, point: Point) -> impl Iterator<Item = u32> {
    let frames = || finding.frames.iter().filter(move |(at, _)| *at == point).map(|(_, frame)| *frame);
    let few = frames().count() <= MOST_CONCERNED;
    frames().filter(move |_| few)
}

/// The time around an anchor in which there are no more than `size` frames on either side at either point. It is the
/// same at both points, and it begins and ends in the longest pauses near its ends: else a packet would be in the extract
/// of one point and, for the microseconds that it took, not in that of the other.
fn window(time: Time, nearby: [&[Nearby]; 2], size: usize) -> (Time, Time) {
    let lists = || nearby.into_iter().flatten();
    let bound = |frames: &[(Time, u32)]| frames.get(size).map(|(time, _)| time.0);
    // The frame itself, or the last before it at the other point, comes on top.
    let before = |list: &Nearby| list.before.iter().rev().copied().collect::<Vec<_>>();
    let earliest = lists().filter_map(|list| bound(&before(list))).max();
    let latest = lists().filter_map(|list| bound(&list.after)).min();
    let mut times: Vec<i64> = lists().flat_map(|list| list.before.iter().chain(&list.after)).map(|at| at.0.0).collect();
    times.sort_unstable();
    let pause = |from: i64, to: i64| {
        let inside = times.windows(2).filter(|pair| pair[0] >= from && pair[1] <= to);
        inside.max_by_key(|pair| pair[1] - pair[0]).map(|pair| pair[0] + (pair[1] - pair[0]) / 2)
    };
    let from = earliest.map_or(i64::MIN, |edge| pause(edge, edge + (time.0 - edge) / 2).unwrap_or(edge));
    let to = latest.map_or(i64::MAX, |edge| pause(edge - (edge - time.0) / 2, edge).unwrap_or(edge));
    (Time(from.min(time.0)), Time(to.max(time.0)))
}

/// First reading: the flows of the frames of findings at a point.
fn anchors(findings: &[Finding], trace: &Trace, open: &Open<'_>, point: Point) -> Result<Vec<Anchor>, Error> {
    let mut wanted: HashMap<u32, Vec<(usize, bool)>> = HashMap::new();
    for (number, finding) in findings.iter().enumerate() {
        let mut add = |frame: u32, cited: bool| {
            let list = wanted.entry(frame).or_default();
            if !list.iter().any(|(other, _)| *other == number) {
                list.push((number, cited));
            }
        };
        for cited in finding.evidence.iter().filter(|cited| cited.point == point) {
            add(trace.number(cited), true);
        }
        for frame in concerned(finding, point) {
            add(frame, false);
        }
    }
    let mut anchors = Vec::new();
    if wanted.is_empty() {
        return Ok(anchors);
    }
    let mut flows = Flows::default();
    each(open, point, |record| {
        // Every record is decoded: a fragment's flow is known from the fragments before it.
        let key = flows.key(record);
        if let Some(findings) = wanted.remove(&record.frame) {
            let time = on_a(trace, point, record.frame, record.time);
            anchors.extend(findings.into_iter().map(|(finding, cited)| Anchor { finding, cited, time, key }));
        }
        !wanted.is_empty()
    })?;
    Ok(anchors)
}

/// A flow that frames of findings belong to, or all flows, at one point.
#[derive(Default)]
struct Watch {
    /// The anchors that are still to come, by time.
    ahead: VecDeque<(Time, usize)>,
    /// The anchors that have come, with what is around them; those behind `open` have all that they need.
    found: Vec<(usize, Nearby)>,
    open: usize,
    /// The last frames.
    recent: VecDeque<(Time, u32)>,
}

/// Second reading: the frames at a point that lie next to the anchors in time, by anchor.
fn surroundings(
    anchors: &[Vec<Anchor>; 2],
    findings: usize,
    trace: &Trace,
    open: &Open<'_>,
    point: Point,
) -> Result<(Vec<Around>, Vec<Whole>), Error> {
    let mut any = Watch::default();
    let mut watches: HashMap<FlowKey, Watch> = HashMap::new();
    let mut number = 0;
    for from in Point::BOTH {
        let names = if from == point { HashMap::new() } else { trace.names(from) };
        for anchor in &anchors[from.index()] {
            // Where no pair is known, the flow may have kept its name.
            let here = names.get(&anchor.key).cloned().unwrap_or_else(|| vec![anchor.key]);
            for key in here {
                watches.entry(key).or_default().ahead.push_back((anchor.time, number));
            }
            if anchor.cited {
                any.ahead.push_back((anchor.time, number));
            }
            number += 1;
        }
    }
    let mut whole = vec![Whole::default(); findings];
    let mut around = vec![Around::default(); number];
    let (flows_of, spans) = belongings(anchors, findings, trace);
    let mut begun: HashMap<FlowKey, usize> = HashMap::new();
    let Some(last) = watches.values().flat_map(|watch| &watch.ahead).map(|(time, _)| *time).max() else {
        return Ok((around, whole));
    };
    for watch in watches.values_mut().chain([&mut any]) {
        watch.ahead.make_contiguous().sort_unstable();
    }
    let mut flows = Flows::default();
    each(open, point, |record| {
        let key = flows.key(record);
        let time = on_a(trace, point, record.frame, record.time);
        if let Some(watch) = watches.get_mut(&key) {
            watch.see(record.frame, time);
        }
        if let Some(findings) = flows_of.get(&key) {
            let begun = begun.entry(key).or_default();
            *begun += 1;
            for &finding in findings {
                whole[finding].flow.push(record.frame);
                if *begun <= HEAD {
                    whole[finding].heads.push(record.frame);
                }
            }
        }
        for (whole, span) in whole.iter_mut().zip(&spans) {
            if !whole.context.many && (span.0..=span.1).contains(&time) {
                whole.context.push(record.frame);
            }
        }
        any.see(record.frame, time);
        time.0 <= last.0.saturating_add(PATIENCE)
    })?;
    for watch in watches.into_values() {
        watch.finish(|anchor, nearby| around[anchor].flow.push(nearby));
    }
    any.finish(|anchor, nearby| around[anchor].any.push(nearby));
    Ok((around, whole))
}

/// The findings that a flow belongs to.
type Belongings = HashMap<FlowKey, Vec<usize>>;

/// The findings of each flow, under all the names that it has at either point, and the time around what each cites.
fn belongings(anchors: &[Vec<Anchor>; 2], findings: usize, trace: &Trace) -> (Belongings, Vec<(Time, Time)>) {
    let mut flows = Belongings::new();
    let mut spans = vec![(Time(i64::MAX), Time(i64::MIN)); findings];
    let names = Point::BOTH.map(|from| trace.names(from));
    for from in Point::BOTH {
        let there = |key: &FlowKey| names[from.index()].get(key).map_or(&[][..], Vec::as_slice);
        let back = |key: &FlowKey| names[from.other().index()].get(key).map_or(&[][..], Vec::as_slice);
        for anchor in &anchors[from.index()] {
            // A mapping that changed has several names at B, which share the one at A.
            let mut here = vec![anchor.key];
            for key in there(&anchor.key) {
                here.push(*key);
                here.extend(back(key));
                here.extend(back(key).iter().flat_map(there));
            }
            for key in here {
                let list = flows.entry(key).or_default();
                if !list.contains(&anchor.finding) {
                    list.push(anchor.finding);
                }
            }
            let span = &mut spans[anchor.finding];
            span.0 = span.0.min(Time(anchor.time.0.saturating_sub(CONTEXT)));
            span.1 = span.1.max(Time(anchor.time.0.saturating_add(CONTEXT)));
        }
    }
    (flows, spans)
}

impl Watch {
    /// A frame of the flow.
    fn see(&mut self, frame: u32, time: Time) {
        self.reach(time);
        for (_, nearby) in &mut self.found[self.open..] {
            nearby.after.push((time, frame));
        }
        // One more than wanted tells that there are more. Anchors are served in their order.
        while self.found.get(self.open).is_some_and(|(_, nearby)| nearby.after.len() > AROUND) {
            self.open += 1;
        }
        if self.recent.len() > AROUND {
            self.recent.pop_front();
        }
        self.recent.push_back((time, frame));
    }

    /// All frames have been seen.
    fn finish(mut self, mut each: impl FnMut(usize, Nearby)) {
        self.reach(Time(i64::MAX));
        for (anchor, nearby) in self.found {
            each(anchor, nearby);
        }
    }

    /// All frames before this time have been seen.
    fn reach(&mut self, time: Time) {
        while let Some((at, anchor)) = self.ahead.front().copied()
            && at < time
        {
            self.ahead.pop_front();
            self.found.push((anchor, Nearby { before: self.recent.iter().copied().collect(), after: Vec::new() }));
        }
    }
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
    loop {
        if let Next::Record(record) = reader.next(i64::MAX) {
            if more(&record) {
                continue;
            }
            return Ok(());
        }
        if !reader.turn(i64::MAX) {
            return Ok(());
        }
    }
}

/// Third reading: writes two captures for each finding, to what `create` makes for its number and a point. Frames have
/// their bytes, their times in the clock of their point, and their interface; comments say what a cited frame proves.
pub fn write<W: Write>(
    findings: &[Finding],
    extracts: &[Extract],
    trace: &Trace,
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
        let mut described: HashMap<CameBy, Interface> = HashMap::new();
        while !wanted.is_empty() && held.next(&mut reader) {
            let Some(takers) = wanted.remove(&held.frame) else { continue };
            let name = held.came_by(&reader);
            let interface = described.entry(name).or_insert_with(|| held.interface(&reader));
            for (number, picked) in takers {
                let frame = trace.frame_name(point, picked.frame);
                let comments: Vec<String> = picked.notes.iter().map(|note| format!("frame {frame}: {note}")).collect();
                files[number].take(interface, &held, &comments)?;
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
    /// Their numbers are their places.
    interfaces: Vec<Interface>,
}

impl<W: Write> File<W> {
    fn new(writer: W, comment: &str) -> Result<Self, Error> {
        Ok(Self { output: Output::new(writer, comment)?, interfaces: Vec::new() })
    }

    fn take(&mut self, interface: &Interface, record: &Held, comments: &[String]) -> Result<(), Error> {
        let number = if let Some(number) = self.interfaces.iter().position(|known| known.same(interface)) {
            number as u32
        } else {
            self.interfaces.push(interface.clone());
            self.output.interface(interface)?
        };
        self.output.packet(number, record, record.time, comments.iter().map(String::as_str))
    }

    fn finish(mut self, first: &Interface) -> Result<(), Error> {
        if self.interfaces.is_empty() {
            self.output.interface(first)?;
        }
        self.output.finish()
    }
}
