use super::*;
use crate::flv::{audio_packet, video_packet};

fn header() -> Packet {
    audio_packet(Timestamp::ZERO, Bytes::from_static(&[0xAF, 0, 0x11, 0x90]))
}

/// A picture of a stream whose tracks are known.
fn picture(ms: i64) -> Packet {
    video_packet(Timestamp::from_ms(ms), Bytes::from_static(&[0x17, 1, 0, 0, 0, 0, 0, 0, 1, 0x65]))
}

fn sound(ms: i64) -> Packet {
    audio_packet(Timestamp::from_ms(ms), Bytes::from_static(&[0xAF, 1, 0x21, 7]))
}

fn conformed(packets: &[(Packet, u64)]) -> Vec<Packet> {
    let (mut conformer, mut out) = (Conformer::default(), Vec::new());
    packets.iter().for_each(|(packet, wall_ms)| conformer.push(packet, *wall_ms, &mut out));
    conformer.finish(&mut out);
    out.into_iter().map(|(packet, _)| packet).collect()
}

/// The audio times that players get.
fn sounds(packets: &[(Packet, u64)]) -> Vec<i64> {
    let out = conformed(packets);
    out.iter()
        .filter(|packet| packet.kind == PacketKind::Audio)
        .map(|packet| packet.dts.as_ms())
        .collect()
}

#[test]
fn tracks_that_arrive_slightly_late_are_in_the_first_segment() {
    let mp3 = |ms| audio_packet(Timestamp::from_ms(ms), Bytes::from_static(&[0x2F, 0xFF, 0xFB, 0x70, 0x44]));
    let kinds = |packets: &[(Packet, u64)]| -> Vec<_> { conformed(packets).iter().map(|packet| packet.kind).collect() };
    use PacketKind::{Audio, AudioHeader, Keyframe};
    assert_eq!(kinds(&[(picture(0), 0), (mp3(1), 1), (mp3(27), 27)]), [AudioHeader, Keyframe, Audio, Audio]);
    assert_eq!(kinds(&[(picture(0), 0), (header(), 30), (sound(27), 40)]), [AudioHeader, Keyframe, Audio]);
    let late = [(picture(0), 0), (picture(1_000), 1_000), (header(), 1_500), (sound(1_500), 1_500)];
    assert_eq!(kinds(&late)[..3], [Keyframe, Keyframe, AudioHeader]);
}

#[test]
fn new_audio_format_waits_for_a_keyframe_and_silence_fills_the_gap() {
    let inter = |ms| video_packet(Timestamp::from_ms(ms), Bytes::from_static(&[0x27, 1, 0, 0, 0, 0, 0, 0, 1, 0x41]));
    let mono = Packet { payload: Bytes::from_static(&[0x12, 0x08]), ..header() };
    let mut packets = vec![(header(), 0), (picture(0), 0)];
    for n in 1..100 {
        if n == 30 {
            packets.push((mono.clone(), n * 40));
        }
        let ms = n as i64 * 40;
        packets.push((if n % 50 == 0 { picture(ms) } else { inter(ms) }, n * 40));
        packets.push((sound(ms), n * 40));
    }
    let out = conformed(&packets);
    let place = out.iter().rposition(|packet| packet.kind == PacketKind::AudioHeader).expect("is there");
    assert_eq!((out[place + 1].kind, out[place + 1].dts.as_ms()), (PacketKind::Keyframe, 2_000));
    let silence = out[..place].iter().filter(|packet| packet.kind == PacketKind::Audio && packet.flv.is_empty());
    assert_eq!(silence.count(), 37, "0.8 s of frames at 48 kHz");
    assert!(out[place..].iter().all(|packet| packet.kind != PacketKind::Audio || !packet.flv.is_empty()));
}

#[test]
fn audio_one_minute_off_is_moved_next_to_its_pictures() {
    let packets: Vec<_> = (0..100)
        .flat_map(|n| [(picture(60_000 + n * 40), n as u64 * 40), (sound(n * 40), n as u64 * 40)])
        .collect();
    let times = sounds(&packets);
    assert_eq!(times, (0..100).map(|n| 60_000 + n * 40).collect::<Vec<_>>());
    let near: Vec<_> = (0..100)
        .flat_map(|n| [(picture(n * 40), n as u64 * 40), (sound(2_000 + n * 40), n as u64 * 40)])
        .collect();
    assert_eq!(sounds(&near)[0], 2_000, "an offset that players accept is unchanged");
    let silent = [vec![(header(), 0)], near].concat();
    let times = sounds(&silent);
    assert!(times[0] == 0 && times.windows(2).all(|pair| pair[1] - pair[0] <= 40), "after silence: {times:?}");
}

#[test]
fn missing_audio_is_replaced_by_silence_until_it_returns() {
    let mut packets = vec![(header(), 0)];
    for n in 0..500_i64 {
        packets.push((picture(n * 40), n as u64 * 40));
        if !(100..350).contains(&n) {
            packets.push((sound(n * 40), n as u64 * 40));
        }
    }
    let times = sounds(&packets);
    let steps: Vec<_> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(steps.iter().all(|step| (0..=61).contains(step)), "{steps:?}");
    assert_eq!((times[0], times[times.len() - 1]), (0, 499 * 40));
}

#[test]
fn hole_in_the_whole_stream_is_not_filled() {
    let mut packets = vec![(header(), 0)];
    for n in (0..100).chain(600..700_i64) {
        packets.push((picture(n * 40), n as u64 * 40));
        if n < 50 {
            packets.push((sound(n * 40), n as u64 * 40));
        }
    }
    let times = sounds(&packets);
    assert!(times.iter().all(|ms| !(4_100..24_000).contains(ms)), "{times:?}");
    assert!(times.iter().any(|ms| *ms > 27_000), "silence continues after it");
}

#[test]
fn no_silence_at_an_impossible_rate() {
    // 16.7 million samples per second: 16,000 frames.
    let mut packets = vec![(Packet { payload: Bytes::from_static(&[0x17, 0xFF, 0xFF, 0xFF, 0x90]), ..header() }, 0)];
    packets.extend([(picture(0), 0), (sound(0), 0)]);
    packets.extend((1..500).map(|n| (picture(n * 40), n as u64 * 40)));
    assert!(conformed(&packets).len() < 1_000);
}

#[test]
fn jump_in_time_does_not_insert_hours_of_silence() {
    let hour = 3_600_000;
    let mut packets = vec![(header(), 0), (picture(0), 0), (sound(0), 0)];
    packets.extend((1..100).map(|n| (picture(n * 40), n as u64 * 40)));
    packets.extend((100..200).map(|n| (picture(hour + n * 40), n as u64 * 40)));
    let times = sounds(&packets);
    assert!(times.len() < 500, "{}", times.len());
    assert!(times.iter().any(|ms| *ms > hour + 7_900), "silence continues after it");
}

#[test]
fn packets_released_together_insert_silence_once() {
    // A wall clock that was set back makes each picture of the opening look as if audio had been missing for seconds.
    let mut packets = vec![(picture(0), 10_000), (header(), 0), (sound(0), 0)];
    packets.extend((1..OPENING_PICTURES as i64).map(|n| (picture(n * 9_000), 5_000)));
    let (mut conformer, mut out) = (Conformer::default(), Vec::new());
    for (packet, wall_ms) in &packets {
        assert!(out.is_empty(), "all are released together");
        conformer.push(packet, *wall_ms, &mut out);
    }
    let frames = out.iter().filter(|(packet, _)| packet.kind == PacketKind::Audio).count();
    assert!((400..=470).contains(&frames), "at most 10 s of 48 kHz: {frames}");
}

#[test]
fn stopped_wall_clock_delays_the_opening_only_briefly() {
    let (mut conformer, mut out) = (Conformer::default(), Vec::new());
    (0..2_000).for_each(|n| conformer.push(&picture(n * 40), 7, &mut out));
    assert!(out.len() > 1_000);
}

#[test]
fn stream_without_audio_gets_no_silence() {
    let packets: Vec<_> = (0..100).map(|n| (picture(n * 40), n as u64 * 40)).collect();
    assert!(sounds(&packets).is_empty());
}

#[test]
fn network_stall_does_not_move_audio() {
    let mut packets = vec![(header(), 0)];
    for n in 0..1_000_u64 {
        let arrives = if (5_000..13_000).contains(&(n * 40)) { 13_000 } else { n * 40 };
        // Audio first: either order is possible.
        packets.extend([(sound(n as i64 * 40), arrives), (picture(n as i64 * 40), arrives)]);
    }
    assert_eq!(sounds(&packets), (0..1_000).map(|n| n * 40).collect::<Vec<_>>());
}

#[test]
fn encoder_outage_is_not_filled_with_silence() {
    let mut packets = vec![(header(), 0)];
    for n in (0..100_u64).chain(1_600..1_700) {
        packets.extend([(picture(n as i64 * 40), n * 40), (sound(n as i64 * 40), n * 40)]);
    }
    let silence = conformed(&packets).iter().filter(|p| p.kind == PacketKind::Audio && p.flv.is_empty()).count();
    assert_eq!(silence, 0);
}

#[test]
fn silence_continues_after_both_tracks_were_missing() {
    let mut packets = vec![(header(), 0)];
    for n in (0..100_u64).chain(1_600..1_700) {
        packets.push((picture(n as i64 * 40), n * 40));
        if n < 80 {
            packets.push((sound(n as i64 * 40), n * 40));
        }
    }
    let times = sounds(&packets);
    let late: Vec<_> = times.iter().filter(|ms| **ms >= 64_000).collect();
    assert!(late.len() > 100, "{late:?}");
    assert!(!times.iter().any(|ms| (8_000..63_900).contains(ms)), "{times:?}");
}

#[test]
fn new_audio_format_does_not_wait_for_missing_pictures() {
    let mono = Packet { payload: Bytes::from_static(&[0x12, 0x08]), ..header() };
    let mut packets = vec![(header(), 0)];
    packets.extend((0..50).flat_map(|n| [(picture(n * 40), n as u64 * 40), (sound(n * 40), n as u64 * 40)]));
    packets.extend((50..250).map(|n| (sound(n * 40), n as u64 * 40)));
    packets.push((mono, 10_000));
    packets.extend((250..500).map(|n| (sound(n * 40), n as u64 * 40)));
    let out = conformed(&packets);
    let heard = out.iter().filter(|p| p.kind == PacketKind::Audio && !p.flv.is_empty()).count();
    assert_eq!(heard, 500);
    assert_eq!(out.iter().filter(|p| p.kind == PacketKind::AudioHeader).count(), 2);
}
