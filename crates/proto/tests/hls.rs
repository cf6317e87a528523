//! Clips made by FFmpeg, through the segmenter and the muxer, and back to FFmpeg.
#![expect(clippy::disallowed_methods, reason = "FFmpeg reads and writes files; the crate under test does not")]

use std::{path::Path, process::Command};

use bytes::Bytes;
use gostream_proto::{
    codec,
    flv::{self, file},
    hls::{Segment, Segmenter, Window},
    packet::{Packet, PacketKind},
    time::Timestamp,
    track::{AudioCodec, VideoCodec},
};
use tempfile::TempDir;

const VIDEO: &str = "-f lavfi -i testsrc2=size=320x180:rate=30";
const AUDIO: &str = "-f lavfi -i sine=frequency=440:sample_rate=44100";
const H264: &str = "-c:v libx264 -preset ultrafast -bf 2 -g 60 -keyint_min 60 -sc_threshold 0 -pix_fmt yuv420p";
const AAC: &str = "-c:a aac -b:a 96k";

fn run(program: &str, arguments: &str, path: &Path) -> String {
    let path = path.to_str().expect("is text");
    let output = Command::new(program).args(arguments.split_whitespace()).arg(path).output().expect("is installed");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments} {path}: {said}");
    format!("{}{said}", String::from_utf8_lossy(&output.stdout))
}

/// The packets of a clip that FFmpeg makes with these options.
fn clip(options: &str) -> Vec<Packet> {
    let folder = TempDir::new().expect("is made");
    let path = folder.path().join("clip.flv");
    run("ffmpeg", &format!("-hide_banner -loglevel error -y {options} -f flv"), &path);
    let bytes = Bytes::from(std::fs::read(&path).expect("is there"));
    file::tags(bytes)
        .expect("is FLV")
        .filter_map(|tag| {
            let tag = tag.expect("is whole");
            match tag.kind {
                8 => Some(flv::audio_packet(Timestamp::from_ms(tag.timestamp.into()), tag.body)),
                9 => Some(flv::video_packet(Timestamp::from_ms(tag.timestamp.into()), tag.body)),
                _ => None,
            }
        })
        .collect()
}

fn segments(packets: &[Packet]) -> Vec<Segment> {
    let mut segmenter = Segmenter::default();
    let mut segments: Vec<_> = packets.iter().filter_map(|packet| segmenter.push(packet, 1_000)).collect();
    let end = packets.last().map_or(Timestamp::ZERO, |packet| packet.dts + 33);
    segments.extend(segmenter.finish(end));
    segments
}

/// The joined segments according to FFprobe: codec, decode time and flags of each packet.
fn probe(segments: &[Segment]) -> Vec<(String, f64)> {
    let folder = TempDir::new().expect("is made");
    let path = folder.path().join("joined.ts");
    let joined: Vec<u8> = segments.iter().flat_map(|segment| segment.ts().to_vec()).collect();
    std::fs::write(&path, joined).expect("is written");
    let complaints = run("ffmpeg", "-hide_banner -v error -f null - -i", &path);
    assert_eq!(complaints, "", "FFmpeg decodes it without a message");
    run("ffprobe", "-v error -show_entries packet=codec_type,dts_time -of csv=p=0", &path)
        .lines()
        .filter_map(|line| {
            let (kind, time) = line.split_once(',')?;
            Some((kind.to_owned(), time.trim_end_matches(',').parse().ok()?))
        })
        .collect()
}

fn frames(packets: &[Packet]) -> [usize; 2] {
    let count = |wanted: fn(&Packet) -> bool| packets.iter().filter(|p| p.kind.is_frame() && wanted(p)).count();
    [count(|packet| packet.kind.is_video()), count(|packet| packet.kind.is_audio())]
}

fn assert_whole(packets: &[Packet], probed: &[(String, f64)]) {
    for (kind, expected) in ["video", "audio"].into_iter().zip(frames(packets)) {
        let times: Vec<_> = probed.iter().filter(|(found, _)| found == kind).map(|(_, time)| *time).collect();
        assert_eq!(times.len(), expected, "{kind} packets");
        assert!(times.is_sorted_by(|a, b| a < b), "{kind} times continue across segments");
    }
}

#[test]
fn h264_with_b_frames_and_aac_is_cut_at_keyframes_and_read_by_ffprobe() {
    let packets = clip(&format!("{VIDEO} {AUDIO} -t 9 {H264} {AAC}"));
    let segments = segments(&packets);
    assert_eq!(segments.iter().map(|s| s.duration_ms / 100).collect::<Vec<_>>(), [20, 20, 20, 20, 10]);
    assert!(segments.iter().all(|segment| segment.independent && !segment.discontinuity));
    assert_whole(&packets, &probe(&segments));
}

#[test]
fn video_only_and_audio_only_streams_are_segmented() {
    for options in
        [format!("{VIDEO} -t 5 {H264}"), format!("{AUDIO} -t 5 {AAC}"), format!("{AUDIO} -t 5 -c:a libmp3lame")]
    {
        let packets = clip(&options);
        let segments = segments(&packets);
        assert!(segments.len() >= 2, "{options}");
        assert_whole(&packets, &probe(&segments));
    }
}

#[test]
fn encoder_delimiters_and_gops_over_ten_seconds_are_read_by_ffprobe() {
    let long = "-c:v libx264 -preset ultrafast -bf 2 -g 9999 -x264-params aud=1:scenecut=0 -pix_fmt yuv420p";
    let packets = clip(&format!("{VIDEO} {AUDIO} -t 13 {long} {AAC}"));
    let segments = segments(&packets);
    assert_eq!(segments.iter().map(|segment| segment.independent).collect::<Vec<_>>(), [true, false]);
    assert_whole(&packets, &probe(&segments));
}

#[test]
fn size_and_rate_are_the_encoder_settings() {
    for (size, rate, options) in [
        ((320, 180), 30.0, "-pix_fmt yuv420p"),
        ((322, 182), 25.0, "-pix_fmt yuv420p -profile:v baseline"),
        ((322, 180), 50.0, "-pix_fmt yuv420p -flags +ildct+ilme"),
        ((322, 182), 24.0, "-pix_fmt yuv422p"),
        ((322, 182), 60.0, "-pix_fmt yuv444p -x264-params cqm=jvt"),
    ] {
        let (width, height) = size;
        let source = format!("-f lavfi -i testsrc2=size={width}x{height}:rate={rate}");
        let packets = clip(&format!("{source} {AUDIO} -t 1 -c:v libx264 {options} {AAC}"));
        let header = |kind| packets.iter().find(|packet| packet.kind == kind).expect("has a header");
        let video = codec::video_facts(VideoCodec::Avc, &header(PacketKind::VideoHeader).payload);
        assert_eq!((video.codec.name(), video.width, video.height), ("h264", Some(width), Some(height)), "{options}");
        assert!(video.fps.is_some_and(|fps| (fps - rate).abs() < 0.01), "{options}: {:?}", video.fps);
        let audio = codec::audio_facts(AudioCodec::Aac, &header(PacketKind::AudioHeader).payload);
        assert_eq!((audio.codec.name(), audio.sample_rate, audio.channels), ("aac", Some(44_100), Some(1)));
    }
}

#[test]
fn changed_header_is_a_discontinuity_and_an_equal_one_is_not() {
    let packets = clip(&format!("{VIDEO} {AUDIO} -t 4 {H264} {AAC}"));
    let smaller = clip(&format!("-f lavfi -i testsrc2=size=160x90:rate=30 {AUDIO} -t 4 {H264} {AAC}"));
    let shift = |packets: &[Packet], ms: i64| -> Vec<_> {
        packets.iter().map(|packet| Packet { dts: packet.dts + ms, ..packet.clone() }).collect()
    };
    let all = [packets.clone(), shift(&packets, 4_100), shift(&smaller, 8_200)].concat();
    let discontinuities: Vec<_> = segments(&all).iter().map(|segment| segment.discontinuity).collect();
    assert_eq!(discontinuities, [false, false, false, false, true, false]);
}

#[test]
fn half_an_hour_lists_six_segments_and_uses_constant_memory() {
    let packets = clip(&format!("{VIDEO} {AUDIO} -t 10 {H264} {AAC}"));
    let mut segmenter = Segmenter::default();
    let mut window = Window::default();
    let mut held_max = 0;
    for round in 0..180 {
        for packet in &packets {
            let packet = Packet { dts: packet.dts + round * 10_000, ..packet.clone() };
            if let Some(segment) = segmenter.push(&packet, 1_795_398_000_000) {
                window.push(segment);
            }
        }
        held_max = held_max.max(window.held_bytes());
        if round == 2 {
            held_max = window.held_bytes();
        }
        assert!(window.held_bytes() <= held_max + held_max / 5, "round {round}");
    }
    let playlist = window.playlist("key").expect("has segments");
    let names: Vec<_> = playlist.lines().filter(|line| !line.starts_with('#')).collect();
    assert_eq!((names.len(), names[5]), (6, "key-898.ts"));
    assert!(playlist.contains("#EXT-X-TARGETDURATION:2\n") && playlist.contains("#EXT-X-MEDIA-SEQUENCE:893\n"));
    assert!(!playlist.contains("DISCONTINUITY") && !playlist.contains("ENDLIST"));
    assert!(playlist.contains("#EXT-X-PROGRAM-DATE-TIME:2026-11-23T"));
    assert!(window.segment(893).is_some() && window.segment(880).is_none());
    window.end();
    assert!(window.playlist("key").expect("has segments").ends_with("#EXT-X-ENDLIST\n"));
}
