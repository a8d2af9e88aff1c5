//! Facts → findings. One file a fault under `detectors`; what they see is the [`Scene`].
//!
//! A detector works in two steps. `observe` looks at the facts and makes a [`Claim`] for each flow (or one for several)
//! where its conditions hold; this is where "unmatched" may become "lost", after the alibis of [`alibi`]. The engine then
//! lets causes outrank symptoms and groups what belongs together; `conclude` puts a group into words. Detectors do not
//! read packets, nor one another.
//!
//! To add one to the library: its file under `detectors` (the head of the file is what `pcapdiff explain` prints), its
//! line in the index there, a folder of test data. To add one from outside: [`Detector`].

pub mod alibi;
mod census;
mod claim;
mod coverage;
mod detector;
mod detectors;
mod engine;
mod filter;
mod place;
mod scene;
mod spec;
mod stops;
mod testimony;
pub mod text;
mod unseen;

pub use crate::align::clock::{ClockMap, Overlap};
pub use crate::flow::ingest::Presence;
pub(crate) use census::Census;
pub use claim::{Cited, Claim, Reasons, fix, merge};
pub use detector::Detector;
pub use detectors::SPECS;
pub use scene::{Boundary, PairView, Scene, Selection, neighbours};
pub(crate) use scene::{Finished, Named};
pub use spec::{Spec, Threshold};
pub use testimony::{By, Gone, Testimony, Witness};

use crate::error::Error;
use crate::options::Options;
use crate::report::Finding;

/// What limits the verdicts.
pub(crate) fn coverage(scene: &Scene) -> Vec<crate::report::Coverage> {
    coverage::judge(scene)
}

/// Packets that each capture missed although they must have passed it.
pub(crate) fn missed(scene: &Scene) -> [u64; 2] {
    crate::point::Point::BOTH.map(|point| alibi::count_missed(scene, point))
}

/// By direction and point: whether a capture was taken without that direction.
pub(crate) fn left_out(scene: &Scene) -> [[bool; 2]; 2] {
    use crate::point::{Direction, Point};
    Direction::BOTH.map(|direction| Point::BOTH.map(|point| alibi::one_way(scene, point, direction)))
}

/// Runs all detectors: those that come with the library, and those of the caller.
pub(crate) fn run(scene: &Scene, added: &[Box<dyn Detector>]) -> Vec<Finding> {
    let all: Vec<&dyn Detector> = detectors::BUILT_IN.iter().copied().chain(added.iter().map(AsRef::as_ref)).collect();
    engine::run(scene, &all)
}

/// Refuses detectors of the caller that share an id, and thresholds that no detector has.
pub(crate) fn check(added: &[Box<dyn Detector>], options: &Options) -> Result<(), Error> {
    let mut known: Vec<&Spec> = SPECS.iter().collect();
    for detector in added {
        let spec = detector.spec();
        if known.iter().any(|other| other.id == spec.id) {
            return Err(Error::Usage(format!("two detectors are called `{}`", spec.id)));
        }
        known.push(spec);
    }
    let thresholds = || known.iter().flat_map(|spec| spec.thresholds);
    match options.thresholds.keys().find(|name| !thresholds().any(|threshold| threshold.name == **name)) {
        Some(name) => Err(Error::Usage(format!("no detector has a threshold `{name}`"))),
        None => Ok(()),
    }
}
