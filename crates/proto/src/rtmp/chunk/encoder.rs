//! Encodes messages to chunks.
//!
//! Only the header of a message's first chunk ([`Encoder::header`]) depends on the connection, and it is often the same
//! for many connections. The rest, the payload with a one-byte type 3 header between chunks, depends only on payload,
//! chunk stream and chunk size: [`lay_out`] builds it once, and with [`super::SharedChunks`] every connection sends the
//! same bytes.
//!
//! This works because media is sent with deltas (type 1), which need no extended timestamp. An absolute time above 4 h
//! 39 m would put one into every type 3 chunk; [`Encoder::message`] handles that case for single messages.

use std::{array, num::NonZeroUsize};

use bytes::{BufMut, Bytes, BytesMut};

use super::format::{DEFAULT_CHUNK_SIZE, EXTENDED};
use crate::rtmp::message::{Message, MessageType};

/// One-byte chunk stream ids only; see [`super::csid`].
const CHUNK_STREAMS: usize = 8;
const HEADER_BYTES_MAX: usize = 16;

/// Writes the chunk headers of one connection.
#[derive(Clone, Debug)]
pub struct Encoder {
    chunk_size: NonZeroUsize,
    last: [Option<Last>; CHUNK_STREAMS],
}

/// The state of a chunk stream at the receiver.
#[derive(Clone, Copy, Debug)]
struct Last {
    timestamp: u32,
    stream_id: u32,
}

/// The header of a message's first chunk, 8 to 16 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    bytes: [u8; HEADER_BYTES_MAX],
    len: usize,
    extended: Option<u32>,
}

impl Header {
    /// The bytes to send before the payload.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    /// The chunk stream.
    fn csid(&self) -> u8 {
        self.bytes[0] & 0x3F
    }

    /// The extended timestamp that every type 3 chunk of the message must repeat, if there is one. The output of
    /// [`lay_out`] cannot be used then.
    pub fn extended(&self) -> Option<u32> {
        self.extended
    }
}

impl Default for Encoder {
    fn default() -> Self {
        const DEFAULT: NonZeroUsize = NonZeroUsize::new(DEFAULT_CHUNK_SIZE).expect("is not zero");
        Self { chunk_size: DEFAULT, last: array::from_fn(|_| None) }
    }
}

impl Encoder {
    /// Sets the chunk size for the following chunks, in bytes. The peer must have been sent `SetChunkSize`.
    pub fn set_chunk_size(&mut self, bytes: NonZeroUsize) {
        self.chunk_size = bytes;
    }

    /// The current chunk size, in bytes.
    pub fn chunk_size(&self) -> NonZeroUsize {
        self.chunk_size
    }

    /// The header of the first chunk of a message with `length` payload bytes on chunk stream `csid` (2 to 7). Type 1
    /// with a delta if the chunk stream was used before and time does not go back, else type 0 (RTMP 1.0 section
    /// 5.3.1.2.1).
    pub fn header(&mut self, csid: u8, kind: MessageType, stream_id: u32, timestamp: u32, length: usize) -> Header {
        let slot = self.last.get_mut(usize::from(csid));
        let last = slot.as_ref().and_then(|slot| slot.as_ref()).filter(|last| last.stream_id == stream_id);
        let delta = last.map(|last| timestamp.wrapping_sub(last.timestamp)).filter(|&delta| delta < EXTENDED);
        let mut out = HeaderWriter::default();
        let (fmt, time) = delta.map_or((0, timestamp), |delta| (1, delta));
        let extended = (time >= EXTENDED).then_some(time);
        out.put(&[fmt << 6 | csid]);
        out.put(&time.min(EXTENDED).to_be_bytes()[1..]);
        out.put(&(length as u32).to_be_bytes()[1..]);
        out.put(&[kind.id()]);
        if fmt == 0 {
            out.put(&stream_id.to_le_bytes());
        }
        if let Some(time) = extended {
            out.put(&time.to_be_bytes());
        }
        if let Some(slot) = slot {
            *slot = Some(Last { timestamp, stream_id });
        }
        Header { bytes: out.bytes, len: out.len, extended }
    }

    /// Appends a whole message in chunks.
    pub fn message(&mut self, csid: u8, message: &Message, out: &mut BytesMut) {
        let Message { kind, stream_id, timestamp, payload } = message;
        let header = self.header(csid, *kind, *stream_id, *timestamp, payload.len());
        out.put_slice(header.as_bytes());
        for (index, chunk) in payload.chunks(self.chunk_size.get()).enumerate() {
            if index > 0 {
                out.put_u8(3 << 6 | csid);
                // Repeated in every type 3 chunk (section 5.3.1.3).
                if let Some(time) = header.extended {
                    out.put_u32(time);
                }
            }
            out.put_slice(chunk);
        }
    }
}

/// A whole message in chunks: the header, and the payload with type 3 headers between chunks. [`Header`] must not have
/// an extended timestamp.
pub fn lay_out(header: &Header, payload: &[u8], chunk_size: NonZeroUsize) -> Bytes {
    let between = 3 << 6 | header.csid();
    let mut message = BytesMut::with_capacity(header.len + payload.len() + payload.len() / chunk_size.get());
    message.put_slice(header.as_bytes());
    for (index, chunk) in payload.chunks(chunk_size.get()).enumerate() {
        if index > 0 {
            message.put_u8(between);
        }
        message.put_slice(chunk);
    }
    message.freeze()
}

#[derive(Default)]
struct HeaderWriter {
    bytes: [u8; HEADER_BYTES_MAX],
    len: usize,
}

impl HeaderWriter {
    fn put(&mut self, bytes: &[u8]) {
        self.bytes[self.len..self.len + bytes.len()].copy_from_slice(bytes);
        self.len += bytes.len();
    }
}
