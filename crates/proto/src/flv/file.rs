//! FLV files (Adobe FLV 10.1 annex E.2 and E.3), read from memory; tests and tools read clips with it.

use bytes::{Buf, Bytes};

/// One tag of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tag {
    /// 8 audio, 9 video, 18 script data.
    pub kind: u8,
    /// Milliseconds.
    pub timestamp: u32,
    /// The tag body.
    pub body: Bytes,
}

/// Why an FLV file cannot be parsed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The signature is missing.
    #[error("this is no FLV file")]
    Signature,
    /// The file ends within a tag.
    #[error("the FLV file is cut short")]
    Truncated,
}

/// The tags of a file, in order.
pub fn tags(mut file: Bytes) -> Result<impl Iterator<Item = Result<Tag, Error>>, Error> {
    /// Signature (3), version (1), flags (1), header size (4).
    const HEADER: usize = 9;
    const PREVIOUS_TAG_SIZE: usize = 4;
    if !file.starts_with(b"FLV") || file.len() < HEADER {
        return Err(Error::Signature);
    }
    let header = file.slice(5..HEADER).get_u32() as usize;
    if file.len() < header + PREVIOUS_TAG_SIZE {
        return Err(Error::Truncated);
    }
    file.advance(header + PREVIOUS_TAG_SIZE);
    Ok(std::iter::from_fn(move || (!file.is_empty()).then(|| next(&mut file))))
}

fn next(file: &mut Bytes) -> Result<Tag, Error> {
    /// Type (1), size (3), time (3), its upper byte (1), stream id (3).
    const TAG_HEADER: usize = 11;
    const PREVIOUS_TAG_SIZE: usize = 4;
    if file.len() < TAG_HEADER {
        file.clear();
        return Err(Error::Truncated);
    }
    let kind = file.get_u8() & 0x1F;
    let size = file.get_uint(3) as usize;
    let timestamp = file.get_uint(3) as u32 | u32::from(file.get_u8()) << 24;
    file.advance(3);
    if file.len() < size {
        file.clear();
        return Err(Error::Truncated);
    }
    let body = file.split_to(size);
    file.advance(PREVIOUS_TAG_SIZE.min(file.len()));
    Ok(Tag { kind, timestamp, body })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_in_order_and_truncation_is_an_error() {
        let mut file = b"FLV\x01\x05\0\0\0\x09\0\0\0\0".to_vec();
        file.extend([9, 0, 0, 2, 0xFF, 0xFF, 0xFE, 1, 0, 0, 0, 7, 7, 0, 0, 0, 13]);
        file.extend([8, 0, 0, 5, 0, 0, 1, 0, 0, 0, 0, 1]);
        let read: Vec<_> = tags(file.into()).expect("is a file").collect();
        let first = Tag { kind: 9, timestamp: 0x01FF_FFFE, body: Bytes::from_static(&[7, 7]) };
        assert_eq!(read, [Ok(first), Err(Error::Truncated)]);
        assert_eq!(tags(Bytes::from_static(b"RIFF")).err(), Some(Error::Signature));
    }
}
