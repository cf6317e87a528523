//! Chunks of one message, shared by many connections.

use std::{num::NonZeroUsize, sync::OnceLock};

use bytes::Bytes;

use super::encoder::{Header, lay_out};
use crate::rtmp::outbox::Outbox;

/// The chunks of a message as the first connection sent them, with the header. Connections that follow the same stream
/// have the same time steps, so after their first messages their headers are equal and they send the same bytes. A
/// connection that just began sends its own header, and then the shared bytes after the header.
#[derive(Debug, Default)]
pub struct SharedChunks {
    laid_out: OnceLock<LaidOut>,
    keeps_none: bool,
}

#[derive(Debug)]
struct LaidOut {
    chunk_size: NonZeroUsize,
    header: Header,
    bytes: Bytes,
}

impl SharedChunks {
    /// Chunks that are not shared: each connection builds its own.
    pub fn not_kept() -> Self {
        Self { laid_out: OnceLock::new(), keeps_none: true }
    }

    /// Queues the message in chunks after `header`, which must not have an extended timestamp. `payload` must be the
    /// same in every call.
    pub fn send(&self, header: &Header, payload: &Bytes, chunk_size: NonZeroUsize, out: &mut Outbox) {
        if self.keeps_none {
            return out.push(lay_out(header, payload, chunk_size));
        }
        let first = self.laid_out.get_or_init(|| LaidOut {
            chunk_size,
            header: *header,
            bytes: lay_out(header, payload, chunk_size),
        });
        if first.chunk_size != chunk_size {
            out.push(lay_out(header, payload, chunk_size));
        } else if first.header == *header {
            out.push(first.bytes.clone());
        } else {
            out.scratch().extend_from_slice(header.as_bytes());
            out.push(first.bytes.slice(first.header.as_bytes().len()..));
        }
    }

    /// Whether the shared chunks were built.
    pub fn is_laid_out(&self) -> bool {
        self.laid_out.get().is_some()
    }

    /// Memory of the shared chunks, in bytes.
    pub fn held_bytes(&self) -> usize {
        self.laid_out.get().map_or(0, |laid_out| laid_out.bytes.len())
    }
}

#[cfg(test)]
mod tests {
    use bytes::Buf as _;

    use super::*;
    use crate::rtmp::{
        chunk::{Encoder, csid},
        message::MessageType,
    };

    const CHUNK_SIZE: NonZeroUsize = NonZeroUsize::new(4_096).expect("is not zero");

    /// The output of a connection that already sent a message at time `before`.
    fn sent(chunks: &SharedChunks, payload: &Bytes, before: Option<u32>, chunk_size: NonZeroUsize) -> Outbox {
        let (mut encoder, mut outbox) = (Encoder::default(), Outbox::default());
        if let Some(time) = before {
            encoder.header(csid::VIDEO, MessageType::Video, 1, time, payload.len());
        }
        let header = encoder.header(csid::VIDEO, MessageType::Video, 1, before.unwrap_or(0) + 40, payload.len());
        chunks.send(&header, payload, chunk_size, &mut outbox);
        outbox
    }

    #[test]
    fn running_connections_share_bytes_and_a_new_one_has_its_own_header() {
        let payload = Bytes::from(vec![7; 10_000]);
        let chunks = SharedChunks::default();
        let [first, other] = [0, 5_000].map(|before| sent(&chunks, &payload, Some(before), CHUNK_SIZE));
        assert_eq!(first.remaining(), 8 + 10_000 + 2);
        assert_eq!((first.chunk(), first.chunk().as_ptr()), (other.chunk(), other.chunk().as_ptr()));

        let mut beginning = sent(&chunks, &payload, None, CHUNK_SIZE);
        assert_eq!((beginning.chunk().len(), beginning.remaining()), (12, 12 + 10_000 + 2));
        beginning.advance(12);
        assert_eq!(beginning.chunk().as_ptr(), first.chunk()[8..].as_ptr());
    }

    #[test]
    fn connection_with_another_chunk_size_shares_nothing() {
        let payload = Bytes::from(vec![7; 10_000]);
        let chunks = SharedChunks::default();
        sent(&chunks, &payload, Some(0), CHUNK_SIZE);
        let large = NonZeroUsize::new(65_536).expect("is not zero");
        assert_eq!(sent(&chunks, &payload, Some(0), large).remaining(), 8 + 10_000);
    }
}
