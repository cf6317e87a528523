//! Messages of an encoder, in a form that a fuzzer finds in seconds instead of days: a record describes the content of
//! a message, and lengths, start codes, tags and configuration records are added around it.
//!
//! ```text
//! form (8 bits)  step (8)  wall (8)  content
//! ```

use bytes::{BufMut as _, Bytes, BytesMut};
use gostream_proto::codec::{aac, avc, nal};

use crate::records;

/// The forms of a message, selected by the low bits of its first byte.
const FORMS: [fn(u8, &[u8]) -> Bytes; 8] =
    [raw, raw, length_prefixed, start_coded, hevc, raw_aac, adts, parameter_sets];
/// The longest message that a record is padded to, in bytes.
const PADDED_BYTES: usize = 64 * 1024;
/// The keyframe flag of a tag.
const KEY: u8 = 0x08;

/// Real headers, so that frames belong to a track.
pub const AVC_HEADER: &[u8] = &[
    0x17, 0, 0, 0, 0, 1, 0x42, 0xC0, 0x1E, 0xFF, 0xE1, 0, 0x17, 0x67, 0x42, 0xC0, 0x1E, 0xDA, 0x02, 0x80, 0xBF, 0xE5,
    0xC0, 0x44, 0x00, 0x00, 0x03, 0x00, 0x04, 0x00, 0x00, 0x03, 0x00, 0xF0, 0x3C, 0x58, 1, 0, 4, 0x68, 0xCE, 0x0F,
    0xC8,
];
/// AAC-LC, 48 kHz, stereo.
pub const AAC_HEADER: &[u8] = &[0xAF, 0, 0x11, 0x90];

/// A message and its arrival.
#[derive(Debug)]
pub struct Message {
    /// Audio instead of video.
    pub is_audio: bool,
    /// Timestamp step since the previous message, in ms.
    pub step_ms: i64,
    /// Wall-clock step since the previous message, in ms.
    pub wall_ms: i64,
    /// How often the message is repeated.
    pub times: usize,
    /// The connection was interrupted before this message.
    pub restarts: bool,
    /// Its body.
    pub body: Bytes,
}

impl Message {
    /// The message described by a record. `large`: it may be long and repeated many times.
    pub fn read(record: &[u8], large: bool) -> Option<Self> {
        let &[form, step, wall, ref content @ ..] = record else { return None };
        let mut body = FORMS[usize::from(form & 7)](form & KEY, content).to_vec();
        if large && form & 0x80 != 0 {
            // Contains no start codes, and slices may have any length.
            pad(&mut body);
        }
        let step_ms = step_ms(step);
        let wall_ms = match wall {
            0 => step_ms.max(0),
            1 => 0,
            2 => 3_600_000,
            3 => -3_600_000,
            later => i64::from(later) * 10,
        };
        let times = if large { 1 << (form >> 4 & 7) } else { 1 };
        let restarts = form == 0xFF;
        Some(Self { is_audio: matches!(form & 7, 1 | 5 | 6), step_ms, wall_ms, times, restarts, body: body.into() })
    }
}

/// Steps as encoders make them, ahead and back, and clock jumps.
fn step_ms(byte: u8) -> i64 {
    match byte {
        0..=199 => i64::from(byte) * 10,
        200..=239 => -20 * i64::from(byte - 199),
        240 => 5_000,
        241 => -5_000,
        242 => 11_000,
        243 => 60_000,
        244 => -60_000,
        245 => 3_600_000,
        246 => -3_600_000,
        247 => 1 << 31,
        248 => -(1 << 31),
        _ => 33,
    }
}

/// Pads the last unit of a picture in a legacy tag.
fn pad(body: &mut Vec<u8>) {
    const TAG_BYTES: usize = 5;
    if !matches!(body[..], [0x17 | 0x27, 1, _, _, _, _, _, _, _, _, ..]) {
        return;
    }
    let last = nal::units(&body[TAG_BYTES..], 4).last().map_or(0, <[u8]>::len);
    let begin = body.len() - last;
    body.resize(body.len() + PADDED_BYTES, 0x55);
    let length = (last + PADDED_BYTES) as u32;
    if begin >= TAG_BYTES + 4 {
        body[begin - 4..begin].copy_from_slice(&length.to_be_bytes());
    }
}

fn raw(_key: u8, content: &[u8]) -> Bytes {
    Bytes::copy_from_slice(content)
}

fn tagged(key: u8, content: &[u8]) -> Bytes {
    [&[if key == 0 { 0x27 } else { 0x17 }, 1, 0, 0, 0], content].concat().into()
}

fn length_prefixed(key: u8, content: &[u8]) -> Bytes {
    let units: Vec<_> = records(content).collect();
    tagged(key, &nal::length_prefixed(units.iter().map(Bytes::as_ref), 4))
}

fn start_coded(key: u8, content: &[u8]) -> Bytes {
    let units: Vec<_> = records(content).flat_map(|unit| [&[0, 0, 0, 1], unit.as_ref()].concat()).collect();
    tagged(key, &units)
}

fn hevc(key: u8, content: &[u8]) -> Bytes {
    let units: Vec<_> = records(content).collect();
    let units = nal::length_prefixed(units.iter().map(Bytes::as_ref), 4);
    [&[if key == 0 { 0xA3 } else { 0x93 }], &b"hvc1"[..], &units].concat().into()
}

fn raw_aac(_key: u8, content: &[u8]) -> Bytes {
    [&[0xAF, 1], content].concat().into()
}

fn adts(_key: u8, content: &[u8]) -> Bytes {
    let config = aac::Config::parse(&AAC_HEADER[2..]).expect("parses");
    let mut body = BytesMut::from(&[0xAF, 1][..]);
    for frame in records(content) {
        body.put_slice(&config.adts_header(frame.len()).expect("a record is short"));
        body.put_slice(&frame);
    }
    body.freeze()
}

/// A header of parameter sets, including invalid ones.
fn parameter_sets(_key: u8, content: &[u8]) -> Bytes {
    let (pps, sps): (Vec<_>, Vec<_>) = records(content).partition(|unit| avc::nal::kind(unit) == avc::nal::PPS);
    let record = avc::Config::record(&sps, &pps).unwrap_or_default();
    [&[0x17, 0, 0, 0, 0], record.as_ref()].concat().into()
}
