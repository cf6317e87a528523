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

use crate::track::{AudioCodec, AudioTrack, VideoCodec, VideoTrack};

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

/// The track that a codec header describes. Rate and channels are `None` if the header cannot be parsed.
pub fn audio_facts(codec: AudioCodec, header: &Bytes) -> AudioTrack {
    let (sample_rate, channels) = match codec {
        AudioCodec::Aac => match aac::Config::parse(header) {
            // With channel configuration 0, the bitstream describes the channels.
            Ok(config) => (Some(config.output_rate()), Some(config.channels).filter(|&channels| channels > 0)),
            Err(_) => (None, None),
        },
        // OpusHead (RFC 7845 section 5.1): magic, version, channels. Opus always decodes at 48 kHz.
        AudioCodec::Opus => (Some(48_000), header.get(9).copied()),
        _ => (None, None),
    };
    AudioTrack { codec, sample_rate, channels }
}

/// The track that a frame of a codec without a header describes. `None` for codecs with a header.
pub fn headerless_audio_facts(codec: AudioCodec, frame: &Bytes) -> Option<AudioTrack> {
    let (sample_rate, channels) = match codec {
        AudioCodec::Mp3 => match mp3::Header::parse(frame) {
            Some(header) => (Some(header.rate), Some(header.channels)),
            None => (None, None),
        },
        // FLV 10.1 section E.4.2.1 fixes these, whatever the flags of the tag say.
        AudioCodec::Other(4 | 11) => (Some(16_000), Some(1)),
        AudioCodec::Other(5 | 7 | 8) => (Some(8_000), Some(1)),
        AudioCodec::Other(_) => (None, None),
        AudioCodec::Aac | AudioCodec::Opus | AudioCodec::Flac | AudioCodec::Ac3 | AudioCodec::Eac3 => return None,
    };
    Some(AudioTrack { codec, sample_rate, channels })
}
