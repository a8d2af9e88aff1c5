//! TCP sequence numbers (RFC 9293, section 3.4): arithmetic modulo 2^32. It lives here and nowhere else.

/// `a - b` as a signed distance: positive when `a` is ahead of `b`.
#[inline]
pub(crate) const fn distance(a: u32, b: u32) -> i32 {
    a.wrapping_sub(b) as i32
}

/// Whether `a` comes before `b`.
#[inline]
pub(crate) const fn before(a: u32, b: u32) -> bool {
    distance(a, b) < 0
}

/// Whether `a` comes after `b`.
#[inline]
pub(crate) const fn after(a: u32, b: u32) -> bool {
    distance(a, b) > 0
}

/// The later of two sequence numbers.
#[inline]
pub(crate) const fn later(a: u32, b: u32) -> u32 {
    if before(a, b) { b } else { a }
}

/// The earlier of two sequence numbers.
#[inline]
pub(crate) const fn earlier(a: u32, b: u32) -> u32 {
    if before(a, b) { a } else { b }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn order_survives_wrap(base: u32, ahead in 1_u32..0x8000_0000) {
            let next = base.wrapping_add(ahead);
            if ahead < 0x8000_0000 {
                prop_assert!(before(base, next) && after(next, base));
                prop_assert_eq!(later(base, next), next);
                prop_assert_eq!(earlier(base, next), base);
            }
        }
    }

    #[test]
    fn wraps_at_the_top() {
        assert!(before(0xffff_fff0, 0x10));
        assert_eq!(distance(0x10, 0xffff_fff0), 0x20);
    }
}
