//! RTMP messages, which chunk streams carry (RTMP 1.0 sections 5.4, 6 and 7).

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// A reassembled message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The message type.
    pub kind: MessageType,
    /// The message stream; 0 is the connection itself.
    pub stream_id: u32,
    /// Milliseconds, wrapping at 32 bits.
    pub timestamp: u32,
    /// The payload.
    pub payload: Bytes,
}

/// The message type id (RTMP 1.0 section 7).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the names are those of the specification")]
pub enum MessageType {
    SetChunkSize,
    Abort,
    Acknowledgement,
    UserControl,
    WindowAckSize,
    SetPeerBandwidth,
    Audio,
    Video,
    DataAmf3,
    SharedObjectAmf3,
    CommandAmf3,
    DataAmf0,
    SharedObjectAmf0,
    CommandAmf0,
    Aggregate,
    Unknown(u8),
}

impl MessageType {
    /// The message type id.
    pub const fn id(self) -> u8 {
        match self {
            Self::SetChunkSize => 1,
            Self::Abort => 2,
            Self::Acknowledgement => 3,
            Self::UserControl => 4,
            Self::WindowAckSize => 5,
            Self::SetPeerBandwidth => 6,
            Self::Audio => 8,
            Self::Video => 9,
            Self::DataAmf3 => 15,
            Self::SharedObjectAmf3 => 16,
            Self::CommandAmf3 => 17,
            Self::DataAmf0 => 18,
            Self::SharedObjectAmf0 => 19,
            Self::CommandAmf0 => 20,
            Self::Aggregate => 22,
            Self::Unknown(id) => id,
        }
    }

    /// Whether messages of this type are passed on to the readers of a stream.
    pub const fn is_media(self) -> bool {
        matches!(self, Self::Audio | Self::Video | Self::DataAmf0 | Self::DataAmf3)
    }

    /// The message type with this id.
    pub const fn from_id(id: u8) -> Self {
        match id {
            1 => Self::SetChunkSize,
            2 => Self::Abort,
            3 => Self::Acknowledgement,
            4 => Self::UserControl,
            5 => Self::WindowAckSize,
            6 => Self::SetPeerBandwidth,
            8 => Self::Audio,
            9 => Self::Video,
            15 => Self::DataAmf3,
            16 => Self::SharedObjectAmf3,
            17 => Self::CommandAmf3,
            18 => Self::DataAmf0,
            19 => Self::SharedObjectAmf0,
            20 => Self::CommandAmf0,
            22 => Self::Aggregate,
            other => Self::Unknown(other),
        }
    }
}

/// Protocol control and user control messages (RTMP 1.0 sections 5.4 and 7.1.7); never media.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Control {
    /// The chunk size of the sender from now on, in bytes.
    SetChunkSize(u32),
    /// Drop the partially received message of this chunk stream.
    Abort(u32),
    /// Bytes received, modulo 2^32.
    Acknowledgement(u32),
    /// Acknowledge after this many bytes.
    WindowAckSize(u32),
    /// Have at most `window` bytes unacknowledged.
    SetPeerBandwidth {
        /// Bytes.
        window: u32,
        /// 0 hard, 1 soft, 2 dynamic.
        limit: u8,
    },
    /// A message stream became usable.
    StreamBegin(u32),
    /// A message stream ended.
    StreamEof(u32),
    /// The player's buffer length.
    SetBufferLength {
        /// The message stream.
        stream_id: u32,
        /// Milliseconds.
        ms: u32,
    },
    /// Requests a `PingResponse` with the same number.
    PingRequest(u32),
    /// The response to `PingRequest`.
    PingResponse(u32),
}

const STREAM_BEGIN: u16 = 0;
const STREAM_EOF: u16 = 1;
const SET_BUFFER_LENGTH: u16 = 3;
const PING_REQUEST: u16 = 6;
const PING_RESPONSE: u16 = 7;

impl Control {
    /// Parses a control message; `None` for other messages, truncated ones, and user control events that are not used
    /// here.
    pub fn parse(message: &Message) -> Option<Self> {
        let mut body = message.payload.as_ref();
        Some(match message.kind {
            MessageType::SetChunkSize => Self::SetChunkSize(body.try_get_u32().ok()?),
            MessageType::Abort => Self::Abort(body.try_get_u32().ok()?),
            MessageType::Acknowledgement => Self::Acknowledgement(body.try_get_u32().ok()?),
            MessageType::WindowAckSize => Self::WindowAckSize(body.try_get_u32().ok()?),
            MessageType::SetPeerBandwidth => {
                Self::SetPeerBandwidth { window: body.try_get_u32().ok()?, limit: body.try_get_u8().unwrap_or(2) }
            }
            MessageType::UserControl => match body.try_get_u16().ok()? {
                STREAM_BEGIN => Self::StreamBegin(body.try_get_u32().ok()?),
                STREAM_EOF => Self::StreamEof(body.try_get_u32().ok()?),
                SET_BUFFER_LENGTH => {
                    Self::SetBufferLength { stream_id: body.try_get_u32().ok()?, ms: body.try_get_u32().ok()? }
                }
                PING_REQUEST => Self::PingRequest(body.try_get_u32().ok()?),
                PING_RESPONSE => Self::PingResponse(body.try_get_u32().ok()?),
                _ => return None,
            },
            _ => return None,
        })
    }

    /// The control message: message stream 0, timestamp 0.
    pub fn message(self) -> Message {
        let mut body = BytesMut::with_capacity(10);
        let user = |body: &mut BytesMut, event: u16, value: u32| {
            body.put_u16(event);
            body.put_u32(value);
            MessageType::UserControl
        };
        let kind = match self {
            Self::SetChunkSize(bytes) => {
                body.put_u32(bytes);
                MessageType::SetChunkSize
            }
            Self::Abort(chunk_stream) => {
                body.put_u32(chunk_stream);
                MessageType::Abort
            }
            Self::Acknowledgement(bytes) => {
                body.put_u32(bytes);
                MessageType::Acknowledgement
            }
            Self::WindowAckSize(bytes) => {
                body.put_u32(bytes);
                MessageType::WindowAckSize
            }
            Self::SetPeerBandwidth { window, limit } => {
                body.put_u32(window);
                body.put_u8(limit);
                MessageType::SetPeerBandwidth
            }
            Self::StreamBegin(id) => user(&mut body, STREAM_BEGIN, id),
            Self::StreamEof(id) => user(&mut body, STREAM_EOF, id),
            Self::SetBufferLength { stream_id, ms } => {
                let kind = user(&mut body, SET_BUFFER_LENGTH, stream_id);
                body.put_u32(ms);
                kind
            }
            Self::PingRequest(time) => user(&mut body, PING_REQUEST, time),
            Self::PingResponse(time) => user(&mut body, PING_RESPONSE, time),
        };
        Message { kind, stream_id: 0, timestamp: 0, payload: body.freeze() }
    }
}

/// Iterates over the messages in an aggregate (RTMP 1.0 section 7.1.6): FLV tags, each followed by a back pointer.
/// Times are shifted so that the first message has the aggregate's time; the message stream is the aggregate's. A
/// truncated tag ends the iteration. Payloads are copied, so that a message does not keep the whole aggregate in
/// memory.
#[derive(Clone, Debug)]
pub struct Aggregate {
    rest: Bytes,
    stream_id: u32,
    timestamp: u32,
    /// Offset from tag times to message times.
    shift: Option<u32>,
}

impl Aggregate {
    /// The messages in `message`.
    pub fn new(message: Message) -> Self {
        let Message { payload, stream_id, timestamp, .. } = message;
        Self { rest: payload, stream_id, timestamp, shift: None }
    }
}

impl Iterator for Aggregate {
    type Item = Message;

    fn next(&mut self) -> Option<Message> {
        /// Type (1), size (3), timestamp (3), its upper byte (1), stream id (3).
        const TAG_HEADER: usize = 11;
        const BACK_POINTER: usize = 4;
        let rest = &mut self.rest;
        if rest.len() < TAG_HEADER {
            return None;
        }
        let kind = MessageType::from_id(rest.get_u8());
        let size = rest.get_uint(3) as usize;
        let time = rest.get_uint(3) as u32 | u32::from(rest.get_u8()) << 24;
        rest.advance(3);
        if rest.len() < size {
            rest.clear();
            return None;
        }
        let payload = Bytes::copy_from_slice(&rest.split_to(size));
        rest.advance(BACK_POINTER.min(rest.len()));
        let shift = *self.shift.get_or_insert_with(|| self.timestamp.wrapping_sub(time));
        Some(Message { kind, stream_id: self.stream_id, timestamp: time.wrapping_add(shift), payload })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_control() -> impl Strategy<Value = Control> {
        prop_oneof![
            any::<u32>().prop_map(Control::SetChunkSize),
            any::<u32>().prop_map(Control::Abort),
            any::<u32>().prop_map(Control::Acknowledgement),
            any::<u32>().prop_map(Control::WindowAckSize),
            (any::<u32>(), any::<u8>()).prop_map(|(window, limit)| Control::SetPeerBandwidth { window, limit }),
            any::<u32>().prop_map(Control::StreamBegin),
            any::<u32>().prop_map(Control::StreamEof),
            (any::<u32>(), any::<u32>()).prop_map(|(stream_id, ms)| Control::SetBufferLength { stream_id, ms }),
            any::<u32>().prop_map(Control::PingRequest),
            any::<u32>().prop_map(Control::PingResponse),
        ]
    }

    proptest! {
        #[test]
        fn control_messages_round_trip(control in any_control()) {
            prop_assert_eq!(Control::parse(&control.message()), Some(control));
        }

        #[test]
        fn message_types_round_trip(id in any::<u8>()) {
            prop_assert_eq!(MessageType::from_id(id).id(), id);
        }
    }

    fn tag(kind: u8, time: u32, body: &[u8]) -> Vec<u8> {
        let size = (body.len() as u32).to_be_bytes();
        let t = time.to_be_bytes();
        let mut tag = vec![kind, size[1], size[2], size[3], t[1], t[2], t[3], t[0], 0, 0, 0];
        tag.extend_from_slice(body);
        tag.extend_from_slice(&(tag.len() as u32).to_be_bytes());
        tag
    }

    #[test]
    fn aggregate_of_three_is_split_and_shifted() {
        let payload = [tag(8, 500, b"a"), tag(9, 520, b"video"), tag(8, 540, b"")].concat();
        let aggregate =
            Message { kind: MessageType::Aggregate, stream_id: 7, timestamp: 9_000, payload: payload.into() };
        let whole = aggregate.payload.as_ptr_range();
        let parts: Vec<_> =
            Aggregate::new(aggregate.clone()).map(|m| (m.kind, m.stream_id, m.timestamp, m.payload)).collect();
        assert!(parts.iter().all(|part| !whole.contains(&part.3.as_ptr())), "the aggregate can be freed");
        assert_eq!(
            parts,
            [
                (MessageType::Audio, 7, 9_000, Bytes::from("a")),
                (MessageType::Video, 7, 9_020, Bytes::from("video")),
                (MessageType::Audio, 7, 9_040, Bytes::new()),
            ]
        );
    }

    #[test]
    fn truncated_aggregate_keeps_complete_messages() {
        let mut payload = [tag(8, 0, b"aa"), tag(9, 10, b"video")].concat();
        payload.truncate(payload.len() - 6);
        let aggregate = Message { kind: MessageType::Aggregate, stream_id: 1, timestamp: 0, payload: payload.into() };
        assert_eq!(Aggregate::new(aggregate).count(), 1);
    }
}
