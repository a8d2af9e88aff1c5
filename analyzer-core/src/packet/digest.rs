//! Digests that recognise the same payload at both capture points: cheap, stable across runs and machines, not cryptographic.

use super::span::Span;

/// Odd constants with balanced bits (the first digits of the golden ratio and of pi).
const K1: u64 = 0x9e37_79b9_7f4a_7c15;
const K2: u64 = 0x243f_6a88_85a3_08d3;

/// How many bytes of payload the head digest covers.
pub(super) const HEAD: usize = 16;

/// Mixes two words: the folded 128-bit product, in which every input bit reaches every output bit.
#[inline]
const fn mix(a: u64, b: u64) -> u64 {
    let product = (a ^ K1) as u128 * (b ^ K2) as u128;
    (product >> 64) as u64 ^ product as u64
}

/// Digest of up to 16 bytes; never zero.
#[inline]
pub(super) fn short(bytes: &[u8]) -> u64 {
    let (low, high) = if let Some(all) = bytes.first_chunk::<HEAD>() {
        let all = u128::from_le_bytes(*all);
        (all as u64, (all >> 64) as u64)
    } else if let (Some(first), Some(last)) = (bytes.first_chunk::<8>(), bytes.last_chunk::<8>()) {
        (u64::from_le_bytes(*first), u64::from_le_bytes(*last))
    } else {
        let mut few = [0; 8];
        few[..bytes.len()].copy_from_slice(bytes);
        (u64::from_le_bytes(few), 0)
    };
    // The length, spread over the word, keeps a byte of zero apart from no byte.
    mix(low ^ (bytes.len().min(HEAD) as u64).wrapping_mul(K1), high).max(1)
}

/// Digest of the first bytes of a payload: 0 when there is none, or when so little was captured that the other point,
/// which may have kept more, could not come to the same value.
#[inline]
pub(super) fn head(payload: Span<'_>) -> u64 {
    if payload.len == 0 || payload.bytes.len() < payload.len.min(HEAD) { 0 } else { short(payload.bytes) }
}

/// Digest of numbers; never zero.
pub(super) fn words(words: &[u64]) -> u64 {
    words.iter().fold(K2, |state, word| mix(state, *word)).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn length_and_every_byte_matter() {
        let zeros = [0_u8; 20];
        let mut seen: Vec<u64> = (1..=HEAD).map(|len| short(&zeros[..len])).collect();
        for len in 1..=HEAD {
            for at in 0..len {
                let mut bytes = zeros;
                bytes[at] = 1;
                seen.push(short(&bytes[..len]));
            }
        }
        let count = seen.len();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), count);
        assert!(!seen.contains(&0));
    }

    #[test]
    fn only_the_first_sixteen_bytes_matter() {
        assert_eq!(short(&[7; 16]), short(&[7; 40]));
    }

    #[test]
    fn a_head_that_was_cut_is_unknown() {
        assert_eq!(head(Span::new(&[1; 15], 100)), 0);
        assert_eq!(head(Span::new(&[1; 16], 100)), short(&[1; 100]));
        assert_eq!(head(Span::new(&[1; 3], 3)), short(&[1; 3]));
        assert_eq!(head(Span::new(&[], 0)), 0);
    }
}
