//! Codec headers: what the decoder configuration records of FLV and MP4 tell about a track.

pub mod aac;
pub mod av1;
pub mod avc;
mod bits;
pub mod hevc;
pub mod mp3;
pub mod nal;
pub mod opus;

use bytes::Bytes;

use crate::{
    flv::{AudioTag, Content, VideoTag},
    track::{AudioCodec, AudioTrack, VideoCodec, VideoTrack},
};

/// Why bytes are no codec header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The header ends too early.
    #[error("the codec header is cut short")]
    Truncated,
    /// A field has a value that the specification does not allow.
    #[error("the codec header has an impossible value")]
    Invalid,
}

/// The track that a video codec header announces; `None` for other tags. Sizes are unknown when the header cannot be read.
pub fn video_track(tag: &VideoTag) -> Option<VideoTrack> {
    if tag.content != Content::Header {
        return None;
    }
    Some(video_facts(tag.codec, &tag.payload))
}

/// What a configuration record says of its track. Sizes are unknown when it cannot be read.
pub fn video_facts(codec: VideoCodec, record: &Bytes) -> VideoTrack {
    let codec = if codec == VideoCodec::Avc && hevc::is_config(record) { VideoCodec::Hevc } else { codec };
    let picture = match codec {
        VideoCodec::Avc => avc::Config::parse(record).and_then(|config| config.picture()),
        VideoCodec::Hevc => hevc::Config::parse(record).and_then(|config| config.picture()),
        VideoCodec::Av1 => av1::Config::parse(record).and_then(|config| config.picture()),
        _ => Err(Error::Invalid),
    };
    let picture = picture.ok();
    VideoTrack {
        codec,
        width: picture.map(|picture| picture.width),
        height: picture.map(|picture| picture.height),
        fps: picture.and_then(|picture| picture.fps),
    }
}

/// The track that an audio tag announces: a codec header, or any frame of a codec without one.
pub fn audio_track(tag: &AudioTag) -> Option<AudioTrack> {
    let codec = tag.codec;
    let track = |sample_rate, channels| Some(AudioTrack { codec, sample_rate, channels });
    match (codec, tag.content) {
        (AudioCodec::Aac, Content::Header) => match aac::Config::parse(&tag.payload) {
            // Channel configuration 0 says that the bitstream describes them.
            Ok(config) => track(Some(config.output_rate()), Some(config.channels).filter(|&channels| channels > 0)),
            Err(_) => track(None, None),
        },
        (AudioCodec::Opus, Content::Header) => {
            // OpusHead (RFC 7845 section 5.1): magic, version, channels. Opus always decodes at 48 kHz.
            track(Some(48_000), tag.payload.get(9).copied())
        }
        (AudioCodec::Aac, _) => None,
        (AudioCodec::Mp3, Content::Frame) => match mp3::Header::parse(&tag.payload) {
            Some(header) => track(Some(header.rate), Some(header.channels)),
            None => track(None, None),
        },
        (_, Content::Header | Content::Frame) => match tag.legacy {
            Some(legacy) => track(Some(legacy.sample_rate), Some(legacy.channels)),
            None => track(None, None),
        },
        _ => None,
    }
}

/// The size of a picture and, if announced, how many come in a second.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Picture {
    /// Pixels, after cropping.
    pub width: u32,
    /// Pixels, after cropping.
    pub height: u32,
    /// Frames per second.
    pub fps: Option<f64>,
}

impl Picture {
    /// A picture of coded samples cropped by so many on both sides together.
    fn cropped(coded: (u64, u64), crop: (u64, u64), fps: Option<f64>) -> Result<Self, Error> {
        let side = |coded: u64, crop: u64| {
            coded
                .checked_sub(crop)
                .filter(|&side| side > 0)
                .and_then(|side| side.try_into().ok())
                .ok_or(Error::Invalid)
        };
        Ok(Self { width: side(coded.0, crop.0)?, height: side(coded.1, crop.1)?, fps })
    }
}
