//! What an input is by its first bytes, and what to tell a user whose input is no capture.

use super::input::Input;
use super::pcap::Pcap;
use super::pcapng::PcapNg;

/// What the first bytes say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Magic {
    Pcap,
    PcapNg,
    /// A capture perhaps, inside `gzip`, `zstd` or `lz4`.
    Compressed(Compression),
    Other,
}

/// Which compression an input has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Compression {
    Gzip,
    Zstd,
    Lz4,
}

impl Compression {
    /// By the first four bytes.
    pub(super) fn sniff(magic: [u8; 4]) -> Option<Self> {
        match magic {
            [0x1f, 0x8b, ..] => Some(Self::Gzip),
            [0x28, 0xb5, 0x2f, 0xfd] => Some(Self::Zstd),
            // The frame format, and the legacy one of `lz4 -l`.
            [0x04, 0x22, 0x4d, 0x18] | [0x02, 0x21, 0x4c, 0x18] => Some(Self::Lz4),
            _ => None,
        }
    }

    /// As in `pcap+gzip`.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
            Self::Lz4 => "lz4",
        }
    }

    /// Whether this build can read it.
    pub(super) const fn built_in(self) -> bool {
        match self {
            Self::Gzip => cfg!(feature = "gzip"),
            Self::Zstd => cfg!(feature = "zstd"),
            Self::Lz4 => cfg!(feature = "lz4"),
        }
    }

    /// Why an input is not read that this build cannot read.
    pub(super) fn refusal(self) -> String {
        let name = self.name();
        format!(
            "is compressed with {name}, which this build cannot read (its feature `{name}` is off): decompress it first with {name} -d"
        )
    }
}

/// Formats that are met by mistake, and what to do with them.
const KNOWN: &[(&[u8], &str)] = &[
    (b"\xfd7zXZ\0", "is compressed with xz: decompress it first with xz -d"),
    (b"BZh", "is compressed with bzip2: decompress it first with bzip2 -d"),
    (b"\x1f\x9d", "is compressed with compress: decompress it first with uncompress"),
    (b"PK\x03\x04", "is a zip archive: unpack it first with unzip"),
    (b"7z\xbc\xaf\x27\x1c", "is a 7z archive: unpack it first with 7z x"),
    (b"Rar!\x1a\x07", "is a rar archive: unpack it first"),
    (b"snoop\0\0\0", "is a snoop capture of Solaris: convert it first with editcap -F pcapng"),
    (b"btsnoop\0", "is a btsnoop capture of Bluetooth, which holds no network packets"),
    (b"GMBU", "is a capture of Microsoft Network Monitor: convert it first with editcap -F pcapng"),
    (b"RTSS", "is a capture of Microsoft Network Monitor: convert it first with editcap -F pcapng"),
    (b"TRSNIFF data    \x1a", "is a capture of NetXRay or Sniffer: convert it first with editcap -F pcapng"),
    (b"XCP\0", "is a capture of NetXRay or Sniffer: convert it first with editcap -F pcapng"),
    (b"iptrace ", "is an iptrace capture of AIX: convert it first with editcap -F pcapng"),
    (b"\x00\x05\x16\x07", "is a macOS resource fork (AppleDouble), not the capture of that name"),
    (b"\x7fELF", "is a program, not a capture"),
    (b"MZ", "is a Windows program, not a capture"),
    (b"SQLite format 3\0", "is an SQLite database, not a capture"),
];

/// Formats without a magic number, by the end of the file's name.
const BY_NAME: &[(&str, &str)] = &[
    (".etl", "is an event trace of Windows: convert it first with etl2pcapng or pktmon etl2pcap"),
    (".erf", "is an ERF capture of Endace: convert it first with editcap -F pcapng"),
];

/// What is read instead.
fn accepted() -> String {
    let all = [Compression::Gzip, Compression::Zstd, Compression::Lz4];
    let names: Vec<&str> = all.into_iter().filter(|one| one.built_in()).map(Compression::name).collect();
    let packed = match names.as_slice() {
        [] => String::new(),
        [one] => format!(", also compressed with {one}"),
        [others @ .., last] => format!(", also compressed with {} or {last}", others.join(", ")),
    };
    format!("pcapdiff reads pcap and pcapng{packed}")
}

/// Looks at the first four bytes and consumes none.
pub(super) fn magic(input: &mut Input) -> Magic {
    input.need(4);
    let Some(magic) = input.peek().first_chunk::<4>() else { return Magic::Other };
    if Pcap::sniff(*magic) {
        return Magic::Pcap;
    }
    if PcapNg::sniff(*magic) {
        return Magic::PcapNg;
    }
    Compression::sniff(*magic).map_or(Magic::Other, Magic::Compressed)
}

/// What bytes are that should be text: a capture given in the place of a log, or a packed log.
pub(crate) fn not_text(head: &[u8]) -> Option<String> {
    let magic = *head.first_chunk::<4>()?;
    if Pcap::sniff(magic) || PcapNg::sniff(magic) {
        return Some("is a packet capture".to_owned());
    }
    Compression::sniff(magic).map(|found| format!("is compressed with {}", found.name()))
}

/// Why an input named `name` is no capture, to follow its name and a colon.
pub(super) fn describe(input: &mut Input, name: &str) -> String {
    input.need(20);
    let bytes = &input.peek()[..input.peek().len().min(64)];
    if bytes.is_empty() {
        return "is empty: tcpdump writes the file header at once, so this capture never started".to_owned();
    }
    if let Some((_, reason)) = KNOWN.iter().find(|(magic, _)| bytes.starts_with(magic)) {
        return (*reason).to_owned();
    }
    let lower = name.to_ascii_lowercase();
    let lower = [".gz", ".zst", ".lz4"].iter().find_map(|end| lower.strip_suffix(end)).unwrap_or(&lower);
    if let Some((_, reason)) = BY_NAME.iter().find(|(end, _)| lower.ends_with(end)) {
        return (*reason).to_owned();
    }
    if let Some(text) = as_text(bytes) {
        if let Some(reason) = known_text(&text) {
            return reason.to_owned();
        }
        let text: String = text.chars().take(32).collect();
        return format!("is text that starts with {text:?}, not a capture; {}", accepted());
    }
    if bytes.iter().all(|&byte| byte == 0) {
        return format!("starts with zero bytes, not a capture; {}", accepted());
    }
    let hex: Vec<String> = bytes.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    format!("starts with bytes {}, not a capture; {}", hex.join(" "), accepted())
}

/// Texts that are met by mistake, by how their lines look, and what to do with them.
fn known_text(line: &str) -> Option<&'static str> {
    let holds = |parts: &[&str]| parts.iter().any(|part| line.contains(part));
    if holds(&["[NEW] ", "[UPDATE] ", "[DESTROY] "]) {
        return Some("is a log of `conntrack -E`, not a capture: name it behind --conntrack");
    }
    if holds(&[" IP ", " IP6 ", " ARP, "]) {
        return Some("is what tcpdump prints, not a capture: let it write one with tcpdump -w FILE");
    }
    let (key, _) = line.split_once(" = ")?;
    (key.contains('.') && !key.contains(' '))
        .then_some("is the output of `sysctl -a`, not a capture: name it behind --sysctl")
}

/// The first line, when the bytes look like text.
fn as_text(bytes: &[u8]) -> Option<String> {
    let text = match str::from_utf8(bytes) {
        Ok(text) => text,
        // A character cut by the end of the sample.
        Err(error) if error.error_len().is_none() => str::from_utf8(&bytes[..error.valid_up_to()]).ok()?,
        Err(_) => return None,
    };
    let printable = |c: char| !c.is_control() || matches!(c, '\n' | '\r' | '\t');
    if text.is_empty() || !text.chars().all(printable) {
        return None;
    }
    Some(text.trim_start_matches('\u{feff}').lines().next().unwrap_or_default().to_owned())
}
