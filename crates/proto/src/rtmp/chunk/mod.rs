//! Chunk streams (RTMP 1.0 section 5.3): how messages are cut into chunks, interleaved and put back together.
//!
//! ```text
//! basic header    1-3 bytes   fmt (2 bits) and chunk stream id
//! message header  11/7/3/0    fmt 0: timestamp(3) length(3) type(1) message stream id(4, little endian)
//!                             fmt 1: delta(3) length(3) type(1)   fmt 2: delta(3)   fmt 3: nothing
//! extended time   0 or 4      when the 3-byte time field is 0xFFFFFF
//! ```

mod arena;
mod decoder;
mod encoder;
mod shared;

pub use decoder::{Bounds, Decoder, Error};
pub use encoder::{Encoder, Header, lay_out};
pub use shared::SharedChunks;

/// The chunk size both ends start with (RTMP 1.0 section 5.4.1).
pub const DEFAULT_CHUNK_SIZE: usize = 128;
/// In the 3-byte time field: the time follows in 4 bytes.
const EXTENDED: u32 = 0xFF_FFFF;

/// The chunk streams that we send on. All stay below 8: nginx-rtmp refuses 32 and more.
pub mod csid {
    /// Protocol control (fixed by RTMP 1.0 section 5.4).
    pub const CONTROL: u8 = 2;
    /// Commands.
    pub const COMMAND: u8 = 3;
    /// Audio and data.
    pub const AUDIO: u8 = 4;
    /// Commands on a message stream: publish, play, onStatus.
    pub const STREAM: u8 = 5;
    /// Video.
    pub const VIDEO: u8 = 6;
    /// Metadata.
    pub const DATA: u8 = 7;
}

#[cfg(test)]
mod tests;
