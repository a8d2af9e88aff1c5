//! # What it is
//! Packets with a checksum that is wrong and will not be put right: damaged by hardware, by a driver or on the wire
//! (`corrupted`), or left unfinished by checksum offload on the way out (`partial-leaked`). Receivers drop them silently.
//!
//! # In paired captures
//! Set as `corrupted` when any of the following is true; the place is where the damage happened:
//! - a checksum is right (or still partial) at the point that the packet passes first and wrong at the other: between;
//! - it is right at both points and the payload differs: damage that somebody covered with a new checksum, between; of
//!   datagrams without an IP identification, one vanishes and another one of the same length stands at the other point at that
//!   moment, `bad-checksum.packets` times and far more often than by chance;
//! - it is wrong at both points, or wrong at the first one and the packet goes no further: before the first point, which
//!   is inside for outbound packets and outside for inbound ones;
//! - a packet with a wrong checksum stands at the second point alone, and one of the same size at the first point alone
//!   within a tenth of a second: its header was damaged between; if that one is wrong as well, or was cut off and the host did
//!   not translate the packet, before the first point;
//! - it is wrong at the second point, and the first one kept too little of it (snap length) to verify: between, if some of
//!   its bytes differ or the host translated it, which it does with right checksums only; else it is not known where.
//!
//! Behind NAT the host drops inbound packets that it damaged itself before the second point sees them. When outbound
//! packets are proven to be damaged between, inbound ones that vanish between at a like rate count as well.
//!
//! `bad-checksum.packets` of them or more are an error; fewer are a warning when they were damaged between, else context.
//!
//! Set as `partial-leaked` when all of the following are true:
//! - all packets of a flow's direction carry partial checksums at the point where they leave;
//! - at least `bad-checksum.unanswered` of them, and the far end never answers any;
//! - no packet of the same sender with a partial checksum was ever answered: then the network card does finish them;
//! - they were translated as usual;
//! - traffic with finished checksums is answered, or flows of two protocols are affected.
//!
//! It is also set when the replies of a DHCP server carry partial checksums and the client goes on asking, as clients do
//! that read raw packets.
//!
//! # Mistaken for it
//! - Partial checksums where the network card finishes them: then the far end answers.
//! - Every checksum of a flow is wrong and the far end answers: the capture stands before the checksum is made, or the
//!   file was edited (addresses made anonymous, say).
//! - A packet that is wrong at both points although the host between has to drop it (a wrong IP header where it routes or
//!   translates, a wrong transport checksum where it translated the packet): the file was edited.
//! - A capture beside itself.
//! - Superframes, fragments and packets cut by the snap length: their checksum cannot be verified.
//! - The outer UDP checksum of VXLAN and Geneve, wrong in captures with local checksum offload.
//! - A UDP checksum of zero over IPv4: there is none.
//!
//! # What to do
//! Switch the offload off step by step to find the layer that breaks it, then update that driver.
//!
//! # References
//! RFC 1071, RFC 768, RFC 9293 section 3.1; the kernel's checksum-offloads and segmentation-offloads documents.

mod corrupted;
mod fixes;
mod leaked;

use crate::detect::claim::merge;
use crate::detect::text::{count, counted};
use crate::detect::{Claim, Scene, Spec, Threshold};
use crate::packet::Checksum;
use crate::point::Direction;
use crate::report::{Directions, Finding, Severity, Where};

/// What this detector says of itself.
pub(super) const SPEC: Spec = Spec {
    id: "bad-checksum",
    says: "a wrong checksum that is a fault",
    causes: &["partial-leaked", "corrupted"],
    severity: Severity::Error,
    thresholds: &[
        Threshold {
            name: "bad-checksum.packets",
            unit: "packets with a wrong checksum",
            default: 3.0,
            source: "one or two may be noise of the line: Ethernet's CRC and TCP's checksum each miss some (Stone and Partridge 2000)",
        },
        Threshold {
            name: "bad-checksum.unanswered",
            unit: "packets with a partial checksum without an answer",
            default: 3.0,
            source: "a first packet and two retries",
        },
    ],
    source: include_str!("bad_checksum.rs"),
};

pub(super) fn observe(scene: &Scene) -> Vec<Claim> {
    let mut claims = corrupted::corrupted(scene);
    claims.extend(leaked::leaked(scene));
    claims.extend(leaked::dhcp(scene));
    claims
}

pub(super) fn conclude(scene: &Scene, claims: &[Claim]) -> Finding {
    let mut finding = merge(scene, claims);
    let sum = |name: &str| claims.iter().map(|claim| claim.number(name)).sum::<f64>() as u64;
    let dhcp = claims.iter().any(|claim| claim.details.contains_key("dhcp"));
    if finding.cause == Some("partial-leaked") {
        finding.details.insert("layer".into(), "transport".into());
        finding.summary = if dhcp {
            format!(
                "The host answers DHCP with partial checksums, which the client refuses: {} offers for {} requests, and it \
                 never takes one up.",
                count(finding.packet_count),
                count(claims[0].number("dhcp_discovers") as u64),
            )
        } else {
            format!(
                "The host lets {} leave without finishing their checksums on {}, and nobody answers any of them.",
                counted(finding.packet_count, "packet"),
                counted(finding.flow_count, "flow"),
            )
        };
        finding.fixes = fixes::leak_fixes(dhcp);
        return finding;
    }
    let (laundered, vanished, ip_layer) = (sum("laundered"), sum("vanished"), sum("ip_layer"));
    let total = finding.packet_count;
    let layer = if laundered * 2 > total {
        "payload"
    } else if ip_layer * 2 > total {
        "ip"
    } else {
        "transport"
    };
    let cut = sum("inferred") + sum("unclear");
    for name in ["changed", "arrived", "inferred", "unclear"] {
        finding.details.remove(name);
    }
    finding.details.remove("ip_layer");
    finding.details.insert("layer".into(), layer.into());
    finding.details.insert("laundered".into(), laundered.into());
    finding.details.insert("vanished".into(), vanished.into());
    finding.summary = summary(scene, &finding, [laundered, vanished, cut], ip_layer);
    finding.fixes = fixes::corruption_fixes(finding.place);
    finding
}

fn summary(scene: &Scene, finding: &Finding, [laundered, vanished, cut]: [u64; 3], ip_layer: u64) -> String {
    let total = finding.packet_count;
    let seen = total - laundered - vanished - cut;
    let cut_on_the_way_in = cut > 0;
    let whole = |direction: Direction| {
        [Checksum::Right, Checksum::Partial, Checksum::Wrong]
            .iter()
            .map(|class| scene.tally.checksums(direction, direction.entry(), *class))
            .sum::<u64>()
    };
    let at_exit = |direction: Direction| scene.tally.packets(direction, direction.exit());
    let seen_of = |direction| if cut_on_the_way_in { at_exit(direction) } else { whole(direction) };
    // Behind a damaged IP header no other checksum is looked at.
    let headers = if cut_on_the_way_in { 0 } else { ip_layer };
    let of = headers
        + match finding.direction {
            Directions::Outbound => seen_of(Direction::Outbound),
            Directions::Inbound => seen_of(Direction::Inbound),
            Directions::Both => seen_of(Direction::Outbound) + seen_of(Direction::Inbound),
        };
    match finding.place {
        Where::Between => {
            let mut parts = Vec::new();
            if seen > 0 {
                parts.push(format!(
                    "{} with a checksum that was right on the way in and is wrong on the way out",
                    counted(seen, "packet")
                ));
            }
            if cut > 0 {
                parts.push(format!(
                    "{} with a wrong checksum on the way out, cut where they came in",
                    counted(cut, "packet")
                ));
            }
            if laundered > 0 {
                parts.push(format!("{} with other payload under a right checksum", counted(laundered, "packet")));
            }
            if vanished > 0 {
                parts.push(format!(
                    "{} the host lost on the way in, as NAT does with damaged ones",
                    counted(vanished, "packet")
                ));
            }
            format!("The host damages packets, {} of {}: {}.", count(total), count(of), parts.join(", "))
        }
        Where::Inside if cut == total => format!(
            "The guest sends packets that are damaged before they reach A, as it seems: the host, which translates what it \
             finds right, let {} of {} with a wrong checksum leave as they were.",
            count(total),
            counted(of, "packet")
        ),
        Where::Inside => format!(
            "The guest sends packets that are damaged before they reach A: {} of {} have a wrong checksum there.",
            count(total),
            counted(of, "packet")
        ),
        Where::Unknown => format!(
            "{} of {} have a wrong checksum where they leave the host; the other capture kept too little of them to tell \
             whether they had it when they came.",
            count(total),
            counted(of, "packet")
        ),
        Where::Outside => format!(
            "Packets arrive damaged from outside: {} of {} have a wrong checksum at B already.",
            count(total),
            counted(of, "packet")
        ),
    }
}
