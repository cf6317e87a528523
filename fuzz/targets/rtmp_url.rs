//! RTMP URLs and stream keys: arbitrary text is parsed or refused, and parsed URLs round-trip.
#![no_main]

use gostream_proto::rtmp::{key::requested_key, url::RtmpUrl};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let mut parts = text.splitn(3, '\n');
    let (app, tc_url, name) =
        (parts.next().unwrap_or_default(), parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    if let Some(key) = requested_key(app, tc_url, name) {
        assert!(!key.is_empty() && text.contains(key), "a key is part of the client's text");
        assert_eq!(key, key.trim(), "the key has no white space around it");
    }
    let Ok(url) = RtmpUrl::parse(text) else { return };
    assert!(!url.host().is_empty() && url.port() != 0);
    let again = RtmpUrl::parse(&url.tc_url()).expect("our own form is a URL");
    assert_eq!((again.host(), again.port(), again.is_tls()), (url.host(), url.port(), url.is_tls()));
    let _ = (url.join(text), url.join("other/app?a=b"), format!("{url} {url:?}"));
});
