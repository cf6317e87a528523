//! Scripts: synthetic streams in which every message is different, for tests of bytes and times instead of pictures.

use bytes::{BufMut as _, Bytes, BytesMut};
use gostream_proto::rtmp::{
    amf0::Value,
    media::{Media, MediaKind},
};

/// An AVCDecoderConfigurationRecord of a 640x360 Baseline stream, in its FLV tag.
pub const AVC_HEADER: &[u8] = &[
    0x17, 0, 0, 0, 0, 1, 0x42, 0xC0, 0x1E, 0xFF, 0xE1, 0, 0x17, 0x67, 0x42, 0xC0, 0x1E, 0xDA, 0x02, 0x80, 0xBF, 0xE5,
    0xC0, 0x44, 0x00, 0x00, 0x03, 0x00, 0x04, 0x00, 0x00, 0x03, 0x00, 0xF0, 0x3C, 0x58, 1, 0, 4, 0x68, 0xCE, 0x0F,
    0xC8,
];
/// AAC-LC, 48 kHz, stereo, in its FLV tag.
pub const AAC_HEADER: &[u8] = &[0xAF, 0, 0x11, 0x90];

/// The parameters of a script.
#[derive(Clone, Copy, Debug)]
pub struct Script {
    /// Timestamp of the first frame, in ms.
    pub start: u32,
    /// Milliseconds of media.
    pub ms: u32,
    /// Keyframe interval, in ms.
    pub gop_ms: u32,
    /// Bytes of a video frame.
    pub frame_bytes: usize,
    /// Whether to write video.
    pub video: bool,
    /// Whether to write audio.
    pub audio: bool,
    /// Makes the frames of different scripts different.
    pub seed: u8,
}

impl Default for Script {
    fn default() -> Self {
        Self { start: 0, ms: 4_000, gop_ms: 1_000, frame_bytes: 3_000, video: true, audio: true, seed: 0 }
    }
}

/// 25 frames per second, in ms.
const FRAME_MS: u32 = 40;
/// 1024 samples at 48 kHz, in ms; RTMP rounds it.
const AUDIO_MS: f64 = 1_024.0 / 48.0;

impl Script {
    /// Metadata, headers, and frames in the order of their times.
    pub fn write(self) -> Vec<Media> {
        let mut media = self.headers();
        media.extend(self.frames());
        media
    }

    /// Metadata and codec headers at timestamp 0, as encoders send them.
    pub fn headers(self) -> Vec<Media> {
        let mut headers = vec![Media { kind: MediaKind::Metadata, timestamp: 0, body: metadata() }];
        let mut header = |kind, bytes: &'static [u8]| {
            headers.push(Media { kind, timestamp: 0, body: Bytes::from_static(bytes) });
        };
        if self.audio {
            header(MediaKind::Audio, AAC_HEADER);
        }
        if self.video {
            header(MediaKind::Video, AVC_HEADER);
        }
        headers
    }

    /// Only the frames.
    pub fn frames(self) -> Vec<Media> {
        let mut frames = Vec::new();
        if self.video {
            frames.extend((0..self.ms / FRAME_MS).map(|n| self.video_frame(n)));
        }
        if self.audio {
            let count = (f64::from(self.ms) / AUDIO_MS) as u32;
            frames.extend((0..count).map(|n| self.audio_frame(n)));
        }
        frames.sort_by_key(|frame| (frame.timestamp.wrapping_sub(self.start), frame.kind == MediaKind::Audio));
        frames
    }

    fn video_frame(self, n: u32) -> Media {
        let ms = n * FRAME_MS;
        let keyframe = ms.is_multiple_of(self.gop_ms);
        let mut body = BytesMut::with_capacity(self.frame_bytes);
        body.put_slice(if keyframe { &[0x17, 1, 0, 0, 0] } else { &[0x27, 1, 0, 0, 0] });
        let nal = self.frame_bytes.max(16);
        body.put_u32(nal as u32);
        body.put_u8(if keyframe { 0x65 } else { 0x41 });
        body.put_u8(self.seed);
        body.put_u32(n);
        body.put_bytes(0xA5, nal - 6);
        Media { kind: MediaKind::Video, timestamp: self.start.wrapping_add(ms), body: body.freeze() }
    }

    fn audio_frame(self, n: u32) -> Media {
        let ms = (f64::from(n) * AUDIO_MS).round() as u32;
        let mut body = BytesMut::with_capacity(200);
        body.put_slice(&[0xAF, 1, self.seed]);
        body.put_u32(n);
        body.put_bytes(0x5A, 190);
        Media { kind: MediaKind::Audio, timestamp: self.start.wrapping_add(ms), body: body.freeze() }
    }
}

fn metadata() -> Bytes {
    let mut body = BytesMut::new();
    Value::from("onMetaData").encode(&mut body);
    Value::EcmaArray(vec![("width".to_owned(), 640.0.into()), ("height".to_owned(), 360.0.into())]).encode(&mut body);
    body.freeze()
}
