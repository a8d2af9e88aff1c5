//! Builds frames: Ethernet, IPv4, TCP or UDP, with right checksums at the price of a few additions.

use std::net::Ipv4Addr;

use crate::random::{Random, mix};

/// Payload of a full segment: 1500 bytes less the IPv4 header, the TCP header and its time stamps.
pub(crate) const MSS: usize = 1448;
/// Payload bytes at the front of each segment or datagram that are its own.
const STAMP: usize = 16;

const TCP: u8 = 6;
const UDP: u8 = 17;
const ETHERNET_HEADER: usize = 14;
const IPV4_HEADER: usize = 20;

pub(crate) const FIN: u8 = 0x01;
pub(crate) const SYN: u8 = 0x02;
pub(crate) const PUSH: u8 = 0x08;
pub(crate) const ACK: u8 = 0x10;

/// Random payload that many packets share but for their stamp, so that a checksum is a look-up.
pub(crate) struct Page {
    bytes: Vec<u8>,
    /// `sums[i]`: sum of the 16-bit words of the bytes from `STAMP` to `2 * i`.
    sums: Vec<u32>,
}

impl Page {
    pub(crate) fn new(random: &mut Random) -> Self {
        let bytes: Vec<u8> = (0..MSS).map(|_| random.next() as u8).collect();
        let mut sums = vec![0; MSS / 2 + 1];
        for i in STAMP / 2..MSS / 2 {
            sums[i + 1] = sums[i] + u32::from(u16::from_be_bytes([bytes[2 * i], bytes[2 * i + 1]]));
        }
        Self { bytes, sums }
    }

    /// Sum of the bytes from the stamp's end to `length`.
    fn sum(&self, length: usize) -> u32 {
        if length <= STAMP {
            return 0;
        }
        let odd = if length % 2 == 1 { u32::from(self.bytes[length - 1]) << 8 } else { 0 };
        self.sums[length / 2] + odd
    }
}

/// The bytes of one segment or datagram: a page, and what makes it differ from its like.
#[derive(Clone, Copy)]
pub(crate) struct Payload<'a> {
    pub(crate) page: &'a Page,
    /// The same number gives the same bytes: a retransmission equals its original.
    pub(crate) number: u64,
    pub(crate) length: usize,
    /// The first byte, where the protocol says what it is.
    pub(crate) first: Option<u8>,
}

impl Payload<'_> {
    /// Appends the bytes, and returns the sum of their words.
    fn append(&self, frame: &mut Vec<u8>) -> u32 {
        let mut stamp = [0; STAMP];
        stamp[..8].copy_from_slice(&mix(self.number).to_be_bytes());
        stamp[8..].copy_from_slice(&mix(!self.number).to_be_bytes());
        if let Some(first) = self.first {
            stamp[0] = first;
        }
        let own = self.length.min(STAMP);
        frame.extend_from_slice(&stamp[..own]);
        frame.extend_from_slice(&self.page.bytes[own..self.length]);
        words(&stamp[..own]) + self.page.sum(self.length)
    }
}

/// Where a packet is seen and what it is called there.
#[derive(Clone, Copy)]
pub(crate) struct Path {
    pub(crate) macs: [u8; 12],
    pub(crate) source: (Ipv4Addr, u16),
    pub(crate) destination: (Ipv4Addr, u16),
    pub(crate) ttl: u8,
    pub(crate) id: u16,
    /// The checksum is left to a network card that has not seen the packet yet: the field holds the sum of the
    /// pseudo-header, and one packet may hold what will be many segments.
    pub(crate) unfinished: bool,
}

/// The TCP header's variable part.
#[derive(Clone, Copy)]
pub(crate) struct Segment {
    pub(crate) seq: u32,
    pub(crate) ack: u32,
    pub(crate) flags: u8,
    /// The clock of the time stamp option, in milliseconds.
    pub(crate) millis: u32,
}

/// Builds a TCP packet in `frame`. More payloads than one make a superframe.
pub(crate) fn tcp<'a>(frame: &mut Vec<u8>, path: &Path, segment: Segment, payloads: impl Iterator<Item = Payload<'a>>) {
    let mut header = [0_u8; 40];
    let opens = segment.flags & SYN != 0;
    let length = if opens { 40 } else { 32 };
    header[4..8].copy_from_slice(&segment.seq.to_be_bytes());
    header[8..12].copy_from_slice(&segment.ack.to_be_bytes());
    header[12] = (length as u8 / 4) << 4;
    header[13] = segment.flags;
    header[14..16].copy_from_slice(&501_u16.to_be_bytes());
    let stamps = if opens {
        // MSS 1460, SACK permitted, time stamps, no-operation, window scale 7: Linux's order.
        header[20..24].copy_from_slice(&[2, 4, 0x05, 0xb4]);
        header[24..28].copy_from_slice(&[4, 2, 8, 10]);
        header[36..40].copy_from_slice(&[1, 3, 3, 7]);
        28
    } else {
        header[20..24].copy_from_slice(&[1, 1, 8, 10]);
        24
    };
    header[stamps..stamps + 4].copy_from_slice(&segment.millis.to_be_bytes());
    let echo = if segment.flags == SYN { 0 } else { segment.millis.wrapping_sub(20) };
    header[stamps + 4..stamps + 8].copy_from_slice(&echo.to_be_bytes());
    build(frame, path, TCP, &mut header[..length], 16, payloads);
}

/// Builds a UDP datagram in `frame`.
pub(crate) fn udp(frame: &mut Vec<u8>, path: &Path, payload: Payload<'_>) {
    let mut header = [0_u8; 8];
    header[4..6].copy_from_slice(&((8 + payload.length) as u16).to_be_bytes());
    build(frame, path, UDP, &mut header, 6, std::iter::once(payload));
}

fn build<'a>(
    frame: &mut Vec<u8>,
    path: &Path,
    protocol: u8,
    header: &mut [u8],
    checksum_at: usize,
    payloads: impl Iterator<Item = Payload<'a>>,
) {
    header[0..2].copy_from_slice(&path.source.1.to_be_bytes());
    header[2..4].copy_from_slice(&path.destination.1.to_be_bytes());

    frame.clear();
    frame.extend_from_slice(&path.macs);
    frame.extend_from_slice(&[0x08, 0x00]);
    frame.extend_from_slice(&[0; IPV4_HEADER]);
    let transport = frame.len();
    frame.extend_from_slice(header);
    let mut sum = words(header);
    for payload in payloads {
        // Segments of a superframe have an even length but for the last one, so their sums add up.
        sum = fold(sum + payload.append(frame));
    }

    let length = frame.len() - transport;
    let ip = &mut frame[ETHERNET_HEADER..transport];
    ip[0] = 0x45;
    ip[2..4].copy_from_slice(&((IPV4_HEADER + length) as u16).to_be_bytes());
    ip[4..6].copy_from_slice(&path.id.to_be_bytes());
    // Don't fragment.
    ip[6] = 0x40;
    ip[8] = path.ttl;
    ip[9] = protocol;
    ip[12..16].copy_from_slice(&path.source.0.octets());
    ip[16..20].copy_from_slice(&path.destination.0.octets());
    let pseudo = words(&ip[12..20]) + u32::from(protocol) + length as u32;
    let header_sum = !(fold(words(ip)) as u16);
    ip[10..12].copy_from_slice(&header_sum.to_be_bytes());

    let checksum = if path.unfinished {
        fold(pseudo) as u16
    } else {
        // Zero would say that a datagram has no checksum.
        match !(fold(sum + pseudo) as u16) {
            0 if protocol == UDP => 0xffff,
            checksum => checksum,
        }
    };
    frame[transport + checksum_at..transport + checksum_at + 2].copy_from_slice(&checksum.to_be_bytes());
}

/// Sum of the 16-bit words of `bytes`.
fn words(bytes: &[u8]) -> u32 {
    let mut chunks = bytes.chunks_exact(2);
    let sum: u32 = chunks.by_ref().map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    sum + chunks.remainder().first().map_or(0, |last| u32::from(*last) << 8)
}

/// Adds the carries in.
fn fold(mut sum: u32) -> u32 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum
}
