//! Spanning tree frames (IEEE 802.1D-2004, section 9.3).

use super::detail::Bpdu;
use super::span::Span;

/// Reads a BPDU behind its LLC header. A topology change notification has nothing but a type.
#[cold]
pub(super) fn read(span: Span<'_>) -> Option<Bpdu> {
    const SPANNING_TREE: u16 = 0;
    if span.be16(0)? != SPANNING_TREE {
        return None;
    }
    Some(Bpdu {
        bpdu_type: span.byte(3)?,
        flags: span.byte(4).unwrap_or(0),
        root: span.be64(5).unwrap_or(0),
        bridge: span.be64(17).unwrap_or(0),
    })
}
