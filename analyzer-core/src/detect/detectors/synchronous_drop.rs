//! # What it is
//! Several live flows stopped crossing at one moment and never came back: one cause hit them all.
//!
//! # In paired captures
//! Set when all of the following are true:
//! - `synchronous-drop.flows` or more flows that were alive stopped for good: the last packets of one direction enter the
//!   host and do not leave it, or leave it and have no answer any more while their sender repeats them;
//! - one moment fits them all: each crossed before it and none after it, to within `synchronous-drop.window`;
//! - the packets lost are more than the loss among the others would take by chance;
//! - no end had closed them;
//! - when they die beyond B: they have two peers or more and are most of the connections there were.
//!
//! Flows that the host itself reset at that moment are counted with them; when all of them were, `tcp-reset` says it.
//!
//! The cause:
//! - `gateway-unreachable`: the host asks for its next hop by ARP in vain, or tells the guest "host unreachable";
//! - `address-flush`: the same flows appear on the uplink with another outer address, or the host says "network
//!   unreachable": its address was taken away;
//! - `bridge-down`: what comes in for the guest leaves the uplink again, untranslated: the route inwards is gone;
//! - `nat-flushed`: the flows' packets leave with the inner address, or the host resets some of them, or new connections
//!   cross while the old ones do not;
//! - `firewall`: new connections do not cross either, or the host says "prohibited";
//! - `unknown`: nothing of that was seen.
//!
//! The host's log of connection tracking (`--conntrack`) decides between a table that a program emptied and an address that
//! went away: a program's ends are marked, the kernel's come all at once with time left to them.
//!
//! # Mistaken for it
//! - A capture that ended or paused: then the other one shows traffic that must have passed it.
//! - A stall: the packets come late, but they come.
//! - A single peer that died: its connections end together, the others go on.
//!
//! # What to do
//! The moment is known to the millisecond: look in the host's log for what happened then.
//!
//! # References
//! Linux `nf_conntrack-sysctl`; RFC 792 (unreachable codes); RFC 826.

use crate::detect::census::has;
use crate::detect::claim::{fix, merge};
use crate::detect::stops::{self, End, Stop};
use crate::detect::testimony::{self, By};
use crate::detect::text::{clock_time, counted, duration};
use crate::detect::{Claim, PairView, Reasons, Scene, Spec, Testimony, Threshold, alibi};
use crate::facts::Fate;
use crate::packet::{Endpoint, Family};
use crate::point::{Direction, Point};
use crate::report::{Directions, Finding, Fix, Severity, Where};
use crate::time::{SECOND, Time};
use std::collections::{BTreeMap, BTreeSet};

/// What this detector says of itself.
pub(super) const SPEC: Spec = Spec {
    id: "synchronous-drop",
    says: "several live flows end or stop crossing within a second",
    causes: &["nat-flushed", "address-flush", "gateway-unreachable", "bridge-down", "firewall", "unknown"],
    severity: Severity::Error,
    thresholds: &[
        Threshold { name: "synchronous-drop.flows", unit: "flows", default: 3.0, source: "two may meet by chance" },
        Threshold {
            name: "synchronous-drop.window",
            unit: "seconds",
            default: 1.0,
            source: "flows are quiet for a while before they notice; a second separates causes well",
        },
        Threshold {
            name: "synchronous-drop.share",
            unit: "share of the live connections, for those that die beyond B",
            default: 0.6,
            source: "an outage of the path spares few",
        },
    ],
    source: include_str!("synchronous_drop.rs"),
};

pub(super) fn observe(scene: &Scene) -> Vec<Claim> {
    let all = stops::stops(scene);
    [false, true].into_iter().filter_map(|outside| one(scene, &all, outside)).collect()
}

fn one(scene: &Scene, all: &[Stop], outside: bool) -> Option<Claim> {
    let window = (SPEC.value(scene, "synchronous-drop.window") * SECOND as f64) as i64;
    let group = stops::together(all, outside, window);
    if (group.len() as f64) < SPEC.value(scene, "synchronous-drop.flows")
        || group.iter().all(|stop| stop.end == End::Reset)
    {
        return None;
    }
    // They went between the last that crossed and the first that did not.
    let moment = group.iter().map(|stop| stop.at).min()?;
    if outside && !widespread(scene, &group, moment) {
        return None;
    }
    let pairs = group.iter().filter_map(|stop| Some((scene.pair(stop.serial)?, stop.at)));
    let told = if outside { Testimony::None } else { scene.witness.of_most(pairs) };
    let (cause, why) = cause(scene, &group, moment, outside, told);
    let place = if outside || cause == "gateway-unreachable" { Where::Outside } else { Where::Between };
    let mut claim = Claim::new(SPEC.id, group[0].serial, place, directions(&group));
    claim.flows = group.iter().map(|stop| stop.serial).collect();
    claim.severity = Severity::Error;
    claim.cause = Some(cause);
    claim.protocol = protocol(scene, &group);
    claim.packets = group.iter().map(|stop| u64::from(stop.count)).sum();
    if !outside {
        // It may have begun before the first of them had anything to send.
        let since = Time(moment.0 - window);
        claim.explains = refused(scene, since).chain(dried_up(scene, since)).map(|pair| pair.serial).collect();
    }
    for stop in &group {
        let point = if stop.end == End::Outside { Point::B } else { stop.direction.entry() };
        let note = match stop.end {
            End::Host => format!("the first of {} that never reached {}", stop.count, name(point.other())),
            End::Reset => "the segment that the host answered with a reset".into(),
            End::Outside => "repeated, since no answer came any more".into(),
        };
        claim.cite(scene, point, stop.first.frame, stop.first.time, note);
    }
    let spread = group.iter().map(|stop| stop.at.0).max().unwrap_or(moment.0) - moment.0;
    let alive = survivors(scene, &group, moment);
    claim.reasons = reasons(scene, &group, spread, alive, outside, why);
    told.testify(scene, &mut claim);
    claim.details.insert("spread_seconds".into(), (spread as f64 / SECOND as f64).into());
    claim.details.insert("flows_that_went_on".into(), alive.into());
    let reset = group.iter().filter(|stop| stop.end == End::Reset).count();
    claim.details.insert("flows_reset".into(), reset.into());
    if reset > 0 {
        claim.details.insert("see_also".into(), "tcp-reset".into());
    }
    Some(claim)
}

fn reasons(scene: &Scene, group: &[Stop], spread: i64, alive: usize, outside: bool, why: Option<String>) -> Reasons {
    let loss = Point::BOTH.map(|point| alibi::capture_loss(scene, point)).into_iter().fold(0.0, f64::max);
    let flows = counted(group.len() as u64, "flow");
    let reasons = if outside {
        Reasons::default().support(0.6, format!("{flows} left the uplink and had no answer any more"))
    } else {
        Reasons::default().support(0.7, format!("{flows} entered the host and did not leave it any more"))
    };
    reasons
        .support(0.5, format!("their first lost packets lie within {}", duration(spread)))
        .support_if(group.len() >= 5, 0.4, "five flows or more do not stop together by chance")
        .support_if(alive == 0, 0.3, "no other flow went on crossing")
        .support_if(why.is_some(), 0.5, why.unwrap_or_default())
        .contradict_if(loss > 0.01, 0.3, format!("a capture itself missed {:.1} % of what passed", loss * 100.0))
}

/// Whether most of the connections died, and not those of a single peer.
fn widespread(scene: &Scene, group: &[Stop], moment: Time) -> bool {
    let peers: BTreeSet<u128> =
        group.iter().filter_map(|stop| scene.pair(stop.serial)).map(|pair| pair.inner_ends().1.address).collect();
    let share = group.len() as f64 / (group.len() + survivors(scene, group, moment)) as f64;
    peers.len() >= 2 && share >= SPEC.value(scene, "synchronous-drop.share")
}

/// Flows that had begun before the moment, and crossed half a second after it and later.
fn survivors(scene: &Scene, group: &[Stop], moment: Time) -> usize {
    scene
        .pairs
        .iter()
        .filter(|pair| pair.both() && pair.family() != Family::Link)
        .filter(|pair| !group.iter().any(|stop| stop.serial == pair.serial))
        .filter(|pair| begun(scene, pair).is_some_and(|begun| begun < moment))
        .filter(|pair| answered_after(scene, pair, Time(moment.0 + SECOND / 2)))
        .count()
}

fn begun(scene: &Scene, pair: &PairView) -> Option<Time> {
    let stamps = Point::BOTH.into_iter().flat_map(|point| {
        Direction::BOTH.into_iter().map(move |direction| (point, pair.facts.first[direction.index()][point.index()]))
    });
    stamps.filter(|(_, stamp)| stamp.frame != 0).map(|(point, stamp)| scene.clock.to_a(point, stamp.time)).min()
}

/// Whether packets of both directions crossed after a time.
fn answered_after(scene: &Scene, pair: &PairView, time: Time) -> bool {
    Direction::BOTH.into_iter().all(|direction| {
        let track = pair.track(direction, direction.exit());
        track.matched > 0 && scene.clock.to_a(direction.exit(), track.last_time) > time
    })
}

/// The cause when the host's log tells how the entries of most of the flows ended.
fn told_by_log(told: Testimony) -> Option<(&'static str, Option<String>)> {
    match told.gone()?.by {
        By::Program | By::Kernel => Some(("nat-flushed", None)),
        By::Address => Some(("address-flush", None)),
        By::Timer => None,
    }
}

fn cause(
    scene: &Scene,
    group: &[Stop],
    moment: Time,
    outside: bool,
    told_of_group: Testimony,
) -> (&'static str, Option<String>) {
    let told = |codes: &[(u8, u8)]| {
        let flows = group.iter().filter_map(|stop| scene.pair(stop.serial)).filter(|pair| {
            pair.facts.icmp.iter().any(|error| {
                error.point == Point::A
                    && error.direction == Direction::Inbound
                    && error.fate == Fate::Unmatched
                    && codes.contains(&error.kind)
            })
        });
        flows.count()
    };
    let unreachable = told(&[(3, 1), (1, 3)]);
    if unreachable > 0 || arp_in_vain(scene, moment) {
        let why = if unreachable > 0 {
            "the host told the guest that the next hop is unreachable"
        } else {
            "the host asked for its next hop by ARP again and again, without an answer"
        };
        return ("gateway-unreachable", Some(why.into()));
    }
    if outside {
        return ("unknown", None);
    }
    if let Some(judged) = told_by_log(told_of_group) {
        return judged;
    }
    let alone = Alone::new(scene);
    let moved = alone.moved(scene, group);
    if moved > 0 {
        return ("address-flush", Some(format!("{} went on under another outer address", counted(moved, "flow"))));
    }
    if told(&[(3, 0), (1, 0)]) > 0 {
        return ("address-flush", Some("the host told the guest that it had no route any more".into()));
    }
    let (leaked, returned) =
        (alone.untranslated(scene, group, Direction::Outbound), alone.untranslated(scene, group, Direction::Inbound));
    if returned > 0 {
        let why =
            format!("what came in for {} left the uplink again with the inner address", counted(returned, "flow"));
        return ("bridge-down", Some(why));
    }
    let reset = group.iter().filter(|stop| stop.end == End::Reset).count() as u64;
    if leaked + reset > 0 {
        let why = format!(
            "{} left with the inner address, the host reset {}: their translation was gone",
            counted(leaked, "flow"),
            reset
        );
        return ("nat-flushed", Some(why));
    }
    if told(&[(3, 9), (3, 10), (3, 13), (1, 1)]) > 0 {
        return ("firewall", Some("the host told the guest that this is prohibited".into()));
    }
    let late = |pair: &&PairView| begun(scene, pair).is_some_and(|begun| begun > moment);
    let crossed = scene.pairs.iter().filter(|pair| pair.both() && pair.family() != Family::Link).filter(late);
    let crossed = crossed.filter(|pair| answered_after(scene, pair, moment)).count() as u64;
    if crossed > 0 && matches!(told_of_group, Testimony::Kept { .. }) {
        return ("firewall", Some("the host still knew them, and new connections crossed".into()));
    }
    if crossed > 0 {
        let why =
            format!("{} crossed afterwards: only what was known before was lost", counted(crossed, "new connection"));
        return ("nat-flushed", Some(why));
    }
    let refused = refused(scene, moment).filter(|pair| pair.is_tcp()).count() as u64;
    if refused > 0 {
        return ("firewall", Some(format!("{} did not cross either", counted(refused, "new connection"))));
    }
    ("unknown", None)
}

/// Flows of which nothing of a direction crosses any more since a time, whether or not that proves that they stopped: a
/// capture that missed a packet may leave that in doubt.
fn dried_up<'a>(scene: &'a Scene<'a>, since: Time) -> impl Iterator<Item = &'a PairView<'a>> {
    scene.pairs_with(has::BOTH, has::RUN).filter(move |pair| {
        Direction::BOTH.into_iter().any(|direction| {
            let entry = direction.entry();
            let track = pair.track(direction, entry);
            pair.more(direction, entry).is_some_and(|more| {
                let open = more.run.count > 0 && (track.matched == 0 || track.matched_order < more.run.first_order);
                open && !stops::too_large(pair, direction, &more.run)
                    && scene.clock.to_a(entry, more.run.first.time) >= since
            })
        })
    })
}

/// Flows that began after the moment and did not cross.
fn refused<'a>(scene: &'a Scene<'a>, moment: Time) -> impl Iterator<Item = &'a PairView<'a>> {
    let alone = scene.pairs.iter().filter(|pair| pair.b.is_none() && !alibi::local(scene, pair));
    alone.filter(move |pair| begun(scene, pair).is_some_and(|begun| begun > moment))
}

/// Whether the host asked by ARP on the uplink after the moment and nobody answered.
fn arp_in_vain(scene: &Scene, moment: Time) -> bool {
    /// EtherType of ARP.
    const ARP: u16 = 0x0806;
    /// The kernel repeats a question after a second.
    const REPEATED: i64 = SECOND;
    let (mut asked, mut answered) = (None::<Time>, None::<Time>);
    for pair in
        scene.pairs.iter().filter(|pair| pair.family() == Family::Link && pair.protocol() == ARP && pair.a.is_none())
    {
        let Some(key) = pair.b else { continue };
        let last = pair.tracks.iter().map(|direction| &direction[1]).filter(|track| track.packets > 0);
        let Some(last) = last.map(|track| scene.clock.to_a(Point::B, track.last_time)).max() else { continue };
        // A question names no hardware address as its target.
        if key.low.address == 0 || key.high.address == 0xffff_ffff_ffff {
            asked = asked.max(Some(last));
        } else {
            answered = answered.max(Some(last));
        }
    }
    asked.is_some_and(|last| last.0 > moment.0 + REPEATED) && answered.is_none_or(|last| last < moment)
}

/// Flows that stand at B alone, by protocol and ends.
struct Alone {
    /// By protocol, outside end and inside port.
    flows: BTreeMap<(u16, Endpoint, u16), Vec<Lone>>,
}

/// The inside address at B, and packets by direction.
type Lone = (u128, [u32; 2]);

impl Alone {
    fn new(scene: &Scene) -> Self {
        let mut flows: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for pair in scene.pairs.iter().filter(|pair| pair.a.is_none() && pair.family() != Family::Link) {
            let Some((inside, outside)) = pair.ends(Point::B) else { continue };
            let packets = [0, 1].map(|direction| pair.tracks[direction][1].packets);
            flows.entry((pair.protocol(), outside, inside.port)).or_default().push((inside.address, packets));
        }
        Self { flows }
    }

    /// How many of the group's flows have one here for which `fits(inner address, outer address, its own, its packets)`.
    fn count(&self, scene: &Scene, group: &[Stop], fits: impl Fn(u128, u128, u128, [u32; 2]) -> bool) -> u64 {
        let found = group.iter().filter_map(|stop| scene.pair(stop.serial)).filter(|pair| {
            let (Some(inner), Some(outer)) = (pair.ends(Point::A), pair.ends(Point::B)) else { return false };
            [inner.0.port, outer.0.port].iter().any(|&port| {
                let key = (pair.protocol(), outer.1, port);
                self.flows
                    .get(&key)
                    .into_iter()
                    .flatten()
                    .any(|&(address, packets)| fits(inner.0.address, outer.0.address, address, packets))
            })
        });
        found.count() as u64
    }

    /// Flows of the group that went on at B under another outer address.
    fn moved(&self, scene: &Scene, group: &[Stop]) -> u64 {
        self.count(scene, group, |inner, outer, address, packets| {
            address != inner && address != outer && packets[0] > 0
        })
    }

    /// Flows of the group of which packets of a direction stand at B with the inner address.
    fn untranslated(&self, scene: &Scene, group: &[Stop], direction: Direction) -> u64 {
        self.count(scene, group, |inner, outer, address, packets| {
            inner != outer && address == inner && packets[direction.index()] > 0
        })
    }
}

fn directions(group: &[Stop]) -> Directions {
    let first = group[0].direction;
    if group.iter().all(|stop| stop.direction == first) { first.into() } else { Directions::Both }
}

fn protocol(scene: &Scene, group: &[Stop]) -> &'static str {
    let names: BTreeSet<&str> =
        group.iter().filter_map(|stop| scene.pair(stop.serial)).map(PairView::protocol_name).collect();
    if names.len() == 1 { names.into_iter().next().unwrap_or("ip") } else { "ip" }
}

pub(super) fn conclude(scene: &Scene, claims: &[Claim]) -> Finding {
    let mut finding = merge(scene, claims);
    let number = |name: &str| claims[0].number(name);
    let spread = duration((number("spread_seconds") * 1e9) as i64);
    let alive = number("flows_that_went_on") as u64;
    let flows = counted(finding.flow_count, "live flow");
    let others =
        if alive == 0 { "no other went on".to_owned() } else { format!("{} went on", counted(alive, "other")) };
    let lost = testimony::lost(claims).map(|lost| format!("stopped crossing the host, because {lost}"));
    let what = match (finding.place, finding.cause) {
        (_, Some("gateway-unreachable")) => "could not leave the host any more, because its next hop did not answer",
        (Where::Outside, _) => "left the uplink and had no answer any more",
        (_, Some("address-flush")) => "lost their translation, because the uplink's address was taken away",
        (_, Some("bridge-down")) => "did not reach the guest any more, because the way inwards was gone",
        (_, Some("nat-flushed")) => "stopped crossing the host, because it had forgotten their translation",
        (_, Some("firewall")) => "stopped crossing the host, and new connections with them: a rule drops them",
        _ => "stopped crossing the host",
    };
    let what = lost.as_deref().unwrap_or(what);
    finding.summary = format!("{flows} {what}: all at {}, within {spread}; {others}.", clock_time(finding.first));
    finding.fixes = fixes(&finding);
    finding
}

fn fixes(finding: &Finding) -> Vec<Fix> {
    let stamp = |time: i64| Time(time).to_string().get(..19).unwrap_or_default().replace('T', " ");
    let log = format!(
        "journalctl --utc --since \"{}\" --until \"{}\"",
        stamp(finding.first.0 - 60 * SECOND),
        stamp(finding.first.0 + 10 * SECOND)
    );
    let look = fix(
        format!("Look what happened on the host at {}.", clock_time(finding.first)),
        &[&log, "ip -t monitor address link route neigh", "conntrack -E -e DESTROY -o timestamp"],
        "The last two show it when it happens again.",
    );
    let special = match finding.cause {
        Some("gateway-unreachable") => fix(
            "Ask why the next hop does not answer ARP: its link, its power, a wrong VLAN, a second machine with its address.",
            &["ip neigh show", "arping -c 3 -I <uplink> <gateway>", "ethtool <uplink>"],
            "",
        ),
        Some("address-flush") => fix(
            "Keep the uplink's address: a static one, or a DHCP client that does not remove it while it renews.",
            &["ip -t monitor address", "nmcli connection modify <uplink> ipv4.dhcp-timeout infinity"],
            "Masquerading forgets all connections of an address that goes away, even if it comes back at once.",
        ),
        Some("bridge-down") => fix(
            "Bring the bridge and its route back.",
            &["ip route get <guest>", "virsh net-list --all", "ip -d link show master virbr0"],
            "",
        ),
        Some("nat-flushed") => fix(
            "Find what empties the NAT table (a firewall restart, `conntrack -F`, a script), and let the host take up \
             connections in mid-life.",
            &["sysctl -w net.netfilter.nf_conntrack_tcp_loose=1", "grep -rn 'conntrack -[FD]' /etc /usr/local"],
            "With tcp_loose=1 a packet of the guest makes the entry anew.",
        ),
        Some("firewall") => fix(
            "Find the rule that drops forwarded packets: its counter grows.",
            &["iptables -nvL FORWARD --line-numbers", "nft list ruleset | grep -nE 'drop|reject'"],
            "",
        ),
        _ if finding.place == Where::Outside => fix(
            "The host is not to blame: look at the router beyond it and at the provider.",
            &["mtr -n <peer>", "ip -s link show <uplink>"],
            "",
        ),
        _ => fix(
            "Read the host's counters twice while it lasts: only what grows matters.",
            &["iptables -nvL FORWARD", "conntrack -S", "nstat -az | grep -iE 'drop|invalid|noroute'"],
            "",
        ),
    };
    vec![special, look]
}

/// A point in a sentence.
fn name(point: Point) -> &'static str {
    match point {
        Point::A => "A",
        Point::B => "B",
    }
}
