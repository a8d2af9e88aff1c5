//! # What it is
//! Packets entered the host at one point and never left it at the other, whatever their protocol.
//!
//! # In paired captures
//! Set for a direction of a flow when all of the following are true:
//! - the flow was found at both points;
//! - packets of that direction are in the capture that they pass first and not in the other, three seconds later;
//! - the other capture ran at that time, with a guard at its edges, and shows traffic of that direction;
//! - the receiver did not acknowledge them (else the other capture missed them), and the other capture's own losses do
//!   not account for them.
//!
//! `by_size` counts the lost packets by size beside what all flows offered in that direction; `by_protocol` and `by_path`
//! (from which host to which) count both for the flows concerned. `loss_begins_at_per_second` is the rate of packets
//! offered in the slowest tenth of a second in which one was lost.
//!
//! The shape says how they were lost:
//! - `total`: nothing of the flow's direction crosses any more;
//! - `rate-limited`: what was accepted until each loss grows as a straight line, to a packet: a token bucket;
//! - `queue-overflow`: the same, and the packets that cross are delayed: a full queue;
//! - `periodic`: bursts at equal distances;
//! - `size-dependent`: one size passes and another does not, or far less;
//! - `bursty`: a loss makes the next one much more likely;
//! - `random`: none of these.
//!
//! # Mistaken for it
//! - Superframes that are cut or merged between the points: bytes are compared, never frames.
//! - Capture filters that differ, captures that start or end at other times.
//! - tcpdump's own losses: what must have passed a point and is missing there tells how much it missed.
//! - Addresses that a rewrite has made the same for both ends: the packets stand there in the other direction.
//! - A policer by bytes loses large packets more often than small ones; that is no limit of size.
//!
//! # What to do
//! Find the drop on the host: a policer, a full queue, a firewall rule; its counters name the place.
//!
//! # References
//! RFC 7680 (one-way loss), RFC 6534 (loss episodes), RFC 2697 (token buckets).

use crate::detect::claim::{fix, merge};
use crate::detect::text::{count, counted, duration, percent};
use crate::detect::{Claim, PairView, Reasons, Scene, Spec, Threshold, alibi};
use crate::facts::{Event, EventKind, SIZE_CLASSES, STEPS_OF_SIZE};
use crate::point::{Direction, Point};
use crate::report::{Directions, Finding, Fix, Severity, TopologyKind, Where};
use crate::time::{MILLISECOND, SECOND};
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashSet};

/// What this detector says of itself.
pub(super) const SPEC: Spec = Spec {
    id: "transit-loss",
    says: "packets of any protocol that entered the host and never left it",
    causes: &[],
    severity: Severity::Error,
    thresholds: &[
        Threshold {
            name: "transit-loss.rare",
            unit: "share of the packets offered",
            default: 0.001,
            source: "a tenth of a percent halves TCP's rate at 100 ms (Mathis et al. 1997): below it, a warning",
        },
        Threshold {
            name: "transit-loss.packets",
            unit: "packets in one direction",
            default: 3.0,
            source: "one or two lost packets say nothing of a host",
        },
        Threshold {
            name: "transit-loss.shape",
            unit: "packets lost",
            default: 20.0,
            source: "measured on real policers, queues and random drops: fewer give no stable shape",
        },
    ],
    source: include_str!("transit_loss.rs"),
};

pub(super) fn observe(scene: &Scene) -> Vec<Claim> {
    Direction::BOTH.into_iter().flat_map(|direction| one_way(scene, direction)).collect()
}

fn one_way(scene: &Scene, direction: Direction) -> Vec<Claim> {
    let (entry, exit) = (direction.entry(), direction.exit());
    if scene.leaves_out(direction, exit) {
        return Vec::new();
    }
    let hole = holes(scene, exit, direction);
    let capture_loss = alibi::capture_loss(scene, exit);
    let doubled = alibi::doubled(scene, entry);
    let mut claims = Vec::new();
    let (mut lost_in_all, mut offered_in_all) = (0, 0);
    let crossing = Crossing::new(scene, entry);
    for pair in &scene.pairs {
        let offered = u64::from(pair.track(direction, entry).packets);
        if !pair.both() && !unanswered_twin(scene, pair, direction, &crossing) {
            continue;
        }
        if pair.both() {
            offered_in_all += offered;
        }
        let lost = alibi::lost(scene, pair, direction);
        if lost == 0 {
            continue;
        }
        let own: Vec<&Event> = scene
            .pair_events(EventKind::Unmatched, entry, direction, pair.serial)
            .iter()
            .filter(|event| alibi::is_lost(pair, direction, event))
            .collect();
        let in_hole = own.iter().filter(|event| within(&hole, event.time)).count();
        let mut claim = Claim::new(SPEC.id, pair.serial, Where::Between, direction);
        claim.protocol = "ip";
        claim.packets = lost;
        for event in &own {
            claim.cite(
                scene,
                entry,
                event.frame,
                event.time,
                format!("{} bytes, never reached {}", event.size, name(exit)),
            );
        }
        if claim.frames.is_empty() {
            continue;
        }
        lost_in_all += lost;
        claim.details.insert("lost".into(), lost.into());
        claim.details.insert("offered".into(), offered.into());
        let captured_badly = alibi::capture_explains(scene, exit, lost, offered);
        let mostly_holes = in_hole * 2 > own.len();
        claim.severity = Severity::Error;
        if captured_badly || mostly_holes {
            claim.severity = Severity::Info;
            claim.because = Some("capture-loss");
        } else if doubled {
            claim.severity = Severity::Info;
            claim.because = Some("duplicate-capture");
        }
        let ambiguous = alibi::one_name(pair);
        if ambiguous {
            claim.severity = Severity::Info;
            claim.because = Some("ambiguous-direction");
        }
        let repeated = u64::from(pair.facts.lost_between[direction.index()]);
        claim.reasons = Reasons::default()
            .support(0.6, format!("in the capture of {} and not in that of {} while both ran", name(entry), name(exit)))
            .support_if(pair.is_tcp() && repeated > 0, 0.7, "their sender had to repeat them")
            .support_if(lost >= 5, 0.5, format!("{} of {}", count(lost), counted(offered, "packet")))
            .support_if(
                capture_loss <= 0.001,
                0.5,
                format!("the capture of {} missed nothing that must have passed it", name(exit)),
            )
            .contradict_if(
                ambiguous,
                0.8,
                "as many packets of the other direction stand beyond without a copy: both ends may have been given one name",
            )
            .contradict_if(
                capture_loss > 0.001,
                0.4,
                format!(
                    "the capture of {} missed {:.1} % of what must have passed it",
                    name(exit),
                    capture_loss * 100.0
                ),
            );
        claims.push(claim);
    }
    let total: u64 = claims.iter().filter(|claim| claim.because.is_none()).map(|claim| claim.packets).sum();
    let rare = (total as f64) < SPEC.value(scene, "transit-loss.rare") * offered_in_all as f64;
    let few = (total as f64) < SPEC.value(scene, "transit-loss.packets");
    for claim in &mut claims {
        claim.severity = match claim.severity {
            Severity::Error if few => Severity::Info,
            Severity::Error if rare => Severity::Warning,
            kept => kept,
        };
        claim.details.insert("offered_in_all".into(), offered_in_all.into());
        claim.details.insert("lost_in_all".into(), lost_in_all.into());
    }
    claims
}

/// A one-sided flow whose like crosses: other flows to the same outer address were found at both points, it got no
/// answer, and no filter of the far capture explains its absence there.
fn unanswered_twin(scene: &Scene, pair: &PairView, direction: Direction, crossing: &Crossing) -> bool {
    let (entry, exit) = (direction.entry(), direction.exit());
    if pair.key(entry).is_none() || alibi::local(scene, pair) || pair.track(direction.reverse(), entry).packets > 0 {
        return false;
    }
    // Where B lacks what leaves, the host's own traffic looks like a guest's that was not answered.
    if entry == Point::B && scene.leaves_out(Direction::Outbound, Point::B) {
        return false;
    }
    // Behind NAT an inside address at B is of a packet that the host has sent there itself.
    let inner = pair.inner_ends().0;
    if entry == Point::B && scene.topology.kind == TopologyKind::Nat && scene.inside_network(inner) {
        return false;
    }
    let open = alibi::unfiltered(scene, exit);
    if (open || alibi::filter_allows(scene, pair, exit)) && crossing.peers.contains(&peer(pair)) {
        return true;
    }
    // Nothing of the protocol is there: a filter, unless all that was ever answered is there and the same peer among it.
    open && direction == Direction::Outbound
        && crossing.all_answered
        && crossing.answered.contains(&{ pair.inner_ends().1.address })
}

/// What crosses the host, for the flows of which nothing does.
struct Crossing {
    /// Protocols and outer addresses of flows found at both points.
    peers: HashSet<(u16, u128)>,
    /// Outer addresses among them that answered.
    answered: HashSet<u128>,
    /// Whether every flow that was answered at the entry point was found at both.
    all_answered: bool,
}

impl Crossing {
    fn new(scene: &Scene, entry: Point) -> Self {
        let answered = |pair: &&PairView| pair.tracks[Direction::Inbound.index()][entry.index()].packets > 0;
        let both = || scene.pairs.iter().filter(|pair| pair.both());
        Self {
            peers: both().map(peer).collect(),
            answered: both().filter(answered).map(|pair| pair.inner_ends().1.address).collect(),
            all_answered: scene.pairs.iter().filter(answered).all(|pair| pair.both() || alibi::local(scene, pair)),
        }
    }
}

/// Protocol and outer address of a flow.
fn peer(pair: &PairView) -> (u16, u128) {
    (pair.protocol(), pair.inner_ends().1.address)
}

/// Times, in the entry point's clock, at which the far capture demonstrably missed packets: 50 ms around each, in order
/// and apart.
fn holes(scene: &Scene, exit: Point, direction: Direction) -> Vec<(i64, i64)> {
    const AROUND: i64 = 50 * MILLISECOND;
    let acked = scene
        .events(EventKind::Unmatched, direction.entry(), direction)
        .iter()
        .copied()
        .filter(|event| event.other_frame == 1)
        .map(|event| event.time);
    // What came out at the entry point of the other direction must have passed the far capture first.
    let through = scene
        .events(EventKind::Unmatched, exit.other(), direction.reverse())
        .iter()
        .copied()
        .filter(|event| !(event.protocol == 6 && event.flags & 4 != 0) && event.protocol != 1)
        .map(|event| event.time);
    let mut times: Vec<i64> = acked.chain(through).collect();
    times.sort_unstable();
    let mut holes: Vec<(i64, i64)> = Vec::new();
    for time in times {
        let (from, to) = (time - AROUND, time + AROUND);
        match holes.last_mut() {
            Some(last) if from <= last.1 => last.1 = to,
            _ => holes.push((from, to)),
        }
    }
    holes
}

/// Whether one of the ranges, which are sorted and apart, holds a time.
fn within(ranges: &[(i64, i64)], time: i64) -> bool {
    let next = ranges.partition_point(|&(from, _)| from <= time);
    next > 0 && time <= ranges[next - 1].1
}

pub(super) fn conclude(scene: &Scene, claims: &[Claim]) -> Finding {
    let mut finding = merge(scene, claims);
    let direction = if finding.direction == Directions::Inbound { Direction::Inbound } else { Direction::Outbound };
    let lost = finding.packet_count;
    let offered = claims.iter().map(|claim| claim.number("offered")).sum::<f64>() as u64;
    finding.details.insert("lost".into(), lost.into());
    finding.details.insert("offered".into(), offered.into());
    finding.details.insert("ratio".into(), json!((lost as f64 / offered.max(1) as f64 * 1e6).round() / 1e6));
    let pairs: Vec<&PairView> =
        claims.iter().flat_map(|claim| &claim.flows).filter_map(|serial| scene.pair(*serial)).collect();
    finding.details.insert("by_size".into(), by_size(scene, direction, &pairs));
    finding.details.insert("by_protocol".into(), by_protocol(scene, direction, &pairs));
    finding.details.insert("by_path".into(), by_path(scene, direction, &pairs));
    if let Some(rate) = loss_begins_at(scene, direction, &pairs) {
        finding.details.insert("loss_begins_at_per_second".into(), rate.into());
    }
    let shape = shape(scene, direction, claims, lost);
    if let Some(shape) = &shape {
        finding.details.insert("shape".into(), shape.name.into());
        if let Some(rate) = shape.rate {
            finding.details.insert("rate_per_second".into(), json!((rate * 100.0).round() / 100.0));
            finding.details.insert("rate_unit".into(), shape.unit.into());
        }
        if let Some(period) = shape.period {
            finding.details.insert("period_seconds".into(), json!((period * 1000.0).round() / 1000.0));
        }
    }
    finding.summary = format!(
        "The host lost {} of {} {} packets of {} ({}): they passed {} and never {}.{}",
        count(lost),
        count(offered),
        if direction == Direction::Outbound { "outbound" } else { "inbound" },
        counted(finding.flow_count, "flow"),
        percent(lost, offered),
        name(direction.entry()),
        name(direction.exit()),
        shape.as_ref().map(|shape| format!(" {}", shape.words)).unwrap_or_default(),
    );
    finding.fixes = fixes(shape.as_ref());
    finding
}

fn fixes(shape: Option<&Shape>) -> Vec<Fix> {
    let counters = fix(
        "Find where the host drops: its counters name the place.",
        &[
            "nstat -az | grep -iE 'drop|invalid|csum'",
            "tc -s qdisc",
            "nft list ruleset",
            "iptables -vnL FORWARD",
            "conntrack -S",
        ],
        "Read them twice during the fault: only what grows matters.",
    );
    let special = match shape.map(|shape| shape.name) {
        Some("rate-limited") => Some(fix(
            "Raise or replace the limiter: a policer drops bursts that a shaper would only delay.",
            &["tc -s filter show dev virbr0", "nft list ruleset | grep -n limit", "virsh domiftune DOMAIN INTERFACE"],
            "If the limit is wanted, shape instead of policing: tc qdisc add dev IFACE root fq_codel.",
        )),
        Some("queue-overflow") => Some(fix(
            "Give the queue an active manager, or the link more rate.",
            &["tc -s qdisc show dev UPLINK", "tc qdisc replace dev UPLINK root fq_codel"],
            "fq_codel drops earlier and keeps the delay low; it makes no bandwidth.",
        )),
        Some("size-dependent") => Some(fix(
            "Look for a rule or a link that refuses large packets.",
            &["nft list ruleset | grep -n length", "ip link show"],
            "A step at a size is a limit; a gradual rise is a policer that counts bytes.",
        )),
        Some("periodic") => Some(fix(
            "Look for what runs with that period on the host: a cron job, a CPU quota, a rule reload.",
            &["pidstat -t 1", "perf sched timehist"],
            "",
        )),
        _ => None,
    };
    special.into_iter().chain([counters]).collect()
}

/// Lost packets by size of the IP packet, and what all flows of the direction offered of that size.
fn by_size(scene: &Scene, direction: Direction, pairs: &[&PairView]) -> Value {
    let offered = &scene.tally.sizes[direction.index()][direction.entry().index()];
    let lost: Vec<_> = pairs.iter().map(|pair| alibi::lost_sizes(scene, pair, direction)).collect();
    let row = |class: usize| {
        let lost = lost.iter().map(|sizes| sizes[class]).sum::<u64>();
        json!({ "up_to": SIZE_CLASSES.get(class), "offered": offered[class], "lost": lost })
    };
    (0..offered.len()).filter(|&class| offered[class] > 0).map(row).collect()
}

/// Offered and lost packets of the flows by protocol.
fn by_protocol(scene: &Scene, direction: Direction, pairs: &[&PairView]) -> Value {
    let mut rows = BTreeMap::<&str, (u64, u64)>::new();
    for pair in pairs {
        let (offered, lost) = rows.entry(pair.protocol_name()).or_default();
        *offered += u64::from(pair.track(direction, direction.entry()).packets);
        *lost += alibi::lost(scene, pair, direction);
    }
    rows.iter().map(|(name, (offered, lost))| json!({ "protocol": name, "offered": offered, "lost": lost })).collect()
}

/// Offered and lost packets of the flows by the hosts between which they go, most lost first.
fn by_path(scene: &Scene, direction: Direction, pairs: &[&PairView]) -> Value {
    /// Most rows.
    const MOST: usize = 16;
    let mut rows = BTreeMap::<[u128; 2], (Value, u64, u64)>::new();
    for pair in pairs {
        let (inner, outer) = pair.inner_ends();
        let ends = if direction == Direction::Outbound { [inner, outer] } else { [outer, inner] };
        let (row, offered, lost) = rows.entry(ends.map(|end| end.address)).or_default();
        let path = match (scene.inside_network(outer), direction) {
            (true, _) => "guest to guest",
            (false, Direction::Outbound) => "guest to outside",
            (false, Direction::Inbound) => "outside to guest",
        };
        *offered += u64::from(pair.track(direction, direction.entry()).packets);
        *lost += alibi::lost(scene, pair, direction);
        let [from, to] = ends.map(|end| end.ip().to_string());
        *row = json!({ "path": path, "from": from, "to": to, "offered": *offered, "lost": *lost });
    }
    let mut rows: Vec<(Value, u64, u64)> = rows.into_values().collect();
    rows.sort_by_key(|&(_, _, lost)| std::cmp::Reverse(lost));
    rows.into_iter().take(MOST).map(|(row, ..)| row).collect()
}

/// Packets a second that all flows of the direction offered in the slowest bin of a tenth of a second (or more, in long
/// captures) in which one of these flows lost a packet.
fn loss_begins_at(scene: &Scene, direction: Direction, pairs: &[&PairView]) -> Option<u64> {
    let entry = direction.entry();
    let series = scene.activity[entry.index()].series(direction);
    let width = series.width().max(100 * MILLISECOND);
    let mut offered = BTreeMap::<i64, u64>::new();
    for (start, packets, _) in series.iter() {
        *offered.entry(start.div_euclid(width)).or_default() += u64::from(packets);
    }
    let events = pairs.iter().flat_map(|pair| {
        let own = scene.pair_events(EventKind::Unmatched, entry, direction, pair.serial);
        own.iter().filter(|event| alibi::is_lost(pair, direction, event))
    });
    let slowest = events.filter_map(|event| offered.get(&event.time.div_euclid(width)).copied()).min()?;
    Some((slowest as f64 * SECOND as f64 / width as f64).round() as u64)
}

/// How packets were lost.
struct Shape {
    name: &'static str,
    words: String,
    rate: Option<f64>,
    unit: &'static str,
    period: Option<f64>,
}

impl Shape {
    fn new(name: &'static str, words: impl Into<String>) -> Self {
        Self { name, words: words.into(), rate: None, unit: "", period: None }
    }
}

/// The shape, from enough losses on.
fn shape(scene: &Scene, direction: Direction, claims: &[Claim], lost: u64) -> Option<Shape> {
    let flows: HashSet<u32> = claims.iter().flat_map(|claim| claim.flows.iter().copied()).collect();
    let offered = claims.iter().map(|claim| claim.number("offered")).sum::<f64>() as u64;
    if lost == offered && lost >= 3 {
        return Some(Shape::new("total", "Nothing of it crossed."));
    }
    if (lost as f64) < SPEC.value(scene, "transit-loss.shape") {
        return None;
    }
    let mut losses: Vec<Event> = scene
        .events(EventKind::Unmatched, direction.entry(), direction)
        .iter()
        .copied()
        .filter(|event| flows.contains(&event.pair) && event.other_frame == 0)
        .collect();
    losses.sort_by_key(|event| event.time);
    // The numbers in a track are those of one flow: the one that lost most stands for all.
    let busiest = claims.iter().max_by_key(|claim| claim.packets).map(|claim| claim.flows[0])?;
    let own: Vec<Event> = losses.iter().filter(|event| event.pair == busiest).copied().collect();
    let ratio = lost as f64 / offered.max(1) as f64;
    periodic(&losses)
        .or_else(|| abrupt(scene, direction))
        .or_else(|| token_bucket(scene, direction, &own, ratio))
        .or_else(|| gradual(scene, direction))
        .or_else(|| bursty(&own, ratio))
        .or_else(|| Some(Shape::new("random", "The losses are spread at random.")))
}

/// Bursts of loss at equal distances.
fn periodic(losses: &[Event]) -> Option<Shape> {
    /// Losses closer than this belong to one burst.
    const TOGETHER: i64 = 50 * MILLISECOND;
    /// Fewest bursts: four equal distances.
    const BURSTS: usize = 5;
    let mut starts: Vec<i64> = Vec::new();
    let mut sizes: Vec<u32> = Vec::new();
    let mut last = i64::MIN / 2;
    for event in losses {
        if event.time.saturating_sub(last) > TOGETHER {
            starts.push(event.time);
            sizes.push(0);
        }
        *sizes.last_mut()? += 1;
        last = event.time;
    }
    if starts.len() < BURSTS {
        return None;
    }
    let gaps: Vec<f64> = starts.windows(2).map(|pair| (pair[1] - pair[0]) as f64).collect();
    let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
    let deviation = (gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / gaps.len() as f64).sqrt();
    let several = sizes.iter().filter(|&&size| size >= 2).count() * 2 > sizes.len();
    (several && deviation < 0.15 * mean && mean > 2.0 * TOGETHER as f64).then(|| Shape {
        period: Some(mean / SECOND as f64),
        ..Shape::new("periodic", format!("They come in bursts every {}.", duration(mean as i64)))
    })
}

/// Offered and lost packets of a direction up to a size and above it: `(below, below lost, above, above lost)`.
fn split(scene: &Scene, direction: Direction, cut: usize) -> [u64; 4] {
    let (entry, index) = (direction.entry().index(), direction.index());
    let (offered, lost) = (&scene.tally.steps[index][entry], &scene.tally.unmatched_steps[index][entry]);
    let sum = |table: &[u64]| table.iter().sum::<u64>();
    [sum(&offered[..cut]), sum(&lost[..cut]), sum(&offered[cut..]), sum(&lost[cut..])]
}

/// All above a size is lost, nothing below.
fn abrupt(scene: &Scene, direction: Direction) -> Option<Shape> {
    (2..STEPS_OF_SIZE).find_map(|cut| {
        let [below, below_lost, above, above_lost] = split(scene, direction, cut);
        let step = below >= 10 && above >= 10 && above_lost * 10 >= above * 9 && below_lost * 50 <= below;
        step.then(|| {
            Shape::new("size-dependent", format!("Packets above {} bytes die, smaller ones pass.", (cut - 1) * 64))
        })
    })
}

/// Larger packets are lost several times as often.
fn gradual(scene: &Scene, direction: Direction) -> Option<Shape> {
    (2..STEPS_OF_SIZE).find_map(|cut| {
        let [below, below_lost, above, above_lost] = split(scene, direction, cut);
        if below < 30 || above < 30 || above_lost < 10 {
            return None;
        }
        let (low, high) = (below_lost as f64 / below as f64, above_lost as f64 / above as f64);
        let noise = (high * (1.0 - high) / above as f64 + low.max(0.01) / below as f64).sqrt();
        (high > 3.0 * low && high - low > 4.0 * noise).then(|| {
            let words = format!(
                "Of packets above {} bytes {:.0} % are lost, of smaller ones {:.1} %.",
                (cut - 1) * 64,
                high * 100.0,
                low * 100.0
            );
            Shape::new("size-dependent", words)
        })
    })
}

/// A token bucket or a full queue: at every loss it was empty (or full), so what had been accepted until then lies on a
/// straight line over time, to within one packet. In packets or in bytes, whichever fits better.
fn token_bucket(scene: &Scene, direction: Direction, losses: &[Event], ratio: f64) -> Option<Shape> {
    if losses.len() < 20 || ratio < 0.02 {
        return None;
    }
    let mut lost_bytes = 0_u64;
    let points: Vec<(f64, f64, f64)> = losses
        .iter()
        .enumerate()
        .map(|(index, event)| {
            let packets = event.a as f64 - index as f64;
            let bytes = event.b.saturating_sub(lost_bytes) as f64;
            lost_bytes += u64::from(event.size);
            ((event.time - losses[0].time) as f64 / SECOND as f64, packets, bytes)
        })
        .collect();
    // The bucket is full at first: the line begins once that is spent.
    let tail = &points[points.len() / 10..];
    /// Fewest packets that have to pass between the losses: where next to nothing does, nothing is rationed.
    const PASSING: f64 = 10.0;
    if tail[tail.len() - 1].1 - tail[0].1 < PASSING {
        return None;
    }
    let largest = losses.iter().map(|event| event.size).max().unwrap_or(1).max(1);
    let by_packets = line(tail.iter().map(|point| (point.0, point.1)));
    let by_bytes = line(tail.iter().map(|point| (point.0, point.2)));
    let (packets_off, bytes_off) = (by_packets.1, by_bytes.1 / f64::from(largest));
    /// Residual of the line, in packets: random loss of a few percent leaves ten or more.
    const CLOSE: f64 = 1.5;
    /// Share of what random losses of a steady stream would leave: they walk away from their mean by one step each, and a
    /// line through such a walk of n steps leaves the root of n / 15.
    const WALK: f64 = 0.4;
    let walk = WALK * (tail.len() as f64 / 15.0).sqrt();
    if packets_off.min(bytes_off) > CLOSE.min(walk) {
        return None;
    }
    let constant = losses.iter().all(|event| event.size.abs_diff(largest) <= 8);
    let (rate, unit, words) = if packets_off <= bytes_off * 1.2 || constant {
        (by_packets.0, "packets", format!("about {:.0} packets a second pass, what is above is dropped", by_packets.0))
    } else {
        (by_bytes.0, "bytes", format!("about {:.0} kB a second pass, what is above is dropped", by_bytes.0 / 1000.0))
    };
    // A line in time is also what every n-th packet of a steady stream leaves; a bucket's losses vary in their distance.
    let distances: Vec<u64> = losses.windows(2).map(|pair| pair[1].a.saturating_sub(pair[0].a)).collect();
    if distances.iter().all(|&distance| distance == distances[0]) && ratio < 0.2 {
        return None;
    }
    let delays = &scene.tally.delays[direction.index()];
    // The first packets find the queue empty, however short the time until it is full.
    let (low, high) = (delays.quantile(0.0)?, delays.quantile(0.75)?);
    let queued = high > 5 * MILLISECOND && high > 10 * low.max(1);
    Some(Shape {
        rate: Some(rate),
        unit,
        ..if queued {
            Shape::new("queue-overflow", format!("A full queue: {words}, and the rest waits {} in it.", duration(high)))
        } else {
            Shape::new("rate-limited", format!("A rate limit: {words}."))
        }
    })
}

/// The line through points by least squares: slope, and the residuals' standard deviation.
fn line(points: impl Iterator<Item = (f64, f64)> + Clone) -> (f64, f64) {
    let n = points.clone().count() as f64;
    let mean_x = points.clone().map(|point| point.0).sum::<f64>() / n;
    let mean_y = points.clone().map(|point| point.1).sum::<f64>() / n;
    let (mut covariance, mut variance) = (0.0, 0.0);
    for (x, y) in points.clone() {
        covariance += (x - mean_x) * (y - mean_y);
        variance += (x - mean_x).powi(2);
    }
    let slope = if variance > 0.0 { covariance / variance } else { 0.0 };
    let residual = points.map(|(x, y)| (y - mean_y - slope * (x - mean_x)).powi(2)).sum::<f64>() / n;
    (slope, residual.sqrt())
}

/// Gilbert's measure: how much likelier a loss is right after a loss.
fn bursty(losses: &[Event], ratio: f64) -> Option<Shape> {
    let followed = losses.windows(2).filter(|pair| pair[1].a == pair[0].a + 1).count();
    let after_loss = followed as f64 / losses.len().max(1) as f64;
    (losses.len() >= 20 && after_loss > 3.0 * ratio && after_loss > 0.3)
        .then(|| Shape::new("bursty", "They come in bursts: a loss makes the next one likelier."))
}

/// A point in a sentence.
fn name(point: Point) -> &'static str {
    match point {
        Point::A => "A",
        Point::B => "B",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loss(time_ms: i64, number: u64, size: u32) -> Event {
        Event {
            time: time_ms * MILLISECOND,
            pair: 0,
            frame: number as u32 + 1,
            other_frame: 0,
            size,
            point: 0,
            direction: 0,
            protocol: 17,
            flags: 0,
            a: number,
            b: number * u64::from(size),
        }
    }

    #[test]
    fn equal_distances_are_a_period_and_even_losses_are_not() {
        let bursts: Vec<Event> =
            (0..8).flat_map(|n| (0..4).map(move |k| loss(n * 500 + k * 5, (n * 50 + k) as u64, 200))).collect();
        assert_eq!(periodic(&bursts).and_then(|shape| shape.period), Some(0.5));
        let every_nth: Vec<Event> = (0..40).map(|n| loss(n * 100, n as u64 * 20, 200)).collect();
        assert!(periodic(&every_nth).is_none());
    }

    #[test]
    fn runs_of_losses_are_bursty() {
        let runs: Vec<Event> = (0..60).map(|n| loss(n * 10, (n / 6 * 97 + n % 6) as u64, 200)).collect();
        assert!(bursty(&runs, 0.06).is_some());
        let scattered: Vec<Event> = (0..60).map(|n| loss(n * 10, n as u64 * 17, 200)).collect();
        assert!(bursty(&scattered, 0.06).is_none());
    }

    #[test]
    fn ranges_hold_their_ends() {
        let ranges = [(10, 20), (30, 30)];
        let held: Vec<i64> = (8..33).filter(|&time| within(&ranges, time)).collect();
        assert_eq!(held, (10..=20).chain([30]).collect::<Vec<_>>());
        assert!(!within(&[], 5));
    }

    #[test]
    fn a_line_leaves_no_residual() {
        let (slope, off) = line((0..10).map(|n| (f64::from(n), 3.0 * f64::from(n) + 1.0)));
        assert!((slope - 3.0).abs() < 1e-9 && off < 1e-9);
    }
}
