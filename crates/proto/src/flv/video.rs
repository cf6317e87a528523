//! Video tags: legacy ones with a CodecID, and enhanced ones with a FourCC.
//!
//! ```text
//! legacy    frame type (4 bits) CodecID (4)  then for AVC: packet type (8) composition time (SI24)  data
//! enhanced  1 frame type (3) packet type (4) [ModEx ...] FourCC (32) [composition time (SI24)]       data
//! ```

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::{
    enhanced::Enhanced,
    tag::{Content, Error},
};
use crate::track::VideoCodec;

const KEY_FRAME: u8 = 1;
const INTER_FRAME: u8 = 2;
const COMMAND_FRAME: u8 = 5;
const CODEC_AVC: u8 = 7;
/// Not in the specification; encoders for Chinese platforms send it.
const CODEC_HEVC: u8 = 12;

const SEQUENCE_START: u8 = 0;
const CODED_FRAMES: u8 = 1;
const SEQUENCE_END: u8 = 2;
const CODED_FRAMES_X: u8 = 3;
const METADATA: u8 = 4;
const MULTITRACK: u8 = 6;

/// A parsed video tag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VideoTag {
    /// The codec.
    pub codec: VideoCodec,
    /// The kind of content.
    pub content: Content,
    /// Presentation time minus decode time, in ms.
    pub cts_ms: i32,
    /// The track id; 0 is the main track.
    pub track: u8,
    /// The payload in the codec's own format.
    pub payload: Bytes,
}

impl VideoTag {
    /// Parses the body of a video message.
    pub fn parse(body: &Bytes) -> Result<Self, Error> {
        let mut rest = body.clone();
        let first = rest.try_get_u8().map_err(|_| Error::Truncated)?;
        let frame_type = first >> 4 & 0x07;
        if first & 0x80 != 0 {
            Self::parse_enhanced(frame_type, first & 0x0F, rest)
        } else {
            Self::parse_legacy(first, rest)
        }
    }

    fn parse_legacy(first: u8, mut rest: Bytes) -> Result<Self, Error> {
        let (frame_type, id) = (first >> 4, first & 0x0F);
        let codec = match id {
            CODEC_AVC => VideoCodec::Avc,
            CODEC_HEVC => VideoCodec::Hevc,
            other => VideoCodec::Other(other.into()),
        };
        let frame = frame(frame_type);
        if !matches!(codec, VideoCodec::Avc | VideoCodec::Hevc) {
            return Ok(Self { codec, content: frame, cts_ms: 0, track: 0, payload: rest });
        }
        let packet_type = rest.try_get_u8().map_err(|_| Error::Truncated)?;
        let cts_ms = composition_time(&mut rest)?;
        let content = match packet_type {
            0 => Content::Header,
            1 => frame,
            2 => Content::EndOfSequence,
            _ => Content::Other,
        };
        Ok(Self { codec, content, cts_ms, track: 0, payload: rest })
    }

    fn parse_enhanced(frame_type: u8, packet_type: u8, rest: Bytes) -> Result<Self, Error> {
        // A command instead of a frame (seek); it has no FourCC.
        if frame_type == COMMAND_FRAME && packet_type != METADATA {
            return Ok(Self {
                codec: VideoCodec::Other(0),
                content: Content::Other,
                cts_ms: 0,
                track: 0,
                payload: rest,
            });
        }
        let Enhanced { packet_type, four_cc, track, mut payload } = Enhanced::parse(packet_type, MULTITRACK, rest)?;
        let codec = codec(four_cc);
        let cts_ms = if has_composition_time(codec, packet_type) { composition_time(&mut payload)? } else { 0 };
        let content = match packet_type {
            SEQUENCE_START => Content::Header,
            CODED_FRAMES | CODED_FRAMES_X => frame(frame_type),
            SEQUENCE_END => Content::EndOfSequence,
            _ => Content::Other,
        };
        Ok(Self { codec, content, cts_ms, track, payload })
    }

    /// Serialises a video message body, the inverse of [`VideoTag::parse`]: legacy for AVC, enhanced for all other
    /// codecs.
    pub fn encode(&self) -> Bytes {
        if self.codec != VideoCodec::Avc || self.content == Content::Other {
            return self.encode_enhanced();
        }
        let (frame_type, packet_type) = self.types();
        let mut body = BytesMut::with_capacity(self.payload.len() + 5);
        body.put_u8(frame_type << 4 | CODEC_AVC);
        body.put_u8(packet_type);
        body.put_int(self.cts_ms.into(), 3);
        body.put_slice(&self.payload);
        body.freeze()
    }

    /// Serialises an enhanced video message body, also for AVC (`avc1`, Enhanced RTMP v2).
    pub fn encode_enhanced(&self) -> Bytes {
        let (frame_type, packet_type) = self.types();
        let mut body = BytesMut::with_capacity(self.payload.len() + 8);
        body.put_u8(0x80 | frame_type << 4 | packet_type);
        body.put_u32(four_cc(self.codec));
        if has_composition_time(self.codec, packet_type) {
            body.put_int(self.cts_ms.into(), 3);
        }
        body.put_slice(&self.payload);
        body.freeze()
    }

    /// Frame type and packet type.
    fn types(&self) -> (u8, u8) {
        match self.content {
            Content::Header => (KEY_FRAME, SEQUENCE_START),
            Content::Keyframe => (KEY_FRAME, CODED_FRAMES),
            Content::Frame => (INTER_FRAME, CODED_FRAMES),
            Content::EndOfSequence => (KEY_FRAME, SEQUENCE_END),
            Content::Other => (KEY_FRAME, METADATA),
        }
    }
}

/// Whether a composition time follows the FourCC: only for codecs that reorder, and not with CodedFramesX.
fn has_composition_time(codec: VideoCodec, packet_type: u8) -> bool {
    packet_type == CODED_FRAMES && matches!(codec, VideoCodec::Avc | VideoCodec::Hevc | VideoCodec::Vvc)
}

fn frame(frame_type: u8) -> Content {
    match frame_type {
        // 4 is a keyframe generated by a server.
        KEY_FRAME | 4 => Content::Keyframe,
        COMMAND_FRAME => Content::Other,
        _ => Content::Frame,
    }
}

fn composition_time(rest: &mut Bytes) -> Result<i32, Error> {
    rest.try_get_int(3).map(|time| time as i32).map_err(|_| Error::Truncated)
}

fn codec(four_cc: u32) -> VideoCodec {
    match &four_cc.to_be_bytes() {
        b"avc1" => VideoCodec::Avc,
        b"hvc1" => VideoCodec::Hevc,
        b"av01" => VideoCodec::Av1,
        b"vp08" => VideoCodec::Vp8,
        b"vp09" => VideoCodec::Vp9,
        b"vvc1" => VideoCodec::Vvc,
        _ => VideoCodec::Other(four_cc),
    }
}

fn four_cc(codec: VideoCodec) -> u32 {
    u32::from_be_bytes(*match codec {
        VideoCodec::Avc => b"avc1",
        VideoCodec::Hevc => b"hvc1",
        VideoCodec::Av1 => b"av01",
        VideoCodec::Vp8 => b"vp08",
        VideoCodec::Vp9 => b"vp09",
        VideoCodec::Vvc => b"vvc1",
        VideoCodec::Other(other) => return other,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(bytes: &[u8]) -> Result<(VideoCodec, Content, i32, u8, usize), Error> {
        let tag = VideoTag::parse(&Bytes::copy_from_slice(bytes))?;
        Ok((tag.codec, tag.content, tag.cts_ms, tag.track, tag.payload.len()))
    }

    #[test]
    fn tags_of_real_encoders_are_parsed() {
        use Content::{EndOfSequence, Frame, Header, Keyframe, Other};
        use VideoCodec::{Av1, Avc, Hevc};
        for (bytes, expected) in [
            (&[0x17, 0, 0, 0, 0, 1, 2][..], (Avc, Header, 0, 0, 2)),
            (&[0x17, 1, 0, 0, 80, 9], (Avc, Keyframe, 80, 0, 1)),
            (&[0x27, 1, 0xFF, 0xFF, 0xD8, 9], (Avc, Frame, -40, 0, 1)),
            (&[0x17, 2, 0, 0, 0], (Avc, EndOfSequence, 0, 0, 0)),
            (&[0x1C, 1, 0, 0, 0, 9], (Hevc, Keyframe, 0, 0, 1)),
            (&[0x22, 1, 2], (VideoCodec::Other(2), Frame, 0, 0, 2)),
            (&[0x90, b'h', b'v', b'c', b'1', 1], (Hevc, Header, 0, 0, 1)),
            (&[0x91, b'h', b'v', b'c', b'1', 0, 0, 33, 7], (Hevc, Keyframe, 33, 0, 1)),
            (&[0xA3, b'h', b'v', b'c', b'1', 7, 7], (Hevc, Frame, 0, 0, 2)),
            (&[0x91, b'a', b'v', b'0', b'1', 1, 2, 3], (Av1, Keyframe, 0, 0, 3)),
            (&[0x92, b'a', b'v', b'0', b'1'], (Av1, EndOfSequence, 0, 0, 0)),
            // HDR metadata from OBS.
            (&[0x84, b'h', b'v', b'c', b'1', 2], (Hevc, Other, 0, 0, 1)),
            (&[0xD0, 1], (VideoCodec::Other(0), Other, 0, 0, 1)),
            // ModEx with a nanosecond offset, then coded frames.
            (&[0x97, 2, 0, 0, 9, 0x01, b'a', b'v', b'0', b'1', 5], (Av1, Keyframe, 0, 0, 1)),
            // Multitrack: a single track, then the first of several.
            (&[0x96, 0x01, b'a', b'v', b'c', b'1', 3, 0, 0, 0, 7], (Avc, Keyframe, 0, 3, 1)),
            (&[0x96, 0x10, b'a', b'v', b'0', b'1', 1, 0, 0, 2, 8, 8, 2, 0, 0, 1, 9], (Av1, Header, 0, 1, 2)),
        ] {
            assert_eq!(parse(bytes), Ok(expected), "{bytes:02x?}");
        }
        for cut in [&[][..], &[0x17], &[0x17, 1, 0], &[0x90, b'h'], &[0x97, 9, 1], &[0x96, 0]] {
            assert_eq!(parse(cut), Err(Error::Truncated), "{cut:02x?}");
        }
    }

    proptest! {
        #[test]
        fn tags_round_trip(
            codec in prop::sample::select(vec![VideoCodec::Avc, VideoCodec::Hevc, VideoCodec::Av1, VideoCodec::Vp9]),
            content in prop::sample::select(vec![Content::Header, Content::Keyframe, Content::Frame, Content::EndOfSequence]),
            cts_ms in -0x80_0000_i32..0x80_0000,
            payload in prop::collection::vec(any::<u8>(), 0..50),
        ) {
            let timed = matches!(content, Content::Keyframe | Content::Frame);
            let reorders = matches!(codec, VideoCodec::Avc | VideoCodec::Hevc);
            let cts_ms = if timed && reorders { cts_ms } else { 0 };
            let tag = VideoTag { codec, content, cts_ms, track: 0, payload: payload.into() };
            for body in [tag.encode(), tag.encode_enhanced()] {
                prop_assert_eq!(VideoTag::parse(&body), Ok(tag.clone()));
            }
        }

        #[test]
        fn arbitrary_bytes_do_not_panic(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            let _ = VideoTag::parse(&bytes.into());
        }
    }
}
