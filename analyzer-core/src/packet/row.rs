//! The row: what remains of a packet once its bytes are left behind.

use crate::prefetch::prefetch;

/// What a row describes; decides how it is matched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Kind {
    /// A TCP segment (or superframe of segments).
    Tcp,
    /// A UDP datagram (or superframe of datagrams).
    Udp,
    /// ICMP or ICMPv6 echo request or reply.
    IcmpEcho,
    /// ICMP or ICMPv6 error: belongs to the flow that it quotes.
    IcmpError,
    /// Any other ICMP or ICMPv6 message.
    IcmpOther,
    /// A fragment other than the first: `seq` is its offset, `len` its bytes, `ack` the datagram's id.
    Fragment,
    /// Another IP protocol.
    #[default]
    Ip,
    /// ARP.
    Arp,
    /// Any other link-layer frame (STP, LLDP, loopback test, …).
    Link,
}

/// Verdict on one checksum field.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Checksum {
    /// There is no such field, or it is zero by rule (UDP over IPv4).
    #[default]
    Absent,
    /// It verifies.
    Right,
    /// It does not verify.
    Wrong,
    /// It is the folded pseudo-header sum: offload has yet to finish it. Told from the header alone, so also of cut packets.
    Partial,
    /// Cut by the snap length, or a fragment.
    Unverifiable,
}

/// TCP flag bits, as in the header.
pub mod tcp_flags {
    /// No more data from sender.
    pub const FIN: u8 = 0x01;
    /// Synchronise sequence numbers.
    pub const SYN: u8 = 0x02;
    /// Reset the connection.
    pub const RST: u8 = 0x04;
    /// Push function.
    pub const PSH: u8 = 0x08;
    /// Acknowledgment field is significant.
    pub const ACK: u8 = 0x10;
    /// Urgent pointer field is significant.
    pub const URG: u8 = 0x20;
    /// ECN echo.
    pub const ECE: u8 = 0x40;
    /// Congestion window reduced.
    pub const CWR: u8 = 0x80;
}

/// Bits of [`Row::bits`].
pub mod bits {
    /// The source is the higher endpoint of the flow key.
    pub const FROM_HIGH: u16 = 1 << 0;
    /// IPv4 "don't fragment", or IPv6.
    pub const DONT_FRAGMENT: u16 = 1 << 1;
    /// IPv6.
    pub const V6: u16 = 1 << 2;
    /// The first fragment of a datagram (IPv4 MF with offset 0, or the IPv6 equivalent).
    pub const FIRST_FRAGMENT: u16 = 1 << 3;
    /// Cut by the snap length before the end of the payload.
    pub const CUT: u16 = 1 << 4;
    /// Broadcast or multicast destination MAC.
    pub const GROUP: u16 = 1 << 5;
    /// UDP payload is a QUIC long header (RFC 8999) of a plausible version.
    pub const QUIC_LONG: u16 = 1 << 6;
    /// UDP payload starts as a QUIC short header (fixed bit set, long bit clear).
    pub const QUIC_SHORT: u16 = 1 << 7;
    /// Taken from inside a tunnel (VXLAN, Geneve, GRE, IP in IP).
    pub const TUNNEL: u16 = 1 << 8;
    /// Bytes that are not padding follow the IP packet or ARP message (a trailer).
    pub const TRAILER: u16 = 1 << 9;
    /// The record says that the capture saw it leaving (SLL `PACKET_OUTGOING`).
    pub const OUTGOING: u16 = 1 << 10;
    /// An echo reply, an ARP reply: the answering half of a pair of messages.
    pub const REPLY: u16 = 1 << 11;
    /// The outer checksum of a tunnel was wrong (normal with local checksum offload).
    pub const OUTER_WRONG: u16 = 1 << 12;
    /// The headers are damaged or incomplete; fields past the damage are zero.
    pub const MALFORMED: u16 = 1 << 13;

    /// [`FROM_HIGH`] or nothing.
    #[inline]
    pub(in super::super) const fn from_high(from_high: bool) -> u16 {
        from_high as u16 * FROM_HIGH
    }
}

/// One packet, as the rest of the analysis sees it: plain, small, without its bytes.
///
/// Fields that a protocol does not have are zero. `seq`, `ack`, `window` and `flags` are reused by other kinds as said at each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Row {
    /// Time stamp in the capture's own clock, nanoseconds since 1970.
    pub time: i64,
    /// Digest of the first (at most 16) bytes of the transport payload; 0 without payload, or when fewer of them were captured.
    /// ICMP errors: digest of type, code and what the quote says that NAT does not change
    /// (inner protocol, inner IP id and length, next-hop MTU). Link frames: of their payload.
    pub head: u64,
    /// Source MAC in the upper 48 bits, outermost VLAN id in the lower 16.
    pub l2: u64,
    /// Number of the frame in its capture, 1-based.
    pub frame: u32,
    /// Slot of the flow at this point; set by the flow table.
    pub flow: u32,
    /// TCP: sequence number. UDP: bytes 1 to 4 of the payload (where QUIC keeps its destination connection id).
    /// ICMP echo: identifier << 16 | sequence number. ICMP errors: the quoted sequence number or UDP length, 0 where that was
    /// cut off. Fragment: offset in bytes.
    pub seq: u32,
    /// TCP: acknowledgment number. ICMP errors: next-hop MTU. Fragment: identification.
    pub ack: u32,
    /// Bytes of transport payload by the IP header (not by what was captured). ICMP: behind its 8 bytes of header for echoes and
    /// errors, behind type, code and checksum for the rest. Link frames: bytes behind the link header, padding included.
    pub len: u32,
    /// Length of the frame on the wire.
    pub wirelen: u32,
    /// Length of the IP packet (for IPv6 with its header); on superframes without a length, what was on the wire.
    pub ip_len: u32,
    /// 1-based place in the batch's details; 0 for none.
    pub detail: u32,
    /// Folded ones' complement sum of the whole payload; 0 when it was cut.
    pub sum: u16,
    /// IPv4 identification; 0 for IPv6.
    pub ip_id: u16,
    /// TCP: window field as sent. ICMP: type << 8 | code.
    pub window: u16,
    /// See [`bits`].
    pub bits: u16,
    /// TCP: flags. UDP: first payload byte.
    pub flags: u8,
    /// IPv4 TTL or IPv6 hop limit.
    pub ttl: u8,
    /// IPv4 TOS or IPv6 traffic class.
    pub tos: u8,
    /// What it is.
    pub kind: Kind,
    /// IPv4 header checksum.
    pub l3_checksum: Checksum,
    /// Transport checksum.
    pub l4_checksum: Checksum,
    /// IP protocol number of the transport; 0 for non-IP.
    pub protocol: u8,
    /// Unused; keeps the row free of hidden padding.
    pub reserved: u8,
}

impl Row {
    /// Whether any of the bits are set.
    #[inline]
    pub const fn has(&self, bits: u16) -> bool {
        self.bits & bits != 0
    }

    /// Whether any of the TCP flags are set.
    #[inline]
    pub const fn is(&self, flags: u8) -> bool {
        self.flags & flags != 0
    }

    /// Sequence space that the segment occupies: payload, plus one each for SYN and FIN (RFC 9293, section 3.4).
    #[inline]
    pub const fn seq_len(&self) -> u32 {
        self.len + (self.flags >> 1 & 1) as u32 + (self.flags & 1) as u32
    }

    /// Asks for all of it: a row may begin in the middle of a cache line, so for both ends.
    #[inline]
    pub(crate) fn prefetch(&self) {
        prefetch(self);
        prefetch(&self.reserved);
    }
}
