//! HLS: arbitrary encoder input results in whole MPEG-TS packets and consistent playlists.
#![no_main]

use gostream_fuzz::{chain::Chain, messages::Message, playlists::Playlists, records};
use gostream_proto::{
    hls::{Segmenter, Window},
    packet::Packet,
};
use libfuzzer_sys::fuzz_target;

const TS_PACKET_BYTES: usize = 188;

/// The classic HLS output as in the engine.
#[derive(Default)]
struct Output {
    segmenter: Segmenter,
    window: Window,
    playlists: Playlists,
    segments: u64,
}

impl Output {
    fn push(&mut self, packet: &Packet, wall_ms: u64) {
        if let Some(segment) = self.segmenter.push(packet, wall_ms) {
            assert_eq!(segment.sequence, self.segments);
            self.segments += 1;
            self.window.push(segment);
            self.playlists.take(&self.window.playlist("key").expect("has a segment"));
        }
    }

    /// The last playlist.
    fn finish(&mut self) -> Option<String> {
        if let Some(segment) = self.segmenter.end() {
            self.window.push(segment);
        }
        self.window.end();
        let playlist = self.window.playlist("key")?;
        self.playlists.take(&playlist);
        Some(playlist)
    }
}

fuzz_target!(|data: &[u8]| {
    let Some((&choice, data)) = data.split_first() else { return };
    let (mut chain, mut output) = (Chain::begin(choice), Output::default());
    if choice & 0x10 != 0 {
        output.segmenter.begin_anywhere();
    }
    for message in records(data).filter_map(|record| Message::read(&record, false)) {
        chain.push(message).for_each(|(packet, wall_ms)| output.push(&packet, wall_ms));
    }
    chain.finish().for_each(|(packet, wall_ms)| output.push(&packet, wall_ms));
    let Some(playlist) = output.finish() else { return };
    assert!(playlist.starts_with("#EXTM3U\n") && playlist.ends_with("#EXT-X-ENDLIST\n"), "{playlist}");
    let names = playlist
        .lines()
        .filter_map(|line| line.strip_prefix("key-")?.strip_suffix(".ts")?.parse::<u64>().ok());
    for n in names {
        let ts = output.window.segment(n).expect("a listed segment is there").ts();
        assert_eq!(ts.len() % TS_PACKET_BYTES, 0);
        assert!(ts.chunks(TS_PACKET_BYTES).all(|packet| packet[0] == 0x47), "every packet has its sync byte");
    }
});
