//! Constants of the chunk format for both directions.

/// The chunk size that both ends start with, in bytes (RTMP 1.0 section 5.4.1).
pub const DEFAULT_CHUNK_SIZE: usize = 128;
/// Value of the 3-byte time field if a 4-byte extended timestamp follows.
pub(super) const EXTENDED: u32 = 0xFF_FFFF;
