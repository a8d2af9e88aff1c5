//! Makes the seeds of every target out of `testdata`: `seeds TESTDATA OUT`.

use analyzer_core::capture::{CaptureReader, LinkType, Next};
use analyzer_core::packet::link::SUPPORTED;
use analyzer_core::witness::sysctl::SETTINGS;
use analyzer_fuzz::{frames, join};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::{env, fs};

/// Longest seed: longer ones cost the fuzzer more time than they bring.
const MOST: usize = 48 << 10;
/// Bytes that are kept of a longer capture in a seed of the record reader.
const HEAD: usize = 8 << 10;
/// Frames of a capture in one seed of the decoder.
const FRAMES: usize = 24;

fn main() -> io::Result<()> {
    let mut arguments = env::args_os().skip(1).map(PathBuf::from);
    let (Some(testdata), Some(out)) = (arguments.next(), arguments.next()) else {
        return Err(io::Error::other("seeds TESTDATA OUT"));
    };
    let mut files = Vec::new();
    walk(&testdata, &mut files)?;
    files.sort();
    let seed = |target: &str, name: &str, bytes: &[u8]| {
        let folder = out.join(target);
        fs::create_dir_all(&folder)?;
        fs::write(folder.join(name), bytes)
    };
    for (number, path) in files.iter().enumerate() {
        let bytes = fs::read(path)?;
        let name = format!("{number:04}");
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("log") => seed("conntrack", &name, &bytes)?,
            Some("pcap" | "pcapng") => {
                let head = &bytes[..bytes.len().min(HEAD)];
                seed("capture", &name, head)?;
                if number % 16 == 0 {
                    for (compression, bytes) in compressed(head)? {
                        seed("capture", &format!("{name}.{compression}"), &bytes)?;
                    }
                }
                seed("packet", &name, &some_frames(&bytes))?;
                let pair = path.with_file_name("uplink.pcap");
                if path.ends_with("virbr0.pcap") && pair.is_file() {
                    let outer = fs::read(pair)?;
                    if bytes.len() + outer.len() < MOST {
                        seed("analysis", &name, &join(&bytes, &outer))?;
                    }
                }
            }
            _ => {}
        }
    }
    seed("capture", "pcapng", &pcapng())?;
    for (compression, bytes) in compressed(&pcapng())? {
        seed("capture", &format!("pcapng.{compression}"), &bytes)?;
    }
    // A packet in the frame of each link type: testdata is all Ethernet.
    for (link_type, name) in SUPPORTED {
        seed("packet", &name.replace(' ', ""), &frames(link_type, [framed(link_type).as_slice()].into_iter()))?;
    }
    let settings: String = SETTINGS.iter().map(|setting| format!("{} = {}\n", setting.key, setting.default)).collect();
    seed("sysctl", "all", settings.as_bytes())?;
    seed("sysctl", "file", b"# settings\n-net/netfilter/nf_conntrack_max=262144\n; none\nnet.ipv4.ip_default_ttl=64")
}

fn walk(folder: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            walk(&path, files)?;
        } else {
            files.push(path);
        }
    }
    Ok(())
}

fn compressed(bytes: &[u8]) -> io::Result<Vec<(&'static str, Vec<u8>)>> {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(bytes)?;
    let mut lz4 = lz4_flex::frame::FrameEncoder::new(Vec::new());
    lz4.write_all(bytes)?;
    let lz4 = lz4.finish().map_err(io::Error::other)?;
    Ok(vec![("gz", gzip.finish()?), ("zst", zstd::encode_all(bytes, 1)?), ("lz4", lz4)])
}

/// Frames from all over a capture.
fn some_frames(bytes: &[u8]) -> Vec<u8> {
    let mut taken: Vec<Vec<u8>> = Vec::new();
    let mut link_type = LinkType::default();
    if let Ok(mut reader) = CaptureReader::from_reader("seed", Box::new(io::Cursor::new(bytes.to_vec()))) {
        while let Next::Record(record) = reader.next(i64::MAX) {
            link_type = record.link_type;
            taken.push(record.data[..record.data.len().min(1600)].to_vec());
        }
    }
    let step = (taken.len() / FRAMES).max(1);
    frames(link_type, taken.iter().step_by(step).take(FRAMES).map(Vec::as_slice))
}

/// An empty datagram from 192.0.2.1 to 192.0.2.2.
const IPV4: [u8; 28] =
    [0x45, 0, 0, 28, 0, 1, 0, 0, 64, 17, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2, 0x13, 0x88, 0, 53, 0, 8, 0, 0];

fn framed(link_type: LinkType) -> Vec<u8> {
    let header: &[u8] = match link_type.0 {
        0 => &[2, 0, 0, 0],
        108 => &[0, 0, 0, 2],
        1 => &[2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0],
        9 | 50 => &[0xff, 3, 0, 0x21],
        51 => &[0x11, 0, 0, 1, 0, 30, 0, 0x21],
        104 => &[0x0f, 0, 8, 0],
        113 => &[0, 0, 0, 1, 0, 6, 2, 0, 0, 0, 0, 1, 0, 0, 8, 0],
        276 => &[8, 0, 0, 0, 0, 0, 0, 2, 0, 1, 0, 6, 2, 0, 0, 0, 0, 1, 0, 0],
        _ => &[],
    };
    [header, &IPV4].concat()
}

/// A capture with a block of each kind that is read: section, interface, packets in three forms, statistics, names.
fn pcapng() -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut block = |kind: u32, body: &[u8]| {
        let length = body.len() as u32 + 12;
        bytes.extend([&kind.to_le_bytes(), &length.to_le_bytes(), body, &length.to_le_bytes()].concat());
    };
    let comment: &[u8] = &[1, 0, 4, 0, b't', b'e', b's', b't', 0, 0, 0, 0];
    let section: &[u8] = &[0x4d, 0x3c, 0x2b, 0x1a, 1, 0, 0, 0, 255, 255, 255, 255, 255, 255, 255, 255];
    block(0x0a0d_0d0a, &[section, comment].concat());
    let named: &[u8] = &[2, 0, 4, 0, b'e', b't', b'h', b'0', 9, 0, 1, 0, 9, 0, 0, 0, 0, 0, 0, 0];
    block(1, &[&[1, 0, 0, 0, 0, 0, 4, 0], named].concat());
    let frame = framed(LinkType(1));
    let length = frame.len() as u32;
    let padded = [&frame[..], &[0; 3][..(4 - frame.len() % 4) % 4]].concat();
    let lengths = [length.to_le_bytes(), length.to_le_bytes()].concat();
    block(6, &[&[0; 4], &[0, 0, 0, 0, 64, 66, 15, 0][..], &lengths, &padded, comment].concat());
    block(2, &[&[0, 0, 1, 0], &[0, 0, 0, 0, 65, 66, 15, 0][..], &lengths, &padded].concat());
    block(3, &[&length.to_le_bytes()[..], &padded].concat());
    block(4, &[1, 0, 8, 0, 192, 0, 2, 1, b'o', b'n', b'e', 0, 0, 0, 0, 0]);
    let counters: &[u8] = &[4, 0, 8, 0, 9, 0, 0, 0, 0, 0, 0, 0, 5, 0, 8, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    block(5, &[&[0, 0, 0, 0, 0, 0, 0, 0, 70, 66, 15, 0][..], counters].concat());
    block(0xbad, &[0, 0, 0, 0, 1, 2, 3, 4]);
    bytes
}
