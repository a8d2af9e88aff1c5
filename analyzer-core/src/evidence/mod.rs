//! What the engineer takes away beside the report: flows in numbers, small captures that hold the proof of each finding,
//! and both captures as one.
//!
//! - `charts`: what can be drawn of the whole
//! - `flows`: every flow pair with its counters
//! - `extract`: which frames prove a finding, and those around them; written as one capture for each point
//! - `ladder`: the flow around a fault, packet by packet at both points
//! - `matches`: which frame of the one capture is which of the other, when that is asked for
//! - `merge`: both captures in one file, on one clock
//! - `output`: pcapng, for both
//!
//! Captures are read again, from their start, through an [`Open`]: what is written is copied from the inputs, never put
//! together from what the analysis remembered. Only what is to be written is held in memory, and not all of that.

mod charts;
mod extract;
mod flows;
mod ladder;
mod matches;
mod merge;
mod output;

pub use charts::{Charts, Share, Traffic};
pub use extract::{Extract, Picked, select, write};
pub use flows::{FlowStats, Side, Trouble};
pub use ladder::{Ladder, Rung, ladders};
pub use matches::{Matches, Partner};
pub use merge::merge;

use crate::Error;
use crate::align::clock::ClockMap;
use crate::capture::{CaptureSet, Files, Interface, LinkType, Marks, Next, Record, Steps};
use crate::packet::FlowKey;
use crate::point::Point;
use crate::report::{Evidence, Report};
use crate::time::Time;
use std::collections::HashMap;

/// Opens the capture of a point from its start.
pub type Open<'a> = dyn Fn(Point) -> Result<CaptureSet, Error> + Sync + 'a;

/// A report, and what an analysis knows beside it.
#[derive(Clone, Debug)]
pub struct Traced {
    /// The report.
    pub report: Report,
    /// What is needed to find its frames in the captures again.
    pub trace: Trace,
}

/// What is needed to find the frames of a report in the captures again.
#[derive(Clone, Debug, Default)]
pub struct Trace {
    /// B's clock against A's, once the steps of both are undone.
    pub clock: ClockMap,
    /// The time asked for, on A's clock; none for all.
    pub bounds: Option<(i64, i64)>,
    /// What each clock was set by while the captures ran, by point.
    pub steps: [Steps; 2],
    /// Flow pairs, and flows of one point alone, in the order in which they began.
    pub flows: Vec<FlowStats>,
    /// Flows beyond those.
    pub flows_left_out: u64,
    /// What further flows, which are not listed, are called at A and at B.
    pub keys: Vec<[FlowKey; 2]>,
    /// The files of each point, to tell frames of a set by one number.
    pub files: [Files; 2],
    /// The frames that matched, if [`Analysis::matches`](crate::Analysis::matches) asked for them.
    pub matches: Option<Matches>,
    /// What can be drawn of the whole.
    pub charts: Charts,
    /// Places in the captures from which they can be read again.
    pub marks: [Marks; 2],
}

/// Names of a flow at the other point that are looked for: the mapping of a flow seldom changes more often.
const MOST_NAMES: usize = 8;

impl Trace {
    /// The number of a cited frame in its capture as a whole.
    pub fn number(&self, cited: &Evidence) -> u32 {
        self.files[cited.point.index()].frame(cited.file.as_deref(), cited.frame as u32)
    }

    /// What a reader knows a frame by: its number, and that of which file when there are several.
    pub fn frame_name(&self, point: Point, frame: u32) -> String {
        let Some((file, own)) = self.files[point.index()].place(frame) else { return frame.to_string() };
        let name = file.rsplit(std::path::is_separator).next().unwrap_or(file);
        format!("{own} of {name}")
    }

    /// What flows are called at the other point, by what they are called at `point`.
    fn names(&self, point: Point) -> HashMap<FlowKey, Vec<FlowKey>> {
        let mut names: HashMap<FlowKey, Vec<FlowKey>> = HashMap::new();
        let listed = self.flows.iter().filter_map(|flow| Some([flow.keys[0]?, flow.keys[1]?]));
        for keys in listed.chain(self.keys.iter().copied()) {
            let (here, there) = (keys[point.index()], keys[point.other().index()]);
            let list = names.entry(here).or_default();
            if list.len() < MOST_NAMES && !list.contains(&there) {
                list.push(there);
            }
        }
        names
    }
}

/// File, index, link type and check sequence: one interface of a capture.
type CameBy = (usize, u16, LinkType, u8);

/// A copy of a record, for when the reader must go on.
#[derive(Clone, Debug, Default)]
struct Held {
    time: i64,
    frame: u32,
    wirelen: u32,
    interface: u16,
    link_type: LinkType,
    fcs_len: u8,
    data: Vec<u8>,
}

impl Held {
    /// Takes the place of what was held; keeps the memory.
    fn hold(&mut self, record: &Record<'_>) {
        let Record { time, frame, wirelen, interface, link_type, fcs_len, data } = *record;
        self.data.clear();
        self.data.extend_from_slice(data);
        (self.time, self.frame, self.wirelen) = (time, frame, wirelen);
        (self.interface, self.link_type, self.fcs_len) = (interface, link_type, fcs_len);
    }

    /// Takes the next record of a capture; whether there was one.
    fn next(&mut self, reader: &mut CaptureSet) -> bool {
        loop {
            if let Next::Record(record) = reader.next(i64::MAX) {
                self.hold(&record);
                return true;
            }
            if !reader.turn(i64::MAX) {
                return false;
            }
        }
    }

    /// What tells its interface from others; that of the same name in another file may be another one.
    fn came_by(&self, reader: &CaptureSet) -> CameBy {
        (reader.file(), self.interface, self.link_type, self.fcs_len)
    }

    /// The interface that it came by.
    fn interface(&self, reader: &CaptureSet) -> Interface {
        let described = reader.interfaces();
        let same = |interface: &&Interface| interface.index == self.interface && interface.link_type == self.link_type;
        let plain = || Interface { index: self.interface, ..Interface::default() };
        let found = described.iter().rfind(same).cloned().unwrap_or_else(plain);
        Interface { link_type: self.link_type, fcs_len: self.fcs_len, ..found }
    }
}

/// When a frame of a point was seen, on A's clock.
fn on_a(trace: &Trace, point: Point, frame: u32, time: i64) -> Time {
    trace.clock.to_a(point, trace.steps[point.index()].undo(frame, time))
}
