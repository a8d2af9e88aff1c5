//! # What it is
//! Packets of a guest left the uplink with the guest's own address: the host forwarded them without translating them, and
//! no answer can come back.
//!
//! # In paired captures
//! Set when all of the following are true:
//! - the host translates: other flows of the same address family have another inside address at B than at A;
//! - packets with the inside address as source stand at B;
//! - they are for a single host, and their source is not of the uplink's own network (/24, /64), as that of a guest is which is
//!   bridged to it;
//! - no packet of the far end answers them there: with an answer it would be a network that is routed on purpose.
//!
//! Whole flows mean that the NAT rule is gone or does not cover the guest. Packets out of the middle of a flow that is
//! otherwise translated are what connection tracking calls invalid: they are an error from `nat-bypass.data` segments
//! with payload on, and context before that: late FINs and resets of closed connections leak on most hosts.
//!
//! # Mistaken for it
//! - Destinations that are exempt from NAT on purpose (a VPN, a neighbouring site): they answer.
//! - The leaks that follow a lost NAT entry or a damaged checksum: those findings explain them.
//!
//! # What to do
//! Set the NAT rule again, or widen it; drop what is invalid before it leaves.
//!
//! # References
//! RFC 1918 section 3; RFC 5382 REQ-10; Linux `nf_conntrack-sysctl`.

use crate::detect::census::has;
use crate::detect::claim::{fix, merge};
use crate::detect::text::counted;
use crate::detect::{Claim, PairView, Reasons, Scene, Spec, Threshold, alibi, neighbours};
use crate::facts::state;
use crate::packet::{Endpoint, Family};
use crate::point::{Direction, Point};
use crate::report::{Finding, Severity, Where};
use std::collections::{BTreeMap, BTreeSet};

/// What this detector says of itself.
pub(super) const SPEC: Spec = Spec {
    id: "nat-bypass",
    says: "packets left B with the inner address, untranslated",
    causes: &[],
    severity: Severity::Error,
    thresholds: &[Threshold {
        name: "nat-bypass.data",
        unit: "packets of a translated flow that leave untranslated, one of them with payload",
        default: 3.0,
        source: "a closing connection leaks a FIN or a reset or two on most hosts",
    }],
    source: include_str!("nat_bypass.rs"),
};

pub(super) fn observe(scene: &Scene) -> Vec<Claim> {
    let leaks: Vec<&PairView> = scene.pairs_with(has::UNANSWERED, 0).filter(|pair| leaks(scene, pair)).collect();
    // Beside flows of the family that are translated.
    let families: BTreeSet<Family> = leaks.iter().map(|pair| pair.family()).collect();
    let is_translated = |family: &Family| {
        scene.pairs_with(has::BOTH, 0).any(|pair| pair.family() == *family && translated(scene, pair))
    };
    let families: BTreeSet<Family> = families.into_iter().filter(is_translated).collect();
    let leaks: Vec<&PairView> = leaks.into_iter().filter(|pair| families.contains(&pair.family())).collect();
    if leaks.is_empty() {
        return Vec::new();
    }
    let parents: BTreeMap<(u16, Ends), u32> = scene
        .pairs
        .iter()
        .filter(|pair| pair.both())
        .filter_map(|pair| Some(((pair.protocol(), pair.ends(Point::A)?), pair.serial)))
        .collect();
    leaks
        .into_iter()
        .map(|pair| {
            // Out of the middle of a translated flow: that flow's claims may explain it.
            let parent = pair.ends(Point::B).and_then(|ends| parents.get(&(pair.protocol(), ends)));
            match parent {
                Some(&parent) if !pair.both() => claim(scene, pair, parent, false),
                _ => claim(scene, pair, pair.serial, true),
            }
        })
        .collect()
}

/// Inside and outside end.
type Ends = (Endpoint, Endpoint);

/// Whether packets of a flow stand at B with an inside address and have no answer there.
fn leaks(scene: &Scene, pair: &PairView) -> bool {
    let Some((inside, outside)) = pair.ends(Point::B) else { return false };
    // Of a guest that is bridged to the uplink, beside others that are translated; only a bridge passes on what is for groups
    // or for the guest's own network.
    if scene.boundary.beside_outside(inside) || neighbours(inside, outside) || alibi::never_forwarded(outside.ip()) {
        return false;
    }
    let (out, back) = (pair.track(Direction::Outbound, Point::B), pair.track(Direction::Inbound, Point::B));
    let unchanged = !pair.both() || pair.ends(Point::A) == pair.ends(Point::B);
    out.packets > 0 && back.packets == 0 && unchanged && scene.inside_network(inside)
}

/// Whether a flow is translated, and answered.
fn translated(scene: &Scene, pair: &PairView) -> bool {
    let (Some(inner), Some(outer)) = (pair.ends(Point::A), pair.ends(Point::B)) else { return false };
    pair.family() != Family::Link
        && inner.0.address != outer.0.address
        && !scene.inside_network(outer.0)
        && pair.tracks.iter().all(|direction| direction[1].packets > 0)
}

fn claim(scene: &Scene, pair: &PairView, flow: u32, whole: bool) -> Claim {
    let track = pair.track(Direction::Outbound, Point::B);
    let mut claim = Claim::new(SPEC.id, flow, Where::Between, Direction::Outbound);
    claim.protocol = "ip";
    claim.packets = u64::from(track.packets);
    let data = !pair.is_tcp() || track.has(state::DATA);
    let many = f64::from(track.packets) >= SPEC.value(scene, "nat-bypass.data");
    claim.severity = if whole && (!pair.is_tcp() || data || track.has(state::SYN)) || data && many {
        Severity::Error
    } else {
        Severity::Info
    };
    let first = pair.facts.first[0][Point::B.index()];
    let (inside, outside) = pair.inner_ends();
    let note = format!("from {} to {}, untranslated", pair.endpoint(inside), pair.endpoint(outside));
    claim.cite(scene, Point::B, first.frame, first.time, note);
    if track.last_frame != first.frame {
        claim.cite(scene, Point::B, track.last_frame, track.last_time, "the last of them");
    }
    let inner = pair.facts.first[0][Point::A.index()];
    if pair.both() && inner.frame != 0 {
        claim.frame(scene, Point::A, inner.frame, inner.time);
    }
    claim.details.insert("whole_flow".into(), whole.into());
    claim.reasons = Reasons::default()
        .support(0.7, "its source at B is an address of the inside network")
        .support(0.6, "other flows are translated")
        .support(0.3, "nothing answers it")
        .support_if(whole && track.packets >= 2, 0.4, "its sender repeats itself");
    claim
}

pub(super) fn conclude(scene: &Scene, claims: &[Claim]) -> Finding {
    let mut finding = merge(scene, claims);
    let whole = claims.iter().filter(|claim| claim.details.get("whole_flow") == Some(&true.into())).count();
    finding.details.insert("whole_flows".into(), whole.into());
    let packets = counted(finding.packet_count, "packet");
    let flows = counted(finding.flow_count, "flow");
    finding.summary = if whole > 0 {
        format!("{packets} of {flows} left the uplink with the guest's own address: the host did not translate them.")
    } else {
        format!(
            "{packets} out of the middle of {flows} left the uplink with the guest's own address: connection tracking did \
             not know where they belong."
        )
    };
    let network = scene.topology.inside_networks.first().map_or("<inside network>", String::as_str);
    let rule = format!("iptables -t nat -A POSTROUTING -s {network} ! -d {network} -j MASQUERADE");
    finding.fixes = if whole > 0 {
        vec![fix(
            "Look whether the NAT rule is there and covers the guest's address; set it again.",
            &["iptables -t nat -nvL POSTROUTING", "nft list ruleset | grep -n masquerade", &rule],
            "libvirt sets its own rules when its network starts (`virsh net-destroy`, `virsh net-start`: that cuts the \
             guests' connections). The rule takes effect for new connections.",
        )]
    } else {
        vec![fix(
            "Drop what connection tracking calls invalid before it leaves.",
            &["iptables -I FORWARD -m conntrack --ctstate INVALID -j DROP"],
            "It hides the leak; what made the packets invalid is another question (`conntrack -S`).",
        )]
    };
    finding
}
