//! Boxes, checked with another crate's parser, and clocks. Whole streams are tested in `tests/low_latency`.

use std::sync::Arc;

use bytes::Bytes;
use mp4_atom::{Any, Codec, Decode as _};
use proptest::prelude::*;

use super::{track::VIDEO_TRACK, *};
use crate::{
    flv::{AudioTag, Content, VideoTag, audio_packet, video_packet},
    time::Timestamp,
    track::{AudioCodec, VideoCodec},
};

/// Codec headers from x264, x265 and libaom, as FFmpeg sends them.
const AVC: &[u8] = &[
    1, 0x42, 0xC0, 0x1E, 0xFF, 0xE1, 0, 0x17, 0x67, 0x42, 0xC0, 0x1E, 0xDA, 0x02, 0x80, 0xBF, 0xE5, 0xC0, 0x44, 0x00,
    0x00, 0x03, 0x00, 0x04, 0x00, 0x00, 0x03, 0x00, 0xF0, 0x3C, 0x58, 1, 0, 4, 0x68, 0xCE, 0x0F, 0xC8,
];
const HEVC: &[u8] = &[
    0x01, 0x01, 0x60, 0x00, 0x00, 0x00, 0x90, 0x00, 0x00, 0x00, 0x00, 0x00, 0x5D, 0xF0, 0x00, 0xFC, 0xFD, 0xF8, 0xF8,
    0x00, 0x00, 0x0F, 0x03, 0xA0, 0x00, 0x01, 0x00, 0x18, 0x40, 0x01, 0x0C, 0x01, 0xFF, 0xFF, 0x01, 0x60, 0x00, 0x00,
    0x03, 0x00, 0x90, 0x00, 0x00, 0x03, 0x00, 0x00, 0x03, 0x00, 0x5D, 0x95, 0x98, 0x09, 0xA1, 0x00, 0x01, 0x00, 0x2B,
    0x42, 0x01, 0x01, 0x01, 0x60, 0x00, 0x00, 0x03, 0x00, 0x90, 0x00, 0x00, 0x03, 0x00, 0x00, 0x03, 0x00, 0x5D, 0xA0,
    0x02, 0x80, 0x80, 0x2D, 0x16, 0x59, 0x59, 0xA4, 0x93, 0x2B, 0xC0, 0x5A, 0x02, 0x00, 0x00, 0x03, 0x00, 0x02, 0x00,
    0x00, 0x03, 0x00, 0x32, 0x10, 0xA2, 0x00, 0x01, 0x00, 0x07, 0x44, 0x01, 0xC1, 0x72, 0xB4, 0x62, 0x40,
];
const AV1: &[u8] =
    &[0x81, 0x01, 0x0C, 0x00, 0x0A, 0x0B, 0x00, 0x00, 0x00, 0x0C, 0xC4, 0xFF, 0x67, 0x36, 0xBE, 0x40, 0x10];
const OPUS: &[u8] = b"OpusHead\x01\x01\x38\x01\x80\x3E\x00\x00\x00\x00\x00";

fn video(codec: VideoCodec, record: &'static [u8]) -> Option<Video> {
    let payload = Bytes::from_static(record);
    let tag = VideoTag { codec, content: Content::Header, cts_ms: 0, track: 0, payload };
    Video::from_header(&video_packet(Timestamp::ZERO, tag.encode()))
}

fn audio(codec: AudioCodec, content: Content, payload: &'static [u8]) -> Option<Audio> {
    let payload = Bytes::from_static(payload);
    let tag = AudioTag { codec, content, track: 0, legacy: None, payload };
    Audio::from_packet(&audio_packet(Timestamp::ZERO, tag.encode()))
}

/// The sample entries of an init segment.
fn entries(tracks: &Tracks) -> Vec<Codec> {
    let bytes = init(tracks);
    let mut rest = bytes.as_ref();
    let Ok(Any::Ftyp(_)) = Any::decode(&mut rest) else { panic!("no ftyp") };
    let Ok(Any::Moov(moov)) = Any::decode(&mut rest) else { panic!("no moov") };
    assert!(rest.is_empty() && moov.mvex.is_some());
    moov.trak.into_iter().flat_map(|trak| trak.mdia.minf.stbl.stsd.codecs).collect()
}

#[test]
fn every_codec_has_its_sample_entry_and_codec_string() {
    for (codec, record, string, size) in [
        (VideoCodec::Avc, AVC, "avc1.42C01E", (640, 360)),
        (VideoCodec::Hevc, HEVC, "hvc1.1.6.L93.90", (1_280, 720)),
        // HEVC in AVC tags, as some encoders send it.
        (VideoCodec::Avc, HEVC, "hvc1.1.6.L93.90", (1_280, 720)),
        (VideoCodec::Av1, AV1, "av01.0.01M.08", (640, 360)),
    ] {
        let video = video(codec, record).expect("goes in");
        assert_eq!((video.codec_string.as_str(), (video.width, video.height)), (string, size));
        let tracks = Tracks { video: Some(Arc::new(video)), audio: None };
        let [entry] = &entries(&tracks)[..] else { panic!("one track") };
        let visual = match entry {
            Codec::Avc1(entry) => &entry.visual,
            Codec::Hvc1(entry) => &entry.visual,
            Codec::Av01(entry) => &entry.visual,
            other => panic!("{other:?}"),
        };
        assert_eq!((visual.width, visual.height), size);
        let bytes = init(&tracks);
        assert!(bytes.windows(record.len()).any(|window| window == record), "the header is unchanged");
    }
}

#[test]
fn audio_codecs_have_their_sample_entry() {
    let aac = audio(AudioCodec::Aac, Content::Header, &[0x2B, 0x11, 0x88, 0x00]).expect("goes in");
    assert_eq!((aac.rate, aac.channels), (48_000, 2));
    let tracks = Tracks { video: None, audio: Some(Arc::new(aac)) };
    assert_eq!(tracks.codecs(), "mp4a.40.5");
    let [Codec::Mp4a(entry)] = &entries(&tracks)[..] else { panic!("one track") };
    assert_eq!((entry.audio.channel_count, entry.audio.sample_rate.integer()), (2, 48_000));
    for (content, payload, channels, pre_skip, rate) in
        [(Content::Header, OPUS, 1, 312, 16_000), (Content::Frame, &[0xFC, 1, 2][..], 2, 312, 48_000)]
    {
        let opus = audio(AudioCodec::Opus, content, payload).expect("goes in");
        let tracks = Tracks { video: None, audio: Some(Arc::new(opus)) };
        assert_eq!(tracks.codecs(), "opus");
        let [Codec::Opus(entry)] = &entries(&tracks)[..] else { panic!("one track") };
        let dops = &entry.dops;
        assert_eq!((dops.output_channel_count, dops.pre_skip, dops.input_sample_rate), (channels, pre_skip, rate));
    }
}

#[test]
fn unsupported_tracks_are_refused() {
    for (codec, record) in [
        (VideoCodec::Vp9, AVC),
        (VideoCodec::Hevc, AVC),
        (VideoCodec::Avc, &AVC[..20]),
        (VideoCodec::Av1, &AV1[..4]),
        // Parameter sets in band only.
        (VideoCodec::Avc, &[1, 0x42, 0xC0, 0x1E, 0xFF, 0xE0, 0]),
    ] {
        assert_eq!(video(codec, record), None, "{codec:?}");
    }
    for (codec, content, payload) in [
        (AudioCodec::Mp3, Content::Frame, &[0xFF, 0xFB][..]),
        (AudioCodec::Aac, Content::Frame, &[0x11, 0x90]),
        (AudioCodec::Aac, Content::Header, &[0x11]),
        // Low-delay AAC, and a rate of 1 Hz.
        (AudioCodec::Aac, Content::Header, &[0xB9, 0x90, 0x00]),
        (AudioCodec::Aac, Content::Header, &[0x17, 0x80, 0x00, 0x00, 0x90]),
    ] {
        assert_eq!(audio(codec, content, payload), None, "{codec:?}");
    }
}

fn sample(dts: i64, composition: i32, payload: &Bytes) -> Sample {
    Sample { dts, duration: 3_000, composition, sync: dts == 0, payload: payload.clone() }
}

#[test]
fn fragment_shares_payloads_and_has_their_offsets() {
    let (picture, sound) = (Bytes::from_static(b"picture"), Bytes::from_static(b"sound"));
    let video = vec![sample(1 << 40, -3_000, &picture), sample((1 << 40) + 3_000, 6_000, &picture)];
    for (video, audio) in
        [(video.clone(), vec![sample(0, 0, &sound)]), (video, vec![]), (vec![], vec![sample(0, 0, &sound)])]
    {
        let fragment = Fragment::new(7, video, audio);
        let pieces = fragment.bytes();
        assert!(pieces[1..].iter().all(|piece| [picture.as_ptr(), sound.as_ptr()].contains(&piece.as_ptr())));
        let bytes = pieces.concat();
        assert_eq!(bytes.len(), fragment.len());
        let mut rest = bytes.as_slice();
        let Ok(Any::Moof(moof)) = Any::decode(&mut rest) else { panic!("no moof") };
        assert_eq!(moof.mfhd.sequence_number, 7);
        for traf in &moof.traf {
            let (expected, payload) = match traf.tfhd.track_id {
                VIDEO_TRACK => (&fragment.video, &picture),
                _ => (&fragment.audio, &sound),
            };
            assert_eq!(traf.tfdt.as_ref().map(|tfdt| tfdt.base_media_decode_time as i64), Some(expected[0].dts));
            let run = &traf.trun[0];
            let start = run.data_offset.expect("has one") as usize;
            assert_eq!(&bytes[start..start + payload.len()], payload);
            let offsets: Vec<_> = run.samples.iter().map(|entry| entry.cts.unwrap_or(0)).collect();
            assert_eq!(offsets, expected.iter().map(|sample| i64::from(sample.composition)).collect::<Vec<_>>());
        }
    }
}

fn at(ms: i64, cts_ms: i32) -> PendingPicture {
    PendingPicture { dts: Timestamp::from_ms(ms), cts_ms, sync: false, payload: Bytes::new() }
}

proptest! {
    #[test]
    fn video_samples_have_no_gaps_for_any_times(steps in prop::collection::vec((-20..200_i64, -80..80_i32), 1..50)) {
        let mut clock = VideoClock::default();
        let (mut ms, mut end, mut shown) = (0, None, 0);
        for (step, cts_ms) in steps {
            ms += step;
            if let Some(sample) = clock.release(Timestamp::from_ms(ms)) {
                prop_assert!(end.is_none_or(|end| sample.dts == end) && sample.duration > 0);
                prop_assert_eq!(sample.dts + i64::from(sample.composition), shown, "presentation time is the encoder's");
                end = Some(sample.dts + i64::from(sample.duration));
            }
            clock.hold(at(ms, cts_ms));
            shown = (ms + i64::from(cts_ms) + OFFSET_MS) * VIDEO_TICKS_PER_MS;
        }
    }
}

#[test]
fn audio_counts_samples_until_it_drifts_too_far() {
    let mut clock = AudioClock::default();
    let mut place = |ms| clock.place(Timestamp::from_ms(ms), 1_024, 48_000);
    let start = OFFSET_MS * 48;
    // The milliseconds jitter, the sample count does not.
    for (ms, expected) in [
        (0, Some(start)),
        (22, Some(start + 1_024)),
        (42, Some(start + 2_048)),
        // 49 ms late, then 100 ms.
        (113, Some(start + 3_072)),
        (185, Some(start + 185 * 48)),
        // 60 ms early: overlaps the audio already written.
        (146, None),
        (207, Some(start + 185 * 48 + 1_024)),
    ] {
        assert_eq!(place(ms), expected, "{ms} ms");
    }
}
