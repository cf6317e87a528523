//! The header that enhanced audio and video tags share: ModEx prefixes, FourCC and multitrack framing (Enhanced RTMP
//! v2).

use bytes::{Buf, Bytes};

use super::tag::Error;

/// The packet type of a ModEx prefix.
pub(super) const MOD_EX: u8 = 7;

/// An enhanced tag after its prefixes.
#[derive(Debug)]
pub(super) struct Enhanced {
    /// The packet type of the (first) track.
    pub(super) packet_type: u8,
    /// The codec, as a big-endian number.
    pub(super) four_cc: u32,
    /// The track id; 0 unless the tag is a multitrack tag.
    pub(super) track: u8,
    /// The payload of the first track.
    pub(super) payload: Bytes,
}

impl Enhanced {
    /// Parses ModEx prefixes, the FourCC and multitrack framing. `rest` begins after the first byte, which contained
    /// `packet_type`. `multitrack` is the packet type that means several tracks.
    pub(super) fn parse(mut packet_type: u8, multitrack: u8, mut rest: Bytes) -> Result<Self, Error> {
        while packet_type == MOD_EX {
            let mut size = usize::from(u8(&mut rest)?) + 1;
            if size == 256 {
                size = usize::from(rest.try_get_u16().map_err(|_| Error::Truncated)?) + 1;
            }
            if rest.len() < size {
                return Err(Error::Truncated);
            }
            rest.advance(size);
            packet_type = u8(&mut rest)? & 0x0F;
        }
        if packet_type != multitrack {
            let four_cc = u32(&mut rest)?;
            return Ok(Self { packet_type, four_cc, track: 0, payload: rest });
        }
        /// Multitrack types. With several tracks, each has a size field.
        const ONE_TRACK: u8 = 0;
        let framing = u8(&mut rest)?;
        let four_cc = u32(&mut rest)?;
        let track = u8(&mut rest)?;
        let mut payload = rest;
        if framing >> 4 != ONE_TRACK {
            let size = payload.try_get_uint(3).map_err(|_| Error::Truncated)? as usize;
            payload = payload.slice(..size.min(payload.len()));
        }
        Ok(Self { packet_type: framing & 0x0F, four_cc, track, payload })
    }
}

fn u8(bytes: &mut Bytes) -> Result<u8, Error> {
    bytes.try_get_u8().map_err(|_| Error::Truncated)
}

fn u32(bytes: &mut Bytes) -> Result<u32, Error> {
    bytes.try_get_u32().map_err(|_| Error::Truncated)
}
