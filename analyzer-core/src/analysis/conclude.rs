//! The end of the way: what was gathered becomes a scene, findings, a report.

use super::engine::Engine;
use super::lives::named;
use crate::align::clock::ClockMap;
use crate::align::matching::Shard;
use crate::align::topology;
use crate::capture::{self, CaptureSummary, Steps};
use crate::detect::{self, Boundary, Census, Finished, PairView, Scene, Selection, Witness};
use crate::error::Error;
use crate::evidence::{Charts, FlowStats, Trace, Traced};
use crate::facts::{Delays, EventIndex, PairFacts, Tally, Track};
use crate::flow::SHARDS;
use crate::flow::ingest::Ingest;
use crate::options::Options;
use crate::packet::FlowKey;
use crate::report::{Input, Inputs, Report, SCHEMA, Totals};
use crate::time::Time;
use crate::witness::Witnesses;
use rayon::prelude::*;
use std::cell::LazyCell;
use std::collections::HashSet;
use std::mem::take;

/// The facts of a shard's pairs, hot and cold ones.
type Slots = (Vec<[[Track; 2]; 2]>, Vec<PairFacts>);

/// Where a pair's facts stand.
#[derive(Clone, Copy)]
enum Place {
    /// In the shards, by the number of the pair.
    Live(u32),
    /// Among the flows that are over.
    Over(u32),
}

/// What is known of all pairs, where it was gathered: there may be very many, so that they stay there.
struct Gathered {
    /// Of flows that are over.
    finished: Vec<Finished>,
    /// Of the others, by shard.
    shards: Vec<Slots>,
}

impl Gathered {
    /// All pairs, by serial number.
    fn views(&self, engine: &Engine<'_>) -> Vec<PairView<'_>> {
        let members = &engine.pairing.members;
        let live = members.iter().zip(0..).filter(|(members, _)| members.held());
        let mut places: Vec<(u32, Place)> = live.map(|(members, pair)| (members.serial, Place::Live(pair))).collect();
        places.extend(self.finished.iter().zip(0..).map(|(flow, index)| (flow.named.serial, Place::Over(index))));
        places.sort_unstable_by_key(|(serial, _)| *serial);
        let flows = engine.flow_tables();
        let view = |&(_, place): &(u32, Place)| match place {
            Place::Live(pair) => {
                let (tracks, facts) = &self.shards[pair as usize % SHARDS];
                let slot = pair as usize / SHARDS;
                named(&members[pair as usize], flows).view(&tracks[slot], &facts[slot])
            }
            Place::Over(index) => self.finished[index as usize].view(),
        };
        places.par_iter().map(view).collect()
    }
}

impl Engine<'_> {
    /// Takes what is known of all pairs.
    fn gathered(&mut self) -> Gathered {
        let slots = |shard: &mut Shard| (take(&mut shard.tracks), take(&mut shard.facts));
        Gathered { finished: take(&mut self.finished), shards: self.shards.iter_mut().map(slots).collect() }
    }

    /// Once all is read only facts are needed; the rest makes room for what is made of them.
    pub(super) fn forget_packets(&mut self) {
        self.points.iter_mut().for_each(Ingest::forget_rows);
        self.pairing.forget_packets();
        self.shards.iter_mut().for_each(Shard::forget_packets);
    }

    pub(super) fn report(
        mut self,
        options: &Options,
        witnesses: Witnesses,
        steps: [Steps; 2],
        traced: bool,
    ) -> Result<Traced, Error> {
        self.forget_packets();
        let closed: HashSet<u32> =
            if self.every_flow { self.finished.iter().map(|flow| flow.named.serial).collect() } else { HashSet::new() };
        let gathered = self.gathered();
        let pairs = gathered.views(&self);
        self.points.iter_mut().for_each(Ingest::forget_flows);
        let live = || self.pairing.members.iter().filter(|members| members.held());
        let flows = self.finished_count + live().count() as u64;
        let paired = self.finished_paired + live().filter(|members| members.both()).count() as u64;

        let census = Census::new(&pairs);
        let mut tally = Tally::default();
        for shard in &self.shards {
            tally.merge(&shard.tally);
            self.given_up.packets += shard.hurried;
        }
        let delays: Vec<Delays> = self.shards.iter_mut().map(|shard| take(&mut shard.delays)).collect();
        let delays: Vec<&Delays> = delays.iter().collect();
        let clock = ClockMap::estimate(&delays, self.coarse.offset);
        let summaries = [self.points[0].reader.summary(), self.points[1].reader.summary()];
        let seen = [0, 1].map(|point| self.points[point].packets);
        let same_times = tally.matched[0] > 0
            && tally.matched[0] == seen[0]
            && delays.iter().all(|delays| delays.all_equal(self.coarse.offset));
        let beyond = |addresses: &_| Census::beyond(&pairs, addresses);
        let mut topology = topology::judge(&census.topology, beyond, seen[0] > 0 && seen[1] > 0, same_times);
        topology.vlan = topology::vlans(&self.points[0].presence.vlans, &self.points[1].presence.vlans);
        let unmatched = [0, 1].map(|point| seen[point].saturating_sub(tally.matched[point]));
        let totals = Totals {
            packets_a: seen[0],
            packets_b: seen[1],
            matched: tally.matched[0],
            unmatched_a: unmatched[0],
            unmatched_b: unmatched[1],
            flows,
            paired_flows: paired,
        };
        let inputs = {
            let [a, b] = [0, 1].map(|point| self.input(point, &summaries[point]));
            Inputs { a, b }
        };
        for point in 0..2 {
            let shift = if point == 1 { self.coarse.offset } else { 0 };
            for (from, to) in self.overlap.holes(point) {
                self.points[point].activity.forget(from.saturating_add(shift), to.saturating_add(shift));
            }
        }
        let files = [0, 1].map(|point| self.points[point].reader.files().clone());
        let set_back = [0, 1].map(|point| self.points[point].set_back);
        let [a, b] = self.points;
        let known =
            LazyCell::new(|| pairs.iter().flat_map(|view| [view.a, view.b]).flatten().collect::<HashSet<FlowKey>>());
        let (log, host) = witnesses.read(|one, other| known.contains(one) || known.contains(other))?;
        let witness = Witness::new(log, host, &pairs, &clock);
        let coarse = self.steady.then_some(self.coarse);
        let mut scene = Scene {
            pairs,
            events: EventIndex::new(self.shards.into_iter().map(|shard| shard.events).collect()),
            tally,
            activity: [a.activity, b.activity],
            presence: [a.presence, b.presence],
            link: [a.link, b.link],
            clock,
            steps,
            set_back,
            overlap: self.overlap,
            boundary: Boundary::new(&topology),
            topology,
            totals,
            summaries,
            files,
            selection: Selection { hosts: options.hosts.clone(), ports: options.ports.clone(), time: self.bounds },
            interrupted: self.interrupted,
            thresholds: options.thresholds.clone(),
            missed: [0; 2],
            left_out: [[false; 2]; 2],
            given_up: self.given_up,
            coverage: Vec::new(),
            witness,
            census,
        };
        scene.missed = detect::missed(&scene);
        scene.left_out = detect::left_out(&scene);
        scene.coverage = detect::coverage(&scene);
        let findings = detect::run(&scene, self.detectors);
        let charts = match [a.traffic, b.traffic] {
            [Some(a), Some(b)] => Charts::new(&scene, &[a, b], &delays, coarse),
            _ => Charts::default(),
        };
        // Makes room for the numbers of flows.
        drop(take(&mut scene.events));
        let (pairs, census) = (take(&mut scene.pairs), take(&mut scene.census));
        // Finished flows are among the numbers already when all were asked for.
        let wanted = |view: &PairView, eventful: bool| {
            if self.every_flow { !closed.contains(&view.serial) } else { eventful }
        };
        let mut stats = self.flows;
        let mut room = self.room.listed.saturating_sub(stats.len());
        let (mut listed, mut others) = (Vec::new(), Vec::new());
        for (view, eventful) in pairs.iter().zip(census.eventful()).filter(|_| traced) {
            let list = room > 0 && wanted(view, eventful);
            room -= usize::from(list);
            if list { &mut listed } else { &mut others }.push(view);
        }
        stats.par_extend(listed.into_par_iter().map(FlowStats::new));
        let keys = others.into_iter().filter_map(|view| Some([view.a?, view.b?])).collect();
        stats.sort_unstable_by_key(|flow| flow.serial);
        for flow in &mut stats {
            flow.settle(&clock);
        }
        let trace = Trace {
            clock,
            bounds: self.bounds,
            steps: scene.steps,
            flows_left_out: flows.saturating_sub(stats.len() as u64),
            flows: stats,
            keys,
            files: scene.files,
            matches: self.matches,
            charts,
            marks: self.marks,
        };
        let report = Report {
            schema: SCHEMA,
            tool_version: env!("CARGO_PKG_VERSION"),
            inputs,
            topology: scene.topology,
            clock: clock.report(),
            coverage: scene.coverage,
            totals: scene.totals,
            findings,
        };
        // Many small pieces, and nobody waits until they are freed.
        rayon::spawn(move || drop(gathered));
        Ok(Traced { report, trace })
    }

    pub(super) fn input(&self, point: usize, summary: &CaptureSummary) -> Input {
        let ingest = &self.points[point];
        let busiest = |interface: &&capture::Interface| interface.packets > 0;
        let interface = summary.interfaces.iter().find(busiest).or_else(|| summary.interfaces.first());
        Input {
            files: ingest.reader.files().names().to_vec(),
            format: summary.format.clone(),
            link_type: interface.map(|interface| interface.link_type.name().to_string()).unwrap_or_default(),
            packets: ingest.packets,
            bytes: ingest.reader.input_size().unwrap_or_else(|| ingest.reader.position()),
            first: ingest.presence.span.map(|span| Time(span.0)),
            last: ingest.presence.span.map(|span| Time(span.1)),
            snaplen: interface.map_or(0, |interface| interface.snaplen),
            truncated_at: summary.truncated_at,
            problems: summary.problems.clone(),
            interface: None,
        }
    }
}
