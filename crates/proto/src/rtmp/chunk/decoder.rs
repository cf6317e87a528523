//! Decodes chunks to messages.
//!
//! Payload bytes are copied once, from the read buffer into the message's own buffer. The decoder accepts everything
//! that real encoders send: any chunk stream id, compressed headers on a new chunk stream, restarted messages, and
//! extended timestamps with and without repetition. It is strict about memory.

use std::collections::HashMap;

use bytes::{BufMut, BytesMut};

use super::{
    arena::Arena,
    format::{DEFAULT_CHUNK_SIZE, EXTENDED},
};
use crate::{
    limits,
    rtmp::message::{Message, MessageType},
};

/// Basic header (3), message header (11), extended timestamp (4).
const HEADER_BYTES_MAX: usize = 18;
/// Bytes reserved for a message before any of it arrived; more as bytes arrive.
const FIRST_RESERVE: usize = 64 * 1024;

/// Why a connection cannot continue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The message length exceeds the bound.
    #[error("a message of {0} bytes is too large")]
    MessageTooLarge(usize),
    /// The partially received messages together exceed the bound.
    #[error("too many half-sent messages")]
    ReassemblyFull,
    /// More chunk streams than any encoder uses.
    #[error("too many chunk streams")]
    ChunkStreams,
    /// Too many tiny chunks in one message.
    #[error("too many tiny chunks")]
    TinyChunks,
    /// A chunk size of 0 or with the top bit set (RTMP 1.0 section 5.4.1).
    #[error("chunk size {0} is not allowed")]
    ChunkSize(u32),
}

/// How much memory a peer can make us allocate.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// The longest message, in bytes.
    pub message_bytes: usize,
    /// Partially received messages together, in bytes.
    pub reassembly_bytes: usize,
}

impl Bounds {
    /// Bounds for a peer that is not authenticated.
    pub const UNADMITTED: Self = Self {
        message_bytes: limits::REASSEMBLY_BYTES_MAX_UNADMITTED,
        reassembly_bytes: limits::REASSEMBLY_BYTES_MAX_UNADMITTED,
    };
    /// Bounds for a peer that may publish, or that we connected to.
    pub const ADMITTED: Self =
        Self { message_bytes: limits::MESSAGE_BYTES_MAX, reassembly_bytes: limits::REASSEMBLY_BYTES_MAX };
}

/// Reassembles messages from chunks.
#[derive(Debug)]
pub struct Decoder {
    bounds: Bounds,
    chunk_size: usize,
    streams: HashMap<u32, ChunkStream>,
    held_bytes: usize,
    arena: Arena,
    header: HeaderBuffer,
    /// The chunk whose payload is being read: its chunk stream and the number of missing bytes.
    payload: Option<(u32, usize)>,
}

/// The header bytes of the chunk being read. The network may split chunks anywhere.
#[derive(Debug, Default)]
struct HeaderBuffer {
    bytes: [u8; HEADER_BYTES_MAX],
    len: usize,
}

#[derive(Debug, Default)]
struct ChunkStream {
    timestamp: u32,
    /// Added by a type 3 chunk that begins a message.
    delta: u32,
    length: usize,
    kind: u8,
    stream_id: u32,
    /// The extended timestamp of the last type 0, 1 or 2 chunk.
    extended: Option<u32>,
    partial: Option<Partial>,
}

#[derive(Debug)]
struct Partial {
    payload: BytesMut,
    tiny_chunks: usize,
}

/// A parsed header, before it is applied to its chunk stream.
struct Parsed {
    fmt: u8,
    csid: u32,
    time: u32,
    extended: bool,
    length: usize,
    kind: u8,
    stream_id: u32,
    /// Bytes at the end of the header buffer that are payload.
    surplus: usize,
}

impl Decoder {
    /// A decoder for a new connection.
    pub fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            chunk_size: DEFAULT_CHUNK_SIZE,
            streams: HashMap::new(),
            held_bytes: 0,
            arena: Arena::default(),
            header: HeaderBuffer::default(),
            payload: None,
        }
    }

    /// Changes the bounds, after the peer was admitted.
    pub fn set_bounds(&mut self, bounds: Bounds) {
        self.bounds = bounds;
    }

    /// Applies a `SetChunkSize` to the chunks that follow. Sizes above the largest message are limited to it.
    pub fn set_chunk_size(&mut self, bytes: u32) -> Result<(), Error> {
        if bytes == 0 || bytes > 0x7FFF_FFFF {
            return Err(Error::ChunkSize(bytes));
        }
        self.chunk_size = (bytes as usize).min(limits::MESSAGE_BYTES_MAX);
        Ok(())
    }

    /// Applies an `Abort`: drops the partially received message of the chunk stream.
    pub fn abort(&mut self, csid: u32) {
        if let Some(stream) = self.streams.get_mut(&csid) {
            drop_partial(stream, &mut self.held_bytes);
        }
    }

    /// Bytes of partially received messages.
    pub fn held_bytes(&self) -> usize {
        self.held_bytes
    }

    /// Consumes `input` up to the end of the next message. `None` if all input was consumed. Handle the message before
    /// the next call: a chunk size in it applies from the next byte on.
    pub fn decode(&mut self, input: &mut &[u8]) -> Result<Option<Message>, Error> {
        loop {
            if let Some((csid, missing)) = self.payload {
                let took = self.take_payload(csid, missing, input)?;
                if took < missing {
                    self.payload = Some((csid, missing - took));
                    return Ok(None);
                }
                self.payload = None;
                if let Some(message) = self.finish_chunk(csid) {
                    return Ok(Some(message));
                }
            }
            let Some(parsed) = self.read_header(input) else { return Ok(None) };
            let surplus = parsed.surplus;
            let csid = parsed.csid;
            let chunk = self.begin_chunk(parsed)?;
            self.payload = Some((csid, chunk));
            // Payload bytes that were read as a possible extended timestamp.
            let held = self.header.bytes;
            let end = self.header.len;
            self.header.len = 0;
            let mut early = &held[end - surplus..end];
            let took = self.take_payload(csid, chunk, &mut early)?;
            self.payload = Some((csid, chunk - took));
            if !early.is_empty() {
                // The chunk is shorter than those bytes: the rest begins the next header.
                self.header.bytes[..early.len()].copy_from_slice(early);
                self.header.len = early.len();
            }
        }
    }

    /// Reads until the header is complete.
    fn read_header(&mut self, input: &mut &[u8]) -> Option<Parsed> {
        loop {
            let have = &self.header.bytes[..self.header.len];
            let needed = match parse_header(have, &self.streams) {
                Ok(parsed) => return Some(parsed),
                Err(needed) => needed,
            };
            let missing = needed.saturating_sub(self.header.len).max(1);
            let (taken, rest) = input.split_at(input.len().min(missing));
            self.header.bytes[self.header.len..self.header.len + taken.len()].copy_from_slice(taken);
            self.header.len += taken.len();
            *input = rest;
            if taken.is_empty() {
                return None;
            }
        }
    }

    /// Applies a header to its chunk stream. Returns the number of payload bytes in the chunk.
    fn begin_chunk(&mut self, parsed: Parsed) -> Result<usize, Error> {
        if !self.streams.contains_key(&parsed.csid) && self.streams.len() >= limits::CHUNK_STREAMS_MAX {
            return Err(Error::ChunkStreams);
        }
        let stream = self.streams.entry(parsed.csid).or_default();
        let continues = parsed.fmt == 3 && stream.partial.is_some();
        if !continues {
            drop_partial(stream, &mut self.held_bytes);
            stream.apply(&parsed);
            if stream.length > self.bounds.message_bytes {
                return Err(Error::MessageTooLarge(stream.length));
            }
            let bytes = stream.length.min(FIRST_RESERVE);
            // Short-lived messages must not share a block with media, which is held longer.
            let is_kept = MessageType::from_id(stream.kind).is_media();
            let payload = if is_kept { self.arena.take(bytes) } else { BytesMut::with_capacity(bytes) };
            stream.partial = Some(Partial { payload, tiny_chunks: 0 });
        }
        let Some(partial) = &mut stream.partial else { return Ok(0) };
        let chunk = self.chunk_size.min(stream.length - partial.payload.len());
        if self.chunk_size < limits::CHUNK_SIZE_SENSIBLE_MIN {
            partial.tiny_chunks += 1;
            if partial.tiny_chunks > limits::TINY_CHUNKS_MAX {
                return Err(Error::TinyChunks);
            }
        }
        Ok(chunk)
    }

    fn take_payload(&mut self, csid: u32, missing: usize, input: &mut &[u8]) -> Result<usize, Error> {
        let (taken, rest) = input.split_at(input.len().min(missing));
        *input = rest;
        let Some(stream) = self.streams.get_mut(&csid) else { return Ok(taken.len()) };
        if let Some(partial) = stream.partial.as_mut() {
            self.held_bytes += taken.len();
            if self.held_bytes > self.bounds.reassembly_bytes {
                return Err(Error::ReassemblyFull);
            }
            make_room(&mut partial.payload, taken.len(), stream.length);
            partial.payload.put_slice(taken);
        }
        Ok(taken.len())
    }

    /// The message, if this chunk was its last.
    fn finish_chunk(&mut self, csid: u32) -> Option<Message> {
        let stream = self.streams.get_mut(&csid)?;
        let partial = stream.partial.take_if(|partial| partial.payload.len() >= stream.length)?;
        self.held_bytes -= partial.payload.len();
        Some(Message {
            kind: MessageType::from_id(stream.kind),
            stream_id: stream.stream_id,
            timestamp: stream.timestamp,
            payload: partial.payload.freeze(),
        })
    }
}

impl ChunkStream {
    /// Applies a header that begins a message. Deltas wrap: OBS sends negative ones as 0xFFFFFFxx.
    fn apply(&mut self, parsed: &Parsed) {
        match parsed.fmt {
            0 => {
                self.timestamp = parsed.time;
                // RTMP 1.0 section 5.3.1.2.4: a type 3 chunk after a type 0 chunk adds that chunk's timestamp.
                self.delta = parsed.time;
                self.stream_id = parsed.stream_id;
            }
            1 | 2 => {
                self.delta = parsed.time;
                self.timestamp = self.timestamp.wrapping_add(parsed.time);
            }
            _ => self.timestamp = self.timestamp.wrapping_add(self.delta),
        }
        if parsed.fmt <= 1 {
            self.length = parsed.length;
            self.kind = parsed.kind;
        }
        if parsed.fmt <= 2 {
            self.extended = parsed.extended.then_some(parsed.time);
        }
    }
}

/// Reserves capacity for `more` bytes of a message of `length` bytes. A message of usual size gets all of it at once,
/// so that it is neither copied again nor held in twice its size. A message that claims to be large gets no more than a
/// few times the bytes received.
fn make_room(payload: &mut BytesMut, more: usize, length: usize) {
    const AT_ONCE: usize = 64 * 1024;
    const TIMES: usize = 4;
    if payload.capacity() - payload.len() >= more {
        return;
    }
    let come = payload.len() + more;
    let mut larger = BytesMut::with_capacity(length.min(AT_ONCE.max(TIMES * come)).max(come));
    larger.extend_from_slice(payload);
    *payload = larger;
}

fn drop_partial(stream: &mut ChunkStream, held_bytes: &mut usize) {
    if let Some(partial) = stream.partial.take() {
        *held_bytes -= partial.payload.len();
    }
}

/// Parses the header at the start of `have`. `Err` is the minimum number of bytes needed.
fn parse_header(have: &[u8], streams: &HashMap<u32, ChunkStream>) -> Result<Parsed, usize> {
    let first = *have.first().ok_or(1_usize)?;
    let fmt = first >> 6;
    let (csid, basic) = match first & 0x3F {
        0 => (u32::from(*have.get(1).ok_or(2_usize)?) + 64, 2),
        1 => match have {
            [_, low, high, ..] => (u32::from(*low) + u32::from(*high) * 256 + 64, 3),
            _ => return Err(3),
        },
        id => (u32::from(id), 1),
    };
    let fields = [11, 7, 3, 0][usize::from(fmt)];
    let header = have.get(basic..basic + fields).ok_or(basic + fields)?;
    let end = basic + fields;
    let mut parsed =
        Parsed { fmt, csid, time: 0, extended: false, length: 0, kind: 0, stream_id: 0, surplus: have.len() - end };
    if let [length0, length1, length2, kind, ..] = *header.get(3..).unwrap_or(&[]) {
        parsed.length = u32::from_be_bytes([0, length0, length1, length2]) as usize;
        parsed.kind = kind;
    }
    if let Some(&[a, b, c, d]) = header.get(7..) {
        parsed.stream_id = u32::from_le_bytes([a, b, c, d]);
    }
    if let [t0, t1, t2, ..] = *header {
        parsed.time = u32::from_be_bytes([0, t0, t1, t2]);
        if parsed.time == EXTENDED {
            let extended = have.get(end..end + 4).ok_or(end + 4)?;
            parsed.time = extended.iter().fold(0, |time, &byte| time << 8 | u32::from(byte));
            parsed.extended = true;
            parsed.surplus = have.len() - end - 4;
        }
        return Ok(parsed);
    }
    // Type 3: senders disagree on whether the extended timestamp is repeated here. It counts as repeated if it equals
    // the last header's or the message's own time; payload does so with a probability of 2^-31.
    let Some(stream) = streams.get(&csid) else { return Ok(parsed) };
    let Some(extended) = stream.extended else { return Ok(parsed) };
    let seen = &have[end..have.len().min(end + 4)];
    let may_be = |time: u32| time.to_be_bytes().starts_with(seen);
    if may_be(extended) || may_be(stream.timestamp) {
        if seen.len() < 4 {
            return Err(end + seen.len() + 1);
        }
        parsed.surplus = have.len() - end - 4;
    }
    Ok(parsed)
}
