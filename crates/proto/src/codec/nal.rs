//! NAL units: how they are framed in an access unit, and what H.264 and H.265 units say about a picture.
//!
//! ```text
//! ISO 14496-15 section 5.3.3.1   length (1, 2 or 4 bytes)  unit   length  unit  ...
//! H.264 annex B, byte stream     00 00 (00) 01  unit  00 00 (00) 01  unit  ...
//! ```

use bytes::{BufMut, Bytes, BytesMut};

use super::bits::{Bits, unescape};
use crate::track::VideoCodec;

/// Longer SEI units are not searched, in bytes: a recovery point has a few bytes, but other messages may precede it.
const SEI_BYTES_MAX: usize = 4 * 1024;
/// payloadType of a recovery point (H.264 table D-1; H.265 annex D.2.1).
const RECOVERY_POINT: usize = 6;

/// What the NAL units of a message contain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NalSummary {
    /// At least one slice.
    pub has_slice: bool,
    /// The first slice begins a picture.
    pub begins_picture: bool,
    /// Decoding can start here: IDR, BLA, CRA, or a recovery point SEI.
    pub random_access: bool,
    /// Every slice whose type can be read is an intra slice.
    pub intra: bool,
}

/// The NAL units of a length-prefixed access unit, without empty ones. Stops at a truncated unit.
pub fn units(access_unit: &[u8], length_bytes: usize) -> impl Iterator<Item = &[u8]> {
    prefixed(access_unit, length_bytes).filter(|nal| !nal.is_empty())
}

fn prefixed(mut access_unit: &[u8], length_bytes: usize) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let (length, rest) = access_unit.split_at_checked(length_bytes)?;
        let length = length.iter().fold(0_usize, |length, &byte| length << 8 | usize::from(byte));
        let (nal, rest) = rest.split_at_checked(length)?;
        access_unit = rest;
        Some(nal)
    })
}

/// Whether the length prefixes of an access unit add up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// They add up to the access unit.
    Complete,
    /// They add up, and some units are empty.
    WithEmptyUnits,
    /// They do not add up.
    Invalid,
}

/// Checks the length prefixes of an access unit.
pub fn framing(access_unit: &[u8], length_bytes: usize) -> Framing {
    let (mut bytes, mut empty) = (0, false);
    for nal in prefixed(access_unit, length_bytes) {
        bytes += length_bytes + nal.len();
        empty |= nal.is_empty();
    }
    match (bytes == access_unit.len(), empty) {
        (false, _) => Framing::Invalid,
        (true, true) => Framing::WithEmptyUnits,
        (true, false) => Framing::Complete,
    }
}

/// Whether the bytes begin with a start code.
pub fn has_start_code(bytes: &[u8]) -> bool {
    bytes.starts_with(&[0, 0, 1]) || bytes.starts_with(&[0, 0, 0, 1])
}

/// The NAL units of a byte stream. Bytes before the first start code are returned as the first unit.
pub fn split_start_codes(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(bytes);
    std::iter::from_fn(move || {
        let bytes = rest?;
        let end = bytes.windows(3).position(|three| three == [0, 0, 1]);
        rest = end.and_then(|end| bytes.get(end + 3..));
        let unit = bytes.get(..end.unwrap_or(bytes.len())).unwrap_or_default();
        // Zero bytes before a start code belong to the start code; a unit never ends with a zero byte.
        Some(unit.get(..unit.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1)).unwrap_or_default())
    })
    .filter(|unit| !unit.is_empty())
}

/// Units in length-prefixed form. Units that are too long for the length field are left out.
pub fn length_prefixed<'a>(units: impl Iterator<Item = &'a [u8]>, length_bytes: usize) -> Bytes {
    let mut out = BytesMut::new();
    for unit in units {
        if unit.len() >> (8 * length_bytes) == 0 {
            out.put_uint(unit.len() as u64, length_bytes);
            out.put_slice(unit);
        }
    }
    out.freeze()
}

/// Examines the units of an H.264 or H.265 message; empty for other codecs.
pub fn summarize<'a>(codec: VideoCodec, units: impl Iterator<Item = &'a [u8]>) -> NalSummary {
    let mut summary = NalSummary { intra: true, ..NalSummary::default() };
    for unit in units {
        match codec {
            VideoCodec::Avc => summary.see_avc(unit),
            VideoCodec::Hevc => summary.see_hevc(unit),
            _ => {}
        }
    }
    summary.intra &= summary.has_slice;
    summary
}

impl NalSummary {
    /// H.264 tables 7-1 and 7-6, section 7.3.3.
    fn see_avc(&mut self, unit: &[u8]) {
        let &[first, ref rest @ ..] = unit else { return };
        match first & 0x1F {
            kind @ (1 | 2 | 5) => {
                self.see_slice(rest.first().is_some_and(|byte| byte & 0x80 != 0));
                self.random_access |= kind == 5;
                let mut bits = Bits::new(rest.get(..16).unwrap_or(rest));
                // first_mb_in_slice, slice_type: 2 and 7 are I, 4 and 9 SI.
                let intra = bits.ue().and_then(|_| bits.ue()).is_ok_and(|kind| matches!(kind, 2 | 4 | 7 | 9));
                self.intra &= intra;
            }
            6 => self.random_access |= has_recovery_point(rest),
            _ => {}
        }
    }

    /// H.265 table 7-1, section 7.3.6.1.
    fn see_hevc(&mut self, unit: &[u8]) {
        let &[first, _, ref rest @ ..] = unit else { return };
        match first >> 1 & 0x3F {
            kind @ 0..=31 => {
                self.see_slice(rest.first().is_some_and(|byte| byte & 0x80 != 0));
                // BLA, IDR and CRA pictures.
                let random_access = (16..=21).contains(&kind);
                self.random_access |= random_access;
                self.intra &= random_access;
            }
            39 => self.random_access |= has_recovery_point(rest),
            _ => {}
        }
    }

    fn see_slice(&mut self, is_first: bool) {
        self.begins_picture |= is_first && !self.has_slice;
        self.has_slice = true;
    }
}

/// Whether an SEI unit, after its header, holds a recovery point (H.264 section 7.3.2.3.1).
fn has_recovery_point(messages: &[u8]) -> bool {
    if messages.len() > SEI_BYTES_MAX {
        return false;
    }
    let messages = unescape(messages);
    let mut rest = messages.as_slice();
    let number = |rest: &mut &[u8]| {
        let mut number = 0;
        loop {
            let (&byte, after) = rest.split_first()?;
            *rest = after;
            number += usize::from(byte);
            if byte != 0xFF {
                return Some(number);
            }
        }
    };
    while let (Some(kind), Some(size)) = (number(&mut rest), number(&mut rest)) {
        if kind == RECOVERY_POINT && size > 0 {
            return true;
        }
        let Some(after) = rest.get(size..) else { return false };
        rest = after;
    }
    false
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn avc(units: &[&[u8]]) -> NalSummary {
        summarize(VideoCodec::Avc, units.iter().copied())
    }

    #[test]
    fn slices_show_pictures_and_keyframes() {
        let begins = NalSummary { has_slice: true, begins_picture: true, ..NalSummary::default() };
        // first_mb_in_slice 0 and slice_type 7 (I): 1 0001000; slice_type 5 (P): 1 00110.
        assert_eq!(avc(&[&[0x65, 0x88, 0x80]]), NalSummary { random_access: true, intra: true, ..begins });
        assert_eq!(avc(&[&[0x41, 0x88, 0x80]]), NalSummary { intra: true, ..begins });
        assert_eq!(avc(&[&[0x41, 0x9A, 0x00]]), begins);
        assert_eq!(avc(&[&[0x41, 0x9A], &[0x41, 0x13]]), begins);
        assert_eq!(avc(&[&[0x41, 0x13]]), NalSummary { has_slice: true, ..NalSummary::default() });
        // A recovery point after another message with a long payload.
        let sei = [&[0x06, 5, 0xFF, 2][..], &[9; 257], &[6, 1, 0x80, 0x80]].concat();
        assert_eq!(avc(&[&sei, &[0x41, 0x9A]]), NalSummary { random_access: true, ..begins });
        assert_eq!(avc(&[&[0x06, 4, 1, 0xB5, 0x80]]), NalSummary::default());
        for (kind, random_access) in [(1, false), (16, true), (19, true), (21, true), (22, false)] {
            let seen = summarize(VideoCodec::Hevc, [&[kind << 1, 1, 0x80][..]].into_iter());
            assert_eq!(seen, NalSummary { random_access, intra: random_access, ..begins }, "{kind}");
        }
    }

    #[test]
    fn start_codes_and_length_prefixes_frame_the_same_units() {
        let stream = [0, 0, 0, 1, 9, 0x30, 0, 0, 1, 0x65, 1, 0, 0, 2, 0, 0, 0, 1, 0x65, 7];
        let units: Vec<_> = split_start_codes(&stream).collect();
        assert_eq!(units, [&[9, 0x30][..], &[0x65, 1, 0, 0, 2], &[0x65, 7]]);
        for length_bytes in [1, 2, 4] {
            let prefixed = length_prefixed(units.iter().copied(), length_bytes);
            assert_eq!(framing(&prefixed, length_bytes), Framing::Complete);
            assert_eq!(super::units(&prefixed, length_bytes).collect::<Vec<_>>(), units);
        }
        assert_eq!(framing(&stream, 4), Framing::Invalid);
        assert_eq!(framing(&[0, 0, 0, 0, 0, 0, 0, 1, 9], 4), Framing::WithEmptyUnits);
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_do_not_panic(bytes in prop::collection::vec(any::<u8>(), 0..60), length_bytes in 1_usize..=4) {
            for codec in [VideoCodec::Avc, VideoCodec::Hevc] {
                let _ = summarize(codec, units(&bytes, length_bytes));
                let _ = summarize(codec, split_start_codes(&bytes));
            }
        }
    }
}
