//! What several resets together say of one another.

use super::SPEC;
use super::unfinished::opener;
use crate::detect::{Claim, Scene};
use crate::packet::Endpoint;
use crate::point::Direction;
use crate::report::Severity;
use crate::time::SECOND;
use std::collections::BTreeMap;

/// Entries that went together did not expire one by one: a silent connection among busy ones was lost with them.
pub(super) fn together(claims: &mut [Claim]) {
    let lost: Vec<i64> =
        claims.iter().filter(|claim| claim.cause == Some("nat-state-lost")).map(|claim| claim.first.0).collect();
    // What the host's log tells needs no guess.
    let guessed = |claim: &&mut Claim| claim.cause == Some("nat-expired") && !claim.details.contains_key("conntrack");
    for claim in claims.iter_mut().filter(guessed) {
        if lost.iter().any(|time| time.abs_diff(claim.first.0) <= 2 * SECOND as u64) {
            claim.cause = Some("nat-state-lost");
        }
    }
}

/// Who opens connections to a service and ends them by reset time and again does so by habit (a player that stops, a
/// monitor): context, not a fault.
pub(super) fn habits(scene: &Scene, claims: &mut [Claim]) {
    /// Resets that come together have a cause of their own.
    const SPREAD: i64 = 60 * SECOND;
    let mut services: BTreeMap<(&str, Endpoint), Vec<usize>> = BTreeMap::new();
    for (index, claim) in claims.iter().enumerate() {
        let Some(pair) = scene.pair(claim.flows[0]) else { continue };
        let (inside, outside) = pair.inner_ends();
        match (claim.cause, opener(pair)) {
            (Some("guest-abort"), Some(Direction::Outbound)) => {
                services.entry(("guest-abort", outside)).or_default().push(index);
            }
            (Some("peer-abort"), Some(Direction::Inbound)) => {
                services.entry(("peer-abort", inside)).or_default().push(index);
            }
            _ => {}
        }
    }
    for resets in services.values().filter(|resets| resets.len() as f64 >= SPEC.value(scene, "tcp-reset.habit")) {
        let times = || resets.iter().map(|&index| claims[index].first.0);
        let spread = times().max().unwrap_or(0) - times().min().unwrap_or(0);
        if spread >= SPREAD {
            for &index in resets {
                claims[index].severity = Severity::Info;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Where;

    #[test]
    fn a_silent_connection_lost_with_busy_ones_did_not_expire() {
        let claim = |cause, first| {
            let mut claim = Claim::new(SPEC.id, 0, Where::Between, Direction::Inbound);
            claim.cause = Some(cause);
            claim.span(crate::time::Time(first));
            claim
        };
        let mut claims = vec![claim("nat-state-lost", 10 * SECOND), claim("nat-expired", 11 * SECOND)];
        together(&mut claims);
        assert_eq!(claims[1].cause, Some("nat-state-lost"));
        let mut claims = vec![claim("nat-state-lost", 10 * SECOND), claim("nat-expired", 90 * SECOND)];
        together(&mut claims);
        assert_eq!(claims[1].cause, Some("nat-expired"));
    }
}
