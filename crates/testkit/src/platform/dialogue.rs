//! The RTMP that a platform speaks, without I/O: bytes in, happenings and bytes out.
//!
//! It shares the parsers with the program and not the server session, because it has to say what no server should.

use bytes::BytesMut;
use gostream_proto::rtmp::{
    amf0::{Value, object},
    chunk::{Bounds, Decoder, Encoder, csid},
    command::{self, Command, Data},
    handshake::{Handshake, RANDOM_BYTES},
    key::requested_key,
    media::{Media, MediaKind},
    message::{Control, Message, MessageType},
};

use super::behaviour::{Behaviour, Instead, Say, Step};

/// What real platforms acknowledge after.
const WINDOW_BYTES: u32 = 2_500_000;
const CHUNK_BYTES: usize = 65_536;

/// What happened.
#[derive(Debug)]
pub(super) enum Happening {
    /// Somebody asked to publish with this key, and was let in unless the behaviour says otherwise.
    Publish(String),
    Media(Media),
    /// `FCUnpublish` or `deleteStream`.
    Goodbye,
    /// The newest ping was answered with its own number.
    Pong,
    /// The platform is to close or to fall silent.
    Leave(Instead),
}

/// The platform's end of one conversation.
#[derive(Debug)]
pub(super) struct Dialogue {
    behaviour: Behaviour,
    handshake: Option<Handshake>,
    decoder: Decoder,
    encoder: Encoder,
    /// What is to be sent.
    pub(super) out: BytesMut,
    app: String,
    tc_url: String,
    /// The publish was accepted.
    publishing: bool,
    pings: u32,
    received: u64,
    acknowledged: u64,
}

impl Dialogue {
    pub(super) fn new(behaviour: Behaviour) -> Self {
        Self {
            behaviour,
            handshake: Some(Handshake::server([0x50; RANDOM_BYTES])),
            decoder: Decoder::new(Bounds::ADMITTED),
            encoder: Encoder::default(),
            out: BytesMut::new(),
            app: String::new(),
            tc_url: String::new(),
            publishing: false,
            pings: 0,
            received: 0,
            acknowledged: 0,
        }
    }

    /// Whether the publish was accepted.
    pub(super) fn is_live(&self) -> bool {
        self.publishing
    }

    /// Takes bytes off the front of `input` up to the next happening; `None` when all are used up.
    pub(super) fn advance(&mut self, input: &mut &[u8]) -> anyhow::Result<Option<Happening>> {
        let before = input.len();
        let happening = self.next(input);
        self.received += (before - input.len()) as u64;
        if self.received - self.acknowledged >= WINDOW_BYTES.into() {
            self.acknowledged = self.received;
            self.control(Control::Acknowledgement(self.received as u32));
        }
        happening
    }

    fn next(&mut self, input: &mut &[u8]) -> anyhow::Result<Option<Happening>> {
        if let Some(handshake) = &mut self.handshake {
            if let Some(instead) = self.behaviour.at_step(Step::Handshake).filter(|_| !input.is_empty()) {
                return Ok(Some(Happening::Leave(instead.clone())));
            }
            if !handshake.advance(input, &mut self.out)? {
                return Ok(None);
            }
            self.handshake = None;
        }
        while let Some(message) = self.decoder.decode(input)? {
            if let Some(happening) = self.on_message(message)? {
                return Ok(Some(happening));
            }
        }
        Ok(None)
    }

    fn on_message(&mut self, message: Message) -> anyhow::Result<Option<Happening>> {
        match Control::parse(&message) {
            Some(Control::SetChunkSize(bytes)) => self.decoder.set_chunk_size(bytes)?,
            Some(Control::PingResponse(number)) if number == self.pings => return Ok(Some(Happening::Pong)),
            _ => {}
        }
        match Command::parse(&message) {
            Some(command) => self.on_command(&command, message.stream_id),
            None => Ok(self.publishing.then(|| media(message)).flatten().map(Happening::Media)),
        }
    }

    fn on_command(&mut self, command: &Command, stream_id: u32) -> anyhow::Result<Option<Happening>> {
        let (step, transaction) = (step_of(&command.name), command.transaction);
        if step == Some(Step::Connect) {
            let text = |field: &str| command.object.field(field).and_then(Value::as_str).unwrap_or_default().to_owned();
            (self.app, self.tc_url) = (text("app"), text("tcUrl"));
        }
        if let Some(instead) = step.filter(|&step| step != Step::Publish).and_then(|step| self.behaviour.at_step(step))
        {
            return Ok(self.misbehave(instead.clone(), transaction));
        }
        match command.name.as_str() {
            "connect" => self.on_connect(transaction),
            "createStream" => self.answer("_result", transaction, Value::Null, Value::Number(self.stream_id().into())),
            "publish" => return self.on_publish(command.text(0).unwrap_or_default(), stream_id).map(Some),
            "releaseStream" | "FCPublish" => self.answer("_result", transaction, Value::Null, Value::Undefined),
            "FCUnpublish" | "deleteStream" if self.publishing => {
                if command.name == "FCUnpublish" {
                    self.status("status", "NetStream.Unpublish.Success", "Stopped.");
                }
                return Ok(Some(Happening::Goodbye));
            }
            _ => {}
        }
        Ok(None)
    }

    fn on_connect(&mut self, transaction: f64) {
        if let Some(objection) = self.behaviour.login.as_ref().and_then(|login| login.objection(&self.app)) {
            let no = command::status("error", "NetConnection.Connect.Rejected", &objection);
            return self.answer("_error", transaction, Value::Null, no);
        }
        self.control(Control::WindowAckSize(WINDOW_BYTES));
        self.control(Control::SetPeerBandwidth { window: WINDOW_BYTES, limit: 2 });
        let size = self.behaviour.chunk_bytes.map_or(CHUNK_BYTES, |size| size.get());
        self.control(Control::SetChunkSize(size as u32));
        self.encoder.set_chunk_size(size.try_into().expect("is not zero"));
        let properties = object([("fmsVer", "FMS/3,5,7,7009".into()), ("capabilities", 31.0.into())]);
        let yes = command::status("status", "NetConnection.Connect.Success", "Connection succeeded.");
        self.answer("_result", transaction, properties, yes);
    }

    fn on_publish(&mut self, name: &str, stream_id: u32) -> anyhow::Result<Happening> {
        anyhow::ensure!(stream_id == self.stream_id(), "publish came on message stream {stream_id}");
        let key = requested_key(&self.app, &self.tc_url, name).unwrap_or_default().to_owned();
        let instead = self.behaviour.refuse.map(Instead::Refuse);
        match instead.or_else(|| self.behaviour.at_step(Step::Publish).cloned()) {
            None => {
                self.publishing = true;
                self.control(Control::StreamBegin(stream_id));
                self.status("status", "NetStream.Publish.Start", "Publishing.");
            }
            Some(Instead::Refuse(code)) => self.status("error", code, "refused by the test platform"),
            Some(_) => {}
        }
        Ok(Happening::Publish(key))
    }

    /// What the behaviour wants after the visit of a publish was written down.
    pub(super) fn leave_after_publish(&self) -> Option<Instead> {
        self.behaviour
            .at_step(Step::Publish)
            .filter(|instead| !matches!(instead, Instead::Refuse(_)))
            .cloned()
    }

    fn misbehave(&mut self, instead: Instead, transaction: f64) -> Option<Happening> {
        let mut no = |code, more: Option<(&str, Value)>| {
            let mut info = command::status("error", code, "refused by the test platform");
            if let (Value::Object(fields), Some((name, value))) = (&mut info, more) {
                fields.push((name.to_owned(), value));
            }
            self.answer("_error", transaction, Value::Null, info);
        };
        match instead {
            Instead::Refuse(code) => no(code, None),
            Instead::Redirect(url) => {
                let ex = object([("code", 302.0.into()), ("redirect", url.as_str().into())]);
                no("NetConnection.Connect.Rejected", Some(("ex", ex)));
            }
            leave => return Some(Happening::Leave(leave)),
        }
        None
    }

    /// Says something to a live publisher.
    pub(super) fn say(&mut self, say: &Say) {
        match say {
            Say::Error(code) => self.status("error", code, "said by the test platform"),
            Say::Reconnect(url) => {
                let mut info = command::status("status", "NetConnection.Connect.ReconnectRequest", "Moving.");
                if let (Value::Object(fields), Some(url)) = (&mut info, url) {
                    fields.push(("tcUrl".to_owned(), url.as_str().into()));
                }
                let request = Command::new("onStatus", 0.0, Value::Null, vec![info]);
                self.encoder.message(csid::COMMAND, &request.message(0), &mut self.out);
            }
        }
    }

    /// Asks for a sign of life.
    pub(super) fn ping(&mut self) {
        self.pings += 1;
        self.control(Control::PingRequest(self.pings));
    }

    fn stream_id(&self) -> u32 {
        self.behaviour.stream_id.unwrap_or(1)
    }

    fn status(&mut self, level: &str, code: &str, description: &str) {
        let message = Command::on_status(level, code, description).message(self.stream_id());
        self.encoder.message(csid::STREAM, &message, &mut self.out);
    }

    fn answer(&mut self, name: &str, transaction: f64, object: Value, argument: Value) {
        let message = Command::new(name, transaction, object, vec![argument]).message(0);
        self.encoder.message(csid::COMMAND, &message, &mut self.out);
    }

    fn control(&mut self, control: Control) {
        self.encoder.message(csid::CONTROL, &control.message(), &mut self.out);
    }
}

fn step_of(command: &str) -> Option<Step> {
    match command {
        "connect" => Some(Step::Connect),
        "releaseStream" | "FCPublish" => Some(Step::ReleaseStream),
        "createStream" => Some(Step::CreateStream),
        "publish" => Some(Step::Publish),
        _ => None,
    }
}

/// `onMetaData` without its `@setDataFrame`, and other data as it was sent.
fn media(message: Message) -> Option<Media> {
    let timestamp = message.timestamp;
    let (kind, body) = match message.kind {
        MessageType::Audio => (MediaKind::Audio, message.payload),
        MessageType::Video => (MediaKind::Video, message.payload),
        MessageType::DataAmf0 | MessageType::DataAmf3 => match command::data(&message)? {
            Data::Metadata(body) => (MediaKind::Metadata, body),
            Data::Other(_) => (MediaKind::Data, message.payload),
        },
        _ => return None,
    };
    Some(Media { kind, timestamp, body })
}
