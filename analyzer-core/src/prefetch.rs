//! The one place with `unsafe` code: a hint to the processor, of which the language has no safe form.

/// Asks for the cache line at which a value begins. Nothing waits for it, which is the gain over reading the line ahead: a read
/// that misses the caches holds back all that stands behind it as soon as the processor's window is full.
#[inline]
#[cfg_attr(all(target_arch = "x86_64", not(miri)), expect(unsafe_code, reason = "the instruction takes a pointer"))]
pub(crate) fn prefetch<T>(at: &T) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: the instruction reads nothing that a program could see and cannot fail, whatever the address; this one is of
        // a value that lives. SSE, to which it belongs, is part of x86-64.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(at).cast()) };
    }
    // Elsewhere it is not stable yet, and the lines come when they are read.
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    let _ = at;
}
