//! Mixing of words into keys: the same at every run and on every machine, not cryptographic.

/// Folded multiply: the mixing step of wyhash and foldhash.
#[inline]
pub(crate) const fn mix(a: u64, b: u64) -> u64 {
    let product = (a as u128).wrapping_mul(b as u128);
    (product as u64) ^ ((product >> 64) as u64)
}
