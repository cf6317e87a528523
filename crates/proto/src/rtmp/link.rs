//! What both ends of a connection share after the handshake: reading and writing messages, and protocol control.

use bytes::{Buf as _, BytesMut};

use super::{
    chunk::{self, Bounds, Decoder, csid},
    media::MediaOut,
    message::{Aggregate, Control, Message, MessageType},
    outbox::Outbox,
};

/// The acknowledgement window that we announce, in bytes. We acknowledge at least this often even if not asked: some
/// encoders stop sending without acknowledgements. MediaMTX and SRS use the same value.
pub const WINDOW_ACK_BYTES: u32 = 2_500_000;

/// Removes from `received` what `parse` takes off the front of it.
pub(super) fn consume<T>(received: &mut BytesMut, parse: impl FnOnce(&mut &[u8]) -> T) -> T {
    let mut input = received.as_ref();
    let parsed = parse(&mut input);
    let used = received.len() - input.len();
    received.advance(used);
    parsed
}

/// The message layer of one connection.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) decoder: Decoder,
    pub(super) encoder: chunk::Encoder,
    pub(super) outbox: Outbox,
    window: u32,
    received: u64,
    acknowledged: u64,
    peer_acknowledged: Option<u32>,
    /// The aggregate whose messages are returned next.
    aggregate: Option<Aggregate>,
}

impl Link {
    pub(super) fn new(bounds: Bounds) -> Self {
        Self {
            decoder: Decoder::new(bounds),
            encoder: chunk::Encoder::default(),
            outbox: Outbox::default(),
            window: WINDOW_ACK_BYTES,
            received: 0,
            acknowledged: 0,
            peer_acknowledged: None,
            aggregate: None,
        }
    }

    /// Bytes received.
    pub(super) fn received(&self) -> u64 {
        self.received
    }

    /// Counts received bytes, and acknowledges them when a window is full (RTMP 1.0 section 5.4.3).
    pub(super) fn count_received(&mut self, bytes: usize) {
        self.received += bytes as u64;
    }

    /// The newest byte count that the peer acknowledged, modulo 2^32.
    pub(super) fn peer_acknowledged(&self) -> Option<u32> {
        self.peer_acknowledged
    }

    /// The next message. Protocol control messages are handled here, except for the end of a stream. Aggregates are
    /// split.
    pub(super) fn next_message(&mut self, input: &mut &[u8]) -> Result<Option<Message>, chunk::Error> {
        loop {
            let mut parts = self.aggregate.iter_mut().flatten();
            if let Some(part) = parts.find(|part| part.kind != MessageType::Aggregate) {
                return Ok(Some(part));
            }
            self.aggregate = None;
            let before = input.len();
            let message = self.decoder.decode(input)?;
            self.count_received(before - input.len());
            self.acknowledge();
            let Some(message) = message else { return Ok(None) };
            if let Some(control) = Control::parse(&message) {
                if matches!(control, Control::StreamEof(_)) {
                    return Ok(Some(message));
                }
                self.on_control(control)?;
            } else if message.kind == MessageType::Aggregate {
                self.aggregate = Some(Aggregate::new(message));
            } else {
                return Ok(Some(message));
            }
        }
    }

    /// Queues a message.
    pub(super) fn send(&mut self, csid: u8, message: &Message) {
        self.encoder.message(csid, message, self.outbox.scratch());
    }

    /// Queues a control message.
    pub(super) fn control(&mut self, control: Control) {
        self.send(csid::CONTROL, &control.message());
    }

    /// Queues a media message in chunks that are shared with other connections. In the rare case of an extended
    /// timestamp, which every chunk must repeat, the chunks are built for this connection.
    pub(super) fn send_media(&mut self, stream_id: u32, media: &MediaOut<'_>) {
        let csid = media.kind.csid();
        let length = media.payload.len();
        let header = self.encoder.header(csid, media.kind.message_type(), stream_id, media.timestamp, length);
        let Some(time) = header.extended() else {
            media.chunks.send(&header, media.payload, self.encoder.chunk_size(), &mut self.outbox);
            return;
        };
        self.outbox.scratch().extend_from_slice(header.as_bytes());
        let size = self.encoder.chunk_size().get();
        for start in (0..length).step_by(size) {
            if start > 0 {
                self.outbox.scratch().extend_from_slice(&[3 << 6 | csid]);
                self.outbox.scratch().extend_from_slice(&time.to_be_bytes());
            }
            self.outbox.push(media.payload.slice(start..length.min(start + size)));
        }
    }

    fn on_control(&mut self, control: Control) -> Result<(), chunk::Error> {
        match control {
            Control::SetChunkSize(bytes) => self.decoder.set_chunk_size(bytes)?,
            Control::Abort(csid) => self.decoder.abort(csid),
            Control::Acknowledgement(bytes) => self.peer_acknowledged = Some(bytes),
            Control::WindowAckSize(bytes) if bytes > 0 => self.window = bytes.min(WINDOW_ACK_BYTES),
            // Requests our window in return (section 5.4.5).
            Control::SetPeerBandwidth { .. } => self.control(Control::WindowAckSize(WINDOW_ACK_BYTES)),
            Control::PingRequest(time) => self.control(Control::PingResponse(time)),
            _ => {}
        }
        Ok(())
    }

    fn acknowledge(&mut self) {
        if self.received - self.acknowledged >= u64::from(self.window) {
            self.acknowledged = self.received;
            self.control(Control::Acknowledgement(self.received as u32));
        }
    }
}
