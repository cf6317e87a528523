//! Chunks: messages do not depend on how the network splits the bytes, and memory stays within the bounds.
#![no_main]

use gostream_fuzz::pieces;
use gostream_proto::rtmp::{
    chunk::{Bounds, Decoder, Error},
    message::{Control, Message},
};
use libfuzzer_sys::fuzz_target;

const BOUNDS: Bounds = Bounds { message_bytes: 10_000, reassembly_bytes: 20_000 };

fn decode<'a>(inputs: impl Iterator<Item = &'a [u8]>) -> (Vec<Message>, Option<Error>) {
    let mut decoder = Decoder::new(BOUNDS);
    let mut messages = Vec::new();
    for mut input in inputs {
        loop {
            let message = match decoder.decode(&mut input) {
                Ok(Some(message)) => message,
                Ok(None) => break,
                Err(error) => return (messages, Some(error)),
            };
            assert!(decoder.held_bytes() <= BOUNDS.reassembly_bytes);
            match Control::parse(&message) {
                Some(Control::Abort(csid)) => decoder.abort(csid),
                Some(Control::SetChunkSize(bytes)) => {
                    if let Err(error) = decoder.set_chunk_size(bytes) {
                        return (messages, Some(error));
                    }
                }
                _ => {}
            }
            messages.push(message);
        }
        assert!(decoder.held_bytes() <= BOUNDS.reassembly_bytes);
    }
    (messages, None)
}

fuzz_target!(|data: &[u8]| {
    let Some((&seed, data)) = data.split_first() else { return };
    assert_eq!(decode(std::iter::once(data)), decode(pieces(data, seed)));
});
