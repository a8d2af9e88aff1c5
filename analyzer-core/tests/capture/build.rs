//! Captures built byte by byte, in either byte order.

#![expect(clippy::needless_pass_by_value, reason = "captures are written down without borrowing each part")]

/// Bytes in one byte order.
#[derive(Clone)]
pub(crate) struct Bytes {
    pub(crate) big: bool,
    pub(crate) bytes: Vec<u8>,
}

impl Bytes {
    pub(crate) fn new(big: bool) -> Self {
        Self { big, bytes: Vec::new() }
    }

    pub(crate) fn half(mut self, value: u16) -> Self {
        self.bytes.extend(if self.big { value.to_be_bytes() } else { value.to_le_bytes() });
        self
    }

    pub(crate) fn word(mut self, value: u32) -> Self {
        self.bytes.extend(if self.big { value.to_be_bytes() } else { value.to_le_bytes() });
        self
    }

    pub(crate) fn long(mut self, value: u64) -> Self {
        self.bytes.extend(if self.big { value.to_be_bytes() } else { value.to_le_bytes() });
        self
    }

    pub(crate) fn raw(mut self, value: &[u8]) -> Self {
        self.bytes.extend(value);
        self
    }

    pub(crate) fn padded(mut self, value: &[u8]) -> Self {
        self.bytes.extend(value);
        self.bytes.resize(self.bytes.len() + (4 - value.len() % 4) % 4, 0);
        self
    }

    /// A pcapng option.
    pub(crate) fn option(self, code: u16, value: &[u8]) -> Self {
        self.half(code).half(value.len() as u16).padded(value)
    }
}

/// A pcapng block with equal lengths at both ends.
pub(crate) fn block(kind: u32, body: &Bytes) -> Vec<u8> {
    let length = body.bytes.len() as u32 + 12;
    Bytes::new(body.big).word(kind).word(length).raw(&body.bytes).word(length).bytes
}

/// A section header without options.
pub(crate) fn section(big: bool) -> Vec<u8> {
    section_with(Bytes::new(big))
}

/// A section header.
pub(crate) fn section_with(options: Bytes) -> Vec<u8> {
    let body = Bytes::new(options.big).word(0x1a2b_3c4d).half(1).half(0).long(u64::MAX).raw(&options.bytes);
    block(0x0a0d_0d0a, &body)
}

/// An interface description.
pub(crate) fn interface(link_type: u16, snaplen: u32, options: Bytes) -> Vec<u8> {
    block(1, &Bytes::new(options.big).half(link_type).half(0).word(snaplen).raw(&options.bytes))
}

/// An enhanced packet without options.
pub(crate) fn enhanced(big: bool, interface: u32, ticks: u64, data: &[u8]) -> Vec<u8> {
    enhanced_with(interface, ticks, data, Bytes::new(big))
}

/// An enhanced packet.
pub(crate) fn enhanced_with(interface: u32, ticks: u64, data: &[u8], options: Bytes) -> Vec<u8> {
    let length = data.len() as u32;
    let body = Bytes::new(options.big).word(interface).word((ticks >> 32) as u32).word(ticks as u32);
    block(6, &body.word(length).word(length).padded(data).raw(&options.bytes))
}

/// A pcap file header of version 2.4.
pub(crate) fn pcap_header(big: bool, magic: u32, snaplen: u32, network: u32) -> Vec<u8> {
    Bytes::new(big).word(magic).half(2).half(4).word(0).word(0).word(snaplen).word(network).bytes
}

/// A pcap record.
pub(crate) fn record(big: bool, seconds: u32, fraction: u32, wirelen: u32, data: &[u8]) -> Vec<u8> {
    Bytes::new(big).word(seconds).word(fraction).word(data.len() as u32).word(wirelen).raw(data).bytes
}

/// A small pcap capture of `count` records of growing length, one a second.
pub(crate) fn small_pcap(count: u32) -> Vec<u8> {
    let mut bytes = pcap_header(false, 0xa1b2_c3d4, 65535, 1);
    for nth in 0..count {
        let data = vec![nth as u8 | 1; 20 + nth as usize % 50];
        bytes.extend(record(false, 1_700_000_000 + nth, nth, data.len() as u32, &data));
    }
    bytes
}

/// A small pcapng capture of `count` packets of growing length, one a second.
pub(crate) fn small_pcapng(count: u32) -> Vec<u8> {
    let mut bytes = section(false);
    bytes.extend(interface(1, 65535, Bytes::new(false)));
    for nth in 0..count {
        let data = vec![nth as u8 | 1; 20 + nth as usize % 50];
        bytes.extend(enhanced(false, 0, (1_700_000_000 + u64::from(nth)) * 1_000_000, &data));
    }
    bytes
}
