//! Whoever adds or multiplies what a capture says must have thought of its largest value: the tests are built with
//! optimisation, as users' binaries are, and with checks of overflow all the same.

use std::hint::black_box;

#[test]
fn an_overflow_fails_a_test() {
    assert!(std::panic::catch_unwind(|| black_box(u8::MAX) + black_box(1)).is_err());
}
