//! Opus: the identification header (RFC 7845 section 5.1) and the length of a packet (RFC 6716 section 3.1).

use bytes::{Buf, BufMut};

use super::error::Error;

/// Sample rate of every decoder and of all Opus times, in Hz.
pub const RATE: u32 = 48_000;
/// The longest packet, in samples: 120 ms (RFC 6716 section 3.2.5).
const PACKET_SAMPLES_MAX: u32 = 5_760;
/// The pre-skip that an encoder at 48 kHz usually sends, in samples: 6.5 ms.
const USUAL_PRE_SKIP: u16 = 312;

/// An identification header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// Output channels.
    pub channels: u8,
    pre_skip: u16,
    input_rate: u32,
    gain: i16,
    /// Channel mapping family, with its table unless the family is 0.
    family: u8,
    mapping: Vec<u8>,
}

/// The header assumed for a stream that has none.
impl Default for Head {
    fn default() -> Self {
        Self { channels: 2, pre_skip: USUAL_PRE_SKIP, input_rate: RATE, gain: 0, family: 0, mapping: Vec::new() }
    }
}

impl Head {
    /// Parses an `OpusHead`; its numbers are little-endian.
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        /// Magic (8), version (1), channels (1), pre-skip (2), rate (4), gain (2), family (1).
        const FIXED_BYTES: usize = 19;
        /// Stream count and coupled stream count; one byte per channel follows.
        const COUNTS_BYTES: usize = 2;
        let mut rest = bytes.strip_prefix(b"OpusHead").ok_or(Error::Invalid)?;
        if bytes.len() < FIXED_BYTES {
            return Err(Error::Truncated);
        }
        // A non-zero upper half of the version means an incompatible format.
        if rest.get_u8() >> 4 != 0 {
            return Err(Error::Invalid);
        }
        let channels = rest.get_u8();
        let (pre_skip, input_rate, gain, family) =
            (rest.get_u16_le(), rest.get_u32_le(), rest.get_i16_le(), rest.get_u8());
        if channels == 0 || family == 0 && channels > 2 {
            return Err(Error::Invalid);
        }
        let table = if family == 0 { 0 } else { COUNTS_BYTES + usize::from(channels) };
        let mapping = rest.get(..table).ok_or(Error::Truncated)?.to_vec();
        Ok(Self { channels, pre_skip, input_rate, gain, family, mapping })
    }

    /// The content of a `dOps` box (Opus in ISOBMFF section 4.3.2): the same fields in version 0 and big-endian.
    pub fn specific_box(&self) -> Vec<u8> {
        let mut bytes = vec![0, self.channels];
        bytes.put_u16(self.pre_skip);
        bytes.put_u32(self.input_rate);
        bytes.put_i16(self.gain);
        bytes.put_u8(self.family);
        bytes.extend(&self.mapping);
        bytes
    }
}

/// Samples in a packet at 48 kHz; `None` if the packet is invalid.
pub fn packet_samples(packet: &[u8]) -> Option<u32> {
    /// Frame lengths of the linear predictive modes: 10, 20, 40, 60 ms.
    const LINEAR: [u32; 4] = [480, 960, 1_920, 2_880];
    /// Frame lengths of the transform mode: 2.5, 5, 10, 20 ms.
    const TRANSFORM: [u32; 4] = [120, 240, 480, 960];
    let first = *packet.first()?;
    let config = usize::from(first >> 3);
    let frame = match config {
        ..12 => LINEAR[config % 4],
        12..16 => LINEAR[config % 2],
        _ => TRANSFORM[config % 4],
    };
    let frames = match first & 3 {
        0 => 1,
        1 | 2 => 2,
        _ => u32::from(*packet.get(1)? & 0x3F),
    };
    Some(frame * frames).filter(|samples| (1..=PACKET_SAMPLES_MAX).contains(samples))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn little_endian_header_becomes_a_big_endian_box() {
        let stereo = b"OpusHead\x01\x02\x38\x01\x80\xBB\x00\x00\x00\x00\x00";
        let head = Head::parse(stereo).expect("parses");
        assert_eq!(head, Head::default());
        assert_eq!(head.specific_box(), [0, 2, 0x01, 0x38, 0, 0, 0xBB, 0x80, 0, 0, 0]);
        let surround = b"OpusHead\x01\x06\x00\x0F\x44\xAC\x00\x00\x00\xFF\x01\x04\x02\x00\x04\x01\x02\x03\x05";
        let head = Head::parse(surround).expect("parses");
        let expected = [0, 6, 0x0F, 0, 0, 0, 0xAC, 0x44, 0xFF, 0, 1, 4, 2, 0, 4, 1, 2, 3, 5];
        assert_eq!((head.channels, head.specific_box()), (6, expected.to_vec()));
    }

    #[test]
    fn invalid_headers_are_refused() {
        for (bytes, error) in [
            (&b"OpusTags\x01"[..], Error::Invalid),
            (b"OpusHead\x01\x02", Error::Truncated),
            (b"OpusHead\x11\x02\x38\x01\x80\xBB\x00\x00\x00\x00\x00", Error::Invalid),
            (b"OpusHead\x01\x03\x38\x01\x80\xBB\x00\x00\x00\x00\x00", Error::Invalid),
            (b"OpusHead\x01\x03\x38\x01\x80\xBB\x00\x00\x00\x00\x01\x02\x01", Error::Truncated),
        ] {
            assert_eq!(Head::parse(bytes), Err(error), "{bytes:02x?}");
        }
    }

    #[test]
    fn packet_duration_is_read_from_its_first_bytes() {
        for (packet, samples) in [
            (&[0xFC][..], Some(960)),
            (&[0xE0], Some(120)),
            (&[0x18], Some(2_880)),
            (&[0x19], Some(5_760)),
            (&[0x68], Some(960)),
            (&[0xFB, 0x06], Some(5_760)),
            (&[0xFB, 0x07], None),
            (&[0xFB], None),
            (&[0xFB, 0], None),
            (&[], None),
        ] {
            assert_eq!(packet_samples(packet), samples, "{packet:02x?}");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_do_not_panic(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            let _ = packet_samples(&bytes);
            let head = [b"OpusHead".as_slice(), &bytes].concat();
            let _ = Head::parse(&head).map(|head| head.specific_box());
        }
    }
}
