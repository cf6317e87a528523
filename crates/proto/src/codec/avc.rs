//! H.264: the AVCDecoderConfigurationRecord (ISO 14496-15 section 5.3.3.1.2) and the sequence parameter set (ITU-T
//! H.264 section 7.3.2.1.1).

use std::collections::BTreeSet;

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::{
    bits::{Bits, unescape},
    error::Error,
    picture::PictureFormat,
};

/// NAL unit types (H.264 table 7-1) that a packager needs.
pub mod nal {
    /// A slice of an IDR picture.
    pub const IDR: u8 = 5;
    /// Sequence parameter set.
    pub const SPS: u8 = 7;
    /// PictureFormat parameter set.
    pub const PPS: u8 = 8;
    /// Access unit delimiter.
    pub const AUD: u8 = 9;

    /// The type of a NAL unit.
    pub fn kind(nal: &[u8]) -> u8 {
        nal.first().map_or(0, |byte| byte & 0x1F)
    }
}

/// An AVC decoder configuration record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// AVCProfileIndication, profile_compatibility, AVCLevelIndication.
    pub profile: [u8; 3],
    /// Bytes of the length field before each NAL unit: 1, 2 or 4.
    pub length_bytes: usize,
    /// Sequence parameter sets.
    pub sps: Vec<Bytes>,
    /// PictureFormat parameter sets.
    pub pps: Vec<Bytes>,
}

impl Config {
    /// Parses a record. A record without parameter sets is valid: they may come in band.
    pub fn parse(record: &Bytes) -> Result<Self, Error> {
        let mut rest = record.clone();
        if rest.len() < 6 {
            return Err(Error::Truncated);
        }
        if rest.get_u8() != 1 {
            return Err(Error::Invalid);
        }
        let profile = [rest.get_u8(), rest.get_u8(), rest.get_u8()];
        let length_bytes = usize::from(rest.get_u8() & 3) + 1;
        if length_bytes == 3 {
            return Err(Error::Invalid);
        }
        let sps_count = rest.get_u8() & 0x1F;
        let sps = parameter_sets(&mut rest, sps_count)?;
        let pps_count = if rest.is_empty() { 0 } else { rest.get_u8() };
        let pps = parameter_sets(&mut rest, pps_count)?;
        Ok(Self { profile, length_bytes, sps, pps })
    }

    /// Size and frame rate from the first sequence parameter set.
    pub fn picture(&self) -> Result<PictureFormat, Error> {
        picture(self.sps.first().ok_or(Error::Truncated)?)
    }

    /// Builds a record from parameter sets, with four-byte lengths. `None` without a sequence parameter set that
    /// contains the profile.
    pub fn record(sps: &[Bytes], pps: &[Bytes]) -> Option<Bytes> {
        /// Reserved bits, and lengths of four bytes.
        const LENGTH_BYTES: u8 = 0xFC | 3;
        let profile = sps.first()?.get(1..4)?;
        let mut record = BytesMut::new();
        record.put_u8(1);
        record.put_slice(profile);
        record.put_u8(LENGTH_BYTES);
        for (reserved, sets) in [(0xE0, sps), (0, pps)] {
            record.put_u8(reserved | sets.len().min(0x1F) as u8);
            for set in sets.iter().take(0x1F) {
                record.put_u16(u16::try_from(set.len()).ok()?);
                record.put_slice(set);
            }
        }
        Some(record.freeze())
    }

    /// Whether both records initialise a decoder in the same way: the same parameter sets, in any order and with any
    /// padding. Without parameter sets, the profile must be equal.
    pub fn is_equivalent(&self, other: &Self) -> bool {
        let sets = |config: &Self| {
            let all = config.sps.iter().chain(&config.pps).map(|set| trimmed(set)).filter(|set| !set.is_empty());
            all.map(<[u8]>::to_vec).collect::<BTreeSet<_>>()
        };
        let (own, others) = (sets(self), sets(other));
        self.length_bytes == other.length_bytes && own == others && (!own.is_empty() || self.profile == other.profile)
    }

    /// Whether there is a sequence parameter set and a picture parameter set.
    pub fn is_complete(&self) -> bool {
        let some = |sets: &[Bytes]| sets.iter().any(|set| set.len() > 1);
        some(&self.sps) && some(&self.pps)
    }

    /// The codec string of HLS and MSE (RFC 6381 section 3.3).
    pub fn codec_string(&self) -> String {
        let [profile, compatibility, level] = self.profile;
        format!("avc1.{profile:02X}{compatibility:02X}{level:02X}")
    }
}

/// The parameter set without trailing zero bytes, which some encoders append.
pub fn trimmed(set: &[u8]) -> &[u8] {
    set.get(..set.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1)).unwrap_or_default()
}

fn parameter_sets(rest: &mut Bytes, count: u8) -> Result<Vec<Bytes>, Error> {
    (0..count)
        .map(|_| {
            let length = usize::from(rest.try_get_u16().map_err(|_| Error::Truncated)?);
            if rest.len() < length { Err(Error::Truncated) } else { Ok(rest.split_to(length)) }
        })
        .collect()
}

/// Profiles whose sequence parameter sets contain chroma_format_idc.
const CHROMA_PROFILES: [u32; 13] = [100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135];

/// Parses a sequence parameter set NAL unit.
pub fn picture(sps: &[u8]) -> Result<PictureFormat, Error> {
    let payload = unescape(sps.get(1..).ok_or(Error::Truncated)?);
    let mut bits = Bits::new(&payload);
    let profile = bits.u(8)?;
    bits.skip(16)?;
    bits.ue()?;
    let mut chroma_format = 1;
    if CHROMA_PROFILES.contains(&profile) {
        chroma_format = bits.ue()?;
        if chroma_format == 3 {
            bits.skip(1)?;
        }
        bits.ue()?;
        bits.ue()?;
        bits.skip(1)?;
        if bits.flag()? {
            skip_scaling_lists(&mut bits, if chroma_format == 3 { 12 } else { 8 })?;
        }
    }
    bits.ue()?;
    skip_picture_order(&mut bits)?;
    bits.ue()?;
    bits.skip(1)?;
    let width_blocks = u64::from(bits.ue()?) + 1;
    let height_units = u64::from(bits.ue()?) + 1;
    let frame_only = bits.flag()?;
    if !frame_only {
        bits.skip(1)?;
    }
    bits.skip(1)?;
    let fields = if frame_only { 1 } else { 2 };
    let mut crop = (0, 0);
    if bits.flag()? {
        let [left, right, top, bottom] = [bits.ue()?, bits.ue()?, bits.ue()?, bits.ue()?].map(u64::from);
        let unit_x = if matches!(chroma_format, 1 | 2) { 2 } else { 1 };
        let unit_y = if chroma_format == 1 { 2 } else { 1 };
        crop = ((left + right) * unit_x, (top + bottom) * unit_y * fields);
    }
    let fps = if bits.flag().unwrap_or(false) { frame_rate(&mut bits).unwrap_or(None) } else { None };
    PictureFormat::cropped((width_blocks * 16, height_units * 16 * fields), crop, fps)
}

fn skip_scaling_lists(bits: &mut Bits<'_>, count: usize) -> Result<(), Error> {
    for index in 0..count {
        if !bits.flag()? {
            continue;
        }
        let (mut last, mut next) = (8_i32, 8_i32);
        for _ in 0..if index < 6 { 16 } else { 64 } {
            if next != 0 {
                next = last.wrapping_add(bits.se()?).rem_euclid(256);
            }
            if next != 0 {
                last = next;
            }
        }
    }
    Ok(())
}

fn skip_picture_order(bits: &mut Bits<'_>) -> Result<(), Error> {
    match bits.ue()? {
        0 => {
            bits.ue()?;
        }
        1 => {
            bits.skip(1)?;
            bits.se()?;
            bits.se()?;
            for _ in 0..bits.ue()?.min(255) {
                bits.se()?;
            }
        }
        _ => {}
    }
    Ok(())
}

/// The frame rate from the video usability information (H.264 annex E.1.1).
fn frame_rate(bits: &mut Bits<'_>) -> Result<Option<f64>, Error> {
    const EXTENDED_SAR: u32 = 255;
    if bits.flag()? && bits.u(8)? == EXTENDED_SAR {
        bits.skip(32)?;
    }
    if bits.flag()? {
        bits.skip(1)?;
    }
    if bits.flag()? {
        bits.skip(4)?;
        if bits.flag()? {
            bits.skip(24)?;
        }
    }
    if bits.flag()? {
        bits.ue()?;
        bits.ue()?;
    }
    if !bits.flag()? {
        return Ok(None);
    }
    let (ticks, scale) = (bits.u(32)?, bits.u(32)?);
    // A frame takes two ticks.
    Ok((ticks > 0).then(|| f64::from(scale) / f64::from(ticks) / 2.0))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// x264's header of 1920x1080 at 30 fps, High profile (`ffmpeg -f lavfi -i testsrc2=s=1920x1080:r=30 -c:v libx264
    /// -f flv`).
    const FULL_HD: &[u8] = &[
        0x01, 0x64, 0x00, 0x28, 0xFF, 0xE1, 0x00, 0x1B, 0x67, 0x64, 0x00, 0x28, 0xAC, 0xD9, 0x40, 0x78, 0x02, 0x27,
        0xE5, 0xC0, 0x44, 0x00, 0x00, 0x03, 0x00, 0x04, 0x00, 0x00, 0x03, 0x00, 0xF0, 0x3C, 0x60, 0xC6, 0x58, 0x01,
        0x00, 0x06, 0x68, 0xEB, 0xE3, 0xCB, 0x22, 0xC0, 0xFD, 0xF8, 0xF8, 0x00,
    ];

    #[test]
    fn x264_record_is_parsed() {
        let config = Config::parse(&Bytes::from_static(FULL_HD)).expect("parses");
        assert_eq!((config.length_bytes, config.sps.len(), config.pps.len()), (4, 1, 1));
        assert_eq!(config.codec_string(), "avc1.640028");
        assert_eq!(config.picture(), Ok(PictureFormat { width: 1920, height: 1080, fps: Some(30.0) }));
    }

    #[test]
    fn record_without_parameter_sets_is_valid() {
        let config = Config::parse(&Bytes::from_static(&[1, 0x42, 0, 0x1E, 0xFC, 0xE0, 0])).expect("parses");
        assert_eq!((config.length_bytes, config.sps.len()), (1, 0));
        assert_eq!(config.picture(), Err(Error::Truncated));
    }

    #[test]
    fn records_with_equal_parameter_sets_are_equivalent() {
        let parse = |bytes: &[u8]| Config::parse(&Bytes::copy_from_slice(bytes)).expect("parses");
        let config = parse(FULL_HD);
        let record = Config::record(&config.sps, &config.pps).expect("has a profile");
        assert!(parse(&record).is_equivalent(&config), "without the extension of the High profiles");
        assert!(parse(&[FULL_HD, &[0, 0]].concat()).is_equivalent(&config), "with padding");
        assert!(config.is_complete());
        let mut other = config.clone();
        other.pps.clear();
        assert!(!other.is_equivalent(&config) && !other.is_complete());
        let empty = |level| parse(&[1, 0x42, 0, level, 0xFF, 0xE1, 0, 0, 1, 0, 0]);
        assert!(!empty(30).is_equivalent(&empty(31)) && empty(30).is_equivalent(&empty(30)));
        assert_eq!(Config::record(&[], &[]), None);
    }

    #[test]
    fn scaling_list_that_overflows_does_not_panic() {
        // Found by fuzzing: the deltas of the scaling list overflow 32 bits.
        let record: &[u8] = &[
            0x01, 0x64, 0x00, 0x0A, 0xFF, 0xE1, 0x00, 0x18, 0x67, 0x64, 0x00, 0x0F, 0xA0, 0x0A, 0xFF, 0x31, 0x00, 0x18,
            0x00, 0x27, 0x00, 0x00, 0x00, 0x00, 0xFF, 0xFF, 0xFF, 0x04, 0xFD, 0xF8, 0xF8, 0x00,
        ];
        assert!(Config::parse(&Bytes::from_static(record)).expect("parses").picture().is_err());
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_do_not_panic(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            let _ = picture(&bytes);
            let record = [&[1, 66, 0, 30, 0xFF], bytes.as_slice()].concat();
            let _ = Config::parse(&record.into()).and_then(|config| config.picture());
        }
    }
}
