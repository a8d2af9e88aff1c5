//! Several files of one point: their order, the names of their frames, and files that are not as they should be.

use crate::build::{Bytes, enhanced, interface, pcap_header, record, section};
use analyzer_core::capture::{CaptureSet, Next, Only};
use std::path::{Path, PathBuf};

/// A pcap file with a record in each of these seconds, whose data are the second.
fn pcap(seconds: &[u32]) -> Vec<u8> {
    let mut bytes = pcap_header(false, 0xa1b2_c3d4, 65535, 1);
    for &second in seconds {
        bytes.extend(record(false, second, 0, 60, &[second as u8; 60]));
    }
    bytes
}

/// The same in pcapng, with a custom block that takes a frame number in front.
fn pcapng(seconds: &[u32]) -> Vec<u8> {
    let mut bytes = section(false);
    bytes.extend(interface(1, 65535, Bytes::new(false)));
    bytes.extend(crate::build::block(0x0bad, &Bytes::new(false).word(1).word(2)));
    for &second in seconds {
        bytes.extend(enhanced(false, 0, u64::from(second) * 1_000_000, &[second as u8; 60]));
    }
    bytes
}

/// Time, number in the set, and first byte of each record, read in windows of seven seconds.
fn drain(set: &mut CaptureSet) -> Vec<(i64, u32, u8)> {
    let (mut records, mut until) = (Vec::new(), 0);
    loop {
        let end = match set.next(until) {
            Next::Record(record) => {
                assert!(record.time < until);
                records.push((record.time / 1_000_000_000, record.frame, record.data[0]));
                continue;
            }
            Next::Later => false,
            Next::End => true,
        };
        if !set.turn(until) {
            if end {
                return records;
            }
            until += 7_000_000_000;
        }
    }
}

fn write(folder: &Path, files: &[(&str, Vec<u8>)]) {
    for (name, bytes) in files {
        std::fs::write(folder.join(name), bytes).unwrap();
    }
}

fn open(folder: &Path) -> CaptureSet {
    CaptureSet::open(&[folder.to_owned()], None).unwrap()
}

/// Every record by its time: the file and the number in it that name it.
fn places(set: &CaptureSet, records: &[(i64, u32, u8)]) -> Vec<(i64, String, u32)> {
    let base = |name: &str| PathBuf::from(name).file_name().unwrap().to_string_lossy().into_owned();
    let place = |&(time, frame, _): &(i64, u32, u8)| {
        let (file, own) = set.files().place(frame).expect("a set names its frames");
        (time, base(file), own)
    };
    records.iter().map(place).collect()
}

#[test]
fn files_are_read_by_time_whatever_their_names() {
    let folder = tempfile::tempdir().unwrap();
    // A ring of three that has gone round: the newest file has the first name.
    write(folder.path(), &[("r0", pcap(&[40, 41])), ("r1", pcapng(&[10, 11, 12])), ("r2", pcap(&[20, 33]))]);
    let mut set = open(folder.path());
    let records = drain(&mut set);
    assert_eq!(records.iter().map(|record| record.0).collect::<Vec<_>>(), [10, 11, 12, 20, 33, 40, 41]);
    assert!(records.iter().all(|record| record.0 == i64::from(record.2)), "the data go with the time");
    assert!(records.is_sorted_by(|one, other| one.1 < other.1), "numbers rise through the set");
    let names: Vec<(String, u32)> = places(&set, &records).into_iter().map(|(_, file, own)| (file, own)).collect();
    let expected = [("r1", 2), ("r1", 3), ("r1", 4), ("r2", 1), ("r2", 2), ("r0", 1), ("r0", 2)];
    assert_eq!(names, expected.map(|(file, own)| (file.to_owned(), own)));
    let summary = set.summary();
    assert_eq!((summary.packets, summary.format.as_str(), summary.problems.len()), (7, "pcapng, pcap", 0));
    let stored = ["r0", "r1", "r2"].map(|name| folder.path().join(name).metadata().unwrap().len()).iter().sum();
    assert_eq!((set.position(), set.input_size()), (stored, Some(stored)));
}

#[test]
fn a_single_file_is_as_ever() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), &[("only", pcap(&[1, 2]))]);
    let mut set = open(folder.path());
    assert_eq!(drain(&mut set), [(1, 1, 1), (2, 2, 2)]);
    assert!(!set.files().is_set() && set.files().place(1).is_none());
}

#[test]
fn what_cannot_be_read_is_left_out_and_named() {
    let folder = tempfile::tempdir().unwrap();
    let mut cut = pcap(&[3, 4]);
    cut.truncate(cut.len() - 9);
    let files = [
        ("a", pcap(&[1, 2])),
        ("b", cut),
        ("c", pcap(&[])),
        ("d", Vec::new()),
        ("e.txt", b"notes".to_vec()),
        ("f", pcap(&[9])),
        ("g", pcap(&[1, 2])),
    ];
    write(folder.path(), &files);
    let mut set = open(folder.path());
    assert_eq!(drain(&mut set).iter().map(|record| record.0).collect::<Vec<_>>(), [1, 2, 3, 9]);
    let summary = set.summary();
    let problem = |name: &str| {
        let path = folder.path().join(name).display().to_string();
        summary.problems.iter().find(|problem| problem.file == path).map_or("", |problem| problem.message.as_str())
    };
    assert!(problem("b").contains("cut off"));
    assert_eq!(problem("c"), "holds no packets; left out");
    assert!(problem("d").contains("is empty") && problem("d").ends_with("left out"));
    assert!(problem("e.txt").contains("is text"));
    assert!(problem("g").ends_with("a: a copy; left out"));
    assert_eq!(summary.truncated_files, [(folder.path().join("b").display().to_string(), 24 + 76 + 76 - 9)]);
    // What the file that was cut off would have held is not known.
    assert!(set.holes().iter().any(|hole| hole.proven() && hole.from == 3_000_000_000 && hole.to == 9_000_000_000));
}

#[test]
fn nothing_but_unreadable_files_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), &[("a", b"text".to_vec()), ("b", Vec::new())]);
    assert!(CaptureSet::open(&[folder.path().to_owned()], None).is_err());
    write(folder.path(), &[("a", pcap(&[])), ("b", pcap(&[]))]);
    assert!(drain(&mut open(folder.path())).is_empty(), "captures without packets are none");
    let stdin = [PathBuf::from("-"), folder.path().join("a")];
    assert!(CaptureSet::open(&stdin, None).err().unwrap().to_string().contains("mergecap"));
}

#[test]
fn files_that_overlap_are_merged() {
    let folder = tempfile::tempdir().unwrap();
    let files = [
        ("eth0", pcap(&[1, 4, 5, 9, 30])),
        ("eth1", pcapng(&[2, 3, 6, 40])),
        ("later", pcap(&[7, 8])),
        ("last", pcap(&[50, 51])),
    ];
    write(folder.path(), &files);
    let mut set = open(folder.path());
    let records = drain(&mut set);
    let times = [1, 2, 3, 4, 5, 6, 7, 8, 9, 30, 40, 50, 51];
    assert_eq!(records.iter().map(|record| record.0).collect::<Vec<_>>(), times);
    assert!(records.iter().all(|record| record.0 == i64::from(record.2)));
    for (time, file, own) in places(&set, &records) {
        let (_, whole) = files
            .iter()
            .map(|(name, _)| {
                (
                    *name,
                    match *name {
                        "eth0" => vec![1, 4, 5, 9, 30],
                        "eth1" => vec![0, 2, 3, 6, 40],
                        "later" => vec![7, 8],
                        _ => vec![50, 51],
                    },
                )
            })
            .find(|(name, _)| *name == file)
            .unwrap();
        assert_eq!(whole[own as usize - 1], time, "{file} #{own}");
    }
    let summary = set.summary();
    assert_eq!(summary.packets, 13);
    assert_eq!(summary.problems.len(), 1);
    assert!(summary.problems[0].message.contains("overlaps another file"));
}

#[test]
fn a_missing_file_is_a_hole_and_a_silence_is_one_in_doubt() {
    let folder = tempfile::tempdir().unwrap();
    let busy = |from: u32| (from..from + 10).collect::<Vec<_>>();
    write(
        folder.path(),
        &[("r1", pcap(&busy(0))), ("r2", pcap(&busy(10))), ("r4", pcap(&busy(30))), ("r5", pcap(&busy(240)))],
    );
    let mut set = open(folder.path());
    drain(&mut set);
    let holes: Vec<(i64, i64, u64, bool)> = set
        .holes()
        .iter()
        .map(|hole| (hole.from / 1_000_000_000, hole.to / 1_000_000_000, hole.missing, hole.proven()))
        .collect();
    assert_eq!(holes, [(19, 30, 1, true), (39, 240, 0, false)]);
}

/// A cooked capture on `any`.
fn cooked(interfaces: &[u32]) -> Vec<u8> {
    let mut bytes = pcap_header(false, 0xa1b2_c3d4, 65535, 276);
    for (second, &number) in (0..).zip(interfaces) {
        let mut data = vec![8, 0, 0, 0];
        data.extend(number.to_be_bytes());
        data.resize(40, 0);
        bytes.extend(record(false, second, 0, 40, &data));
    }
    bytes
}

#[test]
fn one_interface_can_be_had_of_a_file_and_frames_keep_their_numbers() {
    let folder = tempfile::tempdir().unwrap();
    let mut both = section(false);
    both.extend(interface(1, 65535, Bytes::new(false).option(2, b"virbr0").option(0, b"")));
    both.extend(interface(1, 65535, Bytes::new(false).option(2, b"eth0").option(0, b"")));
    for second in 1..=6_u64 {
        both.extend(enhanced(false, (second % 2) as u32, second * 1_000_000, &[second as u8; 60]));
    }
    write(folder.path(), &[("both", both), ("any", cooked(&[4, 2, 4, 4])), ("plain", pcap(&[1]))]);
    let frames = |name: &str, only: &str| {
        let set = CaptureSet::open(&[folder.path().join(name)], Some(&Only::new(only)));
        set.map(|mut set| drain(&mut set).iter().map(|record| record.1).collect::<Vec<_>>())
    };
    assert_eq!(frames("both", "virbr0").unwrap(), [2, 4, 6]);
    assert_eq!(frames("both", "1").unwrap(), [1, 3, 5]);
    assert_eq!(frames("both", "vnet0").unwrap(), [0; 0]);
    assert_eq!(frames("any", "4").unwrap(), [1, 3, 4]);
    assert!(frames("any", "virbr0").unwrap_err().to_string().contains("numbers of interfaces"));
    assert!(frames("plain", "0").unwrap_err().to_string().contains("does not say by which interface"));

    let listed = |name: &str| {
        let listed = analyzer_core::capture::interfaces(&folder.path().join(name)).unwrap();
        listed.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(listed("both"), ["0 virbr0 (3 packets)", "1 eth0 (3 packets)"]);
    assert_eq!(listed("any"), ["number 2 (1 packet)", "number 4 (3 packets)"]);
}

#[test]
fn reading_goes_on_from_a_mark_as_if_all_had_been_read() {
    let folder = tempfile::tempdir().unwrap();
    let seconds: Vec<u32> = (1..200).collect();
    write(folder.path(), &[("a.pcap", pcap(&seconds)), ("b.pcapng", pcapng(&seconds))]);
    std::fs::create_dir(folder.path().join("ring")).unwrap();
    let ring: Vec<(String, Vec<u8>)> =
        seconds.chunks(40).map(|part| (format!("ring/r{}", part[0]), pcap(part))).collect();
    for (name, bytes) in &ring {
        std::fs::write(folder.path().join(name), bytes).unwrap();
    }
    for name in ["a.pcap", "b.pcapng", "ring"] {
        let open = || CaptureSet::open(&[folder.path().join(name)], None).unwrap();
        let whole = drain(&mut open());
        for &(second, frame, _) in whole.iter().step_by(17) {
            let mut set = open();
            loop {
                if let Next::Record(record) = set.next(i64::MAX) {
                    if record.frame == frame {
                        break;
                    }
                } else {
                    assert!(set.turn(i64::MAX));
                }
            }
            let mark = set.mark().expect("a plain file");
            assert_eq!((mark.frame, mark.time), (frame, second * 1_000_000_000), "{name}");
            let mut again = open();
            assert!(again.skip_to(&mark), "{name}");
            let rest: Vec<_> = whole.iter().copied().filter(|record| record.1 > frame).collect();
            assert_eq!(drain(&mut again), rest, "{name} from {frame}");
        }
    }
    // A stream cannot be read on from anywhere.
    let stream = CaptureSet::from_reader("x", Box::new(std::io::Cursor::new(pcap(&seconds))), None).unwrap();
    assert_eq!(stream.mark(), None);
}
