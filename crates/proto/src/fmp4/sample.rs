//! A sample: one access unit in a file.

use bytes::Bytes;

/// sample_flags (ISO 14496-12 section 8.8.3.1) of a sample that depends on no other.
pub(super) const SYNC: u32 = 0x0200_0000;
/// sample_flags of a dependent sample: sample_depends_on 1, sample_is_non_sync_sample.
pub(super) const NON_SYNC: u32 = 0x0101_0000;

/// One access unit. Times are ticks of its track.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    /// Decode time.
    pub dts: i64,
    /// Time until the next sample.
    pub duration: u32,
    /// Presentation time minus decode time; may be negative.
    pub composition: i32,
    /// Decoding can start here.
    pub sync: bool,
    /// The payload, a slice of the packet's.
    pub payload: Bytes,
}
