//! The Internet checksum (RFC 1071).
//!
//! Sums are kept unfolded and in the machine's byte order: RFC 1071, section 2 (B) allows it, and it makes the loop one
//! load and one add, which the compiler turns into vector code. Only what leaves the packet layer is brought into network order.

/// A sum of 32-bit words in memory order, not folded. No frame is long enough to overflow it.
pub(super) type Sum = u64;

/// Sums any number of bytes; an odd one at the end counts as if followed by zero.
#[inline]
pub(super) fn sum(bytes: &[u8]) -> Sum {
    let (words, rest) = bytes.as_chunks::<4>();
    let mut total: Sum = 0;
    for word in words {
        total += Sum::from(u32::from_ne_bytes(*word));
    }
    if !rest.is_empty() {
        let mut last = [0; 4];
        last[..rest.len()].copy_from_slice(rest);
        total += Sum::from(u32::from_ne_bytes(last));
    }
    total
}

/// Sums a header of `N` bytes, a multiple of four, without a loop's overhead.
#[inline]
pub(super) fn sum_header<const N: usize>(header: &[u8; N]) -> Sum {
    header.as_chunks::<4>().0.iter().map(|word| Sum::from(u32::from_ne_bytes(*word))).sum()
}

/// A 16-bit value in network order, as a summand.
#[inline]
pub(super) const fn word(value: u16) -> Sum {
    value.to_be() as Sum
}

/// A 32-bit value in network order, as a summand.
#[inline]
pub(super) const fn long(value: u32) -> Sum {
    value.to_be() as Sum
}

/// Folds to 16 bits, in memory order. Zero only if every summand was zero.
#[inline]
pub(super) const fn fold(sum: Sum) -> u16 {
    // Adding the halves to each other crosswise leaves their sum, carry included, in the upper one.
    let sum = (sum.wrapping_add(sum.rotate_left(32)) >> 32) as u32;
    (sum.wrapping_add(sum.rotate_left(16)) >> 16) as u16
}

/// Folds to 16 bits, in network order: the form that rows carry.
#[inline]
pub(super) const fn fold_be(sum: Sum) -> u16 {
    u16::from_be(fold(sum))
}

/// Whether everything that a checksum covers, field included, adds up.
#[inline]
pub(super) const fn adds_up(sum: Sum) -> bool {
    fold(sum) == 0xffff
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The definition, word by word (RFC 1071, section 1).
    fn by_the_book(bytes: &[u8]) -> u16 {
        let mut total = 0_u32;
        for pair in bytes.chunks(2) {
            total += u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
            total = (total & 0xffff) + (total >> 16);
        }
        total as u16
    }

    #[test]
    fn every_length_agrees_with_the_definition() {
        let bytes: Vec<u8> = (0..300_u32).map(|i| (i * 7 + (i >> 3)) as u8).collect();
        for len in 0..bytes.len() {
            assert_eq!(fold_be(sum(&bytes[..len])), by_the_book(&bytes[..len]), "{len} bytes");
        }
    }

    #[test]
    fn folds_the_largest_sums() {
        assert_eq!(fold(u64::MAX), 0xffff);
        assert_eq!(fold(0), 0);
        assert_eq!(fold(0x1_0000), 1);
        assert_eq!(fold_be(sum(&vec![0xff; 1 << 20])), 0xffff);
    }

    #[test]
    fn the_example_of_rfc_1071_section_3() {
        assert_eq!(fold_be(sum(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7])), 0xddf2);
    }
}
