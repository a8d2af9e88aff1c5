//! What packets of flows without a partner offer of their content, so that the other point finds it: keys that name as much of
//! the endpoints as NAT may leave alone, and two generations of who offered them.

use super::matching::WAIT;
use crate::hash::{Hashed, mix};
use crate::packet::row::tcp_flags;
use crate::packet::{Endpoint, Kind, Row};

/// Most keys in one generation of offers: what a table of 65,536 places takes before it doubles.
const MAX_OFFERS: usize = 56 * 1024;
/// Fewest bytes of payload that two datagrams must share to be paired by content and ports alone.
pub const DISTINCTIVE: u32 = 16;

/// Who offered a key.
#[derive(Clone, Copy, Debug)]
pub(super) struct Offer {
    pub(super) time: i64,
    /// Flow << 1 | whether the packet's source was the high endpoint of the flow's key; [`STRUCK`] when two flows of one
    /// point offered the key.
    pub(super) flow: u32,
    /// Upper half of the flow's fingerprint, in case its place was taken by another.
    pub(super) print: u32,
}

const STRUCK: u32 = u32::MAX;

impl Offer {
    pub(super) fn flow(&self) -> u32 {
        self.flow >> 1
    }

    pub(super) fn is_from_high(&self) -> bool {
        self.flow & 1 == 1
    }

    fn same_flow(&self, other: &Self) -> bool {
        (self.flow(), self.print) == (other.flow(), other.print)
    }
}

type Offers = Hashed<Offer>;

/// Two generations of offers: when the younger is full or old, the elder goes.
#[derive(Debug, Default)]
pub(super) struct Index {
    young: Offers,
    old: Offers,
    since: Option<i64>,
}

impl Index {
    pub(super) fn find(&self, key: u64) -> Option<Offer> {
        self.young.get(&key).or_else(|| self.old.get(&key)).filter(|offer| offer.flow != STRUCK).copied()
    }

    pub(super) fn offer(&mut self, key: u64, offer: Offer, lifetime: i64) {
        let since = *self.since.get_or_insert(offer.time);
        if self.young.len() >= MAX_OFFERS || offer.time.saturating_sub(since) > lifetime {
            std::mem::swap(&mut self.old, &mut self.young);
            self.young.clear();
            self.since = Some(offer.time);
        }
        self.young
            .entry(key)
            .and_modify(|known| {
                if known.flow == STRUCK {
                    return;
                }
                if known.same_flow(&offer) {
                    known.time = offer.time;
                } else if offer.time.saturating_sub(known.time) > WAIT {
                    *known = offer;
                } else {
                    known.flow = STRUCK;
                }
            })
            .or_insert(offer);
    }
}

/// What of a packet survives any rewriting between the points.
pub(crate) fn content(row: &Row) -> u64 {
    match row.kind {
        Kind::Tcp => {
            let ack = if row.is(tcp_flags::ACK) { row.ack } else { 0 };
            let control = u64::from(row.flags & (tcp_flags::SYN | tcp_flags::FIN | tcp_flags::RST)) << 32;
            let window = if row.len == 0 { u64::from(row.window) << 40 } else { 0 };
            mix(u64::from(row.seq) << 32 | u64::from(ack), row.head ^ control ^ window ^ 0x9e37_79b9_7f4a_7c15)
        }
        Kind::IcmpEcho => {
            mix(row.head ^ u64::from(row.len), u64::from(row.seq & 0xffff) << 16 | u64::from(row.window) | 1 << 40)
        }
        Kind::IcmpError => {
            mix(row.head ^ (row.kind as u64) << 56, u64::from(row.len) << 16 | 1 << 50) ^ u64::from(row.seq)
        }
        // Not the sum of the payload: it is unknown where the snap length cut the packet, and that may be one point only.
        _ => mix(row.head ^ (row.kind as u64) << 56, u64::from(row.len) << 16 | 1 << 50),
    }
}

/// What of a segment is in the first fourteen bytes of its header.
fn numbers(row: &Row) -> u64 {
    let ack = if row.is(tcp_flags::ACK) { row.ack } else { 0 };
    mix(u64::from(row.seq) << 32 | u64::from(ack), u64::from(row.flags) << 32 ^ 0xa076_1d64_78bd_642f)
}

/// The keys under which a packet is offered, best first; returns how many.
pub(super) fn offer_keys(row: &Row, source: Endpoint, destination: Endpoint, keys: &mut [u64; 6]) -> usize {
    let content = content(row);
    let end = |end: Endpoint, salt: u64| {
        mix(end.address as u64 ^ (end.address >> 64) as u64 ^ salt, u64::from(end.port) ^ salt.rotate_left(32))
    };
    let ports = u64::from(source.port) << 16 | u64::from(destination.port);
    match row.kind {
        // Unique by itself, and told apart by its direction through seq and ack; with both ends for made-up traffic whose
        // connections share their numbers. An ICMP error quotes what is unique.
        Kind::Tcp | Kind::IcmpError => {
            keys[0] = mix(content ^ end(source, 1), end(destination, 2));
            keys[1] = content;
            if row.kind == Kind::IcmpError {
                return 2;
            }
            // A short snap length at one point may have left no more of the segment than its numbers.
            keys[2] = numbers(row);
            3
        }
        Kind::Arp | Kind::Link => {
            keys[0] = mix(content ^ end(source, 1), end(destination, 2));
            1
        }
        _ => {
            keys[0] = mix(content ^ end(source, 1), end(destination, 2));
            keys[1] = mix(content ^ end(destination, 3), u64::from(source.port) + 3);
            keys[2] = mix(content ^ end(source, 4), u64::from(destination.port) + 4);
            keys[3] = mix(content ^ end(destination, 5), 5);
            keys[4] = mix(content ^ end(source, 6), 6);
            if row.len < DISTINCTIVE || row.head == 0 {
                return 5;
            }
            keys[5] = mix(content ^ 7, ports);
            6
        }
    }
}
