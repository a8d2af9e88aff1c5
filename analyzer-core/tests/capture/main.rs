//! The capture layer from outside: captures built byte by byte, read back, damaged, cut, compressed and delivered in
//! pieces.

mod build;
mod compressed;
mod damage;
mod files;
mod pcap;
mod pcapng;
mod pieces;
mod refused;
mod set;

use analyzer_core::capture::{CaptureReader, CaptureSummary, Next, Record};
use std::io::Cursor;

/// A record with its data copied.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Owned {
    time: i64,
    frame: u32,
    wirelen: u32,
    interface: u16,
    link_type: u16,
    fcs_len: u8,
    data: Vec<u8>,
}

impl Owned {
    fn new(record: &Record<'_>) -> Self {
        Self {
            time: record.time,
            frame: record.frame,
            wirelen: record.wirelen,
            interface: record.interface,
            link_type: record.link_type.0,
            fcs_len: record.fcs_len,
            data: record.data.to_vec(),
        }
    }
}

/// All records of an opened capture.
fn drain(reader: &mut CaptureReader) -> Vec<Owned> {
    let mut records = Vec::new();
    loop {
        match reader.next(i64::MAX) {
            Next::Record(record) => records.push(Owned::new(&record)),
            Next::Later => panic!("a record at the end of time"),
            Next::End => break,
        }
    }
    assert!(matches!(reader.next(i64::MAX), Next::End), "the end stays the end");
    assert!(records.is_sorted_by(|a, b| a.frame < b.frame), "frame numbers rise");
    assert_eq!(reader.summary().packets, records.len() as u64);
    records
}

fn open(bytes: &[u8]) -> CaptureReader {
    CaptureReader::from_reader("test", Box::new(Cursor::new(bytes.to_vec()))).expect("the bytes are a capture")
}

/// Reads a whole capture from memory, one by one and several at once.
fn read(bytes: &[u8]) -> (Vec<Owned>, CaptureSummary) {
    let mut reader = open(bytes);
    let records = drain(&mut reader);
    // A time that is asked for in between, and numbers of records that end within a buffer.
    let until = records.get(records.len() / 2).map_or(0, |record| record.time);
    for most in [1, 7, usize::MAX] {
        let (mut at_once, mut shown) = (open(bytes), Vec::new());
        for until in [until, i64::MAX] {
            let before = records[shown.len()..].iter().take_while(|record| record.time < until).count();
            let expected = shown.len() + before;
            while at_once.each(until, most, |record| shown.push(Owned::new(record))) == most {}
            assert_eq!(shown.len(), expected, "{most} records at once");
        }
        assert_eq!(shown, records, "{most} records at once");
        assert_eq!(at_once.summary(), reader.summary(), "{most} records at once");
    }
    (records, reader.summary())
}

/// Reads a whole capture that must have nothing wrong with it.
fn read_whole(bytes: &[u8]) -> Vec<Owned> {
    let (records, summary) = read(bytes);
    assert_eq!(summary.problems, []);
    assert_eq!(summary.truncated_at, None);
    records
}

/// The messages of a summary.
fn messages(summary: &CaptureSummary) -> Vec<&str> {
    summary.problems.iter().map(|problem| problem.message.as_str()).collect()
}
