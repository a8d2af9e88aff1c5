//! The program from outside: exit status, and what goes to which stream.

use std::process::{Command, Output, Stdio};

fn pcapdiff(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pcapdiff"));
    command.args(arguments).stdin(Stdio::null());
    command
}

fn run(arguments: &[&str]) -> Output {
    pcapdiff(arguments).output().expect("the program starts")
}

#[test]
fn bad_usage_is_trouble_on_standard_error() {
    for arguments in [&["only-one.pcap"][..], &["--no-such-option", "a", "b"], &["explain", "nonsense"], &[]] {
        let output = run(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(output.stdout.is_empty(), "{arguments:?}");
        assert!(!output.stderr.is_empty(), "{arguments:?}");
    }
}

#[test]
fn an_input_that_is_not_there_is_trouble() {
    let output = run(&["no-such-a.pcap", "no-such-b.pcap"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(output.stdout.is_empty());
    assert!(String::from_utf8_lossy(&output.stderr).starts_with("pcapdiff: "));
}

#[test]
fn help_and_version_are_results() {
    for arguments in [&["--help"][..], &["--version"], &["detectors"], &["explain", "tcp-reset"], &["schema"], &["man"]]
    {
        let output = run(arguments);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}");
        assert!(!output.stdout.is_empty() && output.stderr.is_empty(), "{arguments:?}");
    }
}

#[test]
fn every_shell_gets_its_completions() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let output = run(&["completions", shell]);
        assert_eq!(output.status.code(), Some(0), "{shell}");
        assert!(String::from_utf8_lossy(&output.stdout).contains("min-severity"), "{shell}");
    }
}

#[test]
fn a_reader_that_leaves_early_is_no_trouble() {
    let mut child =
        pcapdiff(&["detectors"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program starts");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("the program ends");
    assert_eq!(output.status.code(), Some(0));
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_trouble() {
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").expect("Linux has it");
    let output = pcapdiff(&["detectors"]).stdout(full).output().expect("the program starts");
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("standard output"));
}

/// A capture without packets, and whatever follows its header.
fn capture(folder: &std::path::Path, name: &str, rest: &[u8]) -> String {
    let path = folder.join(name);
    let header = [0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 1, 0, 0, 0];
    std::fs::write(&path, [&header, rest].concat()).expect("the folder is writable");
    path.to_str().expect("a name in UTF-8").to_owned()
}

#[test]
fn every_format_is_written_to_standard_output_or_a_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let (a, b) = (capture(folder.path(), "a.pcap", &[]), capture(folder.path(), "b.pcap", &[]));
    for format in ["human", "json", "ndjson", "csv", "markdown", "html"] {
        let direct = run(&["--format", format, &a, &b]);
        assert_eq!(direct.status.code(), Some(0), "{format}: {}", String::from_utf8_lossy(&direct.stderr));
        assert!(direct.stderr.is_empty() && !direct.stdout.is_empty() && !direct.stdout.contains(&0x1b), "{format}");
        let file = folder.path().join(format);
        let indirect = run(&["--format", format, "--output", file.to_str().expect("UTF-8"), &a, &b]);
        assert!(indirect.stdout.is_empty(), "{format}");
        assert_eq!(std::fs::read(file).expect("the result"), direct.stdout, "{format}");
    }
}

#[test]
fn colours_are_for_those_who_ask() {
    let folder = tempfile::tempdir().expect("a folder");
    let (a, b) = (capture(folder.path(), "a.pcap", &[]), capture(folder.path(), "b.pcap", &[]));
    assert!(run(&["--color", "always", &a, &b]).stdout.contains(&0x1b));
    assert!(!run(&["--color", "never", &a, &b]).stdout.contains(&0x1b));
    let output = pcapdiff(&[&a, &b]).env("NO_COLOR", "1").output().expect("the program starts");
    assert!(!output.stdout.contains(&0x1b));
}

#[test]
fn damage_is_named_on_standard_error_unless_quiet() {
    let folder = tempfile::tempdir().expect("a folder");
    let a = capture(folder.path(), "a.pcap", &[0; 7]);
    let b = capture(folder.path(), "b.pcap", &[]);
    let output = run(&[&a, &b]);
    let messages = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(messages.starts_with(&format!("pcapdiff: {a}: byte 24, frame 1: ")), "{messages}");
    assert!(run(&["-q", &a, &b]).stderr.is_empty());
}

#[cfg(target_os = "linux")]
#[test]
fn a_result_that_cannot_be_written_is_trouble() {
    let folder = tempfile::tempdir().expect("a folder");
    let (a, b) = (capture(folder.path(), "a.pcap", &[]), capture(folder.path(), "b.pcap", &[]));
    let output = run(&["--output", "/dev/full", &a, &b]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).starts_with("pcapdiff: /dev/full: "));
}
