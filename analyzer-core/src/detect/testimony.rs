//! What the witnesses tell of a flow: when the host gave up its entry, and who ended it.
//!
//! An entry is joined to a pair by both its keys: what the guest's side calls the flow, and what the uplink's side calls
//! it. An entry with the uplink's key twice is the host's own: a packet that was translated no more made it.
//!
//! The log's clock is that of the host, and so is that of at least one capture as a rule; which one is told by the entries
//! that were made when a flow's first packet passed.

use super::claim::{Claim, Reasons};
use super::scene::{PairView, Scene};
use super::text::{count, counted, duration};
use crate::align::clock::ClockMap;
use crate::point::{Direction, Point};
use crate::report::{Coverage, Finding};
use crate::time::{MILLISECOND, SECOND, Time};
use crate::witness::conntrack::{Event, Kind, State};
use crate::witness::sysctl::{SETTINGS, Setting};
use crate::witness::{Host, Log};
use serde_json::{Value, json};

/// How late a line may be printed: the program that prints it is woken for a batch of events.
const PRINTED: i64 = 250 * MILLISECOND;
/// How late it may be when the host is busy.
const PRINTED_LATE: i64 = 2 * SECOND;

/// The witnesses of an analysis.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Witness {
    /// The log of connection tracking.
    pub log: Option<Log>,
    /// The host's timers and switches.
    pub host: Host,
    /// The log's clock minus A's; nothing when it has no times, so that only the order of its lines counts, and nothing
    /// when they are not those of the captures, so that it does not count at all.
    pub shift: Option<i64>,
}

/// Who ended an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum By {
    /// A program.
    Program,
    /// Its timer.
    Timer,
    /// The kernel, together with others that had time left: so it does when an address or a link goes away.
    Address,
    /// The kernel, although it had time left.
    Kernel,
}

/// The end of an entry.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Gone<'a> {
    /// Who ended it.
    pub by: By,
    /// The event.
    pub event: &'a Event,
    /// How long before the moment asked for; nothing when the log has no times.
    pub ago: Option<i64>,
    /// Entries that ended together with it, itself included, and within what time.
    pub together: (u64, Option<i64>),
}

/// What the log tells of a flow's entry at a moment.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub enum Testimony<'a> {
    /// Nothing.
    #[default]
    None,
    /// The entry was there.
    Kept {
        /// Whether the log saw a reset of the flow at that moment: then the packet did belong to the entry.
        reset: bool,
    },
    /// The entry was gone.
    Gone(Gone<'a>),
}

impl Witness {
    /// Puts the log's clock in relation to A's.
    pub(crate) fn new(log: Option<Log>, host: Host, pairs: &[PairView], clock: &ClockMap) -> Self {
        let shift = log.as_ref().and_then(|log| shift(log, pairs, clock));
        Self { log, host, shift }
    }

    /// What the log tells of a pair's entry at a moment of A's clock. `idle` is how long nothing of it had passed.
    pub fn at(&self, pair: &PairView, moment: Time, idle: i64) -> Testimony<'_> {
        let (Some(log), Some((inner, outer))) = (&self.log, pair.a.or(pair.b).zip(pair.b.or(pair.a))) else {
            return Testimony::None;
        };
        if log.span.is_some() && self.shift.is_none() {
            return Testimony::None;
        }
        let moment = self.shift.map(|shift| moment.0.saturating_add(shift));
        let own: Vec<&Event> = log.of(inner, outer).collect();
        let stray = until(log, pair, moment, &own);
        let before = |event: &&Event| stray.is_none_or(|line| event.line < line);
        let known = own.iter().copied().filter(before).filter(|event| match (moment, event.time) {
            (Some(moment), Some(time)) => time <= moment.saturating_add(PRINTED),
            _ => true,
        });
        let (mut gone, mut given) = (None, None);
        let mut seen = false;
        for event in known {
            seen = true;
            if event.kind != Kind::Destroy {
                given = event.left.or(given);
            }
            match event.kind {
                Kind::Destroy if event.reset() => {}
                Kind::Destroy => gone = Some(event),
                // The packet of the moment itself makes a new entry: that does not undo the loss.
                Kind::New if !close(event, moment, PRINTED) => gone = None,
                Kind::New | Kind::Update => {}
            }
        }
        if let Some(event) = gone {
            return Testimony::Gone(Self::gone(
                log,
                event,
                moment,
                ran_out(&self.host, event.original.protocol, given, idle),
            ));
        }
        let covered = match (moment, log.span) {
            (Some(moment), Some((first, last))) => first <= moment && moment <= last.saturating_add(PRINTED_LATE),
            _ => false,
        };
        // `-e NEW` shows no ends, and an entry of a packet that was not translated means that the end went unlogged.
        let ends_shown = log.kinds[Kind::Destroy as usize] + log.kinds[Kind::Update as usize] > 0;
        if !seen || !covered || !ends_shown || stray.is_some() || log.dropped > 0 {
            return Testimony::None;
        }
        let reset = own.iter().any(|event| {
            event.kind == Kind::Update && event.state == State::Close && close(event, moment, 20 * MILLISECOND)
        });
        Testimony::Kept { reset }
    }

    fn gone<'a>(log: &'a Log, event: &'a Event, moment: Option<i64>, ran_out: bool) -> Gone<'a> {
        let burst = log.burst_of(event);
        let together = burst.map_or((1, None), |burst| {
            (burst.count, burst.first.zip(burst.last).map(|(first, last)| last.saturating_sub(first).max(0)))
        });
        let left = event.left.is_some_and(|left| left > 0);
        let by = if event.userspace {
            By::Program
        } else if left && together.0 > 1 {
            By::Address
        } else if left {
            By::Kernel
        } else if log.tells_left || ran_out {
            By::Timer
        } else if together.0 > 2 {
            By::Address
        } else {
            By::Kernel
        };
        let ago = moment.zip(event.time).map(|(moment, time)| moment.saturating_sub(time).max(0));
        Gone { by, event, ago, together }
    }

    /// What most of several flows have in common: each with the moment of its first packet that did not cross.
    pub fn of_most<'a>(&'a self, flows: impl Iterator<Item = (&'a PairView<'a>, Time)>) -> Testimony<'a> {
        let told: Vec<Testimony<'a>> = flows.map(|(pair, moment)| self.at(pair, moment, 0)).collect();
        let common = |one: &&Testimony<'a>| {
            let same = told.iter().filter(|other| match (one, other) {
                (Testimony::Gone(one), Testimony::Gone(other)) => one.by == other.by,
                (Testimony::Kept { .. }, Testimony::Kept { .. }) => true,
                _ => false,
            });
            same.count() * 2 > told.len()
        };
        told.iter().find(common).copied().unwrap_or_default()
    }

    /// Tells how a silence compares to the shortest of some timers, when the host told of them.
    pub fn compare(&self, claim: &mut Claim, idle: i64, timers: &[&Setting]) {
        let told = timers.iter().filter_map(|timer| Some((timer.key, self.host.told(timer)?)));
        let Some((key, told)) = told.min_by_key(|(_, told)| told.value) else { return };
        let name = key.rsplit('.').next().unwrap_or(key);
        let (lives, at) = (counted(told.value.unsigned_abs(), "second"), &told.at);
        let over = idle >= told.value.saturating_mul(SECOND).saturating_sub(SECOND / 10);
        let reason = match (over, claim.cause) {
            (true, Some("nat-expired")) => format!("the host forgets such a flow after {lives} ({name}, {at})"),
            (false, Some(cause)) if cause != "nat-expired" => {
                format!("no timer ended its entry: the host remembers such a flow for {lives} ({name}, {at})")
            }
            _ => return,
        };
        claim.reasons = std::mem::take(&mut claim.reasons).support(0.3, reason);
    }

    /// What limits the use of the log.
    pub(super) fn limits(&self, limits: &mut Vec<Coverage>) {
        let Some(log) = &self.log else { return };
        let mut limit = |summary: String, details: Value| {
            let details = details.as_object().cloned().unwrap_or_default();
            limits.push(Coverage { id: "conntrack-log".into(), point: None, summary, details });
        };
        if log.unread > 0 {
            limit(
                format!(
                    "{} of {} of {} could not be read, the first is line {}.",
                    count(log.unread),
                    counted(log.lines, "line"),
                    log.name,
                    log.first_unread
                ),
                json!({"lines": log.lines, "unread": log.unread, "first_unread": log.first_unread}),
            );
        }
        if log.dropped > 0 {
            limit(
                format!("{} of {} were too many to keep.", counted(log.dropped, "event"), log.name),
                json!({"dropped": log.dropped}),
            );
        }
        if log.span.is_some() && self.shift.is_none() {
            limit(format!("{} is of another time than the captures.", log.name), json!({}));
        }
    }
}

/// The line from which on the log speaks of what came after the moment: where the packet that was translated no more made
/// an entry of its own. Order is surer than the times.
fn until(log: &Log, pair: &PairView, moment: Option<i64>, own: &[&Event]) -> Option<u64> {
    let (a, b) = (pair.a?, pair.b?);
    if a == b {
        return None;
    }
    let mut strays = log.of(b, b).filter(|event| event.kind == Kind::New);
    if moment.is_some() {
        return strays.find(|event| close(event, moment, PRINTED_LATE)).map(|event| event.line);
    }
    let end = own.iter().find(|event| event.kind == Kind::Destroy && !event.reset())?.line;
    strays.map(|event| event.line).find(|line| *line > end)
}

/// Whether an event was printed at a moment, or soon after it.
fn close(event: &Event, moment: Option<i64>, within: i64) -> bool {
    let Some((moment, time)) = moment.zip(event.time) else { return false };
    (-MILLISECOND..=within).contains(&time.saturating_sub(moment))
}

/// Whether a silence was long enough for a timer: the time that the entry was given as its log has it, or the shortest that
/// the host may have given it.
fn ran_out(host: &Host, protocol: u16, given: Option<u32>, idle: i64) -> bool {
    use crate::witness::sysctl as set;
    let timer = match protocol {
        6 => host.value(&set::TCP_ESTABLISHED).min(host.value(&set::TCP_UNACKNOWLEDGED)),
        17 => host.value(&set::UDP).min(host.value(&set::UDP_STREAM)),
        1 => host.value(&set::ICMP),
        58 => host.value(&set::ICMPV6),
        _ => host.value(&set::GENERIC),
    };
    // Data without an acknowledgment shortens a connection's time without an event.
    let timer = match given {
        Some(given) if protocol == 6 => timer.min(i64::from(given)),
        Some(given) => i64::from(given),
        None => timer,
    };
    idle >= timer.saturating_mul(SECOND).saturating_sub(SECOND / 10)
}

/// The log's clock minus A's.
fn shift(log: &Log, pairs: &[PairView], clock: &ClockMap) -> Option<i64> {
    let span = log.span?;
    let mut lags: Vec<i64> = pairs.iter().filter_map(|pair| lag(log, pair, clock)).collect();
    lags.sort_unstable();
    // Both captures' clocks are candidates; a line is printed when its packet passed, or soon after.
    let b = clock.from_a(Point::B, Time(span.0)).saturating_sub(span.0);
    let fit = |shift: i64| {
        let fitting = lags.iter().map(|lag| lag.saturating_sub(shift));
        let fitting: Vec<i64> = fitting.filter(|lag| (-50 * MILLISECOND..=PRINTED_LATE).contains(lag)).collect();
        (fitting.len(), std::cmp::Reverse(fitting.first().map_or(i64::MAX, |lag| lag.saturating_abs())))
    };
    let best = if fit(b) > fit(0) && b.abs() > 5 * MILLISECOND { b } else { 0 };
    if fit(best).0 * 2 > lags.len() {
        return Some(best);
    }
    if let Some(shift) = gathered(&lags) {
        return Some(shift);
    }
    // No flow began while the log ran: then its times must at least be those of the captures.
    let times = pairs.iter().flat_map(|pair| {
        Point::BOTH.into_iter().flat_map(move |point| {
            Direction::BOTH.into_iter().filter_map(move |way| Some((point, pair.track(way, point).last()?.time)))
        })
    });
    let times: Vec<i64> = times.map(|(point, time)| clock.to_a(point, time).0).collect();
    let within = |shift: i64| times.iter().any(|time| (span.0..=span.1).contains(&time.saturating_add(shift)));
    [0, b].into_iter().find(|shift| within(*shift))
}

/// From a flow's first packet to the line that tells of its entry, if both are there.
fn lag(log: &Log, pair: &PairView, clock: &ClockMap) -> Option<i64> {
    let (a, b) = (pair.a?, pair.b?);
    let made = log.of(a, b).find(|event| event.kind == Kind::New)?.time?;
    let firsts = Point::BOTH.into_iter().flat_map(|point| {
        Direction::BOTH.into_iter().filter_map(move |way| {
            let stamp = pair.facts.first[way.index()][point.index()];
            (stamp.frame != 0).then(|| clock.to_a(point, stamp.time).0)
        })
    });
    Some(made.saturating_sub(firsts.min()?))
}

/// Where the most of several lags lie within a second, if they are more than half.
fn gathered(lags: &[i64]) -> Option<i64> {
    let starts = lags.iter().enumerate();
    let (size, first) = starts
        .map(|(index, &first)| (lags[index..].partition_point(|lag| lag.saturating_sub(first) <= SECOND), first))
        .max_by_key(|&(size, first)| (size, std::cmp::Reverse(first)))?;
    (size >= 2 && size * 2 > lags.len()).then_some(first)
}

/// What had become of the entries of some claims, as a clause, as far as the log tells one story of them all.
pub(super) fn lost(claims: &[Claim]) -> Option<String> {
    let told = |claim: &Claim, name: &str| claim.details.get("conntrack")?.get(name)?.as_str().map(str::to_owned);
    let by = told(claims.first()?, "by")?;
    if claims.iter().any(|claim| told(claim, "by").as_ref() != Some(&by)) {
        return None;
    }
    let entries = if claims.len() == 1 && claims[0].flows.len() == 1 { "its NAT entry" } else { "their NAT entries" };
    // The name of the program is looked up when the line is printed: a short-lived one is gone by then.
    let name = claims.iter().find_map(|claim| told(claim, "program")).map(|name| format!(" (`{name}`)"));
    match by.as_str() {
        "program" => Some(format!("a program{} had deleted {entries}", name.unwrap_or_default())),
        "address" => Some(format!("the kernel had removed {entries}, as it does when an address or a link goes away")),
        "kernel" => Some(format!("the kernel had removed {entries} before the time")),
        _ => None,
    }
}

/// Leaves out advice that the host follows already: settings that it told are as they should be.
pub(super) fn settle(scene: &Scene, finding: &mut Finding) {
    let host = &scene.witness.host;
    let set = |word: &str| {
        let told = word.split_once('=').and_then(|(key, value)| {
            let setting = SETTINGS.into_iter().find(|setting| setting.key == key)?;
            Some(host.told(setting)?.value >= value.parse().ok()?)
        });
        told.unwrap_or(false)
    };
    let followed = |command: &String| command.strip_prefix("sysctl -w ").is_some_and(|rest| rest.split(' ').all(set));
    for fix in &mut finding.fixes {
        let before = fix.commands.len();
        fix.commands.retain(|command| !followed(command));
        // What only says how to look at a setting has nothing left to say.
        if fix.commands.len() < before && fix.commands.iter().all(|command| command.starts_with("sysctl ")) {
            fix.commands.clear();
            fix.title.clear();
        }
    }
    finding.fixes.retain(|fix| !fix.title.is_empty());
}

impl Gone<'_> {
    /// What happened to the entry.
    fn deed(&self) -> String {
        match (self.by, self.event.program.as_deref()) {
            (By::Program, Some(name)) => format!("a program (`{name}`) deleted the entry"),
            (By::Program, None) => "a program deleted the entry".into(),
            (By::Timer, _) => "the entry's timer had ended".into(),
            (By::Address, _) => "the kernel removed the entry, as it does when an address or a link goes away".into(),
            (By::Kernel, _) => "the kernel removed the entry".into(),
        }
    }

    /// The sentence that quotes the log.
    pub fn reason(&self, log: &str) -> String {
        let ago = match self.ago {
            // The kernel notices a timer's end when it next looks at the entry.
            _ if self.by == By::Timer => String::new(),
            Some(ago) if ago >= MILLISECOND => format!(" {} before", duration(ago)),
            Some(_) => " at that moment".into(),
            None => String::new(),
        };
        let left = match self.event.left {
            Some(left) if left > 0 => format!(" with {} left to it", counted(u64::from(left), "second")),
            _ => String::new(),
        };
        let together = match self.together {
            (0 | 1, _) => String::new(),
            (n, Some(time)) => format!(", one of {} that ended within {}", count(n), duration(time)),
            (n, None) => format!(", one of {} in a row", count(n)),
        };
        let flags = match (self.event.assured, self.event.unreplied) {
            (true, _) => " [ASSURED]",
            (_, true) => " [UNREPLIED]",
            _ => "",
        };
        format!("{log}:{}: {}{flags}{ago}{left}{together}", self.event.line, self.deed())
    }

    /// The details of the report.
    pub fn details(&self, log: &str) -> Value {
        let by = match self.by {
            By::Program => "program",
            By::Timer => "timer",
            By::Address => "address",
            By::Kernel => "kernel",
        };
        json!({
            "file": log,
            "line": self.event.line,
            "event": self.event.text,
            "by": by,
            "program": self.event.program,
            "portid": self.event.portid,
            "seconds_before": self.ago.map(|ago| ago as f64 / SECOND as f64),
            "together": self.together.0,
        })
    }
}

impl Testimony<'_> {
    /// The end of the entry, if it was gone.
    pub fn gone(&self) -> Option<&Gone<'_>> {
        match self {
            Self::Gone(gone) => Some(gone),
            _ => None,
        }
    }

    /// Why the host reset a connection, given what the packets say.
    pub fn reset_cause(&self, cause: &'static str) -> &'static str {
        match (self, cause) {
            (_, "firewall-reject") | (Self::None, _) => cause,
            (Self::Gone(gone), _) if gone.by == By::Timer => "nat-expired",
            (Self::Gone(_), _) => "nat-state-lost",
            (Self::Kept { reset: true }, _) => "firewall-reject",
            (Self::Kept { reset: false }, _) => "conntrack-invalid",
        }
    }

    /// Whether a timer ended the entry; nothing when the log does not tell.
    pub fn expired(&self) -> Option<bool> {
        match self {
            Self::None => None,
            Self::Kept { .. } => Some(false),
            Self::Gone(gone) => Some(gone.by == By::Timer),
        }
    }

    /// Puts what was told into a claim: a reason, and the line for the details.
    pub fn testify(&self, scene: &Scene, claim: &mut Claim) {
        let Some(log) = &scene.witness.log else { return };
        let reasons = std::mem::take(&mut claim.reasons);
        claim.reasons = match self {
            Self::None => reasons,
            Self::Kept { reset } => kept(reasons, log, *reset),
            Self::Gone(gone) => {
                claim.details.insert("conntrack".into(), gone.details(&log.name));
                reasons.support_first(0.8, gone.reason(&log.name))
            }
        };
    }
}

fn kept(reasons: Reasons, log: &Log, reset: bool) -> Reasons {
    let also = if reset { ", and took the reset for a part of the connection" } else { "" };
    reasons.support_first(0.5, format!("{}: the host still had the flow's entry{also}", log.name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::PairFacts;
    use crate::packet::{Endpoint, Family, FlowKey};
    use crate::witness::sysctl::{TCP_ESTABLISHED, Told, UDP};
    use std::net::Ipv4Addr;
    use std::path::Path;

    /// When the flow below began, by the log.
    const BEGUN: i64 = 1_795_230_930_374_839_000;
    /// When its entry ended.
    const ENDED: i64 = 1_795_230_931_295_733_000;
    const MADE: &str = "[1795230930.374839]\t    [NEW] tcp      6 120 SYN_SENT src=10.31.7.10 dst=198.51.100.7 \
                        sport=42420 dport=443 [UNREPLIED] src=198.51.100.7 dst=100.64.3.5 sport=443 dport=42420";
    const OPENED: &str = "[1795230930.374996]\t [UPDATE] tcp      6 432000 ESTABLISHED src=10.31.7.10 \
                          dst=198.51.100.7 sport=42420 dport=443 src=198.51.100.7 dst=100.64.3.5 sport=443 \
                          dport=42420 [ASSURED]";
    const ENDED_BY_PROGRAM: &str = "[1795230931.295733]\t[DESTROY] tcp      6 431999 ESTABLISHED src=10.31.7.10 \
                                    dst=198.51.100.7 sport=42420 dport=443 src=198.51.100.7 dst=100.64.3.5 sport=443 \
                                    dport=42420 [ASSURED] [USERSPACE] portid=4187394860 progname=conntrack";
    const STRAY: &str = "[1795230931.340328]\t    [NEW] tcp      6 300 ESTABLISHED src=198.51.100.7 dst=100.64.3.5 \
                         sport=443 dport=42420 [UNREPLIED] src=100.64.3.5 dst=198.51.100.7 sport=42420 dport=443";
    const STRAY_RESET: &str = "[1795230931.340341]\t[DESTROY] tcp      6 300 CLOSE src=198.51.100.7 dst=100.64.3.5 \
                               sport=443 dport=42420 [UNREPLIED] src=100.64.3.5 dst=198.51.100.7 sport=42420 dport=443";
    const LATER: &str = "[1795230939.1]\t    [NEW] unknown  2 600 src=10.31.7.1 dst=224.0.0.22 [UNREPLIED] \
                         src=224.0.0.22 dst=10.31.7.1";

    fn key(ends: [(&str, u16); 2], protocol: u16) -> FlowKey {
        let [one, other] =
            ends.map(|(address, port)| Endpoint::v4(address.parse::<Ipv4Addr>().unwrap().to_bits(), port));
        FlowKey::new(one, other, protocol, Family::V4).0
    }

    /// The flow of the lines above, which began `offset` nanoseconds off the log's clock.
    fn pair(offset: i64) -> PairView<'static> {
        let peer = ("198.51.100.7", 443);
        let mut facts = PairFacts::default();
        facts.first[0] = [0, 8_000].map(|transit| crate::facts::Stamp { time: BEGUN - offset + transit, frame: 1 });
        PairView {
            serial: 1,
            successor_of: None,
            a: Some(key([("10.31.7.10", 42420), peer], 6)),
            b: Some(key([("100.64.3.5", 42420), peer], 6)),
            inside_is_high: [false; 2],
            macs: [None; 2],
            tracks: Box::leak(Box::default()),
            facts: Box::leak(Box::new(facts)),
        }
    }

    fn witness(lines: &[&str], pair: &PairView) -> Witness {
        let log = Log::read(Path::new("conntrack.log"), lines.join("\n").as_bytes(), |_, _| true).unwrap();
        Witness::new(Some(log), Host::default(), std::slice::from_ref(pair), &ClockMap::default())
    }

    #[test]
    fn a_program_ended_the_entry_before_the_reset() {
        for offset in [0, 37 * SECOND] {
            let pair = pair(offset);
            let clock = ClockMap { offset: offset as f64, ..ClockMap::default() };
            let lines = [MADE, OPENED, ENDED_BY_PROGRAM, STRAY, STRAY_RESET].join("\n");
            let log = Log::read(Path::new("conntrack.log"), lines.as_bytes(), |_, _| true).unwrap();
            // B's clock is the host's.
            let mut facts = pair.facts.clone();
            facts.first[0][1].time += offset;
            let own = PairView { facts: &facts, ..pair };
            let witness = Witness::new(Some(log), Host::default(), std::slice::from_ref(&own), &clock);
            assert_eq!(witness.shift, Some(offset));
            let told = witness.at(&own, Time(ENDED + 44_595_000 - offset), 0);
            let gone = told.gone().unwrap();
            assert_eq!((gone.by, gone.ago, gone.event.line), (By::Program, Some(44_595_000), 3));
            assert_eq!(told.reset_cause("conntrack-invalid"), "nat-state-lost");
            assert_eq!(told.reset_cause("firewall-reject"), "firewall-reject");
            assert_eq!(
                gone.reason("conntrack.log"),
                "conntrack.log:3: a program (`conntrack`) deleted the entry [ASSURED] 44.6 ms before with 431,999 \
                 seconds left to it"
            );
        }
    }

    #[test]
    fn the_order_of_the_lines_is_enough() {
        let pair = pair(0);
        let bare = [MADE, OPENED, ENDED_BY_PROGRAM, STRAY, STRAY_RESET].map(|line| line.split_once('\t').unwrap().1);
        let witness = witness(&bare, &pair);
        let told = witness.at(&pair, Time(ENDED), 0);
        let gone = told.gone().unwrap();
        assert_eq!((gone.by, gone.ago, gone.event.portid), (By::Program, None, Some(4_187_394_860)));
    }

    #[test]
    fn an_entry_that_lived_on_refutes_its_loss() {
        let pair = pair(0);
        let whole = witness(&[MADE, OPENED, LATER], &pair);
        let told = whole.at(&pair, Time(ENDED), 0);
        assert_eq!((told.reset_cause("nat-expired"), told.expired()), ("conntrack-invalid", Some(false)));
        // The log ended before, it shows no ends, or the packet that was not translated made an entry.
        let nothing = |lines: &[&str], moment: i64| {
            let witness = witness(lines, &pair);
            matches!(witness.at(&pair, Time(moment), 0), Testimony::None)
        };
        assert!(nothing(&[MADE, OPENED], ENDED + 20 * SECOND));
        assert!(nothing(&[MADE, LATER], ENDED));
        assert!(nothing(&[MADE, OPENED, STRAY, STRAY_RESET, LATER], ENDED + 44_000_000));
    }

    #[test]
    fn a_reset_by_a_rule_belongs_to_the_entry() {
        let pair = pair(0);
        let closed = OPENED.replace("432000 ESTABLISHED", "10 CLOSE").replace("930.374996", "931.295740");
        let witness = witness(&[MADE, OPENED, &closed, LATER], &pair);
        assert_eq!(witness.at(&pair, Time(ENDED), 0).reset_cause("nat-state-lost"), "firewall-reject");
    }

    #[test]
    fn the_kernel_removes_many_at_once_with_an_address() {
        let pair = pair(0);
        let own = ENDED_BY_PROGRAM.split(" [USERSPACE]").next().unwrap().to_owned();
        let other = own.replace("42420", "42436").replace("295733", "295770");
        let alone = witness(&[MADE, OPENED, &own, STRAY], &pair);
        assert_eq!(alone.at(&pair, Time(ENDED), 0).gone().unwrap().by, By::Kernel);
        let together = witness(&[MADE, OPENED, &own, &other, STRAY], &pair);
        let told = together.at(&pair, Time(ENDED), 0);
        assert_eq!((told.gone().unwrap().by, told.gone().unwrap().together), (By::Address, (2, Some(37_000))));
        // Without time left, the timer ended it.
        let timed = own.replace("431999 ESTABLISHED", "ESTABLISHED");
        let timer = witness(&[MADE, OPENED, &timed, STRAY], &pair);
        assert_eq!(timer.at(&pair, Time(ENDED), 0).reset_cause("nat-state-lost"), "nat-expired");
    }

    #[test]
    fn kernels_that_tell_no_time_left_are_judged_by_the_silence() {
        let pair = pair(0);
        let own = ENDED_BY_PROGRAM.split(" [USERSPACE]").next().unwrap().replace("431999 ESTABLISHED ", "");
        let witness = witness(&[MADE, &own, STRAY], &pair);
        assert_eq!(witness.at(&pair, Time(ENDED), SECOND).gone().unwrap().by, By::Kernel);
        assert_eq!(witness.at(&pair, Time(ENDED), 400 * SECOND).gone().unwrap().by, By::Timer);
        let opened = OPENED.replace("432000 ESTABLISHED", "20 ESTABLISHED");
        let told = self::witness(&[MADE, &opened, &own, STRAY], &pair);
        assert_eq!(told.at(&pair, Time(ENDED), 21 * SECOND).gone().unwrap().by, By::Timer);
    }

    #[test]
    fn a_log_of_another_time_says_nothing() {
        let pair = pair(86_400 * SECOND);
        let witness = witness(&[OPENED, ENDED_BY_PROGRAM, STRAY], &pair);
        assert_eq!(witness.shift, None);
        assert!(matches!(witness.at(&pair, Time(ENDED - 86_400 * SECOND), 0), Testimony::None));
        let mut limits = Vec::new();
        witness.limits(&mut limits);
        assert_eq!(limits[0].summary, "conntrack.log is of another time than the captures.");
    }

    #[test]
    fn lags_gather_where_most_lie() {
        let hour = 3600 * SECOND;
        assert_eq!(gathered(&[-hour, hour, hour + 1000, hour + SECOND / 2]), Some(hour));
        assert_eq!(gathered(&[0, hour]), None);
        assert_eq!(gathered(&[hour]), None);
    }

    #[test]
    fn a_silence_is_compared_with_the_hosts_own_timer() {
        let mut host = Host::default();
        host.learn(&UDP, Told { value: 30, at: "sysctl.txt:7".into() });
        let witness = Witness { host, ..Witness::default() };
        let mut claim = Claim::new("udp-stall", 1, crate::report::Where::Between, Direction::Inbound);
        claim.cause = Some("dropped");
        witness.compare(&mut claim, 40 * SECOND, &[&UDP]);
        witness.compare(&mut claim, 5 * SECOND, &[&TCP_ESTABLISHED]);
        assert_eq!(claim.reasons.to_value()["for"], json!([]));
        witness.compare(&mut claim, 5 * SECOND, &[&UDP]);
        assert_eq!(
            claim.reasons.to_value()["for"],
            json!([
                "no timer ended its entry: the host remembers such a flow for 30 seconds (nf_conntrack_udp_timeout, \
                 sysctl.txt:7)"
            ])
        );
    }
}
