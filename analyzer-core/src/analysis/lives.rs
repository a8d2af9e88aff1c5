//! Flows that are over: closed, kept if they may matter, given up where there is no room.

use super::engine::Engine;
use crate::align::pairing::Members;
use crate::detect::{Finished, Named};
use crate::evidence::FlowStats;
use crate::facts::state;
use crate::flow::SHARDS;
use crate::flow::table::Flow;
use crate::point::Direction;
use crate::time::SECOND;

/// Closed connections that are kept for late packets; the oldest go first.
pub(super) const MAX_CLOSED: usize = 2048;
/// How long a closed connection is kept for late packets.
const CLOSED_TIME: i64 = 30 * SECOND;
/// How long a flow may be silent before it is closed, unless the host remembers datagrams for longer: Linux forgets them
/// after 120 s, before 5.0 after 180 s.
pub(super) const IDLE_TIME: i64 = 600 * SECOND;
/// How long a connection may be silent that both points saw opened and answered, and nobody closed. Linux forgets those
/// after five days; a day holds the NAT timers in use (RFC 5382 asks for 124 minutes) and bounds what is kept.
const IDLE_CONNECTION_TIME: i64 = 24 * 3600 * SECOND;

impl Engine<'_> {
    /// Closes flows that are over, so that memory follows the live ones.
    pub(super) fn retire(&mut self, horizon: i64) {
        while let Some(&(pair, serial, at)) = self.closed.front() {
            if self.closed.len() <= MAX_CLOSED && horizon.saturating_sub(at) < CLOSED_TIME {
                break;
            }
            self.closed.pop_front();
            let members = self.pairing.members[pair as usize];
            if members.live && members.serial == serial {
                self.close(pair);
            }
        }
        for pair in 0..self.pairing.members.len() as u32 {
            let members = self.pairing.members[pair as usize];
            if !members.live {
                continue;
            }
            let tracks = &self.shards[pair as usize % SHARDS].tracks[(pair / SHARDS as u32) as usize];
            let last = tracks
                .iter()
                .flat_map(|direction| direction.iter().enumerate())
                .filter(|(_, track)| track.packets > 0)
                .map(|(point, track)| self.on_a(point, track.last_time))
                .max();
            // A connection without end may be silent for hours; datagrams' NAT entries may not.
            let open = |point: usize| {
                let state = |direction: usize| tracks[direction][point].state;
                (state(0) & state(1)) & state::ACK != 0 && (state(0) | state(1)) & (state::FIN | state::RST) == 0
            };
            let patience = match members.both() {
                true if open(0) && open(1) => IDLE_CONNECTION_TIME,
                true => self.idle_time,
                false => self.idle_time / 5,
            };
            if last.is_some_and(|last| horizon.saturating_sub(last) > patience) {
                self.close(pair);
            }
        }
    }

    /// There are more live flows than there is room for: a quarter of them goes, of one point before of both, those of a
    /// packet or two first, then the longest silent.
    #[cold]
    pub(super) fn relieve(&mut self) {
        /// Packets of a flow that is hardly one: a probe, a SYN of a flood and its repetition.
        const FEW: u32 = 2;
        let mut live = Vec::with_capacity(self.pairing.live);
        for (pair, members) in self.pairing.members.iter().enumerate().filter(|(_, members)| members.live) {
            let tracks = self.shards[pair % SHARDS].tracks[pair / SHARDS].iter();
            let tracks = tracks.flat_map(|direction| direction.iter().enumerate());
            let (mut last, mut packets) = (i64::MIN, 0_u32);
            for (point, track) in tracks.filter(|(_, track)| track.packets > 0) {
                last = last.max(self.on_a(point, track.last_time));
                packets = packets.saturating_add(track.packets);
            }
            live.push((members.both(), packets > FEW, last, members.serial, pair as u32));
        }
        let count = live.len().saturating_sub(self.room.pairs / 4 * 3);
        if count < live.len() {
            live.select_nth_unstable(count);
        }
        live.truncate(count);
        // The order in which they go decides what is kept of them.
        live.sort_unstable_by_key(|flow| flow.3);
        for (.., pair) in live {
            self.given_up.flows += 1;
            self.close(pair);
        }
    }

    /// Keeps a flow that is over for the detectors. When there is no room, half of those kept go: the least informative,
    /// the oldest of them first.
    pub(super) fn keep(&mut self, flow: Finished) {
        if self.finished.len() >= self.room.finished {
            let half = self.finished.len() / 2;
            self.given_up.finished += (self.finished.len() - half) as u64;
            self.finished.sort_by_key(|flow| std::cmp::Reverse((flow.view().weight(), flow.named.serial)));
            self.finished.truncate(half);
        }
        self.finished.push(flow);
    }

    /// The flows of both points.
    pub(super) fn flow_tables(&self) -> [&[Flow]; 2] {
        [0, 1].map(|point| &*self.points[point].table.flows)
    }

    pub(super) fn close(&mut self, pair: u32) {
        let overlap = self.overlap;
        let members = self.pairing.members[pair as usize];
        let named = members.held().then(|| named(&members, self.flow_tables()));
        let (tracks, facts) = self.shards[pair as usize % SHARDS].close(pair / SHARDS as u32, &overlap);
        for (point, flow) in [members.a, members.b].into_iter().enumerate() {
            if let Some(flow) = flow
                && self.points[point].table.flows[flow as usize].pair >> 1 == pair
            {
                self.points[point].table.close(flow);
            }
        }
        self.pairing.close(pair);
        self.finished_count += 1;
        self.finished_paired += u64::from(members.both());
        let Some(named) = named else { return };
        let flow = Finished { named, tracks, facts };
        let view = flow.view();
        if self.every_flow && self.flows.len() < self.room.listed {
            self.flows.push(FlowStats::new(&view));
        }
        if view.notable() || self.detectors.iter().any(|detector| detector.keeps(&view)) {
            self.keep(flow);
        }
    }
}

/// What a pair is called; its flows are among `flows`, by point.
pub(super) fn named(members: &Members, flows: [&[Flow]; 2]) -> Named {
    let flow = |point: usize| Some(&flows[point][[members.a, members.b][point]? as usize]);
    Named {
        serial: members.serial,
        successor_of: members.successor_of,
        keys: [0, 1].map(|point| flow(point).map(|flow| flow.key)),
        inside_is_high: members.inside_is_high,
        macs: [0, 1].map(|point| {
            let (mac, from_high) = flow(point)?.mac();
            let outbound = from_high == members.inside_is_high[point];
            (mac != 0).then_some((mac, if outbound { Direction::Outbound } else { Direction::Inbound }))
        }),
    }
}
