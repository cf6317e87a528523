//! AMF0: any bytes are read or refused, and what was read comes back the same after writing it.
#![no_main]

use bytes::BytesMut;
use gostream_proto::rtmp::amf0::{Value, decode_all, decode_leading};
use libfuzzer_sys::fuzz_target;

fn written(values: &[Value]) -> BytesMut {
    let mut out = BytesMut::new();
    values.iter().for_each(|value| value.encode(&mut out));
    out
}

fuzz_target!(|data: &[u8]| {
    let leading = decode_leading(data);
    let Ok(values) = decode_all(data) else { return };
    // Bytes are compared, since a NaN differs from itself.
    assert_eq!(written(&leading), written(&values));
    let again = decode_all(&written(&values)).expect("what was written is read");
    assert_eq!(written(&again), written(&values));
});
