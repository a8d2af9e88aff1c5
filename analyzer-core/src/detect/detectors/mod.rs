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

use super::spec::Spec;

/// All detectors, in the order of the contract.
pub const SPECS: &[Spec] = &[
    tcp_reset::SPEC,
    udp_stall::SPEC,
    nat_rebinding::SPEC,
    nat_bypass::SPEC,
    pmtu_black_hole::SPEC,
    one_sided_retransmission::SPEC,
    retransmission::SPEC,
    transit_loss::SPEC,
    bad_checksum::SPEC,
    offload_artifact::SPEC,
    synchronous_drop::SPEC,
    synchronous_stall::SPEC,
    connection_not_forwarded::SPEC,
    connection_unanswered::SPEC,
    icmp_rate_limit::SPEC,
    duplicate_frame::SPEC,
    reflected_frame::SPEC,
    mac_move::SPEC,
    stp_topology_change::SPEC,
    arp_unanswered::SPEC,
    dhcp_unanswered::SPEC,
    dns_unanswered::SPEC,
    tcp_zero_window::SPEC,
    reordering::SPEC,
    mss_clamped::SPEC,
    header_rewritten::SPEC,
];
