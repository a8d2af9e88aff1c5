//! Mixing of words into keys: the same at every run and on every machine, not cryptographic. And tables of such keys.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// Folded multiply: the mixing step of wyhash and foldhash.
#[inline]
pub(crate) const fn mix(a: u64, b: u64) -> u64 {
    let product = (a as u128).wrapping_mul(b as u128);
    (product as u64) ^ ((product >> 64) as u64)
}

/// A table whose keys are hashes already.
pub(crate) type Hashed<V> = HashMap<u64, V, BuildHasherDefault<Identity>>;

/// Passes a key that is already a hash.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Identity(u64);

impl Hasher for Identity {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, _: &[u8]) {}
    fn write_u64(&mut self, value: u64) {
        self.0 = value;
    }
}
