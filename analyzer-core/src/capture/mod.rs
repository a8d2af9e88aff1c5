//! Bytes → records: sniffs the format, reads with one large reused buffer, lends each record as a borrowed slice.
//!
//! - `input`: the bytes, whatever they come from
//! - `live`: streams, each of which can be waited for together with the other one
//! - `compress`: gzip, zstd and lz4, unpacked on a thread of their own
//! - `sniff`: what a file is, and what to say of one that is no capture
//! - `pcap`, `pcapng`: one file for each format
//! - `problem`: what is damaged; damage never stops the analysis of what precedes it
//! - `only`: one interface out of a file that holds several
//! - `mark`: places in a plain file from which it can be read on, without what precedes them
//! - `expand`, `set`: several files of one point, read as one capture
//!
//! A record is handed on as the file has it: this layer does not look into the captured bytes, does not sort by time,
//! and does not judge whether a time stamp makes sense.

mod compress;
mod expand;
mod input;
mod link_type;
#[cfg_attr(not(unix), path = "live_elsewhere.rs")]
mod live;
mod mark;
mod only;
mod pcap;
mod pcapng;
mod problem;
mod set;
mod sniff;
mod steps;

pub use expand::expand;
pub use link_type::LinkType;
pub(crate) use live::Live;
pub use mark::{Mark, Marks};
pub use only::{Listed, Only, interfaces};
pub use set::{CaptureSet, Files, Hole};
pub(crate) use sniff::not_text;
pub use steps::{Step, Steps};

use crate::Error;
use crate::report::Problem;
use input::Input;
use only::Wanted;
use pcap::Pcap;
use pcapng::PcapNg;
use problem::Problems;
use sniff::{Compression, Magic};
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Longest record or block that is read at all; it bounds the memory that a wrong length can cost.
const MAX_RECORD: u32 = 32 << 20;

/// Whether a name stands for what can be read only once: standard input (`-`), a pipe, a FIFO or a device.
pub fn is_stream(path: &Path) -> bool {
    path == Path::new("-") || path.metadata().is_ok_and(|metadata| !metadata.is_file() && !metadata.is_dir())
}

/// One captured frame, borrowed from the reader's buffer.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// Time stamp, nanoseconds since 1970 in the capture's clock.
    pub time: i64,
    /// 1-based number in the capture, as Wireshark counts: custom and journal blocks of a pcapng file take one too.
    pub frame: u32,
    /// Length on the wire; never less than that of `data`.
    pub wirelen: u32,
    /// Index of the interface in its section (0 for pcap).
    pub interface: u16,
    /// Link type of that interface.
    pub link_type: LinkType,
    /// Bytes of frame check sequence at the end of the data, if the header says so.
    pub fcs_len: u8,
    /// The captured bytes.
    pub data: &'a [u8],
}

/// What [`CaptureReader::next`] found.
#[derive(Clone, Copy, Debug)]
pub enum Next<'a> {
    /// The next record, below the time asked for.
    Record(Record<'a>),
    /// The next record's time is not below the time asked for; it stays the next one.
    Later,
    /// There are no more records.
    End,
}

/// An interface of a capture, with what the file says of it so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Interface {
    /// 0-based number of its section among those of the file (0 for pcap).
    pub section: u32,
    /// Index in its section, as in [`Record::interface`].
    pub index: u16,
    /// Its name (`eth0`); empty when the file does not say.
    pub name: String,
    /// Its description; empty when the file does not say.
    pub description: String,
    /// The capture filter in libpcap's syntax; empty when the file does not say.
    pub filter: String,
    /// Link type of its frames.
    pub link_type: LinkType,
    /// Most bytes captured of a frame; 0 for no limit.
    pub snaplen: u32,
    /// Bytes of frame check sequence at the end of each frame.
    pub fcs_len: u8,
    /// Units of its time stamps in a second; none when that is beyond 64 bits.
    pub ticks_per_second: Option<u64>,
    /// Records read from it.
    pub packets: u64,
    /// Packets that it received, by its last statistics block.
    pub received: Option<u64>,
    /// Packets dropped by the interface for lack of resources, by its last statistics block.
    pub dropped: Option<u64>,
    /// Packets dropped by the operating system, by its last statistics block.
    pub dropped_by_os: Option<u64>,
    /// Packets dropped, added up from the records that tell of losses before them.
    pub dropped_between: u64,
}

impl Interface {
    /// Whether it is the same one, in the same or another file: what is counted of it may differ.
    pub fn same(&self, other: &Self) -> bool {
        (self.index, self.link_type, self.snaplen, self.fcs_len)
            == (other.index, other.link_type, other.snaplen, other.fcs_len)
            && (&self.name, &self.description, &self.filter) == (&other.name, &other.description, &other.filter)
    }
}

/// What is known of a capture so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CaptureSummary {
    /// `pcap` or `pcapng`; with `+gzip`, `+zstd` or `+lz4` when compressed.
    pub format: String,
    /// The interfaces of all sections, in file order (the first few thousand).
    pub interfaces: Vec<Interface>,
    /// Records read.
    pub packets: u64,
    /// Byte offset in the (decompressed) capture at which it is cut off or could not be read on.
    pub truncated_at: Option<u64>,
    /// Damage, in file order.
    pub problems: Vec<Problem>,
    /// Comments on sections, in file order (the first hundred).
    pub comments: Vec<String>,
    /// Program that wrote the capture, when it says so.
    pub application: Option<String>,
    /// Times between the files of a set for which something speaks against a capture that went on.
    pub holes: Vec<Hole>,
    /// Files of a set that are cut off, with the byte offset.
    pub truncated_files: Vec<(String, u64)>,
}

/// Reads the records of one capture in file order.
pub struct CaptureReader {
    input: Input,
    format: Format,
    problems: Problems,
    /// How the input is compressed, and how many of its bytes have been read so far.
    compression: Option<(Compression, Arc<AtomicU64>)>,
    input_size: Option<u64>,
    /// Where it is, if it is a file.
    path: Option<PathBuf>,
}

enum Format {
    Pcap(Pcap),
    PcapNg(PcapNg),
    /// As the above, of one interface only: kept apart so that those need not ask.
    PcapOnly(Pcap),
    PcapNgOnly(PcapNg),
}

impl CaptureReader {
    /// Opens a capture by name, `-` being the standard input. Its format is told by its first bytes.
    pub fn open(path: &Path) -> Result<Self, Error> {
        if path == Path::new("-") {
            return Self::from_reader("-", Box::new(io::stdin()));
        }
        let name = path.to_string_lossy();
        let failed = |source| Error::Io { path: path.to_owned(), source };
        let metadata = path.metadata().map_err(failed)?;
        if metadata.is_dir() {
            return Err(Error::NotACapture { path: path.to_owned(), reason: "is a directory".to_owned() });
        }
        let file = File::open(path).map_err(failed)?;
        let size = metadata.is_file().then_some(metadata.len());
        let mut reader = Self::start(&name, Box::new(file), size)?;
        reader.path = metadata.is_file().then(|| path.to_owned());
        Ok(reader)
    }

    /// Reads a capture from anything; `name` is for messages. Short and interrupted reads are fine.
    pub fn from_reader(name: &str, reader: Box<dyn Read + Send>) -> Result<Self, Error> {
        Self::start(name, reader, None)
    }

    fn start(name: &str, reader: Box<dyn Read + Send>, input_size: Option<u64>) -> Result<Self, Error> {
        let not_a_capture = |reason| Error::NotACapture { path: PathBuf::from(name), reason };
        let mut problems = Problems::new(name);
        let mut input = Input::new(reader);
        let mut compression = None;
        if let Magic::Compressed(found) = sniff::magic(&mut input) {
            if !found.built_in() {
                return Err(not_a_capture(found.refusal()));
            }
            let (unpacked, position) = compress::unpack(input.into_source(), found)
                .map_err(|source| Error::Io { path: PathBuf::from(name), source })?;
            input = Input::new(Box::new(unpacked));
            compression = Some((found, position));
        }
        let opened = match sniff::magic(&mut input) {
            Magic::Pcap => Pcap::open(&mut input, &mut problems).map(Format::Pcap),
            Magic::PcapNg => PcapNg::open(&mut input).map(Format::PcapNg),
            Magic::Compressed(inner) => Err(format!("is compressed with {}", inner.name())),
            Magic::Other => Err(sniff::describe(&mut input, name)),
        };
        let format = match opened {
            Ok(format) => format,
            Err(reason) => {
                // What could be read is no capture because no more could be read.
                if input.gave_up() {
                    return Err(Error::Cancelled);
                }
                if let Some(source) = input.take_failure() {
                    return Err(Error::Io { path: PathBuf::from(name), source });
                }
                let reason = match &compression {
                    Some((found, _)) => format!("is compressed with {}, and what is inside {reason}", found.name()),
                    None => reason,
                };
                return Err(not_a_capture(reason));
            }
        };
        Ok(Self { input, format, problems, compression, input_size, path: None })
    }

    /// Reads one interface of the capture only; to be said before the first record is read. Frames keep their numbers.
    pub fn select(mut self, only: &Only) -> Result<Self, Error> {
        self.format = match self.format {
            Format::PcapNg(mut pcapng) | Format::PcapNgOnly(mut pcapng) => {
                pcapng.want(only.clone());
                Format::PcapNgOnly(pcapng)
            }
            Format::Pcap(mut pcap) | Format::PcapOnly(mut pcap) => {
                let refused = |reason: String| {
                    Error::Usage(format!("{}: {reason}, so `{only}` cannot be told", self.problems.file()))
                };
                if pcap.interface().link_type != LinkType::LINUX_SLL2 {
                    return Err(refused(
                        "a pcap file does not say by which interface a frame came (pcapng does, \
                        and so does `tcpdump -i any -y LINUX_SLL2`)"
                            .into(),
                    ));
                }
                let Some(number) = only.number() else {
                    return Err(refused(
                        "a capture on `any` holds the numbers of interfaces, not their names \
                        (`ip link` on the capturing host shows both)"
                            .into(),
                    ));
                };
                pcap.want(Wanted::Index(number));
                Format::PcapOnly(pcap)
            }
        };
        Ok(self)
    }

    /// The next record if its time is below `until`. Damage is not an error: it is skipped, and stands in the
    /// [`summary`](Self::summary).
    #[inline]
    pub fn next(&mut self, until: i64) -> Next<'_> {
        match &mut self.format {
            Format::Pcap(pcap) => pcap.next(&mut self.input, &mut self.problems, until),
            Format::PcapNg(pcapng) => pcapng.next(&mut self.input, &mut self.problems, until),
            Format::PcapOnly(pcap) => pcap.next_wanted(&mut self.input, &mut self.problems, until),
            Format::PcapNgOnly(pcapng) => pcapng.next_wanted(&mut self.input, &mut self.problems, until),
        }
    }

    /// Shows the next records below `until`, at most `most`: what many calls of [`next`](Self::next) would give, for half the
    /// price. How many there were; fewer than `most` where `next` gives no record.
    #[inline]
    pub fn each(&mut self, until: i64, most: usize, mut show: impl FnMut(&Record<'_>)) -> usize {
        let mut count = 0;
        while count < most {
            if let Format::Pcap(pcap) = &mut self.format {
                count += pcap.each(&mut self.input, until, most - count, &mut show);
            }
            if count < most {
                let Next::Record(record) = self.next(until) else { break };
                show(&record);
                count += 1;
            }
        }
        count
    }

    /// Whether reading ended because the analysis is to end, not because the stream did.
    pub(crate) fn gave_up(&self) -> bool {
        self.input.gave_up()
    }

    /// Bytes of the stored input consumed so far, for a progress bar.
    pub fn position(&self) -> u64 {
        match &self.compression {
            Some((_, position)) => position.load(Ordering::Relaxed),
            None => self.input.offset(),
        }
    }

    /// Bytes of the capture consumed so far, decompressed.
    pub fn decoded_bytes(&self) -> u64 {
        self.input.offset()
    }

    /// Size of the stored input, when it is a file.
    pub fn input_size(&self) -> Option<u64> {
        self.input_size
    }

    /// What is known so far: complete once [`next`](Self::next) has said [`Next::End`].
    pub fn summary(&self) -> CaptureSummary {
        let format = match &self.format {
            Format::Pcap(_) | Format::PcapOnly(_) => "pcap",
            Format::PcapNg(_) | Format::PcapNgOnly(_) => "pcapng",
        };
        let mut summary = match &self.format {
            Format::Pcap(pcap) | Format::PcapOnly(pcap) => CaptureSummary {
                interfaces: vec![pcap.interface()],
                packets: pcap.packets(),
                ..CaptureSummary::default()
            },
            Format::PcapNg(pcapng) => pcapng.summary(),
            Format::PcapNgOnly(pcapng) => pcapng.summary_wanted(),
        };
        summary.format = match self.compression {
            Some((compression, _)) => format!("{format}+{}", compression.name()),
            None => format.to_owned(),
        };
        summary.truncated_at = self.problems.truncated_at();
        summary.problems = self.problems.list();
        summary
    }
}
