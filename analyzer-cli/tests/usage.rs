//! How the program answers those who use it: help, versions, settings, and what to write instead of what was written.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// The program in `folder`, with no settings of whoever runs the tests.
fn pcapdiff(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pcapdiff"));
    command.args(arguments).current_dir(folder).stdin(Stdio::null());
    command.env("XDG_CONFIG_HOME", "/nowhere").env("HOME", "/nowhere").env_remove("APPDATA").env_remove("NO_COLOR");
    command
}

fn run(folder: &Path, arguments: &[&str]) -> Output {
    pcapdiff(folder, arguments).output().expect("the program starts")
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Three connections that the host reset.
fn pair() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/pairs/rst_by_host")
}

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    for name in ["virbr0.pcap", "uplink.pcap"] {
        std::fs::copy(pair().join(name), folder.path().join(name)).expect("it can be copied");
    }
    folder
}

const PAIR: [&str; 2] = ["virbr0.pcap", "uplink.pcap"];

/// Compares with a golden file; `UPDATE_SNAPSHOTS=1` writes it anew.
fn snapshot(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/snapshots").join(name);
    if std::env::var_os("UPDATE_SNAPSHOTS").is_some() {
        std::fs::write(&path, text).expect("the golden file can be written");
        return;
    }
    let golden = std::fs::read_to_string(&path).unwrap_or_default().replace("\r\n", "\n");
    assert!(golden == text, "{name} differs; UPDATE_SNAPSHOTS=1 refreshes it.\n--- golden\n{golden}\n--- now\n{text}");
}

#[test]
fn short_help_fits_a_screen_with_examples() {
    let output = pcapdiff(&pair(), &["-h"]).env("COLUMNS", "80").output().expect("the program starts");
    let text = stdout(&output);
    assert!((24..=40).contains(&text.lines().count()), "{} lines:\n{text}", text.lines().count());
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    assert!(text.contains("Examples:\n  pcapdiff virbr0.pcap uplink.pcap"), "{text}");
    // Whatever is left out of it stands in the long one.
    let long = stdout(&run(&pair(), &["--help"]));
    for option in ["--threshold", "--conntrack", "--a-interface", "--config", "--no-config", "--merged", "--progress"] {
        assert!(long.contains(option) && !text.contains(option), "{option}");
    }
    assert!(long.contains("pcapdiff.toml"));
}

#[test]
fn the_version_tells_the_facts_of_the_build() {
    let short = stdout(&run(&pair(), &["-V"]));
    assert_eq!(short, format!("pcapdiff {}\n", env!("CARGO_PKG_VERSION")));
    let long = stdout(&run(&pair(), &["--version"]));
    assert!(long.starts_with(&short), "{long}");
    let fact = |name: &str| {
        let line = long.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("{name}: {long}"));
        line.trim().to_owned()
    };
    let commit = fact("commit");
    assert!(commit == "unknown" || commit.len() == 12 && commit.chars().all(|c| c.is_ascii_hexdigit()), "{commit}");
    assert!(fact("target").starts_with(std::env::consts::ARCH), "{long}");
    assert!(fact("compiler").starts_with("rustc 1."), "{long}");
    assert_eq!(fact("features").contains("gzip"), cfg!(feature = "gzip"), "{long}");
    assert_eq!(fact("report"), "pcapdiff/1");
}

#[test]
fn subcommands_print_what_they_printed() {
    for (name, arguments) in [
        ("help.txt", &["-h"][..]),
        ("detectors.txt", &["detectors"]),
        ("explain.txt", &["explain", "mss-clamped"]),
        ("schema.json", &["schema"]),
        ("man.1", &["man"]),
        ("completions.bash", &["completions", "bash"]),
    ] {
        let output = pcapdiff(&pair(), arguments).env("COLUMNS", "80").output().expect("the program starts");
        assert!(output.status.success(), "{}", stderr(&output));
        snapshot(name, &stdout(&output));
    }
}

#[test]
fn wrong_usage_is_answered_with_the_right_one() {
    let folder = folder();
    let here = folder.path();
    std::fs::copy(pair().join("conntrack.log"), here.join("conntrack.log")).unwrap();
    std::fs::write(here.join("sysctl.txt"), "net.ipv4.ip_forward = 1\n").unwrap();
    for (arguments, part) in [
        (&["--only", "tcp-rest", PAIR[0], PAIR[1]][..], "a similar value exists: 'tcp-reset'"),
        (&["explain", "udpstall"], "a similar value exists: 'udp-stall'"),
        (&["--format", "jsn", PAIR[0], PAIR[1]], "a similar value exists: 'json'"),
        (&["--fromat", "json", PAIR[0], PAIR[1]], "a similar argument exists: '--format'"),
        (&["explian", "tcp-reset"], "pcapdiff: explian: no such file; did you mean `pcapdiff explain`?\n"),
        (&["no.pcap", PAIR[1]], "pcapdiff: no.pcap: No such file or directory (os error 2)\n"),
        (&["--threshold", "tcp-reset.anser=1", PAIR[0], PAIR[1]], "did you mean `tcp-reset.answer`?"),
        (&["--threshold", "tcp-reset.qqq=1", PAIR[0], PAIR[1]], "tcp-reset has tcp-reset.answer, "),
        (&[PAIR[0]], "a single capture with one interface: name a second one"),
        (&["conntrack.log", PAIR[1]], "is a log of `conntrack -E`, not a capture: name it behind --conntrack"),
        (&["sysctl.txt", PAIR[1]], "is the output of `sysctl -a`, not a capture: name it behind --sysctl"),
        (&["--conntrack", PAIR[0], PAIR[0], PAIR[1]], "virbr0.pcap:1: is a packet capture"),
        (&["--sysctl", PAIR[0], PAIR[0], PAIR[1]], "virbr0.pcap:1: is a packet capture"),
        (&["--conntrack", "sysctl.txt", PAIR[0], PAIR[1]], "is an event of `conntrack -E`"),
        (&["--config", "no.toml", PAIR[0], PAIR[1]], "no.toml: "),
        (&["--config", "a", "--no-config", PAIR[0], PAIR[1]], "cannot be used with '--no-config'"),
    ] {
        let output = run(here, arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(stderr(&output).contains(part) && output.stdout.is_empty(), "{arguments:?}: {}", stderr(&output));
    }
}

#[test]
fn an_interface_that_is_not_there_is_answered_with_those_that_are() {
    let folder = tempfile::tempdir().expect("a folder");
    // A section and two interfaces, `virbr0` and `eth0`, with a frame of each.
    let block = |kind: u32, body: &[u8]| {
        let length = (body.len() as u32 + 12).to_le_bytes();
        [&kind.to_le_bytes(), &length, body, &length].concat()
    };
    let mut bytes = block(0x0a0d_0d0a, &[&0x1a2b_3c4d_u32.to_le_bytes()[..], &[1, 0, 0, 0], &[255; 8]].concat());
    bytes.extend(block(1, b"\x01\0\0\0\0\0\x04\0\x02\0\x06\0virbr0\0\0\0\0\0\0"));
    bytes.extend(block(1, b"\x01\0\0\0\0\0\x04\0\x02\0\x04\0eth0\0\0\0\0"));
    for interface in [0_u32, 1] {
        let mut body = interface.to_le_bytes().to_vec();
        body.extend([0; 8]);
        body.extend([60, 0, 0, 0, 60, 0, 0, 0]);
        body.extend([2; 60]);
        bytes.extend(block(6, &body));
    }
    std::fs::write(folder.path().join("both.pcapng"), bytes).unwrap();
    let output = run(folder.path(), &["both.pcapng", "--a-interface", "virbr1", "--b-interface", "eth0"]);
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    assert!(stderr(&output).contains("`virbr1`; the capture has") && stderr(&output).contains("virbr0"));
    // Two interfaces and none named: the answer can be pasted.
    let output = run(folder.path(), &["both.pcapng"]);
    assert!(
        stderr(&output).contains("pcapdiff both.pcapng --a-interface virbr0 --b-interface eth0"),
        "{}",
        stderr(&output)
    );
}

/// `tcpdump -i any` on the host: the guest's link, the bridge and the uplink are interfaces 2, 3 and 4.
#[test]
fn a_capture_of_all_interfaces_holds_both_points() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/formats/any");
    let output = run(&folder, &["any.pcap"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("pcapdiff any.pcap --a-interface 2 --b-interface 3"), "{}", stderr(&output));
    for (a, b, found) in [("3", "4", &["tcp-reset between 5"][..]), ("2", "4", &["tcp-reset between 5"])] {
        let output = run(&folder, &["any.pcap", "--a-interface", a, "--b-interface", b, "-f", "json"]);
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("a report");
        let loud = report["findings"].as_array().unwrap().iter().filter(|finding| finding["severity"] != "info");
        let told = loud.map(|finding| {
            let [id, place] = ["id", "where"].map(|key| finding[key].as_str().unwrap());
            format!("{id} {place} {}", finding["flow_count"])
        });
        assert_eq!(told.collect::<Vec<_>>(), found, "{a} and {b}");
        assert_eq!((&report["topology"]["kind"], &report["totals"]["matched"]), (&"nat".into(), &194.into()));
    }
}

#[test]
fn captures_given_the_wrong_way_round_are_turned() {
    let swapped = run(&pair(), &[PAIR[1], PAIR[0]]);
    assert!(stderr(&swapped).contains("given the wrong way round"), "{}", stderr(&swapped));
    assert!(stdout(&swapped).contains("(points-swapped)"));
    assert!(run(&pair(), &["-q", PAIR[1], PAIR[0]]).stderr.is_empty());
    let right = run(&pair(), &PAIR);
    assert!(right.stderr.is_empty() && !stdout(&right).contains("swapped"), "{}", stderr(&right));

    // Nothing else differs, and what is taken away agrees with it.
    let json = |pair: [&str; 2]| -> serde_json::Value {
        let folder = folder();
        let evidence = folder.path().join("evidence").display().to_string();
        let output = run(&self::pair(), &["--format", "json", "--evidence", &evidence, pair[0], pair[1]]);
        assert!(folder.path().join("evidence/01-tcp-reset.b.pcapng").is_file(), "{}", stderr(&output));
        serde_json::from_str(&stdout(&output)).expect("JSON")
    };
    let (mut turned, right) = (json([PAIR[1], PAIR[0]]), json(PAIR));
    let limit = turned["coverage"].as_array_mut().expect("a list").remove(0);
    assert_eq!(limit["id"], "points-swapped");
    assert_eq!(turned, right);
}

#[test]
fn a_projects_settings_hold_in_the_folders_below() {
    let folder = folder();
    let below = folder.path().join("monday/morning");
    std::fs::create_dir_all(&below).unwrap();
    std::fs::write(folder.path().join("pcapdiff.toml"), "format = \"csv\"\nignore = [\"tcp-reset\"]\n").unwrap();
    let far = ["../../virbr0.pcap", "../../uplink.pcap"];
    let output = run(&below, &far);
    assert_eq!(output.status.code(), Some(0), "nothing but context is left: {}", stderr(&output));
    assert!(!stdout(&output).contains("tcp-reset,") && stdout(&output).contains("offload-artifact,"));
    assert!(stderr(&run(&below, &[&["-v"][..], &far].concat())).contains("settings of "));
    // The command line wins, and can do without.
    assert!(stdout(&run(&below, &[&["-f", "json"][..], &far].concat())).starts_with('{'));
    let without = run(&below, &[&["--no-config"][..], &far].concat());
    assert!(stdout(&without).starts_with("pcapdiff") && without.status.code() == Some(1));
    // A nearer file takes the place of the farther one; they are not merged.
    std::fs::write(below.join("pcapdiff.toml"), "quiet = true\n").unwrap();
    let nearer = run(&below, &far);
    assert!(stdout(&nearer).starts_with("VERDICT") && nearer.status.code() == Some(1));
    // Nothing but an analysis needs settings.
    std::fs::write(below.join("pcapdiff.toml"), "nonsense\n").unwrap();
    assert!(run(&below, &["detectors"]).status.success());
    assert_eq!(run(&below, &far).status.code(), Some(2));
}

#[test]
fn the_users_settings_hold_where_no_project_has_any() {
    let folder = folder();
    let name = if cfg!(windows) { "APPDATA" } else { "XDG_CONFIG_HOME" };
    let home = tempfile::tempdir().expect("a folder");
    std::fs::create_dir(home.path().join("pcapdiff")).unwrap();
    let file = home.path().join("pcapdiff/pcapdiff.toml");
    std::fs::write(&file, "format = \"json\"\n").unwrap();
    let run = || pcapdiff(folder.path(), &PAIR).env(name, home.path()).output().expect("the program starts");
    assert!(stdout(&run()).starts_with('{'));
    std::fs::write(folder.path().join("pcapdiff.toml"), "").unwrap();
    assert!(stdout(&run()).starts_with("pcapdiff"));
}

#[test]
fn a_mistake_in_the_settings_is_told_with_its_place() {
    let folder = folder();
    std::fs::write(folder.path().join("mine.toml"), "threads = 1\nmin-severty = \"error\"\n").unwrap();
    let output = run(folder.path(), &["--config", "mine.toml", PAIR[0], PAIR[1]]);
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(stderr(&output), "pcapdiff: mine.toml:2: unknown key `min-severty`; did you mean `min-severity`?\n");
}

#[test]
fn colour_and_progress_come_when_they_are_wanted() {
    let folder = folder();
    let run = |arguments: &[&str], environment: &[(&str, &str)]| {
        let arguments = [arguments, &PAIR].concat();
        let mut command = pcapdiff(folder.path(), &arguments);
        command.envs(environment.iter().copied());
        command.output().expect("the program starts")
    };
    let coloured = |output: &Output| output.stdout.contains(&0x1b);
    // A pipe gets none, unless it is asked for; then NO_COLOR does not matter, as it was asked for by name.
    assert!(!coloured(&run(&[], &[])) && !coloured(&run(&[], &[("NO_COLOR", "1")])));
    assert!(
        coloured(&run(&["--color", "always"], &[])) && coloured(&run(&["--color", "always"], &[("NO_COLOR", "1")]))
    );
    assert!(!coloured(&run(&["--color", "never"], &[("CLICOLOR_FORCE", "1")])));
    // Nor does standard error when all is well; lines of progress come on request.
    for arguments in [&[][..], &["-q"], &["--progress", "never"], &["--progress", "auto", "--merged", "m.pcapng"]] {
        assert_eq!(stderr(&run(arguments, &[])), "", "{arguments:?}");
    }
    let told = stderr(&run(&["--progress", "always", "--merged", "m.pcapng", "--evidence", "e"], &[]));
    assert!(told.contains("pcapdiff: writing m.pcapng\n") && told.contains("pcapdiff: writing e\n"), "{told}");
    assert!(!told.contains('\x1b') && !told.contains('\r'), "{told:?}");
}

#[test]
fn quiet_and_verbose_are_less_and_more() {
    let lines = |arguments: &[&str]| stdout(&run(&pair(), &[arguments, &PAIR].concat())).lines().count();
    let (quiet, usual, verbose) = (lines(&["-q"]), lines(&[]), lines(&["-v"]));
    assert!(quiet < usual / 2 && usual < verbose, "{quiet} {usual} {verbose}");
}

#[test]
fn the_time_asked_for_holds_for_the_merged_capture_too() {
    let folder = folder();
    let packets = |arguments: &[&str]| {
        let output = run(folder.path(), &[&["--merged", "m.pcapng", "-q"][..], arguments, &PAIR].concat());
        assert!(output.status.code() < Some(2), "{}", stderr(&output));
        // Enhanced packet blocks, by the lengths of all blocks; the writer's byte order is the network's.
        let bytes = std::fs::read(folder.path().join("m.pcapng")).unwrap();
        let word = |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap());
        let (mut at, mut count) = (0, 0);
        while at < bytes.len() {
            count += u32::from(word(at) == 6);
            at += word(at + 4) as usize;
        }
        count
    };
    assert_eq!(packets(&[]), 90 + 95);
    let (head, tail) = (packets(&["--to", "+2s"]), packets(&["--from", "+2s"]));
    assert!(head > 0 && tail > 0 && head + tail == 90 + 95, "{head} {tail}");
}

#[test]
fn the_settings_that_the_readme_shows_are_right() {
    let readme = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md")).unwrap();
    let (_, rest) = readme.split_once("```toml\nformat").expect("the README shows a settings file");
    let (shown, _) = rest.split_once("```").expect("the example has an end");
    let folder = folder();
    std::fs::write(folder.path().join("pcapdiff.toml"), format!("format{shown}")).unwrap();
    let output = run(folder.path(), &PAIR);
    assert!(
        output.status.code() == Some(1) && stdout(&output).starts_with("# virbr0.pcap ↔ uplink.pcap"),
        "{}",
        stderr(&output)
    );
}
