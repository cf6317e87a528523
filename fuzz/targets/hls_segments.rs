//! HLS: any sequence of tags becomes whole MPEG-TS packets, and a playlist that does not count backwards.
#![no_main]

use gostream_fuzz::records;
use gostream_proto::{
    flv::{audio_packet, video_packet},
    hls::{Segmenter, Window},
    time::Timestamp,
};
use libfuzzer_sys::fuzz_target;

const TS_PACKET_BYTES: usize = 188;
/// Real headers, chosen by the first byte, so that frames find a track.
const AVC_HEADER: &[u8] = &[
    0x17, 0, 0, 0, 0, 1, 0x42, 0xC0, 0x1E, 0xFF, 0xE1, 0, 0x17, 0x67, 0x42, 0xC0, 0x1E, 0xDA, 0x02, 0x80, 0xBF, 0xE5,
    0xC0, 0x44, 0x00, 0x00, 0x03, 0x00, 0x04, 0x00, 0x00, 0x03, 0x00, 0xF0, 0x3C, 0x58, 1, 0, 4, 0x68, 0xCE, 0x0F,
    0xC8,
];
const AAC_HEADER: &[u8] = &[0xAF, 0, 0x11, 0x90];

fuzz_target!(|data: &[u8]| {
    let Some((&tracks, data)) = data.split_first() else { return };
    let (mut segmenter, mut window) = (Segmenter::default(), Window::default());
    let video_header = (tracks & 1 != 0).then(|| video_packet(Timestamp::ZERO, AVC_HEADER.into()));
    let audio_header = (tracks & 2 != 0).then(|| audio_packet(Timestamp::ZERO, AAC_HEADER.into()));
    for packet in video_header.iter().chain(&audio_header) {
        assert!(segmenter.push(packet, 0).is_none(), "a header ends nothing");
    }
    let mut now = Timestamp::ZERO;
    let mut sequence = 0;
    for record in records(data) {
        // The first byte of a record is its kind and the time since the one before.
        let Some(&first) = record.first() else { continue };
        now = now + i64::from(first >> 1) * 40;
        let body = record.slice(1..);
        let packet = if first & 1 == 0 { video_packet(now, body) } else { audio_packet(now, body) };
        if let Some(segment) = segmenter.push(&packet, now.as_ms() as u64) {
            assert_eq!(segment.sequence, sequence);
            sequence += 1;
            window.push(segment);
        }
    }
    if let Some(segment) = segmenter.finish(now) {
        window.push(segment);
    }
    window.end();
    let Some(playlist) = window.playlist("key") else { return };
    assert!(playlist.starts_with("#EXTM3U\n") && playlist.ends_with("#EXT-X-ENDLIST\n"), "{playlist}");
    let names = playlist
        .lines()
        .filter_map(|line| line.strip_prefix("key-")?.strip_suffix(".ts")?.parse::<u64>().ok());
    for n in names {
        let ts = window.segment(n).expect("a listed segment is there").ts();
        assert_eq!(ts.len() % TS_PACKET_BYTES, 0);
        assert!(ts.chunks(TS_PACKET_BYTES).all(|packet| packet[0] == 0x47), "every packet has its sync byte");
    }
});
