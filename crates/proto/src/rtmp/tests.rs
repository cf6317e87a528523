//! Client session against server session, and the server against the behaviour of real encoders.

use std::num::NonZeroUsize;

use bytes::{Buf, Bytes};
use proptest::prelude::*;

use super::{
    amf0::{Value, object},
    chunk::{Bounds, Decoder, Encoder, SharedChunks, csid},
    client::{self, ClientSession, Intent, Request, Step},
    command::{Command, set_data_frame},
    handshake::RANDOM_BYTES,
    media::{Media, MediaKind, MediaOut},
    message::{Control, Message, MessageType},
    server::{CHUNK_BYTES, Error, Event, ServerSession},
};

/// A client of raw commands, connected to a server session.
struct Raw {
    server: ServerSession,
    encoder: Encoder,
    decoder: Decoder,
}

impl Raw {
    fn new() -> Self {
        let mut raw = Self {
            server: ServerSession::new([0; RANDOM_BYTES]),
            encoder: Encoder::default(),
            decoder: Decoder::new(Bounds::ADMITTED),
        };
        let mut hello = vec![0; 1 + 2 * 1_536];
        hello[0] = 3;
        assert_eq!(raw.feed(&hello), Ok(None));
        raw.server.outbox().advance(1 + 2 * 1_536);
        raw
    }

    fn connected(app: &str) -> Self {
        let mut raw = Self::new();
        let tc_url = format!("rtmp://host/{app}");
        let fields = object([("app", app.into()), ("tcUrl", tc_url.as_str().into())]);
        assert_eq!(raw.call(Command::new("connect", 1.0, fields, vec![]), 0), Ok(None));
        raw
    }

    fn publishing() -> Self {
        let mut raw = Self::connected("live");
        let publish = Command::new("publish", 0.0, Value::Null, vec!["key".into(), "live".into()]);
        assert_eq!(raw.call(publish, 1), Ok(Some(Event::Publish(Some("key".to_owned())))));
        raw.server.accept_publish();
        raw.answers();
        raw
    }

    fn feed(&mut self, mut bytes: &[u8]) -> Result<Option<Event>, Error> {
        let event = self.server.advance(&mut bytes);
        assert!(event != Ok(None) || bytes.is_empty(), "all input is consumed");
        event
    }

    fn message(&mut self, csid: u8, message: &Message) -> Result<Option<Event>, Error> {
        let mut wire = bytes::BytesMut::new();
        self.encoder.message(csid, message, &mut wire);
        self.feed(&wire)
    }

    fn call(&mut self, command: Command, stream_id: u32) -> Result<Option<Event>, Error> {
        self.message(csid::COMMAND, &command.message(stream_id))
    }

    /// The server's messages since the last call.
    fn answers(&mut self) -> Vec<Message> {
        let bytes = self.server.outbox().drain();
        let mut rest = bytes.as_ref();
        let mut messages = Vec::new();
        while let Some(message) = self.decoder.decode(&mut rest).expect("is RTMP") {
            if let Some(Control::SetChunkSize(size)) = Control::parse(&message) {
                self.decoder.set_chunk_size(size).expect("is allowed");
            }
            messages.push(message);
        }
        messages
    }

    fn commands(&mut self) -> Vec<(Command, u32)> {
        self.answers().iter().filter_map(|m| Some((Command::parse(m)?, m.stream_id))).collect()
    }
}

fn call(name: &str, transaction: f64, arguments: Vec<Value>) -> Command {
    Command::new(name, transaction, Value::Null, arguments)
}

fn media(kind: MediaKind, timestamp: u32, body: &'static [u8]) -> Media {
    Media { kind, timestamp, body: Bytes::from_static(body) }
}

#[test]
fn connect_is_answered_in_the_order_that_clients_expect() {
    let mut raw = Raw::connected("live");
    let answers = raw.answers();
    assert_eq!(
        answers.iter().map(|m| m.kind).collect::<Vec<_>>(),
        [
            MessageType::WindowAckSize,
            MessageType::SetPeerBandwidth,
            MessageType::SetChunkSize,
            MessageType::CommandAmf0
        ]
    );
    let result = Command::parse(&answers[3]).expect("is a command");
    assert_eq!((result.name.as_str(), result.transaction), ("_result", 1.0));
    assert_eq!(result.info_text("code"), Some("NetConnection.Connect.Success"));
    assert_eq!(result.object.field("capsEx"), None, "only clients that ask get Enhanced RTMP");
}

#[test]
fn enhanced_connect_is_answered_with_our_capabilities() {
    let mut raw = Raw::new();
    let fields = object([("app", "live".into()), ("objectEncoding", 3.0.into()), ("capsEx", 1.0.into())]);
    raw.call(Command::new("connect", 1.0, fields, vec![]), 0).expect("is RTMP");
    let (result, _) = raw.commands().pop().expect("answers");
    assert_eq!(result.object.field("fourCcList"), Some(&Value::StrictArray(vec!["*".into()])));
    assert_eq!(result.info().field("objectEncoding"), Some(&Value::Number(3.0)));
}

#[test]
fn calls_are_answered_with_their_transaction_id_unless_zero() {
    let mut raw = Raw::connected("live");
    raw.answers();
    for (command, answers) in [
        (call("releaseStream", 2.0, vec!["k".into()]), vec![("_result", 2.0)]),
        (call("releaseStream", 0.0, vec!["k".into()]), vec![]),
        (call("FCPublish", 3.0, vec!["k".into()]), vec![("_result", 3.0), ("onFCPublish", 3.0)]),
        (call("FCPublish", 0.0, vec!["k".into()]), vec![("onFCPublish", 0.0)]),
        (call("createStream", 4.0, vec![]), vec![("_result", 4.0)]),
        (call("createStream", 5.0, vec![]), vec![("_result", 5.0)]),
        (call("_checkbw", 6.0, vec![]), vec![("_result", 6.0)]),
        (call("somethingNew", 7.0, vec![]), vec![("_result", 7.0)]),
        (call("deleteStream", 0.0, vec!["k".into()]), vec![]),
        (call("deleteStream", 0.0, vec![1.0.into()]), vec![]),
    ] {
        assert_eq!(raw.call(command.clone(), 0), Ok(None), "{}", command.name);
        let got = raw.commands();
        let got: Vec<_> = got.iter().map(|(answer, _)| (answer.name.as_str(), answer.transaction)).collect();
        assert_eq!(got, answers, "{}", command.name);
    }
}

#[test]
fn publish_is_confirmed_on_the_created_stream() {
    for (asked_on, answered_on) in [(1, 1), (0, 1), (5, 5)] {
        let mut raw = Raw::connected("live");
        raw.answers();
        raw.call(call("publish", 0.0, vec!["key".into()]), asked_on).expect("is RTMP");
        raw.server.accept_publish();
        let (status, stream_id) = raw.commands().pop().expect("answers");
        assert_eq!(status.info_text("code"), Some("NetStream.Publish.Start"));
        assert_eq!(stream_id, answered_on);
    }
}

#[test]
fn key_is_found_wherever_the_encoder_puts_it() {
    for (app, name, key) in [
        ("live", "key?x=1", Some("key")),
        ("live", "rtmp://host/live/key", Some("key")),
        ("live/key", "", Some("key")),
        ("live", "", None),
        ("live", "?a=b", None),
    ] {
        let mut raw = Raw::connected(app);
        let event = raw.call(call("publish", 0.0, vec![name.into()]), 1);
        assert_eq!(event, Ok(Some(Event::Publish(key.map(str::to_owned)))), "{app} {name}");
    }
}

#[test]
fn refusal_is_an_error_that_obs_and_ffmpeg_show() {
    let mut raw = Raw::connected("live");
    raw.call(call("publish", 5.0, vec!["wrong".into()]), 1).expect("is RTMP");
    raw.answers();
    raw.server.refuse("NetStream.Publish.Denied", "No project has this stream key.");
    let (status, stream_id) = raw.commands().pop().expect("answers");
    assert_eq!((status.name.as_str(), stream_id), ("onStatus", 1));
    assert_eq!(
        (status.info_text("level"), status.info_text("code")),
        (Some("error"), Some("NetStream.Publish.Denied"))
    );
}

#[test]
fn publish_before_connect_ends_the_connection() {
    let mut raw = Raw::new();
    assert_eq!(raw.call(call("publish", 0.0, vec!["key".into()]), 1), Err(Error::Order("publish")));
}

#[test]
fn media_before_publish_is_dropped() {
    let mut raw = Raw::connected("live");
    let audio = Message { kind: MessageType::Audio, stream_id: 1, timestamp: 0, payload: Bytes::from_static(&[0xAF]) };
    assert_eq!(raw.message(csid::AUDIO, &audio), Ok(None));
}

#[test]
fn every_unpublish_form_ends_the_stream_once_and_allows_another() {
    for goodbye in [
        call("FCUnpublish", 6.0, vec!["key".into()]),
        call("deleteStream", 7.0, vec![1.0.into()]),
        call("deleteStream", 0.0, vec!["key".into()]),
        call("closeStream", 0.0, vec![]),
    ] {
        let mut raw = Raw::publishing();
        assert_eq!(raw.call(goodbye, 1), Ok(Some(Event::Unpublish)));
        assert_eq!(raw.call(call("deleteStream", 8.0, vec![1.0.into()]), 0), Ok(None));
        let again = raw.call(call("publish", 9.0, vec!["key".into()]), 1);
        assert_eq!(again, Ok(Some(Event::Publish(Some("key".to_owned())))));
    }
}

#[test]
fn aggregate_is_split_into_messages() {
    let mut raw = Raw::publishing();
    let payload = Bytes::from_static(&[
        8, 0, 0, 1, 0, 0, 5, 0, 0, 0, 0, b'a', 0, 0, 0, 12, 9, 0, 0, 1, 0, 0, 9, 0, 0, 0, 0, b'v', 0, 0, 0, 12,
    ]);
    let aggregate = Message { kind: MessageType::Aggregate, stream_id: 1, timestamp: 100, payload };
    assert_eq!(raw.message(csid::AUDIO, &aggregate), Ok(Some(Event::Media(media(MediaKind::Audio, 100, b"a")))));
    assert_eq!(raw.feed(&[]), Ok(Some(Event::Media(media(MediaKind::Video, 104, b"v")))));
    assert_eq!(raw.feed(&[]), Ok(None));
}

#[test]
fn pings_are_answered_and_bytes_acknowledged() {
    let mut raw = Raw::publishing();
    raw.message(csid::CONTROL, &Control::PingRequest(77).message()).expect("is RTMP");
    raw.message(csid::CONTROL, &Control::WindowAckSize(1_000).message()).expect("is RTMP");
    let payload = Bytes::from(vec![0x27; 1_200]);
    let video = Message { kind: MessageType::Video, stream_id: 1, timestamp: 0, payload };
    raw.message(csid::VIDEO, &video).expect("is RTMP");
    raw.message(csid::VIDEO, &video).expect("is RTMP");
    let controls: Vec<_> = raw.answers().iter().filter_map(Control::parse).collect();
    assert!(controls.contains(&Control::PingResponse(77)), "{controls:?}");
    assert!(controls.iter().any(|control| matches!(control, Control::Acknowledgement(n) if *n >= 1_000)));
}

/// Exchanges bytes in pieces of `step` until both ends are idle, and collects the events.
fn converse(client: &mut ClientSession, server: &mut ServerSession, step: usize) -> (Vec<client::Event>, Vec<Event>) {
    let (mut of_client, mut of_server) = (Vec::new(), Vec::new());
    loop {
        let (up, down) = (client.outbox().drain(), server.outbox().drain());
        if up.is_empty() && down.is_empty() {
            return (of_client, of_server);
        }
        for mut piece in up.chunks(step) {
            while let Some(event) = server.advance(&mut piece).expect("client speaks RTMP") {
                match &event {
                    Event::Publish(_) => server.accept_publish(),
                    Event::Play(_) => server.accept_play(),
                    _ => {}
                }
                of_server.push(event);
            }
        }
        for mut piece in down.chunks(step) {
            while let Some(event) = client.advance(&mut piece).expect("server speaks RTMP") {
                of_client.push(event);
            }
        }
    }
}

fn request(intent: Intent, name: &str) -> Request {
    Request {
        intent,
        app: "live2?backup=1".to_owned(),
        tc_url: "rtmp://host/live2?backup=1".to_owned(),
        name: name.to_owned(),
        chunk_bytes: client::DEFAULT_CHUNK_BYTES,
        enhanced: false,
        flash_version: None,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_pushed_message_arrives_byte_for_byte(
        step in 1_usize..3_000,
        chunk in 1_usize..9_000,
        start in prop_oneof![Just(0_u32), Just(0xFF_FFF0), Just(u32::MAX - 50)],
        bodies in prop::collection::vec((prop::sample::select(vec![MediaKind::Audio, MediaKind::Video]),
            0_u32..200, prop::collection::vec(any::<u8>(), 0..10_000)), 1..10),
    ) {
        let chunk_bytes = NonZeroUsize::new(chunk).expect("from 1");
        let push = Request { chunk_bytes, ..request(Intent::Push, "k-1?a=b&c:d") };
        let mut client = ClientSession::new(push, [1; RANDOM_BYTES]);
        let mut server = ServerSession::new([2; RANDOM_BYTES]);
        let (of_client, of_server) = converse(&mut client, &mut server, step);
        prop_assert_eq!(of_client, [client::Event::Connected, client::Event::StreamCreated, client::Event::Ready]);
        prop_assert_eq!(of_server, [Event::Publish(Some("k-1".to_owned()))]);

        let mut timestamp = start;
        let mut sent = Vec::new();
        for (kind, step, body) in bodies {
            timestamp = timestamp.wrapping_add(step);
            let payload = Bytes::from(body);
            client.send_media(&MediaOut { kind, timestamp, payload: &payload, chunks: &SharedChunks::default() });
            sent.push(Event::Media(Media { kind, timestamp, body: payload }));
        }
        client.finish();
        let (_, of_server) = converse(&mut client, &mut server, step);
        let (goodbye, received) = of_server.split_last().expect("media came");
        prop_assert_eq!(received, sent.as_slice());
        prop_assert_eq!(goodbye, &Event::Unpublish);
    }

    #[test]
    fn arbitrary_bytes_do_not_panic(bytes in prop::collection::vec(any::<u8>(), 0..4_000), cut in 0_usize..4_000) {
        // After a complete handshake, and from the first byte.
        let mut hello = vec![0; 1 + 2 * 1_536];
        hello[0] = 3;
        for wire in [[hello.as_slice(), &bytes].concat(), bytes] {
            let (first, second) = wire.split_at(cut.min(wire.len()));
            let mut server = ServerSession::new([0; RANDOM_BYTES]);
            let mut client = ClientSession::new(request(Intent::Pull, "k"), [0; RANDOM_BYTES]);
            for mut piece in [first, second] {
                while let Ok(Some(_)) = server.advance(&mut piece) {}
            }
            for mut piece in [first, second] {
                while let Ok(Some(_)) = client.advance(&mut piece) {}
            }
        }
    }
}

#[test]
fn pulled_stream_arrives_without_the_publishers_wrapper() {
    let mut client = ClientSession::new(request(Intent::Pull, "key"), [1; RANDOM_BYTES]);
    let mut server = ServerSession::new([2; RANDOM_BYTES]);
    let (of_client, of_server) = converse(&mut client, &mut server, 100);
    assert_eq!(of_client.last(), Some(&client::Event::Ready));
    assert_eq!(of_server, [Event::Play(Some("key".to_owned()))]);

    let mut metadata = bytes::BytesMut::new();
    Value::from("onMetaData").encode(&mut metadata);
    let metadata = metadata.freeze();
    let video = Bytes::from(vec![0x17; 100_000]);
    for (kind, payload) in [(MediaKind::Metadata, &metadata), (MediaKind::Video, &video)] {
        server.send_media(&MediaOut { kind, timestamp: 40, payload, chunks: &SharedChunks::default() });
    }
    server.end_play();
    let (of_client, _) = converse(&mut client, &mut server, 100);
    assert_eq!(
        of_client,
        [
            client::Event::Media(Media { kind: MediaKind::Metadata, timestamp: 40, body: metadata.clone() }),
            client::Event::Media(Media { kind: MediaKind::Video, timestamp: 40, body: video }),
            client::Event::Ended,
        ]
    );
    assert_ne!(set_data_frame(&metadata), metadata);
}

#[test]
fn every_end_of_stream_form_is_reported_once() {
    let status = |code| Command::on_status("status", code, "").message(1);
    let eof = || Control::StreamEof(1).message();
    let frame = Message { kind: MessageType::Video, stream_id: 1, timestamp: 9, payload: Bytes::from_static(b"late") };
    for end in [
        vec![eof()],
        vec![status("NetStream.Play.UnpublishNotify"), eof()],
        vec![eof(), status("NetStream.Play.Stop"), status("NetStream.Play.UnpublishNotify")],
        vec![Control::StreamBegin(1).message(), eof(), frame],
    ] {
        let mut client = ClientSession::new(request(Intent::Pull, "key"), [1; RANDOM_BYTES]);
        let mut server = ServerSession::new([2; RANDOM_BYTES]);
        converse(&mut client, &mut server, 100);
        let mut wire = bytes::BytesMut::new();
        let mut encoder = Encoder::default();
        encoder.set_chunk_size(CHUNK_BYTES);
        end.iter().for_each(|message| encoder.message(csid::STREAM, message, &mut wire));
        let (mut rest, mut events) = (wire.as_ref(), Vec::new());
        while let Some(event) = client.advance(&mut rest).expect("is RTMP") {
            events.push(event);
        }
        assert_eq!(events, [client::Event::Ended]);
    }
}

#[test]
fn server_may_send_large_messages_only_after_play_is_accepted() {
    let large = Message { kind: MessageType::Video, stream_id: 1, timestamp: 0, payload: vec![0; 3_000_000].into() };
    let mut wire = bytes::BytesMut::from([[3].as_slice(), &[0; 2 * 1_536]].concat().as_slice());
    Encoder::default().message(csid::VIDEO, &large, &mut wire);
    let mut client = ClientSession::new(request(Intent::Pull, "key"), [1; RANDOM_BYTES]);
    assert!(client.advance(&mut wire.as_ref()).is_err(), "before it accepted play");

    let mut client = ClientSession::new(request(Intent::Pull, "key"), [1; RANDOM_BYTES]);
    let mut server = ServerSession::new([2; RANDOM_BYTES]);
    converse(&mut client, &mut server, 100);
    let chunks = SharedChunks::default();
    let media = MediaOut { kind: MediaKind::Video, timestamp: 0, payload: &large.payload, chunks: &chunks };
    server.send_media(&media);
    let (of_client, _) = converse(&mut client, &mut server, 9_999);
    assert!(matches!(of_client.as_slice(), [client::Event::Media(media)] if media.body == large.payload));
}

#[test]
fn client_sends_its_flash_version() {
    let flash_version = Some("GoStream/1 (this one)".to_owned());
    let named = Request { flash_version, ..request(Intent::Pull, "key") };
    let mut server = ServerSession::new([2; RANDOM_BYTES]);
    converse(&mut ClientSession::new(named, [1; RANDOM_BYTES]), &mut server, 100);
    assert_eq!(server.flash_version(), "GoStream/1 (this one)");
}

/// The client's event for one response to its `connect`, `createStream` or `publish`.
fn client_event(step: Step, answer: Command) -> Option<client::Event> {
    let mut client = ClientSession::new(request(Intent::Push, "key"), [1; RANDOM_BYTES]);
    let mut hello = vec![0; 1 + 2 * 1_536];
    hello[0] = 3;
    let created = Command::new("_result", 4.0, Value::Null, vec![5.0.into()]);
    let connected = Command::new("_result", 1.0, Value::Null, vec![]);
    let before: &[Command] = match step {
        Step::Connect => &[],
        Step::CreateStream => &[connected],
        Step::Start | Step::Running => &[connected, created],
    };
    let mut wire = bytes::BytesMut::from(hello.as_slice());
    let mut encoder = Encoder::default();
    before.iter().for_each(|command| encoder.message(csid::COMMAND, &command.message(0), &mut wire));
    let mut rest = wire.as_ref();
    while client.advance(&mut rest).expect("is RTMP").is_some() {}
    let mut wire = bytes::BytesMut::new();
    encoder.message(csid::COMMAND, &answer.message(5), &mut wire);
    client.advance(&mut wire.as_ref()).expect("is RTMP")
}

#[test]
fn every_refusal_of_a_platform_is_reported() {
    let refused =
        |step, code: &str| Some(client::Event::Refused { step, code: code.to_owned(), description: "why".to_owned() });
    let error = |transaction, code: &str| {
        Command::new("_error", transaction, Value::Null, vec![super::command::status("error", code, "why")])
    };
    let rejected = "NetConnection.Connect.Rejected";
    assert_eq!(client_event(Step::Connect, error(1.0, rejected)), refused(Step::Connect, rejected));
    assert_eq!(client_event(Step::CreateStream, error(2.0, "x")), None, "releaseStream may be unknown");
    assert_eq!(client_event(Step::CreateStream, error(4.0, "x")), refused(Step::CreateStream, "x"));
    for code in ["NetStream.Publish.BadName", "NetStream.Publish.Denied", "NetStream.Publish.Unauthorized"] {
        for level in ["error", "status", ""] {
            let status = Command::on_status(level, code, "why");
            assert_eq!(client_event(Step::Start, status), refused(Step::Start, code), "{level}");
        }
    }
}

#[test]
fn platforms_may_redirect() {
    let ex = object([("code", 302.0.into()), ("redirect", "rtmp://other/app".into())]);
    let info = object([("level", "error".into()), ("code", "NetConnection.Connect.Rejected".into()), ("ex", ex)]);
    let moved = Command::new("_error", 1.0, Value::Null, vec![info]);
    assert_eq!(client_event(Step::Connect, moved), Some(client::Event::Redirect("rtmp://other/app".to_owned())));
    let request = object([("code", "NetConnection.Connect.ReconnectRequest".into()), ("tcUrl", "/b".into())]);
    let status = Command::new("onStatus", 0.0, Value::Null, vec![request]);
    assert_eq!(client_event(Step::Start, status), Some(client::Event::ReconnectRequest(Some("/b".to_owned()))));
}

#[test]
fn publish_result_counts_as_start_with_any_stream_id() {
    let started = Command::new("_result", 5.0, Value::Null, vec![]);
    assert_eq!(client_event(Step::Start, started), Some(client::Event::Ready));
}

#[test]
fn probe_stops_before_publish() {
    let mut client = ClientSession::new(request(Intent::Probe, "key"), [1; RANDOM_BYTES]);
    let mut server = ServerSession::new([2; RANDOM_BYTES]);
    let (of_client, of_server) = converse(&mut client, &mut server, 500);
    assert_eq!(of_client, [client::Event::Connected, client::Event::StreamCreated]);
    assert_eq!(of_server, []);
}
