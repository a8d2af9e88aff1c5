//! The Internet checksum (RFC 1071).
//!
//! Sums are kept unfolded and in the machine's byte order: RFC 1071, section 2 (B) allows it, and it leaves the loop with little
//! but loads and adds, which the compiler turns into vector code. Only what leaves the packet layer is brought into network order.

/// A sum of 32-bit words in memory order, not folded. No frame is long enough to overflow it.
pub(super) type Sum = u64;

/// Bytes that are summed at once.
const BLOCK: usize = 64;

/// Nothing, then everything: from each place on the mask of the last bytes of a block.
const ENDS: [u8; 2 * BLOCK] = {
    let mut ends = [0; 2 * BLOCK];
    let mut at = BLOCK;
    while at < 2 * BLOCK {
        ends[at] = 0xff;
        at += 1;
    }
    ends
};

/// Sums any number of bytes; an odd one at the end counts as if followed by zero.
#[inline]
pub(super) fn sum(bytes: &[u8]) -> Sum {
    sum_end(bytes, bytes.len())
}

/// Sums the last `len` bytes. Those before them are not looked at, but when there are any, what is less than a block can
/// be read as the masked end of a whole one: at which byte it starts is a coin's toss to the branch predictor.
#[inline]
pub(super) fn sum_end(bytes: &[u8], len: usize) -> Sum {
    let summed = &bytes[bytes.len().saturating_sub(len)..];
    let (blocks, rest) = summed.as_chunks::<BLOCK>();
    let total = if blocks.is_empty() { 0 } else { sum_blocks(blocks) };
    if rest.is_empty() {
        return total;
    }
    let (Some(end), Some(mask)) = (bytes.last_chunk::<BLOCK>(), ENDS[rest.len() % BLOCK..].first_chunk::<BLOCK>())
    else {
        return total + sum_few(rest);
    };
    let masked: [u8; BLOCK] = std::array::from_fn(|at| end[at] & mask[at]);
    // What starts at an odd byte has the halves of its words exchanged, and so has its sum (RFC 1071, section 2 (B)).
    total + sum_blocks(&[masked]).rotate_left(8 * (rest.len() as u32 % 2))
}

/// Sums whole blocks, in parallel sums that the compiler keeps in vectors.
#[inline]
fn sum_blocks(blocks: &[[u8; BLOCK]]) -> Sum {
    let (mut wrapping, mut upper) = ([0_u64; BLOCK / 8], [0_u64; BLOCK / 8]);
    for block in blocks {
        for (at, word) in block.as_chunks::<8>().0.iter().enumerate() {
            let word = u64::from_ne_bytes(*word);
            wrapping[at] = wrapping[at].wrapping_add(word);
            upper[at] += word >> 32;
        }
    }
    let wrapping = wrapping.iter().fold(0_u64, |sum, lane| sum.wrapping_add(*lane));
    let upper: u64 = upper.iter().sum();
    // What wrapped was a carry out of the upper halves, whose true sum is known: without them the lower halves' is left.
    wrapping.wrapping_sub(upper << 32) + upper
}

/// Sums a few bytes word by word.
#[inline(never)]
fn sum_few(bytes: &[u8]) -> Sum {
    let (words, rest) = bytes.as_chunks::<4>();
    let mut last = [0; 4];
    last[..rest.len()].copy_from_slice(rest);
    words.iter().chain([&last]).map(|word| Sum::from(u32::from_ne_bytes(*word))).sum()
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
        for len in 0..200 {
            for end in len..bytes.len() {
                let summed = sum_end(&bytes[..end], len);
                assert_eq!(fold_be(summed), by_the_book(&bytes[end - len..end]), "{len} bytes before {end}");
            }
        }
    }

    #[test]
    fn folds_the_largest_sums() {
        assert_eq!(fold(u64::MAX), 0xffff);
        assert_eq!(fold(0), 0);
        assert_eq!(fold(0x1_0000), 1);
        assert_eq!(fold_be(sum(&vec![0xff; 1 << 20])), 0xffff);
        assert_eq!(fold_be(sum(&vec![0; 1000])), 0);
    }

    #[test]
    fn the_example_of_rfc_1071_section_3() {
        assert_eq!(fold_be(sum(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7])), 0xddf2);
    }
}
