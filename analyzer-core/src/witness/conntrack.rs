//! The log of `conntrack -E`: which entries the host made, renewed and gave up, and who ended them.
//!
//! A line is an event; what cannot be read is counted and passed over. The time stamps of `-o timestamp` are those of
//! the moment at which the line was printed, some microseconds to tenths of a second after the event.

use super::lines::Lines;
use super::sysctl::{self, Setting, Told};
use crate::error::Error;
use crate::packet::{Endpoint, Family, FlowKey};
use crate::time::{MILLISECOND, SECOND};
use std::collections::HashMap;
use std::io::BufRead;
use std::net::IpAddr;
use std::path::Path;

/// Most events that are kept; what comes later is counted alone.
pub const MAX_EVENTS: usize = 200_000;
/// Most bursts of ended entries that are kept.
const MAX_BURSTS: usize = 4096;
/// Ends of entries that lie closer than this belong to one burst: a program that walks the table, or the kernel.
const BURST_GAP: i64 = 20 * MILLISECOND;

/// What happened to an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It was made.
    New,
    /// Its state or its flags changed.
    Update,
    /// It is gone.
    Destroy,
}

/// A TCP state, as far as verdicts care.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// None was printed.
    #[default]
    None,
    /// Open.
    Established,
    /// A reset was seen.
    Close,
    /// Another one.
    Other,
}

/// One line of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Its line, 1-based.
    pub line: u64,
    /// When it was printed, in nanoseconds since the epoch, if the log tells.
    pub time: Option<i64>,
    /// What happened.
    pub kind: Kind,
    /// The flow as its first packet had it.
    pub original: FlowKey,
    /// The flow as the answers have it.
    pub reply: FlowKey,
    /// Seconds left to it (for an end: seconds that were left).
    pub left: Option<u32>,
    /// TCP state.
    pub state: State,
    /// No answer was seen yet.
    pub unreplied: bool,
    /// Traffic went both ways for long enough.
    pub assured: bool,
    /// A program caused the event.
    pub userspace: bool,
    /// The netlink port of that program.
    pub portid: Option<u32>,
    /// Its name.
    pub program: Option<Box<str>>,
    /// The line itself, for ends.
    pub text: Option<Box<str>>,
}

impl Event {
    /// Whether it is the end of an entry by a reset: the kernel then removes at once what had no answer.
    pub fn reset(&self) -> bool {
        self.kind == Kind::Destroy && self.state == State::Close && self.unreplied && !self.userspace
    }
}

/// Entries that ended at about the same time, in the same way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Burst {
    /// Line of the first.
    pub first_line: u64,
    /// Line of the last.
    pub last_line: u64,
    /// Time of the first.
    pub first: Option<i64>,
    /// Time of the last.
    pub last: Option<i64>,
    /// How many entries.
    pub count: u64,
    /// Whether a program ended them.
    pub userspace: bool,
    /// Whether they had time left.
    pub alive: bool,
}

/// What was read.
#[derive(Clone, Debug, Default)]
pub struct Log {
    /// The file as named by the user.
    pub name: String,
    /// Events of the flows that were asked for, in the order of the file.
    pub events: Vec<Event>,
    /// Lines that are not empty.
    pub lines: u64,
    /// Lines that are no events.
    pub unread: u64,
    /// The first of those.
    pub first_unread: u64,
    /// Events that were not kept.
    pub dropped: u64,
    /// First and last time of all events.
    pub span: Option<(i64, i64)>,
    /// Events of each kind, of all flows.
    pub kinds: [u64; 3],
    /// Whether the kernel tells how much time an ended entry had left (newer ones do).
    pub tells_left: bool,
    bursts: Vec<Burst>,
    open_burst: Option<Burst>,
    by_keys: HashMap<(FlowKey, FlowKey), Vec<u32>>,
    learned: Vec<(&'static Setting, Told)>,
}

impl Log {
    /// Reads a log and keeps the events of the flows that are `wanted`, by the keys of both directions.
    pub fn read(path: &Path, reader: impl BufRead, wanted: impl Fn(&FlowKey, &FlowKey) -> bool) -> Result<Self, Error> {
        let mut log = Self { name: path.display().to_string(), ..Self::default() };
        let mut lines = Lines::new(path, reader);
        while let Some((number, line)) = lines.next()? {
            if line.trim().is_empty() {
                continue;
            }
            log.lines += 1;
            if let Some(event) = parse(number, line) {
                log.take(event, &wanted);
                continue;
            }
            log.unread += 1;
            if log.first_unread == 0 {
                log.first_unread = number;
            }
        }
        log.close_burst();
        Ok(log)
    }

    fn take(&mut self, event: Event, wanted: &impl Fn(&FlowKey, &FlowKey) -> bool) {
        self.kinds[event.kind as usize] += 1;
        if let Some(time) = event.time {
            let (first, last) = self.span.unwrap_or((time, time));
            self.span = Some((first.min(time), last.max(time)));
        }
        self.learn(&event);
        if event.kind == Kind::Destroy {
            self.tells_left |= event.left.is_some() || event.state != State::None;
            if !event.reset() {
                self.burst(&event);
            }
        }
        if !wanted(&event.original, &event.reply) {
            return;
        }
        if self.events.len() >= MAX_EVENTS {
            self.dropped += 1;
            return;
        }
        self.by_keys.entry(pair_of(event.original, event.reply)).or_default().push(self.events.len() as u32);
        self.events.push(event);
    }

    /// The timer that an event shows: a new or renewed entry has its whole time left.
    fn learn(&mut self, event: &Event) {
        let Some(left) = event.left.filter(|_| event.kind != Kind::Destroy && !event.userspace) else { return };
        let setting = match (event.original.protocol, event.kind) {
            (17, Kind::New) => &sysctl::UDP,
            (17, _) if event.assured => &sysctl::UDP_STREAM,
            (6, Kind::Update) if event.assured && event.state == State::Established => &sysctl::TCP_ESTABLISHED,
            (1, Kind::New) => &sysctl::ICMP,
            _ => return,
        };
        if !self.learned.iter().any(|(known, _)| known.key == setting.key) {
            let at = format!("{}:{}", self.name, event.line);
            self.learned.push((setting, Told { value: i64::from(left), at }));
        }
    }

    fn burst(&mut self, event: &Event) {
        let alive = event.left.is_some_and(|left| left > 0);
        if let Some(burst) = &mut self.open_burst {
            let near = match (burst.last, event.time) {
                (Some(last), Some(time)) => time.saturating_sub(last).abs() <= BURST_GAP,
                _ => event.line == burst.last_line + 1,
            };
            if near && burst.userspace == event.userspace && burst.alive == alive {
                burst.count += 1;
                burst.last_line = event.line;
                burst.last = event.time;
                return;
            }
        }
        self.close_burst();
        self.open_burst = Some(Burst {
            first_line: event.line,
            last_line: event.line,
            first: event.time,
            last: event.time,
            count: 1,
            userspace: event.userspace,
            alive,
        });
    }

    fn close_burst(&mut self) {
        let burst = self.open_burst.take().filter(|burst| burst.count > 1);
        if self.bursts.len() < MAX_BURSTS {
            self.bursts.extend(burst);
        }
    }

    /// Events of an entry with these two keys, in the order of the file.
    pub fn of(&self, one: FlowKey, other: FlowKey) -> impl DoubleEndedIterator<Item = &Event> {
        let found = self.by_keys.get(&pair_of(one, other)).map_or(&[][..], Vec::as_slice);
        found.iter().map(|&index| &self.events[index as usize])
    }

    /// The entries that ended together with this one.
    pub fn burst_of(&self, event: &Event) -> Option<&Burst> {
        let next = self.bursts.partition_point(|burst| burst.first_line <= event.line);
        let burst = self.bursts.get(next.checked_sub(1)?)?;
        (event.line <= burst.last_line && burst.userspace == event.userspace).then_some(burst)
    }

    /// Timers that the log shows.
    pub fn learned(&self) -> &[(&'static Setting, Told)] {
        &self.learned
    }
}

/// Both keys of an entry, whatever way it was made.
fn pair_of(one: FlowKey, other: FlowKey) -> (FlowKey, FlowKey) {
    (one.min(other), one.max(other))
}

/// Whether the head of a text holds an event; the number of lines that were looked at if not.
pub(super) fn sniff(head: &[u8]) -> Result<(), u64> {
    let text = String::from_utf8_lossy(head);
    let mut lines = 0;
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        if parse(1, line).is_some() {
            return Ok(());
        }
        lines += 1;
    }
    if lines == 0 { Ok(()) } else { Err(lines) }
}

/// One line: `[time] [EVENT] protocol number [seconds] [STATE] src=… dst=… … [FLAG] src=… dst=… … [FLAG] key=value …`.
/// What is not known is passed over: counters, marks, zones, labels.
fn parse(number: u64, line: &str) -> Option<Event> {
    let mut words = line.split_ascii_whitespace().peekable();
    let time = words.peek().copied().and_then(stamp);
    if time.is_some() {
        words.next();
    }
    let kind = match words.next()? {
        "[NEW]" => Kind::New,
        "[UPDATE]" => Kind::Update,
        "[DESTROY]" => Kind::Destroy,
        _ => return None,
    };
    // `-o extended` names the network protocol first.
    if words.next_if(|word| matches!(*word, "ipv4" | "ipv6")).is_some() {
        words.next()?.parse::<u8>().ok()?;
    }
    words.next()?;
    let protocol = u16::from(words.next()?.parse::<u8>().ok()?);
    let (mut left, mut state) = (None, State::None);
    while let Some(word) = words.next_if(|word| !word.contains('=') && !word.starts_with('[')) {
        match word.parse::<u32>() {
            Ok(seconds) => left = Some(seconds),
            Err(_) => {
                state = match word {
                    "ESTABLISHED" => State::Established,
                    "CLOSE" => State::Close,
                    _ => State::Other,
                }
            }
        }
    }
    let mut tuples = [Ends::default(); 2];
    let mut seen = 0_usize;
    let mut event = Event {
        line: number,
        time,
        kind,
        original: FlowKey::default(),
        reply: FlowKey::default(),
        left,
        state,
        unreplied: false,
        assured: false,
        userspace: false,
        portid: None,
        program: None,
        text: None,
    };
    for word in words {
        match word {
            "[UNREPLIED]" => event.unreplied = true,
            "[ASSURED]" => event.assured = true,
            "[USERSPACE]" => event.userspace = true,
            _ => {}
        }
        let Some((key, value)) = word.split_once('=') else { continue };
        match key {
            "src" => seen += 1,
            "portid" => event.portid = value.parse().ok(),
            "progname" => event.program = Some(value.chars().take(64).collect::<String>().into()),
            _ => {}
        }
        if let Some(ends) = tuples.get_mut(seen.wrapping_sub(1)) {
            ends.take(key, value)?;
        }
    }
    event.original = tuples[0].key(protocol)?;
    event.reply = tuples[1].key(protocol)?;
    if kind == Kind::Destroy {
        event.text = Some(line.trim().chars().take(512).collect::<String>().into());
    }
    Some(event)
}

/// `[1795222324.836744]`, in nanoseconds.
fn stamp(word: &str) -> Option<i64> {
    let inner = word.strip_prefix('[')?.strip_suffix(']')?;
    let (seconds, fraction) = inner.split_once('.').unwrap_or((inner, ""));
    if fraction.len() > 9 || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let nanos = if fraction.is_empty() { 0 } else { fraction.parse::<i64>().ok()? };
    let nanos = nanos * 10_i64.pow(9 - fraction.len() as u32);
    seconds.parse::<i64>().ok()?.checked_mul(SECOND)?.checked_add(nanos)
}

/// One half of an entry while it is read.
#[derive(Clone, Copy, Default)]
struct Ends {
    source: Option<IpAddr>,
    destination: Option<IpAddr>,
    ports: [u16; 2],
    identified: bool,
}

impl Ends {
    /// Nothing when a value that matters cannot be read.
    fn take(&mut self, key: &str, value: &str) -> Option<()> {
        match key {
            "src" => self.source = Some(value.parse().ok()?),
            "dst" => self.destination = Some(value.parse().ok()?),
            "sport" => self.ports[0] = value.parse().ok()?,
            "dport" => self.ports[1] = value.parse().ok()?,
            // After the type this is the echo's identifier; at the end of the line the entry's own.
            "type" => self.identified = true,
            "id" if self.identified => {
                self.ports = [value.parse().ok()?; 2];
                self.identified = false;
            }
            _ => {}
        }
        Some(())
    }

    fn key(&self, protocol: u16) -> Option<FlowKey> {
        let (source, destination) = (self.source?, self.destination?);
        let family = match (source, destination) {
            (IpAddr::V4(_), IpAddr::V4(_)) => Family::V4,
            (IpAddr::V6(_), IpAddr::V6(_)) => Family::V6,
            _ => return None,
        };
        let [source, destination] =
            [(source, self.ports[0]), (destination, self.ports[1])].map(|(address, port)| match address {
                IpAddr::V4(address) => Endpoint::v4(address.to_bits(), port),
                IpAddr::V6(address) => Endpoint { address: address.to_bits(), port },
            });
        Some(FlowKey::new(source, destination, protocol, family).0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const FLUSHED: &str = "[1795222327.341526]\t[DESTROY] tcp      6 431999 ESTABLISHED src=192.168.122.10 \
                           dst=198.51.100.7 sport=41594 dport=443 src=198.51.100.7 dst=203.0.113.5 sport=443 \
                           dport=41594 [ASSURED] [USERSPACE] portid=13143 progname=conntrack";

    fn read(text: &str) -> Log {
        Log::read(Path::new("conntrack.log"), text.as_bytes(), |_, _| true).unwrap()
    }

    #[test]
    fn reads_an_end_by_a_program() {
        let event = parse(7, FLUSHED).unwrap();
        assert_eq!((event.line, event.time, event.kind), (7, Some(1_795_222_327_341_526_000), Kind::Destroy));
        assert_eq!((event.left, event.state), (Some(431_999), State::Established));
        assert!(event.assured && event.userspace && !event.unreplied && !event.reset());
        assert_eq!((event.portid, event.program.as_deref()), (Some(13143), Some("conntrack")));
        let [guest, peer, outer] = [("192.168.122.10", 41594), ("198.51.100.7", 443), ("203.0.113.5", 41594)]
            .map(|(address, port)| Endpoint::v4(address.parse::<std::net::Ipv4Addr>().unwrap().to_bits(), port));
        assert_eq!(event.original, FlowKey::new(guest, peer, 6, Family::V4).0);
        assert_eq!(event.reply, FlowKey::new(peer, outer, 6, Family::V4).0);
    }

    #[test]
    fn reads_what_the_options_of_conntrack_add() {
        let log = read(
            "    [NEW] tcp      6 120 SYN_SENT src=10.0.0.2 dst=10.9.9.9 sport=1 dport=2 [UNREPLIED] src=10.9.9.9 \
             dst=10.0.0.2 sport=2 dport=1\n\
             [1795222324.8]\t    [NEW] ipv4     2 udp      17 30 src=10.0.0.2 dst=10.9.9.9 sport=1 dport=2 packets=1 \
             bytes=60 [UNREPLIED] src=10.9.9.9 dst=10.0.0.2 sport=2 dport=1 packets=0 bytes=0 mark=0 zone=3 \
             id=3284917\n\
             \t [UPDATE] icmp     1 30 src=10.0.0.2 dst=10.9.9.9 type=8 code=0 id=77 src=10.9.9.9 dst=10.0.0.2 type=0 \
             code=0 id=78 id=2219\n\
             [DESTROY] ipv6     10 icmpv6   58 src=2001:db8::2 dst=2001:db8:9::9 type=128 code=0 id=5 [UNREPLIED] \
             src=2001:db8:9::9 dst=2001:db8::2 type=129 code=0 id=5\n\
             \t [UPDATE] unknown  2 600 src=10.0.0.2 dst=224.0.0.22 [UNREPLIED] src=224.0.0.22 dst=10.0.0.2\n\
             conntrack v1.4.7 (conntrack-tools): 5 flow events have been shown.\n",
        );
        assert_eq!((log.lines, log.unread, log.first_unread), (6, 1, 6));
        assert_eq!(log.kinds, [2, 2, 1]);
        assert_eq!(log.events[1].time, Some(1_795_222_324_800_000_000));
        let identifiers: Vec<_> =
            log.events[2..4].iter().map(|event| (event.original.low.port, event.reply.low.port)).collect();
        assert_eq!(identifiers, [(77, 78), (5, 5)]);
        assert_eq!((log.events[3].original.family, log.events[4].original.protocol), (Family::V6, 2));
        assert_eq!(log.learned()[0].1, Told { value: 30, at: "conntrack.log:2".into() });
    }

    #[test]
    fn a_damaged_line_is_counted_and_passed_over() {
        for damaged in [
            "",
            "[NEW]",
            "[NEW] tcp",
            "[NEW] tcp 6",
            "[NEW] tcp 6 src=1.2.3.4 dst=1.2.3.5 sport=1 dport=2",
            "[NEW] tcp 6 src=1.2.3.4 dst=::1 sport=1 dport=2 src=::1 dst=1.2.3.4 sport=2 dport=1",
            "[NEW] tcp 6 src=1.2.3.4 dst=1.2.3.5 sport=99999 dport=2 src=1.2.3.5 dst=1.2.3.4 sport=2 dport=1",
            "[17952223",
            "tcp      6 431999 ESTABLISHED src=1.2.3.4 dst=1.2.3.5 sport=1 dport=2 src=1.2.3.5 dst=1.2.3.4",
        ] {
            assert_eq!(parse(1, damaged), None, "{damaged}");
        }
        let log = read(&format!("{}\n{FLUSHED}\n", &FLUSHED[..120]));
        assert_eq!((log.lines, log.unread, log.first_unread, log.events.len()), (2, 1, 1, 1));
    }

    #[test]
    fn entries_that_end_together_are_a_burst() {
        let line = |micros: u32, port: u16, tail: &str| {
            format!(
                "[1795229298.{micros:06}]\t[DESTROY] tcp      6 431999 ESTABLISHED src=192.168.122.10 dst=198.51.100.7 \
                 sport={port} dport=443 src=198.51.100.7 dst=203.0.113.5 sport=443 dport={port} [ASSURED]{tail}\n"
            )
        };
        let text = [
            line(971_521, 1, ""),
            line(971_563, 2, ""),
            line(971_609, 3, ""),
            line(999_000, 4, " [USERSPACE] portid=5"),
        ];
        let log = read(&text.concat());
        let burst = log.burst_of(&log.events[1]).unwrap();
        assert_eq!((burst.count, burst.first_line, burst.last_line, burst.alive), (3, 1, 3, true));
        assert_eq!(log.burst_of(&log.events[3]), None);
        assert!(log.tells_left);
    }

    #[test]
    fn tells_a_log_from_other_files() {
        assert_eq!(sniff(b""), Ok(()));
        assert_eq!(sniff(format!("conntrack v1.4.7\n{FLUSHED}\n").as_bytes()), Ok(()));
        assert_eq!(sniff(b"\xd4\xc3\xb2\xa1\n\nhello"), Err(2));
    }

    proptest! {
        #[test]
        fn noise_never_panics(noise in proptest::collection::vec(any::<u8>(), 0..600)) {
            let _ = sniff(&noise);
            let _ = Log::read(Path::new("log"), noise.as_slice(), |_, _| true);
            let _ = sysctl::Host::read(Path::new("log"), noise.as_slice());
        }

        #[test]
        fn a_line_torn_anywhere_never_panics(
            cut in 0..FLUSHED.len(),
            at in 0..FLUSHED.len(),
            with in "[\\[\\]=. 0-9a-zA-Zµ:]{0,12}",
        ) {
            let torn = format!("{}{with}{}", &FLUSHED[..cut], &FLUSHED[at..]);
            let log = read(&torn);
            prop_assert_eq!(log.unread + log.events.len() as u64, u64::from(!torn.trim().is_empty()));
        }
    }
}
