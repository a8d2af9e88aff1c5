//! A second reader of captures, as plain as can be: Ethernet, IPv4, TCP, UDP and ICMP, one frame at a time. What the
//! library says of frames is checked against it.

use crate::case::Case;
use pcap_file::pcap::PcapReader;
use std::fs::File;
use std::net::Ipv4Addr;

/// The flags of a TCP segment that opens a connection.
pub(crate) const SYN: u8 = 2;
/// The flag of one that resets it.
pub(crate) const RST: u8 = 4;

/// What stands in a frame.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    pub(crate) number: u64,
    /// Nanoseconds, in the clock of the point.
    pub(crate) time: i64,
    pub(crate) source: (Ipv4Addr, u16),
    pub(crate) target: (Ipv4Addr, u16),
    pub(crate) protocol: u8,
    pub(crate) ttl: u8,
    pub(crate) ip_id: u16,
    pub(crate) ip_len: u64,
    pub(crate) seq: u32,
    pub(crate) ack: u32,
    pub(crate) tcp_flags: u8,
    pub(crate) tos: u8,
    /// Of TCP: the window as it stands there, and the options.
    pub(crate) window: u16,
    pub(crate) options: Vec<u8>,
    /// Bytes of payload on the wire.
    pub(crate) payload_len: u64,
    /// Payload, as far as it was captured.
    pub(crate) payload: Vec<u8>,
    /// The IP packet from its header on, as far as it was captured.
    ip: Vec<u8>,
    /// ICMP: type, code, and the MTU of the next link.
    pub(crate) icmp: Option<(u8, u8, u64)>,
}

impl Frame {
    /// What stays the same when the inside endpoint is translated; `outbound` says which of the two that is.
    pub(crate) fn identity(&self, outbound: bool) -> (u8, (Ipv4Addr, u16), u16, u32, u32, u64, Vec<u8>) {
        let peer = if outbound { self.target } else { self.source };
        let shown = self.payload[..self.payload.len().min(32)].to_vec();
        (self.protocol, peer, self.ip_id, self.seq, self.ack, self.payload_len, shown)
    }

    /// Whether the checksum of TCP or UDP is only that of the pseudo-header, which a card would complete.
    pub(crate) fn checksum_partial(&self) -> bool {
        let header = usize::from(self.ip[0] & 15) * 4;
        let at = header + if self.protocol == 6 { 16 } else { 6 };
        let words = self.ip[12..20].chunks(2).map(|word| u32::from(word[0]) << 8 | u32::from(word[1]));
        let mut sum = words.sum::<u32>() + u32::from(self.protocol) + self.ip_len as u32 - header as u32;
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        matches!(self.protocol, 6 | 17) && self.ip.get(at..at + 2) == Some(&(sum as u16).to_be_bytes())
    }

    /// The options of a SYN by kind, with the value of each.
    pub(crate) fn option(&self, kind: u8) -> Option<&[u8]> {
        let mut rest = &self.options[..];
        while let [first, tail @ ..] = rest {
            match *first {
                0 => return None,
                1 => rest = tail,
                found => {
                    let length = usize::from(*tail.first()?);
                    if found == kind {
                        return rest.get(2..length);
                    }
                    rest = rest.get(length..)?;
                }
            }
        }
        None
    }

    /// Whether the checksum of TCP or UDP is that of the bytes: `None` when the packet was cut.
    pub(crate) fn checksum_right(&self) -> Option<bool> {
        let header = usize::from(self.ip[0] & 15) * 4;
        let length = self.ip_len as u32 - header as u32;
        if self.ip.len() as u64 != self.ip_len {
            return None;
        }
        let body = self.ip[header..].chunks(2);
        let words = body
            .chain(self.ip[12..20].chunks(2))
            .map(|word| u32::from(word[0]) << 8 | u32::from(word.get(1).copied().unwrap_or(0)));
        let mut sum = words.sum::<u32>() + u32::from(self.protocol) + length;
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        Some(sum == 0xffff)
    }

    /// The connection, seen from the sender.
    pub(crate) fn flow(&self) -> (u8, (Ipv4Addr, u16), (Ipv4Addr, u16)) {
        (self.protocol, self.source, self.target)
    }
}

/// A frame as it stands in the file.
pub(crate) struct Raw {
    pub(crate) number: u64,
    /// Nanoseconds, in the clock of the point.
    pub(crate) time: i64,
    pub(crate) data: Vec<u8>,
}

impl Raw {
    /// EtherType, or the length of an IEEE 802.3 frame.
    pub(crate) fn ether_type(&self) -> u16 {
        u16::from_be_bytes([self.data[12], self.data[13]])
    }

    /// Whether it goes to a group.
    pub(crate) fn to_group(&self) -> bool {
        self.data[0] & 1 == 1
    }

    /// Its source MAC as text.
    pub(crate) fn source(&self) -> String {
        mac(&self.data[6..12])
    }
}

/// A MAC as text.
pub(crate) fn mac(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(":")
}

/// All frames of a case's capture at A (0) or B (1).
pub(crate) fn raw(case: &Case, point: usize) -> Vec<Raw> {
    let file = File::open(case.input(point)).expect("the capture can be opened");
    let mut reader = PcapReader::new(file).expect("a pcap file");
    let mut frames = Vec::new();
    while let Some(packet) = reader.next_packet() {
        let packet = packet.expect("a whole record");
        let (number, time) = (frames.len() as u64 + 1, packet.timestamp().as_nanos() as i64);
        frames.push(Raw { number, time, data: packet.data().to_vec() });
    }
    frames
}

/// The IPv4 frames of a case's capture at A (0) or B (1), by number.
pub(crate) fn read(case: &Case, point: usize) -> Vec<Frame> {
    raw(case, point).iter().filter_map(|frame| parse(frame.number, frame.time, &frame.data)).collect()
}

/// The frame of a number.
pub(crate) fn numbered(frames: &[Frame], number: u64) -> &Frame {
    frames.iter().find(|frame| frame.number == number).unwrap_or_else(|| panic!("frame {number} is no IPv4"))
}

fn parse(number: u64, time: i64, data: &[u8]) -> Option<Frame> {
    let short = |bytes: &[u8], at: usize| Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?));
    let long = |bytes: &[u8], at: usize| Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    if short(data, 12)? != 0x0800 {
        return None;
    }
    let ip = &data[14..];
    let header = usize::from(ip.first()? & 15) * 4;
    let ip_len = u64::from(short(ip, 2)?);
    let address = |at: usize| Some(Ipv4Addr::from(long(ip, at)?));
    let (source, target) = (address(12)?, address(16)?);
    let body = ip.get(header..ip.len().min(ip_len as usize))?;
    let mut frame = Frame {
        number,
        time,
        source: (source, 0),
        target: (target, 0),
        protocol: ip[9],
        ttl: ip[8],
        ip_id: short(ip, 4)?,
        ip_len,
        seq: 0,
        ack: 0,
        tcp_flags: 0,
        tos: ip[1],
        window: 0,
        options: Vec::new(),
        payload_len: ip_len - header as u64,
        payload: body.to_vec(),
        ip: ip[..header + body.len()].to_vec(),
        icmp: None,
    };
    let mut skip = 0;
    match frame.protocol {
        6 => {
            (frame.seq, frame.ack) = (long(body, 4)?, long(body, 8)?);
            frame.tcp_flags = *body.get(13)?;
            skip = usize::from(body[12] >> 4) * 4;
            frame.window = short(body, 14)?;
            frame.options = body.get(20..skip).unwrap_or_default().to_vec();
        }
        17 => skip = 8,
        1 => frame.icmp = Some((*body.first()?, *body.get(1)?, u64::from(short(body, 6)?))),
        _ => {}
    }
    if skip > 0 {
        (frame.source.1, frame.target.1) = (short(body, 0)?, short(body, 2)?);
        frame.payload_len = frame.payload_len.saturating_sub(skip as u64);
        frame.payload = body.get(skip..).unwrap_or_default().to_vec();
    }
    Some(frame)
}
