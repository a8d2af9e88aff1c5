//! Both captures in one file, on A's clock, in order of time.

use super::output::Output;
use super::{CameBy, Held, Open, Partner, Trace, on_a};
use crate::capture::{CaptureSet, Interface};
use crate::error::Error;
use crate::point::Point;
use crate::report::Report;
use crate::time::Time;
use std::collections::HashMap;
use std::io::Write;

/// One of the captures, with the record that comes next.
struct Side {
    point: Point,
    file: String,
    reader: CaptureSet,
    held: Held,
    /// Time of the record that comes next, on A's clock; none when there is none.
    next: Option<Time>,
    /// Numbers in the output, by what tells interfaces apart in the capture.
    numbers: HashMap<CameBy, u32>,
    described: Vec<(u32, Interface)>,
}

impl Side {
    fn open(point: Point, report: &Report, trace: &Trace, open: &Open<'_>) -> Result<Self, Error> {
        let input = match point {
            Point::A => &report.inputs.a,
            Point::B => &report.inputs.b,
        };
        let file = match input.files.as_slice() {
            [] => String::new(),
            [file] => file.clone(),
            [first, others @ ..] => format!("{first} and {} more", others.len()),
        };
        let mut side = Self {
            point,
            file,
            reader: open(point)?,
            held: Held::default(),
            next: None,
            numbers: HashMap::new(),
            described: Vec::new(),
        };
        side.advance(trace);
        Ok(side)
    }

    fn advance(&mut self, trace: &Trace) {
        self.next = None;
        while self.held.next(&mut self.reader) {
            let time = on_a(trace, self.point, self.held.frame, self.held.time);
            if trace.bounds.is_none_or(|(from, to)| (from..to).contains(&time.0)) {
                self.next = Some(time);
                return;
            }
        }
    }

    /// The number of the interface of the record that comes next; describes it when it is new.
    fn interface<W: Write>(&mut self, output: &mut Output<W>) -> Result<u32, Error> {
        let name = self.held.came_by(&self.reader);
        if let Some(number) = self.numbers.get(&name) {
            return Ok(*number);
        }
        let interface = self.held.interface(&self.reader);
        let known = self.described.iter().find(|(_, known)| known.same(&interface)).map(|(number, _)| *number);
        let number = if let Some(number) = known {
            number
        } else {
            let number = output.interface(&self.renamed(&interface))?;
            self.described.push((number, interface));
            number
        };
        self.numbers.insert(name, number);
        Ok(number)
    }

    /// `A`, `A2`, … so that filters and the choice of interfaces have short names; what it was called is its description.
    fn renamed(&self, interface: &Interface) -> Interface {
        let letter = if self.point == Point::A { 'A' } else { 'B' };
        let name = match self.described.len() {
            0 => letter.to_string(),
            others => format!("{letter}{}", others + 1),
        };
        let mut description = self.file.clone();
        for part in [&interface.name, &interface.description] {
            if !part.is_empty() {
                description.push_str(", ");
                description.push_str(part);
            }
        }
        Interface { name, description, ..interface.clone() }
    }

    /// What the capture says of its losses, once it is read.
    fn finish<W: Write>(&self, output: &mut Output<W>, end: i64) -> Result<(), Error> {
        let described = self.reader.summary().interfaces;
        for (number, interface) in &self.described {
            if let Some(interface) = described.iter().find(|other| other.same(interface)) {
                output.statistics(*number, interface, end)?;
            }
        }
        Ok(())
    }
}

/// Writes both captures as one pcapng file: interface `A` and interface `B`, B's times on A's clock, comments on the
/// frames of the report's findings. Holds one record of each.
pub fn merge<W: Write>(report: &Report, trace: &Trace, open: &Open<'_>, writer: W) -> Result<(), Error> {
    let mut comments: HashMap<(Point, u32), Vec<String>> = HashMap::new();
    for finding in &report.findings {
        for cited in &finding.evidence {
            let list = comments.entry((cited.point, trace.number(cited))).or_default();
            let frame = trace.frame_name(cited.point, trace.number(cited));
            list.push(format!("{}, frame {frame}: {}", finding.id, cited.note));
        }
    }
    let mut sides = [Side::open(Point::A, report, trace, open)?, Side::open(Point::B, report, trace, open)?];
    let mut output = Output::new(writer, &comment(report, &sides))?;
    let mut end = 0;
    loop {
        let [a, b] = &sides;
        let from = match (a.next, b.next) {
            (None, None) => break,
            (Some(a), Some(b)) => usize::from(b < a),
            (a, _) => usize::from(a.is_none()),
        };
        let side = &mut sides[from];
        let number = side.interface(&mut output)?;
        let time = side.next.map_or(0, |time| time.0);
        let notes = comments.get(&(side.point, side.held.frame)).map_or(&[][..], Vec::as_slice);
        let matched = matched(trace, side.point, side.held.frame);
        output.packet(number, &side.held, time, notes.iter().chain(&matched).map(String::as_str))?;
        end = end.max(time);
        side.advance(trace);
    }
    for side in &sides {
        side.finish(&mut output, end)?;
    }
    output.finish()
}

/// What a frame was matched with, where that is known.
fn matched(trace: &Trace, point: Point, frame: u32) -> Option<String> {
    let partner = trace.matches.as_ref()?.of(point, frame);
    let name = |point: Point, frame: u32| {
        let letter = if point == Point::A { 'a' } else { 'b' };
        format!("{letter}#{}", trace.frame_name(point, frame))
    };
    let (own, there) = (name(point, frame), point.other());
    Some(match partner {
        Partner::Frames(first, last) if first == last => format!("{own} matched with {}", name(there, first)),
        Partner::Frames(first, last) => {
            format!("{own} matched with {} to {}, in parts", name(there, first), name(there, last))
        }
        Partner::Alone => format!("{own} matched with none"),
        Partner::NotKept => return None,
    })
}

fn comment(report: &Report, sides: &[Side; 2]) -> String {
    let clock = &report.clock;
    let [a, b] = sides.each_ref().map(|side| &side.file);
    format!(
        "A is {a}, B is {b}. B's times are on A's clock: {:.9} s were taken off, at {:.3} ppm of drift.",
        clock.offset_seconds, clock.drift_ppm
    )
}
