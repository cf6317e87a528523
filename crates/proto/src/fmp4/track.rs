//! What the file says of its tracks, taken from the codec headers of the stream.

use std::sync::Arc;

use bytes::Bytes;

use crate::{
    codec::{Picture, aac, av1, avc, hevc, opus},
    packet::{Packet, PacketKind},
    track::{AudioCodec, Codec, VideoCodec},
};

/// The tracks' numbers in the file.
pub(super) const VIDEO_TRACK: u32 = 1;
pub(super) const AUDIO_TRACK: u32 = 2;

/// The longest codec header that is taken, in bytes: parameter sets are a few hundred.
const HEADER_BYTES_MAX: usize = 64 * 1024;
/// Sample rates that go into a file: those of AAC and a little room. Times are counted in them.
const RATES: std::ops::RangeInclusive<u32> = 4_000..=192_000;

/// The tracks of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tracks {
    /// The video track.
    pub video: Option<Arc<Video>>,
    /// The audio track.
    pub audio: Option<Arc<Audio>>,
}

impl Tracks {
    /// The value of CODECS (RFC 6381 section 3.3).
    pub fn codecs(&self) -> String {
        let video = self.video.iter().map(|video| video.codec_string.clone());
        let audio = self.audio.iter().map(|audio| audio.codec_string());
        video.chain(audio).collect::<Vec<_>>().join(",")
    }
}

/// A video track: the header of the stream as it came, in a box.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Video {
    /// What its header was tagged with.
    tagged: VideoCodec,
    /// The name of the sample entry.
    pub(super) entry: [u8; 4],
    /// The name of the box for the header.
    pub(super) config: [u8; 4],
    /// The header.
    pub(super) record: Bytes,
    /// Pixels.
    pub width: u16,
    /// Pixels.
    pub height: u16,
    /// Its part of CODECS.
    pub codec_string: String,
}

impl Video {
    /// The track that a header packet announces; `None` for codecs that do not go into the file, and for headers that say
    /// nothing of the picture.
    pub fn from_header(packet: &Packet) -> Option<Self> {
        let (Codec::Video(codec), record) = (packet.codec, packet.payload.clone()) else { return None };
        if record.len() > HEADER_BYTES_MAX {
            return None;
        }
        let named = |entry: &[u8; 4], config: &[u8; 4], codec_string, picture: Picture| {
            let (width, height) = (u16::try_from(picture.width).ok()?, u16::try_from(picture.height).ok()?);
            let record = record.clone();
            Some(Self { tagged: codec, entry: *entry, config: *config, record, width, height, codec_string })
        };
        match codec {
            VideoCodec::Avc if !hevc::is_config(&record) => {
                let config = avc::Config::parse(&record).ok()?;
                named(b"avc1", b"avcC", config.codec_string(), config.picture().ok()?)
            }
            VideoCodec::Avc | VideoCodec::Hevc => {
                let config = hevc::Config::parse(&record).ok()?;
                named(b"hvc1", b"hvcC", config.codec_string(), config.picture().ok()?)
            }
            VideoCodec::Av1 => {
                let config = av1::Config::parse(&record).ok()?;
                named(b"av01", b"av1C", config.codec_string(), config.picture().ok()?)
            }
            _ => None,
        }
    }

    /// Whether the packet is a picture of this track.
    pub fn takes(&self, packet: &Packet) -> bool {
        let Codec::Video(codec) = packet.codec else { return false };
        // The header may tell HEVC from the AVC that old encoders call it.
        let same = codec == self.tagged || codec == VideoCodec::Avc && self.tagged == VideoCodec::Hevc;
        packet.kind.is_picture() && same && !packet.payload.is_empty()
    }
}

/// An audio track.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Audio {
    /// Samples per second; its times count them.
    pub rate: u32,
    /// Channels that come out.
    pub channels: u8,
    pub(super) config: Config,
}

/// The header of an audio track.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Config {
    Aac { record: Bytes, frame_samples: u32, codec_string: String },
    Opus(opus::Head),
}

impl Audio {
    /// The track that a packet announces: a header, or a frame of Opus without one. MP3 is none: browsers do not take it in
    /// a file.
    pub fn from_packet(packet: &Packet) -> Option<Self> {
        let (Codec::Audio(codec), payload) = (packet.codec, &packet.payload) else { return None };
        if payload.is_empty() || payload.len() > HEADER_BYTES_MAX {
            return None;
        }
        match (codec, packet.kind) {
            (AudioCodec::Aac, PacketKind::AudioHeader) => {
                let config = aac::Config::parse(payload).ok()?;
                // Browsers refuse channels without a number.
                if config.has_unnumbered_channels() {
                    return None;
                }
                let rate = Some(config.output_rate()).filter(|rate| RATES.contains(rate))?;
                let frame_samples = config.frame_samples()?;
                let codec_string = config.codec_string();
                let aac = Config::Aac { record: payload.clone(), frame_samples, codec_string };
                Some(Self { rate, channels: config.channels, config: aac })
            }
            (AudioCodec::Opus, PacketKind::AudioHeader | PacketKind::Audio) => {
                let head = opus::Head::parse(payload).unwrap_or_default();
                Some(Self { rate: opus::RATE, channels: head.channels, config: Config::Opus(head) })
            }
            _ => None,
        }
    }

    /// How many samples the frame in a packet lasts; `None` when it is no frame of this track.
    pub fn samples(&self, packet: &Packet) -> Option<u32> {
        let Codec::Audio(codec) = packet.codec else { return None };
        if packet.kind != PacketKind::Audio || packet.payload.is_empty() {
            return None;
        }
        match &self.config {
            Config::Aac { frame_samples, .. } => (codec == AudioCodec::Aac).then_some(*frame_samples),
            Config::Opus(_) if codec == AudioCodec::Opus => opus::packet_samples(&packet.payload),
            Config::Opus(_) => None,
        }
    }

    fn codec_string(&self) -> String {
        match &self.config {
            Config::Aac { codec_string, .. } => codec_string.clone(),
            Config::Opus(_) => "opus".to_owned(),
        }
    }
}
