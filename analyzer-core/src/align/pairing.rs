//! Which flow at B is which flow at A, without being told the NAT.
//!
//! A packet's content survives NAT: TCP's sequence numbers, a datagram's payload. The packets of flows that have no
//! partner offer their content under keys; whoever finds the other point's offer is paired. TCP content is unique by
//! itself. Datagrams repeat (DNS, keep-alives), so their keys name as much of the endpoints as the hypothesis leaves
//! alone: both ends (bridge, route), one end and the other's port (source or destination NAT), one end, the ports alone.
//! A key that two flows of one point offer proves nothing and is struck out.
//!
//! Packets of unpaired flows are held for a while, so that the first ones are matched too. What stays alone becomes a
//! one-sided pair, whose later packets go on offering themselves: the other capture may merely have started later.

use super::hold::{self, Hold};
use super::matching::{Shard, WAIT};
use super::offers::{DISTINCTIVE, Index, Offer, content, offer_keys};
use crate::align::clock::{BRIDGE_NOISE, Coarse};
use crate::facts::Room;
use crate::flow::ingest::Ingest;
use crate::flow::table::UNPAIRED;
use crate::flow::{SHARDS, USUAL_FLOWS};
use crate::hash::{Hashed, mix};
use crate::packet::row::{bits, tcp_flags};
use crate::packet::{Endpoint, Kind, Row};
use crate::point::Point;
use std::cmp::Ordering;

/// Packets of flows without a partner that may always be held.
const LEAST_HELD: usize = 1024;
/// Most addresses that are remembered as inside or outside.
const MAX_ADDRESSES: usize = 32 * 1024;
/// TTLs that senders start with: Linux and BSD, Windows, routers.
const FRESH_TTL: [u8; 3] = [64, 128, 255];

/// A flow's two places.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Members {
    /// Flow at A.
    pub a: Option<u32>,
    /// Flow at B.
    pub b: Option<u32>,
    /// Serial number, as in the facts.
    pub serial: u32,
    /// Serial number of the pair that held the same inner flow before its mapping changed.
    pub successor_of: Option<u32>,
    /// Whether the inside endpoint is the high one of the key, by point.
    pub inside_is_high: [bool; 2],
    /// Whether the place is in use.
    pub live: bool,
}

/// The pairing of all flows.
#[derive(Debug)]
pub struct Pairing {
    hold: [Hold; 2],
    index: [Index; 2],
    /// By pair number (slot * SHARDS + shard).
    pub members: Vec<Members>,
    next_serial: u32,
    /// B's clock minus A's, as far as it is known now.
    coarse: Coarse,
    /// By address (see [`place`]), votes for it being inside (positive) or outside.
    inside: Hashed<i32>,
    /// Flows that were paired.
    pub paired: u64,
    /// Pairs that are open.
    pub live: usize,
    /// Most packets held for unpaired flows at one point.
    max_held: usize,
}

impl Default for Pairing {
    fn default() -> Self {
        Self {
            hold: Default::default(),
            index: Default::default(),
            members: Vec::with_capacity(USUAL_FLOWS),
            next_serial: 0,
            coarse: Coarse::default(),
            inside: Hashed::default(),
            paired: 0,
            live: 0,
            max_held: usize::MAX,
        }
    }
}

impl Pairing {
    /// A pairing that holds no more than there is room for.
    pub fn new(room: &Room) -> Self {
        Self { max_held: room.held.max(LEAST_HELD), ..Self::default() }
    }

    /// Pairs what can be paired in this window and hands every row that is no longer waiting to its shard.
    /// `coarse` is B's clock against A's; `horizon` the time up to which both captures are read, on A's clock.
    pub fn run(&mut self, points: &mut [Ingest; 2], shards: &mut [Shard], coarse: Coarse, horizon: i64) {
        self.coarse = coarse;
        let loose = [std::mem::take(&mut points[0].batch.loose), std::mem::take(&mut points[1].batch.loose)];
        let (mut a, mut b) = (loose[0].as_slice(), loose[1].as_slice());
        loop {
            let take_a = match (a.first(), b.first()) {
                (Some(first_a), Some(first_b)) => first_a.row.time <= coarse.to_a(first_b.row.time),
                (Some(_), None) => true,
                (None, Some(_)) => false,
                (None, None) => break,
            };
            let (point, rest) = if take_a { (0, &mut a) } else { (1, &mut b) };
            if let Some((first, others)) = rest.split_first() {
                *rest = others;
                self.take(point, first.row, first.mark, points, shards);
            }
        }
        self.rebind(&loose, points, shards);
        for (point, mut list) in loose.into_iter().enumerate() {
            list.clear();
            points[point].batch.loose = list;
        }
        for point in 0..2 {
            let mapped = coarse.from_a(point, horizon);
            self.release(point, mapped.saturating_sub(WAIT), points, shards);
        }
    }

    /// The end of both captures: what is still held stands alone.
    pub fn finish(&mut self, points: &mut [Ingest; 2], shards: &mut [Shard]) {
        for point in 0..2 {
            self.release(point, i64::MAX, points, shards);
        }
    }

    fn take(&mut self, point: usize, row: Row, mark: u32, points: &mut [Ingest; 2], shards: &mut [Shard]) {
        let flow = &points[point].table.flows[row.flow as usize];
        if flow.pair != UNPAIRED && self.members[(flow.pair >> 1) as usize].both() {
            let pair = flow.pair;
            points[point].batch.deliver(row, pair, Some(mark));
            return;
        }
        if let Some(partner) = self.partner(point, &row, points) {
            self.join(point, &row, partner, points, shards);
            let pair = points[point].table.flows[row.flow as usize].pair;
            points[point].batch.deliver(row, pair, Some(mark));
            return;
        }
        if points[point].table.flows[row.flow as usize].pair == UNPAIRED {
            self.hold(point, row, points);
        } else {
            let pair = points[point].table.flows[row.flow as usize].pair;
            points[point].batch.deliver(row, pair, None);
        }
    }

    /// Offers a row's keys; returns the other point's flow that offered one of them, and whether that flow's packet had
    /// its key's high endpoint as source.
    fn partner(&mut self, point: usize, row: &Row, points: &[Ingest; 2]) -> Option<(u32, bool)> {
        let table = &points[point].table;
        let flow = &table.flows[row.flow as usize];
        let from_high = row.has(bits::FROM_HIGH);
        let (source, destination) =
            if from_high { (flow.key.high, flow.key.low) } else { (flow.key.low, flow.key.high) };
        let mut keys = [0_u64; 6];
        let count = offer_keys(row, source, destination, &mut keys);
        let time = self.coarse.on_a(point, row.time);
        let other = &points[1 - point].table;
        let mut found = None;
        for &key in &keys[..count] {
            if let Some(offer) = self.index[1 - point].find(key)
                && let Some(candidate) = other.flows.get(offer.flow() as usize)
                && candidate.live()
                && candidate.print() == offer.print
                && (candidate.pair == UNPAIRED || !self.members[(candidate.pair >> 1) as usize].both())
                && offer.time.abs_diff(time) <= WAIT as u64
                && candidate.key.protocol == flow.key.protocol
            {
                found = Some((offer.flow(), offer.is_from_high()));
                break;
            }
        }
        if found.is_some() {
            return found;
        }
        let print = flow.print();
        let offer = Offer { time, flow: row.flow << 1 | u32::from(from_high), print };
        for &key in &keys[..count] {
            self.index[point].offer(key, offer, 2 * WAIT);
        }
        None
    }

    /// Makes two flows one pair.
    fn join(
        &mut self,
        point: usize,
        row: &Row,
        (other_flow, other_from_high): (u32, bool),
        points: &mut [Ingest; 2],
        shards: &mut [Shard],
    ) {
        self.paired += 1;
        let mut flows = [0_u32; 2];
        flows[point] = row.flow;
        flows[1 - point] = other_flow;
        let mut from_high = [false; 2];
        from_high[point] = row.has(bits::FROM_HIGH);
        from_high[1 - point] = other_from_high;
        let outbound = self.outbound(point, row, flows, from_high, points);
        // An outbound packet comes from the inside endpoint.
        let inside_is_high = [from_high[0] == outbound, from_high[1] == outbound];
        let solo = [0, 1].map(|side| {
            let pair = points[side].table.flows[flows[side] as usize].pair;
            (pair != UNPAIRED).then_some(pair)
        });
        // A one-sided pair grows its other side; of two, A's stays and B's ends where it is.
        let pair = match solo {
            [Some(pair), _] | [None, Some(pair)] => pair >> 1,
            [None, None] => self.open(row.protocol, shards),
        };
        let side = usize::from(solo[0].is_none());
        if let Some(known) = solo[side]
            && (known & 1 == 1) != inside_is_high[side]
        {
            shards[pair as usize % SHARDS].flip(pair / SHARDS as u32);
        }
        let members = &mut self.members[pair as usize];
        members.a = Some(flows[0]);
        members.b = Some(flows[1]);
        members.inside_is_high = inside_is_high;
        if let [Some(_), Some(other)] = solo {
            let orphan = &mut self.members[(other >> 1) as usize];
            orphan.b = None;
        }
        for side in 0..2 {
            let reference = pair << 1 | u32::from(inside_is_high[side]);
            points[side].table.set_pair(flows[side], reference);
            let key = &points[side].table.flows[flows[side] as usize].key;
            let (inside, outside) = if inside_is_high[side] { (key.high, key.low) } else { (key.low, key.high) };
            if side == 0 {
                self.vote(inside, 1);
            }
            self.vote(outside, -1);
            self.replay(side, flows[side], points);
        }
    }

    /// Remembers on which side an address was seen. When there are too many, the oldest votes count half, and addresses
    /// without any go.
    fn vote(&mut self, end: Endpoint, vote: i32) {
        *self.inside.entry(place(end.address)).or_default() += vote;
        while self.inside.len() > MAX_ADDRESSES {
            self.inside.retain(|_, votes| {
                *votes /= 2;
                *votes != 0
            });
        }
    }

    /// The votes for an end's address.
    fn votes(&self, end: Endpoint) -> i32 {
        self.inside.get(&place(end.address)).copied().unwrap_or(0)
    }

    /// Whether the packet that paired two flows is outbound. The TTL tells on routed paths, the endpoint that changed on
    /// NAT; on a bridge the addresses already known, then which point saw it first.
    fn outbound(&self, point: usize, row: &Row, flows: [u32; 2], from_high: [bool; 2], points: &[Ingest; 2]) -> bool {
        let ends = [0, 1].map(|side| {
            let key = &points[side].table.flows[flows[side] as usize].key;
            if from_high[side] { (key.high, key.low) } else { (key.low, key.high) }
        });
        let (source_changed, destination_changed) = (ends[0].0 != ends[1].0, ends[0].1 != ends[1].1);
        if source_changed != destination_changed {
            return source_changed;
        }
        let other = self.find_held(1 - point, flows[1 - point], row, points);
        if let Some(other) = other {
            let (ttl_a, ttl_b) = if point == 0 { (row.ttl, other.0) } else { (other.0, row.ttl) };
            if ttl_a != ttl_b {
                return ttl_a > ttl_b;
            }
        }
        let (source, destination) = (self.votes(ends[0].0), self.votes(ends[0].1));
        if source != destination {
            return source > destination;
        }
        // No hop lies between, so a TTL that has lost some comes from a router outside; but not to a group, where senders
        // start with 1 (RFC 1112, section 6.1).
        let routed = row.kind != Kind::Arp && row.kind != Kind::Link && !row.has(bits::GROUP) && row.ttl > 1;
        if routed && !FRESH_TTL.contains(&row.ttl) {
            return false;
        }
        if let Some((_, time)) = other {
            let (time_a, time_b) = if point == 0 { (row.time, time) } else { (time, row.time) };
            let difference = self.coarse.to_a(time_b).saturating_sub(time_a);
            if difference.saturating_abs() > BRIDGE_NOISE {
                return difference > 0;
            }
        }
        // The one who opens a connection is more often inside.
        row.kind != Kind::Tcp || row.flags & (tcp_flags::SYN | tcp_flags::ACK) != tcp_flags::SYN | tcp_flags::ACK
    }

    /// TTL and time of the held packet with the same content as the row.
    fn find_held(&self, point: usize, flow: u32, row: &Row, points: &[Ingest; 2]) -> Option<(u8, i64)> {
        let mut at = points[point].table.flows[flow as usize].held;
        for _ in 0..256 {
            let held = self.hold[point].get(at)?;
            if held.row.kind == row.kind
                && held.row.head == row.head
                && held.row.seq == row.seq
                && held.row.flags == row.flags
            {
                return Some((held.row.ttl, held.row.time));
            }
            at = held.next;
        }
        None
    }

    fn open(&mut self, protocol: u8, shards: &mut [Shard]) -> u32 {
        let serial = self.next_serial;
        self.next_serial = self.next_serial.wrapping_add(1);
        let shard = serial as usize % SHARDS;
        let slot = shards[shard].open(serial, protocol);
        let pair = slot * SHARDS as u32 + shard as u32;
        if self.members.len() <= pair as usize {
            self.members.resize(pair as usize + 1, Members::default());
        }
        self.members[pair as usize] = Members { serial, live: true, ..Members::default() };
        self.live += 1;
        pair
    }

    fn hold(&mut self, point: usize, row: Row, points: &mut [Ingest; 2]) {
        let detail = (row.detail != 0)
            .then(|| points[point].batch.details.get(row.detail as usize - 1).cloned().map(Box::new))
            .flatten();
        let flow = &mut points[point].table.flows[row.flow as usize];
        flow.held = self.hold[point].push(flow.held, row, detail);
    }

    /// Hands a flow's held packets to its pair.
    fn replay(&mut self, point: usize, flow: u32, points: &mut [Ingest; 2]) {
        let entry = &mut points[point].table.flows[flow as usize];
        let pair = entry.pair;
        let mut at = std::mem::replace(&mut entry.held, hold::NONE);
        while let Some((mut row, detail, next)) = self.hold[point].take(at) {
            row.detail = 0;
            at = next;
            if let Some(detail) = detail {
                let details = &mut points[point].batch.details;
                details.push(*detail);
                row.detail = details.len() as u32;
            }
            points[point].replay(row, pair);
        }
    }

    /// Gives up on packets held since before `before` (in the point's clock): their flows stand alone from now on.
    fn release(&mut self, point: usize, before: i64, points: &mut [Ingest; 2], shards: &mut [Shard]) {
        while let Some(row) = self.hold[point].oldest() {
            if row.time >= before && self.hold[point].len() <= self.max_held {
                break;
            }
            self.stand_alone(point, &row, points, shards);
        }
    }

    /// Opens a one-sided pair for a flow and hands it its packets.
    fn stand_alone(&mut self, point: usize, row: &Row, points: &mut [Ingest; 2], shards: &mut [Shard]) {
        let flow = row.flow;
        let key = points[point].table.flows[flow as usize].key;
        let (low, high) = (self.votes(key.low), self.votes(key.high));
        let opener_is_high = row.has(bits::FROM_HIGH) != (row.has(bits::REPLY) || answers(row));
        let inside_is_high = match (low.cmp(&high), private(key.low), private(key.high)) {
            (Ordering::Less, ..) | (Ordering::Equal, false, true) => true,
            (Ordering::Greater, ..) | (Ordering::Equal, true, false) => false,
            _ => opener_is_high == (point == 0),
        };
        let pair = self.open(row.protocol, shards);
        let members = &mut self.members[pair as usize];
        members.inside_is_high = [inside_is_high; 2];
        if point == 0 {
            members.a = Some(flow);
        } else {
            members.b = Some(flow);
        }
        // The table's slot stays unpaired, so that later packets come back here and offer themselves.
        points[point].table.flows[flow as usize].pair = pair << 1 | u32::from(inside_is_high);
        self.replay(point, flow, points);
    }

    /// A flow whose outer mapping changed: its packets at one point go on under the name known, at the other under a new
    /// one. Looks for the content of the new flow's packets among this window's packets of paired flows.
    fn rebind(&mut self, loose: &[Vec<crate::flow::ingest::Loose>; 2], points: &mut [Ingest; 2], shards: &mut [Shard]) {
        for point in 0..2 {
            let other = 1 - point;
            // First packets of flows that are still alone, datagrams only: a TCP connection does not survive a new port.
            let mut wanted: Hashed<(u32, Row)> = Hashed::default();
            for entry in &loose[point] {
                let row = &entry.row;
                let flow = &points[point].table.flows[row.flow as usize];
                let alone = flow.pair == UNPAIRED || !self.members[(flow.pair >> 1) as usize].both();
                if alone && row.kind == Kind::Udp && row.len >= DISTINCTIVE {
                    wanted.entry(content(row)).or_insert((row.flow, *row));
                }
            }
            if wanted.is_empty() {
                continue;
            }
            let mut hits: Vec<(u32, Row, u32, Row)> = Vec::new();
            for (shard, rows) in points[other].batch.rows.iter().enumerate() {
                for row in rows.iter().filter(|row| row.kind == Kind::Udp && row.len >= DISTINCTIVE) {
                    if let Some((flow, new)) = wanted.get(&content(row)) {
                        let pair = (row.flow >> 1) * SHARDS as u32 + shard as u32;
                        let time = self.coarse.on_a(other, row.time);
                        let new_time = self.coarse.on_a(point, new.time);
                        if time.abs_diff(new_time) <= WAIT as u64 && self.members[pair as usize].both() {
                            hits.push((*flow, *new, pair, *row));
                        }
                    }
                }
            }
            hits.sort_by_key(|hit| (hit.1.time, hit.0, hit.2));
            for (flow, new, pair, row) in hits {
                let entry = &points[point].table.flows[flow as usize];
                let alone = entry.pair == UNPAIRED || !self.members[(entry.pair >> 1) as usize].both();
                if alone && self.members[pair as usize].both() && self.members[pair as usize].live {
                    self.move_mapping(point, (flow, &new), (pair, &row), points, shards);
                }
            }
        }
    }

    /// Ends `pair` for the flow at the other point and pairs that flow with `flow`.
    fn move_mapping(
        &mut self,
        point: usize,
        (flow, new): (u32, &Row),
        (pair, row): (u32, &Row),
        points: &mut [Ingest; 2],
        shards: &mut [Shard],
    ) {
        let other = 1 - point;
        let old = self.members[pair as usize];
        let Some(moved) = (if other == 0 { old.a } else { old.b }) else { return };
        let moved_key = points[other].table.flows[moved as usize].key;
        let new_key = points[point].table.flows[flow as usize].key;
        // The far end must be the same: only the near one's mapping may change.
        let far = |key: &crate::packet::FlowKey, inside_is_high: bool| if inside_is_high { key.low } else { key.high };
        let direction = row.flow & 1;
        let new_inside_is_high = new.has(bits::FROM_HIGH) == (direction == 0);
        if far(&moved_key, old.inside_is_high[other]) != far(&new_key, new_inside_is_high) {
            return;
        }
        let solo = points[point].table.flows[flow as usize].pair;
        let fresh = if solo == UNPAIRED { self.open(row.protocol, shards) } else { solo >> 1 };
        if solo != UNPAIRED && (solo & 1 == 1) != new_inside_is_high {
            shards[fresh as usize % SHARDS].flip(fresh / SHARDS as u32);
        }
        let mut inside_is_high = [false; 2];
        inside_is_high[point] = new_inside_is_high;
        inside_is_high[other] = old.inside_is_high[other];
        let members = &mut self.members[fresh as usize];
        members.inside_is_high = inside_is_high;
        members.successor_of = Some(old.serial);
        (members.a, members.b) = if other == 0 { (Some(moved), Some(flow)) } else { (Some(flow), Some(moved)) };
        let former = &mut self.members[pair as usize];
        // The former pair keeps its flow's name for the report, but no longer its packets.
        former.live = true;
        let reference = |side: usize| fresh << 1 | u32::from(inside_is_high[side]);
        points[other].table.set_pair(moved, reference(other));
        points[point].table.set_pair(flow, reference(point));
        shards[pair as usize % SHARDS].facts[(pair / SHARDS as u32) as usize].flags |=
            crate::facts::pair_flags::REBOUND;
        self.paired += 1;
        // Packets of the moved flow that stand in this window from the first one with the new mapping on.
        let batch = &mut points[other].batch;
        let (slot, shard) = (pair / SHARDS as u32, pair as usize % SHARDS);
        let mut later = Vec::new();
        batch.rows[shard].retain(|held| {
            let moves = held.flow >> 1 == slot && (held.time, held.frame) >= (row.time, row.frame);
            if moves {
                later.push(*held);
            }
            !moves
        });
        for mut moving in later {
            moving.flow = (fresh / SHARDS as u32) << 1 | (moving.flow & 1);
            batch.rows[fresh as usize % SHARDS].push(moving);
        }
        self.replay(point, flow, points);
    }

    /// Frees what was kept to pair more flows, at the end of both captures.
    pub fn forget_packets(&mut self) {
        (self.hold, self.index) = Default::default();
        self.inside = Hashed::default();
    }

    /// Frees a pair's place.
    pub fn close(&mut self, pair: u32) {
        self.members[pair as usize].live = false;
        self.live = self.live.saturating_sub(1);
    }

    /// Whether an address has been seen inside more often than outside.
    pub fn is_inside(&self, address: u128) -> bool {
        self.inside.get(&place(address)).is_some_and(|&votes| votes > 0)
    }
}

impl Members {
    /// Whether the place is in use, and not empty.
    pub const fn held(&self) -> bool {
        self.live && (self.a.is_some() || self.b.is_some())
    }

    /// Whether the flow was found at both points.
    pub const fn both(&self) -> bool {
        self.a.is_some() && self.b.is_some()
    }

    /// The flow at a point.
    pub const fn flow(&self, point: Point) -> Option<u32> {
        match point {
            Point::A => self.a,
            Point::B => self.b,
        }
    }
}

/// The key of an address. The numbers are digits of π: any will do that an address is unlikely to hold.
fn place(address: u128) -> u64 {
    mix(address as u64 ^ 0x243f_6a88_85a3_08d3, (address >> 64) as u64 ^ 0x1319_8a2e_0370_7344)
}

/// A packet that answers: its sender did not open the flow.
fn answers(row: &Row) -> bool {
    row.kind == Kind::Tcp && row.flags & (tcp_flags::SYN | tcp_flags::ACK) == tcp_flags::SYN | tcp_flags::ACK
}

/// RFC 1918 and RFC 4193 addresses, and link-local ones.
pub(crate) fn private(end: Endpoint) -> bool {
    match end.ip() {
        std::net::IpAddr::V4(ip) => ip.is_private() || ip.is_link_local(),
        std::net::IpAddr::V6(ip) => ip.is_unique_local() || ip.is_unicast_link_local(),
    }
}
