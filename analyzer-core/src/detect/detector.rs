//! What every detector is, those that come with the library and those of a caller.

use super::claim::Claim;
use super::scene::{PairView, Scene};
use super::spec::Spec;
use crate::report::Finding;

/// A detector: facts → claims → a finding in words.
///
/// Those that come with the library and those that a caller adds
/// ([`Analysis::detector`](crate::Analysis::detector)) go the same way: after both captures have been read, each is asked
/// once for its claims. Causes then outrank symptoms, claims that agree in severity, place, direction, cause and
/// protocol are put together, and `conclude` puts each such group into words. Detectors see facts, never packets, and are
/// not called while packets are read.
///
/// ```
/// use analyzer_core::detect::{Claim, Detector, Reasons, Scene, Spec, merge};
/// use analyzer_core::report::{Directions, Finding, Severity, Where};
///
/// /// Says of every flow to port 23 that it can be read on the way.
/// struct Telnet;
///
/// const SPEC: Spec = Spec::new("telnet", "a login that everybody on the way can read", Severity::Warning);
///
/// impl Detector for Telnet {
///     fn spec(&self) -> &Spec {
///         &SPEC
///     }
///
///     fn observe(&self, scene: &Scene) -> Vec<Claim> {
///         let telnet = scene.pairs.iter().filter(|pair| pair.is_tcp() && pair.inner_ends().1.port == 23);
///         let claim = |pair: &analyzer_core::detect::PairView| {
///             let mut claim = Claim::new(SPEC.id, pair.serial, Where::Inside, Directions::Both);
///             claim.protocol = "tcp";
///             claim.reasons = Reasons::default().support(0.7, "its port is 23");
///             for direction in analyzer_core::Direction::BOTH {
///                 let (point, track) = (direction.entry(), pair.track(direction, direction.entry()));
///                 claim.packets += u64::from(track.packets);
///                 if let Some(last) = track.last() {
///                     claim.cite(scene, point, last.frame, last.time, "its last packet");
///                 }
///             }
///             claim
///         };
///         telnet.map(claim).collect()
///     }
///
///     fn conclude(&self, scene: &Scene, claims: &[Claim]) -> Finding {
///         let mut finding = merge(scene, claims);
///         finding.summary = format!("{} flows carry a login in the clear.", finding.flow_count);
///         finding
///     }
/// }
///
/// let analysis = analyzer_core::Analysis::builder().detector(Telnet);
/// ```
pub trait Detector: Send + Sync {
    /// What it says of itself. The same at every call.
    fn spec(&self) -> &Spec;

    /// Step one: what it finds, flow by flow. The same scene gives the same claims, in the same order.
    fn observe(&self, scene: &Scene) -> Vec<Claim>;

    /// Whether a flow is to be kept for [`observe`](Self::observe) once it is over although nothing stands out in it. Only
    /// flows that are alive at the end, and those that lost packets, were reset or left open, are kept otherwise: memory
    /// would grow with every connection. Asked once for each flow that ends; up to a bound, like all facts.
    fn keeps(&self, _pair: &PairView) -> bool {
        false
    }

    /// Step two: one finding from claims that belong together, at least one. [`merge`](super::merge) does all of it but
    /// the words: summary, details, fixes.
    fn conclude(&self, scene: &Scene, claims: &[Claim]) -> Finding;
}
