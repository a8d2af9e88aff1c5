//! One capture point out of a file that holds several: a pcapng interface, or an interface number of a capture on `any`.

use super::{CaptureReader, CaptureSummary, Interface, LinkType, Next};
use crate::Error;
use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

/// Frames looked at to tell the interfaces of a file apart.
const LOOK: u64 = 1 << 20;

/// The interface wanted: by name or description, by its number in the file as Wireshark counts (`frame.interface_id`, from
/// 0), or, for cooked captures on `any`, by the number that the system gave it (`ip link`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Only {
    text: String,
    number: Option<u32>,
}

/// What is wanted of the frames of one pcapng interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    All,
    None,
    /// Those that came by the interface of this number.
    Index(u32),
}

impl Wanted {
    /// Whether a frame is among them.
    pub(super) fn has(self, data: &[u8]) -> bool {
        match self {
            Self::All => true,
            Self::None => false,
            Self::Index(number) => cooked_interface(data) == Some(number),
        }
    }
}

impl Only {
    /// As the user wrote it.
    pub fn new(text: &str) -> Self {
        Self { text: text.to_owned(), number: text.parse().ok() }
    }

    /// What is wanted of a pcapng interface that is the file's `id`th.
    pub(super) fn of(&self, interface: &Interface, id: u32) -> Wanted {
        if let Some(number) = self.number
            && interface.link_type == LinkType::LINUX_SLL2
        {
            return Wanted::Index(number);
        }
        let named = !self.text.is_empty() && (interface.name == self.text || interface.description == self.text);
        if named || self.number == Some(id) { Wanted::All } else { Wanted::None }
    }

    /// The interface's number in a cooked capture, the only name that it has there.
    pub(super) fn number(&self) -> Option<u32> {
        self.number
    }
}

impl fmt::Display for Only {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// The number of the interface that a frame of a capture on `any` came by, of link type `LINUX_SLL2`.
pub(super) fn cooked_interface(data: &[u8]) -> Option<u32> {
    data.get(4..)?.first_chunk().map(|number| u32::from_be_bytes(*number))
}

/// An interface with traffic, as a user can name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its number in the file, or the system's in a cooked capture.
    pub number: u32,
    /// Its name; empty when the file does not say.
    pub name: String,
    /// Frames seen of it.
    pub packets: u64,
}

impl fmt::Display for Listed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.name.is_empty() {
            write!(f, "number {}", self.number)?;
        } else {
            write!(f, "{} {}", self.number, self.name)?;
        }
        write!(f, " ({} {})", self.packets, if self.packets == 1 { "packet" } else { "packets" })
    }
}

/// The interfaces with traffic of a capture, by number; of a very large one as far as its first million frames show.
pub fn interfaces(path: &Path) -> Result<Vec<Listed>, Error> {
    let mut reader = CaptureReader::open(path)?;
    let mut cooked: BTreeMap<u32, u64> = BTreeMap::new();
    let mut frames = 0;
    while frames < LOOK
        && let Next::Record(record) = reader.next(i64::MAX)
    {
        frames += 1;
        if record.link_type == LinkType::LINUX_SLL2
            && let Some(number) = cooked_interface(record.data)
        {
            *cooked.entry(number).or_default() += 1;
        }
    }
    let CaptureSummary { interfaces, .. } = reader.summary();
    let own = interfaces
        .into_iter()
        .zip(0..)
        .filter(|(interface, _)| interface.packets > 0 && interface.link_type != LinkType::LINUX_SLL2)
        .map(|(interface, number)| {
            let name = if interface.name.is_empty() { interface.description } else { interface.name };
            Listed { number, name, packets: interface.packets }
        });
    Ok(own.chain(cooked.into_iter().map(|(number, packets)| Listed { number, name: String::new(), packets })).collect())
}
