//! Who says what to whom, what the host does to it, and what is true about it afterwards.

use serde::Serialize;
use std::io::{self, Write};
use std::net::Ipv4Addr;

use crate::packet::{self, ACK, FIN, MSS, PUSH, Page, Path, Payload, SYN, Segment};
use crate::pcap::Capture;
use crate::random::Random;

/// What the packets are like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Full segments and datagrams of 1200 bytes.
    Large,
    /// Payloads of 20 to 120 bytes: the most packets in a file.
    Small,
    /// The guest sends superframes of up to 64 KB with unfinished checksums; the uplink has their segments.
    Offload,
}

/// What to synthesise.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// The same seed gives the same bytes.
    pub seed: u64,
    /// What the packets are like.
    pub shape: Shape,
    /// Bytes of both captures together, about.
    pub bytes: u64,
    /// Flows that live at the same time.
    pub flows: usize,
    /// The host loses one packet in so many; 0 for none.
    pub loss_one_in: u64,
}

impl Plan {
    /// A plan of `bytes`, with as many flows as a busy host has and one packet in a thousand lost.
    pub fn new(shape: Shape, bytes: u64) -> Self {
        let flows = if shape == Shape::Offload { 5_000 } else { 20_000 };
        Self { seed: 1, shape, bytes, flows, loss_one_in: 1_000 }
    }
}

/// What is true about a pair.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Truth {
    /// Records in A.
    pub packets_a: u64,
    /// Records in B.
    pub packets_b: u64,
    /// Bytes of A as a file.
    pub bytes_a: u64,
    /// Bytes of B as a file.
    pub bytes_b: u64,
    /// Flows begun: TCP connections and UDP flows.
    pub flows: u64,
    /// Packets (segments where A has a superframe) that entered the host at A and never left it at B.
    pub lost_outbound: u64,
    /// Packets that entered the host at B and never left it at A.
    pub lost_inbound: u64,
    /// Segments sent again; each of them crossed both points.
    pub retransmitted: u64,
    /// Records in A that hold more than one segment of B.
    pub superframes: u64,
}

/// 2023-11-14 22:13:20 UTC, in microseconds.
const START: u64 = 1_700_000_000_000_000;
/// Different payloads; each packet has a stamp of its own besides.
const PAGES: usize = 64;
/// What the host is called outside.
const OUTER: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 5);
/// Guests behind the bridge.
const GUESTS: u64 = 40;
/// Ports that a guest takes, as Linux does (`ip_local_port_range`).
const GUEST_PORTS: std::ops::Range<u64> = 32_768..61_000;
/// Ports that the host translates to.
const OUTER_PORTS: std::ops::Range<u64> = 1_024..65_536;
/// Peers, in 198.18.0.0/15, which RFC 2544 sets aside for this.
const PEERS: u64 = 1 << 17;
/// The initial retransmission timeout's lower bound on Linux, in microseconds.
const TIMEOUT: u64 = 200_000;
/// Something happens at least once in so many microseconds.
const PACE: u64 = 16;
/// Microseconds within which a packet has crossed the host and is answered; more than the longest delay.
const ROUND_TRIP: u64 = 100;
/// Most segments in a superframe: 64 KB less headers.
const MOST_SEGMENTS: u64 = 44;

/// Bridge and guest.
const MACS_A: [[u8; 6]; 2] = [[0x52, 0x54, 0x00, 0x11, 0x22, 0x33], [0x52, 0x54, 0x00, 0xaa, 0x00, 0x01]];
/// Router and uplink.
const MACS_B: [[u8; 6]; 2] = [[0x02, 0, 0, 0, 0, 0x01], [0x02, 0, 0, 0, 0, 0x02]];

/// Which way a packet goes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Out = 0,
    In = 1,
}

impl Way {
    fn back(self) -> Self {
        if self == Self::Out { Self::In } else { Self::Out }
    }
}

/// What happens to a packet in the host.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Forwarded,
    Lost,
}

struct Flow {
    number: u64,
    guest: (Ipv4Addr, u16),
    outer: (Ipv4Addr, u16),
    peer: (Ipv4Addr, u16),
    /// The next IP id of each way.
    ids: [u16; 2],
    page: usize,
    /// Segments or datagrams to send yet.
    left: u64,
    stage: Stage,
    /// Who sends the data of a connection.
    sender: Way,
    /// The next sequence number of each way.
    next: [u32; 2],
    /// Segments that the receiver has not acknowledged.
    unanswered: u64,
    hole: Option<Hole>,
    /// When both ends have seen all that was sent.
    ready: u64,
}

/// A lost segment that the receiver is waiting for.
#[derive(Clone, Copy)]
struct Hole {
    seq: u32,
    length: usize,
    duplicate_acks: u32,
    since: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Datagrams,
    Syn,
    SynAck,
    Established,
    Data,
    Fin,
    FinBack,
    LastAck,
    Over,
}

/// Writes the pair to `a` and `b`, and tells what is true about it. Give it buffered writers.
pub fn synthesise(plan: &Plan, a: impl Write, b: impl Write) -> io::Result<Truth> {
    let mut random = Random::new(plan.seed);
    let pages: Vec<Page> = (0..PAGES).map(|_| Page::new(&mut random)).collect();
    let mut world = World {
        plan,
        random,
        pages: &pages,
        a: Capture::new(a)?,
        b: Capture::new(b)?,
        now: START,
        frame: Vec::with_capacity(70_000),
        truth: Truth::default(),
    };
    let mut flows: Vec<Flow> = (0..plan.flows.max(1)).map(|_| world.begin()).collect();
    while world.a.bytes + world.b.bytes < plan.bytes {
        world.now += 1 + world.random.below(PACE);
        let which = world.random.below(flows.len() as u64) as usize;
        if flows[which].ready > world.now {
            continue;
        }
        world.step(&mut flows[which])?;
        flows[which].ready = world.now + ROUND_TRIP;
        if flows[which].stage == Stage::Over {
            flows[which] = world.begin();
        }
    }
    world.a.finish()?;
    world.b.finish()?;
    world.truth.packets_a = world.a.packets;
    world.truth.packets_b = world.b.packets;
    world.truth.bytes_a = world.a.bytes;
    world.truth.bytes_b = world.b.bytes;
    Ok(world.truth)
}

struct World<'a, A, B> {
    plan: &'a Plan,
    random: Random,
    pages: &'a [Page],
    a: Capture<A>,
    b: Capture<B>,
    /// Microseconds since the epoch.
    now: u64,
    frame: Vec<u8>,
    truth: Truth,
}

impl<A: Write, B: Write> World<'_, A, B> {
    /// A new flow. Names are dealt out in turn, so that none is used twice while its last user lives.
    fn begin(&mut self) -> Flow {
        let number = self.truth.flows;
        self.truth.flows += 1;
        let in_turn = |range: std::ops::Range<u64>, n: u64| (range.start + n % (range.end - range.start)) as u16;
        let peer = self.random.below(PEERS) as u32;
        let is_udp = self.random.below(5) == 0;
        Flow {
            number,
            guest: (Ipv4Addr::new(192, 168, 122, 10 + (number % GUESTS) as u8), in_turn(GUEST_PORTS, number / GUESTS)),
            outer: (OUTER, in_turn(OUTER_PORTS, number)),
            peer: (Ipv4Addr::from_bits(Ipv4Addr::new(198, 18, 0, 0).to_bits() + peer), 443),
            ids: [self.random.next() as u16, self.random.next() as u16],
            page: self.random.below(PAGES as u64) as usize,
            left: 20 + self.random.below(400),
            stage: if is_udp { Stage::Datagrams } else { Stage::Syn },
            sender: if self.random.below(3) == 0 { Way::Out } else { Way::In },
            next: [self.random.next() as u32, self.random.next() as u32],
            unanswered: 0,
            hole: None,
            ready: 0,
        }
    }

    /// The flow's next packet or burst.
    fn step(&mut self, flow: &mut Flow) -> io::Result<()> {
        match flow.stage {
            Stage::Datagrams => self.datagram(flow)?,
            Stage::Syn => self.control(flow, Way::Out, SYN, Stage::SynAck)?,
            Stage::SynAck => self.control(flow, Way::In, SYN | ACK, Stage::Established)?,
            Stage::Established => self.control(flow, Way::Out, ACK, Stage::Data)?,
            Stage::Data => self.data(flow)?,
            Stage::Fin => self.control(flow, Way::Out, FIN | ACK, Stage::FinBack)?,
            Stage::FinBack => self.control(flow, Way::In, FIN | ACK, Stage::LastAck)?,
            Stage::LastAck => self.control(flow, Way::Out, ACK, Stage::Over)?,
            Stage::Over => {}
        }
        Ok(())
    }

    fn datagram(&mut self, flow: &mut Flow) -> io::Result<()> {
        let way = if self.random.below(3) == 0 { Way::Out } else { Way::In };
        let length = if self.plan.shape == Shape::Small { 30 + self.random.below(90) } else { 1_200 } as usize;
        // A QUIC packet with a short header: the fixed bit, and bits that header protection makes random.
        let first = 0x40 | self.random.below(0x40) as u8;
        let number = (flow.number << 32) | flow.left;
        let payload = Payload { page: &self.pages[flow.page], number, length, first: Some(first) };
        let fate = self.fate();
        self.count_loss(way, fate);
        self.cross(flow, way, fate, |frame, path| packet::udp(frame, path, payload))?;
        flow.left -= 1;
        if flow.left == 0 {
            flow.stage = Stage::Over;
        }
        Ok(())
    }

    /// A segment without data.
    fn control(&mut self, flow: &mut Flow, way: Way, flags: u8, then: Stage) -> io::Result<()> {
        self.segment(flow, way, flags, flow.next[way as usize], 0, Fate::Forwarded)?;
        if flags & (SYN | FIN) != 0 {
            flow.next[way as usize] = flow.next[way as usize].wrapping_add(1);
        }
        flow.stage = then;
        Ok(())
    }

    fn data(&mut self, flow: &mut Flow) -> io::Result<()> {
        if let Some(hole) = flow.hole
            && (hole.duplicate_acks >= 3 || self.now > hole.since + TIMEOUT)
        {
            self.segment(flow, flow.sender, ACK | PUSH, hole.seq, hole.length, Fate::Forwarded)?;
            self.truth.retransmitted += 1;
            flow.hole = None;
            // The receiver answers a filled hole at once.
            flow.unanswered = 2;
            return Ok(());
        }
        let every = if flow.hole.is_some() || flow.left == 0 { 1 } else { 2 };
        if flow.unanswered >= every {
            self.acknowledge(flow)
        } else if flow.left > 0 {
            self.burst(flow)
        } else {
            if flow.hole.is_none() {
                flow.stage = Stage::Fin;
            }
            Ok(())
        }
    }

    /// The receiver acknowledges what it has without a hole.
    fn acknowledge(&mut self, flow: &mut Flow) -> io::Result<()> {
        let way = flow.sender.back();
        self.segment(flow, way, ACK, flow.next[way as usize], 0, Fate::Forwarded)?;
        match &mut flow.hole {
            // One duplicate ACK for each segment that came behind the hole.
            Some(hole) => {
                hole.duplicate_acks += 1;
                flow.unanswered -= 1;
            }
            None => flow.unanswered = 0,
        }
        Ok(())
    }

    fn burst(&mut self, flow: &mut Flow) -> io::Result<()> {
        let offload = self.plan.shape == Shape::Offload && flow.sender == Way::Out;
        if offload && flow.left > 1 {
            let segments = (2 + self.random.below(MOST_SEGMENTS - 1)).min(flow.left);
            return self.superframe(flow, segments);
        }
        for _ in 0..(1 + self.random.below(4)).min(flow.left) {
            let length = match self.plan.shape {
                Shape::Small => 20 + self.random.below(100),
                _ if self.random.below(8) > 0 => MSS as u64,
                _ => 100 + self.random.below(1_300),
            } as usize;
            let fate = if flow.hole.is_some() { Fate::Forwarded } else { self.fate() };
            let seq = flow.next[flow.sender as usize];
            self.count_loss(flow.sender, fate);
            self.segment(flow, flow.sender, ACK, seq, length, fate)?;
            self.sent(flow, length, fate);
        }
        Ok(())
    }

    /// Advances the sender by a segment that was forwarded or lost.
    fn sent(&mut self, flow: &mut Flow, length: usize, fate: Fate) {
        let next = &mut flow.next[flow.sender as usize];
        if fate == Fate::Lost {
            flow.hole = Some(Hole { seq: *next, length, duplicate_acks: 0, since: self.now });
        } else {
            flow.unanswered += 1;
        }
        *next = next.wrapping_add(length as u32);
        flow.left -= 1;
    }

    /// One packet at A that becomes `segments` at B.
    fn superframe(&mut self, flow: &mut Flow, segments: u64) -> io::Result<()> {
        let first = flow.next[Way::Out as usize];
        let offset = |i: u64| first.wrapping_add(i as u32 * MSS as u32);
        let (ack, millis) = (flow.next[Way::In as usize], self.now_millis());
        let header = |seq| Segment { seq, ack, flags: ACK, millis };
        let (page, flow_number) = (&self.pages[flow.page], flow.number);
        let payload =
            |i: u64| Payload { page, number: (flow_number << 32) | u64::from(offset(i)), length: MSS, first: None };

        let path = self.path(flow, Way::Out, false);
        packet::tcp(&mut self.frame, &path, header(first), (0..segments).map(payload));
        self.a.pass(self.now, &self.frame)?;
        self.truth.superframes += 1;

        let mut time = self.now + self.delay();
        for i in 0..segments {
            let fate = if flow.hole.is_some() { Fate::Forwarded } else { self.fate() };
            self.count_loss(Way::Out, fate);
            let path = self.path(flow, Way::Out, true);
            if fate == Fate::Forwarded {
                packet::tcp(&mut self.frame, &path, header(offset(i)), std::iter::once(payload(i)));
                time = self.b.will_pass(time, &self.frame);
            }
            flow.ids[Way::Out as usize] = flow.ids[Way::Out as usize].wrapping_add(1);
            self.sent(flow, MSS, fate);
        }
        Ok(())
    }

    /// One segment, seen where its fate lets it be seen.
    fn segment(&mut self, flow: &mut Flow, way: Way, flags: u8, seq: u32, length: usize, fate: Fate) -> io::Result<()> {
        let expected = match flow.hole {
            Some(hole) if way != flow.sender => hole.seq,
            _ => flow.next[way.back() as usize],
        };
        let ack = if flags & ACK == 0 { 0 } else { expected };
        let segment = Segment { seq, ack, flags, millis: self.now_millis() };
        let number = (flow.number << 32) | u64::from(seq);
        let payload = (length > 0).then_some(Payload { page: &self.pages[flow.page], number, length, first: None });
        self.cross(flow, way, fate, |frame, path| packet::tcp(frame, path, segment, payload.into_iter()))
    }

    /// A packet enters the host and, unless it is lost, leaves it some microseconds later under its other name.
    fn cross(&mut self, flow: &mut Flow, way: Way, fate: Fate, build: impl Fn(&mut Vec<u8>, &Path)) -> io::Result<()> {
        let leaves = self.now + self.delay();
        for outside in [way == Way::In, way == Way::Out] {
            let enters = outside == (way == Way::In);
            if !enters && fate == Fate::Lost {
                continue;
            }
            let path = self.path(flow, way, outside);
            build(&mut self.frame, &path);
            match (enters, outside) {
                (true, false) => self.a.pass(self.now, &self.frame)?,
                (true, true) => self.b.pass(self.now, &self.frame)?,
                (false, false) => drop(self.a.will_pass(leaves, &self.frame)),
                (false, true) => drop(self.b.will_pass(leaves, &self.frame)),
            }
        }
        flow.ids[way as usize] = flow.ids[way as usize].wrapping_add(1);
        Ok(())
    }

    /// The packet's name at A or, `outside`, at B.
    fn path(&self, flow: &Flow, way: Way, outside: bool) -> Path {
        let [near, far] = if outside { MACS_B } else { MACS_A };
        let guest = if outside { flow.outer } else { flow.guest };
        let (source, destination) = if way == Way::Out { (guest, flow.peer) } else { (flow.peer, guest) };
        // At A a packet goes from the guest to the bridge, at B from the uplink to the router.
        let (to, from) = if way == Way::Out { (near, far) } else { (far, near) };
        let mut macs = [0; 12];
        macs[..6].copy_from_slice(&to);
        macs[6..].copy_from_slice(&from);
        let ttl = match (way, outside) {
            (Way::Out, false) => 64,
            (Way::Out, true) => 63,
            (Way::In, true) => 55,
            (Way::In, false) => 54,
        };
        let unfinished = self.plan.shape == Shape::Offload && way == Way::Out && !outside;
        Path { macs, source, destination, ttl, id: flow.ids[way as usize], unfinished }
    }

    fn fate(&mut self) -> Fate {
        let lost = self.plan.loss_one_in > 0 && self.random.below(self.plan.loss_one_in) == 0;
        if lost { Fate::Lost } else { Fate::Forwarded }
    }

    fn count_loss(&mut self, way: Way, fate: Fate) {
        match (fate, way) {
            (Fate::Forwarded, _) => {}
            (Fate::Lost, Way::Out) => self.truth.lost_outbound += 1,
            (Fate::Lost, Way::In) => self.truth.lost_inbound += 1,
        }
    }

    /// What the host takes to forward a packet, in microseconds.
    fn delay(&mut self) -> u64 {
        15 + self.random.below(20)
    }

    fn now_millis(&self) -> u32 {
        (self.now / 1_000) as u32
    }
}
