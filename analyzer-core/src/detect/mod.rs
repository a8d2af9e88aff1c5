//! Facts → findings. One file a fault under `detectors`; what they see is the [`Scene`].
//!
//! A detector works in two steps. `observe` looks at the facts and makes a [`Claim`] for each flow (or one for several)
//! where its conditions hold; this is where "unmatched" may become "lost", after the alibis of [`alibi`]. The engine then
//! lets causes outrank symptoms and groups what belongs together; `conclude` puts a group into words. Detectors do not
//! read packets, nor one another.
//!
//! To add one: its file under `detectors` (the head of the file is what `pcapdiff explain` prints), its line in
//! [`SPECS`], a folder of test data.

pub mod alibi;
pub mod claim;
mod coverage;
mod detectors;
mod engine;
pub mod filter;
mod place;
mod scene;
pub mod spec;
pub mod stops;
pub mod testimony;
pub mod text;
mod unseen;

pub use claim::{Claim, Reasons};
pub use detectors::SPECS;
pub use scene::{Boundary, PairView, Scene, Selection};
pub use spec::{Spec, Threshold};
pub use testimony::{Testimony, Witness};

use crate::report::Finding;

/// What limits the verdicts.
pub(crate) fn coverage(scene: &Scene) -> Vec<crate::report::Coverage> {
    coverage::judge(scene)
}

/// Packets that each capture missed although they must have passed it.
pub(crate) fn missed(scene: &Scene) -> [u64; 2] {
    crate::point::Point::BOTH.map(|point| alibi::count_missed(scene, point))
}

/// Runs all detectors.
pub fn run(scene: &Scene) -> Vec<Finding> {
    engine::run(scene, SPECS)
}
