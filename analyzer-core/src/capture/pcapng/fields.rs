//! Numbers in either byte order, options, and text.

/// Longest text kept of an option, in bytes.
const MAX_TEXT: usize = 1024;

/// The options of a block: code and value. They end at `opt_endofopt`, at the end of the block, or where one does not
/// fit.
pub(super) struct Options<'a> {
    bytes: &'a [u8],
    swapped: bool,
}

impl<'a> Options<'a> {
    pub(super) fn new(block: &'a [u8], from: usize, swapped: bool) -> Self {
        Self { bytes: block.get(from..).unwrap_or_default(), swapped }
    }
}

impl<'a> Iterator for Options<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let head = self.bytes.first_chunk::<4>()?;
        let (code, length) = (half(head, 0, self.swapped), usize::from(half(head, 2, self.swapped)));
        if code == 0 {
            return None;
        }
        let value = self.bytes.get(4..4 + length)?;
        self.bytes = self.bytes.get(4 + length.next_multiple_of(4)..).unwrap_or_default();
        Some((code, value))
    }
}

/// Text of an option: some writers end it with zero bytes, and not all keep to UTF-8.
pub(super) fn text(value: &[u8]) -> String {
    let value = &value[..value.len().min(MAX_TEXT)];
    String::from_utf8_lossy(value).trim_end_matches('\0').to_owned()
}

#[inline]
pub(super) fn word(bytes: &[u8], at: usize, swapped: bool) -> u32 {
    let word = u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
    if swapped { word.swap_bytes() } else { word }
}

pub(super) fn half(bytes: &[u8], at: usize, swapped: bool) -> u16 {
    let half = u16::from_le_bytes([bytes[at], bytes[at + 1]]);
    if swapped { half.swap_bytes() } else { half }
}

/// Of exactly eight bytes; 0 for others.
pub(super) fn long(bytes: &[u8], swapped: bool) -> u64 {
    let Ok(bytes) = bytes.try_into() else { return 0 };
    if swapped { u64::from_be_bytes(bytes) } else { u64::from_le_bytes(bytes) }
}
