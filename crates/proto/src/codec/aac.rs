//! AAC: AudioSpecificConfig (ISO 14496-3 section 1.6.2.1) and the ADTS header (section 1.A.3.2).

use bytes::Bytes;

use super::{bits::Bits, error::Error};

/// Samples per second by samplingFrequencyIndex.
const RATES: [u32; 13] =
    [96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000, 7_350];
/// Channels by channelConfiguration; 0 means that the channels are described elsewhere.
const CHANNELS: [u8; 8] = [0, 1, 2, 3, 4, 5, 6, 8];
const ESCAPE: u32 = 31;
const RATE_ESCAPE: u32 = 15;
/// Spectral band replication (HE-AAC); [`PS`] adds parametric stereo.
const SBR: u8 = 5;
const PS: u8 = 29;

/// Samples in a frame of the core codec.
pub const FRAME_SAMPLES: u32 = 1_024;
/// Bytes of an ADTS header without a checksum.
pub const ADTS_BYTES: usize = 7;
/// The longest ADTS frame, in bytes: its length field has 13 bits.
const ADTS_FRAME_MAX: usize = 0x1FFF;
/// At most this many ADTS frames are read from one message; each becomes a packet. Five seconds at 48 kHz.
const ADTS_FRAMES_MAX: usize = 256;

/// An AudioSpecificConfig. Bytes after the fields read here are ignored: encoders append all kinds of extensions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// audioObjectType as signalled: 2 is AAC-LC, 5 HE-AAC, 29 HE-AAC v2.
    pub object_type: u8,
    /// Samples per second of the core codec.
    pub core_rate: u32,
    /// Samples per second after band replication.
    extension_rate: Option<u32>,
    /// channelConfiguration.
    channel_configuration: u8,
    /// Output channels.
    pub channels: u8,
    /// frameLengthFlag of the GASpecificConfig: frames of 960 samples, as in digital radio.
    short_frames: bool,
    /// The channels, described in a program_config_element when channelConfiguration is 0.
    program: Option<Program>,
}

/// A program_config_element (section 4.4.1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Program {
    channels: u8,
    /// The channelConfiguration with the same elements in the same order, if there is one.
    configuration: Option<u8>,
    /// The element as the first bytes of an ADTS frame, and its length in bytes.
    element: [u8; ELEMENT_BYTES_MAX],
    element_bytes: u8,
}

/// The longest element, in bytes: 48 channel elements of 5 bits, 25 others of 4 or 5, and about 40 bits before them.
const ELEMENT_BYTES_MAX: usize = 56;

impl Program {
    fn parse(bits: &mut Bits<'_>, config: &[u8]) -> Result<Self, Error> {
        let begin = bits.position();
        // Instance tag, object type, rate.
        bits.skip(10)?;
        let [front, side, back] = [bits.u(4)?, bits.u(4)?, bits.u(4)?];
        let lfe = bits.u(2)?;
        let (data, coupling) = (bits.u(3)?, bits.u(4)?);
        for mixdown_bits in [4, 4, 3] {
            if bits.flag()? {
                bits.skip(mixdown_bits)?;
            }
        }
        let mut pairs = |count: u32| -> Result<Vec<bool>, Error> {
            (0..count).map(|_| bits.flag().and_then(|pair| bits.skip(4).map(|()| pair))).collect()
        };
        let (front, side, back) = (pairs(front)?, pairs(side)?, pairs(back)?);
        bits.skip(4 * (lfe + data) as usize + 5 * coupling as usize)?;
        let (element, element_bytes) = element(config, begin, bits.position())?;
        let channels: usize = front.iter().chain(&side).chain(&back).map(|&pair| 1 + usize::from(pair)).sum();
        let around = [side, back].concat();
        // Table 1.19: which elements each channelConfiguration has.
        let configuration = match (front.as_slice(), around.as_slice(), lfe) {
            ([false], [], 0) => Some(1),
            ([true], [], 0) => Some(2),
            ([false, true], [], 0) => Some(3),
            ([false, true], [false], 0) => Some(4),
            ([false, true], [true], 0) => Some(5),
            ([false, true], [true], 1) => Some(6),
            ([false, true, true], [true], 1) => Some(7),
            _ => None,
        };
        let channels = (channels + lfe as usize) as u8;
        Ok(Self { channels, configuration, element, element_bytes })
    }
}

/// Copies the bits `begin..end` of `config`, a program_config_element, to the form that it has as the first element of
/// a frame: after its element id (5), with byte alignment and an empty comment at its end.
fn element(config: &[u8], begin: usize, end: usize) -> Result<([u8; ELEMENT_BYTES_MAX], u8), Error> {
    const ID_PCE: [bool; 3] = [true, false, true];
    let mut bits = Bits::new(config);
    bits.skip(begin)?;
    let mut element = [0; ELEMENT_BYTES_MAX];
    let mut written = 0;
    for bit in ID_PCE.into_iter().map(Ok).chain((begin..end).map(|_| bits.flag())) {
        let byte = element.get_mut(written / 8).ok_or(Error::Invalid)?;
        *byte |= u8::from(bit?) << (7 - written % 8);
        written += 1;
    }
    Ok((element, (written.div_ceil(8) + 1) as u8))
}

/// Element ids in a frame (table 4.85).
const ID_SCE: u32 = 0;
const ID_CPE: u32 = 1;
const ID_LFE: u32 = 3;
const ID_END: u32 = 7;

/// Writes bits, most significant first.
#[derive(Debug, Default)]
struct BitWriter {
    bytes: Vec<u8>,
    written: usize,
}

impl BitWriter {
    fn put(&mut self, value: u32, count: u32) {
        for shift in (0..count).rev() {
            if self.written.is_multiple_of(8) {
                self.bytes.push(0);
            }
            if let Some(byte) = self.bytes.last_mut() {
                *byte |= ((value >> shift & 1) as u8) << (7 - self.written % 8);
            }
            self.written += 1;
        }
    }
}

fn skip_core_coder(bits: &mut Bits<'_>) -> Result<(), Error> {
    if bits.flag()? {
        bits.skip(14)?;
    }
    bits.skip(1)
}

impl Config {
    /// Parses an AudioSpecificConfig.
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        let mut bits = Bits::new(bytes);
        let object_type = object_type(&mut bits)?;
        let core_rate = rate(&mut bits)?;
        let channel_configuration = bits.u(4)? as u8;
        let extension_rate = if matches!(object_type, SBR | PS) { Some(rate(&mut bits)?) } else { None };
        // With band replication, the object type of the core codec follows.
        let core_type = if extension_rate.is_some() { self::object_type(&mut bits) } else { Ok(object_type) };
        // frameLengthFlag is the first bit of a GASpecificConfig (section 4.4.1). A header that ends before it means
        // long frames.
        let short_frames = matches!(core_type, Ok(1..=4)) && bits.flag().unwrap_or(false);
        let mut channels = *CHANNELS.get(usize::from(channel_configuration)).ok_or(Error::Invalid)?;
        let mut program = None;
        if channel_configuration == 0 && matches!(core_type, Ok(1..=4)) {
            program = skip_core_coder(&mut bits).and_then(|()| Program::parse(&mut bits, bytes)).ok();
            channels = program.map_or(0, |program| program.channels);
        }
        if object_type == PS {
            channels = 2;
        }
        Ok(Self { object_type, core_rate, extension_rate, channel_configuration, channels, short_frames, program })
    }

    /// Output sample rate, in Hz.
    pub fn output_rate(&self) -> u32 {
        self.extension_rate.unwrap_or(self.core_rate)
    }

    /// Output samples per frame, at [`Config::output_rate`]. `None` for AAC variants with other frame lengths (low
    /// delay, xHE-AAC).
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

    /// The same config with a numbered channelConfiguration instead of a program_config_element, which many players
    /// refuse. `None` if no number matches, or if the config already has one.
    pub fn simplified(&self) -> Option<Bytes> {
        const LC: u8 = 2;
        let configuration = self.program?.configuration?;
        let rate = RATES.iter().position(|&rate| rate == self.core_rate)? as u16;
        let fits = self.object_type == LC && !self.short_frames;
        let bits = u16::from(LC) << 11 | rate << 7 | u16::from(configuration) << 3;
        fits.then(|| Bytes::copy_from_slice(&bits.to_be_bytes()))
    }

    /// A silent frame: every element has an empty spectrum (section 4.4.2). `None` without a numbered
    /// channelConfiguration.
    pub fn silence(&self) -> Option<Bytes> {
        let mut bits = BitWriter::default();
        let channel_element = |bits: &mut BitWriter, id: u32| {
            bits.put(id, 3);
            // element_instance_tag 0, global_gain 0; ics_info: long window, max_sfb 0, no prediction; no pulses, noise
            // shaping or gain control.
            bits.put(0, 4 + 8 + 11 + 3);
        };
        let pair = |bits: &mut BitWriter| {
            bits.put(ID_CPE, 3);
            bits.put(0, 4);
            // common_window, ics_info as above, ms_mask_present 0, and two channels.
            bits.put(1, 1);
            bits.put(0, 11 + 2);
            bits.put(0, 8 + 3);
            bits.put(0, 8 + 3);
        };
        let elements: &[u32] = match self.channel_configuration {
            1 => &[ID_SCE],
            2 => &[ID_CPE],
            3 => &[ID_SCE, ID_CPE],
            4 => &[ID_SCE, ID_CPE, ID_SCE],
            5 => &[ID_SCE, ID_CPE, ID_CPE],
            6 => &[ID_SCE, ID_CPE, ID_CPE, ID_LFE],
            7 => &[ID_SCE, ID_CPE, ID_CPE, ID_CPE, ID_LFE],
            _ => return None,
        };
        if !matches!(self.object_type, 2 | SBR | PS) || self.short_frames {
            return None;
        }
        for &element in elements {
            if element == ID_CPE { pair(&mut bits) } else { channel_element(&mut bits, element) }
        }
        bits.put(ID_END, 3);
        Some(bits.bytes.into())
    }

    /// The program_config_element that must precede the first of several ADTS frames when the channels have no number;
    /// otherwise empty.
    pub fn channel_element(&self) -> &[u8] {
        let described = |program: &'_ Program| usize::from(program.element_bytes).min(ELEMENT_BYTES_MAX);
        self.program
            .as_ref()
            .and_then(|program| program.element.get(..described(program)))
            .unwrap_or_default()
    }

    /// Whether the channels are described in a program_config_element that matches no channelConfiguration.
    pub fn has_unnumbered_channels(&self) -> bool {
        self.channel_configuration == 0
    }

    /// Whether ADTS can carry this object type.
    pub fn fits_adts(&self) -> bool {
        self.adts_header(0).is_some()
    }

    /// The header of an ADTS frame with `payload` bytes. `None` if the frame is too long, or if ADTS has no index for
    /// the rate or the object type. HE-AAC is signalled implicitly, as LC at the core rate.
    pub fn adts_header(&self, payload: usize) -> Option<[u8; ADTS_BYTES]> {
        const LC: u8 = 2;
        let profile = match self.object_type {
            1..=4 => self.object_type,
            SBR | PS => LC,
            _ => return None,
        } - 1;
        if self.has_unnumbered_channels() && self.program.is_none() {
            return None;
        }
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

/// Parses ADTS frames (section 1.A.3.2) into the config that their headers describe and the raw frames. `None` if the
/// bytes are not a sequence of whole ADTS frames, or if there are too many. A raw frame cannot be mistaken for ADTS: it
/// would begin with the END element.
pub fn adts_frames(bytes: &Bytes) -> Option<(Bytes, Vec<Bytes>)> {
    const CRC_BYTES: usize = 2;
    let (mut config, mut frames, mut rest) = (None, Vec::new(), bytes.clone());
    while !rest.is_empty() {
        let &[0xFF, second, third, fourth, fifth, sixth, seventh, ..] = rest.as_ref() else { return None };
        if second & 0xF6 != 0xF0 {
            return None;
        }
        let length = usize::from(fourth & 3) << 11 | usize::from(fifth) << 3 | usize::from(sixth >> 5);
        let header = ADTS_BYTES + if second & 1 == 0 { CRC_BYTES } else { 0 };
        let single = seventh & 3 == 0;
        if length <= header || length > rest.len() || !single || frames.len() == ADTS_FRAMES_MAX {
            return None;
        }
        let (object_type, rate) = (u16::from(third >> 6) + 1, u16::from(third >> 2 & 0xF));
        let channels = u16::from(third & 1) << 2 | u16::from(fourth >> 6);
        config.get_or_insert((object_type << 11 | rate << 7 | channels << 3).to_be_bytes());
        frames.push(rest.split_to(length).slice(header..));
    }
    Some((Bytes::copy_from_slice(&config?), frames))
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
mod tests;
