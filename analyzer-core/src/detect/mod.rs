//! Facts → findings. One file a fault under `detectors`; what they see is the [`Scene`].

mod scene;

pub use scene::{PairView, Scene};

use crate::report::Finding;

/// Runs all detectors.
pub fn run(_scene: &Scene) -> Vec<Finding> {
    Vec::new()
}
