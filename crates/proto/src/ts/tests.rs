//! The layout of transport packets. That players read them is proven with FFmpeg, in `tests/`.

use super::*;
use crate::{flv, time::Timestamp};

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

/// The payloads of one PID, joined.
fn payload(segment: &[u8], wanted: u16) -> Vec<u8> {
    let packets = segment.chunks(188).filter(|packet| pid(packet) == wanted);
    packets
        .flat_map(|p| if p[3] & 0x20 != 0 { &p[5 + usize::from(p[4])..] } else { &p[4..] }.to_vec())
        .collect()
}

#[test]
fn segment_begins_with_tables_and_counters_go_on_over_segments() {
    let packets: Vec<_> = (0..100)
        .map(|n| if n % 3 == 0 { audio(n * 10, 300) } else { video(n * 10, 0, &[&[0x41; 700]]) })
        .collect();
    let (first, second) = packets.split_at(50);
    let state = advance(first, &tracks(), State::default());
    let segments = [mux(first, &tracks(), State::default()), mux(second, &tracks(), state)];
    let mut counters = std::collections::HashMap::new();
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
fn parameter_sets_in_band_are_kept_and_not_doubled() {
    let segment = mux(&[video(0, 0, &[&[0x67, 9], &[0x68, 9], &[0x65, 1]])], &tracks(), State::default());
    let expected = [0, 0, 0, 1, 9, 0xF0, 0, 0, 0, 1, 0x67, 9, 0, 0, 0, 1, 0x68, 9, 0, 0, 0, 1, 0x65, 1];
    assert_eq!(payload(&segment, 0x100)[14..], expected);
}

#[test]
fn negative_composition_time_stays_positive_and_sizes_of_all_kinds_fit() {
    for size in (1..800).step_by(7) {
        let nal = vec![0x41; size];
        let segment = mux(&[video(0, -40, &[&nal])], &tracks(), State::default());
        assert_eq!(segment.len() % 188, 0);
        let stream = payload(&segment, 0x100);
        assert_eq!(stream.len(), 19 + 6 + 4 + size, "size {size}");
        assert_eq!(stream[7], 0xC0, "both times are there");
    }
}

#[test]
fn audio_times_are_those_of_the_sample_counter_until_they_drift() {
    let mut clock = None;
    let times: Vec<_> = [0, 21, 43, 64, 300].iter().map(|ms| AudioClock::tick(&mut clock, ms * 90, 48_000)).collect();
    assert_eq!(times, [0, 1_920, 3_840, 5_760, 27_000]);
}

#[test]
fn clock_reference_is_before_the_decode_time() {
    let pes = Pes::video(OFFSET, OFFSET, Elements::default(), true);
    let [a, b, c, d, e, _] = pes.clock_reference().map(u64::from);
    assert_eq!(a << 25 | b << 17 | c << 9 | d << 1 | e >> 7, 63_000);
}
