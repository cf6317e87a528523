//! MP3: the header of a frame (ISO 11172-3 section 2.4.1.3, ISO 13818-3 section 2.4.2.3).
//!
//! ```text
//! sync (11)  version (2)  layer (2)  no CRC (1)   bitrate (4)  rate (2)  padding (1)  private (1)   mode (2)  ...
//! ```

/// Fields of a frame header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Samples per second.
    pub rate: u32,
    /// 1 or 2.
    pub channels: u8,
    /// Samples per frame and channel.
    pub samples: u32,
}

impl Header {
    /// Parses the header of a layer III frame; `None` for anything else.
    pub fn parse(frame: &[u8]) -> Option<Self> {
        const LAYER_3: u8 = 1;
        let &[0xFF, second, third, fourth, ..] = frame else { return None };
        let (version, layer) = (second >> 3 & 3, second >> 1 & 3);
        if second >> 5 != 7 || layer != LAYER_3 || third >> 4 == 0xF {
            return None;
        }
        let rate = *[44_100, 48_000, 32_000].get(usize::from(third >> 2 & 3))?;
        // MPEG-1, then the half and quarter rates of MPEG-2 and 2.5.
        let (divisor, samples) = match version {
            3 => (1, 1_152),
            2 => (2, 576),
            0 => (4, 576),
            _ => return None,
        };
        Some(Self { rate: rate / divisor, channels: if fourth >> 6 == 3 { 1 } else { 2 }, samples })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_of_all_versions_are_parsed() {
        let header =
            |bytes: [u8; 4]| Header::parse(&bytes).map(|header| (header.rate, header.channels, header.samples));
        assert_eq!(header([0xFF, 0xFB, 0x70, 0x44]), Some((44_100, 2, 1_152)));
        assert_eq!(header([0xFF, 0xFB, 0x74, 0xC4]), Some((48_000, 1, 1_152)));
        assert_eq!(header([0xFF, 0xF3, 0x40, 0xC4]), Some((22_050, 1, 576)));
        assert_eq!(header([0xFF, 0xE3, 0x48, 0xC4]), Some((8_000, 1, 576)));
        for no in [[0xFF, 0xFD, 0x70, 0x44], [0xFF, 0xFB, 0xF0, 0x44], [0xFF, 0xFB, 0x7C, 0x44], [0xFE, 0xFB, 0, 0]] {
            assert_eq!(header(no), None, "{no:02x?}");
        }
    }
}
