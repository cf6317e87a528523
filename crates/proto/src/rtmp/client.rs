//! The client end of a connection: pushes to a platform, pulls from a server, or probes whether a server would accept a
//! stream.
//!
//! ```text
//! C0 C1 -> S0 S1 S2 -> C2, SetChunkSize, connect -> _result
//!   push:  releaseStream, FCPublish, createStream -> _result -> publish -> onStatus Publish.Start -> media
//!   pull:  createStream -> _result -> play -> onStatus Play.Start -> media
//!   probe: createStream -> _result, and no further
//! ```
//!
//! It sends the same commands as OBS, because every platform accepts those. Media must not be sent before
//! [`Event::Ready`]: servers drop earlier messages, codec headers included.

use std::num::NonZeroUsize;

use bytes::BytesMut;

use super::{
    amf0::{Value, object},
    chunk::{self, Bounds, csid},
    command::Command,
    handshake::{self, Handshake, RANDOM_BYTES},
    link::{self, Link},
    media::{Media, MediaOut},
    message::{Control, Message, MessageType},
    outbox::Outbox,
};

/// The chunk size that OBS uses for every platform.
pub const DEFAULT_CHUNK_BYTES: NonZeroUsize = NonZeroUsize::new(4_096).expect("is not zero");
/// The `flashVer` of OBS and FFmpeg; some platforms check it.
const FLASH_VERSION: &str = "FMLE/3.0 (compatible; FMSc/1.0)";

const CONNECT: f64 = 1.0;
const RELEASE_STREAM: f64 = 2.0;
const FC_PUBLISH: f64 = 3.0;
const CREATE_STREAM: f64 = 4.0;
const PUBLISH: f64 = 5.0;
const FC_UNPUBLISH: f64 = 6.0;

/// The purpose of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Intent {
    /// Send a stream.
    Push,
    /// Receive a stream.
    Pull,
    /// Find out whether the server would accept a stream, without publishing.
    Probe,
}

/// What to request from the server. All texts are sent unchanged.
#[derive(Clone, Debug)]
pub struct Request {
    /// The purpose of the connection.
    pub intent: Intent,
    /// The application, query included.
    pub app: String,
    /// The URL as the user wrote it.
    pub tc_url: String,
    /// The stream name or key.
    pub name: String,
    /// The size of the chunks that we send.
    pub chunk_bytes: NonZeroUsize,
    /// Announce Enhanced RTMP. Only when the stream needs it, since OBS never does.
    pub enhanced: bool,
    /// Our `flashVer`; `None` for the one of OBS.
    pub flash_version: Option<String>,
}

/// A step of the connection setup.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// `connect`.
    Connect,
    /// `createStream`.
    CreateStream,
    /// `publish` or `play`.
    Start,
    /// Media flows.
    Running,
}

/// What the server did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// `connect` was accepted.
    Connected,
    /// `createStream` was answered; a probe ends here.
    StreamCreated,
    /// From now on the server accepts or sends media.
    Ready,
    /// The server refused a command.
    Refused {
        /// The refused command.
        step: Step,
        /// `NetStream.Publish.BadName`, ...; may be empty.
        code: String,
        /// The server's description; may be empty.
        description: String,
    },
    /// The server redirects us (RTMP 302, as SRS and CDNs do it): an absolute or relative URL.
    Redirect(String),
    /// The server asks us to reconnect soon, and continues until then (Enhanced RTMP v2). `None` means the same URL.
    ReconnectRequest(Option<String>),
    /// A media message of a pulled stream.
    Media(Media),
    /// The server ended the stream.
    Ended,
}

/// Why a connection cannot continue.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The handshake failed: the peer does not speak RTMP.
    #[error(transparent)]
    Handshake(#[from] handshake::Error),
    /// Invalid chunks.
    #[error(transparent)]
    Chunk(#[from] chunk::Error),
}

/// The client end of one connection.
#[derive(Debug)]
pub struct ClientSession {
    request: Request,
    handshake: Option<Handshake>,
    link: Link,
    step: Step,
    stream_id: u32,
    /// The server reported the end of the stream.
    ended: bool,
}

impl ClientSession {
    /// Starts the session and puts the handshake into the outbox. `random` fills it.
    pub fn new(request: Request, random: [u8; RANDOM_BYTES]) -> Self {
        // A server that we play from may send much, but only after it accepted `play`.
        let is_pull = request.intent == Intent::Pull;
        let mut link = Link::new(if is_pull { Bounds::UNADMITTED } else { Bounds::ADMITTED });
        let handshake = Handshake::client(random, link.outbox.scratch());
        Self { request, handshake: Some(handshake), link, step: Step::Connect, stream_id: 0, ended: false }
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
        self.handshake.is_none()
    }

    /// The current step.
    pub fn step(&self) -> Step {
        self.step
    }

    /// The newest byte count that the server acknowledged, modulo 2^32. Many servers never acknowledge.
    pub fn acknowledged(&self) -> Option<u32> {
        self.link.peer_acknowledged()
    }

    /// The next event in `received`, with its bytes removed. `None` when more bytes are needed; call until then.
    pub fn next_event(&mut self, received: &mut BytesMut) -> Result<Option<Event>, Error> {
        link::consume(received, |input| self.advance(input))
    }

    /// Consumes `input` up to the next event; `None` if all input was consumed. Call until then.
    pub fn advance(&mut self, input: &mut &[u8]) -> Result<Option<Event>, Error> {
        if let Some(handshake) = &mut self.handshake {
            let before = input.len();
            let done = handshake.advance(input, self.link.outbox.scratch())?;
            self.link.count_received(before - input.len());
            if !done {
                return Ok(None);
            }
            self.handshake = None;
            self.connect();
        }
        while let Some(message) = self.link.next_message(input)? {
            if let Some(event) = self.on_message(message) {
                return Ok(Some(event));
            }
        }
        Ok(None)
    }

    /// Queues one media message, in the request's chunk size. Ignored before [`Event::Ready`].
    pub fn send_media(&mut self, media: &MediaOut<'_>) {
        if self.step == Step::Running {
            self.link.send_media(self.stream_id, media);
        }
    }

    /// Ends the stream (`FCUnpublish`, `deleteStream`): platforms end the broadcast for their viewers. To let the
    /// broadcast continue, close the connection without calling this.
    pub fn finish(&mut self) {
        if self.request.intent == Intent::Push && self.stream_id != 0 {
            let name = self.request.name.as_str().into();
            self.call("FCUnpublish", FC_UNPUBLISH, vec![name]);
        }
        if self.stream_id != 0 {
            self.call("deleteStream", 0.0, vec![Value::Number(self.stream_id.into())]);
        }
    }

    fn on_message(&mut self, message: Message) -> Option<Event> {
        match message.kind {
            MessageType::CommandAmf0 | MessageType::CommandAmf3 => self.on_command(&Command::parse(&message)?),
            // By default, this is the only message that nginx-rtmp sends at the end of a stream.
            MessageType::UserControl => self.is_end(&message).then(|| self.ended()),
            _ if self.ended => None,
            _ if self.request.intent == Intent::Pull => Media::from_message(message).map(Event::Media),
            _ => None,
        }
    }

    fn on_command(&mut self, command: &Command) -> Option<Event> {
        match command.name.as_str() {
            "_result" => self.on_result(command),
            "_error" => self.on_error(command),
            "onStatus" => self.on_status(command),
            "close" => (!self.ended).then(|| self.ended()),
            // Bandwidth checks of old Flash servers, which wait for the result.
            "_onbwcheck" | "onBWCheck" => {
                let answer = Command::new("_result", command.transaction, Value::Null, vec![Value::Null]);
                self.link.send(csid::COMMAND, &answer.message(0));
                None
            }
            "onBWDone" => {
                self.call("_checkbw", 0.0, vec![]);
                None
            }
            _ => None,
        }
    }

    fn on_result(&mut self, command: &Command) -> Option<Event> {
        let transaction = command.transaction;
        if transaction == CONNECT && self.step == Step::Connect {
            if let Some(url) = redirect(command) {
                return Some(Event::Redirect(url));
            }
            self.step = Step::CreateStream;
            if self.request.intent == Intent::Push {
                let name: Value = self.request.name.as_str().into();
                self.call("releaseStream", RELEASE_STREAM, vec![name.clone()]);
                self.call("FCPublish", FC_PUBLISH, vec![name]);
            }
            self.call("createStream", CREATE_STREAM, vec![]);
            return Some(Event::Connected);
        }
        if transaction == CREATE_STREAM && self.step == Step::CreateStream {
            self.stream_id = command.arguments.first().and_then(Value::as_number).map_or(1, |id| id as u32);
            self.step = Step::Start;
            self.start();
            return Some(Event::StreamCreated);
        }
        // Some servers answer `publish` with a result instead of a status.
        (transaction == PUBLISH && self.step == Step::Start && self.request.intent == Intent::Push)
            .then(|| self.ready())
    }

    fn start(&mut self) {
        let name: Value = self.request.name.as_str().into();
        match self.request.intent {
            Intent::Push => {
                let publish = Command::new("publish", PUBLISH, Value::Null, vec![name, "live".into()]);
                self.link.send(csid::STREAM, &publish.message(self.stream_id));
            }
            Intent::Pull => {
                /// The `play` start argument for live streams only, in the milliseconds that servers interpret it as.
                const LIVE: f64 = -1_000.0;
                let play = Command::new("play", 0.0, Value::Null, vec![name, LIVE.into()]);
                self.link.send(csid::STREAM, &play.message(self.stream_id));
                self.link.control(Control::SetBufferLength { stream_id: self.stream_id, ms: 1_000 });
            }
            Intent::Probe => {}
        }
    }

    fn ready(&mut self) -> Event {
        self.step = Step::Running;
        self.link.decoder.set_bounds(Bounds::ADMITTED);
        Event::Ready
    }

    fn is_end(&self, message: &Message) -> bool {
        let running = self.request.intent == Intent::Pull && self.step == Step::Running && !self.ended;
        running && matches!(Control::parse(message), Some(Control::StreamEof(_)))
    }

    fn ended(&mut self) -> Event {
        self.ended = true;
        Event::Ended
    }

    /// Errors to `releaseStream` and `FCPublish` are ignored: many servers do not know these commands.
    fn on_error(&mut self, command: &Command) -> Option<Event> {
        let transaction = command.transaction;
        if transaction == RELEASE_STREAM || transaction == FC_PUBLISH || transaction == FC_UNPUBLISH {
            return None;
        }
        Some(redirect(command).map_or_else(|| self.refused(command), Event::Redirect))
    }

    fn on_status(&mut self, command: &Command) -> Option<Event> {
        let code = command.info_text("code").unwrap_or_default();
        if let Some(url) = redirect(command) {
            return Some(Event::Redirect(url));
        }
        if code == "NetConnection.Connect.ReconnectRequest" {
            return Some(Event::ReconnectRequest(command.info_text("tcUrl").map(str::to_owned)));
        }
        let started = match self.request.intent {
            Intent::Push => code == "NetStream.Publish.Start",
            Intent::Pull => code == "NetStream.Play.Start",
            Intent::Probe => false,
        };
        if started {
            return (self.step == Step::Start).then(|| self.ready());
        }
        if command.info_text("level") == Some("error") || is_failure(code) {
            return Some(self.refused(command));
        }
        let over = ["NetStream.Play.Stop", "NetStream.Play.UnpublishNotify", "NetConnection.Connect.Closed"];
        // Servers may report the end in several messages.
        (over.contains(&code) && !self.ended).then(|| self.ended())
    }

    fn refused(&self, command: &Command) -> Event {
        let text = |field| command.info_text(field).unwrap_or_default().to_owned();
        Event::Refused { step: self.step, code: text("code"), description: text("description") }
    }

    fn connect(&mut self) {
        self.link.control(Control::SetChunkSize(self.request.chunk_bytes.get() as u32));
        self.link.encoder.set_chunk_size(self.request.chunk_bytes);
        let tc_url = self.request.tc_url.as_str();
        let flash_version = self.request.flash_version.as_deref().unwrap_or(FLASH_VERSION);
        let Value::Object(mut fields) = object([
            ("app", self.request.app.as_str().into()),
            ("type", "nonprivate".into()),
            ("flashVer", flash_version.into()),
            ("swfUrl", tc_url.into()),
            ("tcUrl", tc_url.into()),
        ]) else {
            return;
        };
        if self.request.intent == Intent::Pull {
            fields.extend([("audioCodecs", 3_575.0), ("videoCodecs", 252.0)].map(|(f, v)| (f.to_owned(), v.into())));
        }
        if self.request.enhanced {
            fields.extend(enhanced_fields());
        }
        let connect = Command::new("connect", CONNECT, Value::Object(fields), vec![]);
        self.link.send(csid::COMMAND, &connect.message(0));
    }

    fn call(&mut self, name: &str, transaction: f64, arguments: Vec<Value>) {
        let command = Command::new(name, transaction, Value::Null, arguments);
        self.link.send(csid::COMMAND, &command.message(0));
    }
}

/// The `connect` fields of a sender of newer codecs (Enhanced RTMP v2).
fn enhanced_fields() -> [(String, Value); 4] {
    const CAN_ENCODE_AND_FORWARD: f64 = 6.0;
    /// Reconnect 1, multitrack 2, ModEx 4, nanosecond offsets 8.
    const CAPS_EX: f64 = 15.0;
    let any = || object([("*", CAN_ENCODE_AND_FORWARD.into())]);
    let four_ccs = ["av01", "vp09", "hvc1", "avc1", "Opus", "mp4a"].map(Value::from).to_vec();
    [
        ("fourCcList".to_owned(), Value::StrictArray(four_ccs)),
        ("videoFourCcInfoMap".to_owned(), any()),
        ("audioFourCcInfoMap".to_owned(), any()),
        ("capsEx".to_owned(), CAPS_EX.into()),
    ]
}

/// Codes that mean failure even if the server omits the level.
fn is_failure(code: &str) -> bool {
    let last = code.rsplit('.').next().unwrap_or_default();
    ["Failed", "Rejected", "Denied", "BadName", "Unauthorized", "InvalidApp", "StreamNotFound"].contains(&last)
}

/// The URL in `ex.redirect` of an information object.
fn redirect(command: &Command) -> Option<String> {
    let ex = command.info().field("ex")?;
    (ex.field("code")?.as_number()? == 302.0)
        .then(|| ex.field("redirect")?.as_str().map(str::to_owned))
        .flatten()
}
