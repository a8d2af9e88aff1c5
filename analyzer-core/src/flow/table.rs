//! The flow table of one capture point: fingerprints in open addressing, everything rare in a cold slab.
//!
//! A slot is 16 bytes and holds all that a packet of a paired flow needs, so that such a packet costs one cache line here.
//! The fingerprint is a 64-bit hash of the whole key; two keys that share one would be merged, which at a million live
//! flows happens with a probability of 3e-8. Look-ups come in batches: hash all, touch all slots, then resolve, so that
//! the misses overlap.

use super::USUAL_FLOWS;
use crate::hash::mix;
use crate::packet::key::{Family, FlowKey};

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

/// What a look-up gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Place in the slab of flows.
    pub flow: u32,
    /// Pair number << 1 | whether the inside endpoint is the key's high one; [`UNPAIRED`] before pairing.
    pub pair: u32,
}

/// A flow at one point: the cold part, touched when it begins, is paired, or ends.
#[derive(Clone, Debug)]
pub struct Flow {
    /// Its name at this point.
    pub key: FlowKey,
    /// Hash of the key.
    pub fingerprint: u64,
    /// As in [`Entry::pair`].
    pub pair: u32,
    /// Sequence number of the SYN that opened it, to tell incarnations apart.
    pub opening: Option<u32>,
    /// The same of the answer to it, where that SYN was not seen.
    pub answer: Option<u32>,
    /// Whether a packet other than an opening SYN was seen.
    pub begun: bool,
    /// Source MAC of its first packet (0 for none), and whether the high endpoint sent that.
    pub mac: (u64, bool),
    /// Head and tail of the rows held for it by the pairing stage (`u32::MAX` for none).
    pub held: (u32, u32),
    /// Whether a later incarnation has taken its slot in the table.
    pub replaced: bool,
    /// Whether the slab place is in use.
    pub live: bool,
}

/// Flows of one point.
#[derive(Debug)]
pub struct FlowTable {
    slots: Vec<Slot>,
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
        let size = 1024;
        Self {
            slots: vec![EMPTY; size],
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
    /// The slot's fingerprint at the hash's home: a read whose only use is to bring the line into the cache.
    #[inline]
    pub fn touch(&self, fingerprint: u64) -> u64 {
        self.slots[fingerprint as usize & self.mask].fingerprint
    }

    /// The flow of a key, if it is in the table.
    #[inline]
    pub fn find(&self, fingerprint: u64) -> Option<Entry> {
        let mut index = fingerprint as usize & self.mask;
        loop {
            let slot = self.slots[index];
            if slot.fingerprint == fingerprint {
                return Some(Entry { flow: slot.flow, pair: slot.pair });
            }
            if slot.fingerprint == 0 {
                return None;
            }
            index = (index + 1) & self.mask;
        }
    }

    /// Opens a flow under the key. An earlier incarnation under the same key loses its slot.
    #[cold]
    #[inline(never)]
    pub fn open(&mut self, fingerprint: u64, key: FlowKey) -> Entry {
        if (self.used + 1) * 8 > self.slots.len() * 7 {
            self.grow();
        }
        let flow = Flow {
            key,
            fingerprint,
            pair: UNPAIRED,
            opening: None,
            answer: None,
            begun: false,
            mac: (0, false),
            held: (u32::MAX, u32::MAX),
            replaced: false,
            live: true,
        };
        let id = if let Some(id) = self.free.pop() {
            self.flows[id as usize] = flow;
            id
        } else {
            self.flows.push(flow);
            (self.flows.len() - 1) as u32
        };
        self.opened += 1;
        let mut index = fingerprint as usize & self.mask;
        loop {
            let slot = &mut self.slots[index];
            if slot.fingerprint == fingerprint {
                self.flows[slot.flow as usize].replaced = true;
                *slot = Slot { fingerprint, flow: id, pair: UNPAIRED };
                break;
            }
            if slot.fingerprint == 0 {
                *slot = Slot { fingerprint, flow: id, pair: UNPAIRED };
                self.used += 1;
                break;
            }
            index = (index + 1) & self.mask;
        }
        Entry { flow: id, pair: UNPAIRED }
    }

    /// Gives a flow its pair (or takes it away, with [`UNPAIRED`]).
    pub fn set_pair(&mut self, flow: u32, pair: u32) {
        let entry = &mut self.flows[flow as usize];
        entry.pair = pair;
        if entry.replaced {
            return;
        }
        if let Some(index) = self.index_of(self.flows[flow as usize].fingerprint) {
            self.slots[index].pair = pair;
        }
    }

    /// Forgets a flow; its place may be used again.
    pub fn close(&mut self, flow: u32) {
        let entry = &mut self.flows[flow as usize];
        if !entry.live {
            return;
        }
        entry.live = false;
        let (replaced, fingerprint) = (entry.replaced, entry.fingerprint);
        self.free.push(flow);
        if !replaced && let Some(index) = self.index_of(fingerprint) {
            self.remove_at(index);
        }
    }

    /// Frees all flows, at the end of the capture.
    pub fn forget(&mut self) {
        (self.slots, self.flows, self.free) = (vec![EMPTY], Vec::new(), Vec::new());
        (self.mask, self.used) = (0, 0);
    }

    /// Flows in the table now.
    pub fn live(&self) -> usize {
        self.flows.len() - self.free.len()
    }

    fn index_of(&self, fingerprint: u64) -> Option<usize> {
        let mut index = fingerprint as usize & self.mask;
        while self.slots[index].fingerprint != 0 {
            if self.slots[index].fingerprint == fingerprint {
                return Some(index);
            }
            index = (index + 1) & self.mask;
        }
        None
    }

    /// Backward-shift deletion: no tombstones, so look-ups stay short however many flows have come and gone.
    fn remove_at(&mut self, mut hole: usize) {
        self.used -= 1;
        let mut index = hole;
        loop {
            index = (index + 1) & self.mask;
            let slot = self.slots[index];
            if slot.fingerprint == 0 {
                break;
            }
            let home = slot.fingerprint as usize & self.mask;
            if (index.wrapping_sub(home) & self.mask) >= (index.wrapping_sub(hole) & self.mask) {
                self.slots[hole] = slot;
                hole = index;
            }
        }
        self.slots[hole] = EMPTY;
    }

    fn grow(&mut self) {
        let old = std::mem::take(&mut self.slots);
        self.mask = old.len() * 2 - 1;
        self.slots = vec![EMPTY; old.len() * 2];
        for slot in old {
            if slot.fingerprint == 0 {
                continue;
            }
            let mut index = slot.fingerprint as usize & self.mask;
            while self.slots[index].fingerprint != 0 {
                index = (index + 1) & self.mask;
            }
            self.slots[index] = slot;
        }
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
        /// Opening, closing and finding agree with a hash map, however the slots collide and shift.
        #[test]
        fn agrees_with_a_hash_map(steps in prop::collection::vec((0_u16..300, any::<bool>()), 1..2000)) {
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
