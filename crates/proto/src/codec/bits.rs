//! A bit reader: fixed-length fields and Exp-Golomb codes (ITU-T H.264 section 9.1) of NAL unit payloads and OBUs.

use super::error::Error;

/// Reads bits, most significant first.
#[derive(Debug)]
pub(super) struct Bits<'a> {
    bytes: &'a [u8],
    position: usize,
}

impl<'a> Bits<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, position: 0 }
    }

    /// An unsigned number of `count` bits (at most 32).
    pub(super) fn u(&mut self, count: u32) -> Result<u32, Error> {
        let mut value = 0_u32;
        for _ in 0..count {
            let byte = self.bytes.get(self.position / 8).ok_or(Error::Truncated)?;
            value = value << 1 | u32::from(byte >> (7 - self.position % 8) & 1);
            self.position += 1;
        }
        Ok(value)
    }

    /// Bits read so far.
    pub(super) fn position(&self) -> usize {
        self.position
    }

    pub(super) fn flag(&mut self) -> Result<bool, Error> {
        Ok(self.u(1)? == 1)
    }

    pub(super) fn skip(&mut self, count: usize) -> Result<(), Error> {
        self.position += count;
        if self.position > self.bytes.len() * 8 { Err(Error::Truncated) } else { Ok(()) }
    }

    /// ue(v).
    pub(super) fn ue(&mut self) -> Result<u32, Error> {
        let mut zeros = 0;
        while !self.flag()? {
            zeros += 1;
            if zeros > 31 {
                return Err(Error::Invalid);
            }
        }
        Ok((1_u32 << zeros) - 1 + self.u(zeros)?)
    }

    /// se(v).
    pub(super) fn se(&mut self) -> Result<i32, Error> {
        let code = i64::from(self.ue()?);
        let magnitude = (code + 1) / 2;
        Ok(if code % 2 == 1 { magnitude } else { -magnitude } as i32)
    }
}

/// The raw byte sequence payload of a NAL unit: emulation prevention bytes removed (H.264 section 7.4.1).
pub(super) fn unescape(nal: &[u8]) -> Vec<u8> {
    let mut payload = Vec::with_capacity(nal.len());
    let mut zeros = 0;
    for &byte in nal {
        if zeros >= 2 && byte == 3 {
            zeros = 0;
            continue;
        }
        zeros = if byte == 0 { zeros + 1 } else { 0 };
        payload.push(byte);
    }
    payload
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_golomb_codes() {
        // 1, 010, 011, 00100, 00101
        let mut bits = Bits::new(&[0b1010_0110, 0b0100_0010, 0b1000_0000]);
        assert_eq!([bits.ue(), bits.ue(), bits.ue(), bits.ue()], [Ok(0), Ok(1), Ok(2), Ok(3)]);
        assert_eq!(bits.se(), Ok(-2));
        assert_eq!(Bits::new(&[0; 8]).ue(), Err(Error::Invalid));
        assert_eq!(Bits::new(&[0]).ue(), Err(Error::Truncated));
    }

    #[test]
    fn emulation_prevention_is_removed() {
        assert_eq!(unescape(&[0, 0, 3, 1, 0, 0, 3, 0, 0, 3]), [0, 0, 1, 0, 0, 0, 0]);
        assert_eq!(unescape(&[0, 3, 0, 0, 4]), [0, 3, 0, 0, 4]);
    }
}
