//! AMF0: arbitrary bytes are decoded or refused, and decoded values round-trip.
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
    // Compares bytes, because a NaN is not equal to itself.
    assert_eq!(written(&leading), written(&values));
    let again = decode_all(&written(&values)).expect("encoded values decode");
    assert_eq!(written(&again), written(&values));
});
