//! The hooks of nginx-rtmp: every form is parsed, and arguments that a publisher writes after its key have no effect.
#![no_main]

use gostream_proto::hook::HookCall;
use libfuzzer_sys::fuzz_target;

/// The arguments that nginx-rtmp writes itself.
const OWN: &str = "app=live&flashver=&tcurl=rtmp://h/live&addr=192.0.2.1&clientid=17&call=publish&name=KEY&type=live";

fuzz_target!(|data: &[u8]| {
    let text = String::from_utf8_lossy(data);
    let (query, form) = text.split_once('\n').unwrap_or(("", &text));
    let _ = HookCall::parse(query, form);

    let (address, client_id) = ("192.0.2.1".to_owned(), "17".to_owned());
    let meant = HookCall { key: Some("KEY".to_owned()), was_trimmed: false, address, client_id };
    let smuggled = format!("{OWN}&{text}");
    assert_eq!(HookCall::parse("", &smuggled), meant, "in the body");
    assert_eq!(HookCall::parse(&smuggled, ""), meant, "in the query");
});
