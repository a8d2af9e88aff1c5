//! What the host itself says raises and refutes causes.

use crate::case;
use analyzer_core::Options;
use analyzer_core::report::Finding;
use std::io::Write;
use std::path::Path;

fn options() -> Options {
    Options::default()
}

/// The finding of an id in a case, analysed with the witnesses of its `expect.json` and these options.
fn finding(name: &str, id: &str, options: Options) -> Finding {
    let report = case::named(&[name])[0].report(options).unwrap();
    let found = report.findings.into_iter().find(|finding| finding.id == id);
    found.unwrap_or_else(|| panic!("{name} has no {id}"))
}

/// A file with settings.
fn settings(text: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

fn with_sysctl(path: &Path) -> Options {
    let mut options = options();
    options.sysctl = Some(path.to_owned());
    options
}

#[test]
fn a_log_tells_who_emptied_the_table() {
    let drop = finding("sync_flush_invalid_dropped__with_log", "synchronous-drop", options());
    assert_eq!(drop.cause, Some("nat-flushed"));
    assert!(drop.summary.contains("a program (`conntrack`) had deleted their NAT entries"), "{}", drop.summary);
    let told = &drop.details["conntrack"][0];
    assert_eq!((told["by"].as_str(), told["program"].as_str()), (Some("program"), Some("conntrack")));
    assert!(told["event"].as_str().unwrap().contains("[DESTROY] tcp"), "{told}");
}

#[test]
fn a_log_confirms_that_a_timer_ended_the_entry() {
    let stall = finding("quic_expiry__with_log", "udp-stall", options());
    assert_eq!(stall.cause, Some("nat-expired"));
    assert_eq!(stall.details["conntrack"][0]["by"], "timer");
}

#[test]
fn the_hosts_timers_replace_the_defaults() {
    let long =
        settings("net.netfilter.nf_conntrack_udp_timeout = 30\nnet.netfilter.nf_conntrack_udp_timeout_stream = 120\n");
    let short =
        settings("net.netfilter.nf_conntrack_udp_timeout = 1\nnet.netfilter.nf_conntrack_udp_timeout_stream = 2\n");
    let cause = |options| {
        let report = case::named(&["quic_nat_expiry"])[0].report(options).unwrap();
        report.findings.iter().find(|finding| finding.id == "udp-stall").and_then(|finding| finding.cause)
    };
    assert_eq!(cause(options()), Some("nat-expired"));
    assert_eq!(cause(with_sysctl(short.path())), Some("nat-expired"));
    // The host remembers it for longer than it was silent: whatever it was, it was not the timer.
    assert_ne!(cause(with_sysctl(long.path())), Some("nat-expired"));
}

#[test]
fn advice_that_the_host_follows_already_is_left_out() {
    let liberal =
        settings("net.netfilter.nf_conntrack_udp_timeout = 600\nnet.netfilter.nf_conntrack_udp_timeout_stream = 900\n");
    let mut told = options();
    told.sysctl = Some(liberal.path().to_owned());
    let stall = finding("quic_expiry__with_log", "udp-stall", told);
    // The log outweighs the settings: somebody changed them since.
    assert_eq!(stall.cause, Some("nat-expired"));
    assert!(stall.fixes.iter().all(|fix| fix.commands.iter().all(|command| !command.starts_with("sysctl -w"))));
}

#[test]
fn what_is_no_witness_is_refused_with_its_line() {
    let noise = settings("hello\n");
    let mut asked = options();
    asked.conntrack = Some(noise.path().to_owned());
    for options in [asked, with_sysctl(noise.path())] {
        let error = case::named(&["rst_by_host"])[0].report(options).unwrap_err();
        assert!(error.starts_with(&format!("{}:1: ", noise.path().display())), "{error}");
    }
}
