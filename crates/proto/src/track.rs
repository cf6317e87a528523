//! Tracks: the elementary streams of a broadcast, as their codec headers describe them.

/// A track of a broadcast. Number 0 is the main track of its kind; others come by Enhanced RTMP v2 multitrack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TrackId {
    /// What it carries.
    pub kind: TrackKind,
    /// From 0 to 255, as the encoder numbers it.
    pub number: u8,
}

/// What a track carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TrackKind {
    /// Pictures.
    Video,
    /// Sound.
    Audio,
    /// Metadata and timed data.
    Data,
}

impl TrackId {
    /// A video track.
    pub const fn video(number: u8) -> Self {
        Self { kind: TrackKind::Video, number }
    }

    /// An audio track.
    pub const fn audio(number: u8) -> Self {
        Self { kind: TrackKind::Audio, number }
    }

    /// Everything that is neither video nor audio.
    pub const fn data() -> Self {
        Self { kind: TrackKind::Data, number: 0 }
    }
}

/// A video codec, from an FLV CodecID or an Enhanced RTMP FourCC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum VideoCodec {
    /// H.264 (`avc1`, CodecID 7).
    Avc,
    /// H.265 (`hvc1`, and CodecID 12 as some encoders send it).
    Hevc,
    /// AV1 (`av01`).
    Av1,
    /// VP8 (`vp08`).
    Vp8,
    /// VP9 (`vp09`).
    Vp9,
    /// H.266 (`vvc1`).
    Vvc,
    /// Any other codec: passed on by relays, never previewed. Holds the FLV CodecID or the FourCC as a big-endian
    /// number.
    Other(u32),
}

/// An audio codec, from an FLV SoundFormat or an Enhanced RTMP FourCC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AudioCodec {
    /// AAC (`mp4a`, SoundFormat 10).
    Aac,
    /// MP3 (`.mp3`, SoundFormat 2 and 14).
    Mp3,
    /// Opus.
    Opus,
    /// FLAC (`fLaC`).
    Flac,
    /// AC-3 (`ac-3`).
    Ac3,
    /// E-AC-3 (`ec-3`).
    Eac3,
    /// Any other codec: passed on by relays, never previewed. Holds the SoundFormat or the FourCC as a big-endian
    /// number.
    Other(u32),
}

/// The codec of a packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Codec {
    /// No codec: metadata, or a packet that cannot be parsed.
    #[default]
    None,
    /// A video codec.
    Video(VideoCodec),
    /// An audio codec.
    Audio(AudioCodec),
}

/// The video track. Fields are `None` until a codec header provides them.
#[derive(Clone, Debug, PartialEq)]
pub struct VideoTrack {
    /// The codec.
    pub codec: VideoCodec,
    /// Coded width in pixels after cropping.
    pub width: Option<u32>,
    /// Coded height in pixels after cropping.
    pub height: Option<u32>,
    /// Frames per second, from the codec header.
    pub fps: Option<f64>,
}

/// The audio track. Fields are `None` until a codec header provides them.
#[derive(Clone, Debug, PartialEq)]
pub struct AudioTrack {
    /// The codec.
    pub codec: AudioCodec,
    /// Samples per second.
    pub sample_rate: Option<u32>,
    /// Channels.
    pub channels: Option<u8>,
}

impl VideoCodec {
    /// The common name, as in the API and on the page: `h264`, `hevc`, `av1`, ...
    pub const fn name(self) -> &'static str {
        match self {
            Self::Avc => "h264",
            Self::Hevc => "hevc",
            Self::Av1 => "av1",
            Self::Vp8 => "vp8",
            Self::Vp9 => "vp9",
            Self::Vvc => "vvc",
            Self::Other(_) => "unknown",
        }
    }
}

impl AudioCodec {
    /// The common name, as in the API and on the page: `aac`, `mp3`, `opus`, ...
    pub const fn name(self) -> &'static str {
        match self {
            Self::Aac => "aac",
            Self::Mp3 => "mp3",
            Self::Opus => "opus",
            Self::Flac => "flac",
            Self::Ac3 => "ac3",
            Self::Eac3 => "eac3",
            Self::Other(4..=6) => "nellymoser",
            Self::Other(7) => "g711a",
            Self::Other(8) => "g711u",
            Self::Other(11) => "speex",
            Self::Other(_) => "unknown",
        }
    }
}
