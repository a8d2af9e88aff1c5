//! The output of `sysctl -a`: the host's own timers and switches, with the kernel's defaults for what it does not tell.
//! The only place where those defaults stand.

use super::lines::Lines;
use crate::error::Error;
use std::collections::BTreeMap;
use std::io::BufRead;
use std::path::Path;

/// A timer or switch of the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setting {
    /// Its name, as `sysctl` prints it.
    pub key: &'static str,
    /// Its value unless somebody changed it.
    pub default: i64,
    /// Where the default comes from.
    pub source: &'static str,
}

const fn setting(key: &'static str, default: i64, source: &'static str) -> Setting {
    Setting { key, default, source }
}

const UDP_C: &str = "net/netfilter/nf_conntrack_proto_udp.c, udp_timeouts";
const TCP_C: &str = "net/netfilter/nf_conntrack_proto_tcp.c, tcp_timeouts";
const TCP_SWITCH: &str = "net/netfilter/nf_conntrack_proto_tcp.c, nf_conntrack_tcp_init_net";
const CORE_C: &str = "net/netfilter/nf_conntrack_core.c, nf_conntrack_init_start";

/// Datagrams that had no answer yet, or whose flow is younger than two seconds.
pub const UDP: Setting = setting("net.netfilter.nf_conntrack_udp_timeout", 30, UDP_C);
/// Datagrams that go both ways (180 before Linux 5.0).
pub const UDP_STREAM: Setting = setting("net.netfilter.nf_conntrack_udp_timeout_stream", 120, UDP_C);
/// An open TCP connection.
pub const TCP_ESTABLISHED: Setting = setting("net.netfilter.nf_conntrack_tcp_timeout_established", 432_000, TCP_C);
/// An open TCP connection with data that is not acknowledged.
pub const TCP_UNACKNOWLEDGED: Setting = setting("net.netfilter.nf_conntrack_tcp_timeout_unacknowledged", 300, TCP_C);
/// An open TCP connection in which one segment was repeated `nf_conntrack_tcp_max_retrans` times.
pub const TCP_MAX_RETRANS: Setting = setting("net.netfilter.nf_conntrack_tcp_timeout_max_retrans", 300, TCP_C);
/// A TCP connection whose SYN had no answer yet.
pub const TCP_SYN_SENT: Setting = setting("net.netfilter.nf_conntrack_tcp_timeout_syn_sent", 120, TCP_C);
/// A TCP connection whose handshake lacks its last segment.
pub const TCP_SYN_RECV: Setting = setting("net.netfilter.nf_conntrack_tcp_timeout_syn_recv", 60, TCP_C);
/// A TCP connection that one end has closed.
pub const TCP_FIN_WAIT: Setting = setting("net.netfilter.nf_conntrack_tcp_timeout_fin_wait", 120, TCP_C);
/// A TCP connection that the other end has closed.
pub const TCP_CLOSE_WAIT: Setting = setting("net.netfilter.nf_conntrack_tcp_timeout_close_wait", 60, TCP_C);
/// A TCP connection that both ends have closed, its last ACK missing.
pub const TCP_LAST_ACK: Setting = setting("net.netfilter.nf_conntrack_tcp_timeout_last_ack", 30, TCP_C);
/// A TCP connection that both ends have closed.
pub const TCP_TIME_WAIT: Setting = setting("net.netfilter.nf_conntrack_tcp_timeout_time_wait", 120, TCP_C);
/// A TCP connection that was reset.
pub const TCP_CLOSE: Setting = setting("net.netfilter.nf_conntrack_tcp_timeout_close", 10, TCP_C);
/// An echo request.
pub const ICMP: Setting =
    setting("net.netfilter.nf_conntrack_icmp_timeout", 30, "net/netfilter/nf_conntrack_proto_icmp.c");
/// An ICMPv6 echo request.
pub const ICMPV6: Setting =
    setting("net.netfilter.nf_conntrack_icmpv6_timeout", 30, "net/netfilter/nf_conntrack_proto_icmpv6.c");
/// A protocol without a timer of its own.
pub const GENERIC: Setting =
    setting("net.netfilter.nf_conntrack_generic_timeout", 600, "net/netfilter/nf_conntrack_proto_generic.c");
/// Whether segments outside the window pass (resets still do not).
pub const TCP_BE_LIBERAL: Setting = setting("net.netfilter.nf_conntrack_tcp_be_liberal", 0, TCP_SWITCH);
/// Whether connections are taken up in mid-life.
pub const TCP_LOOSE: Setting = setting("net.netfilter.nf_conntrack_tcp_loose", 1, TCP_SWITCH);
/// Whether packets with a wrong checksum are invalid.
pub const CHECKSUM: Setting =
    setting("net.netfilter.nf_conntrack_checksum", 1, "net/netfilter/nf_conntrack_standalone.c");
/// Most entries; the default depends on the memory, so 0 stands for unknown.
pub const MAX: Setting = setting("net.netfilter.nf_conntrack_max", 0, CORE_C);
/// Entries when the settings were printed.
pub const COUNT: Setting = setting("net.netfilter.nf_conntrack_count", 0, CORE_C);
/// TTL of the packets that the host makes itself.
pub const DEFAULT_TTL: Setting = setting("net.ipv4.ip_default_ttl", 64, "include/uapi/linux/ip.h, IPDEFTTL");

/// All that is read.
pub const SETTINGS: [&Setting; 21] = [
    &UDP,
    &UDP_STREAM,
    &TCP_ESTABLISHED,
    &TCP_UNACKNOWLEDGED,
    &TCP_MAX_RETRANS,
    &TCP_SYN_SENT,
    &TCP_SYN_RECV,
    &TCP_FIN_WAIT,
    &TCP_CLOSE_WAIT,
    &TCP_LAST_ACK,
    &TCP_TIME_WAIT,
    &TCP_CLOSE,
    &ICMP,
    &ICMPV6,
    &GENERIC,
    &TCP_BE_LIBERAL,
    &TCP_LOOSE,
    &CHECKSUM,
    &MAX,
    &COUNT,
    &DEFAULT_TTL,
];

/// Where a value that differs from the default, or confirms it, was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// The value.
    pub value: i64,
    /// The file, with the line.
    pub at: String,
}

/// The timers and switches of the host between the points.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Host {
    told: BTreeMap<&'static str, Told>,
}

impl Host {
    /// Reads the output of `sysctl -a`, or a file of the form that `sysctl -p` reads.
    pub fn read(path: &Path, reader: impl BufRead) -> Result<Self, Error> {
        let mut host = Self::default();
        let mut assignments = 0_u64;
        let mut lines = Lines::new(path, reader);
        while let Some((number, line)) = lines.next()? {
            let Some((key, value)) = assignment(line) else { continue };
            assignments += 1;
            let Some(setting) = known(key) else { continue };
            let Some(value) = value.parse::<i64>().ok().filter(|value| (0..=i64::from(i32::MAX)).contains(value))
            else {
                let reason = format!("`{key}` has the value `{}`, which is no number", shortened(value));
                return Err(Error::Witness { path: path.to_owned(), line: number, reason });
            };
            host.told.insert(setting.key, Told { value, at: format!("{}:{number}", path.display()) });
        }
        if assignments == 0 {
            let reason = "no line has the form `name = value`: is it the output of `sysctl -a`?".into();
            return Err(Error::Witness { path: path.to_owned(), line: 1, reason });
        }
        Ok(host)
    }

    /// The value that holds on the host: what it told, else the kernel's default.
    pub fn value(&self, setting: &Setting) -> i64 {
        self.told(setting).map_or(setting.default, |told| told.value)
    }

    /// What the host told of a setting, if it did.
    pub fn told(&self, setting: &Setting) -> Option<&Told> {
        self.told.get(setting.key)
    }

    /// Whether a switch is known to be on.
    pub fn on(&self, setting: &Setting) -> bool {
        self.told(setting).is_some_and(|told| told.value != 0)
    }

    /// The shortest of some timers in seconds, if the host told any of them.
    pub fn shortest(&self, timers: &[&Setting]) -> Option<i64> {
        let any = timers.iter().any(|timer| self.told(timer).is_some());
        any.then(|| timers.iter().map(|timer| self.value(timer)).min()).flatten()
    }

    /// Entries and their limit, when the table was nearly full: from 95 % on the kernel gives up entries before their
    /// time (`nf_conntrack_core.c`, `nf_conntrack_max95`).
    pub fn table_full(&self) -> Option<(i64, i64)> {
        let (count, most) = (self.told(&COUNT)?.value, self.told(&MAX)?.value);
        (most > 0 && count.saturating_mul(100) >= most.saturating_mul(95)).then_some((count, most))
    }

    /// Takes a value that another witness tells, unless it is known.
    pub(crate) fn learn(&mut self, setting: &Setting, told: Told) {
        self.told.entry(setting.key).or_insert(told);
    }
}

/// `name = value`, with dots or slashes; comments and what else programs print are no assignments.
fn assignment(line: &str) -> Option<(&str, &str)> {
    let line = line.trim();
    if line.starts_with(['#', ';']) {
        return None;
    }
    let (key, value) = line.split_once('=')?;
    let key = key.trim().trim_start_matches('-');
    let plain = !key.is_empty() && !key.contains(char::is_whitespace) && key.contains(['.', '/']);
    plain.then(|| (key, value.trim()))
}

/// The setting of a name: with slashes, or under `net.ipv4.netfilter.ip_conntrack_…` as before Linux 4.19.
fn known(key: &str) -> Option<&'static Setting> {
    let key = key.replace('/', ".");
    let key = match key.strip_prefix("net.ipv4.netfilter.ip_conntrack_") {
        Some(rest) => format!("net.netfilter.nf_conntrack_{rest}"),
        None if key == "net.nf_conntrack_max" => MAX.key.into(),
        None => key,
    };
    SETTINGS.into_iter().find(|setting| setting.key == key)
}

fn shortened(text: &str) -> String {
    text.chars().take(40).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Host, Error> {
        Host::read(Path::new("sysctl.txt"), text.as_bytes())
    }

    #[test]
    fn the_hosts_own_values_replace_the_defaults() {
        let host = read(
            "sysctl: permission denied on key 'fs.protected_fifos'\n\
             net.ipv4.ip_default_ttl = 128\n\
             net.ipv4.tcp_rmem = 4096\t131072\t6291456\n\
             kernel.core_pattern = |/usr/lib/systemd/systemd-coredump %P=%u\n\
             net.netfilter.nf_conntrack_tcp_be_liberal = 1\n\
             net.netfilter.nf_conntrack_udp_timeout = 10\n",
        )
        .unwrap();
        assert_eq!((host.value(&DEFAULT_TTL), host.value(&UDP), host.value(&UDP_STREAM)), (128, 10, 120));
        assert!(host.on(&TCP_BE_LIBERAL) && !host.on(&TCP_LOOSE));
        assert_eq!(host.told(&UDP).unwrap().at, "sysctl.txt:6");
        assert_eq!(host.shortest(&[&UDP, &UDP_STREAM]), Some(10));
        assert_eq!(host.shortest(&[&TCP_ESTABLISHED]), None);
    }

    #[test]
    fn other_spellings_are_understood() {
        let host = read(
            "# tuned by hand\nnet/netfilter/nf_conntrack_udp_timeout_stream=600\n-net.nf_conntrack_max=1000\n\
             net.ipv4.netfilter.ip_conntrack_tcp_timeout_established = 7200\nnet.netfilter.nf_conntrack_count = 997\n",
        )
        .unwrap();
        assert_eq!((host.value(&UDP_STREAM), host.value(&TCP_ESTABLISHED)), (600, 7200));
        assert_eq!(host.table_full(), Some((997, 1000)));
        assert_eq!(Host::default().table_full(), None);
    }

    #[test]
    fn errors_name_the_line() {
        let error = read("net.ipv4.ip_forward = 1\nnet.netfilter.nf_conntrack_udp_timeout = soon\n").unwrap_err();
        assert!(error.to_string().starts_with("sysctl.txt:2: "), "{error}");
        assert!(read("nothing of the kind\n").unwrap_err().to_string().starts_with("sysctl.txt:1: "));
        assert!(read("net.netfilter.nf_conntrack_udp_timeout = -5\n").is_err());
    }
}
