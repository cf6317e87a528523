//! A packet: one encoded access unit on its way from an encoder to every reader.

use bytes::Bytes;

use crate::{time::Timestamp, track::Codec};

/// What a packet is to a reader that must decide where to start and what to keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PacketKind {
    /// `onMetaData`, as AMF0 bytes without the `@setDataFrame` wrapper.
    Metadata,
    /// Data that announces what follows (`onExpectAdditionalMedia`), as AMF0 bytes: readers need it first.
    Announcement,
    /// Other timed data (`onTextData`, `onCuePoint`, `onCaptionInfo`), as AMF0 bytes: passed on in its place.
    Data,
    /// A video codec header (AVCDecoderConfigurationRecord, hvcC, av1C, ...) that differs from the one before it.
    VideoHeader,
    /// A picture that decoding can start at, as the bitstream says.
    Keyframe,
    /// A picture that needs earlier ones.
    InterFrame,
    /// More slices of the picture before, in a message of their own.
    Slices,
    /// A video message without a picture: a repeated header, an end of sequence, HDR metadata, an empty one. Passed on in
    /// its place; its time is not to be relied on.
    VideoOther,
    /// An audio codec header (AudioSpecificConfig, ...) that differs from the one before it.
    AudioHeader,
    /// An audio frame.
    Audio,
    /// An audio message without sound: a repeated header, a channel layout, an empty one. Passed on in its place; its time is
    /// not to be relied on.
    AudioOther,
    /// A codec header of another video track than the main one (Enhanced RTMP v2, multitrack).
    SideVideoHeader,
    /// A frame of another video track.
    SideVideo,
    /// A codec header of another audio track.
    SideAudioHeader,
    /// A frame of another audio track.
    SideAudio,
}

impl PacketKind {
    /// Whether the packet belongs to the main video track.
    pub const fn is_video(self) -> bool {
        self.is_picture() || matches!(self, Self::VideoHeader | Self::Slices | Self::VideoOther)
    }

    /// Whether the packet belongs to the main audio track.
    pub const fn is_audio(self) -> bool {
        matches!(self, Self::AudioHeader | Self::Audio | Self::AudioOther)
    }

    /// Whether a picture begins with the packet.
    pub const fn is_picture(self) -> bool {
        matches!(self, Self::Keyframe | Self::InterFrame)
    }

    /// Whether the packet is media of a main track with a time of its own, not a header or a marker.
    pub const fn is_frame(self) -> bool {
        self.is_picture() || matches!(self, Self::Slices | Self::Audio)
    }

    /// Whether readers need the packet before any media: codec headers, metadata and announcements.
    pub const fn is_header(self) -> bool {
        matches!(
            self,
            Self::Metadata
                | Self::Announcement
                | Self::VideoHeader
                | Self::AudioHeader
                | Self::SideVideoHeader
                | Self::SideAudioHeader
        )
    }
}

/// One encoded access unit, codec header or metadata. Cloning shares the bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// What it is.
    pub kind: PacketKind,
    /// The codec of its track, as far as it matters to readers that package.
    pub codec: Codec,
    /// Decode time, unwrapped and continuous over encoder restarts.
    pub dts: Timestamp,
    /// Composition time offset in ms (presentation = `dts + cts_ms`); 0 for audio. May be negative.
    pub cts_ms: i32,
    /// The FLV tag body as it arrived (FLV 10.1 annex E.4.3 and E.4.2.1; Enhanced RTMP v2), or the AMF0 bytes of the
    /// metadata: what RTMP outputs write. Empty for what only readers that package need.
    pub body: Bytes,
    /// The codec's own bytes in the form of ISO BMFF (length-prefixed NAL units, a raw AAC frame, a configuration record), for
    /// readers that package; a slice of `body` unless something had to be mended. Empty for what they leave out.
    pub payload: Bytes,
}

impl Packet {
    /// A packet that RTMP outputs pass on and nobody packages.
    pub fn opaque(kind: PacketKind, dts: Timestamp, body: Bytes) -> Self {
        Self { kind, codec: Codec::None, dts, cts_ms: 0, body, payload: Bytes::new() }
    }

    /// More slices of its picture, in both forms.
    pub fn extend(&mut self, slices: &[u8]) {
        self.body = [&self.body, slices].concat().into();
        self.payload = [&self.payload, slices].concat().into();
    }

    /// Memory that it takes; bytes of `payload` that are those of `body` count once.
    pub fn held_bytes(&self) -> usize {
        let own = if self.body.as_ptr_range().contains(&self.payload.as_ptr()) { 0 } else { self.payload.len() };
        self.body.len() + own + size_of::<Self>()
    }
}
