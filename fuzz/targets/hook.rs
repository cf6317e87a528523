//! The hooks of nginx-rtmp: any form is read, and what a publisher writes behind its key changes nothing.
#![no_main]

use gostream_proto::hook::Notice;
use libfuzzer_sys::fuzz_target;

/// What the module writes itself.
const OWN: &str = "app=live&flashver=&tcurl=rtmp://h/live&addr=192.0.2.1&clientid=17&call=publish&name=KEY&type=live";

fuzz_target!(|data: &[u8]| {
    let text = String::from_utf8_lossy(data);
    let (query, form) = text.split_once('\n').unwrap_or(("", &text));
    let _ = Notice::parse(query, form);

    let (address, client_id) = ("192.0.2.1".to_owned(), "17".to_owned());
    let meant = Notice { key: Some("KEY".to_owned()), was_trimmed: false, address, client_id };
    let smuggled = format!("{OWN}&{text}");
    assert_eq!(Notice::parse("", &smuggled), meant, "in the body");
    assert_eq!(Notice::parse(&smuggled, ""), meant, "in the query");
});
