//! Bounds on memory that a peer can make us allocate. Every allocation whose size depends on a length field is checked
//! against these first.

/// The largest RTMP message, in bytes. The 24-bit length field allows no more (RTMP 1.0 section 5.3.1.2.1). A 4K
/// keyframe exceeds 1 MiB, so a smaller bound would refuse real streams.
pub const MESSAGE_BYTES_MAX: usize = 0xFF_FFFF;

/// All partially received messages of a connection together, in bytes: one of maximum size and a few of usual size.
pub const REASSEMBLY_BYTES_MAX: usize = 24 * 1024 * 1024;

/// The same bound before the peer is admitted: commands and metadata are small.
pub const REASSEMBLY_BYTES_MAX_UNADMITTED: usize = 256 * 1024;

/// Chunk streams that a peer may use at once. Encoders use 3 to 6.
pub const CHUNK_STREAMS_MAX: usize = 64;

/// Smaller chunk sizes cost more CPU than the data is worth, in bytes. RTMP 1.0 section 5.4.1 allows 1, so they are
/// accepted, but only for [`TINY_CHUNKS_MAX`] chunks.
pub const CHUNK_SIZE_SENSIBLE_MIN: usize = 64;

/// Chunks smaller than [`CHUNK_SIZE_SENSIBLE_MIN`] bytes that a peer may send in one message.
pub const TINY_CHUNKS_MAX: usize = 65_536;

/// Maximum nesting depth of AMF0 objects and arrays.
pub const AMF_DEPTH_MAX: usize = 32;

/// Maximum number of values in an AMF0 message.
pub const AMF_VALUES_MAX: usize = 4_096;

/// The longest stream key, in bytes.
pub const STREAM_KEY_BYTES_MAX: usize = 1_024;
