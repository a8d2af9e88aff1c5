//! What users, file systems and whoever made a capture may do to the program.

#![cfg(unix)]

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// What a name may hold that should not reach a terminal, a page or a spreadsheet as it is.
const HOSTILE: &str = "=1+1\u{1b}]0;owned\u{7}\u{1b}[2J\u{9b}31m\u{202e}<script>alert(1)</script>\"'`$(x)|";

fn pcapdiff(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pcapdiff"));
    command.args(arguments).stdin(Stdio::null());
    command
}

fn run(arguments: &[&str]) -> Output {
    pcapdiff(arguments).output().expect("the program starts")
}

/// A capture of a pair with resets.
fn real(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/pairs/rst_by_host").join(name)
}

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

/// A capture as pcapng, with an option of each kind that holds text.
fn pcapng(pcap: &[u8], words: &str) -> Vec<u8> {
    let mut file = Vec::new();
    let mut block = |kind: u32, body: &[u8]| {
        let length = (body.len() as u32 + 12).to_le_bytes();
        file.extend([&kind.to_le_bytes()[..], &length, body, &length].concat());
    };
    let option = |code: u16, value: &[u8]| {
        let padding = [0; 3][..(4 - value.len() % 4) % 4].to_vec();
        [&code.to_le_bytes()[..], &(value.len() as u16).to_le_bytes(), value, &padding].concat()
    };
    // Comment, hardware, operating system, application.
    let said: Vec<u8> = (1..=4).flat_map(|code| option(code, words.as_bytes())).collect();
    block(0x0a0d_0d0a, &[&[0x4d, 0x3c, 0x2b, 0x1a, 1, 0, 0, 0], &[0xff; 8][..], &said].concat());
    // Name, description, comment, filter in libpcap's syntax.
    let filter = [&[0], words.as_bytes()].concat();
    let named =
        [option(2, words.as_bytes()), option(3, words.as_bytes()), option(1, words.as_bytes()), option(11, &filter)];
    block(1, &[&[1, 0, 0, 0, 0, 0, 4, 0], &named.concat()[..]].concat());
    let mut rest = &pcap[24..];
    while let Some((header, after)) = rest.split_first_chunk::<16>() {
        let word = |at: usize| u32::from_le_bytes(header[at..at + 4].try_into().expect("four bytes"));
        let (data, after) = after.split_at(word(8) as usize);
        let time = u64::from(word(0)) * 1_000_000 + u64::from(word(4));
        let times = [((time >> 32) as u32).to_le_bytes(), (time as u32).to_le_bytes()].concat();
        let padding = &[0; 3][..(4 - data.len() % 4) % 4];
        let comment = option(1, words.as_bytes());
        block(6, &[&[0; 4], &times[..], &header[8..16], data, padding, &comment].concat());
        rest = after;
    }
    file
}

#[test]
fn nothing_that_a_capture_says_is_obeyed() {
    let folder = tempfile::tempdir().expect("a folder");
    let pair = ["virbr0.pcap", "uplink.pcap"].map(|name| {
        // A file name has no slash.
        let path = folder.path().join(format!("{}{name}ng", HOSTILE.replace('/', "")));
        fs::write(&path, pcapng(&fs::read(real(name)).expect("the capture"), HOSTILE)).expect("the folder is writable");
        path
    });
    let pair = [text(&pair[0]), text(&pair[1])];
    let settings = folder.path().join("sysctl");
    fs::write(&settings, format!("net.netfilter.{HOSTILE} = 1\n")).expect("the folder is writable");
    let (flows, evidence) = (folder.path().join("flows.csv"), folder.path().join("evidence"));
    let besides = ["-v", "--flows", text(&flows), "--evidence", text(&evidence), "--sysctl", text(&settings)];
    let mut written = Vec::new();
    for format in ["human", "json", "ndjson", "csv", "markdown", "html"] {
        let output = run(&[&["--format", format][..], &besides, &pair].concat());
        assert_eq!(output.status.code(), Some(1), "{format}: {}", String::from_utf8_lossy(&output.stderr));
        written.push((format, output.stdout));
        written.push((format, output.stderr));
    }
    written.push(("csv", fs::read(&flows).expect("the flows")));
    written.push(("markdown", fs::read(evidence.join("index.md")).expect("the index")));
    // What is not there is told by name as well.
    let gone = format!("{}gone", pair[0]);
    written.push(("human", run(&[&gone, pair[1]]).stderr));
    for (format, bytes) in &written {
        let text = std::str::from_utf8(bytes).expect("UTF-8");
        let obeyed = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
        assert_eq!(text.chars().find(|&c| obeyed(c)), None, "{format}: {text}");
        assert!(*format != "html" && *format != "markdown" || !text.contains("<script>alert"), "{format}");
        let formula = |cell: &str| cell.trim_start_matches('"').starts_with('=');
        assert!(*format != "csv" || !text.lines().any(|line| line.split(',').any(formula)), "{text}");
    }
    // They are in there, in a harmless form.
    assert!(String::from_utf8_lossy(&written[0].1).contains("\\x1b]0;owned\\x07"));
}

#[test]
fn what_is_no_capture_is_trouble_at_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let empty = folder.path().join("empty.pcap");
    fs::write(&empty, []).expect("the folder is writable");
    let other = real("uplink.pcap");
    let mut wrong = vec![text(&empty), text(folder.path()), "/dev/null"];
    if cfg!(target_os = "linux") {
        wrong.push("/dev/zero");
    }
    for input in wrong {
        for pair in [[input, text(&other)], [text(&other), input]] {
            let output = run(&pair);
            assert_eq!(output.status.code(), Some(2), "{pair:?}");
            assert!(output.stdout.is_empty(), "{pair:?}");
            let message = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(message.starts_with("pcapdiff: ") && message.contains(input), "{message}");
            assert_eq!(message.lines().count(), 1, "{message}");
        }
    }
}

#[test]
fn a_file_that_may_not_be_read_is_trouble() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().expect("a folder");
    let secret = folder.path().join("secret.pcap");
    fs::copy(real("virbr0.pcap"), &secret).expect("the folder is writable");
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o0)).expect("it is ours");
    if fs::File::open(&secret).is_ok() {
        eprintln!("skipped: this user may read everything");
        return;
    }
    let output = run(&[text(&secret), text(&real("uplink.pcap"))]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("secret.pcap: Permission denied"));
}

#[test]
fn one_capture_twice_is_healthy_and_standard_input_twice_is_a_mistake() {
    for name in ["virbr0.pcap", "uplink.pcap"] {
        let output = run(&["--format", "json", text(&real(name)), text(&real(name))]);
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("a report");
        assert_eq!(report["topology"]["kind"], "same-point");
        assert_eq!(report["totals"]["unmatched_a"], 0);
        // What happened beyond both points is the same for both.
        let between = |finding: &&serde_json::Value| finding["where"] == "between" && finding["severity"] != "info";
        assert_eq!(report["findings"].as_array().expect("a list").iter().find(between), None);
    }
    let output = run(&["-", "-"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("standard input"));
}

#[test]
fn a_reader_that_leaves_early_hears_nothing_of_it_and_the_status_stays() {
    for format in ["human", "json", "html"] {
        let mut child = pcapdiff(&["--format", format, text(&real("virbr0.pcap")), text(&real("uplink.pcap"))])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        drop(child.stdout.take());
        let output = child.wait_with_output().expect("the program ends");
        assert_eq!(output.status.code(), Some(1), "{format}");
        assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_trouble_wherever_it_is_met() {
    let (a, b) = (real("virbr0.pcap"), real("uplink.pcap"));
    let pair = [text(&a), text(&b)];
    for arguments in [
        &["--output", "/dev/full"][..],
        &["--html", "/dev/full"],
        &["--flows", "/dev/full"],
        &["--merged", "/dev/full"],
    ] {
        let output = run(&[arguments, &pair].concat());
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(message.contains("/dev/full: No space left on device"), "{message}");
    }
    let full = fs::OpenOptions::new().write(true).open("/dev/full").expect("Linux has it");
    let output = pcapdiff(&pair).stdout(full).output().expect("the program starts");
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("standard output: No space left on device"));
}

#[test]
fn a_named_pipe_and_standard_input_tell_what_the_files_tell() {
    let folder = tempfile::tempdir().expect("a folder");
    let pipe = folder.path().join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().expect("mkfifo is there").success());
    let findings = |output: &Output| {
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("a report");
        (report["totals"].clone(), report["findings"].clone())
    };
    let (a, b) = (real("virbr0.pcap"), real("uplink.pcap"));
    let files = run(&["--format", "json", text(&a), text(&b)]);
    let mut child = pcapdiff(&["--format", "json", text(&pipe), "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let feeder = {
        let (pipe, bytes) = (pipe.clone(), fs::read(a).expect("the capture"));
        std::thread::spawn(move || fs::write(pipe, bytes).expect("somebody reads"))
    };
    let mut input = child.stdin.take().expect("a pipe");
    let outer = fs::read(b).expect("the capture");
    let second = std::thread::spawn(move || input.write_all(&outer).expect("somebody reads"));
    let piped = child.wait_with_output().expect("the program ends");
    feeder.join().expect("the pipe was read");
    second.join().expect("standard input was read");
    assert_eq!(findings(&piped), findings(&files));
}
