//! A packet: one encoded access unit on its way from an encoder to every reader.

use bytes::Bytes;

use crate::time::Timestamp;

/// What a packet is to a reader that must decide where to start and what to keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PacketKind {
    /// `onMetaData`, as AMF0 bytes without the `@setDataFrame` wrapper.
    Metadata,
    /// Other timed data (`onTextData`, `onCuePoint`, `onCaptionInfo`), as AMF0 bytes: passed on where it stands.
    Data,
    /// A video codec header (AVCDecoderConfigurationRecord, hvcC, av1C, ...).
    VideoHeader,
    /// A video access unit that decoding can start at.
    Keyframe,
    /// A video access unit that needs earlier ones.
    InterFrame,
    /// A video message without a picture: end of sequence, HDR metadata. Passed on where it stands; its time is not to be
    /// relied on.
    VideoOther,
    /// An audio codec header (AudioSpecificConfig, ...).
    AudioHeader,
    /// An audio frame.
    Audio,
}

impl PacketKind {
    /// Whether the packet belongs to the video track.
    pub const fn is_video(self) -> bool {
        matches!(self, Self::VideoHeader | Self::Keyframe | Self::InterFrame | Self::VideoOther)
    }

    /// Whether the packet belongs to the audio track.
    pub const fn is_audio(self) -> bool {
        matches!(self, Self::AudioHeader | Self::Audio)
    }

    /// Whether the packet is media with a time of its own, not a header or a marker.
    pub const fn is_frame(self) -> bool {
        matches!(self, Self::Keyframe | Self::InterFrame | Self::Audio)
    }

    /// Whether readers need the packet before any media: codec headers and metadata.
    pub const fn is_header(self) -> bool {
        matches!(self, Self::Metadata | Self::VideoHeader | Self::AudioHeader)
    }
}

/// One encoded access unit, codec header or metadata. Cloning shares the bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// What it is.
    pub kind: PacketKind,
    /// Decode time, unwrapped and continuous over encoder restarts.
    pub dts: Timestamp,
    /// Composition time offset in ms (presentation = `dts + cts_ms`); 0 for audio. May be negative.
    pub cts_ms: i32,
    /// The FLV tag body exactly as it arrived (FLV 10.1 annex E.4.3 and E.4.2.1; Enhanced RTMP v2), or the AMF0 bytes
    /// of the metadata.
    pub body: Bytes,
}
