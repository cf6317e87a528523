//! Bounds on what a peer may make us hold. Every allocation that a length on the wire could steer is checked here first.

/// The largest RTMP message, in bytes. The 24-bit length field allows no more (RTMP 1.0 section 5.3.1.2.1); a 4K
/// keyframe passes 1 MiB, so a smaller bound would refuse real streams.
pub const MESSAGE_BYTES_MAX: usize = 0xFF_FFFF;

/// Half-received messages of one connection together, in bytes: one of the largest and a few usual ones.
pub const REASSEMBLY_BYTES_MAX: usize = 24 * 1024 * 1024;

/// The same before the peer was admitted: commands and metadata are small.
pub const REASSEMBLY_BYTES_MAX_UNADMITTED: usize = 256 * 1024;

/// Chunk stream ids one peer may use at once. Encoders use 3 to 6; a peer beyond this is not one.
pub const CHUNK_STREAMS_MAX: usize = 64;

/// The smallest chunk size that is honoured as it is; smaller ones cost more CPU than they carry (RTMP 1.0 section 5.4.1
/// allows 1, and it is obeyed, but only up to [`TINY_CHUNKS_MAX`] chunks).
pub const CHUNK_SIZE_SENSIBLE_MIN: usize = 64;

/// How many chunks below [`CHUNK_SIZE_SENSIBLE_MIN`] bytes a peer may send in one message.
pub const TINY_CHUNKS_MAX: usize = 65_536;

/// How deep AMF0 objects and arrays may nest.
pub const AMF_DEPTH_MAX: usize = 32;

/// How many values one AMF0 message may hold.
pub const AMF_VALUES_MAX: usize = 4_096;

/// The longest stream key, in bytes.
pub const STREAM_KEY_BYTES_MAX: usize = 1_024;
