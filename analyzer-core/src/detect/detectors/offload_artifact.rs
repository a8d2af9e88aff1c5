//! # What it is
//! The capture stands where offload has not done its work yet: unfinished checksums and frames larger than the MTU. Normal.
//!
//! # In paired captures
//! Set for a direction when any of the following is true at one point:
//! - packets carry partial checksums there, and they are right at the other point, or the far end answers them;
//! - frames are larger than the MTU there, and their bytes stand at the other point in frames of another size, or the far
//!   end acknowledges them.
//!
//! # Mistaken for it
//! - Checksums that nobody finishes: then nothing is answered, which is a `bad-checksum`.
//! - Jumbo frames: the MSS in the SYNs tells how large a segment may be.
//!
//! # What to do
//! Nothing. To see what the wire carries, capture beyond the network card, or switch the offload off while capturing.
//!
//! # References
//! The kernel's checksum-offloads and segmentation-offloads documents.

use crate::detect::census::has;
use crate::detect::claim::merge;
use crate::detect::text::{count, counted, letter};
use crate::detect::{Claim, Reasons, Scene, Spec};
use crate::packet::Checksum;
use crate::point::{Direction, Point};
use crate::report::{Finding, Severity, Where};

/// What this detector says of itself.
pub(super) const SPEC: Spec = Spec {
    id: "offload-artifact",
    says: "partial checksums and superframes at one point, right beyond it: normal",
    causes: &[],
    severity: Severity::Info,
    thresholds: &[],
    source: include_str!("offload_artifact.rs"),
};

pub(super) fn observe(scene: &Scene) -> Vec<Claim> {
    Direction::BOTH.into_iter().filter_map(|direction| one_way(scene, direction)).collect()
}

fn one_way(scene: &Scene, direction: Direction) -> Option<Claim> {
    let index = direction.index();
    let mut claim = Claim::new(SPEC.id, 0, Where::Between, direction);
    claim.severity = Severity::Info;
    let mut said = Vec::new();
    for point in Point::BOTH {
        let partial = scene.tally.checksums(direction, point, Checksum::Partial);
        let superframes = scene.tally.superframes[index][point.index()];
        for (number, what, first) in [
            (partial, "partial checksum", scene.tally.first_partial[index][point.index()]),
            (superframes, "superframe", scene.tally.first_superframe[index][point.index()]),
        ] {
            let Some(first) = first.filter(|_| number > 0) else { continue };
            said.push(format!("{} at {}", counted(number, what), letter(point)));
            let note = format!("the first {what} of {} at this point", count(number));
            claim.cite(scene, point, first.frame, first.time, note);
        }
        // Most superframes have a partial checksum as well.
        claim.packets += partial.max(superframes);
        let key = format!("partial_{}", letter(point).to_lowercase());
        claim.details.insert(key, partial.into());
        claim.details.insert(format!("superframes_{}", letter(point).to_lowercase()), superframes.into());
    }
    if said.is_empty() {
        return None;
    }
    claim.flows = scene.serials_with(has::BOTH | has::way(has::OFFLOAD, direction)).collect();
    if claim.flows.is_empty() {
        return None;
    }
    claim.details.insert("said".into(), said.join(", ").into());
    claim.reasons = Reasons::default()
        .support(0.7, "a partial checksum is the sum of the pseudo-header alone, which chance hits once in 65,536")
        .support(0.7, "the flows go on");
    Some(claim)
}

pub(super) fn conclude(scene: &Scene, claims: &[Claim]) -> Finding {
    let mut finding = merge(scene, claims);
    let said = finding.details.remove("said").and_then(|said| Some(said.as_str()?.to_owned())).unwrap_or_default();
    finding.summary = format!("Offload had not done its work yet where the captures stand: {said}. That is normal.");
    finding
}
