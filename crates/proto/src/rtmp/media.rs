//! Media messages, sent by publishers and to players.

use bytes::Bytes;

use super::{
    chunk::{SharedChunks, csid},
    command::{self, Data},
    message::{Message, MessageType},
};

/// A received media message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Media {
    /// Audio, video, metadata or data.
    pub kind: MediaKind,
    /// Milliseconds on the sender's clock, wrapping at 32 bits.
    pub timestamp: u32,
    /// The FLV tag body, or AMF0 bytes.
    pub body: Bytes,
}

/// What a media message carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MediaKind {
    /// An FLV audio tag body.
    Audio,
    /// An FLV video tag body.
    Video,
    /// `onMetaData`, without `@setDataFrame`.
    Metadata,
    /// Other timed data.
    Data,
}

/// A media message to send.
#[derive(Clone, Copy, Debug)]
pub struct MediaOut<'a> {
    /// Audio, video, metadata or data.
    pub kind: MediaKind,
    /// Milliseconds, wrapping at 32 bits.
    pub timestamp: u32,
    /// The FLV tag body, or AMF0 bytes (with `@setDataFrame` for a platform, without for a player).
    pub payload: &'a Bytes,
    /// Its chunks, shared by all connections that send this payload.
    pub chunks: &'a SharedChunks,
}

impl Media {
    /// The media of a message; `None` for commands and for data that is not passed on.
    pub(super) fn from_message(message: Message) -> Option<Self> {
        let timestamp = message.timestamp;
        let (kind, body) = match message.kind {
            MessageType::Audio => (MediaKind::Audio, message.payload),
            MessageType::Video => (MediaKind::Video, message.payload),
            MessageType::DataAmf0 | MessageType::DataAmf3 => match command::data(&message)? {
                Data::Metadata(body) => (MediaKind::Metadata, body),
                Data::Other(body) => (MediaKind::Data, body),
            },
            _ => return None,
        };
        Some(Self { kind, timestamp, body })
    }
}

impl MediaKind {
    /// The chunk stream to send it on.
    pub const fn csid(self) -> u8 {
        match self {
            Self::Audio => csid::AUDIO,
            Self::Video => csid::VIDEO,
            Self::Metadata | Self::Data => csid::DATA,
        }
    }

    /// The message type.
    pub const fn message_type(self) -> MessageType {
        match self {
            Self::Audio => MessageType::Audio,
            Self::Video => MessageType::Video,
            Self::Metadata | Self::Data => MessageType::DataAmf0,
        }
    }
}
