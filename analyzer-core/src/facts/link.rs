//! What the link layer of one point shows: frames to groups that come twice, questions by broadcast that find no answer,
//! spanning tree. All of it is rare traffic; the lists are bounded.

use super::event::Thinned;
use super::track::Stamp;
use crate::hash::mix;
use crate::packet::detail::{Arp, Bpdu, Dhcp};
use crate::packet::row::bits;
use crate::packet::{Detail, Kind, Row};
use crate::time::MILLISECOND;
use std::collections::{BTreeMap, BTreeSet};

/// Frames to groups that are remembered, each at a place of its own.
const RECENT: usize = 256;
/// How long after a frame its reflection may come back: 480 ms have been seen in the field.
const ECHO_TIME: i64 = 500 * MILLISECOND;
/// Most askers that are followed at once.
const MAX_ASKERS: usize = 1024;
/// Frames of a run of questions that are remembered: a minute of them.
const MAX_FRAMES: usize = 64;
/// Most bridges and roots that are told apart.
const MAX_BRIDGES: usize = 64;

/// A frame to a group that came again, unchanged, within half a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Echo {
    /// Its source MAC.
    pub mac: u64,
    /// The first time.
    pub first: Stamp,
    /// The second time.
    pub again: Stamp,
    /// It has an IP identification, so that it is the same packet and no repetition by its sender.
    pub same_packet: bool,
    /// The second frame has a trailer that the first has not.
    pub trailer: bool,
    /// The second frame is longer than the first: padded on its way.
    pub padded: bool,
}

#[derive(Clone, Copy, Debug, Default)]
struct Recent {
    hash: u64,
    at: Stamp,
    wirelen: u32,
    /// How often it came.
    times: u8,
    trailer: bool,
}

/// Questions in a row without an answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Unanswered {
    /// How many.
    pub count: u32,
    /// The first.
    pub first: Stamp,
    /// The last.
    pub last: Stamp,
    /// The first few.
    pub frames: Vec<Stamp>,
}

/// What one asker asked, and with what success.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Asked {
    /// The asker's MAC.
    pub mac: u64,
    /// The current run.
    pub run: Unanswered,
    /// The longest run before it.
    pub worst: Unanswered,
    /// Answers.
    pub answered: u32,
    /// Questions.
    pub asked: u32,
}

impl Asked {
    fn ask(&mut self, mac: u64, at: Stamp) {
        self.mac = mac;
        self.asked += 1;
        let run = &mut self.run;
        if run.count == 0 {
            run.first = at;
        }
        run.count += 1;
        run.last = at;
        if run.frames.len() < MAX_FRAMES {
            run.frames.push(at);
        }
    }

    fn answer(&mut self) {
        self.answered += 1;
        self.close();
    }

    fn close(&mut self) {
        let run = std::mem::take(&mut self.run);
        if run.count > self.worst.count {
            self.worst = run;
        }
    }

    /// The longest run without an answer.
    pub fn longest(&self) -> &Unanswered {
        if self.run.count >= self.worst.count { &self.run } else { &self.worst }
    }
}

/// Spanning tree at a point.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct SpanningTree {
    /// BPDUs in all.
    pub count: u64,
    /// BPDUs that say that the topology changes: the flag, or a notification.
    pub changes: Thinned<(Stamp, u64)>,
    /// Times that they began to say so.
    pub episodes: u32,
    /// Roots that were named.
    pub roots: BTreeSet<u64>,
    /// MACs that sent BPDUs.
    pub senders: BTreeSet<u64>,
    changing: bool,
}

/// The link layer of one point.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct LinkFacts {
    recent: Vec<Recent>,
    /// Frames to groups.
    pub group_frames: u64,
    /// These, by source MAC; without those of which nothing is known but their type.
    pub groups: Thinned<(u64, Stamp)>,
    /// Frames to groups that came twice.
    pub echoes: Thinned<Echo>,
    /// Frames with a trailer behind the packet, and the first of them.
    pub trailers: (u64, Stamp),
    /// ARP questions by what they ask for and who asks (IPv4 addresses).
    pub arp: BTreeMap<(u32, u32), Asked>,
    /// DHCP questions by the client's MAC.
    pub dhcp: BTreeMap<u64, Asked>,
    /// Spanning tree.
    pub spanning_tree: SpanningTree,
}

impl LinkFacts {
    /// Takes a frame into account that goes to a group, has a trailer, or has a detail that concerns the link layer.
    #[cold]
    pub fn observe(&mut self, row: &Row, detail: Option<&Detail>) {
        let at = Stamp { time: row.time, frame: row.frame };
        if row.has(bits::TRAILER) {
            self.trailers.0 += 1;
            if self.trailers.0 == 1 {
                self.trailers.1 = at;
            }
        }
        if row.has(bits::GROUP) && row.l2 >> 16 != 0 {
            self.group(row, at);
        }
        match detail {
            Some(Detail::Arp(arp)) => self.arp(arp, row.l2 >> 16, at),
            Some(Detail::Dhcp(dhcp)) => self.dhcp(dhcp, at),
            Some(Detail::Bpdu(bpdu)) => self.bpdu(bpdu, row.l2 >> 16, at),
            _ => {}
        }
    }

    fn group(&mut self, row: &Row, at: Stamp) {
        self.group_frames += 1;
        if row.kind == Kind::Link && row.head == 0 {
            // Nothing of it is known but its type.
            return;
        }
        self.groups.push((row.l2 >> 16, at));
        if self.recent.is_empty() {
            self.recent = vec![Recent::default(); RECENT];
        }
        let numbers = u64::from(row.ip_id) << 48 | u64::from(row.ttl) << 40 | (row.kind as u64) << 32;
        let hash = mix(
            row.l2 ^ row.head,
            numbers ^ u64::from(row.len) << 16 ^ u64::from(row.sum) ^ mix(u64::from(row.seq), 3),
        ) | 1;
        let place = &mut self.recent[(hash >> 32) as usize % RECENT];
        let age = at.time - place.at.time;
        if place.hash == hash && (0..=ECHO_TIME).contains(&age) {
            place.times = place.times.saturating_add(1);
            // A third copy is a sender that repeats itself, or a storm; a reflection is the second.
            if place.times == 2 {
                self.echoes.push(Echo {
                    mac: row.l2 >> 16,
                    first: place.at,
                    again: at,
                    same_packet: row.ip_id != 0,
                    trailer: row.has(bits::TRAILER) && !place.trailer,
                    padded: row.wirelen > place.wirelen,
                });
            }
            return;
        }
        *place = Recent { hash, at, wirelen: row.wirelen, times: 1, trailer: row.has(bits::TRAILER) };
    }

    fn arp(&mut self, arp: &Arp, source: u64, at: Stamp) {
        const REQUEST: u16 = 1;
        if arp.operation != REQUEST {
            if let Some(asked) = self.arp.get_mut(&(arp.sender_ip, arp.target_ip)) {
                asked.answer();
            }
            return;
        }
        // Announcements and probes of one's own address want no answer (RFC 5227).
        if arp.sender_ip == arp.target_ip || arp.sender_ip == 0 {
            return;
        }
        let key = (arp.target_ip, arp.sender_ip);
        if self.arp.len() >= MAX_ASKERS && !self.arp.contains_key(&key) {
            return;
        }
        let source = if source == 0 { arp.sender_mac } else { source };
        self.arp.entry(key).or_default().ask(source, at);
    }

    fn dhcp(&mut self, dhcp: &Dhcp, at: Stamp) {
        const DISCOVER: u8 = 1;
        const REQUEST: u8 = 3;
        match dhcp.message {
            DISCOVER | Dhcp::SOME_REQUEST
                if self.dhcp.len() < MAX_ASKERS || self.dhcp.contains_key(&dhcp.client_mac) =>
            {
                self.dhcp.entry(dhcp.client_mac).or_default().ask(dhcp.client_mac, at);
            }
            // Who requests has had an offer, seen here or not (RFC 2131, section 3.1); OFFER, ACK and NAK are answers.
            REQUEST | 2 | 5 | 6 | Dhcp::SOME_REPLY => {
                if let Some(asked) = self.dhcp.get_mut(&dhcp.client_mac) {
                    asked.answer();
                }
            }
            _ => {}
        }
    }

    fn bpdu(&mut self, bpdu: &Bpdu, source: u64, at: Stamp) {
        const NOTIFICATION: u8 = 0x80;
        const TOPOLOGY_CHANGE: u8 = 0x01;
        let tree = &mut self.spanning_tree;
        tree.count += 1;
        let changes = bpdu.bpdu_type == NOTIFICATION || bpdu.flags & TOPOLOGY_CHANGE != 0;
        if changes {
            tree.episodes += u32::from(!tree.changing);
            tree.changes.push((at, source));
        }
        tree.changing = changes;
        if tree.roots.len() < MAX_BRIDGES && bpdu.bpdu_type != NOTIFICATION {
            tree.roots.insert(bpdu.root);
        }
        if tree.senders.len() < MAX_BRIDGES {
            tree.senders.insert(source);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(time: i64, number: u32, id: u16) -> Row {
        Row {
            time: time * MILLISECOND,
            frame: number,
            l2: 0x5254_00aa_0001 << 16,
            head: 7,
            ip_id: id,
            bits: bits::GROUP,
            kind: Kind::Udp,
            wirelen: 60,
            ..Row::default()
        }
    }

    #[test]
    fn the_same_packet_again_is_an_echo_and_a_third_copy_is_not() {
        let mut link = LinkFacts::default();
        for (time, number) in [(0, 1), (1, 2), (2, 3)] {
            link.observe(&frame(time, number, 9), None);
        }
        let echoes = link.echoes.items();
        assert_eq!(echoes.len(), 1);
        assert_eq!((echoes[0].first.frame, echoes[0].again.frame, echoes[0].same_packet), (1, 2, true));
    }

    #[test]
    fn a_new_identification_or_a_long_time_is_no_echo() {
        let mut link = LinkFacts::default();
        link.observe(&frame(0, 1, 9), None);
        link.observe(&frame(1, 2, 10), None);
        link.observe(&frame(900, 3, 9), None);
        assert_eq!(link.echoes.count, 0);
        assert_eq!(link.group_frames, 3);
    }

    #[test]
    fn arp_runs_end_with_the_answer() {
        let mut link = LinkFacts::default();
        let arp = |operation, sender_ip, target_ip| Arp { operation, sender_mac: 5, sender_ip, target_ip };
        let at = |frame| Stamp { time: i64::from(frame), frame };
        for frame in 1..=3 {
            link.arp(&arp(1, 10, 1), 5, at(frame));
        }
        link.arp(&arp(2, 1, 10), 6, at(4));
        link.arp(&arp(1, 10, 1), 5, at(5));
        // An announcement asks nothing.
        link.arp(&arp(1, 10, 10), 5, at(6));
        let asked = &link.arp[&(1, 10)];
        assert_eq!((asked.asked, asked.answered, asked.run.count, asked.longest().count), (4, 1, 1, 3));
        assert_eq!(link.arp.len(), 1);
    }

    #[test]
    fn a_dhcp_request_proves_an_offer() {
        let mut link = LinkFacts::default();
        let at = |frame| Stamp { time: i64::from(frame), frame };
        for (frame, message) in [(1, 1), (2, 3), (3, 1)] {
            link.dhcp(&Dhcp { xid: 1, message, client_mac: 8 }, at(frame));
        }
        assert_eq!(link.dhcp[&8].longest().count, 1);
    }
}
