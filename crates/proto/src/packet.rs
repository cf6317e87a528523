//! A packet: one encoded access unit on its way from an encoder to every reader.

use bytes::Bytes;

use crate::{
    time::Timestamp,
    track::{Codec, TrackId},
};

/// The kind of a packet, for readers that decide where to start and what to keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PacketKind {
    /// `onMetaData`, as AMF0 bytes without the `@setDataFrame` wrapper.
    Metadata,
    /// Data that announces what follows (`onExpectAdditionalMedia`), as AMF0 bytes. New readers need it first.
    Announcement,
    /// Other timed data (`onTextData`, `onCuePoint`, `onCaptionInfo`), as AMF0 bytes; passed on in order.
    Data,
    /// A video codec header (AVCDecoderConfigurationRecord, hvcC, av1C, ...) that differs from the previous one.
    VideoHeader,
    /// A picture that decoding can start at, according to the bitstream.
    Keyframe,
    /// A picture that needs earlier ones.
    InterFrame,
    /// More slices of the previous picture, in a separate message.
    Slices,
    /// A video message without a picture: a repeated header, an end of sequence, HDR metadata, or an empty message.
    /// Passed on in order; its time is not reliable.
    VideoOther,
    /// An audio codec header (AudioSpecificConfig, ...) that differs from the previous one.
    AudioHeader,
    /// An audio frame.
    Audio,
    /// An audio message without audio: a repeated header, a channel layout, or an empty message. Passed on in order;
    /// its time is not reliable.
    AudioOther,
    /// A codec header of a video track other than the main one (Enhanced RTMP v2, multitrack).
    SideVideoHeader,
    /// A frame of a video track other than the main one.
    SideVideo,
    /// A codec header of an audio track other than the main one.
    SideAudioHeader,
    /// A frame of an audio track other than the main one.
    SideAudio,
}

impl PacketKind {
    /// The main track of what it carries; side tracks say their number in [`Packet::track`].
    const fn main_track(self) -> TrackId {
        match self {
            Self::Metadata | Self::Announcement | Self::Data => TrackId::data(),
            Self::SideVideoHeader | Self::SideVideo => TrackId::video(0),
            Self::SideAudioHeader | Self::SideAudio => TrackId::audio(0),
            _ if self.is_video() => TrackId::video(0),
            _ => TrackId::audio(0),
        }
    }

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

    /// Whether the packet is a frame of a main track, with a time of its own; not a header or marker.
    pub const fn is_frame(self) -> bool {
        self.is_picture() || matches!(self, Self::Slices | Self::Audio)
    }

    /// Whether new readers need the packet before any media: codec headers, metadata and announcements.
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
    /// Its track.
    pub track: TrackId,
    /// The kind of packet.
    pub kind: PacketKind,
    /// The codec of its track; packagers use it.
    pub codec: Codec,
    /// Decode time, unwrapped and continuous across encoder restarts.
    pub dts: Timestamp,
    /// Composition time offset in ms (presentation = `dts + cts_ms`); 0 for audio. May be negative.
    pub cts_ms: i32,
    /// The FLV tag body as received (FLV 10.1 annex E.4.3 and E.4.2.1; Enhanced RTMP v2), or the AMF0 bytes of
    /// metadata. RTMP outputs write it. Empty for packets that only packagers need.
    pub flv: Bytes,
    /// The payload in ISO BMFF form (length-prefixed NAL units, a raw AAC frame, a configuration record), for
    /// packagers. A slice of `flv` unless it had to be repaired. Empty for packets that packagers ignore.
    pub payload: Bytes,
}

impl Packet {
    /// A packet that RTMP outputs pass on and packagers ignore.
    pub fn opaque(kind: PacketKind, dts: Timestamp, flv: Bytes) -> Self {
        Self { track: kind.main_track(), kind, codec: Codec::None, dts, cts_ms: 0, flv, payload: Bytes::new() }
    }

    /// Appends more slices of the picture, to `flv` and `payload`.
    pub fn extend(&mut self, slices: &[u8]) {
        self.flv = [&self.flv, slices].concat().into();
        self.payload = [&self.payload, slices].concat().into();
    }

    /// Memory held, in bytes; bytes that `payload` shares with `flv` count once.
    pub fn held_bytes(&self) -> usize {
        let own = if self.flv.as_ptr_range().contains(&self.payload.as_ptr()) { 0 } else { self.payload.len() };
        self.flv.len() + own + size_of::<Self>()
    }
}
