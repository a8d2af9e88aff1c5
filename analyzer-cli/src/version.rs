//! What this build is, for bug reports: `pcapdiff --version`.

/// The version and the facts of the build, gathered by `build.rs`.
pub(crate) const LONG: &str = concat!(
    env!("CARGO_PKG_VERSION"),
    "\ncommit    ",
    env!("PCAPDIFF_COMMIT"),
    "\ntarget    ",
    env!("PCAPDIFF_TARGET"),
    "\nfeatures  ",
    env!("PCAPDIFF_FEATURES"),
    "\ncompiler  ",
    env!("PCAPDIFF_RUSTC"),
    "\nreport    pcapdiff/1",
);
