//! Packets as bytes: Ethernet, IPv4, TCP, UDP and ICMP, into a pcap file in memory.

use std::net::Ipv4Addr;

pub(crate) const FIN: u8 = 1;
pub(crate) const SYN: u8 = 2;
pub(crate) const RST: u8 = 4;
pub(crate) const ACK: u8 = 16;
/// Bytes of payload in a full segment.
pub(crate) const MSS: u64 = 1448;

/// An address and a port.
pub(crate) type End = (Ipv4Addr, u16);

/// A packet on its way.
#[derive(Clone, Debug)]
pub(crate) struct Packet {
    /// Number of the flow that it belongs to; of use to the simulation only.
    pub(crate) flow: usize,
    pub(crate) outbound: bool,
    pub(crate) source: End,
    pub(crate) target: End,
    pub(crate) id: u16,
    pub(crate) ttl: u8,
    pub(crate) tos: u8,
    /// Its checksum is left to the network card.
    pub(crate) partial: bool,
    /// A byte of it was changed on the way.
    pub(crate) damaged: bool,
    pub(crate) body: Body,
}

/// What follows the IP header.
#[derive(Clone, Debug)]
pub(crate) enum Body {
    Tcp { seq: u32, ack: u32, flags: u8, length: u64, window: u16, mss: Option<u16> },
    Udp(Vec<u8>),
    Echo { reply: bool, number: u16 },
    Error { kind: u8, code: u8, mtu: u16, quote: Box<Packet> },
}

impl Packet {
    /// Bytes of the IP packet.
    pub(crate) fn ip_length(&self) -> u64 {
        20 + match &self.body {
            Body::Tcp { length, mss, .. } => 20 + 4 * u64::from(mss.is_some()) + length,
            Body::Udp(payload) => 8 + payload.len() as u64,
            Body::Echo { .. } => 64,
            Body::Error { quote, .. } => 8 + quote.ip_length().min(QUOTED),
        }
    }

    /// The segments of a superframe; the packet itself if it is none.
    pub(crate) fn segments(self) -> Vec<Self> {
        let Body::Tcp { seq, ack, flags, length, window, mss } = self.body else { return vec![self] };
        if length <= MSS {
            return vec![self];
        }
        let pieces = length.div_ceil(MSS);
        let piece = |n: u64| Self {
            id: self.id.wrapping_add(n as u16),
            partial: false,
            body: Body::Tcp {
                seq: seq.wrapping_add((n * MSS) as u32),
                ack,
                flags: if n + 1 == pieces { flags } else { flags & !FIN },
                length: MSS.min(length - n * MSS),
                window,
                mss,
            },
            ..self.clone()
        };
        (0..pieces).map(piece).collect()
    }

    /// The IP packet.
    fn ip(&self) -> Vec<u8> {
        let (protocol, mut body, at) = match &self.body {
            Body::Tcp { seq, ack, flags, length, window, mss } => {
                (6, self.tcp(*seq, *ack, *flags, *length, *window, *mss), 16)
            }
            Body::Udp(payload) => {
                let mut body = Vec::with_capacity(8 + payload.len());
                for field in [self.source.1, self.target.1, 8 + payload.len() as u16, 0] {
                    body.extend(field.to_be_bytes());
                }
                body.extend(payload);
                (17, body, 6)
            }
            Body::Echo { reply, number } => {
                let mut body = vec![if *reply { 0 } else { 8 }, 0, 0, 0];
                body.extend((self.flow as u16).to_be_bytes());
                body.extend(number.to_be_bytes());
                fill(&mut body, (self.flow as u64) << 32 | u64::from(*number) << 8, 0, 56);
                (1, body, 2)
            }
            Body::Error { kind, code, mtu, quote } => {
                let mut body = vec![*kind, *code, 0, 0, 0, 0];
                body.extend(mtu.to_be_bytes());
                let quoted = quote.ip();
                body.extend(&quoted[..quoted.len().min(QUOTED as usize)]);
                (1, body, 2)
            }
        };
        let mut ip = vec![0x45, self.tos];
        ip.extend((20 + body.len() as u16).to_be_bytes());
        ip.extend(self.id.to_be_bytes());
        ip.extend([0x40, 0, self.ttl, protocol, 0, 0]);
        ip.extend(self.source.0.octets());
        ip.extend(self.target.0.octets());
        let header_sum = !fold(words(&ip));
        ip[10..12].copy_from_slice(&header_sum.to_be_bytes());
        let pseudo = if protocol == 1 { 0 } else { words(&ip[12..20]) + u64::from(protocol) + body.len() as u64 };
        let sum = if self.partial { fold(pseudo) } else { !fold(pseudo + words(&body)) };
        body[at..at + 2].copy_from_slice(&sum.to_be_bytes());
        if let (true, Some(last)) = (self.damaged, body.last_mut()) {
            *last ^= 0x10;
        }
        ip.extend(body);
        ip
    }

    fn tcp(&self, seq: u32, ack: u32, flags: u8, length: u64, window: u16, mss: Option<u16>) -> Vec<u8> {
        let mut body = Vec::with_capacity(24 + length as usize);
        body.extend(self.source.1.to_be_bytes());
        body.extend(self.target.1.to_be_bytes());
        body.extend(seq.to_be_bytes());
        body.extend(ack.to_be_bytes());
        body.extend([if mss.is_some() { 0x60 } else { 0x50 }, flags]);
        body.extend(window.to_be_bytes());
        body.extend([0; 4]);
        if let Some(mss) = mss {
            body.extend([2, 4]);
            body.extend(mss.to_be_bytes());
        }
        fill(&mut body, (self.flow as u64) << 33 | u64::from(self.outbound) << 32, u64::from(seq), length);
        body
    }
}

/// Bytes of a packet that an ICMP error quotes, at most (RFC 1812: 576 bytes in all).
const QUOTED: u64 = 548;

/// Bytes of a stream from an offset on: the same bytes have the same content, however they are cut.
fn fill(body: &mut Vec<u8>, stream: u64, offset: u64, length: u64) {
    let mut at = offset;
    while at < offset + length {
        let word = mix(stream.wrapping_add(at / 8 * 0x9e37)).to_le_bytes();
        let upto = (offset + length - at).min(8 - at % 8);
        body.extend(&word[(at % 8) as usize..(at % 8 + upto) as usize]);
        at += upto;
    }
}

fn words(bytes: &[u8]) -> u64 {
    bytes.chunks(2).map(|pair| u64::from(pair[0]) << 8 | u64::from(*pair.get(1).unwrap_or(&0))).sum()
}

fn fold(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

/// A number that looks random and depends on `value` alone (SplitMix64: Steele, Lea and Flood, 2014).
pub(crate) fn mix(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

/// Random numbers that are the same everywhere.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        ((u128::from(mix(self.0)) * u128::from(bound)) >> 64) as u64
    }

    /// Whether something happens that does so in a share of all cases.
    pub(crate) fn happens(&mut self, share: f64) -> bool {
        share > 0.0 && (self.below(1 << 32) as f64) < share * (1_u64 << 32) as f64
    }

    pub(crate) fn bytes(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(length);
        fill(&mut bytes, self.below(u64::MAX), 0, length as u64);
        bytes
    }
}

/// A capture that is being written, with nanoseconds.
pub(crate) struct Capture {
    pub(crate) bytes: Vec<u8>,
    macs: [[u8; 6]; 2],
    /// Seconds that the clock is ahead, and parts in a million that it runs fast.
    clock: (f64, f64),
}

impl Capture {
    /// `macs` are those of the inner and of the outer neighbour on this link.
    pub(crate) fn new(macs: [[u8; 6]; 2], clock: (f64, f64)) -> Self {
        let mut bytes = Vec::new();
        for word in [0xa1b2_3c4d_u32, 0x0004_0002, 0, 0, 262_144, 1] {
            bytes.extend(word.to_le_bytes());
        }
        Self { bytes, macs, clock }
    }

    /// Records a packet at a time in microseconds.
    pub(crate) fn record(&mut self, time: u64, packet: &Packet) {
        let ip = packet.ip();
        let ahead = self.clock.0 * 1e9 + time as f64 * 1000.0 * self.clock.1 / 1e6;
        let nanos = (START * 1_000_000_000 + time * 1000).wrapping_add_signed(ahead as i64);
        let length = 14 + ip.len() as u32;
        for word in [(nanos / 1_000_000_000) as u32, (nanos % 1_000_000_000) as u32, length, length] {
            self.bytes.extend(word.to_le_bytes());
        }
        let (to, from) = if packet.outbound { (1, 0) } else { (0, 1) };
        self.bytes.extend(self.macs[to]);
        self.bytes.extend(self.macs[from]);
        self.bytes.extend([0x08, 0x00]);
        self.bytes.extend(ip);
    }
}

/// 2023-11-14 22:13:20 UTC, in seconds.
const START: u64 = 1_700_000_000;
