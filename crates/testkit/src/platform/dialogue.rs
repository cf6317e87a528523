//! The platform's side of RTMP, without I/O: bytes in, events and bytes out.
//!
//! It shares the parsers with the program but not the server session, because it must send what no server should.

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

use super::behaviour::{Behaviour, Deviation, LiveMessage, Step};

/// The acknowledgement window of real platforms, in bytes.
const WINDOW_BYTES: u32 = 2_500_000;
const CHUNK_BYTES: usize = 65_536;

/// An event of the connection.
#[derive(Debug)]
pub(super) enum PlatformEvent {
    /// A publish request with this key. It was accepted unless the behaviour says otherwise.
    Publish(String),
    Media(Media),
    /// `FCUnpublish` or `deleteStream`.
    Goodbye,
    /// The newest ping was answered with the right number.
    Pong,
    /// The platform must close, or stop responding.
    Leave(Deviation),
}

/// The platform's end of one connection.
#[derive(Debug)]
pub(super) struct Dialogue {
    behaviour: Behaviour,
    handshake: Option<Handshake>,
    decoder: Decoder,
    encoder: Encoder,
    /// Bytes to send.
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

    /// Consumes `input` up to the next event; `None` if all input was consumed.
    pub(super) fn advance(&mut self, input: &mut &[u8]) -> anyhow::Result<Option<PlatformEvent>> {
        let before = input.len();
        let event = self.next(input);
        self.received += (before - input.len()) as u64;
        if self.received - self.acknowledged >= WINDOW_BYTES.into() {
            self.acknowledged = self.received;
            self.control(Control::Acknowledgement(self.received as u32));
        }
        event
    }

    fn next(&mut self, input: &mut &[u8]) -> anyhow::Result<Option<PlatformEvent>> {
        if let Some(handshake) = &mut self.handshake {
            if let Some(deviation) = self.behaviour.at_step(Step::Handshake).filter(|_| !input.is_empty()) {
                return Ok(Some(PlatformEvent::Leave(deviation.clone())));
            }
            if !handshake.advance(input, &mut self.out)? {
                return Ok(None);
            }
            self.handshake = None;
        }
        while let Some(message) = self.decoder.decode(input)? {
            if let Some(event) = self.on_message(message)? {
                return Ok(Some(event));
            }
        }
        Ok(None)
    }

    fn on_message(&mut self, message: Message) -> anyhow::Result<Option<PlatformEvent>> {
        match Control::parse(&message) {
            Some(Control::SetChunkSize(bytes)) => self.decoder.set_chunk_size(bytes)?,
            Some(Control::PingResponse(number)) if number == self.pings => return Ok(Some(PlatformEvent::Pong)),
            _ => {}
        }
        match Command::parse(&message) {
            Some(command) => self.on_command(&command, message.stream_id),
            None => Ok(self.publishing.then(|| media(message)).flatten().map(PlatformEvent::Media)),
        }
    }

    fn on_command(&mut self, command: &Command, stream_id: u32) -> anyhow::Result<Option<PlatformEvent>> {
        let (step, transaction) = (step_of(&command.name), command.transaction);
        if step == Some(Step::Connect) {
            let text = |field: &str| command.object.field(field).and_then(Value::as_str).unwrap_or_default().to_owned();
            (self.app, self.tc_url) = (text("app"), text("tcUrl"));
        }
        if let Some(deviation) =
            step.filter(|&step| step != Step::Publish).and_then(|step| self.behaviour.at_step(step))
        {
            return Ok(self.misbehave(deviation.clone(), transaction));
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
                return Ok(Some(PlatformEvent::Goodbye));
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

    fn on_publish(&mut self, name: &str, stream_id: u32) -> anyhow::Result<PlatformEvent> {
        anyhow::ensure!(stream_id == self.stream_id(), "publish came on message stream {stream_id}");
        let key = requested_key(&self.app, &self.tc_url, name).unwrap_or_default().to_owned();
        let deviation = self.behaviour.refuse.map(Deviation::Refuse);
        match deviation.or_else(|| self.behaviour.at_step(Step::Publish).cloned()) {
            None => {
                self.publishing = true;
                self.control(Control::StreamBegin(stream_id));
                self.status("status", "NetStream.Publish.Start", "Publishing.");
            }
            Some(Deviation::Refuse(code)) => self.status("error", code, "refused by the test platform"),
            Some(_) => {}
        }
        Ok(PlatformEvent::Publish(key))
    }

    /// The deviation after the visit of a publish was recorded.
    pub(super) fn leave_after_publish(&self) -> Option<Deviation> {
        self.behaviour
            .at_step(Step::Publish)
            .filter(|deviation| !matches!(deviation, Deviation::Refuse(_)))
            .cloned()
    }

    fn misbehave(&mut self, deviation: Deviation, transaction: f64) -> Option<PlatformEvent> {
        let mut no = |code, more: Option<(&str, Value)>| {
            let mut info = command::status("error", code, "refused by the test platform");
            if let (Value::Object(fields), Some((name, value))) = (&mut info, more) {
                fields.push((name.to_owned(), value));
            }
            self.answer("_error", transaction, Value::Null, info);
        };
        match deviation {
            Deviation::Refuse(code) => no(code, None),
            Deviation::Redirect(url) => {
                let ex = object([("code", 302.0.into()), ("redirect", url.as_str().into())]);
                no("NetConnection.Connect.Rejected", Some(("ex", ex)));
            }
            leave => return Some(PlatformEvent::Leave(leave)),
        }
        None
    }

    /// Sends a message to a live publisher.
    pub(super) fn say(&mut self, say: &LiveMessage) {
        match say {
            LiveMessage::Error(code) => self.status("error", code, "said by the test platform"),
            LiveMessage::Reconnect(url) => {
                let mut info = command::status("status", "NetConnection.Connect.ReconnectRequest", "Moving.");
                if let (Value::Object(fields), Some(url)) = (&mut info, url) {
                    fields.push(("tcUrl".to_owned(), url.as_str().into()));
                }
                let request = Command::new("onStatus", 0.0, Value::Null, vec![info]);
                self.encoder.message(csid::COMMAND, &request.message(0), &mut self.out);
            }
        }
    }

    /// Sends a ping.
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

/// `onMetaData` without `@setDataFrame`, and other data unchanged.
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
