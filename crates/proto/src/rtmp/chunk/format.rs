//! Numbers of the chunk format that both directions need.

/// The chunk size both ends start with (RTMP 1.0 section 5.4.1).
pub const DEFAULT_CHUNK_SIZE: usize = 128;
/// In the 3-byte time field: the time follows in 4 bytes.
pub(super) const EXTENDED: u32 = 0xFF_FFFF;
