//! H.265: the HEVCDecoderConfigurationRecord (ISO 14496-15 section 8.3.3.1) and the sequence parameter set (ITU-T H.265
//! section 7.3.2.2).

use std::collections::BTreeSet;

use bytes::{Buf, Bytes};

use super::{
    bits::{Bits, unescape},
    error::Error,
    picture::PictureFormat,
};

const NAL_SPS: u8 = 33;
/// At most this many parameter sets in a record: 16 VPS, 16 SPS and 64 PPS exist (section 7.4.3), plus some SEI.
const PARAMETER_SETS_MAX: usize = 128;

/// An HEVC decoder configuration record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// general_profile_space, tier and profile_idc in one byte.
    profile: u8,
    compatibility: u32,
    constraints: [u8; 6],
    level: u8,
    /// Bytes of the length field before each NAL unit.
    pub length_bytes: usize,
    /// Parameter sets with their NAL unit types.
    pub parameter_sets: Vec<(u8, Bytes)>,
}

/// Whether a record in an AVC tag is in fact HEVC, as some old encoders send it. An HEVC record has fixed bits where an
/// AVC record has its parameter set counts, and its arrays have the NAL unit types of VPS, SPS and PPS.
pub fn is_config(record: &Bytes) -> bool {
    Config::parse(record).is_ok_and(|config| {
        let has = |kind| config.parameter_sets.iter().any(|(found, _)| *found == kind);
        has(32) && has(NAL_SPS) && has(34)
    })
}

impl Config {
    /// Parses a record.
    pub fn parse(record: &Bytes) -> Result<Self, Error> {
        let mut rest = record.clone();
        if rest.len() < 23 {
            return Err(Error::Truncated);
        }
        if rest.get_u8() != 1 {
            return Err(Error::Invalid);
        }
        let profile = rest.get_u8();
        let compatibility = rest.get_u32();
        let mut constraints = [0; 6];
        rest.copy_to_slice(&mut constraints);
        let level = rest.get_u8();
        // Segmentation, parallelism, chroma, depths, frame rate.
        rest.advance(8);
        let length_bytes = usize::from(rest.get_u8() & 3) + 1;
        let arrays = rest.get_u8();
        let mut parameter_sets = Vec::new();
        for _ in 0..arrays {
            let kind = rest.try_get_u8().map_err(|_| Error::Truncated)? & 0x3F;
            let count = rest.try_get_u16().map_err(|_| Error::Truncated)?;
            for _ in 0..count {
                let length = usize::from(rest.try_get_u16().map_err(|_| Error::Truncated)?);
                if rest.len() < length {
                    return Err(Error::Truncated);
                }
                if parameter_sets.len() == PARAMETER_SETS_MAX {
                    return Err(Error::Invalid);
                }
                parameter_sets.push((kind, rest.split_to(length)));
            }
        }
        Ok(Self { profile, compatibility, constraints, level, length_bytes, parameter_sets })
    }

    /// Size and frame rate from the sequence parameter set.
    pub fn picture(&self) -> Result<PictureFormat, Error> {
        let (_, sps) = self.parameter_sets.iter().find(|(kind, _)| *kind == NAL_SPS).ok_or(Error::Truncated)?;
        picture(sps)
    }

    /// Whether both records initialise a decoder in the same way: the same parameter sets in any order. Without
    /// parameter sets, the profile must be equal.
    pub fn is_equivalent(&self, other: &Self) -> bool {
        let sets = |config: &Self| config.parameter_sets.iter().cloned().collect::<BTreeSet<_>>();
        let (own, others) = (sets(self), sets(other));
        let profile = |config: &Self| (config.profile, config.compatibility, config.constraints, config.level);
        self.length_bytes == other.length_bytes && own == others && (!own.is_empty() || profile(self) == profile(other))
    }

    /// The codec string of HLS and MSE (ISO 14496-15 annex E.3).
    pub fn codec_string(&self) -> String {
        let space = ["", "A", "B", "C"][usize::from(self.profile >> 6)];
        let tier = if self.profile & 0x20 == 0 { 'L' } else { 'H' };
        let profile = self.profile & 0x1F;
        let compatibility = self.compatibility.reverse_bits();
        let mut text = format!("hvc1.{space}{profile}.{compatibility:X}.{tier}{}", self.level);
        let used = self.constraints.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
        for byte in self.constraints.iter().take(used) {
            text.push_str(&format!(".{byte:X}"));
        }
        text
    }
}

/// Parses a sequence parameter set NAL unit.
pub fn picture(sps: &[u8]) -> Result<PictureFormat, Error> {
    let payload = unescape(sps.get(2..).ok_or(Error::Truncated)?);
    let mut bits = Bits::new(&payload);
    bits.skip(4)?;
    let sub_layers = bits.u(3)?;
    bits.skip(1)?;
    skip_profile_tier_level(&mut bits, sub_layers)?;
    bits.ue()?;
    let chroma_format = bits.ue()?;
    if chroma_format == 3 {
        bits.skip(1)?;
    }
    let (width, height) = (u64::from(bits.ue()?), u64::from(bits.ue()?));
    let mut crop = (0, 0);
    if bits.flag()? {
        let [left, right, top, bottom] = [bits.ue()?, bits.ue()?, bits.ue()?, bits.ue()?].map(u64::from);
        let unit_x = if matches!(chroma_format, 1 | 2) { 2 } else { 1 };
        let unit_y = if chroma_format == 1 { 2 } else { 1 };
        crop = ((left + right) * unit_x, (top + bottom) * unit_y);
    }
    // The frame rate is at the far end of the SPS; it is measured instead.
    PictureFormat::cropped((width, height), crop, None)
}

fn skip_profile_tier_level(bits: &mut Bits<'_>, sub_layers: u32) -> Result<(), Error> {
    const GENERAL: usize = 88;
    bits.skip(GENERAL + 8)?;
    let mut present = Vec::new();
    for _ in 0..sub_layers {
        present.push((bits.flag()?, bits.flag()?));
    }
    if sub_layers > 0 {
        bits.skip(2 * (8 - sub_layers as usize))?;
    }
    for (profile, level) in present {
        bits.skip(if profile { GENERAL } else { 0 } + if level { 8 } else { 0 })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// x265's record of 1280x720 (`ffmpeg -f lavfi -i testsrc2=s=1280x720 -c:v libx265 -tag:v hvc1`, from the hvcC
    /// box).
    const RECORD: &[u8] = &[
        0x01, 0x01, 0x60, 0x00, 0x00, 0x00, 0x90, 0x00, 0x00, 0x00, 0x00, 0x00, 0x5D, 0xF0, 0x00, 0xFC, 0xFD, 0xF8,
        0xF8, 0x00, 0x00, 0x0F, 0x03, 0xA0, 0x00, 0x01, 0x00, 0x18, 0x40, 0x01, 0x0C, 0x01, 0xFF, 0xFF, 0x01, 0x60,
        0x00, 0x00, 0x03, 0x00, 0x90, 0x00, 0x00, 0x03, 0x00, 0x00, 0x03, 0x00, 0x5D, 0x95, 0x98, 0x09, 0xA1, 0x00,
        0x01, 0x00, 0x2B, 0x42, 0x01, 0x01, 0x01, 0x60, 0x00, 0x00, 0x03, 0x00, 0x90, 0x00, 0x00, 0x03, 0x00, 0x00,
        0x03, 0x00, 0x5D, 0xA0, 0x02, 0x80, 0x80, 0x2D, 0x16, 0x59, 0x59, 0xA4, 0x93, 0x2B, 0xC0, 0x5A, 0x02, 0x00,
        0x00, 0x03, 0x00, 0x02, 0x00, 0x00, 0x03, 0x00, 0x32, 0x10, 0xA2, 0x00, 0x01, 0x00, 0x07, 0x44, 0x01, 0xC1,
        0x72, 0xB4, 0x62, 0x40,
    ];

    #[test]
    fn x265_record_is_parsed() {
        let config = Config::parse(&Bytes::from_static(RECORD)).expect("parses");
        assert_eq!((config.length_bytes, config.parameter_sets.len()), (4, 3));
        assert_eq!(config.codec_string(), "hvc1.1.6.L93.90");
        assert_eq!(config.picture(), Ok(PictureFormat { width: 1280, height: 720, fps: None }));
        assert!(is_config(&Bytes::from_static(RECORD)));
    }

    #[test]
    fn record_with_too_many_parameter_sets_is_refused() {
        // Each set is two bytes on the wire and forty in memory.
        let mut record = vec![0; 23];
        (record[0], record[22]) = (1, 1);
        record.extend([NAL_SPS, 0xFF, 0xFF]);
        record.extend(vec![0; 2 * 0xFFFF]);
        assert_eq!(Config::parse(&record.into()), Err(Error::Invalid));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_do_not_panic(bytes in prop::collection::vec(any::<u8>(), 0..120)) {
            let _ = picture(&bytes);
            let record = [&[1], bytes.as_slice()].concat();
            let record = Bytes::from(record);
            let _ = is_config(&record);
            let _ = Config::parse(&record).and_then(|config| config.picture());
        }
    }
}
