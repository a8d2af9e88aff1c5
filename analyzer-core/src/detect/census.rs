//! One look at every pair, before anything is judged: what each has, as bits, and what all of them sum up to. There may be very
//! many pairs to most of which nothing happened: who looks for something looks at those alone that may have it.

use super::alibi::never_forwarded;
use super::scene::PairView;
use crate::align::topology;
use crate::facts::{SynOptions, pair_flags, state};
use crate::hash::Hashed;
use crate::packet::{Endpoint, Family, FlowKey};
use crate::point::{Direction, Point};
use rayon::prelude::*;
use std::collections::{BTreeSet, HashSet};

/// What a pair has. Whoever asks for a bit still has to look: it says that something may be there. One of a direction ([`way`])
/// takes two places, the second for inbound.
pub(super) mod has {
    /// Found at both points.
    pub(crate) const BOTH: u32 = 1 << 0;
    /// TCP.
    pub(crate) const TCP: u32 = 1 << 1;
    /// UDP.
    pub(crate) const UDP: u32 = 1 << 2;
    /// ICMP, of either family.
    pub(crate) const ICMP: u32 = 1 << 3;
    /// Found at one point alone.
    pub(crate) const ALONE: u32 = 1 << 4;
    /// Resets.
    pub(crate) const RESETS: u32 = 1 << 5;
    /// ICMP errors about it.
    pub(crate) const ERRORS: u32 = 1 << 6;
    /// One direction has no packet at either point.
    pub(crate) const SILENT: u32 = 1 << 7;
    /// At B packets leave, and none come back.
    pub(crate) const UNANSWERED: u32 = 1 << 8;
    /// Lost packets of a direction, where it enters ([`way`]).
    pub(crate) const LOST: u32 = 1 << 9;
    /// Retransmissions of a direction whose original was lost between the points ([`way`]).
    pub(crate) const LOST_BETWEEN: u32 = 1 << 11;
    /// Retransmissions of a direction whose original crossed ([`way`]).
    pub(crate) const LOST_BEYOND: u32 = 1 << 13;
    /// Packets in a row that were seen only where they entered.
    pub(crate) const RUN: u32 = 1 << 15;
    /// A segment that was repeated.
    pub(crate) const HEAD: u32 = 1 << 16;
    /// A window that was closed.
    pub(crate) const ZERO_WINDOW: u32 = 1 << 17;
    /// SYNs whose options differ between the points.
    pub(crate) const SYN_CHANGED: u32 = 1 << 18;
    /// A direction whose TTL falls by more than a hop, or rises.
    pub(crate) const TTL_CHANGED: u32 = 1 << 19;
    /// Silences of the guest that somebody noticed.
    pub(crate) const PAUSES: u32 = 1 << 20;
    /// DNS questions.
    pub(crate) const DNS: u32 = 1 << 21;
    /// DHCP messages.
    pub(crate) const DHCP: u32 = 1 << 22;
    /// A pair whose mapping became this one's.
    pub(crate) const MOVED: u32 = 1 << 23;
    /// Anything but packets that crossed (see [`PairView::eventful`](super::PairView::eventful)).
    pub(crate) const EVENTFUL: u32 = 1 << 24;
    /// Partial checksums or superframes of a direction ([`way`]).
    pub(crate) const OFFLOAD: u32 = 1 << 25;
    /// Datagrams of one end, [`IN_A_ROW`] of them or more, that found no answer to the end.
    pub(crate) const MONOLOGUE: u32 = 1 << 27;

    /// As many as `udp-stall.packets` asks for unless it is set; for fewer the bit says nothing.
    pub(crate) const IN_A_ROW: u32 = 4;

    /// A bit of a direction.
    pub(crate) const fn way(bit: u32, direction: crate::point::Direction) -> u32 {
        bit << direction.index()
    }
}

/// By direction and point.
type Sums = [[u64; 2]; 2];

/// What all pairs sum up to.
#[derive(Clone, Debug, Default)]
pub(super) struct Totals {
    /// Packets seen at a point only although the other capture ran, without those that hosts on the way make; of paired flows.
    pub(super) unmatched: Sums,
    /// Of the unmatched of all flows, those that their receiver acknowledged.
    pub(super) acked_unmatched: Sums,
    /// Acknowledgments of bytes that were never seen; of connections.
    pub(super) acked_unseen: Sums,
    /// Packets outside the time that both captures cover.
    pub(super) edge: Sums,
    /// Packets that are for one host.
    pub(super) single: Sums,
    /// Of those of the other direction, and without TCP: such as come back after a first packet of this one.
    pub(super) answers: Sums,
    /// By direction: packets of paired flows where they enter.
    pub(super) offered: [u64; 2],
    /// Of these, by direction, the ones seen there alone although later ones of their flow crossed.
    pub(super) skipped: [u64; 2],
    /// Outbound packets of connections at B.
    pub(super) left: u64,
    /// Segments of theirs that stand there after they were acknowledged, and not because they were repeated.
    pub(super) late: u64,
    /// Flows whose TTL is higher behind the host than before it, both ways.
    pub(super) risen: u64,
    /// Flows whose TTL falls.
    pub(super) fallen: u64,
}

impl Totals {
    fn add(&mut self, other: &Self) {
        let sums = [
            (&mut self.unmatched, &other.unmatched),
            (&mut self.acked_unmatched, &other.acked_unmatched),
            (&mut self.acked_unseen, &other.acked_unseen),
            (&mut self.edge, &other.edge),
            (&mut self.single, &other.single),
            (&mut self.answers, &other.answers),
        ];
        for (own, other) in sums {
            own.as_flattened_mut().iter_mut().zip(other.as_flattened()).for_each(|(own, other)| *own += other);
        }
        for way in 0..2 {
            self.offered[way] += other.offered[way];
            self.skipped[way] += other.skipped[way];
        }
        self.left += other.left;
        self.late += other.late;
        self.risen += other.risen;
        self.fallen += other.fallen;
    }
}

/// What is asked of a pair most often, so that the rest of it need not be touched.
#[derive(Clone, Copy, Debug)]
pub(super) struct Brief {
    pub(super) serial: u32,
    /// See [`has`].
    pub(super) has: u32,
    /// Packets by direction where they enter.
    pub(super) offered: [u32; 2],
}

/// The look at all pairs.
#[derive(Clone, Debug, Default)]
pub(crate) struct Census {
    /// By pair.
    pub(super) briefs: Vec<Brief>,
    /// What they sum up to.
    pub(super) totals: Totals,
    /// By point: MACs that sent outbound packets of IP flows that cross.
    pub(super) own_macs: [BTreeSet<u64>; 2],
    /// By point: flows without ports, of fragments that came before the first one of their datagram, which alone has them.
    nameless: [HashSet<FlowKey>; 2],
    /// What they show of the relation of the points.
    pub(crate) topology: topology::Votes,
}

/// For and against a MAC, with the MAC itself: a flow may have been taken the wrong way round, so that the majority decides.
type MacVotes = Hashed<(u64, i32)>;

/// The place of a MAC in a table. An odd number spreads it (the digits are those of π), and undoes nothing: no two MACs meet.
fn place(mac: u64) -> u64 {
    mac.wrapping_mul(0x243f_6a88_85a3_08d3).rotate_left(32)
}

/// The name that fragments have whose datagram's first one is not known.
fn without_ports(key: &FlowKey) -> FlowKey {
    let bare = |end: Endpoint| Endpoint { port: 0, ..end };
    FlowKey { low: bare(key.low), high: bare(key.high), ..*key }
}

/// The look at some of them.
#[derive(Default)]
struct Part {
    briefs: Vec<Brief>,
    totals: Totals,
    macs: [MacVotes; 2],
    nameless: [HashSet<FlowKey>; 2],
    topology: topology::Votes,
}

/// Pairs that are looked at by one thread at a time: with their facts, half a megabyte.
const AT_A_TIME: usize = 1024;

impl Census {
    /// Looks at all pairs.
    pub(crate) fn new(pairs: &[PairView]) -> Self {
        let parts: Vec<Part> = pairs.par_chunks(AT_A_TIME).map(Part::new).collect();
        let mut census = Self { briefs: Vec::with_capacity(pairs.len()), ..Self::default() };
        let mut macs = <[MacVotes; 2]>::default();
        for part in parts {
            census.briefs.extend_from_slice(&part.briefs);
            census.totals.add(&part.totals);
            census.topology.add(part.topology);
            census.nameless.iter_mut().zip(part.nameless).for_each(|(all, some)| all.extend(some));
            for (all, some) in macs.iter_mut().zip(part.macs) {
                for (key, (mac, vote)) in some {
                    all.entry(key).or_insert((mac, 0)).1 += vote;
                }
            }
        }
        census.own_macs =
            macs.map(|votes| votes.into_values().filter(|(_, vote)| *vote > 0).map(|(mac, _)| mac).collect());
        census
    }

    /// Which of some addresses are outer ends of paired flows at A.
    pub(crate) fn beyond(pairs: &[PairView], addresses: &BTreeSet<u128>) -> BTreeSet<u128> {
        let outer = |pair: &PairView| Some(pair.ends(Point::A).filter(|_| pair.both())?.1.address);
        let parts = pairs.par_chunks(AT_A_TIME).map(|pairs| -> BTreeSet<u128> {
            pairs.iter().filter_map(outer).filter(|address| addresses.contains(address)).collect()
        });
        parts.reduce(BTreeSet::new, |mut all, some| {
            all.extend(some);
            all
        })
    }

    /// Whether fragments of a flow may stand at a point under no ports.
    pub(super) fn has_nameless(&self, key: &FlowKey, point: Point) -> bool {
        self.nameless[point.index()].contains(&without_ports(key))
    }

    /// Whether anything but packets that crossed happened to each pair.
    pub(crate) fn eventful(&self) -> impl Iterator<Item = bool> {
        self.briefs.iter().map(|brief| brief.has & has::EVENTFUL != 0)
    }
}

impl Part {
    fn new(pairs: &[PairView]) -> Self {
        let mut part = Self { briefs: Vec::with_capacity(pairs.len()), ..Self::default() };
        for pair in pairs {
            let has = bits(pair);
            let offered = Direction::BOTH.map(|direction| pair.track(direction, direction.entry()).packets);
            part.briefs.push(Brief { serial: pair.serial, has, offered });
            part.count(pair, has);
            if has & has::ALONE != 0 && pair.facts.flags & pair_flags::FRAGMENTS != 0 {
                for point in Point::BOTH {
                    part.nameless[point.index()].extend(pair.key(point).filter(|key| **key == without_ports(key)));
                }
            }
            if let Some(flow) = pair.paired() {
                part.topology.count(&flow);
            }
        }
        part
    }

    fn count(&mut self, pair: &PairView, bits: u32) {
        let (tcp, both) = (bits & has::TCP != 0, bits & has::BOTH != 0);
        let ip = pair.family() != Family::Link;
        let outer = pair.inner_ends().1.ip();
        let single = ip && !never_forwarded(outer);
        let totals = &mut self.totals;
        for direction in Direction::BOTH {
            let (way, back, entry) = (direction.index(), direction.reverse(), direction.entry());
            // Connections tell by themselves, and need not be touched for it.
            let asked = single && !tcp && {
                let [own, answer] = [way, back.index()].map(|way| pair.facts.first[way][entry.index()]);
                own.frame > 0 && answer.frame > 0 && own.time < answer.time
            };
            for point in Point::BOTH {
                let at = point.index();
                if single {
                    totals.single[way][at] += u64::from(pair.track(direction, point).packets);
                }
                if asked {
                    totals.answers[way][at] += u64::from(pair.track(back, point).packets);
                }
                let Some(more) = pair.more(direction, point) else { continue };
                totals.edge[way][at] += u64::from(more.edge);
                totals.acked_unmatched[way][at] += u64::from(more.acked_unmatched);
                totals.acked_unseen[way][at] += if tcp { u64::from(more.acked_unseen) } else { 0 };
                if both {
                    totals.unmatched[way][at] += u64::from(more.unmatched.saturating_sub(more.made));
                }
            }
            if both {
                totals.offered[way] += u64::from(pair.track(direction, entry).packets);
                let more = pair.more(direction, entry);
                totals.skipped[way] += more.map_or(0, |more| u64::from(more.unmatched.saturating_sub(more.run.count)));
            }
        }
        if tcp {
            let out = Direction::Outbound;
            totals.left += u64::from(pair.track(out, Point::B).packets);
            // What its sender repeats although it was acknowledged is late at both points.
            let spurious = pair.more(out, Point::B).map_or(0, |more| more.spurious);
            let repeated = pair.more(out, Point::A).map_or(0, |more| more.retransmissions);
            totals.late += u64::from(spurious.saturating_sub(repeated));
        }
        if both && ip {
            let fall = |direction: Direction| {
                let [before, after] = [direction.entry(), direction.exit()].map(|point| pair.track(direction, point));
                (before.packets > 0 && after.packets > 0).then(|| i32::from(before.ttl) - i32::from(after.ttl))
            };
            match Direction::BOTH.map(fall) {
                [Some(out), Some(back)] if out < 0 && back < 0 => totals.risen += 1,
                [Some(out), Some(back)] if out > 0 || back > 0 => totals.fallen += 1,
                _ => {}
            }
            if !outer.is_multicast() {
                for (votes, (mac, direction)) in
                    self.macs.iter_mut().zip(pair.macs).filter_map(|(votes, mac)| Some((votes, mac?)))
                {
                    let vote = if direction == Direction::Outbound { 1 } else { -1 };
                    votes.entry(place(mac)).or_insert((mac, 0)).1 += vote;
                }
            }
        }
    }
}

/// What a pair has.
fn bits(pair: &PairView) -> u32 {
    let facts = pair.facts;
    let when = |condition: bool, bit: u32| if condition { bit } else { 0 };
    let (tcp, both) = (pair.is_tcp(), pair.both());
    let [out, back] = pair.tracks;
    let mut bits = when(both, has::BOTH)
        | when(!both, has::ALONE)
        | when(tcp, has::TCP)
        | when(pair.is_udp(), has::UDP)
        | when([1, 58].contains(&pair.protocol()), has::ICMP)
        | when(!facts.resets.is_empty(), has::RESETS)
        | when(!facts.icmp.is_empty(), has::ERRORS)
        | when([out, back].iter().any(|way| way.iter().all(|track| track.packets == 0)), has::SILENT)
        | when(out[1].packets > 0 && back[1].packets == 0, has::UNANSWERED)
        | when(facts.dns.is_some(), has::DNS)
        | when(facts.dhcp.is_some(), has::DHCP)
        | when(pair.successor_of.is_some(), has::MOVED)
        | when(!facts.pauses.is_empty(), has::PAUSES)
        | when(pair.eventful(), has::EVENTFUL);
    if let Some(syn) = facts.syn.as_deref() {
        let options = |syn: &SynOptions| (syn.mss, syn.window_scale, syn.sack_permitted(), syn.timestamps());
        bits |= when(syn.iter().any(|[a, b]| options(a) != options(b)), has::SYN_CHANGED);
    }
    for direction in Direction::BOTH {
        let (way, entry) = (direction.index(), direction.entry());
        let offload = pair.tracks[way].iter().any(|track| track.has(state::PARTIAL | state::SUPERFRAME));
        bits |= when(offload, has::way(has::OFFLOAD, direction));
        let (first, last) = (pair.track(direction, entry), pair.track(direction, direction.exit()));
        let answers = pair.track(direction.reverse(), direction.exit());
        let unanswered = last.packets.saturating_sub(last.next);
        bits |= when(unanswered >= has::IN_A_ROW && last.last_time > answers.last_time, has::MONOLOGUE)
            | when(!matches!(i32::from(first.ttl) - i32::from(last.ttl), 0 | 1), has::TTL_CHANGED)
            | when(facts.lost_between[way] > 0, has::way(has::LOST_BETWEEN, direction))
            | when(facts.lost_beyond[way] > 0, has::way(has::LOST_BEYOND, direction));
        for point in Point::BOTH {
            let Some(more) = pair.more(direction, point) else { continue };
            bits |= when(more.head.times > 0 || more.worst_head.times > 0, has::HEAD)
                | when(more.zero_windows > 0, has::ZERO_WINDOW)
                | when(!more.held.is_empty(), has::PAUSES);
            if point == entry {
                bits |= when(more.lost_sizes != [0; 5], has::way(has::LOST, direction))
                    | when(more.run.count > 0 || more.longest.count > 0, has::RUN);
            }
        }
    }
    bits
}
