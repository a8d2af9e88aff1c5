//! The host's settings.

#![no_main]

use analyzer_core::witness::sysctl::{Host, SETTINGS};
use libfuzzer_sys::fuzz_target;
use std::path::Path;

fuzz_target!(|data: &[u8]| {
    let Ok(host) = Host::read(Path::new("sysctl.txt"), data) else { return };
    for setting in SETTINGS {
        assert!((0..=i64::from(i32::MAX)).contains(&host.value(setting)), "{}", setting.key);
    }
    assert!(host.shortest(&SETTINGS).is_none_or(|least| least >= 0));
    let _ = host.table_full();
});
