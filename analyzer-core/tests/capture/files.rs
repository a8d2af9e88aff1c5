//! Files that change while they are read, and what looks like a file and is none.

use crate::build::small_pcap;
use crate::{drain, messages};
use analyzer_core::Error;
use analyzer_core::capture::{CaptureReader, Next};
use std::fs::{self, OpenOptions};
use std::io::Write;

/// More than is read at once.
const MANY: u32 = 60_000;

#[test]
fn a_file_that_shrinks_while_it_is_read_ends_there() {
    let (folder, bytes) = (tempfile::tempdir().unwrap(), small_pcap(MANY));
    let path = folder.path().join("a.pcap");
    fs::write(&path, &bytes).unwrap();
    let mut reader = CaptureReader::open(&path).unwrap();
    assert!(matches!(reader.next(i64::MAX), Next::Record(_)));
    let left = bytes.len() as u64 * 2 / 3;
    OpenOptions::new().write(true).open(&path).unwrap().set_len(left).unwrap();
    let mut count = 1;
    while let Next::Record(_) = reader.next(i64::MAX) {
        count += 1;
    }
    assert!((MANY / 2..MANY).contains(&count), "{count}");
    let summary = reader.summary();
    assert!(summary.truncated_at.is_some_and(|at| at <= left));
    assert_eq!(summary.problems.len(), 1, "{:?}", messages(&summary));
    // Nothing is left of what a progress bar was promised.
    assert!(reader.position() < reader.input_size().unwrap());
}

#[test]
fn a_file_that_grows_while_it_is_read_is_read_to_its_new_end() {
    let (folder, bytes) = (tempfile::tempdir().unwrap(), small_pcap(MANY));
    let path = folder.path().join("a.pcap");
    // Written up to the middle of a record, as by a tcpdump whose buffer was full.
    let (before, after) = bytes.split_at(bytes.len() / 2 + 7);
    fs::write(&path, before).unwrap();
    let mut reader = CaptureReader::open(&path).unwrap();
    assert!(matches!(reader.next(i64::MAX), Next::Record(_)));
    OpenOptions::new().append(true).open(&path).unwrap().write_all(after).unwrap();
    let mut count = 1;
    while let Next::Record(_) = reader.next(i64::MAX) {
        count += 1;
    }
    assert_eq!(count, MANY);
    assert_eq!(messages(&reader.summary()), [""; 0]);
    assert_eq!(reader.position(), bytes.len() as u64);
}

#[test]
fn an_end_that_was_met_stays_the_end() {
    /// Has more to say after it has said that it ended.
    struct Later(u32, Vec<u8>);
    impl std::io::Read for Later {
        fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
            self.0 += 1;
            if self.0 == 2 {
                return Ok(0);
            }
            let count = into.len().min(self.1.len());
            into[..count].copy_from_slice(&self.1[..count]);
            Ok(count)
        }
    }
    let mut reader = CaptureReader::from_reader("test", Box::new(Later(0, small_pcap(5)))).unwrap();
    assert_eq!(drain(&mut reader).len(), 5);
}

#[cfg(unix)]
#[test]
fn a_named_pipe_is_read_like_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pipe");
    let made = std::process::Command::new("mkfifo").arg(&path).status().unwrap();
    assert!(made.success());
    let writer = {
        let path = path.clone();
        std::thread::spawn(move || fs::write(path, small_pcap(MANY)).unwrap())
    };
    let mut reader = CaptureReader::open(&path).unwrap();
    assert_eq!(reader.input_size(), None);
    assert_eq!(drain(&mut reader).len(), MANY as usize);
    writer.join().unwrap();
}

#[cfg(target_os = "linux")]
#[test]
fn devices_without_a_capture_are_told() {
    for (device, reason) in [("/dev/zero", "zero bytes"), ("/dev/null", "is empty")] {
        let Err(Error::NotACapture { reason: told, .. }) = CaptureReader::open(device.as_ref()) else {
            panic!("{device} is no capture")
        };
        assert!(told.contains(reason), "{device}: {told}");
    }
}
