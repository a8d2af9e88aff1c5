//! The log of connection tracking.

#![no_main]

use analyzer_core::witness::Log;
use libfuzzer_sys::fuzz_target;
use std::path::Path;

fuzz_target!(|data: &[u8]| {
    if let Ok(log) = Log::read(Path::new("conntrack.log"), data, |_, _| true) {
        let _ = log.learned();
    }
    let _ = Log::read(Path::new("conntrack.log"), data, |one, other| one < other);
});
