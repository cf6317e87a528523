//! Chunk streams (RTMP 1.0 section 5.3): messages are split into chunks, interleaved and reassembled.
//!
//! ```text
//! basic header    1-3 bytes   fmt (2 bits) and chunk stream id
//! message header  11/7/3/0    fmt 0: timestamp(3) length(3) type(1) message stream id(4, little endian)
//!                             fmt 1: delta(3) length(3) type(1)   fmt 2: delta(3)   fmt 3: nothing
//! extended time   0 or 4      if the 3-byte time field is 0xFFFFFF
//! ```

mod arena;
pub mod csid;
mod decoder;
mod encoder;
mod format;
mod shared;

pub use decoder::{Bounds, Decoder, Error};
pub use encoder::{Encoder, Header, lay_out};
pub use format::DEFAULT_CHUNK_SIZE;
pub use shared::SharedChunks;

#[cfg(test)]
mod tests;
