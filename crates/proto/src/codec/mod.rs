//! Codec headers: the decoder configuration records of FLV and MP4.

pub mod aac;
pub mod av1;
pub mod avc;
mod bits;
mod error;
pub mod hevc;
pub mod mp3;
pub mod nal;
pub mod opus;
mod picture;

use bytes::Bytes;

pub use error::Error;
pub use picture::PictureFormat;

use crate::track::{VideoCodec, VideoTrack};

/// The track that a configuration record describes. Size and rate are `None` if the record cannot be parsed.
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
