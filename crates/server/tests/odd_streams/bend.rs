//! Modifications of ordinary clips that reproduce odd encoders. A schedule has the sending time of each message.

use std::ops::Range;

use bytes::{BufMut as _, Bytes, BytesMut};
use gostream_proto::rtmp::{
    amf0::{Value, object},
    media::{Media, MediaKind},
};

use crate::clips::{is_audio_header, is_header, is_video_header};

/// A message and its sending time.
#[derive(Clone, Debug)]
pub struct Item {
    /// Milliseconds from the start.
    pub at_ms: f64,
    pub media: Media,
}

impl Item {
    pub fn new(at_ms: f64, kind: MediaKind, timestamp: u32, body: impl Into<Bytes>) -> Self {
        Self { at_ms, media: Media { kind, timestamp, body: body.into() } }
    }

    pub fn is_video(&self) -> bool {
        self.media.kind == MediaKind::Video
    }

    pub fn is_audio(&self) -> bool {
        self.media.kind == MediaKind::Audio
    }

    /// A picture, or a part of one, in a legacy AVC tag.
    pub fn is_avc_picture(&self) -> bool {
        self.is_video() && self.media.body.first().is_some_and(|first| first & 15 == 7) && self.media.body[1] == 1
    }

    /// A picture with the keyframe flag in its tag.
    pub fn is_avc_keyframe(&self) -> bool {
        self.is_avc_picture() && self.media.body[0] >> 4 == 1
    }
}

/// Messages in sending order.
#[derive(Clone, Debug)]
pub struct Schedule(pub Vec<Item>);

impl Schedule {
    /// The tags of the clip, up to that time.
    pub fn of(tags: &[Media], ms: u32) -> Self {
        Self::from_tags(tags, 0..ms)
    }

    /// The tags of that time span.
    pub fn from_tags(tags: &[Media], span: Range<u32>) -> Self {
        let chosen = tags.iter().filter(|media| span.contains(&media.timestamp));
        Self(chosen.map(|media| Item { at_ms: media.timestamp.into(), media: media.clone() }).collect())
    }

    /// Sorts by sending time; messages of the same time keep their order.
    fn sorted(mut self) -> Self {
        self.0.sort_by(|a, b| a.at_ms.total_cmp(&b.at_ms));
        self
    }

    /// Changes each message.
    pub fn each(mut self, mut change: impl FnMut(&mut Item)) -> Self {
        self.0.iter_mut().for_each(&mut change);
        self.sorted()
    }

    /// Removes messages.
    pub fn only(mut self, wanted: impl FnMut(&Item) -> bool) -> Self {
        self.0.retain(wanted);
        self
    }

    /// Adds messages.
    pub fn and(mut self, more: impl IntoIterator<Item = Item>) -> Self {
        self.0.extend(more);
        self.sorted()
    }

    /// Replaces each message by any number of messages.
    pub fn instead(self, instead: impl FnMut(Item) -> Vec<Item>) -> Self {
        Self(self.0.into_iter().flat_map(instead).collect())
    }

    /// Changes the timestamps.
    pub fn stamped(self, mut stamp: impl FnMut(&Item) -> i64) -> Self {
        self.each(|item| item.media.timestamp = stamp(item) as u32)
    }

    /// Changes the NAL units of each picture.
    pub fn nal_units(self, mut change: impl FnMut(Vec<Bytes>, bool) -> Bytes) -> Self {
        self.each(|item| {
            if item.is_avc_picture() {
                let units = nal_units(&item.media.body);
                item.media.body = with_head(item, &change(units, item.is_avc_keyframe()));
            }
        })
    }

    /// Changes the first byte of each picture: the frame type and the codec.
    pub fn flagged(self, mut flag: impl FnMut(&Item) -> u8) -> Self {
        self.each(|item| {
            if item.is_avc_picture() {
                let flag = flag(item);
                item.media.body = [&[flag], &item.media.body[1..]].concat().into();
            }
        })
    }
}

/// First bytes of an AVC inter frame and keyframe.
pub const INTER: u8 = 0x27;
pub const KEY: u8 = 0x17;

/// The tag header of a picture (frame type, packet type, composition time), followed by other content.
pub fn with_head(item: &Item, content: &[u8]) -> Bytes {
    const HEAD_BYTES: usize = 5;
    [&item.media.body[..HEAD_BYTES], content].concat().into()
}

/// The NAL units of a picture's tag.
pub fn nal_units(body: &Bytes) -> Vec<Bytes> {
    let mut rest = body.slice(5..);
    let mut units = Vec::new();
    while rest.len() >= 4 {
        let length = u32::from_be_bytes([rest[0], rest[1], rest[2], rest[3]]) as usize;
        units.push(rest.slice(4..4 + length));
        rest = rest.slice(4 + length..);
    }
    units
}

/// Length-prefixed NAL units.
pub fn packed(units: &[Bytes]) -> Bytes {
    let mut out = BytesMut::new();
    for unit in units {
        out.put_u32(unit.len() as u32);
        out.put_slice(unit);
    }
    out.freeze()
}

/// NAL units with start codes.
pub fn start_coded(units: &[Bytes]) -> Bytes {
    units.iter().flat_map(|unit| [&[0, 0, 0, 1], unit.as_ref()].concat()).collect()
}

/// The NAL unit type.
pub fn unit_type(unit: &Bytes) -> u8 {
    unit.first().map_or(0, |first| first & 31)
}

/// The clip's video header.
pub fn video_header(tags: &[Media]) -> Bytes {
    tags.iter().find(|media| is_video_header(media)).expect("has one").body.clone()
}

/// The clip's audio header.
pub fn audio_header(tags: &[Media]) -> Bytes {
    tags.iter().find(|media| is_audio_header(media)).expect("has one").body.clone()
}

/// The parameter sets of an AVC header with one of each kind, as x264 writes it.
pub fn parameter_sets(header: &Bytes) -> [Bytes; 2] {
    /// Tag header (5), version, profile, compatibility, level, length size (5), count (1).
    const FIRST: usize = 11;
    let length = |at: usize| usize::from(u16::from_be_bytes([header[at], header[at + 1]]));
    let sps_end = FIRST + 2 + length(FIRST);
    let pps = sps_end + 1;
    [header.slice(FIRST + 2..sps_end), header.slice(pps + 2..pps + 2 + length(pps))]
}

/// The audio of a clip from a time on, after a new header, as when a headset is plugged in.
pub fn sound_from(tags: &[Media], span: Range<u32>) -> Vec<Item> {
    let start = f64::from(span.start);
    let mut items = vec![Item::new(start, MediaKind::Audio, span.start, audio_header(tags))];
    let sound = Schedule::from_tags(tags, span).only(|item| item.is_audio() && !is_header(&item.media));
    items.extend(sound.0);
    items
}

/// An ADTS header (ISO/IEC 14496-3 1.A.3.2) before the raw frame of a tag: LC, 48 kHz, stereo.
pub fn with_adts(body: &Bytes) -> Bytes {
    let length = (body.len() - 2 + 7) as u32;
    let [_, high, middle, low] = (length << 5).to_be_bytes();
    let adts = [0xFF, 0xF1, 0x4C, 0x80 | high, middle, low | 0x1F, 0xFC];
    [&body[..2], &adts, &body[2..]].concat().into()
}

/// OBS's announcement of a second audio track (Twitch VOD track).
pub fn announcement() -> Bytes {
    let mut body = BytesMut::new();
    Value::from("onExpectAdditionalMedia").encode(&mut body);
    let url = object([("additionalMedia", object([("stream0", object([("type", 1.0.into())]))]))]);
    url.encode(&mut body);
    body.freeze()
}
