//! ARP (RFC 826) for IPv4 over Ethernet.

use super::checksum;
use super::detail::{Arp, Detail};
use super::digest;
use super::ipv4::trailer;
use super::key::{Endpoint, Family, FlowKey};
use super::link::{Carried, ether_type};
use super::row::{Kind, Row, bits};

/// Length of a message for IPv4 over Ethernet.
const MESSAGE: usize = 28;
/// Ethernet, IPv4, and the lengths of their addresses.
const ETHERNET_IPV4: [u8; 6] = [0, 1, 8, 0, 6, 4];
const REPLY: u16 = 2;

/// Decodes a message, if it is one for IPv4 over Ethernet and all there.
#[cold]
pub(super) fn decode(carried: &Carried<'_>, row: &mut Row, key: &mut FlowKey, details: &mut Vec<Detail>) -> bool {
    let Some(message) = carried.span.bytes.first_chunk::<MESSAGE>() else {
        row.bits |= carried.span.shortage(MESSAGE);
        return false;
    };
    if message[..6] != ETHERNET_IPV4 {
        return false;
    }
    let number = |from: usize, to: usize| message[from..to].iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
    let arp = Arp {
        operation: number(6, 8) as u16,
        sender_mac: number(8, 14),
        sender_ip: number(14, 18) as u32,
        target_ip: number(24, 28) as u32,
    };
    row.kind = Kind::Arp;
    row.len = MESSAGE as u32;
    row.head = digest::words(&[digest::short(&message[..16]), digest::short(&message[16..])]);
    row.sum = checksum::fold_be(checksum::sum(message));
    row.bits |= trailer(carried.span, MESSAGE);
    row.bits |= if arp.operation == REPLY { bits::REPLY } else { 0 };
    let (sender, target) = (u128::from(arp.sender_mac), u128::from(number(18, 24)));
    let (named, from_high) = FlowKey::new(
        Endpoint { address: sender, port: 0 },
        Endpoint { address: target, port: 0 },
        ether_type::ARP,
        Family::Link,
    );
    *key = named;
    row.bits |= bits::from_high(from_high);
    details.push(Detail::Arp(arp));
    row.detail = details.len() as u32;
    true
}
