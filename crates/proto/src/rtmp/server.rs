//! The server end of a connection: encoders publish to it and players play from it.
//!
//! ```text
//! handshake -> connect -> createStream -> publish -> (accept_publish | refuse) -> media ... FCUnpublish, deleteStream
//!                                       -> play    -> (accept_play    | refuse) -> media out
//! ```
//!
//! The session answers every call that needs no decision. A request to publish or play is an [`Event`] that the caller
//! answers; until then the caller must not feed more bytes. Clients differ in which calls they make and in which order.
//! Only the order `connect`, `createStream`, `publish` is assumed; unknown calls get an empty result.

use std::num::NonZeroUsize;

use bytes::BytesMut;

use super::{
    amf0::{Value, object},
    chunk::{self, Bounds, csid},
    command::{Command, status},
    handshake::{self, Handshake, RANDOM_BYTES},
    key::requested_key,
    link::{self, Link, WINDOW_ACK_BYTES},
    media::{Media, MediaOut},
    message::{Control, Message, MessageType},
    outbox::Outbox,
};

/// Our chunk size, equal to FFmpeg's: a publisher that adopts it needs one header per message.
pub const CHUNK_BYTES: NonZeroUsize = NonZeroUsize::new(65_536).expect("is not zero");
/// The message stream id in the result of `createStream`. MediaMTX' client accepts no other.
const STREAM_ID: u32 = 1;

/// Why a connection cannot continue.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The handshake failed: the peer does not speak RTMP.
    #[error(transparent)]
    Handshake(#[from] handshake::Error),
    /// Invalid or hostile chunks.
    #[error(transparent)]
    Chunk(#[from] chunk::Error),
    /// `publish` or `play` before `connect`.
    #[error("{0} came before connect")]
    Order(&'static str),
}

/// What the caller must handle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A request to publish; the key is `None` if the client sent none. Answer with [`ServerSession::accept_publish`]
    /// or [`ServerSession::refuse`].
    Publish(Option<String>),
    /// A request to play. Answer with [`ServerSession::accept_play`] or [`ServerSession::refuse`].
    Play(Option<String>),
    /// A media message from the publisher.
    Media(Media),
    /// The publisher ended its stream (`FCUnpublish`, `deleteStream`, `closeStream`). It may publish again.
    Unpublish,
    /// The player stopped.
    Stop,
}

/// The state of the connection.
#[derive(Debug, PartialEq, Eq)]
enum Phase {
    Handshake,
    Commands,
    /// A request waits for the caller's answer.
    AwaitingDecision {
        stream_id: u32,
        publish: bool,
    },
    Publishing {
        stream_id: u32,
    },
    Playing {
        stream_id: u32,
    },
}

/// The server end of one connection.
#[derive(Debug)]
pub struct ServerSession {
    handshake: Handshake,
    link: Link,
    phase: Phase,
    app: Option<String>,
    tc_url: String,
    flash_version: String,
}

impl ServerSession {
    /// A session for an accepted connection; `random` fills the handshake.
    pub fn new(random: [u8; RANDOM_BYTES]) -> Self {
        Self {
            handshake: Handshake::server(random),
            link: Link::new(Bounds::UNADMITTED),
            phase: Phase::Handshake,
            app: None,
            tc_url: String::new(),
            flash_version: String::new(),
        }
    }

    /// The client's `flashVer`; empty until `connect`.
    pub fn flash_version(&self) -> &str {
        &self.flash_version
    }

    /// Bytes received so far, including chunk headers.
    pub fn received_bytes(&self) -> u64 {
        self.link.received()
    }

    /// Bytes to send.
    pub fn outbox(&mut self) -> &mut Outbox {
        &mut self.link.outbox
    }

    /// Whether the handshake is over.
    pub fn is_handshaken(&self) -> bool {
        self.phase != Phase::Handshake
    }

    /// The next event in `received`, with its bytes removed. `None` when more bytes are needed; call until then.
    pub fn next_event(&mut self, received: &mut BytesMut) -> Result<Option<Event>, Error> {
        link::consume(received, |input| self.advance(input))
    }

    /// Consumes `input` up to the next event; `None` if all input was consumed. Call until then.
    pub fn advance(&mut self, input: &mut &[u8]) -> Result<Option<Event>, Error> {
        if self.phase == Phase::Handshake {
            let before = input.len();
            let done = self.handshake.advance(input, self.link.outbox.scratch())?;
            self.link.count_received(before - input.len());
            if !done {
                return Ok(None);
            }
            self.phase = Phase::Commands;
        }
        while let Some(message) = self.link.next_message(input)? {
            if let Some(event) = self.on_message(message)? {
                return Ok(Some(event));
            }
        }
        Ok(None)
    }

    /// Accepts the publish request. Larger messages are allowed from now on.
    pub fn accept_publish(&mut self) {
        let Phase::AwaitingDecision { stream_id, publish: true } = self.phase else { return };
        self.phase = Phase::Publishing { stream_id };
        self.link.decoder.set_bounds(Bounds::ADMITTED);
        self.link.control(Control::StreamBegin(stream_id));
        self.on_status(stream_id, "status", "NetStream.Publish.Start", "Publishing.");
    }

    /// Accepts the play request; [`ServerSession::send_media`] may follow.
    pub fn accept_play(&mut self) {
        let Phase::AwaitingDecision { stream_id, publish: false } = self.phase else { return };
        self.phase = Phase::Playing { stream_id };
        self.link.control(Control::StreamBegin(stream_id));
        self.on_status(stream_id, "status", "NetStream.Play.Reset", "Resetting.");
        self.on_status(stream_id, "status", "NetStream.Play.Start", "Playing.");
    }

    /// Refuses the request, or revokes what was accepted. Close the connection after sending. OBS shows an error for
    /// `NetStream.Publish.Denied` and `NetStream.Publish.BadName`, FFmpeg for any code with level `error`.
    pub fn refuse(&mut self, code: &str, description: &str) {
        let (Phase::AwaitingDecision { stream_id, .. } | Phase::Publishing { stream_id }) = self.phase else { return };
        self.phase = Phase::Commands;
        self.on_status(stream_id, "error", code, description);
    }

    /// Queues one media message for a player.
    pub fn send_media(&mut self, media: &MediaOut<'_>) {
        let Phase::Playing { stream_id } = self.phase else { return };
        self.link.send_media(stream_id, media);
    }

    /// Notifies the player that the stream ended.
    pub fn end_play(&mut self) {
        let Phase::Playing { stream_id } = self.phase else { return };
        self.on_status(stream_id, "status", "NetStream.Play.UnpublishNotify", "The stream ended.");
        self.link.control(Control::StreamEof(stream_id));
    }

    fn on_message(&mut self, message: Message) -> Result<Option<Event>, Error> {
        match message.kind {
            MessageType::CommandAmf0 | MessageType::CommandAmf3 => match Command::parse(&message) {
                Some(command) => self.on_command(&command, message.stream_id),
                None => Ok(None),
            },
            _ if matches!(self.phase, Phase::Publishing { .. }) => Ok(Media::from_message(message).map(Event::Media)),
            _ => Ok(None),
        }
    }

    fn on_command(&mut self, command: &Command, stream_id: u32) -> Result<Option<Event>, Error> {
        let transaction = command.transaction;
        match command.name.as_str() {
            "connect" => self.on_connect(command),
            "createStream" => self.result(transaction, Value::Number(STREAM_ID.into())),
            "publish" => return self.on_request(command, stream_id, true),
            "play" => return self.on_request(command, stream_id, false),
            "FCPublish" => {
                self.result(transaction, Value::Undefined);
                // Some hardware encoders wait for this, with the transaction id of their call.
                let info = status("status", "NetStream.Publish.Start", "Ready to publish.");
                let answer = Command::new("onFCPublish", transaction, Value::Null, vec![info]);
                self.link.send(csid::COMMAND, &answer.message(0));
            }
            "FCUnpublish" | "deleteStream" | "closeStream" | "close" => return Ok(self.on_unpublish(command)),
            "getStreamLength" => self.result(transaction, Value::Number(0.0)),
            "_result" | "_error" | "onStatus" => {}
            _ => self.result(transaction, Value::Null),
        }
        Ok(None)
    }

    fn on_connect(&mut self, command: &Command) {
        let text = |field: &str| command.object.field(field).and_then(Value::as_str).unwrap_or_default().to_owned();
        self.app = Some(text("app"));
        self.flash_version = text("flashVer");
        // Old Flash clients write `tcurl`.
        self.tc_url = Some(text("tcUrl")).filter(|url| !url.is_empty()).unwrap_or_else(|| text("tcurl"));

        self.link.control(Control::WindowAckSize(WINDOW_ACK_BYTES));
        self.link.control(Control::SetPeerBandwidth { window: WINDOW_ACK_BYTES, limit: 2 });
        // Sent before publish and never later: OBS stops reading once it sends media.
        self.link.control(Control::SetChunkSize(CHUNK_BYTES.get() as u32));
        self.link.encoder.set_chunk_size(CHUNK_BYTES);

        let Value::Object(mut properties) =
            object([("fmsVer", "FMS/3,5,7,7009".into()), ("capabilities", 31.0.into()), ("mode", 1.0.into())])
        else {
            return;
        };
        let enhanced = ["fourCcList", "capsEx", "videoFourCcInfoMap", "audioFourCcInfoMap"];
        if enhanced.iter().any(|field| command.object.field(field).is_some()) {
            properties.extend(enhanced_properties());
        }
        let mut info = status("status", "NetConnection.Connect.Success", "Connection succeeded.");
        if let (Value::Object(fields), Some(encoding)) = (&mut info, command.object.field("objectEncoding")) {
            fields.push(("objectEncoding".to_owned(), encoding.clone()));
        }
        let answer = Command::new("_result", command.transaction, Value::Object(properties), vec![info]);
        self.link.send(csid::COMMAND, &answer.message(0));
    }

    fn on_request(&mut self, command: &Command, stream_id: u32, publish: bool) -> Result<Option<Event>, Error> {
        let Some(app) = &self.app else {
            return Err(Error::Order(if publish { "publish" } else { "play" }));
        };
        if !matches!(self.phase, Phase::Commands) {
            return Ok(None);
        }
        let key = requested_key(app, &self.tc_url, command.text(0).unwrap_or_default()).map(str::to_owned);
        // The response uses the message stream that was created, whatever stream the request came on.
        let stream_id = if stream_id == 0 { STREAM_ID } else { stream_id };
        self.phase = Phase::AwaitingDecision { stream_id, publish };
        Ok(Some(if publish { Event::Publish(key) } else { Event::Play(key) }))
    }

    /// `deleteStream` has a number as its argument, from GStreamer a text. There is only one stream, so it is ignored.
    fn on_unpublish(&mut self, command: &Command) -> Option<Event> {
        let event = match self.phase {
            Phase::Publishing { .. } => Some(Event::Unpublish),
            Phase::Playing { .. } => Some(Event::Stop),
            _ => None,
        };
        if let Phase::Publishing { stream_id } = self.phase
            && command.name == "FCUnpublish"
        {
            let info = status("status", "NetStream.Unpublish.Success", "Stopped.");
            self.link
                .send(csid::COMMAND, &Command::new("onFCUnpublish", 0.0, Value::Null, vec![info.clone()]).message(0));
            self.link
                .send(csid::STREAM, &Command::new("onStatus", 0.0, Value::Null, vec![info]).message(stream_id));
        }
        if event.is_some() {
            self.phase = Phase::Commands;
        }
        event
    }

    /// Sends a result if the call expects one: GStreamer makes some calls with transaction 0.
    fn result(&mut self, transaction: f64, value: Value) {
        if transaction != 0.0 {
            let answer = Command::new("_result", transaction, Value::Null, vec![value]);
            self.link.send(csid::COMMAND, &answer.message(0));
        }
    }

    fn on_status(&mut self, stream_id: u32, level: &str, code: &str, description: &str) {
        self.link.send(csid::STREAM, &Command::on_status(level, code, description).message(stream_id));
    }
}

/// We forward every codec, in every form of Enhanced RTMP v2 (section "Enhancing NetConnection connect Command").
fn enhanced_properties() -> [(String, Value); 4] {
    const CAN_FORWARD: f64 = 4.0;
    /// Multitrack 2, ModEx 4, nanosecond offsets 8. Not Reconnect 1, which would ask us to send reconnect requests.
    const CAPS_EX: f64 = 14.0;
    let any = || object([("*", CAN_FORWARD.into())]);
    [
        ("fourCcList".to_owned(), Value::StrictArray(vec!["*".into()])),
        ("videoFourCcInfoMap".to_owned(), any()),
        ("audioFourCcInfoMap".to_owned(), any()),
        ("capsEx".to_owned(), CAPS_EX.into()),
    ]
}
