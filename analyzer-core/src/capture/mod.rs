//! Bytes → records: sniffs the format, reads with large reused buffers, lends each record as a borrowed slice.

/// The libpcap link-layer header type of an interface (`DLT_*` / `LINKTYPE_*` number).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkType(pub u16);

/// One captured frame, borrowed from the reader's buffer.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// Time stamp, nanoseconds since 1970 in the capture's clock.
    pub time: i64,
    /// 1-based number in the capture.
    pub frame: u32,
    /// Length on the wire.
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
