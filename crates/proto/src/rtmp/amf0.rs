//! AMF0 values (Adobe AMF 0 specification, 2007): the encoding of commands and metadata.

use bytes::{Buf, BufMut, BytesMut};

use crate::limits::{AMF_DEPTH_MAX, AMF_VALUES_MAX};

/// Named fields, in the order on the wire.
pub type Fields = Vec<(String, Value)>;

/// One AMF0 value.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Marker 0.
    Number(f64),
    /// Marker 1.
    Boolean(bool),
    /// Markers 2 and 12; also 15, an XML document.
    String(String),
    /// Marker 3; also 16, without its class name.
    Object(Fields),
    /// Marker 5.
    Null,
    /// Marker 6.
    Undefined,
    /// Marker 7: the index of an earlier object.
    Reference(u16),
    /// Marker 8. The count on the wire is often wrong and ignored.
    EcmaArray(Fields),
    /// Marker 10.
    StrictArray(Vec<Value>),
    /// Marker 11: milliseconds since 1970. The time zone is reserved and ignored.
    Date(f64),
    /// Marker 13.
    Unsupported,
}

/// Why AMF0 cannot be decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The value extends beyond the end of the message.
    #[error("the AMF0 value is cut short")]
    Truncated,
    /// A marker that AMF0 does not define, or that switches to AMF3.
    #[error("unknown AMF0 marker {0:#04x}")]
    Marker(u8),
    /// Nested deeper than [`AMF_DEPTH_MAX`].
    #[error("the AMF0 value is nested too deep")]
    Depth,
    /// More values than [`AMF_VALUES_MAX`].
    #[error("the AMF0 message holds too many values")]
    Count,
}

impl Value {
    /// The number, if the value is one.
    pub fn as_number(&self) -> Option<f64> {
        match self {
            Self::Number(number) => Some(*number),
            _ => None,
        }
    }

    /// The text, if the value is a string.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(text) => Some(text),
            _ => None,
        }
    }

    /// The fields of an object or an ECMA array: peers use both for the same purpose.
    pub fn fields(&self) -> Option<&Fields> {
        match self {
            Self::Object(fields) | Self::EcmaArray(fields) => Some(fields),
            _ => None,
        }
    }

    /// The field named `name`.
    pub fn field(&self, name: &str) -> Option<&Value> {
        self.fields()?.iter().find(|(field, _)| field == name).map(|(_, value)| value)
    }

    /// Appends the value to `out`.
    pub fn encode(&self, out: &mut BytesMut) {
        match self {
            Self::Number(number) => {
                out.put_u8(0);
                out.put_f64(*number);
            }
            Self::Boolean(flag) => {
                out.put_u8(1);
                out.put_u8(u8::from(*flag));
            }
            Self::String(text) => encode_string(text, out),
            Self::Object(fields) => {
                out.put_u8(3);
                encode_fields(fields, out);
            }
            Self::Null => out.put_u8(5),
            Self::Undefined => out.put_u8(6),
            Self::Reference(index) => {
                out.put_u8(7);
                out.put_u16(*index);
            }
            Self::EcmaArray(fields) => {
                out.put_u8(8);
                out.put_u32(fields.len() as u32);
                encode_fields(fields, out);
            }
            Self::StrictArray(values) => {
                out.put_u8(10);
                out.put_u32(values.len() as u32);
                values.iter().for_each(|value| value.encode(out));
            }
            Self::Date(ms) => {
                out.put_u8(11);
                out.put_f64(*ms);
                out.put_i16(0);
            }
            Self::Unsupported => out.put_u8(13),
        }
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::String(text.to_owned())
    }
}

impl From<f64> for Value {
    fn from(number: f64) -> Self {
        Self::Number(number)
    }
}

/// An object with the given fields.
pub fn object<const N: usize>(fields: [(&str, Value); N]) -> Value {
    Value::Object(fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

/// Decodes all values of a message.
pub fn decode_all(bytes: &[u8]) -> Result<Vec<Value>, Error> {
    let mut decoder = Decoder::new(bytes);
    let mut values = Vec::new();
    while let Some(value) = decoder.value()? {
        values.push(value);
    }
    Ok(values)
}

/// Decodes values up to the first that cannot be decoded. Commands use this, because some clients append AMF3 or
/// garbage after the arguments that matter.
pub fn decode_leading(bytes: &[u8]) -> Vec<Value> {
    let mut decoder = Decoder::new(bytes);
    std::iter::from_fn(|| decoder.value().ok().flatten()).collect()
}

/// Decodes values one by one.
#[derive(Debug)]
pub struct Decoder<'a> {
    rest: &'a [u8],
    values: usize,
}

impl<'a> Decoder<'a> {
    /// Starts at the beginning of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes, values: 0 }
    }

    /// The bytes after the values decoded so far.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// The next value, or `None` at the end.
    pub fn value(&mut self) -> Result<Option<Value>, Error> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        self.value_at(0).map(Some)
    }

    fn value_at(&mut self, depth: usize) -> Result<Value, Error> {
        self.values += 1;
        if depth > AMF_DEPTH_MAX {
            return Err(Error::Depth);
        }
        if self.values > AMF_VALUES_MAX {
            return Err(Error::Count);
        }
        Ok(match self.u8()? {
            0 => Value::Number(self.f64()?),
            1 => Value::Boolean(self.u8()? != 0),
            2 => Value::String(self.short_string()?),
            3 => Value::Object(self.fields(depth)?),
            5 => Value::Null,
            6 => Value::Undefined,
            7 => Value::Reference(self.rest.try_get_u16().map_err(|_| Error::Truncated)?),
            8 => {
                self.u32()?;
                Value::EcmaArray(self.fields(depth)?)
            }
            10 => {
                let count = self.u32()?;
                let mut values = Vec::new();
                for _ in 0..count {
                    values.push(self.value_at(depth + 1)?);
                }
                Value::StrictArray(values)
            }
            11 => {
                let ms = self.f64()?;
                self.take(2)?;
                Value::Date(ms)
            }
            12 | 15 => {
                let len = self.u32()? as usize;
                Value::String(lossy(self.take(len)?))
            }
            13 => Value::Unsupported,
            16 => {
                self.short_string()?;
                Value::Object(self.fields(depth)?)
            }
            marker => return Err(Error::Marker(marker)),
        })
    }

    /// Names and values up to the end marker (0, 0, 9), or up to the end of the message: some encoders omit the marker.
    fn fields(&mut self, depth: usize) -> Result<Fields, Error> {
        let mut fields = Vec::new();
        loop {
            if self.rest.is_empty() {
                return Ok(fields);
            }
            let name = self.short_string()?;
            if name.is_empty() && self.rest.first() == Some(&9) {
                self.rest.advance(1);
                return Ok(fields);
            }
            fields.push((name, self.value_at(depth + 1)?));
        }
    }

    fn short_string(&mut self) -> Result<String, Error> {
        let len = self.rest.try_get_u16().map_err(|_| Error::Truncated)?;
        Ok(lossy(self.take(len.into())?))
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], Error> {
        let (taken, rest) = self.rest.split_at_checked(len).ok_or(Error::Truncated)?;
        self.rest = rest;
        Ok(taken)
    }

    fn u8(&mut self) -> Result<u8, Error> {
        self.rest.try_get_u8().map_err(|_| Error::Truncated)
    }

    fn u32(&mut self) -> Result<u32, Error> {
        self.rest.try_get_u32().map_err(|_| Error::Truncated)
    }

    fn f64(&mut self) -> Result<f64, Error> {
        self.rest.try_get_f64().map_err(|_| Error::Truncated)
    }
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn encode_string(text: &str, out: &mut BytesMut) {
    match u16::try_from(text.len()) {
        Ok(len) => {
            out.put_u8(2);
            out.put_u16(len);
        }
        Err(_) => {
            out.put_u8(12);
            out.put_u32(text.len() as u32);
        }
    }
    out.put_slice(text.as_bytes());
}

/// Field names have 16-bit lengths. Ours are short; a longer one is truncated at a character boundary.
fn encode_fields(fields: &Fields, out: &mut BytesMut) {
    for (name, value) in fields {
        let name = &name[..name.floor_char_boundary(usize::from(u16::MAX))];
        out.put_u16(name.len() as u16);
        out.put_slice(name.as_bytes());
        value.encode(out);
    }
    out.put_slice(&[0, 0, 9]);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            any::<i32>().prop_map(|n| Value::Number(f64::from(n))),
            any::<bool>().prop_map(Value::Boolean),
            ".{0,20}".prop_map(Value::String),
            Just(Value::Null),
            Just(Value::Undefined),
            Just(Value::Unsupported),
            any::<u16>().prop_map(Value::Reference),
            any::<i32>().prop_map(|n| Value::Date(f64::from(n))),
        ];
        leaf.prop_recursive(4, 32, 6, |inner| {
            let fields = prop::collection::vec(("[a-z]{1,8}", inner.clone()), 0..5);
            prop_oneof![
                fields.clone().prop_map(Value::Object),
                fields.prop_map(Value::EcmaArray),
                prop::collection::vec(inner, 0..5).prop_map(Value::StrictArray),
            ]
        })
    }

    proptest! {
        #[test]
        fn values_round_trip(values in prop::collection::vec(any_value(), 0..6)) {
            let mut bytes = BytesMut::new();
            values.iter().for_each(|value| value.encode(&mut bytes));
            prop_assert_eq!(decode_all(&bytes), Ok(values));
        }

        #[test]
        fn arbitrary_bytes_do_not_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode_all(&bytes);
            prop_assert!(decode_leading(&bytes).len() <= bytes.len());
        }
    }

    #[test]
    fn wrong_ecma_count_is_ignored() {
        let bytes = [8, 0, 0, 0, 20, 0, 1, b'a', 5, 0, 0, 9, 1, 1];
        let expected = vec![Value::EcmaArray(vec![("a".to_owned(), Value::Null)]), Value::Boolean(true)];
        assert_eq!(decode_all(&bytes), Ok(expected));
    }

    #[test]
    fn object_without_end_marker_ends_with_the_message() {
        assert_eq!(decode_all(&[3, 0, 1, b'a', 5]), Ok(vec![Value::Object(vec![("a".to_owned(), Value::Null)])]));
    }

    #[test]
    fn nesting_is_bounded() {
        let strict_arrays = [10, 0, 0, 0, 1].repeat(AMF_DEPTH_MAX + 2);
        assert_eq!(decode_all(&strict_arrays), Err(Error::Depth));
        let objects = [3, 0, 1, b'a'].repeat(100_000);
        assert_eq!(decode_all(&objects), Err(Error::Depth));
    }

    #[test]
    fn count_on_the_wire_does_not_allocate() {
        assert_eq!(decode_all(&[10, 0xff, 0xff, 0xff, 0xff]), Err(Error::Truncated));
        let nulls: Vec<u8> = [10, 0, 1, 0, 0].into_iter().chain([5; 65_536]).collect();
        assert_eq!(decode_all(&nulls), Err(Error::Count));
    }

    #[test]
    fn amf3_after_the_arguments_is_ignored() {
        let values = decode_leading(&[2, 0, 1, b'x', 0x11, 10, 11]);
        assert_eq!(values, [Value::from("x")]);
    }

    #[test]
    fn long_strings_use_the_long_form() {
        let value = Value::String("k".repeat(70_000));
        let mut bytes = BytesMut::new();
        value.encode(&mut bytes);
        assert_eq!(bytes[0], 12);
        assert_eq!(decode_all(&bytes), Ok(vec![value]));
    }
}
