//! The tracks of a file, from the codec headers of the stream.

use std::sync::Arc;

use bytes::Bytes;

use crate::{
    codec::{PictureFormat, aac, av1, avc, hevc, opus},
    packet::{Packet, PacketKind},
    track::{AudioCodec, Codec, VideoCodec},
};

/// Track ids in the file.
pub(super) const VIDEO_TRACK: u32 = 1;
pub(super) const AUDIO_TRACK: u32 = 2;

/// The longest codec header accepted, in bytes: parameter sets are a few hundred.
const HEADER_BYTES_MAX: usize = 64 * 1024;
/// Sample rates accepted, in Hz: those of AAC and some margin. The rate is the track's timescale.
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
    /// The CODECS attribute (RFC 6381 section 3.3).
    pub fn codecs(&self) -> String {
        let video = self.video.iter().map(|video| video.codec_string.clone());
        let audio = self.audio.iter().map(|audio| audio.codec_string());
        video.chain(audio).collect::<Vec<_>>().join(",")
    }
}

/// A video track. Its codec header is written to the file unchanged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Video {
    /// The codec in the header's tag.
    tagged: VideoCodec,
    /// Name of the sample entry box.
    pub(super) entry: [u8; 4],
    /// Name of the codec configuration box.
    pub(super) config: [u8; 4],
    /// The codec header.
    pub(super) record: Bytes,
    /// Pixels.
    pub width: u16,
    /// Pixels.
    pub height: u16,
    /// Its part of the CODECS attribute.
    pub codec_string: String,
}

impl Video {
    /// The track of a header packet; `None` for codecs that the file cannot contain, and for headers without a readable
    /// picture size.
    pub fn from_header(packet: &Packet) -> Option<Self> {
        let (Codec::Video(codec), record) = (packet.codec, packet.payload.clone()) else { return None };
        if record.len() > HEADER_BYTES_MAX {
            return None;
        }
        let named = |entry: &[u8; 4], config: &[u8; 4], codec_string, picture: PictureFormat| {
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
        // The header may reveal HEVC in tags that old encoders mark as AVC.
        let same = codec == self.tagged || codec == VideoCodec::Avc && self.tagged == VideoCodec::Hevc;
        packet.kind.is_picture() && same && !packet.payload.is_empty()
    }
}

/// An audio track.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Audio {
    /// Samples per second; the timescale of the track.
    pub rate: u32,
    /// Output channels.
    pub channels: u8,
    pub(super) config: Config,
}

/// The codec header of an audio track.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Config {
    Aac { record: Bytes, frame_samples: u32, codec_string: String },
    Opus(opus::Head),
}

impl Audio {
    /// The track of a header packet, or of an Opus frame without a header. `None` for MP3: browsers do not accept it in
    /// MP4.
    pub fn from_packet(packet: &Packet) -> Option<Self> {
        let (Codec::Audio(codec), payload) = (packet.codec, &packet.payload) else { return None };
        if payload.is_empty() || payload.len() > HEADER_BYTES_MAX {
            return None;
        }
        match (codec, packet.kind) {
            (AudioCodec::Aac, PacketKind::AudioHeader) => {
                let config = aac::Config::parse(payload).ok()?;
                // Browsers refuse AAC without a numbered channelConfiguration.
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

    /// Samples in the frame of a packet; `None` if it is not a frame of this track.
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
