//! FLV tags: read or refused, classified all the same, and what is written again is read the same.
#![no_main]

use bytes::Bytes;
use gostream_proto::{
    codec::{aac, av1, mp3},
    flv::{self, AudioTag, Content, VideoTag, audio_packet, video_packet},
    time::Timestamp,
    track::{AudioCodec, VideoCodec},
};
use libfuzzer_sys::fuzz_target;

/// What a tag says of its track, and what its codec says.
fn ask_audio(tag: &AudioTag) {
    let track = flv::audio_track(tag);
    match (tag.codec, tag.content) {
        (AudioCodec::Aac, Content::Header) => {
            let config = aac::Config::parse(&tag.payload).ok();
            let track = track.expect("a header announces a track");
            assert_eq!(track.sample_rate, config.map(|config| config.output_rate()));
            let _ = config.map(|config| (config.simplified(), config.silence()));
        }
        (AudioCodec::Aac, _) => {
            let _ = aac::adts_frames(&tag.payload);
        }
        (AudioCodec::Mp3, Content::Frame) => {
            let header = mp3::Header::parse(&tag.payload);
            assert_eq!(track.expect("a frame announces a track").sample_rate, header.map(|header| header.rate));
        }
        _ => {}
    }
}

fuzz_target!(|data: &[u8]| {
    let body = Bytes::copy_from_slice(data);
    assert_eq!(video_packet(Timestamp::ZERO, body.clone()).body, body, "a relay sends what came");
    assert_eq!(audio_packet(Timestamp::ZERO, body.clone()).body, body, "a relay sends what came");
    if let Ok(tag) = VideoTag::parse(&body) {
        let track = flv::video_track(&tag);
        assert_eq!(track.is_some(), tag.content == Content::Header);
        if tag.codec == VideoCodec::Av1 {
            let _ = av1::is_key(&tag.payload);
        }
        // What is written is one track of a known codec; commands and metadata have no form of their own.
        let writable = tag.track == 0 && tag.content != Content::Other && !matches!(tag.codec, VideoCodec::Other(_));
        if let Some(again) = writable.then(|| VideoTag::parse(&tag.encode()).expect("what was written is read")) {
            assert_eq!((again.codec, again.content, again.payload), (tag.codec, tag.content, tag.payload));
        }
    }
    if let Ok(tag) = AudioTag::parse(&body) {
        ask_audio(&tag);
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
