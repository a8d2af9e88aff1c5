//! How packets were lost: what their times, sizes and numbers in the flow have in common.

use super::SPEC;
use crate::detect::text::duration;
use crate::detect::{Claim, Scene};
use crate::facts::{Event, EventKind, STEPS_OF_SIZE};
use crate::point::Direction;
use crate::time::{MILLISECOND, SECOND};
use std::collections::HashSet;

/// How packets were lost.
pub(super) struct Shape {
    pub(super) name: &'static str,
    pub(super) words: String,
    pub(super) rate: Option<f64>,
    pub(super) unit: &'static str,
    pub(super) period: Option<f64>,
}

impl Shape {
    fn new(name: &'static str, words: impl Into<String>) -> Self {
        Self { name, words: words.into(), rate: None, unit: "", period: None }
    }
}

/// The shape, from enough losses on.
pub(super) fn shape(
    scene: &Scene,
    direction: Direction,
    claims: &[Claim],
    (lost, offered): (u64, u64),
) -> Option<Shape> {
    let flows: HashSet<u32> = claims.iter().flat_map(|claim| claim.flows.iter().copied()).collect();
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

/// Bursts of loss at equal distances; single losses between them, if they are few, are another matter.
fn periodic(losses: &[Event]) -> Option<Shape> {
    /// Losses closer than this belong to one burst.
    const TOGETHER: i64 = 50 * MILLISECOND;
    /// Fewest bursts: four equal distances.
    const BURSTS: usize = 5;
    let mut bursts: Vec<(i64, usize)> = Vec::new();
    let mut last = i64::MIN / 2;
    for event in losses {
        match bursts.last_mut() {
            Some((_, size)) if event.time.saturating_sub(last) <= TOGETHER => *size += 1,
            _ => bursts.push((event.time, 1)),
        }
        last = event.time;
    }
    let starts: Vec<i64> = bursts.iter().filter(|(_, size)| *size >= 2).map(|(start, _)| *start).collect();
    let single = bursts.len() - starts.len();
    if starts.len() < BURSTS || single * 10 > losses.len() {
        return None;
    }
    let gaps: Vec<f64> = starts.windows(2).map(|pair| (pair[1] - pair[0]) as f64).collect();
    let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
    let deviation = (gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / gaps.len() as f64).sqrt();
    (deviation < 0.15 * mean && mean > 2.0 * TOGETHER as f64).then(|| Shape {
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

/// All above a size is lost, next to nothing below: what the capture missed, or hosts on one side say among themselves.
fn abrupt(scene: &Scene, direction: Direction) -> Option<Shape> {
    (2..STEPS_OF_SIZE).find_map(|cut| {
        let [below, below_lost, above, above_lost] = split(scene, direction, cut);
        let step = below >= 10 && above >= 10 && above_lost * 10 >= above * 9 && below_lost * 20 <= below;
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
        let mut with_another = bursts.clone();
        with_another.insert(12, loss(1300, 130, 200));
        assert_eq!(periodic(&with_another).and_then(|shape| shape.period), Some(0.5));
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
    fn a_line_leaves_no_residual() {
        let (slope, off) = line((0..10).map(|n| (f64::from(n), 3.0 * f64::from(n) + 1.0)));
        assert!((slope - 3.0).abs() < 1e-9 && off < 1e-9);
    }
}
