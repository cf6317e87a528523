//! FLV tags: read or refused, classified all the same, and what is written again is read the same.
#![no_main]

use bytes::Bytes;
use gostream_proto::{
    codec,
    flv::{AudioTag, Content, VideoTag, audio_packet, video_packet},
    time::Timestamp,
    track::{AudioCodec, VideoCodec},
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let body = Bytes::copy_from_slice(data);
    assert_eq!(video_packet(Timestamp::ZERO, body.clone()).body, body, "a relay sends what came");
    assert_eq!(audio_packet(Timestamp::ZERO, body.clone()).body, body, "a relay sends what came");
    if let Ok(tag) = VideoTag::parse(&body) {
        let _ = codec::video_track(&tag);
        // What is written is one track of a known codec; commands and metadata have no form of their own.
        let writable = tag.track == 0 && tag.content != Content::Other && !matches!(tag.codec, VideoCodec::Other(_));
        if let Some(again) = writable.then(|| VideoTag::parse(&tag.encode()).expect("what was written is read")) {
            assert_eq!((again.codec, again.content, again.payload), (tag.codec, tag.content, tag.payload));
        }
    }
    if let Ok(tag) = AudioTag::parse(&body) {
        let _ = codec::audio_track(&tag);
        // AAC and MP3 are written in the old form, which has no end, and no header for MP3.
        let writable = match tag.content {
            Content::Header => tag.codec != AudioCodec::Mp3,
            content => content == Content::Frame,
        };
        if tag.track == 0 && writable && !matches!(tag.codec, AudioCodec::Other(_)) {
            let again = AudioTag::parse(&tag.encode()).expect("what was written is read");
            assert_eq!((again.codec, again.content, again.payload), (tag.codec, tag.content, tag.payload));
        }
    }
});
