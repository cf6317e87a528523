//! Shared by the targets: sessions that a real peer brought to a certain stage, so that the fuzzer need not invent a
//! handshake; messages in the forms of encoders; and input that arrives in pieces.

pub mod chain;
pub mod messages;
pub mod playlists;

use bytes::Bytes;
use gostream_proto::rtmp::{
    client::{ClientSession, DEFAULT_CHUNK_BYTES, Intent, Request, Step},
    handshake::RANDOM_BYTES,
    server::{self, ServerSession},
};

/// More rounds than any connection setup needs.
const ROUNDS: usize = 16;
/// Bytes of C2, the last part of the client's handshake.
const C2_BYTES: usize = 1_536;

/// The stages of a connection. The first byte of the input selects one.
const STAGES: [(Intent, Step); 8] = [
    (Intent::Push, Step::Connect),
    (Intent::Push, Step::CreateStream),
    (Intent::Push, Step::Start),
    (Intent::Push, Step::Running),
    (Intent::Pull, Step::Running),
    (Intent::Probe, Step::CreateStream),
    (Intent::Pull, Step::Connect),
    (Intent::Pull, Step::Start),
];

/// Both ends of a connection at the stage selected by the first byte of `data`, and the rest of `data`.
pub fn ends(data: &[u8]) -> Option<(ServerSession, ClientSession, &[u8])> {
    let (&choice, rest) = data.split_first()?;
    let (intent, step) = STAGES[choice as usize % STAGES.len()];
    let request = Request {
        intent,
        app: "live".to_owned(),
        tc_url: "rtmp://localhost/live".to_owned(),
        name: "key".to_owned(),
        chunk_bytes: DEFAULT_CHUNK_BYTES,
        enhanced: choice & 0x80 != 0,
        flash_version: None,
    };
    let mut client = ClientSession::new(request, [1; RANDOM_BYTES]);
    let mut server = ServerSession::new([2; RANDOM_BYTES]);
    // The handshake only: bytes after its end belong to later stages.
    serve(&mut server, &client.outbox().drain()).expect("the server accepts our client");
    let mut answer = server.outbox().drain();
    client.advance(&mut answer.as_ref()).expect("our client accepts the server");
    let mut sent = client.outbox().drain();
    serve(&mut server, &sent.split_to(C2_BYTES)).expect("the server accepts our client");
    for _ in 0..ROUNDS {
        if client.step() == step {
            return Some((server, client, rest));
        }
        serve(&mut server, &sent).expect("the server accepts our client");
        answer = server.outbox().drain();
        let mut input = answer.as_ref();
        while client.step() != step && client.advance(&mut input).expect("our client accepts the server").is_some() {}
        sent = client.outbox().drain();
    }
    panic!("the connection never reached {intent:?} {step:?}");
}

/// Feeds bytes to a server that accepts every publisher and player, and collects its events.
pub fn serve(server: &mut ServerSession, mut input: &[u8]) -> Result<Vec<server::Event>, server::Error> {
    let mut events = Vec::new();
    while let Some(event) = server.advance(&mut input)? {
        match event {
            server::Event::Publish(_) => server.accept_publish(),
            server::Event::Play(_) => server.accept_play(),
            _ => {}
        }
        events.push(event);
    }
    Ok(events)
}

/// Cuts `data` into pieces whose lengths vary with `seed`.
pub fn pieces(data: &[u8], seed: u8) -> impl Iterator<Item = &[u8]> {
    let mut rest = data;
    let mut length = usize::from(seed);
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        length = (length * 5 + 3) % 61 + 1;
        let (piece, behind) = rest.split_at(length.min(rest.len()));
        rest = behind;
        Some(piece)
    })
}

/// Splits `data` into records, each with a length byte before it.
pub fn records(data: &[u8]) -> impl Iterator<Item = Bytes> {
    let mut rest = data;
    std::iter::from_fn(move || {
        let (&length, behind) = rest.split_first()?;
        let (record, behind) = behind.split_at(usize::from(length).min(behind.len()));
        rest = behind;
        Some(Bytes::copy_from_slice(record))
    })
}
