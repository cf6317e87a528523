//! Low-latency HLS: file names and queries are parsed or refused, and each file has exactly one name.
#![no_main]

use gostream_proto::hls::low_latency::{File, PlaylistRequest};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(text) = str::from_utf8(data) else { return };
    let _ = PlaylistRequest::parse(text);
    let name = match File::parse(text) {
        None => return,
        Some(File::Multivariant) => "index.m3u8".to_owned(),
        Some(File::Media) => "media.m3u8".to_owned(),
        Some(File::Init(version)) => format!("init-{version}.mp4"),
        Some(File::Segment(msn)) => format!("{msn}.m4s"),
        Some(File::Part(msn, part)) => format!("{msn}.{part}.m4s"),
    };
    assert_eq!(name, text, "a file has one name");
});
