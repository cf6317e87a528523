//! Low-latency HLS: any sequence of tags becomes whole boxes, and a playlist whose files are there.
#![no_main]

use bytes::Bytes;
use gostream_fuzz::records;
use gostream_proto::{
    flv::{audio_packet, video_packet},
    hls::{
        Live,
        live::{Answer, Fetch, File, Request},
    },
    time::Timestamp,
};
use libfuzzer_sys::fuzz_target;

/// Real headers, chosen by the first byte, so that frames find a track.
const AVC_HEADER: &[u8] = &[
    0x17, 0, 0, 0, 0, 1, 0x42, 0xC0, 0x1E, 0xFF, 0xE1, 0, 0x17, 0x67, 0x42, 0xC0, 0x1E, 0xDA, 0x02, 0x80, 0xBF, 0xE5,
    0xC0, 0x44, 0x00, 0x00, 0x03, 0x00, 0x04, 0x00, 0x00, 0x03, 0x00, 0xF0, 0x3C, 0x58, 1, 0, 4, 0x68, 0xCE, 0x0F,
    0xC8,
];
const AAC_HEADER: &[u8] = &[0xAF, 0, 0x11, 0x90];

/// Every box ends where the next begins, and `moof` and `mdat` take turns.
fn assert_boxes(bytes: &[u8]) {
    let mut rest = bytes;
    let mut expected = b"moof";
    while !rest.is_empty() {
        let (size, name) = (u32::from_be_bytes(rest[..4].try_into().expect("four bytes")), &rest[4..8]);
        assert_eq!(name, expected);
        expected = if expected == b"moof" { b"mdat" } else { b"moof" };
        rest = &rest[size as usize..];
    }
    assert_eq!(expected, b"moof");
}

fn assert_there(fetched: Fetch) {
    let Fetch::Ready(pieces) = fetched else { panic!("a listed file is there") };
    assert_boxes(&pieces.concat());
}

fn assert_listed(live: &Live, skip: bool) {
    let text = match live.playlist(&Request { skip, ..Request::default() }) {
        Answer::Ready(text) => text,
        Answer::Empty => return,
        other => panic!("{other:?}"),
    };
    for line in text.lines() {
        let quoted = line.split_once("URI=\"").and_then(|(_, rest)| rest.split_once('"')).map(|(name, _)| name);
        match File::parse(quoted.unwrap_or(line)) {
            Some(File::Part(msn, part)) if line.starts_with("#EXT-X-PART:") => assert_there(live.part(msn, part)),
            Some(File::Part(msn, part)) => assert_eq!(live.part(msn, part), Fetch::NotYet, "the hint"),
            Some(File::Segment(msn)) => assert_there(live.segment(msn)),
            Some(File::Init(version)) => assert!(live.init(version).is_some()),
            _ => assert!(line.starts_with('#'), "{line}"),
        }
    }
}

fuzz_target!(|data: &[u8]| {
    let Some((&tracks, data)) = data.split_first() else { return };
    let mut live = Live::default();
    if tracks & 1 != 0 {
        live.push(&video_packet(Timestamp::ZERO, Bytes::from_static(AVC_HEADER)), 0);
    }
    if tracks & 2 != 0 {
        live.push(&audio_packet(Timestamp::ZERO, Bytes::from_static(AAC_HEADER)), 0);
    }
    let mut now = Timestamp::ZERO;
    for record in records(data) {
        // The first byte of a record is its kind and the time since the one before, which may be negative.
        let Some(&first) = record.first() else { continue };
        now = now + i64::from(first as i8 >> 1) * 40 + 400;
        let body = record.slice(1..);
        let packet = if first & 1 == 0 { video_packet(now, body) } else { audio_packet(now, body) };
        if live.push(&packet, now.as_ms().unsigned_abs()) {
            assert_listed(&live, tracks & 4 != 0);
        }
    }
    live.finish();
    assert_listed(&live, true);
    let _ = live.multivariant();
});
