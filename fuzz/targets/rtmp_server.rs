//! The server end against a client that sends arbitrary bytes, at every stage of the connection.
#![no_main]

use gostream_fuzz::{ends, pieces, serve};
use gostream_proto::rtmp::server::{Event, ServerSession};
use libfuzzer_sys::fuzz_target;

fn listen<'a>(server: &mut ServerSession, inputs: impl Iterator<Item = &'a [u8]>) -> Option<Vec<Event>> {
    let mut events = Vec::new();
    for input in inputs {
        events.extend(serve(server, input).ok()?);
    }
    Some(events)
}

fuzz_target!(|data: &[u8]| {
    let Some((mut whole, _, rest)) = ends(data) else { return };
    let Some((mut cut, _, _)) = ends(data) else { return };
    assert_eq!(listen(&mut whole, std::iter::once(rest)), listen(&mut cut, pieces(rest, data.len() as u8)));
    whole.end_play();
    whole.refuse("NetStream.Publish.Denied", "No.");
    whole.outbox().drain();
});
