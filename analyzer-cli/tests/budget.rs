//! Ten times the input costs at most twelve times the instructions, whatever the input is made to provoke.
//!
//! Instructions are counted by valgrind, so that the result does not depend on the machine; where there is none, this is
//! skipped and says so. Times would tell nothing: a quadratic loop over a thousand things takes a millisecond.

#![cfg(unix)]

use std::num::NonZero;
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Things in the smallest input; the next has ten times as many, the largest a hundred times.
const SMALLEST: u32 = 60;
/// Most that ten times the input may cost: the tenfold, and a fifth for tables that grow. What an analysis costs whatever
/// its input is left out by comparing what the second and the third input cost more than the one before.
const MOST: f64 = 12.0;

/// One capture: its file, put together packet by packet.
struct Capture(Vec<u8>);

impl Capture {
    fn new() -> Self {
        Self(vec![0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 1, 0, 0, 0])
    }

    /// A frame at a time in microseconds from the start.
    fn frame(&mut self, time: u32, frame: &[u8]) {
        let length = (frame.len() as u32).to_le_bytes();
        let times = [(1_700_000_000 + time / 1_000_000).to_le_bytes(), (time % 1_000_000).to_le_bytes()];
        self.0.extend([&times[0], &times[1], &length, &length, frame].concat());
    }
}

fn sum(bytes: &[u8]) -> u32 {
    bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0))).sum()
}

fn checksum(sum: u32) -> [u8; 2] {
    let once = (sum & 0xffff) + (sum >> 16);
    (!((once & 0xffff) + (once >> 16)) as u16).to_be_bytes()
}

const GUEST: [u8; 4] = [192, 168, 122, 10];
const PEER: [u8; 4] = [198, 51, 100, 7];

/// An Ethernet frame with an IPv4 packet: identification, flags and offset in eighths, protocol.
fn ipv4(from: [u8; 4], to: [u8; 4], id: u16, offset: u16, protocol: u8, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u16 + 20).to_be_bytes();
    let (id, offset) = (id.to_be_bytes(), offset.to_be_bytes());
    let mut header = [&[0x45, 0], &length[..], &id, &offset, &[64, protocol, 0, 0], &from, &to].concat();
    let check = checksum(sum(&header));
    header[10..12].copy_from_slice(&check);
    [&[2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0], &header[..], payload].concat()
}

/// A datagram without a checksum.
fn udp(from: ([u8; 4], u16), to: ([u8; 4], u16), payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u16 + 8).to_be_bytes();
    let datagram = [&from.1.to_be_bytes()[..], &to.1.to_be_bytes(), &length, &[0, 0], payload].concat();
    ipv4(from.0, to.0, 0, 0x4000, 17, &datagram)
}

const SYN: u8 = 2;
const RST: u8 = 4;
const ACK: u8 = 16;

/// A segment: identification, sequence and acknowledgement numbers, flags.
fn tcp(from: ([u8; 4], u16), to: ([u8; 4], u16), numbers: (u16, u32, u32), flags: u8, payload: &[u8]) -> Vec<u8> {
    let ports = [from.1.to_be_bytes(), to.1.to_be_bytes()].concat();
    let (seq, ack) = (numbers.1.to_be_bytes(), numbers.2.to_be_bytes());
    let mut segment = [&ports, &seq[..], &ack, &[0x50, flags, 0xff, 0xff, 0, 0, 0, 0], payload].concat();
    let check = checksum(sum(&from.0) + sum(&to.0) + 6 + segment.len() as u32 + sum(&segment));
    segment[16..18].copy_from_slice(&check);
    ipv4(from.0, to.0, numbers.0, 0x4000, 6, &segment)
}

/// Payload that no other has.
fn payload(number: u32) -> [u8; 32] {
    let mut bytes = [0x5a; 32];
    bytes[..4].copy_from_slice(&number.wrapping_mul(0x9e37_79b9).to_be_bytes());
    bytes[4..8].copy_from_slice(&number.to_be_bytes());
    bytes
}

fn guest(number: u32) -> ([u8; 4], u16) {
    ([192, 168, (number / 50_000) as u8, 10], 10_000 + (number % 50_000) as u16)
}

const SERVER: ([u8; 4], u16) = (PEER, 443);

/// The frames of the nth thing at A and at B.
type Nth = fn(u32, u32) -> [Vec<Vec<u8>>; 2];

/// Of how many, which, and what it looks like.
const PACKETS: [(&str, Nth); 15] = [
    ("all unmatched, one flow", |_, n| {
        [vec![udp(guest(0), SERVER, &payload(n))], vec![udp(guest(0), SERVER, &payload(n | 1 << 31))]]
    }),
    ("all unmatched, a flow each", |_, n| {
        [vec![udp(guest(n), SERVER, &payload(n))], vec![udp(guest(n + 50_000), SERVER, &payload(n | 1 << 31))]]
    }),
    ("all matched, a flow each", |_, n| {
        let frame = tcp(guest(n), SERVER, (1, n.wrapping_mul(0x9e37_79b9), 0), SYN, &[]);
        [vec![frame.clone()], vec![frame]]
    }),
    ("all alike", |_, _| {
        let frame = udp(guest(0), SERVER, &payload(0));
        [vec![frame.clone()], vec![frame]]
    }),
    ("alike in every flow, so that all offer the same keys", |_, n| {
        let at = |guest| udp(guest, SERVER, &payload(0));
        [vec![at(guest(n))], vec![at(([203, 0, 113, 5], guest(n).1))]]
    }),
    ("every second segment at either point only", |_, n| {
        let frame = tcp(guest(0), SERVER, (n as u16, n * 32, 1), ACK, &payload(n));
        if n % 2 == 0 { [vec![frame], vec![]] } else { [vec![], vec![frame]] }
    }),
    ("segments from the last to the first", |count, n| {
        let frame = tcp(guest(0), SERVER, (n as u16, (count - n) * 32, 1), ACK, &payload(n));
        [vec![frame.clone()], vec![frame]]
    }),
    ("one segment again and again at A", |_, n| {
        let frame = tcp(guest(0), SERVER, (n as u16, 1, 1), ACK, &payload(0));
        [vec![frame.clone()], if n == 0 { vec![frame] } else { vec![] }]
    }),
    ("first fragments of datagrams without end", |_, n| {
        let frame = ipv4(GUEST, PEER, n as u16, 0x2000, 17, &payload(n));
        [vec![frame.clone()], vec![frame]]
    }),
    ("fragments of one datagram without end", |_, n| {
        let frame = ipv4(GUEST, PEER, 7, 0x2000 | (n % 8000) as u16, 17, &payload(n));
        [vec![frame.clone()], vec![frame]]
    }),
    ("connections that are reset at once, at B", |_, n| {
        let open = tcp(guest(n), SERVER, (1, n, 0), SYN, &[]);
        let answer = tcp(SERVER, guest(n), (1, n, n + 1), SYN | ACK, &[]);
        let reset = tcp(guest(n), SERVER, (0, n + 1, 0), RST, &[]);
        [vec![open.clone(), answer.clone()], vec![open, answer, reset]]
    }),
    ("errors about packets that were never there", |_, n| {
        let quoted = udp(guest(n), SERVER, &payload(n));
        let error = [&[3, 4, 0, 0, 0, 0, 5, 0x78], &quoted[14..]].concat();
        let frame = ipv4(PEER, guest(n).0, n as u16, 0, 1, &error);
        [vec![frame.clone()], vec![frame]]
    }),
    ("names asked for in vain", |_, n| {
        let id = (n as u16).to_be_bytes();
        let name = format!("{n:08}");
        let query = [&id[..], &[1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 8], name.as_bytes(), &[0, 0, 1, 0, 1]].concat();
        let frame = udp(guest(n), (PEER, 53), &query);
        [vec![frame.clone()], vec![frame]]
    }),
    ("addresses asked for in vain, each by another MAC", |_, n| {
        let mac = [&[2, 1], &n.to_be_bytes()[..]].concat();
        let start = [&[0xff; 6], &mac[..], &[8, 6, 0, 1, 8, 0, 6, 4, 0, 1]].concat();
        let asked = [&mac[..], &GUEST, &[0; 6], &[10, 1], &(n as u16).to_be_bytes()].concat();
        let frame = [start, asked].concat();
        [vec![frame.clone()], vec![frame]]
    }),
    ("echo requests without an answer", |_, n| {
        let echo = [&[8, 0, 0, 0, 0, 7], &(n as u16).to_be_bytes()[..], &payload(n)].concat();
        let frame = ipv4(GUEST, PEER, n as u16, 0, 1, &echo);
        [vec![frame.clone()], vec![frame]]
    }),
];

/// A kind of times, and the microseconds at which the nth thing happens.
type Times = (&'static str, fn(u32) -> u32);

const TIMES: [Times; 3] =
    [("a millisecond apart", |n| n * 1000), ("at once", |_| 0), ("back and forth", |n| n * 100 + n % 2 * 2_000_000)];

/// A pcapng block.
fn block(kind: u32, body: &[u8]) -> Vec<u8> {
    let padded = [body, &[0; 3][..(4 - body.len() % 4) % 4]].concat();
    let length = (padded.len() as u32 + 12).to_le_bytes();
    [&kind.to_le_bytes()[..], &length, &padded, &length].concat()
}

const SECTION: [u8; 16] = [0x4d, 0x3c, 0x2b, 0x1a, 1, 0, 0, 0, 255, 255, 255, 255, 255, 255, 255, 255];
const INTERFACE: [u8; 8] = [1, 0, 0, 0, 0, 0, 4, 0];
/// An option with a comment of four bytes.
const COMMENT: [u8; 8] = [1, 0, 4, 0, b't', b'e', b's', b't'];

/// A packet by an interface.
fn packet(interface: u32, number: u32) -> Vec<u8> {
    let frame = udp(guest(0), SERVER, &payload(number));
    let length = (frame.len() as u32).to_le_bytes();
    let time = 1_700_000_000_000_000_u64 + u64::from(number) * 1000;
    let times = [((time >> 32) as u32).to_le_bytes(), (time as u32).to_le_bytes()].concat();
    block(6, &[&interface.to_le_bytes()[..], &times, &length, &length, &frame].concat())
}

/// So many of something that a pcapng file may have many of.
type Many = fn(u32) -> Vec<u8>;

const FILES: [(&str, Many); 5] = [
    ("options of a section", |count| {
        let options = COMMENT.repeat(count as usize * 20);
        [block(0x0a0d_0d0a, &[&SECTION[..], &options].concat()), block(1, &INTERFACE), packet(0, 1)].concat()
    }),
    ("options of a packet", |count| {
        let packets = (0..20).flat_map(|number| {
            let plain = packet(0, number);
            let options = COMMENT.repeat(count as usize);
            block(6, &[&plain[8..plain.len() - 4], &options].concat())
        });
        [block(0x0a0d_0d0a, &SECTION), block(1, &INTERFACE)].concat().into_iter().chain(packets).collect()
    }),
    ("interfaces, with a packet and counters each", |count| {
        let mut file = [block(0x0a0d_0d0a, &SECTION), block(1, &INTERFACE).repeat(count as usize)].concat();
        for number in 0..count {
            let counters = [&number.to_le_bytes()[..], &[0; 8], &[4, 0, 8, 0, 9, 0, 0, 0, 0, 0, 0, 0]].concat();
            file.extend([packet(number, number), block(5, &counters)].concat());
        }
        file
    }),
    ("sections of an interface and a packet", |count| {
        (0..count)
            .flat_map(|number| [block(0x0a0d_0d0a, &SECTION), block(1, &INTERFACE), packet(0, number)].concat())
            .collect()
    }),
    ("damaged blocks", |count| {
        let mut file = [block(0x0a0d_0d0a, &SECTION), block(1, &INTERFACE)].concat();
        for number in 0..count {
            let mut damaged = packet(0, number);
            damaged[4] ^= 0x10;
            file.extend([packet(0, number), damaged, packet(0, number)].concat());
        }
        file
    }),
];

/// Both captures of an input of so many things.
type Input = Box<dyn Fn(u32) -> [Vec<u8>; 2] + Sync + Send>;

fn inputs() -> Vec<(String, Input)> {
    let mut inputs: Vec<(String, Input)> = Vec::new();
    for (what, nth) in PACKETS {
        for (when, time) in TIMES {
            let make = move |count| {
                let mut captures = [Capture::new(), Capture::new()];
                for n in 0..count {
                    for (capture, frames) in captures.iter_mut().zip(nth(count, n)) {
                        for frame in &frames {
                            capture.frame(time(n), frame);
                        }
                    }
                }
                captures.map(|capture| capture.0)
            };
            inputs.push((format!("{what}, {when}"), Box::new(make)));
        }
    }
    for (what, many) in FILES {
        inputs.push((what.to_owned(), Box::new(move |count| [many(count), many(count)])));
    }
    inputs
}

/// Instructions that an analysis takes.
fn instructions(folder: &Path, captures: &[Vec<u8>; 2]) -> f64 {
    let files = [folder.join("a.pcap"), folder.join("b.pcap")];
    for (file, bytes) in files.iter().zip(captures) {
        std::fs::write(file, bytes).expect("the folder is writable");
    }
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null", env!("CARGO_BIN_EXE_pcapdiff")])
        .args(["--threads", "1", "--quiet", "--progress", "never", "--format", "json"])
        .args(files)
        .output()
        .expect("valgrind starts");
    assert!(matches!(output.status.code(), Some(0 | 1)), "{}", String::from_utf8_lossy(&output.stderr));
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    let line = told.lines().find_map(|line| line.split_once("Collected :")).expect("valgrind tells what it counted");
    line.1.trim().parse().expect("a number")
}

#[test]
#[ignore = "takes minutes: valgrind runs the program a hundred and fifty times"]
fn ten_times_the_input_costs_no_more_than_twelve_times_the_instructions() {
    if Command::new("valgrind").arg("--version").output().is_err() {
        eprintln!("skipped: there is no valgrind to count instructions with");
        return;
    }
    let (inputs, next, wrong) = (inputs(), AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, NonZero::get) {
            scope.spawn(|| {
                let folder = tempfile::tempdir().expect("a folder");
                while let Some((name, make)) = inputs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let [few, some, many] =
                        [1, 10, 100].map(|times| instructions(folder.path(), &make(times * SMALLEST)));
                    let (first, second) = (some - few, many - some);
                    println!("{:5.1} {:8.0} {name}", second / first, second / f64::from(90 * SMALLEST));
                    if second > MOST * first {
                        wrong.lock().expect("no thread panicked").push(format!("{name}: {:.1}", second / first));
                    }
                }
            });
        }
    });
    let wrong = wrong.into_inner().expect("no thread panicked");
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}
