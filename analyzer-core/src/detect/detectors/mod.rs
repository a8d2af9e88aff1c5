//! The detectors, one file a fault.

mod arp_unanswered;
mod bad_checksum;
mod connection_not_forwarded;
mod connection_unanswered;
mod dhcp_unanswered;
mod dns_unanswered;
mod duplicate_frame;
mod header_rewritten;
mod icmp_rate_limit;
mod mac_move;
mod mss_clamped;
mod nat_bypass;
mod nat_rebinding;
mod offload_artifact;
mod one_sided_retransmission;
mod pmtu_black_hole;
mod reflected_frame;
mod reordering;
mod retransmission;
mod stp_topology_change;
mod synchronous_drop;
mod synchronous_stall;
mod tcp_reset;
mod tcp_zero_window;
mod transit_loss;
mod udp_stall;

use super::claim::Claim;
use super::detector::Detector;
use super::scene::Scene;
use super::spec::Spec;
use crate::report::Finding;

/// A detector of this folder: what its file says of itself, and its two steps.
struct BuiltIn {
    spec: Spec,
    observe: fn(&Scene) -> Vec<Claim>,
    conclude: fn(&Scene, &[Claim]) -> Finding,
}

impl Detector for BuiltIn {
    fn spec(&self) -> &Spec {
        &self.spec
    }

    fn observe(&self, scene: &Scene) -> Vec<Claim> {
        (self.observe)(scene)
    }

    fn conclude(&self, scene: &Scene, claims: &[Claim]) -> Finding {
        (self.conclude)(scene, claims)
    }
}

/// The index of this folder.
macro_rules! index {
    ($($file:ident),* $(,)?) => {
        /// What the detectors that come with the library say of themselves, in the order of the contract.
        pub const SPECS: &[Spec] = &[$($file::SPEC),*];

        /// The detectors that come with the library, in the same order.
        pub(super) const BUILT_IN: &[&dyn Detector] = &[$(
            &BuiltIn { spec: $file::SPEC, observe: $file::observe, conclude: $file::conclude }
        ),*];
    };
}

index![
    tcp_reset,
    udp_stall,
    nat_rebinding,
    nat_bypass,
    pmtu_black_hole,
    one_sided_retransmission,
    retransmission,
    transit_loss,
    bad_checksum,
    offload_artifact,
    synchronous_drop,
    synchronous_stall,
    connection_not_forwarded,
    connection_unanswered,
    icmp_rate_limit,
    duplicate_frame,
    reflected_frame,
    mac_move,
    stp_topology_change,
    arp_unanswered,
    dhcp_unanswered,
    dns_unanswered,
    tcp_zero_window,
    reordering,
    mss_clamped,
    header_rewritten,
];
