//! The flow around a fault as a ladder: each packet with its time at either point, for a time-sequence diagram.
//!
//! Read from the captures a second time, but only a stretch of each: where the captures are files that can be read on
//! from a mark, it costs the same for any size. What one point has and the other has not is told by the packets
//! themselves, since NAT and offload leave sequence numbers, identifications and lengths alone or in proportion.

use super::{Open, Trace};
use crate::capture::{CaptureSet, Next};
use crate::error::Error;
use crate::options::pool;
use crate::packet::row::{bits, tcp_flags};
use crate::packet::{Decoder, FlowKey, Kind, Row};
use crate::point::{Direction, Point};
use crate::report::{Evidence, Finding, FlowName, Severity};
use crate::seq;
use crate::time::{MILLISECOND, SECOND, Time};
use rayon::prelude::*;
use std::collections::VecDeque;

/// Findings that get a ladder: the worst, as far as anybody will look.
const MOST_LADDERS: usize = 12;
/// Packets before the fault and after it, at the point that shows it.
const BEFORE: usize = 8;
const AFTER: usize = 12;
/// Packets at the other point in the same time and around it: a superframe is up to 45 segments there.
const MOST_THERE: usize = 1000;
/// Frames read in search of the packets before the fault.
const LEAD: u32 = 2000;
/// Frames read of one point, and their bytes: a few milliseconds.
const MOST_READ: u32 = 60_000;
const MOST_BYTES: usize = 32 << 20;
/// A packet may wait in the host: its copy is looked for in twice the longest delay that was seen, within these bounds.
const SLACK: (i64, i64) = (5 * MILLISECOND, 3 * SECOND);
/// Packets before and after those shown whose copies may be among what is shown of the other point.
const BEYOND: usize = 400;
/// Silence of a flow after which the rest is another story.
const PATIENCE: i64 = 300 * SECOND;

/// The packets of one flow around a fault, in order of time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ladder {
    /// The flow.
    pub flow: FlowName,
    /// Its packets.
    pub rungs: Vec<Rung>,
}

/// One packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rung {
    /// Which way it went.
    pub direction: Direction,
    /// Frame and time on A's clock, by point; none where it was not seen.
    pub seen: [Option<(u32, Time)>; 2],
    /// What it is.
    pub label: String,
    /// What the finding says of it.
    pub note: String,
}

/// A packet at one point.
#[derive(Clone, Debug)]
struct Step {
    time: Time,
    row: Row,
    direction: Direction,
}

/// The ladder of each finding; none where the captures cannot be read again cheaply, or the finding is of no flow. Findings
/// share so many threads, as in [`Options::threads`](crate::Options::threads).
pub fn ladders(
    findings: &[Finding],
    trace: &Trace,
    open: &Open<'_>,
    threads: usize,
) -> Result<Vec<Option<Ladder>>, Error> {
    let worth = |(number, finding): (usize, &Finding)| (finding.severity != Severity::Info).then_some(number);
    let drawn: Vec<usize> = findings.iter().enumerate().filter_map(worth).take(MOST_LADDERS).collect();
    let one = |(number, finding): (usize, &Finding)| {
        if !drawn.contains(&number) {
            return None;
        }
        // A frame whose flow both captures show says most.
        let whole = |ladder: &Ladder| ladder.rungs.iter().any(|rung| rung.seen.iter().all(Option::is_some));
        let mut tried = finding.evidence.iter().take(2).filter_map(|cited| ladder(finding, cited, trace, open));
        let first = tried.next()?;
        if whole(&first) { Some(first) } else { tried.find(whole).or(Some(first)) }
    };
    Ok(pool(threads)?.install(|| findings.par_iter().enumerate().map(one).collect()))
}

fn ladder(finding: &Finding, cited: &Evidence, trace: &Trace, open: &Open<'_>) -> Option<Ladder> {
    let (here, there) = (cited.point, cited.point.other());
    let frame = trace.number(cited);
    let slack = slack(trace);
    let (key, own, shown) = around(trace, open, here, frame, slack)?;
    let flow = trace.flows.iter().filter(|flow| flow.keys[here.index()] == Some(key));
    let at = |flow: &&super::FlowStats| flow.first() <= Some(cited.time) && flow.last() >= Some(cited.time);
    let flow = flow.clone().find(at).or_else(|| flow.clone().next())?;
    let own: Vec<Step> = own.into_iter().map(|row| step(trace, here, flow, row)).collect();
    let (from, to) = (own.get(shown.0)?.time, own.get(shown.1)?.time);
    let (other, reached) = match flow.keys[there.index()] {
        Some(key) => between(trace, open, there, key, (from, to), slack)?,
        None => (Vec::new(), to),
    };
    let to = to.min(reached);
    let other = other.into_iter().map(|row| step(trace, there, flow, row)).collect();
    let mut sides = if here == Point::A { [own, other] } else { [other, own] };
    let mut rungs = pair(&mut sides);
    rungs.retain(|rung| {
        let own = rung.seen[here.index()].map(|(_, time)| time);
        own.or(Some(time(rung))).is_some_and(|time| (from..=to).contains(&time))
    });
    let cited = |rung: &Rung| rung.seen[here.index()].is_some_and(|(number, _)| number == frame);
    if !rungs.iter().any(cited) {
        return None;
    }
    for rung in &mut rungs {
        let cites =
            |cited: &&Evidence| rung.seen[cited.point.index()].is_some_and(|(frame, _)| frame == trace.number(cited));
        rung.note = finding.evidence.iter().find(cites).map(|cited| cited.note.clone()).unwrap_or_default();
    }
    Some(Ladder { flow: flow.name(), rungs })
}

/// How long after it entered a packet may still leave.
fn slack(trace: &Trace) -> i64 {
    let longest = trace.charts.delay_times.iter().flatten().map(|(.., longest)| *longest).max().unwrap_or(0);
    longest.saturating_mul(2).clamp(SLACK.0, SLACK.1)
}

/// When a packet was first seen.
fn time(rung: &Rung) -> Time {
    rung.seen.iter().flatten().map(|(_, time)| *time).min().unwrap_or_default()
}

fn step(trace: &Trace, point: Point, flow: &super::FlowStats, row: Row) -> Step {
    let outbound = row.has(bits::FROM_HIGH) == flow.inside_is_high[point.index()];
    let direction = if outbound { Direction::Outbound } else { Direction::Inbound };
    Step { time: trace.clock.to_a(point, row.time), row, direction }
}

/// Reads a stretch of a capture until there is enough; whether it came to the end of the capture.
fn stretch(mut reader: CaptureSet, mut more: impl FnMut(Row, FlowKey) -> bool) -> bool {
    let mut decoder = Decoder::default();
    let mut details = Vec::new();
    let (mut read, mut bytes) = (0, 0);
    while read < MOST_READ && bytes < MOST_BYTES {
        if let Next::Record(record) = reader.next(i64::MAX) {
            details.clear();
            (read, bytes) = (read + 1, bytes + record.data.len());
            let (row, key) = decoder.decode(&record, &mut details);
            if !more(row, key) {
                return false;
            }
        } else if !reader.turn(i64::MAX) {
            return true;
        }
    }
    false
}

/// The flow of a frame, its packets around it, and the first and last of them that are to be shown.
fn around(
    trace: &Trace,
    open: &Open<'_>,
    point: Point,
    frame: u32,
    slack: i64,
) -> Option<(FlowKey, Vec<Row>, (usize, usize))> {
    let mark = trace.marks[point.index()].before_frame(frame, LEAD);
    if frame - mark.map_or(0, |mark| mark.frame) > MOST_READ {
        return None;
    }
    let mut reader = open(point).ok()?.undo(trace.steps[point.index()].clone());
    if mark.is_some_and(|mark| !reader.skip_to(mark)) {
        return None;
    }
    let mut before: VecDeque<(Row, FlowKey)> = VecDeque::new();
    let mut found: Option<(FlowKey, Vec<Row>)> = None;
    let (mut shown, mut left) = ((0, 0), BEYOND);
    stretch(reader, |row, key| {
        if let Some((of, rows)) = &mut found {
            let last = rows.get(shown.1).map_or(row.time, |row| row.time);
            let enough = BEYOND - left >= AFTER;
            if key == *of {
                shown.1 = if enough { shown.1 } else { rows.len() };
                rows.push(row);
                left -= 1;
            }
            let patience = if enough { slack } else { PATIENCE };
            return left > 0 && row.time.saturating_sub(last) < patience;
        }
        if row.frame == frame {
            let mut rows: Vec<Row> = before.iter().filter(|known| known.1 == key).map(|known| known.0).collect();
            rows.drain(..rows.len().saturating_sub(BEYOND));
            shown = (rows.len().saturating_sub(BEFORE), rows.len());
            rows.push(row);
            found = Some((key, rows));
        } else {
            if before.len() == LEAD as usize {
                before.pop_front();
            }
            before.push_back((row, key));
        }
        row.frame <= frame
    });
    found.map(|(key, rows)| (key, rows, shown))
}

/// The packets of a flow between two times of A's clock and a little around them, and up to which time they are all; none
/// if they could not be reached.
fn between(
    trace: &Trace,
    open: &Open<'_>,
    point: Point,
    key: FlowKey,
    (from, to): (Time, Time),
    slack: i64,
) -> Option<(Vec<Row>, Time)> {
    let own = |time: Time, slack: i64| trace.clock.from_a(point, Time(time.0.saturating_add(slack)));
    let (from, to) = (own(from, -slack), own(to, slack));
    let mut reader = open(point).ok()?.undo(trace.steps[point.index()].clone());
    // Marks bear the times that the clock showed.
    if trace.steps[point.index()].is_empty()
        && let Some(mark) = trace.marks[point.index()].before_time(from)
        && !reader.skip_to(mark)
    {
        return None;
    }
    let (mut rows, mut last) = (Vec::new(), i64::MIN);
    let ended = stretch(reader, |row, of| {
        last = last.max(row.time);
        if of == key && (from..=to).contains(&row.time) {
            rows.push(row);
        }
        row.time <= to && rows.len() < MOST_THERE
    });
    let reached = if last >= to { Time(i64::MAX) } else { Time(trace.clock.to_a(point, last).0.saturating_sub(slack)) };
    // The end of the capture is no reason to doubt.
    Some((rows, if ended { Time(i64::MAX) } else { reached }))
}

/// Pairs the packets of both points, in order.
fn pair(sides: &mut [Vec<Step>; 2]) -> Vec<Rung> {
    let [a, b] = sides;
    let mut taken = vec![false; b.len()];
    let mut rungs = Vec::new();
    let origin: [Option<u32>; 2] = Direction::BOTH.map(|direction| {
        let tcp = a.iter().chain(b.iter()).filter(|step| step.direction == direction && step.row.kind == Kind::Tcp);
        tcp.map(|step| step.row.seq).reduce(|one, other| if seq::before(other, one) { other } else { one })
    });
    for step in a.iter() {
        let mut seen = |number: usize, taken: &mut [bool]| {
            taken[number] = true;
            let other = &b[number];
            rungs.push(rung(step, [Some(step), Some(other)], origin));
        };
        let free = |number: &usize| b[*number].direction == step.direction;
        let same = (0..b.len()).filter(free).find(|&number| !taken[number] && same(&step.row, &b[number].row));
        if let Some(number) = same {
            seen(number, &mut taken);
            continue;
        }
        let parts: Vec<usize> =
            (0..b.len()).filter(free).filter(|&number| overlap(&step.row, &b[number].row)).collect();
        let parts: Vec<usize> =
            parts.into_iter().filter(|&number| !taken[number] || larger(&b[number].row, &step.row)).collect();
        for &number in &parts {
            seen(number, &mut taken);
        }
        if parts.is_empty() {
            rungs.push(rung(step, [Some(step), None], origin));
        }
    }
    for (step, taken) in b.iter().zip(taken) {
        if !taken {
            rungs.push(rung(step, [None, Some(step)], origin));
        }
    }
    rungs.sort_by_key(|rung| (time(rung), rung.seen.map(|seen| seen.map(|(frame, _)| frame))));
    rungs
}

fn rung(step: &Step, sides: [Option<&Step>; 2], origin: [Option<u32>; 2]) -> Rung {
    // Of a superframe and its segment, the segment is what travels further.
    let shortest = sides.into_iter().flatten().min_by_key(|side| side.row.len).unwrap_or(step);
    Rung {
        direction: step.direction,
        seen: sides.map(|side| side.map(|side| (side.row.frame, side.time))),
        label: label(&shortest.row, step.direction, origin),
        note: String::new(),
    }
}

/// Whether two rows are copies of one packet.
fn same(one: &Row, other: &Row) -> bool {
    let whole = |row: &Row| (row.kind, row.flags, row.seq, row.ack, row.len);
    let told_apart = one.ip_id != 0 && other.ip_id != 0 && one.kind != Kind::Tcp && one.ip_id != other.ip_id;
    let differs = one.sum != 0 && other.sum != 0 && one.sum != other.sum;
    whole(one) == whole(other) && !told_apart && !differs
}

/// Whether two segments share bytes, one of them being a superframe.
fn overlap(one: &Row, other: &Row) -> bool {
    let end = |row: &Row| row.seq.wrapping_add(row.len);
    one.kind == Kind::Tcp
        && other.kind == Kind::Tcp
        && one.len.min(other.len) > 0
        && one.len != other.len
        && seq::before(one.seq, end(other))
        && seq::before(other.seq, end(one))
}

fn larger(one: &Row, other: &Row) -> bool {
    one.len > other.len
}

/// A packet in a few words.
fn label(row: &Row, direction: Direction, origin: [Option<u32>; 2]) -> String {
    let relative =
        |direction: Direction, number: u32| origin[direction.index()].map(|first| number.wrapping_sub(first));
    match row.kind {
        Kind::Tcp => {
            let names = [(tcp_flags::SYN, "SYN"), (tcp_flags::FIN, "FIN"), (tcp_flags::RST, "RST")];
            let mut parts: Vec<String> =
                names.iter().filter(|(flag, _)| row.is(*flag)).map(|(_, name)| (*name).to_owned()).collect();
            if row.len > 0 {
                parts.push(format!("{} bytes", row.len));
            }
            if row.len > 0 || row.is(tcp_flags::RST) {
                parts.extend(relative(direction, row.seq).map(|seq| format!("seq {seq}")));
            }
            if row.is(tcp_flags::ACK) {
                // Older than what is shown, it says nothing.
                let ack = relative(direction.reverse(), row.ack).filter(|ack| *ack < 1 << 31);
                parts.push(ack.map_or_else(|| "ACK".to_owned(), |ack| format!("ACK {ack}")));
            }
            parts.join(" ")
        }
        Kind::Udp if row.has(bits::QUIC_LONG) => format!("QUIC long header, {} bytes", row.len),
        Kind::Udp => format!("UDP, {} bytes", row.len),
        Kind::IcmpEcho => {
            let what = if row.has(bits::REPLY) { "reply" } else { "request" };
            format!("echo {what} {}, {} bytes", row.seq & 0xffff, row.len)
        }
        Kind::IcmpError if row.ack != 0 => {
            format!("ICMP {}/{}, MTU {}", row.window >> 8, row.window & 0xff, row.ack)
        }
        Kind::IcmpError | Kind::IcmpOther => format!("ICMP {}/{}", row.window >> 8, row.window & 0xff),
        Kind::Fragment => format!("fragment at byte {}, {} bytes", row.seq, row.len),
        Kind::Ip => format!("IP protocol {}, {} bytes", row.protocol, row.len),
        Kind::Arp => if row.has(bits::REPLY) { "ARP reply" } else { "ARP request" }.to_owned(),
        Kind::Link => format!("frame, {} bytes", row.wirelen),
    }
}
