//! Low-latency HLS: arbitrary encoder input results in whole boxes and consistent playlists whose files exist.
#![no_main]

use gostream_fuzz::{chain::Chain, messages::Message, playlists::Playlists, records};
use gostream_proto::hls::{
    LowLatencyStream,
    low_latency::{File, FileResponse, PlaylistRequest, PlaylistResponse},
};
use libfuzzer_sys::fuzz_target;

/// Every box ends where the next begins, and `moof` and `mdat` alternate.
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

fn assert_there(fetched: FileResponse) {
    let FileResponse::Ready(pieces) = fetched else { panic!("a listed file is there") };
    assert_boxes(&pieces.concat());
}

fn assert_listed(live: &LowLatencyStream, playlists: &mut Playlists, skip: bool) {
    let text = match live.playlist(&PlaylistRequest { skip, ..PlaylistRequest::default() }) {
        PlaylistResponse::Ready(text) => text,
        PlaylistResponse::Empty => return,
        other => panic!("{other:?}"),
    };
    playlists.take(&text);
    for line in text.lines() {
        let quoted = line.split_once("URI=\"").and_then(|(_, rest)| rest.split_once('"')).map(|(name, _)| name);
        match File::parse(quoted.unwrap_or(line)) {
            Some(File::Part(msn, part)) if line.starts_with("#EXT-X-PART:") => assert_there(live.part(msn, part)),
            Some(File::Part(msn, part)) => assert_eq!(live.part(msn, part), FileResponse::NotYet, "the hint"),
            Some(File::Segment(msn)) => assert_there(live.segment(msn)),
            Some(File::Init(version)) => assert!(live.init(version).is_some()),
            _ => assert!(line.starts_with('#'), "{line}"),
        }
    }
}

fuzz_target!(|data: &[u8]| {
    let Some((&choice, data)) = data.split_first() else { return };
    let (mut chain, mut live, mut playlists) =
        (Chain::begin(choice), LowLatencyStream::default(), Playlists::default());
    if choice & 0x10 != 0 {
        live.begin_anywhere();
    }
    for message in records(data).filter_map(|record| Message::read(&record, false)) {
        for (packet, wall_ms) in chain.push(message) {
            if live.push(&packet, wall_ms) {
                assert_listed(&live, &mut playlists, choice & 4 != 0);
            }
        }
    }
    for (packet, wall_ms) in chain.finish() {
        live.push(&packet, wall_ms);
    }
    live.finish();
    assert_listed(&live, &mut playlists, true);
    let _ = live.multivariant();
});
