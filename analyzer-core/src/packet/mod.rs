//! Record → row: decodes a frame into a small plain [`Row`], its [`FlowKey`] and, rarely, a [`Detail`].
//!
//! Decoding never fails: what cannot be understood becomes a row of a lesser kind, and what is damaged says so in its
//! bits. This layer looks at one frame at a time and does not know what came before, but for the datagrams whose
//! fragments are on their way.
//!
//! From the outside in: [`link`] finds the network packet in the frame, `ipv4` and `ipv6` the transport in that, `tcp`,
//! `udp` and `icmp` fill in the rest; `tunnel` sends it round again. `plain` is a short cut to the same for packets in which
//! nothing is out of the ordinary.

mod arp;
mod bpdu;
mod checksum;
pub mod detail;
mod dhcp;
mod digest;
mod dns;
mod fragments;
mod icmp;
mod ip;
mod ipv4;
mod ipv6;
pub mod key;
pub mod link;
mod plain;
mod quic;
pub mod row;
mod span;
mod tcp;
mod tunnel;
mod udp;

pub use detail::Detail;
pub use key::{Endpoint, Family, FlowKey};
pub use link::supported;
pub use row::{Checksum, Kind, Row};

use crate::capture::Record;

use fragments::Fragments;
use link::{Carried, ether_type};
use row::bits;
use tunnel::Inner;

/// Decodes the records of one capture point, in their order.
#[derive(Debug, Default)]
pub struct Decoder {
    fragments: Fragments,
}

impl Decoder {
    /// A decoder that has seen nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Decodes one record. Pushes at most one detail to `details`; [`Row::detail`] is then its 1-based place there.
    pub fn decode(&mut self, record: &Record<'_>, details: &mut Vec<Detail>) -> (Row, FlowKey) {
        let mut decoded = (Row::default(), FlowKey::default());
        self.decode_into(record, details, &mut decoded.0, &mut decoded.1);
        decoded
    }

    /// [`decode`](Self::decode) to where the caller keeps its rows, whatever was there: saves copying what has just been
    /// written, a third of the time on small packets. Every path names the flow, so the key is not cleared first.
    #[inline(never)]
    pub fn decode_into(&mut self, record: &Record<'_>, details: &mut Vec<Detail>, row: &mut Row, key: &mut FlowKey) {
        if !plain::decode(record, row, key) {
            self.decode_general(record, details, row, key);
        }
    }

    /// [`decode_into`](Self::decode_into) without the short cut for plain packets, which must make no difference.
    #[doc(hidden)]
    #[inline(never)]
    pub fn decode_general(&mut self, record: &Record<'_>, details: &mut Vec<Detail>, row: &mut Row, key: &mut FlowKey) {
        *row = Row { time: record.time, frame: record.frame, wirelen: record.wirelen, ..Row::default() };
        let carried = link::open(record.link_type, link::frame(record), row);
        if let Some(inner) = self.network(&carried, row, key, details) {
            self.open_tunnels(inner, row, key, details);
        }
    }

    /// Decodes a network packet. Returns what is inside, if it is a tunnel.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "part of the hot path, see `Decoder::decode_into`")]
    fn network<'a>(
        &mut self,
        carried: &Carried<'a>,
        row: &mut Row,
        key: &mut FlowKey,
        details: &mut Vec<Detail>,
    ) -> Option<Inner<'a>> {
        let version = carried.span.byte(0).map(|byte| byte >> 4);
        match (carried.protocol, version) {
            (ether_type::IPV4, Some(4) | None) => ipv4::decode(carried.span, &mut self.fragments, row, key, details),
            (ether_type::IPV6, Some(6) | None) => ipv6::decode(carried.span, &mut self.fragments, row, key, details),
            _ => {
                other(carried, row, key, details);
                None
            }
        }
    }

    /// Replaces the row of a tunnel's packet by that of the packet inside, as long as there is one that can be read.
    #[cold]
    fn open_tunnels(&mut self, inner: Inner<'_>, row: &mut Row, key: &mut FlowKey, details: &mut Vec<Detail>) {
        let mut next = Some(inner);
        for _ in 0..tunnel::MAX_DEPTH {
            let Some(inner) = next else { return };
            // What the capture said of the frame holds for what is in it, and so does where it came from, unless it says otherwise.
            let kept = bits::TUNNEL | row.bits & (bits::OUTGOING | bits::GROUP | bits::TRAILER | bits::OUTER_WRONG);
            let wrong = if row.l4_checksum == Checksum::Wrong { bits::OUTER_WRONG } else { 0 };
            let mut inside = Row {
                time: row.time,
                frame: row.frame,
                wirelen: row.wirelen,
                l2: row.l2,
                bits: kept | wrong,
                ..Row::default()
            };
            let mut inside_key = FlowKey::default();
            let before = details.len();
            let carried = link::open_inner(inner.ether_type, inner.span, &mut inside);
            next = self.network(&carried, &mut inside, &mut inside_key, details);
            let nameless = inside.kind == Kind::Ip && inside_key.low == Endpoint::default();
            let doubtful = !inner.certain && inside.kind == Kind::Link;
            if inside.has(bits::MALFORMED) || nameless || doubtful {
                details.truncate(before);
                return;
            }
            *row = inside;
            *key = inside_key;
        }
    }
}

/// The row of a frame that carries no IP.
#[cold]
fn other(carried: &Carried<'_>, row: &mut Row, key: &mut FlowKey, details: &mut Vec<Detail>) {
    row.kind = Kind::Link;
    if carried.protocol == ether_type::ARP && arp::decode(carried, row, key, details) {
        return;
    }
    match carried.protocol {
        link::LLC_SPANNING_TREE => {
            if let Some(bpdu) = bpdu::read(carried.span) {
                details.push(Detail::Bpdu(bpdu));
                row.detail = details.len() as u32;
            }
        }
        // Announced as IP, but of another version.
        ether_type::IPV4 | ether_type::IPV6 => row.bits |= bits::MALFORMED,
        _ => {}
    }
    let end = |mac: u64| Endpoint { address: u128::from(mac), port: 0 };
    let (named, from_high) =
        FlowKey::new(end(carried.source), end(carried.destination), carried.protocol, Family::Link);
    *key = named;
    row.bits |= bits::from_high(from_high);
    ip::describe(carried.span, row);
}
