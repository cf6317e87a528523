//! Handshakes: both ends have the same result however the bytes are split, and leave later bytes unread.
#![no_main]

use bytes::BytesMut;
use gostream_fuzz::pieces;
use gostream_proto::rtmp::handshake::{Error, Handshake, RANDOM_BYTES};
use libfuzzer_sys::fuzz_target;

/// C0, C1 and C2; the other end sends as many bytes.
const BYTES: usize = 1 + 2 * 1_536;

/// The result, the response, and the number of bytes after the handshake.
type Outcome = (Result<bool, Error>, BytesMut, usize);

fn shake<'a>(mut end: Handshake, inputs: impl Iterator<Item = &'a [u8]>) -> Outcome {
    let mut out = BytesMut::new();
    let mut done = Ok(false);
    let mut left = 0;
    for mut input in inputs {
        if done == Ok(false) {
            done = end.advance(&mut input, &mut out);
        }
        left += input.len();
    }
    (done, out, left)
}

fuzz_target!(|data: &[u8]| {
    let Some((&seed, data)) = data.split_first() else { return };
    // Usually extended to the full length, since fuzzers prefer short inputs.
    let mut long = data.to_vec();
    if seed & 1 == 0 {
        long.resize(long.len().max(BYTES), seed);
    }
    let server = || Handshake::server([7; RANDOM_BYTES]);
    let client = || Handshake::client([7; RANDOM_BYTES], &mut BytesMut::new());
    for end in [&server as &dyn Fn() -> Handshake, &client] {
        let whole = shake(end(), std::iter::once(long.as_slice()));
        let cut = shake(end(), pieces(&long, seed));
        if whole.0.is_ok() {
            assert_eq!(whole, cut);
            assert_eq!(whole.0 == Ok(true), long.len() >= BYTES);
        } else {
            assert_eq!(whole.0, cut.0);
        }
    }
});
