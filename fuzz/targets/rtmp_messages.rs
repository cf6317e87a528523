//! Message contents: control messages, aggregates, commands, data.
#![no_main]

use bytes::Bytes;
use gostream_proto::rtmp::{
    command::{Command, data, set_data_frame},
    message::{Aggregate, Control, Message, MessageType},
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let [kind, timestamp, payload @ ..] = input else { return };
    let message = Message {
        kind: MessageType::from_id(*kind),
        stream_id: 1,
        timestamp: u32::from(*timestamp) << 24,
        payload: Bytes::copy_from_slice(payload),
    };
    if let Some(control) = Control::parse(&message) {
        assert_eq!(Control::parse(&control.message()), Some(control));
    }
    let parts: Vec<_> = Aggregate::new(message.clone()).collect();
    assert!(parts.iter().map(|part| part.payload.len()).sum::<usize>() <= payload.len());
    assert!(parts.first().is_none_or(|first| first.timestamp == message.timestamp));
    if let Some(command) = Command::parse(&message) {
        let _ = (command.text(0), command.info_text("code"));
        let again = Command::parse(&command.message(1)).expect("what was written is read");
        assert_eq!(again.name, command.name);
    }
    let _ = (data(&message), set_data_frame(&message.payload));
});
