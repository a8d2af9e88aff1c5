//! The short way for plain packets, which nearly all are: Ethernet frames with TCP or UDP right behind an IPv4 header without
//! options or an IPv6 header without extensions, whose headers are all captured, and nothing behind them that anyone would read.
//!
//! The general way takes a frame apart layer by layer, and each layer is ready for anything. Here, what could be otherwise is
//! looked at first and refused before anything is written; what is left stands at fixed places and takes half the instructions.
//! Both ways must come to the same, to the bit, and tests decode every frame that they have by both. What is new belongs into
//! the general way: this one need not learn of it, as long as it refuses it.

#![expect(clippy::inline_always, reason = "all of it is the hot path, see `Decoder::decode_into`")]

use super::checksum::{self, Sum};
use super::ip::{self, protocol};
use super::key::{Endpoint, Family, FlowKey};
use super::link::{self, ether_type};
use super::row::{Checksum, Kind, Row, bits, tcp_flags};
use super::{digest, ipv4, udp};
use crate::capture::{LinkType, Record};

const ETHERNET: usize = 14;
const IPV4: usize = 20;
/// Version 4, and a header without options.
const IPV4_START: u8 = 0x45;
const DONT_FRAGMENT: u16 = 0x4000;
/// More fragments follow, or this one is not the first.
const FRAGMENT: u16 = 0x3fff;
const IPV6: usize = 40;
const TCP: usize = 20;
/// TCP's timestamps, laid out as RFC 7323, appendix A recommends.
const TIMESTAMPS: usize = 12;
const UDP: usize = 8;
/// Bytes at the start of a datagram's payload that its row shows.
const UDP_START: usize = 5;

/// Decodes a record, if it is a plain packet; else the row and the key stay as they were.
#[inline(always)]
pub(super) fn decode(record: &Record<'_>, row: &mut Row, key: &mut FlowKey) -> bool {
    if record.link_type != LinkType::ETHERNET || record.fcs_len != 0 {
        return false;
    }
    let Some(ethernet) = record.data.first_chunk::<ETHERNET>() else { return false };
    let decoded = match be16(ethernet, 12) {
        ether_type::IPV4 => over_ipv4(record, row, key),
        ether_type::IPV6 => over_ipv6(record, row, key),
        _ => None,
    };
    decoded.is_some()
}

#[inline(always)]
fn over_ipv4(record: &Record<'_>, row: &mut Row, key: &mut FlowKey) -> Option<()> {
    let header = record.data.get(ETHERNET..)?.first_chunk::<IPV4>()?;
    let fragment = be16(header, 6);
    if header[0] != IPV4_START || fragment & FRAGMENT != 0 {
        return None;
    }
    let packet = Packet::new::<{ ETHERNET + IPV4 }>(record, usize::from(be16(header, 2)), header[9])?;

    packet.describe(record, row);
    row.bits |= if fragment & DONT_FRAGMENT == 0 { 0 } else { bits::DONT_FRAGMENT };
    row.ttl = header[8];
    row.tos = header[1];
    row.ip_id = be16(header, 4);
    let addresses = checksum::sum_header::<8>(header.last_chunk()?);
    let right = checksum::adds_up(addresses + checksum::sum_header::<12>(header.first_chunk()?));
    row.l3_checksum = if right { Checksum::Right } else { Checksum::Wrong };
    let ports = packet.ports();
    let from_high;
    (*key, from_high) = FlowKey::v4((be32(header, 12), ports.0), (be32(header, 16), ports.1), packet.protocol);
    row.bits |= bits::from_high(from_high);
    packet.open(addresses, row);
    Some(())
}

#[inline(never)]
fn over_ipv6(record: &Record<'_>, row: &mut Row, key: &mut FlowKey) -> Option<()> {
    let header = record.data.get(ETHERNET..)?.first_chunk::<IPV6>()?;
    let len = usize::from(be16(header, 4));
    if header[0] >> 4 != 6 || len == 0 {
        return None;
    }
    let addresses: &[u8; 32] = header.last_chunk()?;
    let packet = Packet::new::<{ ETHERNET + IPV6 }>(record, IPV6 + len, header[6])?;

    packet.describe(record, row);
    row.bits |= bits::V6 | bits::DONT_FRAGMENT;
    row.ttl = header[7];
    row.tos = header[0] << 4 | header[1] >> 4;
    row.ip_id = 0;
    row.l3_checksum = Checksum::Absent;
    let ports = packet.ports();
    let source = Endpoint { address: u128::from_be_bytes(*addresses.first_chunk()?), port: ports.0 };
    let destination = Endpoint { address: u128::from_be_bytes(*addresses.last_chunk()?), port: ports.1 };
    let from_high;
    (*key, from_high) = FlowKey::new(source, destination, u16::from(packet.protocol), Family::V6);
    row.bits |= bits::from_high(from_high);
    packet.open(checksum::sum_header(addresses), row);
    Some(())
}

/// A packet that has been found plain: its parts are all there.
struct Packet<'a> {
    ethernet: &'a [u8; ETHERNET],
    /// The frame up to the end of the packet, or as far as it was captured.
    bytes: &'a [u8],
    ip_len: usize,
    /// Bytes behind the network header, captured or not.
    carried: usize,
    /// How many of them were not captured.
    missing: usize,
    /// TCP or UDP.
    protocol: u8,
    transport: Transport<'a>,
    payload: &'a [u8],
}

enum Transport<'a> {
    Tcp { header: &'a [u8; TCP], timestamps: Option<&'a [u8; TIMESTAMPS]> },
    Udp { header: &'a [u8; UDP], start: &'a [u8; UDP_START] },
}

impl<'a> Packet<'a> {
    /// A packet of `ip_len` bytes whose transport header begins at `AT`; none when it is not plain.
    #[inline(always)]
    fn new<const AT: usize>(record: &Record<'a>, ip_len: usize, protocol: u8) -> Option<Self> {
        let end = ETHERNET + ip_len;
        let bytes = record.data.get(..end).unwrap_or(record.data);
        let (captured, missing) = (bytes.get(AT..)?, end - bytes.len());
        let carried = captured.len() + missing;
        let (transport, payload) = match protocol {
            protocol::TCP => tcp(captured)?,
            protocol::UDP => udp(captured, carried)?,
            _ => return None,
        };
        Some(Self { ethernet: bytes.first_chunk()?, bytes, ip_len, carried, missing, protocol, transport, payload })
    }

    /// Fills in what does not depend on the headers of IP and transport, and clears what they may leave out.
    #[inline(always)]
    fn describe(&self, record: &Record<'_>, row: &mut Row) {
        row.time = record.time;
        row.frame = record.frame;
        row.wirelen = record.wirelen;
        let [.., a, b, c, d, e, f, _, _] = *self.ethernet;
        row.l2 = u64::from_be_bytes([a, b, c, d, e, f, 0, 0]) >> 16 << 16;
        row.bits = if self.ethernet[0] & 1 == 0 { 0 } else { bits::GROUP };
        if self.bytes.len() < record.data.len() {
            row.bits |= ipv4::trailer(link::frame(record).skip(ETHERNET), self.ip_len);
        }
        row.ip_len = self.ip_len as u32;
        row.len = (self.payload.len() + self.missing) as u32;
        row.protocol = self.protocol;
        row.flow = 0;
        row.detail = 0;
        row.reserved = 0;
    }

    #[inline(always)]
    fn ports(&self) -> (u16, u16) {
        match self.transport {
            Transport::Tcp { header, .. } => (be16(header, 0), be16(header, 2)),
            Transport::Udp { header, .. } => (be16(header, 0), be16(header, 2)),
        }
    }

    /// Fills in what the transport and its payload say.
    #[inline(always)]
    fn open(&self, addresses: Sum, row: &mut Row) {
        let (header_sum, field) = match self.transport {
            Transport::Tcp { header, timestamps } => {
                row.kind = Kind::Tcp;
                row.seq = be32(header, 4);
                row.ack = be32(header, 8);
                row.flags = header[13];
                row.window = be16(header, 14);
                let options = timestamps.map_or(0, checksum::sum_header);
                (checksum::sum_header(header) + options, be16(header, 16))
            }
            Transport::Udp { header, start } => {
                row.kind = Kind::Udp;
                row.bits |= udp::quic_short(start[0]);
                row.seq = be32(start, 1);
                row.ack = 0;
                row.flags = start[0];
                row.window = 0;
                (checksum::sum_header(header), be16(header, 6))
            }
        };
        let pseudo = addresses + checksum::word(u16::from(self.protocol));
        let unfinished = || ip::is_unfinished(field, pseudo, self.carried, self.carried);
        if self.missing > 0 {
            row.bits |= bits::CUT;
            row.sum = 0;
            row.l4_checksum = if unfinished() { Checksum::Partial } else { Checksum::Unverifiable };
            row.head = self.payload.first_chunk::<{ digest::HEAD }>().map_or(0, |head| digest::short(head));
            return;
        }
        let sum = checksum::sum_end(self.bytes, self.payload.len());
        row.sum = checksum::fold_be(sum);
        row.l4_checksum = if checksum::adds_up(header_sum + sum + pseudo + checksum::long(self.carried as u32)) {
            Checksum::Right
        } else if unfinished() {
            Checksum::Partial
        } else {
            Checksum::Wrong
        };
        row.head = if self.payload.is_empty() { 0 } else { digest::short(self.payload) };
    }
}

/// A segment whose options say nothing, if there are any.
#[inline(always)]
fn tcp(segment: &[u8]) -> Option<(Transport<'_>, &[u8])> {
    let (header, rest) = segment.split_first_chunk::<TCP>()?;
    // The options of a SYN are kept, even that it has none.
    if header[13] & tcp_flags::SYN != 0 {
        return None;
    }
    match header[12] >> 4 {
        5 => Some((Transport::Tcp { header, timestamps: None }, rest)),
        8 => {
            let (options, payload) = rest.split_first_chunk::<TIMESTAMPS>()?;
            let plain = options[..4] == [1, 1, 8, 10];
            plain.then_some((Transport::Tcp { header, timestamps: Some(options) }, payload))
        }
        _ => None,
    }
}

/// A datagram of `len` bytes of which only the length counts, and of a few bytes at least.
#[inline(always)]
fn udp(captured: &[u8], len: usize) -> Option<(Transport<'_>, &[u8])> {
    let (header, payload) = captured.split_first_chunk::<UDP>()?;
    let start = payload.first_chunk::<UDP_START>()?;
    let ports = (be16(header, 0), be16(header, 2));
    let plain = usize::from(be16(header, 4)) == len && be16(header, 6) != 0 && udp::is_opaque(ports, start[0]);
    plain.then_some((Transport::Udp { header, start }, payload))
}

#[inline(always)]
fn be16<const N: usize>(bytes: &[u8; N], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

#[inline(always)]
fn be32<const N: usize>(bytes: &[u8; N], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::{CaptureReader, Next};
    use crate::packet::Decoder;
    use std::path::Path;

    /// Shows every record of the captures below a folder.
    fn each_record(folder: &Path, show: &mut dyn FnMut(&Record<'_>)) {
        for entry in folder.read_dir().expect("a folder that can be read") {
            let path = entry.expect("a folder that can be read").path();
            if path.is_dir() {
                each_record(&path, show);
            } else if let Ok(mut reader) = CaptureReader::open(&path) {
                while let Next::Record(record) = reader.next(i64::MAX) {
                    show(&record);
                }
            }
        }
    }

    #[test]
    fn both_ways_come_to_the_same() {
        let used = Row { flow: 1, ack: 2, detail: 3, bits: 0xffff, window: 4, reserved: 5, ..Row::default() };
        let (mut records, mut plain) = (0_u32, 0_u32);
        let mut decoder = Decoder::new();
        each_record(Path::new("../testdata"), &mut |record| {
            records += 1;
            let (mut row, mut key) = (used, FlowKey::default());
            if !decode(record, &mut row, &mut key) {
                assert_eq!((row, key), (used, FlowKey::default()), "{record:?}");
                return;
            }
            plain += 1;
            let (mut other, mut other_key, mut details) = (used, FlowKey::default(), Vec::new());
            decoder.decode_general(record, &mut details, &mut other, &mut other_key);
            assert_eq!((row, key, 0), (other, other_key, details.len()), "{record:?}");
        });
        assert!(plain > records / 4, "{plain} of {records} packets are plain");
    }
}
