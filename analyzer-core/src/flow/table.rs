//! The flow table of one capture point: fingerprints in open addressing, everything rare in a cold slab.
//!
//! A slot is 16 bytes and holds all that a packet of a paired flow needs. Four of them are one cache line, and are compared
//! without a branch between them, so that a packet costs one line here and the branch predictor nothing.
//! The fingerprint is a 64-bit hash of the whole key; two keys that share one would be merged, which at a million live
//! flows happens with a probability of 3e-8. A look-up is announced some packets before it is made, so that the misses
//! overlap.

use super::USUAL_FLOWS;
use crate::hash::mix;
use crate::packet::key::{Family, FlowKey};
use crate::prefetch::prefetch;

/// No pair yet.
pub const UNPAIRED: u32 = u32::MAX;

/// One slot. `fingerprint` 0 is an empty slot.
#[derive(Clone, Copy, Debug)]
struct Slot {
    fingerprint: u64,
    flow: u32,
    pair: u32,
}

const EMPTY: Slot = Slot { fingerprint: 0, flow: 0, pair: UNPAIRED };

/// Slots of a bucket.
const WIDTH: usize = 4;

/// A cache line of slots, filled from the first on. Only where it is full a flow stands in one of the next.
#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
struct Bucket([Slot; WIDTH]);

impl Bucket {
    const EMPTY: Self = Self([EMPTY; WIDTH]);

    /// The place of a fingerprint that is not 0; [`WIDTH`] for none.
    #[inline]
    fn find(&self, fingerprint: u64) -> usize {
        let differ = |at: usize| self.0[at].fingerprint != fingerprint;
        let (first, second) = (usize::from(differ(0)), 2 + usize::from(differ(2)));
        let (neither, nor) = (differ(0) & differ(1), differ(2) & differ(3));
        std::hint::select_unpredictable(neither, second, first) + usize::from(neither & nor) * (WIDTH - second)
    }

    #[inline]
    fn is_full(&self) -> bool {
        self.0[WIDTH - 1].fingerprint != 0
    }

    fn len(&self) -> usize {
        self.0.iter().take_while(|slot| slot.fingerprint != 0).count()
    }
}

/// What a look-up gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Place in the slab of flows.
    pub flow: u32,
    /// Pair number << 1 | whether the inside endpoint is the key's high one; [`UNPAIRED`] before pairing.
    pub pair: u32,
}

/// A flow at one point: the cold part, touched when it begins, is paired, or ends. One cache line; what is rarely asked for is
/// packed, or told again from the key.
#[derive(Clone, Debug)]
pub struct Flow {
    /// Its name at this point.
    pub key: FlowKey,
    /// Source MAC of its first packet, and above it [`marks`].
    mac_and_marks: u64,
    /// See [`Flow::opening`]; while that is not known, what the answer to it acknowledges.
    opening: u32,
    /// See [`Flow::answer`].
    answer: u32,
    /// As in [`Entry::pair`].
    pub pair: u32,
    /// The first of the rows held for it by the pairing stage (`u32::MAX` for none).
    pub held: u32,
}

/// Bits above the MAC of a [`Flow`].
mod marks {
    /// Bits of a MAC.
    pub(super) const MAC: u64 = (1 << 48) - 1;
    /// The high endpoint sent the first packet.
    pub(super) const FROM_HIGH: u64 = 1 << 48;
    /// A packet other than an opening SYN was seen.
    pub(super) const BEGUN: u64 = 1 << 49;
    /// `opening` is known.
    pub(super) const OPENING: u64 = 1 << 50;
    /// `answer` is known.
    pub(super) const ANSWER: u64 = 1 << 51;
    /// A later incarnation has taken its slot in the table.
    pub(super) const REPLACED: u64 = 1 << 52;
    /// The slab place is in use.
    pub(super) const LIVE: u64 = 1 << 53;
}

impl Flow {
    fn new(key: FlowKey) -> Self {
        Self { key, mac_and_marks: marks::LIVE, opening: 0, answer: 0, pair: UNPAIRED, held: u32::MAX }
    }

    const fn is(&self, mark: u64) -> bool {
        self.mac_and_marks & mark != 0
    }

    /// Hash of the key.
    fn fingerprint(&self) -> u64 {
        fingerprint(&self.key)
    }

    /// Upper half of the hash of the key: the lower one says where it stands in the table.
    pub fn print(&self) -> u32 {
        (self.fingerprint() >> 32) as u32
    }

    /// Source MAC of its first packet (0 for none), and whether the high endpoint sent that.
    pub const fn mac(&self) -> (u64, bool) {
        (self.mac_and_marks & marks::MAC, self.is(marks::FROM_HIGH))
    }

    /// Takes note of its first packet's source.
    pub const fn set_mac(&mut self, mac: u64, from_high: bool) {
        let others = self.mac_and_marks & !(marks::MAC | marks::FROM_HIGH);
        self.mac_and_marks = others | (mac & marks::MAC) | if from_high { marks::FROM_HIGH } else { 0 };
    }

    /// Whether a packet other than an opening SYN was seen, or its sequence number noted.
    pub const fn begun(&self) -> bool {
        self.is(marks::BEGUN)
    }

    /// From now on it has [begun](Self::begun).
    pub const fn begin(&mut self) {
        self.mac_and_marks |= marks::BEGUN;
    }

    /// Sequence number of the SYN that opened it, to tell incarnations apart.
    pub fn opening(&self) -> Option<u32> {
        self.is(marks::OPENING).then_some(self.opening)
    }

    /// The same of the answer to it, where that SYN was not seen.
    pub fn answer(&self) -> Option<u32> {
        self.is(marks::ANSWER).then_some(self.answer)
    }

    /// Whether this is the number of the SYN whose answer was seen already: two processors may have recorded them the wrong way
    /// round.
    pub fn awaits(&self, opening: u32) -> bool {
        self.is(marks::ANSWER) && !self.is(marks::OPENING) && self.opening == opening
    }

    /// Takes note of the sequence number of a SYN.
    pub const fn opened(&mut self, number: u32) {
        (self.opening, self.mac_and_marks) = (number, self.mac_and_marks | marks::OPENING);
    }

    /// Takes note of the sequence number of the answer to a SYN that was not seen, and of what it acknowledges.
    pub const fn answered(&mut self, number: u32, acknowledged: u32) {
        (self.answer, self.mac_and_marks) = (number, self.mac_and_marks | marks::ANSWER);
        self.opening = acknowledged.wrapping_sub(1);
    }

    /// Whether a later incarnation has taken its slot in the table.
    pub const fn replaced(&self) -> bool {
        self.is(marks::REPLACED)
    }

    /// Whether the slab place is in use.
    pub const fn live(&self) -> bool {
        self.is(marks::LIVE)
    }
}

/// Flows of one point.
#[derive(Debug)]
pub struct FlowTable {
    buckets: Vec<Bucket>,
    mask: usize,
    used: usize,
    /// The slab of flows; look-ups give places in it.
    pub flows: Vec<Flow>,
    free: Vec<u32>,
    /// Flows ever opened.
    pub opened: u64,
}

impl Default for FlowTable {
    fn default() -> Self {
        let size = 256;
        Self {
            buckets: vec![Bucket::EMPTY; size],
            mask: size - 1,
            used: 0,
            flows: Vec::with_capacity(USUAL_FLOWS),
            free: Vec::new(),
            opened: 0,
        }
    }
}

/// The fingerprint of a key; never 0. Seeded by a constant: the report must be the same at every run.
#[inline]
pub fn fingerprint(key: &FlowKey) -> u64 {
    const SEED: [u64; 4] = [0x243f_6a88_85a3_08d3, 0x1319_8a2e_0370_7344, 0xa409_3822_299f_31d0, 0x082e_fa98_ec4e_6c89];
    let ports =
        (key.low.port as u64) << 48 | (key.high.port as u64) << 32 | (key.protocol as u64) << 8 | key.family as u64;
    let hash = if key.family == Family::V4 {
        let addresses = (key.low.address as u64) << 32 | (key.high.address as u64 & 0xffff_ffff);
        mix(addresses ^ SEED[0], mix(ports ^ SEED[1], SEED[2]) ^ SEED[3])
    } else {
        let low = mix(key.low.address as u64 ^ SEED[0], (key.low.address >> 64) as u64 ^ SEED[1]);
        let high = mix(key.high.address as u64 ^ SEED[2], (key.high.address >> 64) as u64 ^ SEED[3]);
        mix(low ^ SEED[2].rotate_left(17), high ^ mix(ports ^ SEED[1], SEED[0]))
    };
    hash | u64::from(hash == 0)
}

impl FlowTable {
    /// The fingerprint of a key that will be looked up: its line is on the way from now on.
    #[inline]
    pub fn announce(&self, key: &FlowKey) -> u64 {
        let fingerprint = fingerprint(key);
        prefetch(&self.buckets[fingerprint as usize & self.mask]);
        fingerprint
    }

    /// The flow of a key, if it is in the table.
    #[inline]
    pub fn find(&self, fingerprint: u64) -> Option<Entry> {
        let mut index = fingerprint as usize & self.mask;
        loop {
            let bucket = &self.buckets[index];
            if let Some(slot) = bucket.0.get(bucket.find(fingerprint)) {
                return Some(Entry { flow: slot.flow, pair: slot.pair });
            }
            if !bucket.is_full() {
                return None;
            }
            index = (index + 1) & self.mask;
        }
    }

    /// Opens a flow under the key. An earlier incarnation under the same key loses its slot.
    #[cold]
    #[inline(never)]
    pub fn open(&mut self, fingerprint: u64, key: FlowKey) -> Entry {
        if (self.used + 1) * 8 > self.buckets.len() * WIDTH * 7 {
            self.grow();
        }
        let flow = Flow::new(key);
        let id = if let Some(id) = self.free.pop() {
            self.flows[id as usize] = flow;
            id
        } else {
            self.flows.push(flow);
            (self.flows.len() - 1) as u32
        };
        self.opened += 1;
        let slot = Slot { fingerprint, flow: id, pair: UNPAIRED };
        if let Some((index, at)) = self.place_of(fingerprint) {
            let before = std::mem::replace(&mut self.buckets[index].0[at], slot);
            self.flows[before.flow as usize].mac_and_marks |= marks::REPLACED;
        } else {
            self.put(slot);
            self.used += 1;
        }
        Entry { flow: id, pair: UNPAIRED }
    }

    /// Gives a flow its pair (or takes it away, with [`UNPAIRED`]).
    pub fn set_pair(&mut self, flow: u32, pair: u32) {
        let entry = &mut self.flows[flow as usize];
        entry.pair = pair;
        if entry.replaced() {
            return;
        }
        let fingerprint = entry.fingerprint();
        if let Some((index, at)) = self.place_of(fingerprint) {
            self.buckets[index].0[at].pair = pair;
        }
    }

    /// Forgets a flow; its place may be used again.
    pub fn close(&mut self, flow: u32) {
        let entry = &mut self.flows[flow as usize];
        if !entry.live() {
            return;
        }
        entry.mac_and_marks &= !marks::LIVE;
        let (replaced, fingerprint) = (entry.replaced(), entry.fingerprint());
        self.free.push(flow);
        if !replaced && let Some((index, at)) = self.place_of(fingerprint) {
            self.remove_at(index, at);
        }
    }

    /// Frees what flows are found by, at the end of the capture.
    pub fn forget_places(&mut self) {
        (self.buckets, self.free) = (vec![Bucket::EMPTY], Vec::new());
        (self.mask, self.used) = (0, 0);
    }

    /// Frees all flows, once they have no more to say.
    pub fn forget(&mut self) {
        self.forget_places();
        self.flows = Vec::new();
    }

    /// Flows in the table now.
    #[cfg(test)]
    fn live(&self) -> usize {
        self.flows.len() - self.free.len()
    }

    /// Bucket and place of a fingerprint.
    fn place_of(&self, fingerprint: u64) -> Option<(usize, usize)> {
        let mut index = fingerprint as usize & self.mask;
        loop {
            let bucket = &self.buckets[index];
            let at = bucket.find(fingerprint);
            if at < WIDTH {
                return Some((index, at));
            }
            if !bucket.is_full() {
                return None;
            }
            index = (index + 1) & self.mask;
        }
    }

    /// Puts a slot into the first bucket with room, from its home on.
    fn put(&mut self, slot: Slot) {
        let mut index = slot.fingerprint as usize & self.mask;
        while self.buckets[index].is_full() {
            index = (index + 1) & self.mask;
        }
        let bucket = &mut self.buckets[index];
        bucket.0[bucket.len()] = slot;
    }

    /// Takes a slot out and moves what had found its bucket full back into it: no tombstones, so look-ups stay short however
    /// many flows have come and gone.
    fn remove_at(&mut self, mut index: usize, mut at: usize) {
        self.used -= 1;
        loop {
            let bucket = &mut self.buckets[index];
            let (was_full, last) = (bucket.is_full(), bucket.len() - 1);
            bucket.0[at] = bucket.0[last];
            bucket.0[last] = EMPTY;
            if !was_full {
                return;
            }
            let Some((from, place)) = self.displaced(index) else { return };
            self.buckets[index].0[last] = self.buckets[from].0[place];
            (index, at) = (from, place);
        }
    }

    /// A slot behind a bucket that would stand in it or before it, had there been room.
    fn displaced(&self, hole: usize) -> Option<(usize, usize)> {
        let mut index = hole;
        loop {
            index = (index + 1) & self.mask;
            if index == hole {
                return None;
            }
            let bucket = &self.buckets[index];
            let passed = |slot: &Slot| {
                let home = slot.fingerprint as usize & self.mask;
                slot.fingerprint != 0
                    && (index.wrapping_sub(home) & self.mask) >= (index.wrapping_sub(hole) & self.mask)
            };
            if let Some(at) = bucket.0.iter().position(passed) {
                return Some((index, at));
            }
            if !bucket.is_full() {
                return None;
            }
        }
    }

    fn grow(&mut self) {
        let old = std::mem::take(&mut self.buckets);
        self.mask = old.len() * 2 - 1;
        self.buckets = vec![Bucket::EMPTY; old.len() * 2];
        old.iter().flat_map(|bucket| bucket.0).filter(|slot| slot.fingerprint != 0).for_each(|slot| self.put(slot));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::key::Endpoint;
    use proptest::prelude::*;
    use std::collections::HashMap;

    fn key(n: u16) -> FlowKey {
        FlowKey::new(Endpoint::v4(0x0a00_0001, n), Endpoint::v4(0x0a00_0002, 443), 6, Family::V4).0
    }

    proptest! {
        /// Opening, closing and finding agree with a hash map, however the slots collide and shift: so many flows that every
        /// tenth bucket is full.
        #[test]
        fn agrees_with_a_hash_map(steps in prop::collection::vec((0_u16..900, any::<bool>()), 1..4000)) {
            let mut table = FlowTable::default();
            let mut model: HashMap<u16, u32> = HashMap::new();
            for (n, open) in steps {
                let print = fingerprint(&key(n));
                prop_assert_eq!(table.find(print).map(|entry| entry.flow), model.get(&n).copied());
                if open && !model.contains_key(&n) {
                    model.insert(n, table.open(print, key(n)).flow);
                } else if let Some(flow) = model.remove(&n) {
                    table.close(flow);
                }
            }
            prop_assert_eq!(table.live(), model.len());
            for (n, flow) in model {
                prop_assert_eq!(table.find(fingerprint(&key(n))).map(|entry| entry.flow), Some(flow));
            }
        }
    }

    #[test]
    fn a_flow_is_one_line_of_the_cache() {
        assert_eq!(size_of::<Flow>(), 64);
    }

    #[test]
    fn what_is_packed_does_not_mix() {
        let mut flow = Flow::new(key(1));
        flow.set_mac(0xffff_ffff_ffff, true);
        assert_eq!((flow.mac(), flow.begun(), flow.live()), ((0xffff_ffff_ffff, true), false, true));
        assert_eq!((flow.opening(), flow.answer(), flow.replaced()), (None, None, false));
        flow.answered(0, 8);
        flow.set_mac(2, false);
        flow.begin();
        assert_eq!((flow.opening(), flow.answer(), flow.mac()), (None, Some(0), (2, false)));
        flow.opened(7);
        assert_eq!((flow.opening(), flow.answer(), flow.begun()), (Some(7), Some(0), true));
    }

    #[test]
    fn a_new_incarnation_takes_the_slot() {
        let mut table = FlowTable::default();
        let print = fingerprint(&key(1));
        let first = table.open(print, key(1));
        let second = table.open(print, key(1));
        assert_ne!(first.flow, second.flow);
        table.set_pair(first.flow, 8);
        assert_eq!(table.find(print), Some(Entry { flow: second.flow, pair: UNPAIRED }));
        table.close(first.flow);
        assert_eq!(table.find(print).unwrap().flow, second.flow);
    }
}
