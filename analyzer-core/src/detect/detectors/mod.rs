//! The detectors, one file a fault.

mod one_sided_retransmission;
mod tcp_reset;
mod transit_loss;

use super::spec::Spec;

/// All detectors, in the order of the contract.
pub const SPECS: &[Spec] = &[tcp_reset::SPEC, one_sided_retransmission::SPEC, transit_loss::SPEC];
