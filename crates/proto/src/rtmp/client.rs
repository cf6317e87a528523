//! The client end of a connection: pushes to a platform, pulls from a server, or only asks whether it would be let in.
//!
//! ```text
//! C0 C1 -> S0 S1 S2 -> C2, SetChunkSize, connect -> _result
//!   push:  releaseStream, FCPublish, createStream -> _result -> publish -> onStatus Publish.Start -> media
//!   pull:  createStream -> _result -> play -> onStatus Play.Start -> media
//!   probe: createStream -> _result, and no further
//! ```
//!
//! It sends what OBS sends, since that is what every platform accepts. Media may only follow [`Event::Ready`]: servers
//! drop what comes earlier, and with it the codec headers.

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

/// What OBS sends everywhere.
pub const DEFAULT_CHUNK_BYTES: NonZeroUsize = NonZeroUsize::new(4_096).expect("is not zero");
/// What OBS and FFmpeg call themselves; some platforms look at it.
const FLASH_VERSION: &str = "FMLE/3.0 (compatible; FMSc/1.0)";

const CONNECT: f64 = 1.0;
const RELEASE_STREAM: f64 = 2.0;
const FC_PUBLISH: f64 = 3.0;
const CREATE_STREAM: f64 = 4.0;
const PUBLISH: f64 = 5.0;
const FC_UNPUBLISH: f64 = 6.0;

/// What the connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Intent {
    /// Send a stream.
    Push,
    /// Receive a stream.
    Pull,
    /// Find out whether the server would take a stream, without publishing.
    Probe,
}

/// What to ask the server for; every text goes out as it is.
#[derive(Clone, Debug)]
pub struct Request {
    /// What for.
    pub intent: Intent,
    /// The application, query included.
    pub app: String,
    /// The URL as the user wrote it.
    pub tc_url: String,
    /// The stream name or key.
    pub name: String,
    /// The size of the chunks we send.
    pub chunk_bytes: NonZeroUsize,
    /// Announce Enhanced RTMP: only when the stream needs it, since OBS never does.
    pub enhanced: bool,
    /// What to call ourselves (`flashVer`); `None` for what OBS says.
    pub flash_version: Option<String>,
}

/// Which step of the conversation something belongs to.
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

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// `connect` was accepted.
    Connected,
    /// `createStream` was answered; a probe is done.
    StreamCreated,
    /// The server takes or sends media from now on.
    Ready,
    /// The server said no.
    Refused {
        /// To what.
        step: Step,
        /// `NetStream.Publish.BadName`, ... ; may be empty.
        code: String,
        /// The server's words; may be empty.
        description: String,
    },
    /// The server sends us elsewhere (RTMP 302, as SRS and CDNs do it): an absolute or relative URL.
    Redirect(String),
    /// The server asks us to move soon, and goes on until then (Enhanced RTMP v2). `None` means the same place.
    ReconnectRequest(Option<String>),
    /// A media message of a pulled stream.
    Media(Media),
    /// The server ended the stream.
    Ended,
}

/// Why a connection ends.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Not RTMP.
    #[error(transparent)]
    Handshake(#[from] handshake::Error),
    /// Broken chunks.
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
    /// The server said that the stream is over.
    ended: bool,
}

impl ClientSession {
    /// Begins; the handshake is in the outbox. `random` fills it.
    pub fn new(request: Request, random: [u8; RANDOM_BYTES]) -> Self {
        // A server that is played from may send much, once it said that it does.
        let is_pull = request.intent == Intent::Pull;
        let mut link = Link::new(if is_pull { Bounds::UNADMITTED } else { Bounds::ADMITTED });
        let handshake = Handshake::client(random, link.outbox.scratch());
        Self { request, handshake: Some(handshake), link, step: Step::Connect, stream_id: 0, ended: false }
    }

    /// Bytes that were read so far, those of chunk headers as well.
    pub fn received_bytes(&self) -> u64 {
        self.link.received()
    }

    /// What is to be sent.
    pub fn outbox(&mut self) -> &mut Outbox {
        &mut self.link.outbox
    }

    /// Whether the handshake is over.
    pub fn is_handshaken(&self) -> bool {
        self.handshake.is_none()
    }

    /// Where the conversation stands.
    pub fn step(&self) -> Step {
        self.step
    }

    /// The newest byte count that the server acknowledged, modulo 2^32; many never do.
    pub fn acknowledged(&self) -> Option<u32> {
        self.link.peer_acknowledged()
    }

    /// The next event in `received`, with its bytes removed. `None` when more bytes are needed; call until then.
    pub fn next_event(&mut self, received: &mut BytesMut) -> Result<Option<Event>, Error> {
        link::consume(received, |input| self.advance(input))
    }

    /// Takes bytes off the front of `input` up to the next event; `None` when all are used up. Call until then.
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

    /// Queues one media message, laid out for the request's chunk size. Nothing happens before [`Event::Ready`].
    pub fn send_media(&mut self, media: &MediaOut<'_>) {
        if self.step == Step::Running {
            self.link.send_media(self.stream_id, media);
        }
    }

    /// Says that the show is over (`FCUnpublish`, `deleteStream`): platforms end the broadcast for their viewers. Close
    /// the connection without it when it should go on.
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
            // All that nginx-rtmp says of the end unless it is told to say more.
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
            // Bandwidth checks of old Flash servers; they wait for the answer.
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
                /// Live streams only, in the milliseconds that servers read it as.
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

    /// An error to `releaseStream` or `FCPublish` means nothing: many servers do not know them.
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
        // Servers say it in several ways at once.
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

/// What a sender of newer codecs announces (Enhanced RTMP v2, `connect`).
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

/// Codes that mean no even where a server forgets the level.
fn is_failure(code: &str) -> bool {
    let last = code.rsplit('.').next().unwrap_or_default();
    ["Failed", "Rejected", "Denied", "BadName", "Unauthorized", "InvalidApp", "StreamNotFound"].contains(&last)
}

/// Where `ex.redirect` of an information object sends us.
fn redirect(command: &Command) -> Option<String> {
    let ex = command.info().field("ex")?;
    (ex.field("code")?.as_number()? == 302.0)
        .then(|| ex.field("redirect")?.as_str().map(str::to_owned))
        .flatten()
}
