//! AAC: AudioSpecificConfig (ISO 14496-3 section 1.6.2.1) and the ADTS header (section 1.A.3.2).

use super::{Error, bits::Bits};

/// Samples per second by samplingFrequencyIndex.
const RATES: [u32; 13] =
    [96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000, 7_350];
/// Channels by channelConfiguration; 0 says that they are described elsewhere.
const CHANNELS: [u8; 8] = [0, 1, 2, 3, 4, 5, 6, 8];
const ESCAPE: u32 = 31;
const RATE_ESCAPE: u32 = 15;
/// Spectral band replication (HE-AAC), and with parametric stereo.
const SBR: u8 = 5;
const PS: u8 = 29;

/// Samples in a frame of the core codec.
pub const FRAME_SAMPLES: u32 = 1_024;
/// Bytes of an ADTS header without checksum.
pub const ADTS_BYTES: usize = 7;
/// The longest frame that its 13-bit length allows.
const ADTS_FRAME_MAX: usize = 0x1FFF;

/// An AudioSpecificConfig. What follows the fields that matter is ignored: encoders append extensions of all kinds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// audioObjectType as announced: 2 is AAC-LC, 5 HE-AAC, 29 HE-AAC v2.
    pub object_type: u8,
    /// Samples per second of the core codec.
    pub core_rate: u32,
    /// Samples per second with band replication.
    extension_rate: Option<u32>,
    /// channelConfiguration.
    channel_configuration: u8,
    /// Channels that come out.
    pub channels: u8,
    /// frameLengthFlag of the GASpecificConfig: frames of 960 samples, as in digital radio.
    short_frames: bool,
}

impl Config {
    /// Reads a config.
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        let mut bits = Bits::new(bytes);
        let object_type = object_type(&mut bits)?;
        let core_rate = rate(&mut bits)?;
        let channel_configuration = bits.u(4)? as u8;
        let extension_rate = if matches!(object_type, SBR | PS) { Some(rate(&mut bits)?) } else { None };
        // With band replication, the type of the core codec follows.
        let core_type = if extension_rate.is_some() { self::object_type(&mut bits) } else { Ok(object_type) };
        // The flag stands first in a GASpecificConfig (section 4.4.1). A header that ends before it means long frames.
        let short_frames = matches!(core_type, Ok(1..=4)) && bits.flag().unwrap_or(false);
        let mut channels = *CHANNELS.get(usize::from(channel_configuration)).ok_or(Error::Invalid)?;
        if object_type == PS {
            channels = 2;
        }
        Ok(Self { object_type, core_rate, extension_rate, channel_configuration, channels, short_frames })
    }

    /// Samples per second that come out.
    pub fn output_rate(&self) -> u32 {
        self.extension_rate.unwrap_or(self.core_rate)
    }

    /// Samples that come out of a frame, at [`Config::output_rate`]; `None` for kinds of AAC whose frames are of other
    /// lengths (low delay, xHE-AAC).
    pub fn frame_samples(&self) -> Option<u32> {
        const SHORT_FRAME_SAMPLES: u32 = 960;
        if !matches!(self.object_type, 1..=4 | SBR | PS) {
            return None;
        }
        let core = if self.short_frames { SHORT_FRAME_SAMPLES } else { FRAME_SAMPLES };
        let (output, rest) = (self.output_rate() / self.core_rate, self.output_rate() % self.core_rate);
        // Band replication doubles the rate or keeps it.
        matches!((output, rest), (1 | 2, 0)).then_some(core * output)
    }

    /// The codec string of HLS and MSE (RFC 6381 section 3.3).
    pub fn codec_string(&self) -> String {
        format!("mp4a.40.{}", self.object_type)
    }

    /// Whether ADTS can carry this kind of AAC.
    pub fn fits_adts(&self) -> bool {
        self.adts_header(0).is_some()
    }

    /// The header of an ADTS frame with `payload` bytes; `None` when the frame is too long, or when ADTS has no number for
    /// the rate or the object type. HE-AAC is signalled implicitly, as LC at the core rate.
    pub fn adts_header(&self, payload: usize) -> Option<[u8; ADTS_BYTES]> {
        const LC: u8 = 2;
        let profile = match self.object_type {
            1..=4 => self.object_type,
            SBR | PS => LC,
            _ => return None,
        } - 1;
        let rate = RATES.iter().position(|&rate| rate == self.core_rate)? as u8;
        let length = Some(payload + ADTS_BYTES).filter(|&length| length <= ADTS_FRAME_MAX)? as u16;
        let [high, low] = length.to_be_bytes();
        let channels = self.channel_configuration;
        Some([
            0xFF,
            0xF1,
            profile << 6 | rate << 2 | channels >> 2,
            channels << 6 | high >> 3,
            high << 5 | low >> 3,
            low << 5 | 0x1F,
            0xFC,
        ])
    }
}

fn object_type(bits: &mut Bits<'_>) -> Result<u8, Error> {
    let kind = bits.u(5)?;
    Ok(if kind == ESCAPE { 32 + bits.u(6)? } else { kind } as u8)
}

fn rate(bits: &mut Bits<'_>) -> Result<u32, Error> {
    match bits.u(4)? {
        RATE_ESCAPE => Some(bits.u(24)?).filter(|&rate| rate > 0).ok_or(Error::Invalid),
        index => RATES.get(index as usize).copied().ok_or(Error::Invalid),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn configs_of_the_field_are_read() {
        for (bytes, object_type, rate, channels) in [
            (&[0x11, 0x90][..], 2, 48_000, 2),
            (&[0x12, 0x08], 2, 44_100, 1),
            // FFmpeg's, with its extension bytes.
            (&[0x11, 0x90, 0x56, 0xE5, 0x00], 2, 48_000, 2),
            // HE-AAC at 24 kHz that comes out at 48 kHz.
            (&[0x2B, 0x11, 0x88, 0x00], 5, 48_000, 2),
        ] {
            let config = Config::parse(bytes).expect("parses");
            assert_eq!((config.object_type, config.output_rate(), config.channels), (object_type, rate, channels));
        }
    }

    #[test]
    fn frames_have_the_samples_that_the_header_says() {
        for (bytes, samples) in [
            (&[0x11, 0x90][..], Some(1_024)),
            (&[0x11], None),
            (&[0x11, 0x94], Some(960)),
            (&[0x2B, 0x11, 0x88, 0x00], Some(2_048)),
            // HE-AAC with frames of 960, and one whose output rate is that of the core.
            (&[0x2B, 0x11, 0x8A, 0x00], Some(1_920)),
            (&[0x29, 0x91, 0x88, 0x00], Some(1_024)),
            // Low delay.
            (&[0xB9, 0x90, 0x00], None),
        ] {
            assert_eq!(Config::parse(bytes).ok().and_then(|config| config.frame_samples()), samples, "{bytes:02x?}");
        }
    }

    #[test]
    fn adts_header_holds_length_rate_and_channels() {
        let config = Config::parse(&[0x11, 0x90]).expect("parses");
        assert_eq!(config.adts_header(0x123), Some([0xFF, 0xF1, 0x4C, 0x80, 0x25, 0x5F, 0xFC]));
        assert_eq!(config.adts_header(9_000), None);
        // xHE-AAC (object type 42), and a rate without an index.
        for unfit in [&[0xF9, 0x46, 0x40][..], &[0x17, 0x80, 0x5D, 0xC0, 0x90]] {
            assert!(!Config::parse(unfit).expect("parses").fits_adts(), "{unfit:02x?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_parsed_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..12)) {
            if let Ok(config) = Config::parse(&bytes) {
                let _ = (config.adts_header(100), config.frame_samples());
            }
        }
    }
}
