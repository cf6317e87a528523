//! AV1: the AV1CodecConfigurationRecord (AV1 in ISOBMFF section 2.3) and the sequence header OBU (AV1 specification
//! section 5.5).

use bytes::Bytes;

use super::{bits::Bits, error::Error, picture::PictureFormat};

const OBU_SEQUENCE_HEADER: u32 = 1;
const OBU_FRAME_HEADER: u32 = 3;
const OBU_FRAME: u32 = 6;

/// A codec configuration record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    profile: u8,
    level: u8,
    high_tier: bool,
    bit_depth: u8,
    obus: Bytes,
}

impl Config {
    /// Parses a configuration record.
    pub fn parse(record: &Bytes) -> Result<Self, Error> {
        let &[version, profile_level, flags, _, ..] = record.as_ref() else { return Err(Error::Truncated) };
        if version != 0x81 {
            return Err(Error::Invalid);
        }
        let (high_depth, twelve) = (flags & 0x40 != 0, flags & 0x20 != 0);
        Ok(Self {
            profile: profile_level >> 5,
            level: profile_level & 0x1F,
            high_tier: flags & 0x80 != 0,
            bit_depth: if twelve {
                12
            } else if high_depth {
                10
            } else {
                8
            },
            obus: record.slice(4..),
        })
    }

    /// Size and frame rate from the sequence header.
    pub fn picture(&self) -> Result<PictureFormat, Error> {
        let mut bits = Bits::new(&self.obus);
        bits.skip(1)?;
        if bits.u(4)? != OBU_SEQUENCE_HEADER {
            return Err(Error::Invalid);
        }
        let (extension, has_size) = (bits.flag()?, bits.flag()?);
        bits.skip(1)?;
        bits.skip(if extension { 8 } else { 0 })?;
        while has_size && bits.u(8)? & 0x80 != 0 {}
        sequence_header(&mut bits)
    }

    /// The codec string of HLS and MSE (AV1 in ISOBMFF section 5).
    pub fn codec_string(&self) -> String {
        let tier = if self.high_tier { 'H' } else { 'M' };
        format!("av01.{}.{:02}{tier}.{:02}", self.profile, self.level, self.bit_depth)
    }
}

/// Whether decoding can start at a temporal unit (low-overhead format, section 5.2): its first frame header belongs to
/// a key frame (section 5.9.2). `None` if it has no frame header.
pub fn is_key(mut unit: &[u8]) -> Option<bool> {
    const KEY_FRAME: u32 = 0;
    while !unit.is_empty() {
        let mut bits = Bits::new(unit);
        bits.skip(1).ok()?;
        let kind = bits.u(4).ok()?;
        let (extension, has_size) = (bits.flag().ok()?, bits.flag().ok()?);
        let rest = unit.get(1 + usize::from(extension)..)?;
        let (size, rest) = if has_size { leb128(rest)? } else { (rest.len(), rest) };
        let (obu, after) = rest.split_at_checked(size)?;
        if matches!(kind, OBU_FRAME_HEADER | OBU_FRAME) {
            let mut bits = Bits::new(obu);
            let shows_existing = bits.flag().ok()?;
            return Some(!shows_existing && bits.u(2).ok()? == KEY_FRAME);
        }
        unit = after;
    }
    None
}

/// Splits off a leb128() number (section 4.10.5).
fn leb128(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let mut value = 0_usize;
    for (index, &byte) in bytes.iter().enumerate().take(4) {
        value |= usize::from(byte & 0x7F) << (7 * index);
        if byte & 0x80 == 0 {
            return Some((value, bytes.get(index + 1..)?));
        }
    }
    None
}

fn sequence_header(bits: &mut Bits<'_>) -> Result<PictureFormat, Error> {
    bits.skip(3)?;
    bits.skip(1)?;
    let reduced = bits.flag()?;
    if reduced {
        bits.skip(5)?;
    } else {
        let mut decoder_model_bits = None;
        if bits.flag()? {
            decoder_model_bits = skip_timing(bits)?;
        }
        let initial_delay = bits.flag()?;
        for _ in 0..=bits.u(5)? {
            bits.skip(12)?;
            if bits.u(5)? > 7 {
                bits.skip(1)?;
            }
            if let Some(length) = decoder_model_bits
                && bits.flag()?
            {
                bits.skip(2 * length + 1)?;
            }
            if initial_delay && bits.flag()? {
                bits.skip(4)?;
            }
        }
    }
    let (width_bits, height_bits) = (bits.u(4)? + 1, bits.u(4)? + 1);
    let (width, height) = (u64::from(bits.u(width_bits)?) + 1, u64::from(bits.u(height_bits)?) + 1);
    PictureFormat::cropped((width, height), (0, 0), None)
}

/// Skips timing information. Returns the bit length of the decoder model's delays, if there is a decoder model.
fn skip_timing(bits: &mut Bits<'_>) -> Result<Option<usize>, Error> {
    bits.skip(64)?;
    if bits.flag()? {
        bits.ue()?;
    }
    if !bits.flag()? {
        return Ok(None);
    }
    let length = bits.u(5)? as usize + 1;
    bits.skip(32 + 10)?;
    Ok(Some(length))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// libaom's header of 640x360 (`ffmpeg -f lavfi -i testsrc2=s=640x360 -c:v libaom-av1`).
    const RECORD: &[u8] =
        &[0x81, 0x01, 0x0C, 0x00, 0x0A, 0x0B, 0x00, 0x00, 0x00, 0x0C, 0xC4, 0xFF, 0x67, 0x36, 0xBE, 0x40, 0x10];

    #[test]
    fn libaom_record_is_parsed() {
        let config = Config::parse(&Bytes::from_static(RECORD)).expect("parses");
        assert_eq!(config.codec_string(), "av01.0.01M.08");
        assert_eq!(config.picture(), Ok(PictureFormat { width: 640, height: 360, fps: None }));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_do_not_panic(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            let record = [&[0x81], bytes.as_slice()].concat();
            let _ = Config::parse(&record.into()).and_then(|config| config.picture());
        }
    }
}
