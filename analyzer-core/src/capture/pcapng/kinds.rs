//! The types of blocks, and the numbers that tell where one stands.

pub(super) const SECTION_HEADER: u32 = 0x0a0d_0d0a;
pub(super) const INTERFACE_DESCRIPTION: u32 = 1;
/// The obsolete one: as an enhanced packet, but for a 16-bit interface and a 16-bit count of drops.
pub(super) const PACKET: u32 = 2;
pub(super) const SIMPLE_PACKET: u32 = 3;
pub(super) const NAME_RESOLUTION: u32 = 4;
pub(super) const INTERFACE_STATISTICS: u32 = 5;
pub(super) const ENHANCED_PACKET: u32 = 6;
pub(super) const SYSTEMD_JOURNAL: u32 = 9;
pub(super) const DECRYPTION_SECRETS: u32 = 10;
pub(super) const CUSTOM: u32 = 0x0bad;
pub(super) const CUSTOM_NO_COPY: u32 = 0x4000_0bad;

pub(super) const BYTE_ORDER_MAGIC: u32 = 0x1a2b_3c4d;
