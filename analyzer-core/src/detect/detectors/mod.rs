//! The detectors, one file a fault.

mod one_sided_retransmission;
mod transit_loss;

use super::spec::Spec;

/// All detectors, in the order of the contract.
pub const SPECS: &[Spec] = &[one_sided_retransmission::SPEC, transit_loss::SPEC];
