//! Responses to requests and the handling of changes in a stream, rule by rule.

use bytes::Bytes;
use gostream_proto::{
    flv::{self, AudioTag, Content, VideoTag},
    hls::{
        LowLatencyStream, Segmenter,
        low_latency::{FileResponse, PlaylistRequest, PlaylistResponse},
    },
    packet::Packet,
    time::Timestamp,
    track::{AudioCodec, VideoCodec},
};

use crate::{
    checker::List,
    media,
    player::{Player, WALL_MS, ready},
    streams::{Sound, Stream, continuous, picture, video_header},
};

const USUAL: Stream = Stream {
    rate: 30_000,
    gop: 60,
    sound: Sound::Aac(48_000),
    seconds: 60,
    dropped: 0..0,
    reordered: false,
    start_ms: 0,
};

fn play(packets: &[Packet]) -> LowLatencyStream {
    let mut live = LowLatencyStream::default();
    for packet in packets {
        live.push(packet, WALL_MS);
    }
    live
}

fn shifted(packets: &[Packet], ms: i64) -> Vec<Packet> {
    packets.iter().map(|packet| Packet { dts: packet.dts + ms, ..packet.clone() }).collect()
}

#[test]
fn request_is_held_until_its_segment_or_part_is_listed() {
    // Segments 0 to 4 are complete, and so are parts 0 and 1 of segment 5.
    let live = play(&Stream { seconds: 11, ..USUAL }.packets()).with_picture_at(11_200);
    enum Said {
        Ready,
        NotYet,
        Bad,
    }
    use Said::{Bad, NotYet, Ready};
    for (msn, part, said) in [
        (None, None, Ready),
        (None, Some(0), Bad),
        (Some(0), None, Ready),
        (Some(4), None, Ready),
        (Some(5), None, NotYet),
        (Some(7), None, NotYet),
        (Some(8), None, Bad),
        (Some(5), Some(1), Ready),
        (Some(5), Some(2), NotYet),
        (Some(5), Some(7), NotYet),
        (Some(5), Some(8), Bad),
        (Some(6), Some(0), NotYet),
        (Some(7), Some(0), NotYet),
        (Some(8), Some(0), Bad),
        // After the last part of its segment: the first part of the next.
        (Some(4), Some(3), Ready),
        (Some(4), Some(4), Ready),
        (Some(3), Some(100), Ready),
        (Some(0), Some(u64::MAX), Ready),
        (Some(u64::MAX), Some(u64::MAX), Bad),
    ] {
        let answer = live.playlist(&PlaylistRequest { msn, part, skip: false });
        let as_said = match said {
            Ready => matches!(answer, PlaylistResponse::Ready(_)),
            NotYet => answer == PlaylistResponse::NotYet,
            Bad => matches!(answer, PlaylistResponse::BadRequest(_)),
        };
        assert!(as_said, "{msn:?} {part:?}: {answer:?}");
    }
    assert!(matches!(live.segment(4), FileResponse::Ready(_)) && live.segment(5) == FileResponse::Gone);
    assert!(matches!(live.part(5, 1), FileResponse::Ready(_)) && live.part(5, 2) == FileResponse::NotYet);
    assert_eq!((live.part(6, 0), live.init(1)), (FileResponse::Gone, None));
}

trait WithPicture {
    fn with_picture_at(self, ms: i64) -> LowLatencyStream;
}

impl WithPicture for LowLatencyStream {
    /// Adds one more picture, which completes what ends before it.
    fn with_picture_at(mut self, ms: i64) -> LowLatencyStream {
        self.push(&picture(ms, 0, false, 0), WALL_MS);
        self
    }
}

#[test]
fn request_for_a_part_after_the_newest_segment_waits_for_the_next() {
    // The first picture of segment 5 ended segment 4; no part of segment 5 is complete.
    let mut packets = Stream { seconds: 10, sound: Sound::None, ..USUAL }.packets();
    packets.push(picture(10_000, 0, true, 300));
    let live = play(&packets);
    for (part, ready) in [(3, true), (4, false), (9, false)] {
        let answer = live.playlist(&PlaylistRequest { msn: Some(4), part: Some(part), skip: false });
        assert_eq!(matches!(answer, PlaylistResponse::Ready(_)), ready, "{part}: {answer:?}");
    }
}

#[test]
fn ended_stream_responds_at_once_without_a_hint() {
    let mut live = play(&USUAL.packets());
    live.finish();
    for request in [
        PlaylistRequest { msn: Some(999), part: None, skip: true },
        PlaylistRequest { msn: None, part: Some(3), skip: false },
        PlaylistRequest::default(),
    ] {
        let list = List::parse(&ready(live.playlist(&request)), None);
        list.check();
        assert!(list.ended && list.hint.is_none() && list.skipped == 0);
    }
    assert_eq!(live.part(30, 0), FileResponse::Gone);
    assert!(!live.push(&picture(70_000, 0, true, 0), WALL_MS));
}

#[test]
fn nothing_is_listed_before_the_first_segment() {
    let live = play(&Stream { seconds: 2, ..USUAL }.packets());
    for request in [PlaylistRequest::default(), PlaylistRequest { msn: Some(0), part: Some(0), skip: false }] {
        assert_eq!(live.playlist(&request), PlaylistResponse::Empty);
    }
    assert_eq!((live.multivariant(), live.is_ready()), (None, false));
}

#[test]
fn usual_stream_has_four_parts_in_a_segment_and_ten_segments_in_the_list() {
    let player = Player::watch(&USUAL.packets());
    let list = &player.lists[player.lists.len() - 2];
    assert_eq!((list.segments.len(), list.target_ms, list.part_target_ms), (10, 2_000, Some(550)));
    assert!(list.independent && list.discontinuity_sequence == 0);
    assert!(player.parts.len() >= 120 && player.segments.len() == 30);
    // Every part but the first of a segment is listed while the segment is open, half a second after the previous part.
    assert!(player.parts.keys().all(|(_, part)| *part < 4));
    // Delta updates are as short as allowed: the list is 20 s long, and 12 s of it must remain.
    let (delta, full) = player.delta_bytes;
    assert!(delta > 0 && delta < full, "{delta} of {full}");
}

/// The player reads each playlist, complete and as delta update, with another crate's parser, and checks it against the
/// rules and the previous playlist.
#[test]
fn five_minutes_of_playlists_keep_every_rule() {
    let player = Player::watch(&Stream { seconds: 300, ..USUAL }.packets());
    // Four parts and the end of the segment, every two seconds.
    assert!(player.lists.len() >= 590, "{} playlists", player.lists.len());
    assert_eq!(player.segments.len(), 150);
    let newest = player.lists.iter().filter_map(|list| list.segments.last()).map(|segment| segment.msn).max();
    assert_eq!(newest, Some(149), "numbers continue from the first");
    assert!(!continuous(&player, false).is_empty());
}

#[test]
fn segments_end_where_mpeg_ts_segments_end() {
    for gop in [31, 60, 400] {
        let packets = Stream { gop, ..USUAL }.packets();
        let mut segmenter = Segmenter::default();
        let ts: Vec<_> = packets.iter().filter_map(|packet| segmenter.push(packet, WALL_MS)).collect();
        let player = Player::watch(&packets);
        let mut last = Vec::new();
        for list in &player.lists {
            let known = last.len() as u64;
            last.extend(list.segments.iter().filter(|segment| segment.msn >= known).map(|segment| segment.ms));
        }
        let ts: Vec<_> = ts.iter().map(|segment| u64::from(segment.duration_ms)).collect();
        assert_eq!(last[..ts.len()], ts);
    }
}

#[test]
fn slides_have_segments_but_no_parts() {
    for (rate, parts) in [(1_000, false), (2_000, false), (5_000, true), (10_000, true)] {
        let player = Player::watch(&Stream { rate, gop: rate / 500, ..USUAL }.packets());
        assert_eq!(player.lists.iter().all(|list| list.part_target_ms.is_some()), parts, "{rate}");
        assert!(player.segments.len() >= 28);
    }
}

#[test]
fn parts_are_valid_when_the_encoder_drops_pictures() {
    for dropped in [200..203, 200..230, 200..280] {
        for sound in [Sound::Aac(48_000), Sound::None] {
            // The player checks every list.
            let player = Player::watch(&Stream { dropped: dropped.clone(), gop: 90, sound, ..USUAL }.packets());
            continuous(&player, false);
        }
    }
}

#[test]
fn target_duration_is_constant_when_keyframes_are_further_apart() {
    let short = Stream { seconds: 20, ..USUAL }.packets();
    let long = Stream { seconds: 40, gop: 240, start_ms: 20_000, ..USUAL }.packets();
    let player = Player::watch(&[short, long].concat());
    assert!(player.lists.iter().all(|list| list.target_ms == 2_000));
    continuous(&player, true);
}

#[test]
fn new_headers_and_holes_cause_a_discontinuity() {
    let first = Stream { seconds: 6, ..USUAL }.packets();
    let hole = Stream { seconds: 6, start_ms: 30_000, ..USUAL }.packets();
    let rate = Stream { seconds: 6, start_ms: 36_000, sound: Sound::Aac(44_100), ..USUAL }.packets();
    let player = Player::watch(&[first, hole, rate].concat());
    let samples = continuous(&player, false);
    // Six seconds of audio each, at 46.875 and then at 43.07 frames per second.
    let sound = samples.iter().filter(|sample| sample.track == 2).count();
    assert!((818..=824).contains(&sound), "{sound} audio frames");
    let maps: Vec<_> = player.maps.values().map(|(map, discontinuity)| (map.as_str(), *discontinuity)).collect();
    let of = |map, discontinuity| [(map, discontinuity), (map, false), (map, false)];
    assert_eq!(maps, [of("init-0.mp4", false), of("init-0.mp4", true), of("init-1.mp4", true)].concat());
}

#[test]
fn late_audio_gets_a_track_from_the_next_keyframe_on() {
    let both = Stream { seconds: 10, ..USUAL }.packets();
    let late: Vec<_> = both
        .iter()
        .filter(|packet| !packet.kind.is_audio() || packet.dts.as_ms() > 3_000)
        .cloned()
        .flat_map(|packet| {
            let begins = packet.kind.is_audio() && packet.dts.as_ms() < 3_022;
            let header = begins.then(|| Packet { dts: packet.dts, ..both[1].clone() });
            header.into_iter().chain([packet])
        })
        .collect();
    let player = Player::watch(&late);
    let tracks: Vec<_> = player.inits.values().map(|init| media::moov(init).trak.len()).collect();
    assert_eq!(tracks, [1, 2]);
    assert_eq!(player.maps.values().position(|(_, discontinuity)| *discontinuity), Some(2));
    assert!(player.live.multivariant().expect("is there").contains(",mp4a.40.2\""));
}

#[test]
fn unsupported_video_leaves_the_audio() {
    let sound = Stream { rate: 0, seconds: 10, ..USUAL }.packets();
    let tag = |content| VideoTag {
        codec: VideoCodec::Vp9,
        content,
        cts_ms: 0,
        track: 0,
        payload: Bytes::from_static(&[1; 9]),
    };
    let video = |ms, content| flv::video_packet(Timestamp::from_ms(ms), tag(content).encode());
    let mut packets = vec![video(0, Content::Header)];
    for packet in &sound {
        packets.extend([video(packet.dts.as_ms(), Content::Keyframe), packet.clone()]);
    }
    let player = Player::watch(&packets);
    let unsupported = player.live.unsupported();
    assert_eq!((unsupported.video, unsupported.audio), (Some(VideoCodec::Vp9), None));
    assert_eq!(media::moov(&player.inits["init-0.mp4"]).trak.len(), 1);
    let master = player.live.multivariant().expect("is there");
    assert!(master.contains("CODECS=\"mp4a.40.2\"\n"), "{master}");
}

#[test]
fn unsupported_audio_leaves_the_video() {
    let tag = AudioTag {
        codec: AudioCodec::Mp3,
        content: Content::Frame,
        track: 0,
        legacy: None,
        payload: Bytes::from_static(&[0xFF, 0xFB, 0x90]),
    };
    let mut packets = Vec::new();
    for packet in (Stream { sound: Sound::None, seconds: 6, ..USUAL }).packets() {
        packets.extend([flv::audio_packet(packet.dts, tag.encode()), packet]);
    }
    let player = Player::watch(&packets);
    assert_eq!(player.live.unsupported().audio, Some(AudioCodec::Mp3));
    assert_eq!((player.segments.len(), media::moov(&player.inits["init-0.mp4"]).trak.len()), (3, 1));
}

#[test]
fn side_tracks_are_left_out() {
    let main = Stream { seconds: 6, ..USUAL }.packets();
    let side: Vec<_> = main
        .iter()
        .flat_map(|packet| {
            // A multitrack tag of track 1 after every picture of the main track.
            let body = [&[0xA6, 0x01][..], b"avc1", &[1, 0, 0, 0, 9, 9]].concat();
            let side = packet.kind.is_video().then(|| flv::video_packet(packet.dts, body.into()));
            [packet.clone()].into_iter().chain(side)
        })
        .collect();
    assert_eq!(Player::watch(&side).segments, Player::watch(&main).segments);
}

#[test]
fn missing_audio_leaves_no_gap_and_repeated_audio_no_overlap() {
    let packets = Stream { seconds: 12, ..USUAL }.packets();
    let muted: Vec<_> = packets
        .iter()
        .filter(|packet| !packet.kind.is_audio() || !(4_100..4_400).contains(&packet.dts.as_ms()))
        .cloned()
        .collect();
    let player = Player::watch(&muted);
    let samples = continuous(&player, false);
    assert!(samples.iter().any(|sample| sample.track == 2 && sample.duration > 48 * 280));

    // An encoder that sends 300 ms of audio again.
    let again = packets
        .iter()
        .filter(|packet| packet.kind.is_audio() && (4_100..4_400).contains(&packet.dts.as_ms()));
    let (before, after) = packets.split_at(packets.partition_point(|packet| packet.dts.as_ms() < 4_400));
    let twice: Vec<_> = before.iter().chain(again).chain(after).cloned().collect();
    let (once, twice) = (continuous(&Player::watch(&packets), false), continuous(&Player::watch(&twice), false));
    let sounds = |samples: &[media::Sample]| samples.iter().filter(|sample| sample.track == 2).count();
    assert!(sounds(&twice) - sounds(&once) <= 3, "no more than jitter allows");
}

#[test]
fn hour_of_44100_hz_does_not_drift() {
    let sound = Stream { rate: 0, sound: Sound::Aac(44_100), seconds: 3_600, ..USUAL }.packets();
    let mut live = LowLatencyStream::default();
    let mut newest = 0;
    for packet in &sound {
        if live.push(packet, WALL_MS)
            && let PlaylistResponse::Ready(text) = live.playlist(&PlaylistRequest::default())
        {
            newest = List::parse(&text, None).segments.last().expect("has one").msn;
        }
    }
    let last = media::samples(&crate::player::joined(live.segment(newest)));
    let end = last.last().map(|sample| sample.dts + sample.duration).expect("has samples");
    assert!((end as f64 / 44_100.0 - 1.4 - 3_600.0).abs() < 3.0);
    assert!(last.iter().all(|sample| sample.duration == 1_024));
    assert_eq!(last[0].dts % 1_024, 61_740 % 1_024, "no sample was lost or inserted");
}

#[test]
fn memory_is_bounded_and_the_list_has_its_minimum_length() {
    for (megabits, listed) in [(2.5, 9..=10), (6.0, 6..=6), (50.0, 3..=6)] {
        let payload = (megabits * 1_000_000.0 / 8.0 / 30.0) as usize;
        let mut live = LowLatencyStream::default();
        live.push(&video_header(), WALL_MS);
        let mut held_max = 0;
        for number in 0..1_800_i64 {
            let content = if number % 60 == 0 { Content::Keyframe } else { Content::Frame };
            let tag =
                VideoTag { codec: VideoCodec::Avc, content, cts_ms: 0, track: 0, payload: vec![7; payload].into() };
            live.push(&flv::video_packet(Timestamp::from_ms(number * 1_000 / 30), tag.encode()), WALL_MS);
            held_max = held_max.max(live.held_bytes());
        }
        let list = List::parse(&ready(live.playlist(&PlaylistRequest::default())), None);
        assert!(listed.contains(&list.segments.len()), "{megabits} Mbit/s: {} listed", list.segments.len());
        let open = megabits * 1_000_000.0 / 8.0 * 2.0;
        let bound = if megabits > 6.0 { 110_000_000.0 } else { 14.0 * 1_024.0 * 1_024.0 - open };
        assert!((held_max as f64) < bound, "{megabits} Mbit/s: {held_max} bytes");
    }
}

#[test]
fn encoder_restart_without_a_hole_continues() {
    let once = Stream { seconds: 8, ..USUAL }.packets();
    let player = Player::watch(&[once.clone(), shifted(&once, 8_100)].concat());
    assert!(player.maps.values().all(|(map, discontinuity)| map == "init-0.mp4" && !discontinuity));
    continuous(&player, true);
}

#[test]
fn audio_of_another_rate_waits_for_the_next_segment() {
    let pictures = Stream { seconds: 8, sound: Sound::None, ..USUAL }.packets();
    let sound = |sound, range: std::ops::Range<i64>| -> Vec<_> {
        let stream = Stream { rate: 0, seconds: 8, sound, ..USUAL };
        stream.packets().into_iter().filter(|packet| range.contains(&packet.dts.as_ms())).collect()
    };
    // The header changes in the middle of segment 1.
    let before = sound(Sound::Aac(44_100), 0..3_000);
    let header = Packet { dts: Timestamp::from_ms(3_000), ..Sound::Aac(48_000).header() };
    let after = sound(Sound::Aac(48_000), 3_000..8_000);
    let mut packets = [pictures, before, vec![header], after].concat();
    packets.sort_by_key(|packet| packet.dts);
    let player = Player::watch(&packets);
    let end = |msn| {
        media::samples(&player.segments[&msn])
            .iter()
            .filter(|s| s.track == 2)
            .map(|s| s.dts + s.duration)
            .max()
    };
    let at = |ms: u64, rate: u64| (ms + 1_400) * rate / 1_000;
    assert!(end(1).is_some_and(|end| end <= at(3_050, 44_100)), "{:?}", end(1));
    assert!(end(2).is_some_and(|end| end >= at(5_950, 48_000)), "{:?}", end(2));
}

#[test]
fn segments_are_kept_for_a_playlist_length_after_listing() {
    // Segments 0 to 28 are complete: ten are listed, and ten are kept.
    let live = play(&USUAL.packets());
    let kept: Vec<_> = (0..40).filter(|&msn| live.segment(msn) != FileResponse::Gone).collect();
    assert_eq!(kept, (9..29).collect::<Vec<_>>());
}
