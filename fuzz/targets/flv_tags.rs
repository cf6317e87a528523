//! FLV tags: parsed or refused, classified in either case, and parsed tags round-trip.
#![no_main]

use bytes::Bytes;
use gostream_proto::{
    codec::{self, aac, av1, mp3},
    flv::{AudioTag, Content, VideoTag, audio_packet, video_packet},
    time::Timestamp,
    track::{AudioCodec, VideoCodec},
};
use libfuzzer_sys::fuzz_target;

/// Queries the codec's properties of a tag.
fn ask_audio(tag: &AudioTag) {
    match (tag.codec, tag.content) {
        (codec, Content::Header) => {
            let track = codec::audio_facts(codec, &tag.payload);
            if codec == AudioCodec::Aac {
                let config = aac::Config::parse(&tag.payload).ok();
                assert_eq!(track.sample_rate, config.map(|config| config.output_rate()));
                let _ = config.map(|config| (config.simplified(), config.silence()));
            }
        }
        (AudioCodec::Aac, _) => {
            let _ = aac::adts_frames(&tag.payload);
        }
        (codec, Content::Frame) => {
            let track = codec::headerless_audio_facts(codec, &tag.payload);
            if codec == AudioCodec::Mp3 {
                let header = mp3::Header::parse(&tag.payload);
                assert_eq!(track.expect("describes a track").sample_rate, header.map(|header| header.rate));
            }
        }
        _ => {}
    }
}

fuzz_target!(|data: &[u8]| {
    let body = Bytes::copy_from_slice(data);
    assert_eq!(video_packet(Timestamp::ZERO, body.clone()).flv, body, "a relay sends the body unchanged");
    assert_eq!(audio_packet(Timestamp::ZERO, body.clone()).flv, body, "a relay sends the body unchanged");
    if let Ok(tag) = VideoTag::parse(&body) {
        let _ = codec::video_facts(tag.codec, &tag.payload);
        if tag.codec == VideoCodec::Av1 {
            let _ = av1::is_key(&tag.payload);
        }
        // Only one track of a known codec can be encoded; commands and metadata have no encoder.
        let writable = tag.track == 0 && tag.content != Content::Other && !matches!(tag.codec, VideoCodec::Other(_));
        if let Some(again) = writable.then(|| VideoTag::parse(&tag.encode()).expect("what was written is read")) {
            assert_eq!((again.codec, again.content, again.payload), (tag.codec, tag.content, tag.payload));
        }
    }
    if let Ok(tag) = AudioTag::parse(&body) {
        ask_audio(&tag);
        // AAC and MP3 are encoded as legacy tags, which have no end of sequence, and no header for MP3.
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
