//! Inputs that are no captures, and inputs by name.

use crate::build::small_pcap;
use crate::drain;
use analyzer_core::Error;
use analyzer_core::capture::{CaptureReader, LinkType};
use std::io::Cursor;
use std::path::Path;

fn refusal(name: &str, bytes: &[u8]) -> String {
    match CaptureReader::from_reader(name, Box::new(Cursor::new(bytes.to_vec()))) {
        Ok(_) => panic!("{name} was accepted"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn says_what_it_is_instead() {
    let built_in = [("gzip", cfg!(feature = "gzip")), ("zstd", cfg!(feature = "zstd")), ("lz4", cfg!(feature = "lz4"))];
    let names: Vec<&str> = built_in.iter().filter(|(_, built_in)| *built_in).map(|(name, _)| *name).collect();
    let packed = match names.len() {
        0 => String::new(),
        1 => format!(", also compressed with {}", names[0]),
        2 => format!(", also compressed with {} or {}", names[0], names[1]),
        _ => ", also compressed with gzip, zstd or lz4".to_owned(),
    };
    let accepted = format!("pcapdiff reads pcap and pcapng{packed}");
    assert_eq!(refusal("a", b""), "a: is empty: tcpdump writes the file header at once, so this capture never started");
    assert_eq!(
        refusal("a", b"To whom it may concern: the captures are on the other disk\nmore"),
        format!("a: is text that starts with \"To whom it may concern: the capt\", not a capture; {accepted}")
    );
    assert_eq!(refusal("a", &[1, 2, 3, 4, 5]), format!("a: starts with bytes 01 02 03 04, not a capture; {accepted}"));
    assert_eq!(refusal("a", &[7]), format!("a: starts with bytes 07, not a capture; {accepted}"));
    assert_eq!(refusal("a", &[0; 99]), format!("a: starts with zero bytes, not a capture; {accepted}"));
    assert_eq!(refusal("a", b"\xfd7zXZ\0\0\x04"), "a: is compressed with xz: decompress it first with xz -d");
    assert!(refusal("a", b"snoop\0\0\0\0\0\0\x02").contains("snoop capture of Solaris"));
    assert!(refusal("a", b"PK\x03\x04\x14\0").contains("zip archive"));
    assert!(refusal("TRACE.ETL", &[0, 0, 1, 0, 9, 9]).contains("etl2pcapng"));
    assert!(refusal("x.erf", &[9, 0, 1, 0, 9, 9]).contains("ERF capture"));
    assert_eq!(refusal("a", &small_pcap(0)[..23]), "a: is cut off in the pcap file header, after 23 bytes");
    assert_eq!(
        refusal("a", b"\x0a\x0d\x0d\x0a\x1c\0\0\0"),
        "a: is cut off in the pcapng section header, after 8 bytes"
    );
    assert!(refusal("a", &[b"\x0a\x0d\x0d\x0a".as_slice(), &[3; 30]].concat()).contains("no pcapng byte-order magic"));
}

#[test]
fn texts_that_belong_elsewhere_are_sent_there() {
    for (text, part) in [
        ("[1795222327.4]\t    [NEW] tcp      6 120 SYN_SENT src=192.168.122.10", "name it behind --conntrack"),
        ("[DESTROY] udp      17 src=192.168.122.10 dst=198.51.100.7", "name it behind --conntrack"),
        ("abi.vsyscall32 = 1\ndebug.exception-trace = 1", "name it behind --sysctl"),
        ("00:00:01.5 IP 10.0.0.1 > 10.0.0.2: ICMP echo request", "tcpdump -w FILE"),
        ("the answer = 42", "is text that starts with \"the answer = 42\""),
    ] {
        let says = refusal("a", text.as_bytes());
        assert!(says.contains(part), "{says}");
    }
}

#[test]
fn opens_files_by_name() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.pcap");
    std::fs::write(&path, small_pcap(3)).unwrap();
    let mut reader = CaptureReader::open(&path).unwrap();
    assert_eq!(reader.input_size(), Some(small_pcap(3).len() as u64));
    assert_eq!(drain(&mut reader).len(), 3);
    assert_eq!(reader.summary().interfaces[0].link_type, LinkType(1));

    let error = CaptureReader::open(directory.path()).err().unwrap();
    assert!(error.to_string().ends_with(": is a directory"));
    let error = CaptureReader::open(Path::new("/no/such/file")).err().unwrap();
    assert!(matches!(error, Error::Io { ref source, .. } if source.kind() == std::io::ErrorKind::NotFound));
}

#[test]
fn readers_can_move_to_another_thread() {
    fn is_send<T: Send>() {}
    is_send::<CaptureReader>();
}

#[test]
fn a_build_without_a_compression_says_so() {
    for (built_in, name, magic) in [
        (cfg!(feature = "gzip"), "gzip", [0x1f, 0x8b, 8, 0]),
        (cfg!(feature = "zstd"), "zstd", [0x28, 0xb5, 0x2f, 0xfd]),
        (cfg!(feature = "lz4"), "lz4", [0x04, 0x22, 0x4d, 0x18]),
    ] {
        let says = refusal("a", &magic);
        let refused =
            format!("a: is compressed with {name}, which this build cannot read (its feature `{name}` is off)");
        assert_eq!(says.starts_with(&refused), !built_in, "{says}");
        // What it can read instead is what it says that it can.
        assert_eq!(refusal("b", &[0, 1, 2, 3]).contains(name), built_in);
    }
}
