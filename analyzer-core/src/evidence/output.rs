//! Frames as pcapng, with the interfaces that they came by and words about them.

use super::Held;
use crate::capture::Interface;
use crate::error::Error;
use pcap_file::DataLink;
use pcap_file::pcapng::blocks::enhanced_packet::{EnhancedPacketBlock, EnhancedPacketOption};
use pcap_file::pcapng::blocks::interface_description::{
    InterfaceDescriptionBlock, InterfaceDescriptionOption, InterfaceTsResolution,
};
use pcap_file::pcapng::blocks::interface_statistics::{InterfaceStatisticsBlock, InterfaceStatisticsOption};
use pcap_file::pcapng::blocks::opt_common::CommonOption;
use pcap_file::pcapng::blocks::section_header::{SectionHeaderBlock, SectionHeaderOption};
use pcap_file::pcapng::{PcapNgBlock, PcapNgWriteError, PcapNgWriter};
use std::borrow::Cow;
use std::io::{self, BufWriter, Write};
use std::time::Duration;

/// Longest comment; an option holds at most 65,535 bytes.
const MAX_COMMENT: usize = 4000;

/// One pcapng file that is being written.
pub(super) struct Output<W: Write> {
    writer: PcapNgWriter<BufWriter<W>>,
    interfaces: u32,
}

impl<W: Write> Output<W> {
    /// Begins the file with a comment on the whole of it.
    pub(super) fn new(writer: W, comment: &str) -> Result<Self, Error> {
        let application = concat!("pcapdiff ", env!("CARGO_PKG_VERSION"));
        let header = SectionHeaderBlock {
            options: vec![
                SectionHeaderOption::Common(self::comment(comment)),
                SectionHeaderOption::UserApplication(application.into()),
            ],
            ..SectionHeaderBlock::default()
        };
        let writer = PcapNgWriter::with_section_header(BufWriter::new(writer), header).map_err(failed)?;
        Ok(Self { writer, interfaces: 0 })
    }

    /// Describes an interface, and returns its number.
    pub(super) fn interface(&mut self, interface: &Interface) -> Result<u32, Error> {
        let mut options = Vec::new();
        if !interface.name.is_empty() {
            options.push(InterfaceDescriptionOption::IfName(Cow::Borrowed(&interface.name)));
        }
        if !interface.description.is_empty() {
            options.push(InterfaceDescriptionOption::IfDescription(Cow::Borrowed(&interface.description)));
        }
        options.push(InterfaceDescriptionOption::IfTsResol(InterfaceTsResolution::NANO));
        if !interface.filter.is_empty() {
            // The octet before it says that it is text.
            options.push(InterfaceDescriptionOption::IfFilter(Cow::Owned(format!("\0{}", interface.filter).into())));
        }
        if interface.fcs_len > 0 {
            options.push(InterfaceDescriptionOption::IfFcsLen(interface.fcs_len));
        }
        let link_type = DataLink::from(u32::from(interface.link_type.0));
        self.block(InterfaceDescriptionBlock { linktype: link_type, snaplen: interface.snaplen, options })?;
        self.interfaces += 1;
        Ok(self.interfaces - 1)
    }

    /// Writes a frame at a time that may not be its own.
    pub(super) fn packet<'a>(
        &mut self,
        interface: u32,
        record: &Held,
        time: i64,
        comments: impl Iterator<Item = &'a str>,
    ) -> Result<(), Error> {
        self.block(EnhancedPacketBlock {
            interface_id: interface,
            timestamp: moment(time),
            original_len: record.wirelen.max(record.data.len() as u32),
            data: Cow::Borrowed(&record.data),
            options: comments.map(|text| EnhancedPacketOption::Common(comment(text))).collect(),
        })
    }

    /// Writes what the original said of packets that were dropped, if it said anything.
    pub(super) fn statistics(&mut self, number: u32, interface: &Interface, time: i64) -> Result<(), Error> {
        let options: Vec<_> = [
            interface.received.map(InterfaceStatisticsOption::IsbIfRecv),
            interface.dropped.map(InterfaceStatisticsOption::IsbIfDrop),
            interface.dropped_by_os.map(InterfaceStatisticsOption::IsbOsDrop),
        ]
        .into_iter()
        .flatten()
        .collect();
        if options.is_empty() {
            return Ok(());
        }
        self.block(InterfaceStatisticsBlock { interface_id: number, timestamp: moment(time), options })
    }

    /// Ends the file.
    pub(super) fn finish(mut self) -> Result<(), Error> {
        self.writer.get_mut().flush().map_err(Error::Output)
    }

    fn block<'a>(&mut self, block: impl PcapNgBlock<'a>) -> Result<(), Error> {
        self.writer.write_pcapng_block(block).map(drop).map_err(failed)
    }
}

/// Stamps are unsigned.
fn moment(time: i64) -> Duration {
    Duration::from_nanos(time.max(0).unsigned_abs())
}

fn comment(text: &str) -> CommonOption<'_> {
    let mut end = text.len().min(MAX_COMMENT);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    CommonOption::Comment(Cow::Borrowed(&text[..end]))
}

fn failed(error: PcapNgWriteError) -> Error {
    Error::Output(match error {
        PcapNgWriteError::Io(error) => error,
        other => io::Error::new(io::ErrorKind::InvalidData, other),
    })
}
