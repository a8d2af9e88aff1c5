//! When flows stopped crossing for good: what `synchronous-drop` finds, and what keeps the host's silence from being taken
//! for a fault of new connections alone.

use super::alibi;
use super::census::has;
use super::scene::{PairView, Scene};
use crate::facts::{Fate, IcmpSeen, Run, Stamp, TrackMore, state};
use crate::packet::Family;
use crate::point::{Direction, Point};
use crate::report::TopologyKind;
use crate::time::{SECOND, Time};

/// Fewest matched packets of a flow before its silence means anything.
const ALIVE: u64 = 4;
/// Time that a capture must go on after a single packet that did not cross.
const AFTERMATH: i64 = SECOND;
/// Chance, at most, that what is lost of all packets has lost a flow's last ones as well: with three flows or more in a
/// group that leaves one in a million.
const CHANCE: f64 = 0.01;

/// Where a flow's packets end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum End {
    /// They enter the host and do not leave it.
    Host,
    /// They enter the host, and the host answers them with a reset.
    Reset,
    /// They leave the host outwards and nothing comes back.
    Outside,
}

/// A flow that stopped for good.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stop {
    /// Serial number of the flow.
    pub serial: u32,
    /// Where its packets end.
    pub end: End,
    /// Which of its packets.
    pub direction: Direction,
    /// The last moment when it was known to cross, on A's clock.
    pub before: Time,
    /// The first packet that did not cross (or had no answer), on A's clock.
    pub at: Time,
    /// That packet at the point that it passes first, in its clock.
    pub first: Stamp,
    /// How many did not.
    pub count: u32,
}

/// All flows that stopped, by time.
pub(super) fn stops(scene: &Scene) -> Vec<Stop> {
    let usual = Direction::BOTH.map(|direction| usual_loss(scene, direction));
    let suspects = scene.pairs_with(has::BOTH, has::RESETS | has::RUN | has::HEAD);
    let mut stops: Vec<Stop> = suspects.filter_map(|pair| stop(scene, pair, usual)).collect();
    stops.sort_by_key(|stop| (stop.at, stop.serial));
    stops
}

/// The largest group of flows that may have stopped at one moment, within `window` nanoseconds, and whose packets end in the
/// host (or outside of it).
pub(super) fn together(stops: &[Stop], outside: bool, window: i64) -> Vec<Stop> {
    let own: Vec<&Stop> = stops.iter().filter(|stop| (stop.end == End::Outside) == outside).collect();
    let mut ends: Vec<i64> = own.iter().map(|stop| stop.at.0).collect();
    let mut begins: Vec<i64> = own.iter().map(|stop| stop.before.0).collect();
    ends.sort_unstable();
    begins.sort_unstable();
    // Of the flows that crossed before the moment's end, all but those that had stopped already.
    let size = |moment: i64| {
        let begun = begins.partition_point(|&before| before <= moment.saturating_add(window));
        begun.saturating_sub(ends.partition_point(|&at| at < moment))
    };
    let Some(&moment) = ends.iter().rev().max_by_key(|&&moment| size(moment)) else { return Vec::new() };
    let fits = |stop: &Stop| stop.before.0 <= moment.saturating_add(window) && stop.at.0 >= moment;
    own.into_iter().copied().filter(fits).collect()
}

/// Share of a direction's packets that are seen at its first point alone although later ones of their flow crossed.
fn usual_loss(scene: &Scene, direction: Direction) -> f64 {
    let totals = &scene.census.totals;
    totals.skipped[direction.index()] as f64 / totals.offered[direction.index()].max(1) as f64
}

fn stop(scene: &Scene, pair: &PairView, usual: [f64; 2]) -> Option<Stop> {
    let matched: u64 = pair.tracks.iter().map(|direction| u64::from(direction[0].matched)).sum();
    if !pair.both() || pair.family() == Family::Link || matched < ALIVE || closed(pair) {
        return None;
    }
    by_reset(scene, pair).or_else(|| by_host(scene, pair, usual)).or_else(|| outside(scene, pair))
}

/// Whether it was closed in order where that could be seen on the far side.
fn closed(pair: &PairView) -> bool {
    Direction::BOTH.into_iter().any(|direction| pair.track(direction, direction.exit()).has(state::FIN))
}

/// The host answered one of its packets with a reset.
fn by_reset(scene: &Scene, pair: &PairView) -> Option<Stop> {
    let reset = pair.facts.resets.iter().find(|reset| {
        reset.fate == Fate::Unmatched
            && reset.point == reset.direction.exit()
            && reset.offender_fate == Fate::Unmatched
            && (reset.ttl != reset.usual_ttl || scene.topology.kind == TopologyKind::Bridge)
            && reset.acked_after == 0
    })?;
    let at = scene.clock.to_a(reset.point, reset.offender.time);
    Some(Stop {
        serial: pair.serial,
        end: End::Reset,
        direction: reset.direction.reverse(),
        before: Time(at.0.saturating_sub(reset.idle)),
        at,
        first: reset.offender,
        count: 1,
    })
}

/// Its last packets of a direction entered the host and did not leave.
fn by_host(scene: &Scene, pair: &PairView, usual: [f64; 2]) -> Option<Stop> {
    let found = Direction::BOTH.into_iter().filter_map(|direction| {
        let point = direction.entry();
        let (track, more) = (pair.track(direction, point), pair.more(direction, point)?);
        let run = &more.run;
        let open = run.count > 0 && (track.matched_order < run.first_order || track.matched == 0);
        if !open
            || missed_by_capture(more)
            || too_large(pair, direction, run)
            || scene.leaves_out(direction, direction.exit())
        {
            return None;
        }
        let at = scene.clock.to_a(point, run.first.time);
        // The other end still gets through.
        let back = direction.reverse();
        let opposite = pair.track(back, back.entry());
        // Unless it only repeats what nobody acknowledges any more.
        let stuck = pair
            .more(back, back.entry())
            .is_some_and(|more| more.head.times >= 2 && scene.clock.to_a(back.entry(), more.head.first.time) > at);
        let goes_on = pair.is_tcp()
            && !stuck
            && opposite.matched > 0
            && pair.more(back, back.entry()).is_none_or(|more| more.run.count == 0)
            && scene.clock.to_a(back.entry(), opposite.last_time).0 > at.0 + AFTERMATH;
        let left = end(scene).0 - at.0;
        let by_chance = usual[direction.index()].powi(run.count.min(i32::MAX as u32) as i32) > CHANCE;
        let enough = !by_chance && (run.count >= 2 || left >= AFTERMATH);
        // A few packets at the very end, after the last that the other capture shows at all, are its missing last block.
        let exit = point.other();
        let runs = scene.presence[exit.index()].span.is_some_and(|span| scene.clock.to_a(exit, span.1) >= at);
        (enough && (runs || left >= AFTERMATH / 2) && !goes_on).then(|| Stop {
            serial: pair.serial,
            end: End::Host,
            direction,
            before: Time(at.0.saturating_sub(run.idle)),
            at,
            first: run.first,
            count: run.count,
        })
    });
    found.min_by_key(|stop| (stop.at, stop.direction))
}

/// Whether a direction's last packets were too large for the path: its sender was told so, or they are larger than all that
/// were ever acknowledged. Smaller ones may well cross. Or what does not cross is the ICMP error that would tell it.
pub(super) fn too_large(pair: &PairView, direction: Direction, run: &Run) -> bool {
    let told = |error: &IcmpSeen| error.too_big() && error.direction == direction.reverse();
    let tells = |error: &IcmpSeen| error.point == direction.entry() && error.at.frame == run.first.frame;
    let acked = pair.facts.largest_acked[direction.index()];
    pair.facts.icmp.iter().any(|error| told(error) || tells(error))
        || (pair.is_tcp() && acked > 0 && run.smallest > acked.max(alibi::CARRIED))
}

/// Whether the far capture may have missed the run: some of its packets were acknowledged. One of them now and then is of
/// another time.
fn missed_by_capture(more: &TrackMore) -> bool {
    /// Where a capture ends early, all but the last few of a run are acknowledged.
    const PART: u32 = 4;
    more.acked_unmatched > more.run.count / PART
}

/// Everything leaves, nothing comes back: the sender repeats itself at both points.
fn outside(scene: &Scene, pair: &PairView) -> Option<Stop> {
    if !pair.is_tcp() || !pair.facts.resets.is_empty() {
        return None;
    }
    let (out, back) = (pair.track(Direction::Outbound, Point::B), pair.track(Direction::Inbound, Point::B));
    let head = &pair.more(Direction::Outbound, Point::B)?.head;
    let unanswered = head.times >= 2 && back.packets > 0 && head.first.time > back.last_time;
    // A single one may have been missed by the capture.
    let crosses = pair.more(Direction::Outbound, Point::A).is_none_or(|more| more.run.count <= 1);
    (unanswered && crosses && out.last_time > back.last_time).then(|| Stop {
        serial: pair.serial,
        end: End::Outside,
        direction: Direction::Outbound,
        before: scene.clock.to_a(Point::B, back.last_time),
        at: scene.clock.to_a(Point::B, head.first.time),
        first: head.first,
        count: head.times,
    })
}

/// The end of the captures, on A's clock.
pub(super) fn end(scene: &Scene) -> Time {
    Point::BOTH
        .into_iter()
        .filter_map(|point| Some(scene.clock.to_a(point, scene.presence[point.index()].span?.1)))
        .max()
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stop(serial: u32, before: i64, at: i64) -> Stop {
        Stop {
            serial,
            end: End::Host,
            direction: Direction::Outbound,
            before: Time(before * SECOND),
            at: Time(at * SECOND),
            first: Stamp::default(),
            count: 2,
        }
    }

    fn serials(stops: &[Stop]) -> Vec<u32> {
        together(stops, false, SECOND).iter().map(|stop| stop.serial).collect()
    }

    #[test]
    fn flows_belong_together_when_one_moment_fits_them_all() {
        let stops = [stop(1, 9, 10), stop(2, 4, 11), stop(3, 9, 14), stop(4, 30, 31)];
        assert_eq!(serials(&stops), [1, 2, 3]);
    }

    #[test]
    fn flows_that_stop_one_after_the_other_do_not() {
        let stops = [stop(1, 9, 10), stop(2, 19, 20), stop(3, 29, 30)];
        assert_eq!(serials(&stops).len(), 1);
        assert!(serials(&[]).is_empty());
    }

    #[test]
    fn what_dies_outside_is_another_matter() {
        let mut far = stop(2, 9, 10);
        far.end = End::Outside;
        assert_eq!(serials(&[stop(1, 9, 10), far]), [1]);
        assert_eq!(together(&[stop(1, 9, 10), far], true, SECOND).len(), 1);
    }
}
