//! Clips made by FFmpeg, through the packager, and back to FFmpeg.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    process::Command,
};

use bytes::{BufMut, Bytes};
use gostream_proto::{
    codec,
    flv::{self, AudioTag, Content, VideoTag, file},
    packet::{Packet, PacketKind},
    time::Timestamp,
    track::{AudioCodec, Codec, VideoCodec},
};
use tempfile::TempDir;

use crate::{media, player::Player};

const VIDEO: &str = "-f lavfi -i testsrc2=size=320x180:rate=30";
const AUDIO: &str = "-f lavfi -i sine=frequency=440:sample_rate=44100";
const H264: &str = "-c:v libx264 -preset ultrafast -bf 2 -g 60 -keyint_min 60 -sc_threshold 0 -pix_fmt yuv420p";
const AAC: &str = "-c:a aac -b:a 96k";
/// Added to all times.
const OFFSET_MS: i64 = 1_400;

fn run(program: &str, arguments: &str, path: &Path, after: &str) -> String {
    let path = path.to_str().expect("is text");
    let after = after.split_whitespace();
    let output = Command::new(program)
        .args(arguments.split_whitespace())
        .arg(path)
        .args(after)
        .output()
        .expect("is installed");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments} {path}: {said}");
    format!("{}{said}", String::from_utf8_lossy(&output.stdout))
}

/// A clip made by FFmpeg, and the packets that an encoder would send for it.
struct Clip {
    path: PathBuf,
    packets: Vec<Packet>,
    folder: TempDir,
}

impl Clip {
    /// From FFmpeg's FLV muxer.
    fn flv(options: &str) -> Self {
        let folder = TempDir::new().expect("is made");
        let path = folder.path().join("clip.flv");
        run("ffmpeg", &format!("-hide_banner -loglevel error -y {options} -f flv"), &path, "");
        let packets = file::tags(Bytes::from(std::fs::read(&path).expect("is there")))
            .expect("is FLV")
            .filter_map(|tag| {
                let tag = tag.expect("is whole");
                match tag.kind {
                    8 => Some(flv::audio_packet(Timestamp::from_ms(tag.timestamp.into()), tag.body)),
                    9 => Some(flv::video_packet(Timestamp::from_ms(tag.timestamp.into()), tag.body)),
                    _ => None,
                }
            })
            .collect();
        Self { path, packets, folder }
    }

    /// Enhanced RTMP tags with the samples of an MP4 file, for codecs that this FFmpeg's FLV muxer does not support.
    fn enhanced(options: &str, video: VideoCodec) -> Self {
        let folder = TempDir::new().expect("is made");
        let path = folder.path().join("clip.mp4");
        run("ffmpeg", &format!("-hide_banner -loglevel error -y {options} -strict -2"), &path, "");
        let bytes = Bytes::from(std::fs::read(&path).expect("is there"));
        let opus = boxed(&bytes, b"dOps").map(|dops| opus_head(&dops));
        let audio = if opus.is_some() { AudioCodec::Opus } else { AudioCodec::Aac };
        let record = match video {
            VideoCodec::Hevc => boxed(&bytes, b"hvcC"),
            _ => boxed(&bytes, b"av1C"),
        };
        let mut packets: Vec<_> =
            record.into_iter().map(|record| video_packet(video, Content::Header, 0, 0, record)).collect();
        packets.extend(opus.map(|head| audio_packet(audio, Content::Header, 0, head)));
        let mut frames: Vec<_> = probe(&path)
            .into_iter()
            .map(|found| {
                let payload = bytes.slice(found.position..found.position + found.size);
                // Shifted, because B-frames begin before 0.
                let dts_ms = (found.dts_s * 1_000.0).round() as i64 + 200;
                let cts_ms = ((found.pts_s - found.dts_s) * 1_000.0).round() as i32;
                let content = if found.key { Content::Keyframe } else { Content::Frame };
                if found.video {
                    video_packet(video, content, dts_ms, cts_ms, payload)
                } else {
                    audio_packet(audio, Content::Frame, dts_ms, payload)
                }
            })
            .collect();
        frames.sort_by_key(|packet| packet.dts);
        let has_video = frames.iter().any(|packet| packet.kind.is_video());
        let opening = |packet: &Packet| has_video && packet.kind.is_audio();
        // A stream begins with a picture, so audio before the first picture is dropped.
        packets.extend(frames.into_iter().skip_while(|packet| opening(packet)));
        Self { path, packets, folder }
    }

    fn audio_rate(&self) -> i64 {
        let track = self.packets.iter().find_map(|packet| match (packet.kind, packet.codec) {
            (PacketKind::AudioHeader, Codec::Audio(codec)) => Some(codec::audio_facts(codec, &packet.payload)),
            (PacketKind::Audio, Codec::Audio(codec)) => codec::headerless_audio_facts(codec, &packet.payload),
            _ => None,
        });
        i64::from(track.and_then(|track| track.sample_rate).unwrap_or(48_000))
    }

    /// Packages the clip and reads it with FFprobe and FFmpeg, once from segments and once from parts.
    fn assert_whole(&self) -> Player {
        let player = Player::watch(&self.packets);
        for of_parts in [false, true] {
            let path = self.folder.path().join("joined.mp4");
            std::fs::write(&path, player.file(of_parts)).expect("is written");
            let complaints = run("ffmpeg", "-hide_banner -v error -i", &path, "-f null -");
            assert_eq!(complaints, "", "FFmpeg decodes it without a message");
            self.assert_packets(&probe(&path));
            if self.packets.iter().any(|packet| packet.kind.is_video()) {
                let pictures =
                    |path| run("ffmpeg", "-hide_banner -v error -i", path, "-map 0:v -fps_mode passthrough -f md5 -");
                assert_eq!(pictures(&path), pictures(&self.path), "every picture equals the source");
            }
        }
        player
    }

    fn assert_packets(&self, probed: &[Probed]) {
        let of = |video: bool| probed.iter().filter(move |found| found.video == video);
        let sent = |video: bool| self.packets.iter().filter(move |p| p.kind.is_frame() && p.kind.is_video() == video);
        assert_eq!((of(true).count(), of(false).count()), (sent(true).count(), sent(false).count()));
        for (packet, found) in sent(true).zip(of(true)) {
            let size = VideoTag::parse(&packet.flv).expect("parses").payload.len();
            assert_eq!((found.size, found.key), (size, packet.kind == PacketKind::Keyframe));
            let dts = (packet.dts.as_ms() + OFFSET_MS) * 90;
            assert_eq!((found.dts, found.pts), (dts, dts + i64::from(packet.cts_ms) * 90));
        }
        let rate = self.audio_rate();
        for (packet, found) in sent(false).zip(of(false)) {
            let size = AudioTag::parse(&packet.flv).expect("parses").payload.len();
            assert_eq!((found.size, found.key), (size, true));
            let away = found.dts - (packet.dts.as_ms() + OFFSET_MS) * rate / 1_000;
            assert!(away.abs() <= rate / 500, "{} samples away from the encoder's time", away);
        }
    }
}

fn video_packet(codec: VideoCodec, content: Content, dts_ms: i64, cts_ms: i32, payload: Bytes) -> Packet {
    let tag = VideoTag { codec, content, cts_ms, track: 0, payload };
    flv::video_packet(Timestamp::from_ms(dts_ms), tag.encode_enhanced())
}

fn audio_packet(codec: AudioCodec, content: Content, dts_ms: i64, payload: Bytes) -> Packet {
    let tag = AudioTag { codec, content, track: 0, legacy: None, payload };
    flv::audio_packet(Timestamp::from_ms(dts_ms), tag.encode())
}

/// The content of the first box with this name, at any depth.
fn boxed(file: &Bytes, name: &[u8; 4]) -> Option<Bytes> {
    let at = file.windows(4).position(|window| window == name)?;
    let size = u32::from_be_bytes(file[at - 4..at].try_into().expect("four bytes")) as usize;
    Some(file.slice(at + 4..at - 4 + size))
}

/// The stream header from which a `dOps` box of mapping family 0 was made.
fn opus_head(dops: &[u8]) -> Bytes {
    let mut head = b"OpusHead\x01".to_vec();
    head.push(dops[1]);
    head.put_u16_le(u16::from_be_bytes([dops[2], dops[3]]));
    head.put_u32_le(u32::from_be_bytes([dops[4], dops[5], dops[6], dops[7]]));
    head.extend([0, 0, 0]);
    head.into()
}

/// A packet as FFprobe reports it.
#[derive(Debug)]
struct Probed {
    video: bool,
    pts: i64,
    dts: i64,
    pts_s: f64,
    dts_s: f64,
    size: usize,
    position: usize,
    key: bool,
}

fn probe(path: &Path) -> Vec<Probed> {
    let entries = "packet=codec_type,pts,dts,pts_time,dts_time,size,pos,flags";
    run("ffprobe", &format!("-v error -ignore_editlist 0 -show_entries {entries} -of compact=p=0"), path, "")
        .lines()
        .filter(|line| line.contains("codec_type="))
        .map(|line| {
            let fields: HashMap<_, _> = line.split('|').filter_map(|field| field.split_once('=')).collect();
            fn number<T: std::str::FromStr>(text: &str) -> T {
                text.parse().unwrap_or_else(|_| panic!("{text} is a number"))
            }
            Probed {
                video: fields["codec_type"] == "video",
                pts: number(fields["pts"]),
                dts: number(fields["dts"]),
                pts_s: number(fields["pts_time"]),
                dts_s: number(fields["dts_time"]),
                size: number(fields["size"]),
                position: number(fields["pos"]),
                key: fields["flags"].starts_with('K'),
            }
        })
        .collect()
}

#[test]
fn h264_with_b_frames_and_aac_is_read_by_ffprobe_as_sent() {
    let player = Clip::flv(&format!("{VIDEO} {AUDIO} -t 15 {H264} {AAC}")).assert_whole();
    let parts = |msn| player.parts.keys().filter(|(of, _)| *of == msn).count();
    assert_eq!((0..8).map(parts).collect::<Vec<_>>(), [4, 4, 4, 4, 4, 4, 4, 3]);
    let master = player.live.multivariant().expect("is there");
    let variant = master.lines().find(|line| line.starts_with("#EXT-X-STREAM-INF:")).expect("has a variant");
    for attribute in ["CODECS=\"avc1.", ",mp4a.40.2\"", ",RESOLUTION=320x180,FRAME-RATE="] {
        assert!(variant.contains(attribute), "{attribute} in {variant}");
    }
    let rate: f64 = variant.rsplit('=').next().and_then(|rate| rate.parse().ok()).expect("a number");
    assert!((rate - 30.0).abs() < 0.5, "{rate}");
}

#[test]
fn keyframes_every_second_and_other_rates_are_read() {
    for rate in ["24", "25", "30000/1001", "60"] {
        let video = format!("-f lavfi -i testsrc2=size=160x90:rate={rate}");
        let player = Clip::flv(&format!("{video} {AUDIO} -t 9 {H264} -g 30 -keyint_min 30 {AAC}")).assert_whole();
        assert!(player.lists.iter().all(|list| list.part_target_ms == Some(550)), "{rate}");
    }
}

#[test]
fn hevc_and_av1_with_opus_are_read_as_sent() {
    let hevc =
        "-c:v libx265 -preset ultrafast -x265-params log-level=none:keyint=60:min-keyint=60:bframes=2 -tag:v hvc1";
    let av1 = "-c:v libaom-av1 -cpu-used 8 -usage realtime -g 60 -b:v 200k";
    for (codec, options, string) in [(VideoCodec::Hevc, hevc, "hvc1.1."), (VideoCodec::Av1, av1, "av01.0.")] {
        let opus = "-c:a libopus -b:a 64k -ar 48000";
        let clip = Clip::enhanced(&format!("{VIDEO} {AUDIO} -t 6 {options} -pix_fmt yuv420p {opus}"), codec);
        let player = clip.assert_whole();
        let master = player.live.multivariant().expect("is there");
        assert!(master.contains(&format!("CODECS=\"{string}")) && master.contains(",opus\""), "{master}");
        assert!(player.segments.len() >= 3);
    }
}

#[test]
fn video_only_and_audio_only_streams_are_read() {
    let av1 = VideoCodec::Av1;
    for clip in [
        Clip::flv(&format!("{VIDEO} -t 5 {H264}")),
        Clip::flv(&format!("{AUDIO} -t 7 {AAC}")),
        Clip::enhanced(&format!("{AUDIO} -t 7 -c:a libopus -frame_duration 60"), av1),
    ] {
        let player = clip.assert_whole();
        assert!(player.segments.len() >= 3 && player.parts.len() >= 10);
    }
}

#[test]
fn two_byte_nal_unit_lengths_are_kept() {
    let mut clip = Clip::flv(&format!("{VIDEO} -t 5 {H264}"));
    for packet in &mut clip.packets {
        let tag = VideoTag::parse(&packet.flv).expect("parses");
        let payload = match tag.content {
            Content::Header => {
                let mut record = tag.payload.to_vec();
                record[4] = 0xFD;
                record
            }
            Content::Keyframe | Content::Frame => {
                let nals = codec::nal::units(&tag.payload, 4);
                nals.flat_map(|nal| [&(nal.len() as u16).to_be_bytes()[..], nal].concat()).collect()
            }
            _ => continue,
        };
        packet.flv = VideoTag { payload: Bytes::from(payload), ..tag }.encode();
        *packet = flv::video_packet(packet.dts, packet.flv.clone());
    }
    clip.assert_whole();
}

#[test]
fn init_segment_has_the_headers_unchanged() {
    let clip = Clip::flv(&format!("{VIDEO} {AUDIO} -t 3 {H264} {AAC}"));
    let player = Player::watch(&clip.packets);
    let init = player.inits.values().next().expect("has one");
    for kind in [PacketKind::VideoHeader, PacketKind::AudioHeader] {
        let body = &clip.packets.iter().find(|packet| packet.kind == kind).expect("has one").flv;
        // After the tag header: five bytes before a record, two before an AudioSpecificConfig.
        let header = &body[if kind == PacketKind::VideoHeader { 5 } else { 2 }..];
        assert!(init.windows(header.len()).any(|window| window == header), "{kind:?}");
    }
    let moov = media::moov(init);
    assert_eq!((moov.trak.len(), moov.mvex.expect("is there").trex.len()), (2, 2));
    let scales: Vec<_> = moov.trak.iter().map(|trak| (trak.tkhd.track_id, trak.mdia.mdhd.timescale)).collect();
    assert_eq!(scales, [(1, 90_000), (2, 44_100)]);
}
