//! What the engineer takes away beside the report: flows in numbers, small captures that hold the proof of each finding,
//! and both captures as one.
//!
//! - `flows`: every flow pair with its counters
//! - `extract`: which frames prove a finding, and those around them; written as one capture for each point
//! - `merge`: both captures in one file, on one clock
//! - `output`: pcapng, for both
//!
//! Captures are read again, from their start, through an [`Open`]: what is written is copied from the inputs, never put
//! together from what the analysis remembered. Only what is to be written is held in memory, and not all of that.

mod extract;
mod flows;
mod merge;
mod output;

pub use extract::{Extract, Picked, select, write};
pub(crate) use flows::MOST as MOST_FLOWS;
pub use flows::{FlowStats, Side};
pub use merge::merge;

use crate::Error;
use crate::align::clock::ClockMap;
use crate::capture::{CaptureReader, Interface, LinkType, Record, Steps};
use crate::packet::FlowKey;
use crate::point::Point;
use crate::report::Report;
use crate::time::Time;
use std::collections::HashMap;

/// Opens the capture of a point from its start.
pub type Open<'a> = dyn Fn(Point) -> Result<CaptureReader, Error> + Sync + 'a;

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
    /// What each clock was set by while the captures ran, by point.
    pub steps: [Steps; 2],
    /// Flow pairs, and flows of one point alone, in the order in which they began.
    pub flows: Vec<FlowStats>,
    /// Flows beyond those.
    pub flows_left_out: u64,
}

/// Names of a flow at the other point that are looked for: the mapping of a flow seldom changes more often.
const MOST_NAMES: usize = 8;

impl Trace {
    /// What flows are called at the other point, by what they are called at `point`.
    fn names(&self, point: Point) -> HashMap<FlowKey, Vec<FlowKey>> {
        let mut names: HashMap<FlowKey, Vec<FlowKey>> = HashMap::new();
        for flow in &self.flows {
            if let (Some(here), Some(there)) = (flow.key(point), flow.key(point.other())) {
                let list = names.entry(here).or_default();
                if list.len() < MOST_NAMES && !list.contains(&there) {
                    list.push(there);
                }
            }
        }
        names
    }
}

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

    /// The interface that it came by.
    fn interface(&self, reader: &CaptureReader) -> Interface {
        let described = reader.summary().interfaces;
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
