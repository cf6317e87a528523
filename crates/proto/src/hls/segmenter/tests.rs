//! Where segments begin and end, in synthetic streams. Real streams are tested in `tests/hls.rs`.

use super::*;
use crate::{
    flv::{self, Content, VideoTag},
    hls::cut::BYTES_MAX,
};

const AVC: &[u8] = &[1, 0x42, 0xC0, 0x1E, 0xFF, 0xE1, 0, 4, 0x67, 0x42, 0xC0, 0x1E, 1, 0, 2, 0x68, 0xCE];
const AVC_OTHER: &[u8] = &[1, 0x42, 0xC0, 0x1F, 0xFF, 0xE1, 0, 4, 0x67, 0x42, 0xC0, 0x1F, 1, 0, 2, 0x68, 0xCE];
const FRAME_EVERY_MS: i64 = 40;

fn video(ms: i64, content: Content, payload: &'static [u8]) -> Packet {
    let payload = Bytes::from_static(payload);
    let tag = VideoTag { codec: VideoCodec::Avc, content, cts_ms: 0, track: 0, payload };
    flv::video_packet(Timestamp::from_ms(ms), tag.encode())
}

fn header(ms: i64, record: &'static [u8]) -> Packet {
    video(ms, Content::Header, record)
}

fn audio(ms: i64, body: &'static [u8]) -> Packet {
    flv::audio_packet(Timestamp::from_ms(ms), Bytes::from_static(body))
}

fn audio_header(ms: i64) -> Packet {
    audio(ms, &[0xAF, 0, 0x11, 0x90])
}

/// Pictures from `start` to before `end`, with a keyframe at the start and every `keyframe_every_ms` after it.
fn pictures(start: i64, end: i64, keyframe_every_ms: i64) -> impl Iterator<Item = Packet> {
    (start..end).step_by(FRAME_EVERY_MS as usize).map(move |ms| {
        let key = (ms - start) % keyframe_every_ms == 0;
        let (content, payload): (_, &'static [u8]) =
            if key { (Content::Keyframe, &[0, 0, 0, 2, 0x65, 1]) } else { (Content::Frame, &[0, 0, 0, 2, 0x41, 1]) };
        video(ms, content, payload)
    })
}

/// The segments of a stream whose packets arrive on time, the first at `WALL_MS`.
fn cut(packets: impl IntoIterator<Item = Packet>) -> Vec<Segment> {
    let mut segmenter = Segmenter::default();
    let mut newest = Timestamp::ZERO;
    let mut segments = Vec::new();
    for packet in packets {
        newest = newest.max(packet.dts);
        segments.extend(segmenter.push(&packet, WALL_MS + packet.dts.as_ms() as u64));
    }
    segments.extend(segmenter.finish(newest + FRAME_EVERY_MS));
    segments
}

const WALL_MS: u64 = 1_700_000_000_000;

fn durations(segments: &[Segment]) -> Vec<u32> {
    segments.iter().map(|segment| segment.duration_ms).collect()
}

fn frames(segments: &[Segment]) -> usize {
    segments.iter().map(|segment| segment.packets().len()).sum()
}

#[test]
fn segments_end_at_the_first_keyframe_from_two_seconds_on() {
    for (keyframe_every_ms, expected) in [
        (520, vec![2_080, 2_080, 1_840]),
        (1_000, vec![2_000, 2_000, 2_000]),
        (2_000, vec![2_000, 2_000, 2_000]),
        (4_000, vec![4_000, 2_000]),
    ] {
        let segments = cut([header(0, AVC)].into_iter().chain(pictures(0, 6_000, keyframe_every_ms)));
        assert_eq!(durations(&segments), expected, "a keyframe each {keyframe_every_ms} ms");
        assert!(segments.iter().all(|segment| segment.independent && !segment.discontinuity));
        assert_eq!(segments.iter().map(|segment| segment.sequence).collect::<Vec<_>>(), [0, 1, 2][..segments.len()]);
    }
}

#[test]
fn gop_over_ten_seconds_is_cut_and_no_frame_is_lost() {
    let segments = cut([header(0, AVC)].into_iter().chain(pictures(0, 30_000, 25_000)));
    assert_eq!(durations(&segments), [10_040, 10_000, 4_960, 5_000]);
    assert_eq!(segments.iter().map(|segment| segment.independent).collect::<Vec<_>>(), [true, false, false, true]);
    assert!(segments.iter().all(|segment| !segment.discontinuity));
    assert_eq!(frames(&segments), 750);
}

#[test]
fn frames_before_the_first_keyframe_are_dropped() {
    let mut packets: Vec<_> = [header(0, AVC)].into_iter().chain(pictures(0, 3_000, 1_000)).collect();
    packets.remove(1);
    let segments = cut(packets);
    assert_eq!((durations(&segments), frames(&segments)), (vec![2_000], 50));
    assert_eq!(segments.first().map(|segment| segment.program_date_ms), Some(WALL_MS + 1_000));
}

#[test]
fn hole_ends_the_segment_and_the_next_begins_at_the_wall_clock() {
    let before = [header(0, AVC)].into_iter().chain(pictures(0, 3_000, 1_000));
    let after = [header(43_000, AVC)].into_iter().chain(pictures(43_000, 46_000, 1_000));
    let segments = cut(before.chain(after));
    assert_eq!(durations(&segments), [2_000, 993, 2_000, 1_000]);
    let starts: Vec<_> = segments.iter().map(|s| (s.discontinuity, s.program_date_ms - WALL_MS)).collect();
    assert_eq!(starts, [(false, 0), (false, 2_000), (true, 43_000), (false, 45_000)]);
}

#[test]
fn short_pause_with_equal_headers_is_no_discontinuity() {
    let before = [header(0, AVC)].into_iter().chain(pictures(0, 3_000, 1_000));
    let after = [header(4_400, AVC)].into_iter().chain(pictures(4_400, 6_400, 1_000));
    let segments = cut(before.chain(after));
    assert_eq!(durations(&segments), [2_000, 2_400, 2_000]);
    assert!(segments.iter().all(|segment| !segment.discontinuity));
}

#[test]
fn changed_header_begins_a_segment_at_once() {
    let before = [header(0, AVC)].into_iter().chain(pictures(0, 1_000, 1_000));
    let after = [header(1_000, AVC_OTHER)].into_iter().chain(pictures(1_000, 4_000, 1_000));
    let segments = cut(before.chain(after));
    assert_eq!(durations(&segments), [1_000, 2_000, 1_000]);
    assert_eq!(segments.iter().map(|segment| segment.discontinuity).collect::<Vec<_>>(), [false, true, false]);
}

#[test]
fn late_audio_header_joins_at_the_next_keyframe() {
    let late = [audio_header(500), audio(500, &[0xAF, 1, 7]), audio(1_000, &[0xAF, 1, 7])];
    let mut packets: Vec<_> = [header(0, AVC)].into_iter().chain(pictures(0, 3_000, 1_000)).chain(late).collect();
    packets.sort_by_key(|packet| packet.dts);
    let segments = cut(packets);
    assert_eq!(durations(&segments), [1_000, 2_000]);
    assert_eq!(segments.iter().map(|segment| segment.discontinuity).collect::<Vec<_>>(), [false, true]);
    assert_eq!(segments.iter().map(|segment| segment.tracks.audio.is_some()).collect::<Vec<_>>(), [false, true]);
}

#[test]
fn audio_only_stream_is_cut_by_time() {
    let frames = (0..6_000).step_by(20).map(|ms| audio(ms, &[0xAF, 1, 7]));
    let segments = cut([audio_header(0)].into_iter().chain(frames));
    assert_eq!(durations(&segments), [1_900, 1_900, 1_900, 320]);
    assert!(segments.iter().all(|segment| segment.independent));
}

#[test]
fn audio_segments_continue_when_pictures_stop() {
    let sound = (1_000..30_000).step_by(20).map(|ms| audio(ms, &[0xAF, 1, 7]));
    let packets = [header(0, AVC), audio_header(0)].into_iter().chain(pictures(0, 1_000, 1_000)).chain(sound);
    let segments = cut(packets);
    let durations = durations(&segments);
    assert_eq!(durations.iter().sum::<u32>(), 30_020);
    assert!(durations.iter().all(|&ms| ms <= 2_060), "{durations:?}");
    assert_eq!(frames(&segments), 25 + 1_450);
}

#[test]
fn hevc_gives_no_segments_and_ends_h264_segments() {
    let hevc = || flv::video_packet(Timestamp::from_ms(3_000), Bytes::from_static(b"\x90hvc1\x01"));
    assert!(cut([hevc()].into_iter().chain(pictures(0, 9_000, 1_000))).is_empty());
    let before = [header(0, AVC)].into_iter().chain(pictures(0, 3_000, 1_000));
    let back = [header(9_000, AVC)].into_iter().chain(pictures(9_000, 10_000, 1_000));
    let segments = cut(before.chain([hevc()]).chain(pictures(3_000, 9_000, 1_000)).chain(back));
    assert_eq!(durations(&segments), [2_000, 1_000, 1_000]);
    assert_eq!(segments.iter().map(|segment| segment.discontinuity).collect::<Vec<_>>(), [false, false, true]);
}

#[test]
fn side_track_is_ignored() {
    let main: Vec<_> = [header(0, AVC)].into_iter().chain(pictures(0, 5_000, 1_000)).collect();
    let with_side = main.iter().flat_map(|packet| {
        let other = flv::video_packet(packet.dts, Bytes::from_static(b"\x96\x00avc1\x01\x01\x02\x03"));
        [packet.clone(), other]
    });
    let segments = cut(with_side);
    assert_eq!((durations(&segments), frames(&segments)), (vec![2_000, 2_000, 1_000], main.len() - 1));
}

#[test]
fn constant_timestamps_do_not_exceed_the_segment_bytes() {
    let big: &'static [u8] = vec![7; 1024 * 1024].leak();
    let mut segmenter = Segmenter::default();
    segmenter.push(&audio_header(0), WALL_MS);
    let packet = audio(0, [&[0xAF, 1], big].concat().leak());
    let segments: Vec<_> = (0..100).filter_map(|_| segmenter.push(&packet, WALL_MS)).collect();
    assert_eq!(segments.len(), 3);
    assert!(segments.iter().all(|segment| segment.held_bytes() <= BYTES_MAX + big.len()));
}

#[test]
fn end_of_a_stream_keeps_the_target_duration() {
    // The stream ends with its audio, or another codec begins after a pause.
    let stream = || [header(0, AVC), audio_header(0)].into_iter().chain(pictures(0, 5_000, 1_000));
    let sound = audio(9_000, &[0xAF, 1, 2, 3]);
    let hevc = flv::video_packet(Timestamp::from_ms(9_000), Bytes::from_static(b"\x90hvc1\x01"));
    let picture = pictures(9_000, 9_040, 1_000);
    for segments in [cut(stream().chain([sound])), cut(stream().chain([hevc]).chain(picture))] {
        assert_eq!(durations(&segments)[..2], [2_000, 2_000]);
        assert!(durations(&segments).iter().all(|ms| *ms < 2_500), "{:?}", durations(&segments));
    }
}

#[test]
fn slices_in_separate_messages_are_counted() {
    let big: &'static [u8] = vec![7; 1024 * 1024].leak();
    let slices = Packet { kind: PacketKind::Slices, ..video(0, Content::Frame, big) };
    let stream = pictures(0, 4_000, 10_000).flat_map(|picture| [picture, slices.clone()]);
    let segments = cut([header(0, AVC)].into_iter().chain(stream));
    assert_eq!(segments.len(), 4, "100 MiB in total");
    assert!(segments.iter().all(|segment| segment.held_bytes() <= BYTES_MAX + big.len()));
}

#[test]
fn slices_of_a_waiting_picture_are_not_added_to_another() {
    let slices = |ms| Packet { kind: PacketKind::Slices, ..video(ms, Content::Frame, &[0, 0, 0, 2, 0x41, 2]) };
    let stream = pictures(0, 400, 10_000).chain([header(400, AVC_OTHER)]);
    let after = pictures(0, 400, 10_000).skip(1).map(|packet| Packet { dts: packet.dts + 400, ..packet });
    let segments = cut([header(0, AVC)].into_iter().chain(stream).chain(after.flat_map(|p| [p.clone(), slices(0)])));
    assert!(segments[0].packets().iter().all(|packet| packet.kind != PacketKind::Slices));
}

#[test]
fn segment_is_muxed_once_on_first_use() {
    let segments = cut([header(0, AVC)].into_iter().chain(pictures(0, 1_000, 1_000)));
    let segment = segments.first().expect("one segment");
    let before = segment.held_bytes();
    let ts = segment.ts();
    assert_eq!(segment.held_bytes(), before + ts.len());
    assert_eq!(segment.ts().as_ptr(), ts.as_ptr(), "the same bytes the second time");
}

#[test]
fn endless_slices_do_not_exceed_the_segment_bytes() {
    let big: &'static [u8] = vec![7; 1024 * 1024].leak();
    let mut segmenter = Segmenter::default();
    segmenter.push(&header(0, AVC), WALL_MS);
    segmenter.push(&video(0, Content::Keyframe, &[0, 0, 0, 2, 0x65, 1]), WALL_MS);
    let slices = Packet { kind: PacketKind::Slices, ..video(0, Content::Frame, big) };
    for _ in 0..100 {
        segmenter.push(&slices, WALL_MS);
    }
    let held = segmenter.finish(Timestamp::ZERO).map_or(0, |segment| segment.held_bytes());
    assert!(held <= BYTES_MAX + big.len(), "{held}");
}

#[test]
fn pause_in_a_long_gop_loses_no_later_packets() {
    // The target is 2 s. A long GOP begins at 5 s; pictures pause from 6.5 s to 8.5 s.
    let first = pictures(0, 4_000, 2_000);
    let long = pictures(4_000, 14_000, 10_000).filter(|p| !(5_500..7_500).contains(&p.dts.as_ms()));
    let packets: Vec<_> = [header(0, AVC)].into_iter().chain(first).chain(long).collect();
    let sent = packets.len() - 1;
    let segments = cut(packets);
    assert_eq!(frames(&segments), sent, "{:?}", durations(&segments));
    assert!(durations(&segments).iter().all(|&ms| ms < 2_500), "{:?}", durations(&segments));
}
