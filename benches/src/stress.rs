//! Traffic that is hard on an analyzer's memory: floods, scans, losses that never end, clocks that make no sense. One point at
//! a time and as a stream, so that any amount of it goes through a pipe.

use std::io::{self, Write};
use std::net::Ipv4Addr;

use crate::packet::{self, ACK, MSS, Page, Path, Payload, SYN, Segment};
use crate::pcap::Capture;
use crate::random::{Random, mix};

/// What to be hard with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stress {
    /// SYNs from addresses and ports that never come twice reach B, and none of them enters the host.
    SynFlood,
    /// A guest sends one datagram to each of very many addresses; all of them leave.
    UdpScan,
    /// One connection at full speed, of which the host loses one segment in twenty; each is sent again.
    OneFlow,
    /// Nothing of what either point sees is seen at the other.
    Unmatched,
    /// A thousand flows, and all packets in the same microsecond.
    OneMicrosecond,
    /// A hundred flows whose clocks jump by years, there and back.
    TimeJumps,
}

/// All of them and their names.
pub const STRESSES: [(&str, Stress); 6] = [
    ("syn-flood", Stress::SynFlood),
    ("udp-scan", Stress::UdpScan),
    ("one-flow", Stress::OneFlow),
    ("unmatched", Stress::Unmatched),
    ("one-microsecond", Stress::OneMicrosecond),
    ("time-jumps", Stress::TimeJumps),
];

/// 2023-11-14 22:13:20 UTC, in microseconds.
const START: u64 = 1_700_000_000_000_000;
/// A jump of the clock: a year, in microseconds.
const YEAR: u64 = 365 * 86_400_000_000;
/// Packets between two jumps.
const CALM: u64 = 1000;
/// Every so many packets a flow that is healthy says something, so that the points have something in common.
const HEALTHY: u64 = 200;

const GUEST: (Ipv4Addr, u16) = (Ipv4Addr::new(192, 168, 122, 10), 40_000);
const OUTER: (Ipv4Addr, u16) = (Ipv4Addr::new(203, 0, 113, 5), 50_000);
const PEER: (Ipv4Addr, u16) = (Ipv4Addr::new(198, 18, 0, 1), 443);
const MACS: [[u8; 12]; 2] =
    [*b"\x52\x54\x00\x11\x22\x33\x52\x54\x00\xaa\x00\x01", *b"\x02\x00\x00\x00\x00\x01\x02\x00\x00\x00\x00\x02"];

/// Writes what one point (0 for A, 1 for B) sees of so many packets. Returns how many it saw.
pub fn stress(kind: Stress, point: usize, packets: u64, out: impl Write) -> io::Result<u64> {
    let mut writer =
        Writer { capture: Capture::new(out)?, point, page: Page::new(&mut Random::new(1)), frame: Vec::new() };
    for number in 0..packets {
        let time = START + number;
        if number % HEALTHY == 0 {
            writer.datagram(time, GUEST.1, PEER, number, 64)?;
            continue;
        }
        let random = mix(number);
        let far = (Ipv4Addr::from(0xc633_0000 | (random as u32 & 0x1_ffff)), (random >> 32) as u16 | 1024);
        match kind {
            Stress::SynFlood if point == 1 => writer.syn(time, far, random as u32)?,
            Stress::UdpScan => writer.datagram(time, GUEST.1 + 1, far, number, 20)?,
            Stress::OneFlow => writer.lossy(time, number)?,
            Stress::Unmatched => {
                let own = number * 2 + point as u64;
                writer.datagram(time, GUEST.1 + 1 + (own % 5000) as u16, PEER, own, 100)?;
            }
            Stress::OneMicrosecond => writer.datagram(START, GUEST.1 + (random % 1000) as u16, PEER, number, 40)?,
            Stress::TimeJumps => {
                let time = time + number / CALM * 7 % 5 * YEAR;
                writer.datagram(time, GUEST.1 + (random % 100) as u16, PEER, number, 40)?;
            }
            Stress::SynFlood => {}
        }
    }
    writer.capture.finish()?;
    Ok(writer.capture.packets)
}

struct Writer<W> {
    capture: Capture<W>,
    point: usize,
    page: Page,
    frame: Vec<u8>,
}

impl<W: Write> Writer<W> {
    /// The way of an outbound packet at this point: from a guest's port, which the host maps to its like.
    fn outbound(&self, port: u16, peer: (Ipv4Addr, u16), id: u64) -> Path {
        let source = if self.point == 0 { (GUEST.0, port) } else { (OUTER.0, port.wrapping_add(OUTER.1 - GUEST.1)) };
        let ttl = if self.point == 0 { 64 } else { 63 };
        Path { macs: MACS[self.point], source, destination: peer, ttl, id: id as u16 | 1, unfinished: false }
    }

    fn write(&mut self, time: u64) -> io::Result<()> {
        // Written as it comes: a clock may go back.
        self.capture.record(time + 10 * self.point as u64, &self.frame)
    }

    fn datagram(&mut self, time: u64, port: u16, peer: (Ipv4Addr, u16), number: u64, length: usize) -> io::Result<()> {
        let path = self.outbound(port, peer, number);
        packet::udp(&mut self.frame, &path, Payload { page: &self.page, number, length, first: None });
        self.write(time)
    }

    fn syn(&mut self, time: u64, from: (Ipv4Addr, u16), seq: u32) -> io::Result<()> {
        let path = Path { source: from, destination: (OUTER.0, 22), ..self.outbound(0, from, u64::from(seq)) };
        let segment = Segment { seq, ack: 0, flags: SYN, millis: 0 };
        packet::tcp(&mut self.frame, &path, segment, std::iter::empty());
        self.write(time)
    }

    /// A segment of the one connection; a lost one comes again after a hundred others.
    fn lossy(&mut self, time: u64, number: u64) -> io::Result<()> {
        let lost = |number: u64| mix(number).is_multiple_of(20);
        let kept = self.point == 0 || !lost(number);
        let mut send = |number: u64, id: u64| {
            let path = self.outbound(GUEST.1, PEER, id);
            let segment = Segment { seq: (number as u32).wrapping_mul(MSS as u32), ack: 1, flags: ACK, millis: 0 };
            let payload = Payload { page: &self.page, number, length: MSS, first: None };
            packet::tcp(&mut self.frame, &path, segment, std::iter::once(payload));
            self.write(time)
        };
        if number > 100 && lost(number - 100) && !(number - 100).is_multiple_of(HEALTHY) {
            send(number - 100, number * 2 + 1)?;
        }
        if kept { send(number, number * 2) } else { Ok(()) }
    }
}
