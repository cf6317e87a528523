//! Audio tags: legacy ones with a SoundFormat, and enhanced ones with a FourCC.
//!
//! ```text
//! legacy    SoundFormat (4 bits) rate (2) size (1) channels (1)  then for AAC: packet type (8)  data
//! enhanced  9 (4 bits) packet type (4) [ModEx ...] FourCC (32)                                   data
//! ```

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::{
    enhanced::Enhanced,
    tag::{Content, Error},
};
use crate::track::AudioCodec;

const FORMAT_MP3: u8 = 2;
const FORMAT_NELLYMOSER_16K: u8 = 4;
const FORMAT_NELLYMOSER_8K: u8 = 5;
const FORMAT_A_LAW: u8 = 7;
const FORMAT_U_LAW: u8 = 8;
const FORMAT_EX: u8 = 9;
const FORMAT_AAC: u8 = 10;
const FORMAT_SPEEX: u8 = 11;
const FORMAT_MP3_8K: u8 = 14;
const MULTITRACK: u8 = 5;

/// A parsed audio tag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AudioTag {
    /// The codec.
    pub codec: AudioCodec,
    /// The kind of content.
    pub content: Content,
    /// The track id; 0 is the main track.
    pub track: u8,
    /// Rate and channels of a legacy tag. They are meaningless for AAC.
    pub legacy: Option<Legacy>,
    /// The payload in the codec's own format.
    pub payload: Bytes,
}

/// Rate and channels in the first byte of a legacy tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Legacy {
    /// Samples per second.
    pub sample_rate: u32,
    /// 1 or 2.
    pub channels: u8,
}

impl AudioTag {
    /// Parses the body of an audio message. An empty body, which marks silence, is [`Error::Truncated`].
    pub fn parse(body: &Bytes) -> Result<Self, Error> {
        let mut rest = body.clone();
        let first = rest.try_get_u8().map_err(|_| Error::Truncated)?;
        let format = first >> 4;
        if format == FORMAT_EX {
            return Self::parse_enhanced(first & 0x0F, rest);
        }
        let codec = match format {
            FORMAT_AAC => AudioCodec::Aac,
            FORMAT_MP3 | FORMAT_MP3_8K => AudioCodec::Mp3,
            other => AudioCodec::Other(other.into()),
        };
        let sample_rate = match (format, first >> 2 & 3) {
            // Formats with a fixed rate: the rate bits of their tags are meaningless (annex E.4.2.1).
            (FORMAT_MP3_8K | FORMAT_NELLYMOSER_8K | FORMAT_A_LAW | FORMAT_U_LAW, _) => 8_000,
            (FORMAT_NELLYMOSER_16K | FORMAT_SPEEX, _) => 16_000,
            (_, rate) => [5_500, 11_025, 22_050, 44_100][usize::from(rate)],
        };
        let legacy = Some(Legacy { sample_rate, channels: 1 + (first & 1) });
        let content = match codec {
            AudioCodec::Aac => match rest.try_get_u8().map_err(|_| Error::Truncated)? {
                0 => Content::Header,
                _ => Content::Frame,
            },
            _ => Content::Frame,
        };
        Ok(Self { codec, content, track: 0, legacy, payload: rest })
    }

    fn parse_enhanced(packet_type: u8, rest: Bytes) -> Result<Self, Error> {
        let Enhanced { packet_type, four_cc, track, payload } = Enhanced::parse(packet_type, MULTITRACK, rest)?;
        let codec = match &four_cc.to_be_bytes() {
            b"mp4a" => AudioCodec::Aac,
            b".mp3" => AudioCodec::Mp3,
            b"Opus" => AudioCodec::Opus,
            b"fLaC" => AudioCodec::Flac,
            b"ac-3" => AudioCodec::Ac3,
            b"ec-3" => AudioCodec::Eac3,
            _ => AudioCodec::Other(four_cc),
        };
        let content = match packet_type {
            0 => Content::Header,
            1 => Content::Frame,
            2 => Content::EndOfSequence,
            _ => Content::Other,
        };
        Ok(Self { codec, content, track, legacy: None, payload })
    }

    /// Serialises an audio message body, the inverse of [`AudioTag::parse`]: as a legacy tag if [`AudioTag::legacy`] is
    /// set and a legacy tag can express the content, otherwise as an enhanced one.
    pub fn encode(&self) -> Bytes {
        let mut body = BytesMut::with_capacity(self.payload.len() + 5);
        match (self.legacy, self.codec, self.content) {
            (Some(legacy), AudioCodec::Aac, Content::Header | Content::Frame) => {
                body.put_u8(FORMAT_AAC << 4 | legacy.bits());
                body.put_u8(u8::from(self.content == Content::Frame));
            }
            (Some(Legacy { sample_rate: 8_000, channels }), AudioCodec::Mp3, Content::Frame) => {
                body.put_u8(FORMAT_MP3_8K << 4 | Legacy { sample_rate: 0, channels }.bits());
            }
            (Some(legacy), AudioCodec::Mp3, Content::Frame) => body.put_u8(FORMAT_MP3 << 4 | legacy.bits()),
            (_, codec, content) => {
                let packet_type = match content {
                    Content::Header => 0,
                    Content::EndOfSequence => 2,
                    Content::Other => 4,
                    Content::Keyframe | Content::Frame => 1,
                };
                body.put_u8(FORMAT_EX << 4 | packet_type);
                body.put_u32(four_cc(codec));
            }
        }
        body.put_slice(&self.payload);
        body.freeze()
    }
}

impl Legacy {
    /// The low four bits of the first byte: rate, a sample size of 16 bits, and channels.
    fn bits(self) -> u8 {
        let rate = match self.sample_rate {
            44_100.. => 3,
            22_050.. => 2,
            11_025.. => 1,
            _ => 0,
        };
        rate << 2 | 2 | u8::from(self.channels > 1)
    }
}

fn four_cc(codec: AudioCodec) -> u32 {
    u32::from_be_bytes(*match codec {
        AudioCodec::Aac => b"mp4a",
        AudioCodec::Mp3 => b".mp3",
        AudioCodec::Opus => b"Opus",
        AudioCodec::Flac => b"fLaC",
        AudioCodec::Ac3 => b"ac-3",
        AudioCodec::Eac3 => b"ec-3",
        AudioCodec::Other(other) => return other,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn tags_of_real_encoders_are_parsed() {
        for (bytes, codec, content, payload) in [
            (&[0xAF, 0, 0x11, 0x90][..], AudioCodec::Aac, Content::Header, 2),
            (&[0xAF, 1, 9], AudioCodec::Aac, Content::Frame, 1),
            (&[0x2F, 0xFF, 0xFB], AudioCodec::Mp3, Content::Frame, 2),
            (&[0xB2, 1], AudioCodec::Other(11), Content::Frame, 1),
            (&[0x90, b'O', b'p', b'u', b's', 1], AudioCodec::Opus, Content::Header, 1),
            (&[0x91, b'O', b'p', b'u', b's', 1, 2], AudioCodec::Opus, Content::Frame, 2),
            (&[0x94, b'e', b'c', b'-', b'3', 1, 6], AudioCodec::Eac3, Content::Other, 2),
            (&[0x95, 0x01, b'm', b'p', b'4', b'a', 1, 9], AudioCodec::Aac, Content::Frame, 1),
        ] {
            let tag = AudioTag::parse(&Bytes::copy_from_slice(bytes)).expect("parses");
            assert_eq!((tag.codec, tag.content, tag.payload.len()), (codec, content, payload), "{bytes:02x?}");
        }
        assert_eq!(AudioTag::parse(&Bytes::new()), Err(Error::Truncated));
        assert_eq!(AudioTag::parse(&Bytes::from_static(&[0xAF])), Err(Error::Truncated));
    }

    proptest! {
        #[test]
        fn enhanced_tags_round_trip(
            codec in prop::sample::select(vec![
                AudioCodec::Aac, AudioCodec::Mp3, AudioCodec::Opus, AudioCodec::Flac, AudioCodec::Ac3, AudioCodec::Eac3,
            ]),
            content in prop::sample::select(vec![Content::Header, Content::Frame, Content::EndOfSequence, Content::Other]),
            payload in prop::collection::vec(any::<u8>(), 0..50),
        ) {
            let tag = AudioTag { codec, content, track: 0, legacy: None, payload: payload.into() };
            prop_assert_eq!(AudioTag::parse(&tag.encode()), Ok(tag));
        }

        #[test]
        fn legacy_tags_round_trip(
            (codec, content) in prop::sample::select(vec![
                (AudioCodec::Aac, Content::Header), (AudioCodec::Aac, Content::Frame), (AudioCodec::Mp3, Content::Frame),
            ]),
            sample_rate in prop::sample::select(vec![5_500, 11_025, 22_050, 44_100]),
            channels in 1_u8..=2,
            payload in prop::collection::vec(any::<u8>(), 0..50),
        ) {
            let legacy = Some(Legacy { sample_rate, channels });
            let tag = AudioTag { codec, content, track: 0, legacy, payload: payload.into() };
            prop_assert_eq!(AudioTag::parse(&tag.encode()), Ok(tag));
        }

        #[test]
        fn arbitrary_bytes_do_not_panic(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            let _ = AudioTag::parse(&bytes.into());
        }
    }
}
