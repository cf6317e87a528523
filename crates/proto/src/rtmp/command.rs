//! Commands and data messages (RTMP 1.0 section 7.2): names, transactions and arguments in AMF0.

use bytes::{Bytes, BytesMut};

use super::{
    amf0::{self, Value, object},
    message::{Message, MessageType},
};

/// A command: a call, a response, or a notification.
#[derive(Clone, Debug, PartialEq)]
pub struct Command {
    /// `connect`, `publish`, `_result`, `onStatus`, ...
    pub name: String,
    /// Pairs calls with responses; 0 if none is expected.
    pub transaction: f64,
    /// The third value: the command object, or null.
    pub object: Value,
    /// The remaining values.
    pub arguments: Vec<Value>,
}

impl Command {
    /// Parses a command message. AMF3 commands (type 17) begin with a format byte and then contain AMF0, in the output
    /// of all known senders. `None` if there is no name.
    pub fn parse(message: &Message) -> Option<Self> {
        let body = amf0_body(message)?;
        let mut values = amf0::decode_leading(body).into_iter();
        let Some(Value::String(name)) = values.next() else { return None };
        let transaction = values.next().and_then(|value| value.as_number()).unwrap_or(0.0);
        let object = values.next().unwrap_or(Value::Null);
        Some(Self { name, transaction, object, arguments: values.collect() })
    }

    /// A command with an object and arguments.
    pub fn new(name: &str, transaction: f64, object: Value, arguments: Vec<Value>) -> Self {
        Self { name: name.to_owned(), transaction, object, arguments }
    }

    /// `onStatus` (section 7.2.2): level `status` or `error`, a code, a sentence.
    pub fn on_status(level: &str, code: &str, description: &str) -> Self {
        Self::new("onStatus", 0.0, Value::Null, vec![status(level, code, description)])
    }

    /// The command as a message.
    pub fn message(&self, stream_id: u32) -> Message {
        let mut body = BytesMut::new();
        Value::from(self.name.as_str()).encode(&mut body);
        Value::Number(self.transaction).encode(&mut body);
        self.object.encode(&mut body);
        self.arguments.iter().for_each(|argument| argument.encode(&mut body));
        Message { kind: MessageType::CommandAmf0, stream_id, timestamp: 0, payload: body.freeze() }
    }

    /// The text argument at `index`.
    pub fn text(&self, index: usize) -> Option<&str> {
        self.arguments.get(index)?.as_str()
    }

    /// The information object of a response: the first argument, or the third value where some servers put it.
    pub fn info(&self) -> &Value {
        self.arguments.first().filter(|value| value.fields().is_some()).unwrap_or(&self.object)
    }

    /// A text field of the information object.
    pub fn info_text(&self, field: &str) -> Option<&str> {
        self.info().field(field)?.as_str()
    }
}

/// An information object.
pub fn status(level: &str, code: &str, description: &str) -> Value {
    object([("level", level.into()), ("code", code.into()), ("description", description.into())])
}

/// A data message (section 7.1.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Data {
    /// `onMetaData`, as AMF0 bytes without the `@setDataFrame` wrapper.
    Metadata(Bytes),
    /// Any other timed data, as AMF0 bytes.
    Other(Bytes),
}

const SET_DATA_FRAME: &str = "@setDataFrame";

/// Parses a data message. `None` for messages that only concern the server (`@clearDataFrame`, `|RtmpSampleAccess`) and
/// for invalid ones.
pub fn data(message: &Message) -> Option<Data> {
    let mut body = message.payload.clone();
    if message.kind == MessageType::DataAmf3 && body.first() == Some(&0) {
        body = body.slice(1..);
    }
    let mut decoder = amf0::Decoder::new(&body);
    let mut name = decoder.value().ok()??;
    let mut start = 0;
    if name.as_str() == Some(SET_DATA_FRAME) {
        start = body.len() - decoder.rest().len();
        name = decoder.value().ok()??;
    }
    let metadata = body.slice(start..);
    match name.as_str()? {
        "onMetaData" => Some(Data::Metadata(metadata)),
        "|RtmpSampleAccess" | "@clearDataFrame" => None,
        // Other wrapped data is passed on unchanged.
        _ => Some(Data::Other(body)),
    }
}

/// Metadata in the form that publishers send: wrapped in `@setDataFrame`, so that the server keeps it for later
/// viewers.
pub fn set_data_frame(metadata: &Bytes) -> Bytes {
    let mut body = BytesMut::with_capacity(metadata.len() + SET_DATA_FRAME.len() + 3);
    Value::from(SET_DATA_FRAME).encode(&mut body);
    body.extend_from_slice(metadata);
    body.freeze()
}

fn amf0_body(message: &Message) -> Option<&[u8]> {
    match message.kind {
        MessageType::CommandAmf0 => Some(&message.payload),
        MessageType::CommandAmf3 => message.payload.strip_prefix(&[0]).or(Some(&message.payload)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_round_trips() {
        let command = Command::new("publish", 5.0, Value::Null, vec!["k?a=b".into(), "live".into()]);
        assert_eq!(Command::parse(&command.message(1)), Some(command));
    }

    #[test]
    fn amf3_wrapper_is_unwrapped() {
        let command = Command::new("connect", 1.0, object([("app", "live".into())]), vec![]);
        let mut message = command.message(0);
        message.kind = MessageType::CommandAmf3;
        message.payload = [&[0], message.payload.as_ref()].concat().into();
        assert_eq!(Command::parse(&message), Some(command));
    }

    #[test]
    fn short_commands_are_parsed() {
        let mut body = BytesMut::new();
        Value::from("FCUnpublish").encode(&mut body);
        let message = Message { kind: MessageType::CommandAmf0, stream_id: 0, timestamp: 0, payload: body.freeze() };
        let command = Command::parse(&message).expect("has a name");
        assert_eq!((command.name.as_str(), command.transaction, command.text(0)), ("FCUnpublish", 0.0, None));
    }

    #[test]
    fn metadata_bytes_are_unchanged() {
        let mut bare = BytesMut::new();
        Value::from("onMetaData").encode(&mut bare);
        Value::EcmaArray(vec![("width".to_owned(), Value::Number(1920.0))]).encode(&mut bare);
        let bare = bare.freeze();
        for (kind, payload) in [
            (MessageType::DataAmf0, bare.clone()),
            (MessageType::DataAmf0, set_data_frame(&bare)),
            (MessageType::DataAmf3, [&[0], set_data_frame(&bare).as_ref()].concat().into()),
        ] {
            let message = Message { kind, stream_id: 1, timestamp: 0, payload };
            assert_eq!(data(&message), Some(Data::Metadata(bare.clone())));
        }
    }

    #[test]
    fn sample_access_is_not_passed_on() {
        let mut body = BytesMut::new();
        Value::from(SET_DATA_FRAME).encode(&mut body);
        Value::from("|RtmpSampleAccess").encode(&mut body);
        let message = Message { kind: MessageType::DataAmf0, stream_id: 1, timestamp: 0, payload: body.freeze() };
        assert_eq!(data(&message), None);
    }
}
