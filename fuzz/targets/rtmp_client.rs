//! The client end against a server that sends arbitrary bytes, at every stage of the connection.
#![no_main]

use bytes::Bytes;
use gostream_fuzz::{ends, pieces};
use gostream_proto::rtmp::{
    chunk::SharedChunks,
    client::{ClientSession, Event, Step},
    media::{MediaKind, MediaOut},
};
use libfuzzer_sys::fuzz_target;

fn listen<'a>(client: &mut ClientSession, inputs: impl Iterator<Item = &'a [u8]>) -> (Vec<Event>, bool) {
    let mut events = Vec::new();
    for mut input in inputs {
        loop {
            match client.advance(&mut input) {
                Ok(Some(event)) => events.push(event),
                Ok(None) => break,
                Err(_) => return (events, false),
            }
        }
    }
    (events, true)
}

fuzz_target!(|data: &[u8]| {
    let Some((_, mut whole, rest)) = ends(data) else { return };
    let Some((_, mut cut, _)) = ends(data) else { return };
    let outcome = listen(&mut whole, std::iter::once(rest));
    assert_eq!(outcome, listen(&mut cut, pieces(rest, data.len() as u8)));

    // A played stream ends once, and no media follows.
    let end = outcome.0.iter().position(|event| *event == Event::Ended);
    let behind = end.map_or(&[][..], |end| &outcome.0[end + 1..]);
    assert!(!behind.iter().any(|event| matches!(event, Event::Media(_))));

    // Media is sent only when the state allows it.
    whole.outbox().drain();
    let body = Bytes::from_static(&[0xAF, 1, 2, 3]);
    let chunks = SharedChunks::default();
    whole.send_media(&MediaOut { kind: MediaKind::Audio, timestamp: 5, payload: &body, chunks: &chunks });
    assert_eq!(whole.outbox().drain().is_empty(), whole.step() != Step::Running);
    whole.finish();
});
