//! The layout of transport packets. Playback is tested with FFmpeg, in `tests/`.

use std::{collections::HashMap, sync::Arc};

use proptest::prelude::*;

use super::*;
use crate::{
    codec::aac,
    flv::{self, Content, VideoTag},
    time::Timestamp,
};

fn tracks() -> Tracks {
    let sps = Bytes::from_static(&[0x67, 0x42, 0xC0, 0x1E]);
    let pps = Bytes::from_static(&[0x68, 0xCE]);
    let config = avc::Config { profile: [0x42, 0xC0, 0x1E], length_bytes: 4, sps: vec![sps], pps: vec![pps] };
    let audio = aac::Config::parse(&[0x11, 0x90]).expect("parses");
    Tracks { video: Some(Arc::new(config)), audio: Some(Audio::Aac(audio)) }
}

fn video(ms: i64, cts: i32, nals: &[&[u8]]) -> Packet {
    let payload: Vec<u8> = nals.iter().flat_map(|nal| [&(nal.len() as u32).to_be_bytes()[..], nal].concat()).collect();
    let key = nals.iter().any(|nal| avc::nal::kind(nal) == avc::nal::IDR);
    let content = if key { Content::Keyframe } else { Content::Frame };
    let tag =
        VideoTag { codec: crate::track::VideoCodec::Avc, content, cts_ms: cts, track: 0, payload: payload.into() };
    flv::video_packet(Timestamp::from_ms(ms), tag.encode())
}

fn audio(ms: i64, bytes: usize) -> Packet {
    flv::audio_packet(Timestamp::from_ms(ms), [&[0xAF, 1], vec![7; bytes].as_slice()].concat().into())
}

fn pid(packet: &[u8]) -> u16 {
    u16::from(packet[1] & 0x1F) << 8 | u16::from(packet[2])
}

/// The joined payloads of one PID.
fn payload(segment: &[u8], wanted: u16) -> Vec<u8> {
    let packets = segment.chunks(188).filter(|packet| pid(packet) == wanted);
    packets
        .flat_map(|p| if p[3] & 0x20 != 0 { &p[5 + usize::from(p[4])..] } else { &p[4..] }.to_vec())
        .collect()
}

#[test]
fn segment_begins_with_tables_and_counters_continue_across_segments() {
    let packets: Vec<_> = (0..100)
        .map(|n| if n % 3 == 0 { audio(n * 10, 300) } else { video(n * 10, 0, &[&[0x41; 700]]) })
        .collect();
    let (first, second) = packets.split_at(50);
    let state = advance(first, &tracks(), State::default());
    let segments = [mux(first, &tracks(), State::default()), mux(second, &tracks(), state)];
    let mut counters = HashMap::new();
    for segment in &segments {
        assert_eq!(segment.chunks(188).take(2).map(pid).collect::<Vec<_>>(), [0, 0x1001]);
        for packet in segment.chunks(188) {
            assert_eq!((packet.len(), packet[0]), (188, 0x47));
            let counter = packet[3] & 0x0F;
            if let Some(last) = counters.insert(pid(packet), counter) {
                assert_eq!(counter, (last + 1) & 0x0F, "pid {}", pid(packet));
            }
        }
    }
}

#[test]
fn access_unit_has_one_delimiter_and_parameter_sets_before_idr() {
    let segment = mux(&[video(0, 0, &[&[9, 0xF0], &[6, 1], &[0x65, 1, 2]])], &tracks(), State::default());
    let stream = payload(&segment, 0x100);
    let expected = [
        &[0, 0, 0, 1, 9, 0xF0, 0, 0, 0, 1, 0x67, 0x42, 0xC0, 0x1E, 0, 0, 0, 1, 0x68, 0xCE][..],
        &[0, 0, 0, 1, 6, 1, 0, 0, 0, 1, 0x65, 1, 2],
    ];
    assert_eq!(stream[14..], expected.concat());
}

#[test]
fn in_band_parameter_sets_are_kept_and_not_duplicated() {
    let segment = mux(&[video(0, 0, &[&[0x67, 9], &[0x68, 9], &[0x65, 1]])], &tracks(), State::default());
    let expected = [0, 0, 0, 1, 9, 0xF0, 0, 0, 0, 1, 0x67, 9, 0, 0, 0, 1, 0x68, 9, 0, 0, 0, 1, 0x65, 1];
    assert_eq!(payload(&segment, 0x100)[14..], expected);
}

#[test]
fn negative_composition_times_and_all_payload_sizes_are_muxed() {
    for size in (1..800).step_by(7) {
        let nal = vec![0x41; size];
        let segment = mux(&[video(0, -40, &[&nal])], &tracks(), State::default());
        assert_eq!(segment.len() % 188, 0);
        let stream = payload(&segment, 0x100);
        assert_eq!(stream.len(), 19 + 6 + 4 + size, "size {size}");
        assert_eq!(stream[7], 0xC0, "both times are present");
    }
}

#[test]
fn audio_times_follow_the_sample_counter_until_they_drift() {
    let mut clock = None;
    let times: Vec<_> = [0, 21, 43, 64, 300].iter().map(|ms| AudioClock::tick(&mut clock, ms * 90, 48_000)).collect();
    assert_eq!(times, [(0, true), (1_920, false), (3_840, false), (5_760, false), (27_000, true)]);
}

#[test]
fn clock_reference_is_before_the_decode_time() {
    let pes = Pes::video(OFFSET, OFFSET, Elements::default(), true);
    let [a, b, c, d, e, _] = pes.clock_reference().map(u64::from);
    assert_eq!(a << 25 | b << 17 | c << 9 | d << 1 | e >> 7, 63_000);
}

/// Times (90 kHz) of the PES packets of one PID, with their clock references.
fn times(segment: &[u8], wanted: u16) -> Vec<(i64, Option<i64>)> {
    let starts = segment.chunks(188).filter(|packet| pid(packet) == wanted && packet[1] & 0x40 != 0);
    starts
        .map(|packet| {
            let adapted = packet[3] & 0x20 != 0;
            let pes = if adapted { &packet[5 + usize::from(packet[4])..] } else { &packet[4..] };
            assert_eq!(pes[..3], [0, 0, 1]);
            let [a, b, c, d, e] = [9, 10, 11, 12, 13].map(|at| i64::from(pes[at]));
            let clock = (adapted && packet[5] & 0x10 != 0).then(|| {
                let [a, b, c, d, e] = [6, 7, 8, 9, 10].map(|at| i64::from(packet[at]));
                a << 25 | b << 17 | c << 9 | d << 1 | e >> 7
            });
            ((a >> 1 & 7) << 30 | b << 22 | (c >> 1) << 15 | d << 7 | e >> 1, clock)
        })
        .collect()
}

#[test]
fn audio_only_segment_has_a_clock_reference_every_100_ms() {
    for (config, rate) in [([0x11, 0x90], 48_000), ([0x12, 0x10], 44_100), ([0x13, 0x90], 22_050)] {
        let tracks = Tracks { video: None, audio: aac::Config::parse(&config).ok().map(Audio::Aac) };
        let packets: Vec<_> = (0..200).map(|n| audio(n * 1_024 * 1_000 / rate, 300)).collect();
        let segment = mux(&packets, &tracks, State::default());
        let times = times(&segment, 0x101);
        assert!(times.iter().all(|&(time, clock)| clock == Some(time - 63_000)));
        assert!(times.windows(2).all(|pair| pair[1].0 - pair[0].0 < 9_000), "at {rate} Hz: {times:?}");
        // Pointer, table, clock PID 0x101, one track: AAC on 0x101.
        assert_eq!(payload(&segment, 0x1001)[9..18], [0xE1, 0x01, 0xF0, 0, 0x0F, 0xE1, 0x01, 0xF0, 0]);
    }
}

#[test]
fn each_picture_has_a_clock_reference_and_audio_is_not_late() {
    let sparse = [audio(0, 100), audio(21, 100)];
    let packets: Vec<_> = sparse.into_iter().chain((0..10).map(|n| video(n * 40, 0, &[&[0x41; 50]]))).collect();
    let segment = mux(&packets, &tracks(), State::default());
    assert!(times(&segment, 0x100).iter().all(|&(time, clock)| clock == Some(time - 63_000)));
    let order: Vec<_> = segment.chunks(188).map(pid).collect();
    let position = order.iter().position(|&pid| pid == 0x101).expect("has audio");
    assert_eq!(
        order.iter().take(position).filter(|&&pid| pid == 0x100).count(),
        2,
        "pictures at 0 and 40 ms come first"
    );
}

#[test]
fn resynced_audio_begins_a_new_pes_packet() {
    let packets = [audio(0, 50), audio(21, 50), audio(300, 50), audio(321, 50)];
    let starts: Vec<_> = times(&mux(&packets, &tracks(), State::default()), 0x101).iter().map(|time| time.0).collect();
    assert_eq!(starts, [OFFSET, OFFSET + 27_000]);
}

#[test]
fn times_wrap_at_33_bits() {
    let wrap_ms = (1_i64 << 33) / 90;
    let packets = [video(wrap_ms - 1_400, 0, &[&[0x65]]), video(wrap_ms, 0, &[&[0x41]])];
    let times: Vec<_> = times(&mux(&packets, &tracks(), State::default()), 0x100).iter().map(|time| time.0).collect();
    assert_eq!(times, [wrap_ms * 90, wrap_ms * 90 + OFFSET - (1 << 33)]);
}

#[test]
fn keyframe_without_idr_gets_parameter_sets_and_empty_pictures_are_dropped() {
    let tag = |payload: &'static [u8]| {
        let (codec, content) = (crate::track::VideoCodec::Avc, Content::Keyframe);
        let tag = VideoTag { codec, content, cts_ms: 0, track: 0, payload: Bytes::from_static(payload) };
        flv::video_packet(Timestamp::ZERO, tag.encode())
    };
    // A recovery point (SEI) and an intra slice, as at the start of an open GOP.
    let segment = mux(&[tag(&[0, 0, 0, 2, 6, 6, 0, 0, 0, 2, 0x41, 1])], &tracks(), State::default());
    let parameter_sets = [0, 0, 0, 1, 0x67, 0x42, 0xC0, 0x1E, 0, 0, 0, 1, 0x68, 0xCE];
    assert_eq!(payload(&segment, 0x100)[20..34], parameter_sets);
    let empty = mux(&[tag(&[]), tag(&[0, 0, 0, 9, 1])], &tracks(), State::default());
    assert_eq!(empty.len(), 2 * 188, "tables only");
}

proptest! {
    /// Counting must match muxing, or the continuity counters of the next segment would be wrong.
    #[test]
    fn advancing_counts_what_muxing_makes(
        shape in prop::collection::vec((any::<bool>(), 0..100_i64, -80..80_i32, 1..3_000_usize), 0..60),
    ) {
        let mut now = 0;
        let packets: Vec<_> = shape.into_iter().map(|(is_video, step, cts, size)| {
            now += step;
            if is_video { video(now, cts, &[&vec![0x41; size]]) } else { audio(now, size) }
        }).collect();
        let segment = mux(&packets, &tracks(), State::default());
        let mut counted: HashMap<u16, usize> = HashMap::new();
        for packet in segment.chunks(188) {
            *counted.entry(pid(packet)).or_default() += 1;
        }
        let made = |pid| (counted.get(&pid).copied().unwrap_or(0) & 0x0F) as u8;
        let Continuity { pat, pmt, video, audio } = advance(&packets, &tracks(), State::default()).continuity;
        prop_assert_eq!([pat, pmt, video, audio], [0, 0x1001, 0x100, 0x101].map(made));
        // Pictures and audio are unchanged, in whole PES packets.
        let elementary = times(&segment, 0x100).len();
        prop_assert_eq!(elementary, packets.iter().filter(|packet| packet.kind.is_video()).count());
    }
}
