//! Random streams: for any input, a player gets valid playlists and every sample at its time.

use bytes::Bytes;
use gostream_proto::{
    flv::{self, AudioTag, Content, VideoTag},
    packet::{Packet, PacketKind},
    time::Timestamp,
    track::{AudioCodec, VideoCodec},
};
use proptest::prelude::*;

use crate::{
    media::{self, Sample},
    player::Player,
};

const AVC: &[u8] = &[
    1, 0x42, 0xC0, 0x1E, 0xFF, 0xE1, 0, 0x17, 0x67, 0x42, 0xC0, 0x1E, 0xDA, 0x02, 0x80, 0xBF, 0xE5, 0xC0, 0x44, 0x00,
    0x00, 0x03, 0x00, 0x04, 0x00, 0x00, 0x03, 0x00, 0xF0, 0x3C, 0x58, 1, 0, 4, 0x68, 0xCE, 0x0F, 0xC8,
];
const VIDEO_TRACK: u32 = 1;
const AUDIO_TRACK: u32 = 2;
/// Added to all times.
const OFFSET_MS: i64 = 1_400;

#[derive(Clone, Copy, Debug)]
pub enum Sound {
    None,
    Aac(u32),
    Opus(u32),
}

impl Sound {
    fn rate(self) -> u32 {
        if let Self::Aac(rate) = self { rate } else { 48_000 }
    }

    fn samples(self) -> u32 {
        if let Self::Opus(samples) = self { samples } else { 1_024 }
    }

    pub fn header(self) -> Packet {
        let (codec, payload) = match self {
            Self::Aac(44_100) => (AudioCodec::Aac, vec![0x12, 0x10]),
            Self::Aac(_) => (AudioCodec::Aac, vec![0x11, 0x90]),
            _ => (AudioCodec::Opus, b"OpusHead\x01\x02\x38\x01\x80\xBB\0\0\0\0\0".to_vec()),
        };
        let tag = AudioTag { codec, content: Content::Header, track: 0, legacy: None, payload: payload.into() };
        flv::audio_packet(Timestamp::ZERO, tag.encode())
    }

    fn frame(self, ms: i64, number: u32) -> Packet {
        let mut payload = number.to_be_bytes().to_vec();
        let codec = match self {
            Self::Opus(samples) => {
                // 2.5, 10 and 20 ms in the transform mode, 60 ms in the predictive mode.
                let config = match samples {
                    120 => 28,
                    480 => 30,
                    960 => 31,
                    _ => 3,
                };
                payload.insert(0, config << 3);
                AudioCodec::Opus
            }
            _ => AudioCodec::Aac,
        };
        let tag = AudioTag { codec, content: Content::Frame, track: 0, legacy: None, payload: payload.into() };
        flv::audio_packet(Timestamp::from_ms(ms), tag.encode())
    }
}

#[derive(Clone, Debug)]
pub struct Stream {
    /// Pictures per 1000 s; 0 for none.
    pub rate: i64,
    pub gop: i64,
    pub sound: Sound,
    pub seconds: i64,
    /// Numbers of the pictures that the encoder dropped.
    pub dropped: std::ops::Range<i64>,
    pub reordered: bool,
    pub start_ms: i64,
}

pub fn picture(ms: i64, cts_ms: i32, key: bool, number: i64) -> Packet {
    let content = if key { Content::Keyframe } else { Content::Frame };
    let payload = Bytes::from(number.to_be_bytes().to_vec());
    let tag = VideoTag { codec: VideoCodec::Avc, content, cts_ms, track: 0, payload };
    flv::video_packet(Timestamp::from_ms(ms), tag.encode())
}

pub fn video_header() -> Packet {
    let payload = Bytes::from_static(AVC);
    let tag = VideoTag { codec: VideoCodec::Avc, content: Content::Header, cts_ms: 0, track: 0, payload };
    flv::video_packet(Timestamp::ZERO, tag.encode())
}

impl Stream {
    pub fn packets(&self) -> Vec<Packet> {
        let mut packets = Vec::new();
        let end_ms = self.seconds * 1_000;
        if self.rate > 0 {
            let time = |number: i64| number * 1_000_000 / self.rate;
            for number in (0..).take_while(|&number| time(number) < end_ms) {
                let key = number % self.gop == 0;
                if key || !self.dropped.contains(&number) {
                    let cts = if self.reordered { (number % 3 - 1) as i32 * 40 } else { 0 };
                    packets.push(picture(self.start_ms + time(number), cts, key, number));
                }
            }
        }
        if !matches!(self.sound, Sound::None) {
            let time = |number: u32| {
                i64::from(number) * i64::from(self.sound.samples()) * 1_000 / i64::from(self.sound.rate())
            };
            for number in (0..).take_while(|&number| time(number) < end_ms) {
                packets.push(self.sound.frame(self.start_ms + time(number), number));
            }
        }
        packets.sort_by_key(|packet| packet.dts);
        let mut headers = Vec::new();
        if self.rate > 0 {
            headers.push(video_header());
        }
        if !matches!(self.sound, Sound::None) {
            headers.push(self.sound.header());
        }
        [headers, packets].concat()
    }
}

fn streams() -> impl Strategy<Value = Stream> {
    let rates = prop::sample::select(vec![
        0, 1_000, 5_000, 10_000, 12_500, 23_976, 24_000, 25_000, 29_970, 30_000, 50_000, 59_940, 60_000,
    ]);
    let sounds = prop::sample::select(vec![
        Sound::None,
        Sound::Aac(48_000),
        Sound::Aac(44_100),
        Sound::Opus(120),
        Sound::Opus(480),
        Sound::Opus(960),
        Sound::Opus(2_880),
    ]);
    let shape = (any::<bool>(), prop::sample::select(vec![0, 77, 123_456_789, 4_294_000_000]));
    (rates, 500..5_000_i64, sounds, 3..40_i64, (0..900_i64, 0..150_i64), shape)
        .prop_filter("has a track", |(rate, _, sound, ..)| *rate > 0 || !matches!(sound, Sound::None))
        .prop_map(|(rate, gop_ms, sound, seconds, (from, count), (reordered, start_ms))| Stream {
            rate,
            gop: (rate * gop_ms / 1_000_000).max(1),
            sound,
            seconds,
            dropped: from..from + count,
            reordered,
            start_ms,
        })
}

/// The samples of all segments, checked to have no gaps or overlaps in each track except at a discontinuity.
pub fn continuous(player: &Player, may_gap: bool) -> Vec<Sample> {
    let mut ends = [None; 3];
    let mut all = Vec::new();
    for (msn, segment) in &player.segments {
        if player.maps[msn].1 {
            ends = [None; 3];
        }
        for sample in media::samples(segment) {
            let end = &mut ends[sample.track as usize];
            if let Some(end) = *end {
                assert!(sample.dts == end || may_gap && sample.dts > end, "{} after {end}: {sample:?}", sample.dts);
            }
            *end = Some(sample.dts + sample.duration);
            all.push(sample);
        }
    }
    all
}

/// Checks that every packet of the tracks is there, in order, at the encoder's time.
fn assert_same(packets: &[Packet], samples: &[Sample], sound: Sound) {
    let of = |track| samples.iter().filter(move |sample| sample.track == track);
    let pictures: Vec<_> = packets.iter().filter(|p| p.kind.is_frame() && p.kind.is_video()).collect();
    assert_eq!(of(VIDEO_TRACK).count(), pictures.len());
    for (packet, sample) in pictures.iter().zip(of(VIDEO_TRACK)) {
        let tag = VideoTag::parse(&packet.flv).expect("parses");
        assert_eq!(sample.payload, tag.payload);
        assert_eq!(sample.dts as i64, (packet.dts.as_ms() + OFFSET_MS) * 90);
        assert_eq!(
            (sample.composition, sample.sync),
            (i64::from(packet.cts_ms) * 90, packet.kind == PacketKind::Keyframe)
        );
    }
    let frames: Vec<_> = packets.iter().filter(|packet| packet.kind == PacketKind::Audio).collect();
    assert_eq!(of(AUDIO_TRACK).count(), frames.len());
    for (packet, sample) in frames.iter().zip(of(AUDIO_TRACK)) {
        assert_eq!(sample.payload, AudioTag::parse(&packet.flv).expect("parses").payload);
        assert_eq!(sample.duration, u64::from(sound.samples()), "durations have no millisecond jitter");
        let wanted = (packet.dts.as_ms() + OFFSET_MS) * i64::from(sound.rate()) / 1_000;
        assert!((sample.dts as i64 - wanted).abs() <= i64::from(sound.rate()) / 500, "within 2 ms");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_stream_has_valid_playlists_and_loses_no_sample(stream in streams()) {
        let packets = stream.packets();
        let player = Player::watch(&packets);
        let samples = continuous(&player, false);
        assert_same(&packets, &samples, stream.sound);
        // If parts are listed, their concatenation equals the segment.
        if player.lists.iter().any(|list| list.part_target_ms.is_some()) {
            for (msn, segment) in player.segments.iter().skip(1) {
                let parts: Vec<u8> = player.parts.range((*msn, 0)..=(*msn, u64::MAX)).flat_map(|(_, part)| part.clone()).collect();
                prop_assert!(parts == *segment, "segment {} is its parts", msn);
            }
        }
    }

    #[test]
    fn arbitrary_times_and_changes_have_valid_playlists(
        steps in prop::collection::vec((0..12_u8, 0..3_000_i64, -300..300_i32), 1..400),
    ) {
        let mut ms = 0;
        let mut packets = vec![video_header(), Sound::Aac(48_000).header()];
        for (index, (kind, step, cts)) in steps.into_iter().enumerate() {
            ms += match kind {
                0 => step * 3,
                1 => -(step / 10),
                _ => step / 60,
            };
            packets.push(match kind {
                0..3 => picture(ms, cts, true, index as i64),
                3..7 => picture(ms, cts, false, index as i64),
                7 if step % 5 == 0 => Sound::Aac(if step % 2 == 0 { 44_100 } else { 48_000 }).header(),
                _ => Sound::Aac(48_000).frame(ms, index as u32),
            });
        }
        let player = Player::watch(&packets);
        continuous(&player, true);
    }
}

/// Disturbances between encoder and server, and the skew between the tracks.
#[derive(Clone, Debug)]
struct Way {
    /// How much later than the pictures audio is stamped and sent, in ms.
    sound_late_ms: i64,
    /// How much later than the audio with the same timestamp pictures are sent, in ms.
    pictures_sent_late_ms: i64,
    /// Start and duration of network stalls: no packets arrive, then all at once.
    stalls: Vec<(i64, i64)>,
    /// Start and duration of missing tracks: pictures, audio, or both.
    away: Vec<(u8, i64, i64)>,
    /// Numbers of the pictures that are keyframes.
    cuts: Vec<usize>,
}

fn ways() -> impl Strategy<Value = Way> {
    (
        prop_oneof![Just(0), -4_000..4_000_i64],
        prop_oneof![Just(0), 0..1_500_i64],
        prop::collection::vec((0..40_000_i64, 0..8_000_i64), 0..3),
        prop::collection::vec((0..3_u8, 0..40_000_i64, 100..12_000_i64), 0..4),
        prop::collection::vec(0..1_000_usize, 0..12),
    )
        .prop_map(|(sound_late_ms, pictures_sent_late_ms, stalls, away, cuts)| Way {
            sound_late_ms,
            pictures_sent_late_ms,
            stalls,
            away,
            cuts,
        })
}

impl Way {
    fn arrivals(&self, packets: &[Packet]) -> Vec<(Packet, u64)> {
        let start = packets.iter().find(|p| p.kind.is_frame()).map_or(0, |p| p.dts.as_ms());
        let mut pictures = 0;
        let mut all: Vec<(Packet, i64)> = Vec::new();
        for packet in packets {
            let ms = packet.dts.as_ms() - start;
            let mut packet = packet.clone();
            let mut came = ms;
            if packet.kind.is_picture() {
                pictures += 1;
                came += self.pictures_sent_late_ms;
                if self.cuts.contains(&pictures) {
                    packet.kind = PacketKind::Keyframe;
                }
            } else if packet.kind == PacketKind::Audio {
                packet.dts = packet.dts + self.sound_late_ms;
            } else {
                came = 0;
            }
            let is_away = |(what, from, lasts): &(u8, i64, i64)| {
                (*from..from + lasts).contains(&ms)
                    && (*what == 2 || (*what == 0) == packet.kind.is_picture())
                    && packet.kind.is_frame()
            };
            if self.away.iter().any(is_away) {
                continue;
            }
            for (from, lasts) in &self.stalls {
                if (*from..from + lasts).contains(&came) {
                    came = from + lasts;
                }
            }
            all.push((packet, came));
        }
        all.sort_by_key(|(_, came)| *came);
        all.into_iter().map(|(packet, came)| (packet, crate::player::WALL_MS + came as u64)).collect()
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn disturbed_streams_have_valid_playlists(stream in streams(), way in ways()) {
        let mut conformer = gostream_proto::hls::Conformer::default();
        let mut out = Vec::new();
        for (packet, came) in way.arrivals(&stream.packets()) {
            conformer.push(&packet, came, &mut out);
        }
        conformer.finish(&mut out);
        let player = Player::watch_arrivals(&out);
        continuous(&player, true);
        let mut segmenter = gostream_proto::hls::Segmenter::default();
        let segments: Vec<_> = out.iter().filter_map(|(packet, came)| segmenter.push(packet, *came)).collect();
        if let Some(first) = segments.first() {
            let target = (first.duration_ms.max(2_000) + 500) / 1_000;
            for segment in &segments {
                prop_assert!((segment.duration_ms + 500) / 1_000 <= target, "{} of {target}", segment.duration_ms);
            }
        }
    }
}
