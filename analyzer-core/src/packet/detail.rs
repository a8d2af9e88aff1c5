//! What a few packets have and most do not: kept beside the rows, so that rows stay small.

use super::key::FlowKey;

/// The rare part of a packet. Rows point at it by [`Row::detail`](super::row::Row::detail).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Detail {
    /// Options of a SYN, or of a segment that carries SACK blocks.
    Tcp(TcpOptions),
    /// An ICMP error and what it quotes.
    IcmpError(IcmpError),
    /// An ARP request or reply.
    Arp(Arp),
    /// A spanning tree frame.
    Bpdu(Bpdu),
    /// A DNS message's header.
    Dns(Dns),
    /// A DHCP message's header.
    Dhcp(Dhcp),
    /// A QUIC long header.
    Quic(QuicLong),
}

/// TCP options that matter (RFC 9293, 7323, 2018).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TcpOptions {
    /// Maximum segment size, on SYN.
    pub mss: Option<u16>,
    /// Window scale shift, on SYN.
    pub window_scale: Option<u8>,
    /// SACK permitted, on SYN.
    pub sack_permitted: bool,
    /// A timestamps option is present.
    pub timestamps: bool,
    /// SACK blocks, left and right edge; unused ones are empty (equal edges).
    pub sack: [(u32, u32); 4],
    /// How many of `sack` are used.
    pub sack_blocks: u8,
}

/// An ICMP or ICMPv6 error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IcmpError {
    /// Who sent the error (IPv4 mapped).
    pub reporter: u128,
    /// To whom (IPv4 mapped).
    pub recipient: u128,
    /// ICMP type.
    pub icmp_type: u8,
    /// ICMP code.
    pub code: u8,
    /// Next-hop MTU of "fragmentation needed" and "packet too big"; 0 when absent.
    pub mtu: u32,
    /// The flow that the quoted packet belongs to. The row's FROM_HIGH is that of the *error's* travel: the reverse of the quote's.
    pub quoted: FlowKey,
    /// IPv4 identification of the quoted packet.
    pub quoted_ip_id: u16,
    /// Total length of the quoted packet by its own header.
    pub quoted_len: u32,
    /// TCP sequence number of the quoted segment, when TCP.
    pub quoted_seq: u32,
    /// TTL of the quoted packet.
    pub quoted_ttl: u8,
    /// When the capture cut off the ports: how many bytes of the quoted destination's address it cut off as well. `quoted`
    /// has zeros for all of that.
    pub cut: Option<u8>,
}

/// An ARP message for IPv4 over Ethernet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arp {
    /// 1 request, 2 reply.
    pub operation: u16,
    /// Sender's MAC as a number.
    pub sender_mac: u64,
    /// Sender's IPv4 address.
    pub sender_ip: u32,
    /// Target's IPv4 address.
    pub target_ip: u32,
}

/// A spanning tree BPDU (IEEE 802.1D).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bpdu {
    /// 0x00 configuration, 0x80 topology change notification, 0x02 rapid.
    pub bpdu_type: u8,
    /// Flags: 0x01 topology change, 0x80 acknowledgment.
    pub flags: u8,
    /// Root bridge identifier.
    pub root: u64,
    /// Sender's bridge identifier.
    pub bridge: u64,
}

/// The header of a DNS message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dns {
    /// Transaction id.
    pub id: u16,
    /// Whether it is a response.
    pub response: bool,
    /// Question type (1 A, 28 AAAA) when it could be read.
    pub question_type: u16,
}

/// The header of a DHCPv4 message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dhcp {
    /// Transaction id.
    pub xid: u32,
    /// Message type option (1 DISCOVER, 2 OFFER, 3 REQUEST, 4 DECLINE, 5 ACK, 6 NAK, 7 RELEASE, 8 INFORM); 0 unknown, or
    /// one of the two below when the capture cut it off.
    pub message: u8,
    /// Client's MAC as a number.
    pub client_mac: u64,
}

impl Dhcp {
    /// A DISCOVER or a REQUEST: which of them was cut off.
    pub const SOME_REQUEST: u8 = 254;
    /// An OFFER, ACK or NAK: which of them was cut off.
    pub const SOME_REPLY: u8 = 255;
}

/// A QUIC long header (RFC 8999).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuicLong {
    /// Version; 0 is version negotiation.
    pub version: u32,
    /// First byte.
    pub first_byte: u8,
    /// Destination connection id, zero padded, and its length.
    pub destination: ([u8; 20], u8),
    /// Source connection id, zero padded, and its length.
    pub source: ([u8; 20], u8),
}
