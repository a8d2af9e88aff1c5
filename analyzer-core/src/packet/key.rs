//! The flow key: two endpoints in canonical order, and the protocol.

use std::fmt::{self, Write as _};
use std::net::{IpAddr, Ipv6Addr};

/// One end of a flow. IPv4 addresses are kept in their IPv4-mapped IPv6 form; MAC addresses (non-IP) in the last six bytes.
/// Packed, because the alignment of an address would double the size of every key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(C, packed(2))]
pub struct Endpoint {
    /// The address as a big-endian number.
    pub address: u128,
    /// TCP or UDP port; ICMP echo identifier; else 0.
    pub port: u16,
}

/// Prefix of IPv4-mapped addresses (`::ffff:0:0/96`).
pub const V4_MAPPED: u128 = 0xffff_0000_0000;

impl Endpoint {
    /// An endpoint from an IPv4 address as a number.
    pub const fn v4(address: u32, port: u16) -> Self {
        Self { address: V4_MAPPED | address as u128, port }
    }

    /// The address for printing; IPv4-mapped ones as IPv4.
    pub fn ip(self) -> IpAddr {
        Ipv6Addr::from(self.address).to_canonical()
    }
}

/// What the key's flow carries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Family {
    /// IPv4.
    #[default]
    V4,
    /// IPv6.
    V6,
    /// Not IP: endpoints are MAC addresses, `protocol` is derived from the EtherType.
    Link,
}

/// A flow's name at one point: both directions share it. `low <= high`; a row says with
/// [`bits::FROM_HIGH`](super::row::bits::FROM_HIGH) which of the two sent it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FlowKey {
    /// The lower endpoint.
    pub low: Endpoint,
    /// The higher endpoint.
    pub high: Endpoint,
    /// IP protocol number of the transport (6 TCP, 17 UDP, 1 ICMP, 58 ICMPv6); for [`Family::Link`] the EtherType or LLC length code.
    pub protocol: u16,
    /// Address family.
    pub family: Family,
}

impl FlowKey {
    /// The key of a packet from `source` to `destination`, and whether the source is the higher endpoint.
    #[inline]
    pub fn new(source: Endpoint, destination: Endpoint, protocol: u16, family: Family) -> (Self, bool) {
        // Which end sent is a coin's toss to the branch predictor, so the ends are compared and swapped by arithmetic.
        let from_high = source > destination;
        let address = (source.address ^ destination.address) & u128::from(from_high).wrapping_neg();
        let port = (source.port ^ destination.port) & u16::from(from_high).wrapping_neg();
        let low = Endpoint { address: source.address ^ address, port: source.port ^ port };
        let high = Endpoint { address: destination.address ^ address, port: destination.port ^ port };
        (Self { low, high, protocol, family }, from_high)
    }

    /// [`new`](Self::new) for IPv4: address and port of each end fit into one number.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "part of the hot path, see `Decoder::decode_into`")]
    pub(super) fn v4(source: (u32, u16), destination: (u32, u16), protocol: u8) -> (Self, bool) {
        let number = |(address, port): (u32, u16)| u64::from(address) << 16 | u64::from(port);
        let end = |number: u64| Endpoint::v4((number >> 16) as u32, number as u16);
        let (source, destination) = (number(source), number(destination));
        let (low, high) = (end(source.min(destination)), end(source.max(destination)));
        (Self { low, high, protocol: u16::from(protocol), family: Family::V4 }, source > destination)
    }

    /// Inside and outside endpoint, by which of them is the inner one.
    #[inline]
    pub fn ends(&self, inside_is_high: bool) -> (Endpoint, Endpoint) {
        if inside_is_high { (self.high, self.low) } else { (self.low, self.high) }
    }

    /// Both endpoints as text, the inside one first: `192.168.122.10:40364 198.51.100.7:443`.
    pub fn name(&self, inside_is_high: bool) -> String {
        /// As long as two IPv4 endpoints get.
        const USUAL: usize = 2 * "255.255.255.255:65535".len() + 1;
        let (inside, outside) = self.ends(inside_is_high);
        let mut name = String::with_capacity(USUAL);
        // Writing to a string does not fail.
        let _ = self.write(inside, &mut name);
        name.push(' ');
        let _ = self.write(outside, &mut name);
        name
    }

    /// One of its endpoints as text.
    pub fn endpoint(&self, end: Endpoint) -> String {
        let mut text = String::new();
        let _ = self.write(end, &mut text);
        text
    }

    fn write(&self, end: Endpoint, text: &mut String) -> fmt::Result {
        match (self.family, self.protocol) {
            (Family::Link, _) => {
                let bytes = end.address.to_be_bytes();
                for (place, byte) in bytes[10..].iter().enumerate() {
                    write!(text, "{}{byte:02x}", if place == 0 { "" } else { ":" })?;
                }
                Ok(())
            }
            (Family::V6, 6 | 17) => write!(text, "[{}]:{}", end.ip(), { end.port }),
            (_, 6 | 17) => write!(text, "{}:{}", end.ip(), { end.port }),
            _ => write!(text, "{}", end.ip()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_directions_share_a_key() {
        let ends = [(1, 2), (1, 3), (2, 1), (u128::MAX, 0), (V4_MAPPED, u16::MAX)];
        let ends = ends.map(|(address, port)| Endpoint { address, port });
        for a in ends {
            for b in ends {
                let (there, from_high) = FlowKey::new(a, b, 6, Family::V4);
                let (back, _) = FlowKey::new(b, a, 6, Family::V4);
                assert_eq!(there, back);
                assert!(there.low <= there.high);
                assert_eq!((from_high, there.low), (a > b, a.min(b)));
            }
        }
    }
}
