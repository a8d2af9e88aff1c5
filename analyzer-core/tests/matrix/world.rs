//! Guests behind a host that translates them, peers behind a network: who says what, and what becomes of it.

use crate::fault::Fault;
use crate::tcp::{Half, Range, Wish};
use crate::wire::{ACK, Body, Capture, End, FIN, MSS, Packet, RST, Random, SYN};
use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::net::Ipv4Addr;

/// Microseconds in a second.
pub(crate) const SECOND: u64 = 1_000_000;
/// What the host is called outside.
pub(crate) const OUTER: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 5);
/// The router behind the uplink.
const ROUTER: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 1);
const MACS: [[[u8; 6]; 2]; 2] =
    [[[0x52, 0x54, 0, 0xaa, 0, 1], [0x52, 0x54, 0, 0x11, 0x22, 0x33]], [[2, 0, 0, 0, 0, 2], [2, 0, 0, 0, 0, 1]]];
/// Microseconds from guest to bridge, from the bridge to the uplink or back, and from the uplink to a peer.
const DELAYS: [u64; 3] = [15, 20, 5_000];
/// By how much a packet falls behind that changes its place, at least, in microseconds.
const LATE: u64 = 2_000;
/// How long the host remembers a UDP flow that is answered (`nf_conntrack_udp_timeout_stream`).
const REMEMBERED: u64 = 120 * SECOND;

/// Packets that a capture misses.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Missed {
    Nothing,
    /// This share at a point, one at a time.
    Evenly(usize, f64),
    /// This share at a point, in runs of forty.
    InRuns(usize, f64),
    /// This share of the datagrams that leave at B, of which nothing else tells.
    WithoutSign(f64),
}

/// What is to happen.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    /// Share of the packets that the host loses, at random.
    pub(crate) loss: f64,
    /// Share of the packets that leave the host late.
    pub(crate) reordering: f64,
    /// Seconds that B's clock is ahead, and parts in a million that it runs fast.
    pub(crate) clock: (f64, f64),
    pub(crate) missed: Missed,
    pub(crate) offload: bool,
    pub(crate) fault: Fault,
}

/// What happened, by direction.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Truth {
    /// Packets that the noise lost in the host.
    pub(crate) lost: [u64; 2],
    /// TCP segments with data among them.
    pub(crate) lost_segments: [u64; 2],
    /// Questions that got no answer.
    pub(crate) questions: u64,
    /// Packets that the fault concerned.
    pub(crate) struck: u64,
}

/// A conversation.
pub(crate) struct Flow {
    pub(crate) guest: End,
    pub(crate) outer: End,
    pub(crate) peer: End,
    halves: Option<[Half; 2]>,
    ids: [u16; 2],
    /// The fault concerns it.
    pub(crate) marked: bool,
    /// The host has lost its entry.
    pub(crate) forgotten: bool,
    /// When it began.
    pub(crate) born: u64,
    /// When it last crossed the host.
    used: u64,
    answered: bool,
}

enum Due {
    /// A packet arrives: at A (1), at B (2) or at its end (0, 3).
    Arrive(usize, Packet),
    /// A packet leaves the peer or the guest.
    Depart(Packet),
    Open(usize),
    Write(usize, usize, u64),
    Close(usize),
    Timer(usize, usize, u64),
    Acknowledge(usize, usize, u64),
    Ask(usize, u8),
    Abort(usize, usize),
}

struct Entry(u64, u64, Due);

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Entry {}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> Ordering {
        (other.0, other.1).cmp(&(self.0, self.1))
    }
}

/// All that goes on.
pub(crate) struct World {
    pub(crate) plan: Plan,
    pub(crate) random: Random,
    pub(crate) now: u64,
    /// Microseconds that the traffic lasts.
    pub(crate) span: u64,
    pub(crate) flows: Vec<Flow>,
    pub(crate) truth: Truth,
    pub(crate) captures: [Capture; 2],
    /// Of use to the fault.
    pub(crate) passed: Vec<u64>,
    queue: BinaryHeap<Entry>,
    order: u64,
    /// When the last packet came, by direction and part of the way.
    free: [[u64; 3]; 2],
    missing: u32,
}

/// Both captures, and what is true about them.
pub(crate) fn run(plan: Plan) -> ([Vec<u8>; 2], Truth) {
    let mut world = World {
        plan,
        random: Random(plan.seed),
        now: 0,
        span: plan.fault.span(),
        flows: Vec::new(),
        truth: Truth::default(),
        captures: [Capture::new(MACS[0], (0.0, 0.0)), Capture::new(MACS[1], plan.clock)],
        passed: Vec::new(),
        queue: BinaryHeap::new(),
        order: 0,
        free: [[0; 3]; 2],
        missing: 0,
    };
    world.healthy();
    plan.fault.set_up(&mut world);
    let end = world.span + 4 * SECOND;
    while let Some(Entry(time, _, due)) = world.queue.pop()
        && time <= end
    {
        world.now = time;
        world.happen(due);
    }
    world.truth.questions = world.flows.iter().filter(|flow| flow.peer.1 == 53 && !flow.answered).count() as u64;
    let [a, b] = world.captures;
    ([a.bytes, b.bytes], world.truth)
}

impl World {
    fn at(&mut self, time: u64, due: Due) {
        self.order += 1;
        self.queue.push(Entry(time, self.order, due));
    }

    /// A new flow to a port of some peer.
    pub(crate) fn flow(&mut self, port: u16) -> usize {
        let number = self.flows.len();
        let guest_port = 40_000 + number as u16 * 3;
        let peer = Ipv4Addr::new(198, 51, 100, 1 + (number % 7) as u8);
        self.flows.push(Flow {
            guest: (Ipv4Addr::new(192, 168, 122, 10 + (number % 3) as u8), guest_port),
            outer: (OUTER, guest_port),
            peer: (peer, port),
            halves: None,
            ids: [self.random.below(60_000) as u16, self.random.below(60_000) as u16],
            marked: false,
            forgotten: false,
            born: 0,
            used: 0,
            answered: false,
        });
        number
    }

    /// A connection on which one end sends `writes` times `bytes` between two times.
    pub(crate) fn connection(&mut self, sender: usize, from: u64, to: u64, writes: u64, bytes: u64) -> usize {
        let flow = self.flow(443);
        let largest = |side: usize| if self.plan.offload && side == 0 { 6 * MSS } else { MSS };
        let largest = [largest(0), largest(1)];
        let first = [0, 1].map(|_| self.random.below(1 << 32) as u32);
        self.flows[flow].halves = Some([Half::new(first[0], largest[0]), Half::new(first[1], largest[1])]);
        self.flows[flow].born = from;
        self.at(from, Due::Open(flow));
        for write in 0..writes {
            let jitter = self.random.below((to - from) / writes / 2 + 1);
            self.at(from + 50_000 + (to - from) * write / writes + jitter, Due::Write(flow, sender, bytes));
        }
        flow
    }

    /// The guest closes a connection.
    pub(crate) fn close(&mut self, flow: usize, time: u64) {
        self.at(time, Due::Close(flow));
    }

    /// An end aborts a connection.
    pub(crate) fn abort(&mut self, flow: usize, side: usize, time: u64) {
        self.at(time, Due::Abort(flow, side));
    }

    /// A datagram of an end of a flow, at a time.
    pub(crate) fn datagram(&mut self, flow: usize, side: usize, time: u64, payload: Vec<u8>) {
        let packet = self.packet(flow, side, Body::Udp(payload));
        self.at(time, Due::Depart(packet));
    }

    /// An echo request at a time.
    pub(crate) fn ping(&mut self, flow: usize, time: u64, number: u16) {
        let packet = self.packet(flow, 0, Body::Echo { reply: false, number });
        self.at(time, Due::Depart(packet));
    }

    /// A question of the guest's, asked up to four times.
    pub(crate) fn question(&mut self, time: u64) -> usize {
        let flow = self.flow(53);
        self.at(time, Due::Ask(flow, 0));
        flow
    }

    /// What a flow of datagrams looks like: both ends speak, QUIC or not.
    pub(crate) fn talk(&mut self, quic: bool, from: u64, to: u64, packets: u64) -> usize {
        let flow = self.flow(if quic { 443 } else { 5004 });
        self.flows[flow].born = from;
        for number in 0..packets {
            let time = from + (to - from) * number / packets + self.random.below(500);
            for side in [0, 1] {
                if side == 0 && number % 2 == 1 {
                    continue;
                }
                let length = if quic { 60 + self.random.below(1_100) } else { 200 } as usize;
                let mut payload = self.random.bytes(length);
                match (quic, number) {
                    (true, 0..2) => {
                        // A long header, version 1, connection identifiers of eight bytes.
                        payload.resize(1200, 0);
                        payload[..6].copy_from_slice(&[0xc3, 0, 0, 0, 1, 8]);
                        payload[14] = 8;
                    }
                    // A short header: the fixed bit, and an identifier that stays.
                    (true, _) => {
                        payload[0] = 0x40 | (payload[0] & 0x3f);
                        payload[1..9].copy_from_slice(&[flow as u8, side as u8, 1, 2, 3, 4, 5, 6]);
                    }
                    // RTP: version 2.
                    (false, _) => payload[0] = 0x80,
                }
                self.datagram(flow, side, time + side as u64 * 7_000, payload);
            }
        }
        flow
    }

    /// Traffic as it should be.
    fn healthy(&mut self) {
        let span = self.span;
        for number in 0..10 {
            let from = 100_000 + self.random.below(span / 3);
            let to = from + span / 4 + self.random.below(span / 4);
            let writes = 8 + self.random.below(8);
            let bytes = 1 + self.random.below(9 * MSS);
            let flow = self.connection(usize::from(number % 3 != 0), from, to, writes, bytes);
            if number % 2 == 0 {
                self.close(flow, to + 200_000);
            }
        }
        for number in 0..4 {
            let from = 100_000 + self.random.below(span / 4);
            let to = span - self.random.below(span / 4);
            self.talk(number % 2 == 0, from, to, 100);
        }
        let ping = self.flow(0);
        for number in 0..60 {
            self.ping(ping, 50_000 + span * u64::from(number) / 60, number);
        }
        for number in 0..8 {
            self.question(200_000 + span * number / 10);
        }
    }

    /// A packet of one end of a flow.
    pub(crate) fn packet(&mut self, flow: usize, side: usize, body: Body) -> Packet {
        let ends = &mut self.flows[flow];
        let pieces = if let Body::Tcp { length, .. } = body { length.div_ceil(MSS).max(1) } else { 1 };
        let id = ends.ids[side];
        ends.ids[side] = id.wrapping_add(pieces as u16);
        let (source, target) = if side == 0 { (ends.guest, ends.peer) } else { (ends.peer, ends.outer) };
        let partial = self.plan.offload && side == 0 && matches!(body, Body::Tcp { .. });
        let (outbound, ttl) = (side == 0, if side == 0 { 64 } else { 56 });
        Packet { flow, outbound, source, target, id, ttl, tos: self.plan.fault.tos(), partial, damaged: false, body }
    }

    fn happen(&mut self, due: Due) {
        match due {
            Due::Arrive(place, packet) => self.arrive(place, packet),
            Due::Depart(mut packet) => {
                if !packet.outbound {
                    packet.target = self.flows[packet.flow].outer;
                }
                self.depart(packet);
            }
            Due::Open(flow) => self.tell(flow, 0, Half::open),
            Due::Write(flow, side, bytes) => self.tell(flow, side, |half| half.write(bytes)),
            Due::Close(flow) => self.tell(flow, 0, Half::close),
            Due::Timer(flow, side, generation) => self.tell(flow, side, |half| half.timer(generation)),
            Due::Acknowledge(flow, side, number) => {
                let owed = self.flows[flow].halves.as_mut().is_some_and(|halves| halves[side].owes(number));
                if owed {
                    self.send(flow, side, None, 0);
                }
            }
            Due::Ask(flow, attempt) => self.ask(flow, attempt),
            Due::Abort(flow, side) => {
                self.send(flow, side, None, RST);
                if let Some(halves) = &mut self.flows[flow].halves {
                    halves[side].dead = true;
                }
            }
        }
    }

    fn ask(&mut self, flow: usize, attempt: u8) {
        if self.flows[flow].answered {
            return;
        }
        let body = Body::Udp(dns(flow, false));
        let packet = self.packet(flow, 0, body);
        self.depart(packet);
        if attempt < 3 {
            self.at(self.now + SECOND, Due::Ask(flow, attempt + 1));
        }
    }

    /// Tells an end something, and does what it wishes.
    fn tell(&mut self, flow: usize, side: usize, something: impl FnOnce(&mut Half) -> Wish) {
        let Some(halves) = &mut self.flows[flow].halves else { return };
        if halves[side].dead {
            return;
        }
        let wish = something(&mut halves[side]);
        self.grant(flow, side, wish);
    }

    fn grant(&mut self, flow: usize, side: usize, wish: Wish) {
        let silent = wish.send.is_empty();
        for range in wish.send {
            self.send(flow, side, Some(range), 0);
        }
        let Some(halves) = &self.flows[flow].halves else { return };
        let half = &halves[side];
        if let Some(after) = wish.timer {
            let due = Due::Timer(flow, side, half.generation);
            self.at(self.now + after, due);
        }
        match wish.acknowledge {
            Some(true) if silent => self.send(flow, side, None, 0),
            Some(false) if silent => {
                let Some(halves) = &self.flows[flow].halves else { return };
                let due = Due::Acknowledge(flow, side, halves[side].acknowledgments);
                self.at(self.now + 40_000, due);
            }
            _ => {}
        }
        if wish.closed {
            self.tell(flow, side, Half::close);
        }
    }

    /// Sends a range of a connection, or a bare acknowledgment, or a reset.
    fn send(&mut self, flow: usize, side: usize, range: Option<Range>, more: u8) {
        let Some(halves) = &self.flows[flow].halves else { return };
        let (own, other) = (&halves[side], &halves[1 - side]);
        let control = range.map_or(0, |range| range.control);
        let from = range.map_or(own.next(), |range| range.from);
        let length = range.map_or(0, |range| range.to - range.from - u64::from(range.control != 0));
        let acks = own.received() > 0;
        let body = Body::Tcp {
            seq: own.first.wrapping_add(from as u32),
            ack: if acks { other.first.wrapping_add(own.received() as u32) } else { 0 },
            flags: control | more | if acks { ACK } else { 0 },
            length,
            window: 65_000,
            mss: (control == SYN).then_some(MSS as u16 + 12),
        };
        let packet = self.packet(flow, side, body);
        self.depart(packet);
    }

    /// A packet leaves its end.
    pub(crate) fn depart(&mut self, packet: Packet) {
        if packet.outbound {
            let held = self.plan.fault.held_until(self);
            self.carry(packet, 0, held.unwrap_or(0));
        } else {
            self.carry(packet, 2, 0);
        }
    }

    /// Carries a packet over a part of the way, behind those before it.
    fn carry(&mut self, packet: Packet, part: usize, earliest: u64) {
        let direction = usize::from(!packet.outbound);
        let delay = DELAYS[part] + self.random.below(DELAYS[part] / 4 + 1);
        let free = &mut self.free[direction][part];
        let time = (self.now + delay).max(*free + 1).max(earliest);
        *free = time;
        let place = if packet.outbound { part + 1 } else { part };
        self.at(time, Due::Arrive(place, packet));
    }

    fn arrive(&mut self, place: usize, packet: Packet) {
        match (place, packet.outbound) {
            (0, _) => self.receive(0, &packet),
            (3, _) => self.receive(1, &packet),
            (1, true) | (2, false) => {
                self.record(place - 1, &packet);
                self.forward(packet);
            }
            (_, outbound) => {
                self.record(place - 1, &packet);
                if let Some(packet) = Fault::beyond(self, packet) {
                    self.carry(packet, if outbound { 2 } else { 0 }, 0);
                }
            }
        }
    }

    pub(crate) fn record(&mut self, point: usize, packet: &Packet) {
        let misses = match self.plan.missed {
            Missed::Nothing => false,
            Missed::Evenly(at, share) => at == point && self.random.happens(share),
            Missed::InRuns(at, share) => {
                at == point && {
                    if self.missing == 0 && self.random.happens(share / 40.0) {
                        self.missing = 40;
                    }
                    self.missing = self.missing.saturating_sub(1);
                    self.missing > 0
                }
            }
            Missed::WithoutSign(share) => {
                point == 1 && packet.outbound && packet.target.1 == 5004 && self.random.happens(share)
            }
        };
        if !misses {
            self.captures[point].record(self.now, packet);
        }
    }

    /// The host: forgets, loses, translates, delays.
    fn forward(&mut self, packet: Packet) {
        let Some(packet) = Fault::in_host(self, packet) else { return };
        for piece in packet.segments() {
            let direction = usize::from(!piece.outbound);
            if self.random.happens(self.plan.loss) {
                self.truth.lost[direction] += 1;
                if let Body::Tcp { length: 1.., .. } = piece.body {
                    self.truth.lost_segments[direction] += 1;
                }
                continue;
            }
            self.pass(piece);
        }
    }

    /// A packet is translated and leaves the host.
    pub(crate) fn pass(&mut self, mut packet: Packet) {
        let flow = &mut self.flows[packet.flow];
        let answered_udp = packet.source.1 == 443 || packet.source.1 == 5004;
        if !packet.outbound
            && answered_udp
            && flow.used > 0
            && self.now - flow.used > REMEMBERED
            && flow.halves.is_none()
        {
            // The host has forgotten the flow, so that the datagram is for itself, and nobody listens there.
            self.truth.struck += 1;
            let quote = Box::new(packet.clone());
            let (source, target) = (packet.target, packet.source);
            let body = Body::Error { kind: 3, code: 3, mtu: 0, quote };
            let told = Packet {
                outbound: true,
                source,
                target,
                id: self.random.below(60_000) as u16,
                ttl: 64,
                tos: 0xc0,
                body,
                ..packet
            };
            self.carry(told, 1, 0);
            return;
        }
        flow.used = self.now;
        packet.ttl -= 1;
        packet.partial = false;
        let (guest, outer, peer) = (flow.guest, flow.outer, flow.peer);
        if packet.outbound {
            packet.source = Fault::translation(self.plan.fault, flow).unwrap_or(outer);
        } else {
            packet.target = guest;
            if let Body::Error { quote, .. } = &mut packet.body {
                quote.source = guest;
            }
        }
        debug_assert!(packet.source == peer || packet.target == peer || packet.source.0 == ROUTER);
        Fault::rewrite(self, &mut packet);
        let twin = Fault::doubles(self, &packet).then(|| packet.clone());
        if self.random.happens(self.plan.reordering) {
            let (place, late) = (if packet.outbound { 2 } else { 1 }, LATE + self.random.below(3 * LATE));
            self.at(self.now + late, Due::Arrive(place, packet));
            return;
        }
        self.carry(packet, 1, 0);
        if let Some(twin) = twin {
            self.carry(twin, 1, 0);
        }
    }

    /// The host or the router says something in its own name, or in another's.
    pub(crate) fn say(&mut self, packet: Packet) {
        if packet.outbound { self.carry(packet, 1, 0) } else { self.carry(packet, 2, 0) }
    }

    /// The router tells a sender that its packet is too large.
    pub(crate) fn too_big(&mut self, packet: &Packet, mtu: u16) {
        let quote = Box::new(packet.clone());
        let body = Body::Error { kind: 3, code: 4, mtu, quote };
        let id = self.random.below(60_000) as u16;
        let (source, target) = ((ROUTER, 0), packet.source);
        let told = Packet { outbound: false, source, target, id, ttl: 64, tos: 0xc0, body, ..packet.clone() };
        self.say(told);
    }

    /// A packet has come to its end.
    fn receive(&mut self, side: usize, packet: &Packet) {
        if packet.damaged {
            return;
        }
        let deaf = self.flows[packet.flow].marked && self.plan.fault == Fault::Dns;
        match &packet.body {
            Body::Tcp { .. } => self.receive_segment(side, packet),
            Body::Echo { reply: false, number } => {
                let body = Body::Echo { reply: true, number: *number };
                let reply = self.packet(packet.flow, side, body);
                self.depart(reply);
            }
            Body::Udp(_) if packet.target.1 == 53 && !deaf => {
                let body = Body::Udp(dns(packet.flow, true));
                let reply = self.packet(packet.flow, side, body);
                self.depart(reply);
            }
            Body::Udp(_) if packet.source.1 == 53 => self.flows[packet.flow].answered = true,
            _ => {}
        }
    }

    fn receive_segment(&mut self, side: usize, packet: &Packet) {
        let Body::Tcp { seq, ack, flags, length, .. } = packet.body else { return };
        let flow = packet.flow;
        let mute = side == 1 && self.flows[flow].marked && self.plan.fault == Fault::Unanswered;
        let Some(halves) = &mut self.flows[flow].halves else { return };
        if mute {
            return;
        }
        if halves[side].dead {
            if flags & RST == 0 {
                let body = Body::Tcp { seq: ack, ack: 0, flags: RST, length: 0, window: 0, mss: None };
                let mut reset = self.packet(flow, side, body);
                reset.id = 0;
                self.depart(reset);
            }
            return;
        }
        if flags & RST != 0 {
            halves[side].dead = true;
            return;
        }
        let (own, other) = (halves[side].first, halves[1 - side].first);
        let from = u64::from(seq.wrapping_sub(other));
        let control = flags & (SYN | FIN);
        let range = Range { from, to: from + length + u64::from(control != 0), control };
        let acked = u64::from(ack.wrapping_sub(own));
        if flags & SYN != 0 && side == 1 && !halves[1].begun() {
            // Its own SYN acknowledges that of the guest.
            let heard = halves[1].segment(range, 0, 0);
            drop(heard);
            let wish = halves[1].open();
            self.grant(flow, 1, wish);
            return;
        }
        self.tell(flow, side, |half| half.segment(range, flags, acked));
    }
}

/// A question about a name of its own, or its answer.
fn dns(flow: usize, answer: bool) -> Vec<u8> {
    let mut message = (flow as u16).to_be_bytes().to_vec();
    message.extend(if answer { [0x81, 0x80] } else { [0x01, 0x00] });
    message.extend([0, 1, 0, u8::from(answer), 0, 0, 0, 0]);
    message.extend(format!("\x07h{flow:06}\x04test\0").bytes());
    message.extend([0, 1, 0, 1]);
    if answer {
        message.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 198, 51, 100, 9]);
    }
    message
}
