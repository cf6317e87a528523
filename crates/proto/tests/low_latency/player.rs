//! A player that gets every playlist and every file in time.

use std::collections::BTreeMap;

use bytes::Bytes;
use gostream_proto::{
    hls::{
        LowLatencyStream,
        low_latency::{File, FileResponse, PlaylistRequest, PlaylistResponse},
    },
    packet::Packet,
};

use crate::checker::List;

pub const WALL_MS: u64 = 1_795_398_000_000;

#[derive(Debug, Default)]
pub struct Player {
    pub live: LowLatencyStream,
    pub lists: Vec<List>,
    /// The bytes of each part, by segment and part number.
    pub parts: BTreeMap<(u64, u64), Vec<u8>>,
    pub segments: BTreeMap<u64, Vec<u8>>,
    pub inits: BTreeMap<String, Bytes>,
    /// The init segment of each segment, and whether there is a discontinuity before it.
    pub maps: BTreeMap<u64, (String, bool)>,
    /// Bytes of the newest delta updates, and of the full playlists that they replace.
    pub delta_bytes: (usize, usize),
}

pub fn ready(answer: PlaylistResponse) -> String {
    match answer {
        PlaylistResponse::Ready(text) => text,
        other => panic!("{other:?}"),
    }
}

pub fn joined(fetched: FileResponse) -> Vec<u8> {
    match fetched {
        FileResponse::Ready(pieces) => pieces.concat(),
        other => panic!("{other:?}"),
    }
}

impl Player {
    pub fn watch(packets: &[Packet]) -> Self {
        let came = |packet: &Packet| WALL_MS.saturating_add_signed(packet.dts.as_ms());
        Self::watch_arrivals(&packets.iter().map(|packet| (packet.clone(), came(packet))).collect::<Vec<_>>())
    }

    /// Packages packets with their arrival times.
    pub fn watch_arrivals(packets: &[(Packet, u64)]) -> Self {
        let mut player = Self::default();
        for (packet, came) in packets {
            if player.live.push(packet, *came) {
                player.reload();
            }
        }
        player.live.finish();
        player.reload();
        player
    }

    fn reload(&mut self) {
        let text = match self.live.playlist(&PlaylistRequest::default()) {
            PlaylistResponse::Ready(text) => text,
            PlaylistResponse::Empty => return,
            other => panic!("{other:?}"),
        };
        let list = List::parse(&text, None);
        list.check();
        if let Some(before) = self.lists.last().cloned() {
            list.check_after(&before);
            self.check_delta(&text, &list, &before);
        }
        self.fetch(&list);
        if let Some(File::Part(msn, part)) = list.hint.as_deref().and_then(File::parse) {
            assert_eq!(self.live.part(msn, part), FileResponse::NotYet);
            assert_eq!(self.live.part(msn, part + 1), FileResponse::Gone);
            let held = self.live.playlist(&PlaylistRequest { msn: Some(msn), part: Some(part), skip: false });
            assert_eq!(held, PlaylistResponse::NotYet);
        }
        self.lists.push(list);
    }

    fn check_delta(&mut self, text: &str, list: &List, before: &List) {
        let delta = ready(self.live.playlist(&PlaylistRequest { skip: true, ..PlaylistRequest::default() }));
        let merged = List::parse(&delta, Some(before));
        if merged.skipped > 0 {
            let open_ms: u64 = list.open.parts.iter().map(|part| part.ms).sum();
            let kept = &list.segments[merged.skipped as usize..];
            let kept_ms = open_ms + kept.iter().map(|segment| segment.ms).sum::<u64>();
            assert!(kept_ms > 6 * list.target_ms, "segments near the end are not skipped");
            self.delta_bytes = (self.delta_bytes.0 + delta.len(), self.delta_bytes.1 + text.len());
        } else {
            assert_eq!(delta, text);
        }
        assert_eq!(List { skipped: 0, ..merged }, *list, "the delta update results in the full playlist");
    }

    fn fetch(&mut self, list: &List) {
        for segment in list.segments.iter().chain([&list.open]) {
            for part in &segment.parts {
                let Some(File::Part(msn, number)) = File::parse(&part.uri) else { panic!("{}", part.uri) };
                let bytes = joined(self.live.part(msn, number));
                let kept = self.parts.entry((msn, number)).or_insert_with(|| bytes.clone());
                assert_eq!(*kept, bytes, "a part never changes");
            }
            if let Some(map) = segment.map.clone().filter(|_| !segment.uri.is_empty() || !segment.parts.is_empty()) {
                let Some(File::Init(version)) = File::parse(&map) else { panic!("{map}") };
                self.inits.insert(map.clone(), self.live.init(version).expect("a listed init segment is there"));
                self.maps.insert(segment.msn, (map, segment.discontinuity));
            }
            if !segment.uri.is_empty() {
                let Some(File::Segment(msn)) = File::parse(&segment.uri) else { panic!("{}", segment.uri) };
                self.segments.insert(msn, joined(self.live.segment(msn)));
            }
        }
    }

    /// The joined file of segments or of parts; only for streams with one init segment.
    pub fn file(&self, of_parts: bool) -> Vec<u8> {
        assert_eq!(self.inits.len(), 1);
        let init = self.inits.values().next().expect("has one").to_vec();
        let bodies: Vec<_> = if of_parts { self.parts.values().collect() } else { self.segments.values().collect() };
        bodies.into_iter().fold(init, |mut file, body| {
            file.extend(body);
            file
        })
    }
}
