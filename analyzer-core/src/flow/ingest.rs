//! One point's way from records to rows: read, decode, look the flow up, sort by shard.
//!
//! A window is bounded by time and by bytes; which of the two ended it depends on the content alone, so that the report
//! does not depend on the machine.

use super::SHARDS;
use crate::capture::{CaptureSet, Next};
use crate::facts::{Activity, LinkFacts, Series};
use crate::flow::queue::{DISORDER, Queue};
use crate::flow::table::{Entry, Flow, FlowTable, UNPAIRED, fingerprint};
use crate::packet::row::{bits, tcp_flags};
use crate::packet::{Decoder, Detail, FlowKey, Kind, Row};
use crate::point::Direction;

/// Rows that are decoded before the first of them is looked up, so that the table's lines are under way meanwhile.
const BATCH: usize = 64;
/// Rows ahead of the one that is looked up that are asked for: put in order, they do not stand beside one another.
const AHEAD: usize = 8;

/// Rows that are decoded before those that can be put in order are looked up; at least half as many as wait.
const CHUNK: usize = 512;
/// Rows of a window that there is room for from the start: twice the small packets of a full one (see
/// [`USUAL_FLOWS`](super::USUAL_FLOWS)).
const USUAL_ROWS: usize = 64 * 1024;
/// Details of a window that there stays room for: where many connections begin at once there are as many as rows.
const USUAL_DETAILS: usize = 2 * 1024;
/// The slots of rows that stand in a row.
const IN_FILE_ORDER: [u32; BATCH] = {
    let mut slots = [0; BATCH];
    let mut slot = 0;
    while slot < BATCH {
        slots[slot] = slot as u32;
        slot += 1;
    }
    slots
};

/// A row whose flow is not paired, with its place among the marks.
#[derive(Clone, Copy, Debug)]
pub struct Loose {
    /// The row; its `flow` is the place in the flow table.
    pub row: Row,
    /// Its place in [`Batch::marks`].
    pub mark: u32,
}

/// What the activity of a point needs of each packet.
#[derive(Clone, Copy, Debug)]
pub struct Mark {
    time: i64,
    frame: u32,
    /// IP length << 2 | direction, or [`Mark::UNKNOWN`] while the flow is not paired.
    what: u32,
}

impl Mark {
    const UNKNOWN: u32 = 2;

    fn new(row: &Row, direction: Option<u32>) -> Self {
        let direction = if hosts_own(row) { Self::UNKNOWN } else { direction.unwrap_or(Self::UNKNOWN) };
        Self { time: row.time, frame: row.frame, what: row.ip_len.min(u32::MAX >> 2) << 2 | direction }
    }
}

/// Whether a packet may be the host's own, a reset or an ICMP error: it says nothing of what crosses.
fn hosts_own(row: &Row) -> bool {
    row.kind == Kind::IcmpError || (row.kind == Kind::Tcp && row.is(tcp_flags::RST))
}

/// The rows of one window.
#[derive(Debug)]
pub struct Batch {
    /// Rows of paired flows, by shard; `flow` is slot << 1 | direction.
    pub rows: [Vec<Row>; SHARDS],
    /// Rows of flows that are not paired, in file order.
    pub loose: Vec<Loose>,
    /// What the rows' `detail` points at.
    pub details: Vec<Detail>,
    /// One for each packet, in file order.
    pub marks: Vec<Mark>,
}

impl Default for Batch {
    fn default() -> Self {
        Self {
            rows: std::array::from_fn(|_| Vec::with_capacity(USUAL_ROWS / SHARDS)),
            loose: Vec::with_capacity(USUAL_ROWS),
            details: Vec::new(),
            marks: Vec::with_capacity(USUAL_ROWS),
        }
    }
}

impl Batch {
    /// Forgets the last window; keeps the memory.
    pub fn clear(&mut self) {
        self.rows.iter_mut().for_each(Vec::clear);
        self.loose.clear();
        self.details.clear();
        self.marks.clear();
    }

    /// Adds a row to a shard, now that its pair is known.
    pub fn deliver(&mut self, mut row: Row, pair: u32, mark: Option<u32>) {
        let direction = u32::from(row.has(bits::FROM_HIGH)) ^ (pair & 1);
        let pair = pair >> 1;
        row.flow = (pair / SHARDS as u32) << 1 | direction;
        self.rows[pair as usize % SHARDS].push(row);
        if let Some(mark) = mark.and_then(|mark| self.marks.get_mut(mark as usize)) {
            *mark = Mark::new(&row, Some(direction));
        }
    }
}

/// What passed a point at all, paired or not: tells a filter from a loss.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Presence {
    /// Packets by kind.
    pub kinds: [u64; 9],
    /// TCP and UDP ports on either end of a flow, one bit each.
    ports: [Vec<u64>; 2],
    /// Earliest and latest time stamp.
    pub span: Option<(i64, i64)>,
    /// Packets that were cut by the snap length.
    pub cut: u64,
    /// Packets of a link type that is not understood.
    pub unsupported: u64,
    /// TTL, VLAN and MAC samples: source MACs seen, at most a few dozen.
    pub vlans: std::collections::BTreeSet<u16>,
}

impl Presence {
    fn open(&mut self, key: &FlowKey) {
        let Some(list) = (match key.protocol {
            6 => Some(0),
            17 => Some(1),
            _ => None,
        }) else {
            return;
        };
        let ports = &mut self.ports[list];
        ports.resize(1024, 0);
        for port in [key.low.port, key.high.port] {
            ports[port as usize >> 6] |= 1 << (port & 63);
        }
    }

    /// Whether any flow of the protocol used the port here.
    pub fn has_port(&self, protocol: u16, port: u16) -> bool {
        let ports = match protocol {
            6 => &self.ports[0],
            17 => &self.ports[1],
            _ => return true,
        };
        ports.get(port as usize >> 6).is_some_and(|word| word >> (port & 63) & 1 == 1)
    }
}

/// Why a window ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// The next record is of a later window.
    Time,
    /// Enough bytes for one window.
    Bytes,
    /// The capture is read.
    End,
}

/// One point's reader, decoder and flow table.
pub struct Ingest {
    /// The records.
    pub reader: CaptureSet,
    decoder: Decoder,
    /// The flows.
    pub table: FlowTable,
    /// The rows of the current window.
    pub batch: Batch,
    /// What passed over time.
    pub activity: Activity,
    /// All packets over time, paired or not, if they are asked for.
    pub traffic: Option<Series>,
    /// What passed at all.
    pub presence: Presence,
    /// What the link layer shows.
    pub link: LinkFacts,
    /// Rows decoded ahead of their window, by [`Ingest::peek`] or to bring them in order.
    queue: Queue,
    /// Room for the slots of rows that are taken from the queue; empty.
    taken: Vec<u32>,
    /// A record was older than the one before it: from then on rows are put in order before they are looked up.
    disordered: bool,
    /// A row of this window came later than any before: those after it had been filed already.
    too_late: bool,
    /// By IP identification, the flow of the latest packet that the snap length cut; empty while none was.
    by_id: Vec<u32>,
    /// By length, the flow of the latest packet without identification that the snap length cut; empty while none was.
    by_len: Vec<u32>,
    /// Records read.
    pub packets: u64,
    /// Where the last window ended.
    pub stop: Stop,
    /// Time of the last row.
    pub reached: i64,
    /// The furthest that time stamps went back: first frame after, and by how much.
    pub set_back: Option<(u32, i64)>,
    /// Where the analysis ends, in the point's clock; nothing at or after it is read.
    end: i64,
}

impl Ingest {
    /// A point at its start.
    pub fn new(reader: CaptureSet) -> Self {
        Self {
            reader,
            decoder: Decoder::new(),
            table: FlowTable::default(),
            batch: Batch::default(),
            activity: Activity::default(),
            traffic: None,
            presence: Presence::default(),
            link: LinkFacts::default(),
            queue: Queue::default(),
            taken: Vec::new(),
            disordered: false,
            too_late: false,
            by_id: Vec::new(),
            by_len: Vec::new(),
            packets: 0,
            stop: Stop::Time,
            reached: i64::MIN,
            set_back: None,
            end: i64::MAX,
        }
    }

    /// Leaves out what is before `from` or not before `to`, in the point's clock.
    pub fn bound(&mut self, from: i64, to: i64) {
        self.end = to;
        self.queue.retain(from, to);
        loop {
            match self.reader.next(from.min(to)) {
                Next::Record(_) => {}
                Next::Later | Next::End => {
                    if !self.reader.turn(from.min(to)) {
                        break;
                    }
                }
            }
        }
    }

    /// Frees what held rows and what their flows are found by, at the end of the capture.
    pub fn forget_rows(&mut self) {
        let Batch { rows, loose, details, marks } = &mut self.batch;
        *rows = std::array::from_fn(|_| Vec::new());
        (*loose, *details, *marks) = (Vec::new(), Vec::new(), Vec::new());
        self.queue = Queue::default();
        self.table.forget_places();
    }

    /// Frees the flows, once they have no more to say.
    pub fn forget_flows(&mut self) {
        self.table.forget();
    }

    /// Decodes about `bytes` of the capture ahead, for a look at what it holds: see [`ahead`](Self::ahead).
    pub fn peek(&mut self, bytes: u64) {
        let end = self.reader.decoded_bytes() + bytes;
        while self.reader.decoded_bytes() < end {
            if self.queue_next(1, self.end) == 0 && !self.reader.turn(self.end) {
                break;
            }
        }
        self.disordered |= self.queue.slack() > 0;
        self.queue.put_in_order();
    }

    /// What was decoded ahead, in the order of time.
    pub fn ahead(&self) -> impl Iterator<Item = (&Row, &FlowKey)> {
        self.queue.iter()
    }

    /// Decodes all that is left and shows each row, as long as more is wanted; nothing is kept.
    pub fn scan(&mut self, each: &mut dyn FnMut(&Row) -> bool) {
        let mut details = Vec::new();
        loop {
            if let Next::Record(record) = self.reader.next(i64::MAX) {
                let (row, _) = self.decoder.decode(&record, &mut details);
                details.clear();
                if each(&row) {
                    continue;
                }
                break;
            }
            if !self.reader.turn(i64::MAX) {
                break;
            }
        }
    }

    /// First time stamp of the rows decoded ahead.
    pub fn first_time(&self) -> Option<i64> {
        self.queue.first_time()
    }

    /// Reads one window: all records before `until`, at most about `bytes`.
    #[inline(never)]
    pub fn window(&mut self, until: i64, bytes: u64) {
        self.clear();
        if self.stop == Stop::End {
            return;
        }
        self.stop = Stop::Time;
        if self.disordered {
            self.queue.compact(8 * CHUNK);
            self.read_disordered(until, bytes);
        } else {
            self.take_queue(until, until);
            if !self.queue.is_empty() {
                return;
            }
            self.queue.shrink();
            self.read(until, bytes);
        }
        if std::mem::take(&mut self.too_late) {
            // Only what stands in this window already.
            self.batch.rows.iter_mut().for_each(|rows| rows.sort_by_key(|row| row.time));
            self.batch.loose.sort_by_key(|loose| loose.row.time);
        }
    }

    /// Forgets the last window, but for the details of rows that still wait.
    fn clear(&mut self) {
        let mut kept = Vec::new();
        let details = &self.batch.details;
        if !details.is_empty() {
            self.queue.for_each(|row| {
                let detail = details.get((row.detail as usize).wrapping_sub(1));
                kept.extend(detail.cloned());
                row.detail = if detail.is_some() { kept.len() as u32 } else { 0 };
            });
        }
        let used = details.len();
        self.batch.clear();
        // Made smaller where it stands: what is given back whole raises the size from which `malloc` gives back at all.
        self.batch.details.shrink_to(2 * used.max(USUAL_DETAILS));
        self.batch.details.append(&mut kept);
    }

    /// What ended the reading, when there are no more records.
    fn at_the_end(&self) -> Stop {
        // As far as it was read, which is not the end of the capture.
        if self.reader.gave_up() { Stop::Bytes } else { Stop::End }
    }

    /// Decodes at most so many records before `until` into the queue; how many there were.
    #[inline(never)]
    fn queue_next(&mut self, most: usize, until: i64) -> usize {
        self.reader.each(until, most, |record| {
            let (slot, row, key) = self.queue.room();
            self.decoder.decode_into(record, &mut self.batch.details, row, key);
            let print = self.table.announce(key);
            self.queue.push(slot, print);
        })
    }

    /// Files the rows of the queue that come before `until`; of those since the clock was set back last only those before
    /// `border`.
    fn take_queue(&mut self, until: i64, border: i64) {
        let mut queue = std::mem::take(&mut self.queue);
        let mut taken = std::mem::take(&mut self.taken);
        queue.take(until, border, &mut taken);
        let (rows, keys, prints) = queue.slots_mut();
        self.resolve(rows, keys, prints, &taken);
        queue.give_back(&mut taken);
        self.queue = queue;
        self.taken = taken;
    }

    /// Reads one window from a file whose records are not in order.
    #[inline(never)]
    fn read_disordered(&mut self, until: i64, bytes: u64) {
        let mut full = self.reader.decoded_bytes() + bytes;
        // Rows from here on belong to the next window.
        let mut border = until;
        let mut stop = None;
        while stop.is_none() {
            let reading_to = border.saturating_add(self.queue.slack()).min(self.end);
            let mut left = CHUNK.max(self.queue.len() / 2);
            while left > 0 {
                left -= self.queue_next(left, reading_to);
                if left == 0 {
                    break;
                }
                left -= 1;
                let later = reading_to < self.end && matches!(self.reader.next(reading_to), Next::Later);
                if !self.reader.turn(reading_to) {
                    stop = Some(if later { Stop::Time } else { self.at_the_end() });
                    break;
                }
            }
            if stop.is_none() && self.reader.decoded_bytes() >= full {
                if border == until {
                    // What is left in the file may belong before the last rows read: a little more is read.
                    border = until.min(self.queue.newest().saturating_add(1));
                    full += bytes / 4;
                } else {
                    stop = Some(Stop::Bytes);
                }
            }
            let settled = if stop.is_some() { border } else { border.min(self.queue.settled()) };
            self.take_queue(until, settled);
        }
        self.stop = match stop {
            Some(Stop::End) if self.queue.is_empty() => Stop::End,
            Some(Stop::Bytes) => Stop::Bytes,
            _ if border < until => Stop::Bytes,
            _ => Stop::Time,
        };
    }

    /// Reads one window from the file, in its order.
    fn read(&mut self, until: i64, bytes: u64) {
        let mut rows = [Row::default(); BATCH];
        let mut keys = [FlowKey::default(); BATCH];
        let mut prints = [0_u64; BATCH];
        let end = self.reader.decoded_bytes() + bytes;
        let until = until.min(self.end);
        loop {
            let mut filled = 0;
            let mut stop = None;
            while filled < BATCH {
                let mut room = rows[filled..].iter_mut().zip(&mut keys[filled..]).zip(&mut prints[filled..]);
                filled += self.reader.each(until, BATCH - filled, |record| {
                    if let Some(((row, key), print)) = room.next() {
                        self.decoder.decode_into(record, &mut self.batch.details, row, key);
                        *print = self.table.announce(key);
                    }
                });
                if filled < BATCH {
                    let later = until < self.end && matches!(self.reader.next(until), Next::Later);
                    if !self.reader.turn(until) {
                        stop = Some(if later { Stop::Time } else { self.at_the_end() });
                        break;
                    }
                }
            }
            self.resolve(&mut rows, &keys, &prints, &IN_FILE_ORDER[..filled]);
            if stop.is_none() && self.reader.decoded_bytes() >= end {
                stop = Some(Stop::Bytes);
            }
            if let Some(stop) = stop {
                self.stop = stop;
                return;
            }
        }
    }

    /// A row that is earlier than the one before: out of order, or the clock was set back.
    #[cold]
    fn went_back(&mut self, row: &Row) {
        let by = self.reached.saturating_sub(row.time);
        if by <= DISORDER {
            self.disordered = true;
            self.too_late = true;
            self.queue.late(by);
            return;
        }
        self.reached = row.time;
        if self.set_back.is_none_or(|(_, most)| by > most) {
            self.set_back = Some((row.frame, by));
        }
    }

    /// Finds the flows of rows, named by their slots, and files copies of the rows, each with its flow.
    #[inline(never)]
    fn resolve(&mut self, rows: &mut [Row], keys: &[FlowKey], prints: &[u64], slots: &[u32]) {
        self.packets += slots.len() as u64;
        let (mut first, mut last) = self.presence.span.unwrap_or((i64::MAX, i64::MIN));
        for (index, &slot) in slots.iter().enumerate() {
            if let Some(&next) = slots.get(index + AHEAD) {
                rows[next as usize].prefetch();
            }
            let (row, key, print) = (&mut rows[slot as usize], &keys[slot as usize], prints[slot as usize]);
            let mut attributed = if row.kind == Kind::IcmpError { self.attribute(row, key) } else { None };
            let (row, key, print) = match &mut attributed {
                Some((row, key)) => (row, &*key, fingerprint(key)),
                None => (row, key, print),
            };
            self.presence.kinds[row.kind as usize] += 1;
            (first, last) = (first.min(row.time), last.max(row.time));
            let marked = row.bits & (bits::CUT | bits::MALFORMED | bits::GROUP | bits::TRAILER);
            if u64::from(marked) | row.l2 & 0xffff | u64::from(row.detail) != 0 {
                self.unusual(row);
                self.link(row);
            }
            if row.time < self.reached {
                self.went_back(row);
            } else {
                self.reached = row.time;
            }
            let mut entry = match self.table.find(print) {
                Some(entry) => entry,
                None => self.open(print, key, row),
            };
            #[expect(clippy::needless_bitwise_bool, reason = "the kind alone is a coin's toss to the branch predictor")]
            let opening = (row.kind == Kind::Tcp) & (row.flags & (tcp_flags::SYN | tcp_flags::RST) == tcp_flags::SYN);
            if opening {
                entry = self.incarnate(entry, print, key, row);
            }
            if row.has(bits::CUT) && row.kind != Kind::IcmpError {
                let latest = if row.ip_id == 0 { &mut self.by_len } else { &mut self.by_id };
                if latest.is_empty() {
                    *latest = vec![u32::MAX; 1 << 16];
                }
                let name = if row.ip_id == 0 { row.ip_len as u16 } else { row.ip_id };
                latest[usize::from(name)] = entry.flow;
            }
            if entry.pair == UNPAIRED {
                let mark = self.batch.marks.len() as u32;
                self.batch.marks.push(Mark::new(row, None));
                row.flow = entry.flow;
                self.batch.loose.push(Loose { row: *row, mark });
            } else {
                let direction = u32::from(row.has(bits::FROM_HIGH)) ^ (entry.pair & 1);
                self.batch.marks.push(Mark::new(row, Some(direction)));
                let pair = entry.pair >> 1;
                let filed = &mut self.batch.rows[pair as usize % SHARDS];
                // Its flow is written behind the copy: a copy in large pieces would wait for a small one that was just written.
                filed.extend_from_slice(std::slice::from_ref(row));
                if let Some(filed) = filed.last_mut() {
                    filed.flow = (pair / SHARDS as u32) << 1 | direction;
                }
            }
        }
        if first <= last {
            self.presence.span = Some((first, last));
        }
    }

    #[cold]
    fn open(&mut self, print: u64, key: &FlowKey, row: &Row) -> Entry {
        self.presence.open(key);
        let entry = self.table.open(print, *key);
        let opens = row.kind == Kind::Tcp && row.flags & (tcp_flags::SYN | tcp_flags::ACK) == tcp_flags::SYN;
        let flow = &mut self.table.flows[entry.flow as usize];
        if !opens {
            flow.begin();
        }
        flow.set_mac(row.l2 >> 16, row.has(bits::FROM_HIGH));
        entry
    }

    /// An ICMP error whose quote was cut before the ports: the flow that it must be about, by the identification of the quoted
    /// packet or (IPv6, or zero) its length, else because only one flow has these addresses.
    #[cold]
    fn attribute(&self, row: &Row, key: &FlowKey) -> Option<(Row, FlowKey)> {
        /// Flows that are looked through for one error.
        const MOST: usize = 4096;
        let detail = self.batch.details.get(row.detail.checked_sub(1)? as usize)?;
        let Detail::IcmpError(error) = detail else { return None };
        let unknown = error.cut?;
        // The error travels to the quoted packet's source.
        let (source, destination) = if row.has(bits::FROM_HIGH) { (key.low, key.high) } else { (key.high, key.low) };
        let hidden = 1_u128.checked_shl(u32::from(unknown) * 8).map_or(u128::MAX, |bit| bit - 1);
        // Where an address of IPv6 was cut off altogether, so may the protocol have been.
        let protocol = (key.protocol != 0).then_some(key.protocol);
        let fits = |flow: &Flow| -> Option<bool> {
            let ends = [(flow.key.low, flow.key.high), (flow.key.high, flow.key.low)];
            let side = ends.iter().position(|(from, to)| {
                from.address == source.address && to.address & !hidden == destination.address & !hidden
            })?;
            let same = flow.live() && !flow.replaced() && protocol.is_none_or(|it| it == flow.key.protocol);
            let same = same && flow.key.low.port != 0;
            (same && flow.key.family == key.family).then_some(side == 1)
        };
        let named = match (error.quoted_ip_id, u16::try_from(error.quoted_len)) {
            (0, Ok(length)) => self.by_len.get(usize::from(length)),
            (0, Err(_)) => None,
            (id, _) => self.by_id.get(usize::from(id)),
        };
        let named = named.and_then(|flow| self.table.flows.get(*flow as usize));
        let found = named.and_then(|flow| Some((flow, fits(flow)?))).or_else(|| {
            let few = self.table.flows.len() <= MOST;
            let mut all = self.table.flows.iter().filter(|_| few).filter_map(|flow| Some((flow, fits(flow)?)));
            all.next().filter(|_| all.next().is_none())
        });
        let (flow, source_is_high) = found?;
        let bits = if source_is_high { row.bits & !bits::FROM_HIGH } else { row.bits | bits::FROM_HIGH };
        Some((Row { bits, ..*row }, flow.key))
    }

    /// Hands a row that concerns the link layer to its facts; most details do not.
    #[cold]
    fn link(&mut self, row: &Row) {
        let detail = (row.detail != 0).then(|| self.batch.details.get(row.detail as usize - 1)).flatten();
        let concerned = row.bits & (bits::GROUP | bits::TRAILER) != 0
            || matches!(detail, Some(Detail::Arp(_) | Detail::Dhcp(_) | Detail::Bpdu(_)));
        if concerned {
            self.link.observe(row, detail);
        }
    }

    #[cold]
    fn unusual(&mut self, row: &Row) {
        self.presence.cut += u64::from(row.has(bits::CUT));
        self.presence.unsupported += u64::from(row.kind == Kind::Link && row.has(bits::MALFORMED));
        let vlan = (row.l2 & 0xffff) as u16;
        if vlan != 0 && self.presence.vlans.len() < 64 {
            self.presence.vlans.insert(vlan);
        }
    }

    /// A SYN with another initial sequence number opens another connection under the same name (RFC 9293, section 3.4); so
    /// does the answer to one, where the capture holds nothing but answers.
    #[cold]
    fn incarnate(&mut self, mut entry: Entry, print: u64, key: &FlowKey, row: &Row) -> Entry {
        let answer = row.is(tcp_flags::ACK);
        let flow = &mut self.table.flows[entry.flow as usize];
        let (known, first) = match (answer, flow.opening()) {
            (false, opening) => (opening, !flow.begun()),
            (true, Some(_)) => return entry,
            (true, None) => (flow.answer(), flow.answer().is_none()),
        };
        if known == Some(row.seq) {
            return entry;
        }
        if !answer && flow.awaits(row.seq) {
            flow.opened(row.seq);
            return entry;
        }
        if known.is_some() || !first {
            entry = self.table.open(print, *key);
            self.table.flows[entry.flow as usize].set_mac(row.l2 >> 16, row.has(bits::FROM_HIGH));
        }
        let flow = &mut self.table.flows[entry.flow as usize];
        if answer {
            flow.answered(row.seq, row.ack);
        } else {
            flow.opened(row.seq);
        }
        flow.begin();
        entry
    }

    /// Hands a row that was held for its flow to its pair.
    pub fn replay(&mut self, row: Row, pair: u32) {
        if !hosts_own(&row) {
            let direction = usize::from(row.has(bits::FROM_HIGH)) ^ (pair & 1) as usize;
            self.activity.began(Direction::BOTH[direction], row.time);
        }
        self.batch.deliver(row, pair, None);
    }

    /// Accounts the window's packets over time, once the flows are paired.
    pub fn account(&mut self) {
        if let Some(traffic) = &mut self.traffic {
            self.batch.marks.iter().for_each(|mark| traffic.add(mark.time, mark.what >> 2));
        }
        for mark in &self.batch.marks {
            let direction = mark.what & 3;
            if direction != Mark::UNKNOWN {
                self.activity.observe(Direction::BOTH[direction as usize & 1], mark.time, mark.frame, mark.what >> 2);
            }
        }
    }
}
