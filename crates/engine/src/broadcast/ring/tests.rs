//! Bounds of the ring, starts of readers, and counts.

mod delayed;

use bytes::Bytes;
use gostream_proto::{
    flv::audio_packet,
    rtmp::{
        chunk::{Encoder, csid},
        message::MessageType,
        outbox::Outbox,
    },
    time::Timestamp,
};

use super::*;

fn packet(kind: PacketKind, ms: i64, bytes: usize) -> Packet {
    Packet::opaque(kind, Timestamp::from_ms(ms), Bytes::from(vec![kind as u8; bytes]))
}

/// A ring of packets whose arrival equals their media time.
fn ring(packets: &[(PacketKind, i64)]) -> Ring {
    let mut ring = Ring::default();
    packets.iter().for_each(|&(kind, ms)| ring.push(packet(kind, ms, 10), ms));
    ring
}

use PacketKind::{Announcement, Audio, AudioHeader, InterFrame, Keyframe, SideAudioHeader, VideoHeader};

#[test]
fn reader_starts_at_the_newest_keyframe_with_the_headers_before_it() {
    let mut ring =
        ring(&[(AudioHeader, 0), (VideoHeader, 0), (Keyframe, 0), (InterFrame, 40), (Keyframe, 80), (Audio, 85)]);
    let start = ring.start(&mut None).expect("has a keyframe");
    assert_eq!((start.sequence, start.video_frames_before), (4, 2));
    assert_eq!(start.headers.iter().map(|entry| entry.packet.kind).collect::<Vec<_>>(), [VideoHeader, AudioHeader]);
}

#[test]
fn waiting_reader_starts_at_the_first_keyframe() {
    let mut ring = ring(&[(VideoHeader, 0)]);
    let mut waits_from = None;
    assert!(ring.start(&mut waits_from).is_none());
    // Eight seconds of packets arrive before the reader asks again.
    (0..200).for_each(|n| ring.push(packet(if n % 25 == 0 { Keyframe } else { InterFrame }, n * 40, 10), 1));
    let sequences = |ring: &mut Ring, mut waits_from| {
        let newest = ring.start(&mut None).map(|start| start.sequence);
        (ring.start(&mut waits_from).map(|start| (start.sequence, start.video_frames_before)), newest)
    };
    assert_eq!(sequences(&mut ring, waits_from), (Some((1, 0)), Some(176)));
    ring.push(packet(VideoHeader, 8_000, 11), 1);
    [8_000, 9_000].into_iter().for_each(|ms| ring.push(packet(Keyframe, ms, 10), 1));
    assert_eq!(
        sequences(&mut ring, waits_from),
        (Some((202, 200)), Some(203)),
        "at the first keyframe after the new header"
    );
    (0..300).for_each(|n| ring.push(packet(InterFrame, 10_000 + n * 40, 10), 1));
    assert_eq!(sequences(&mut ring, waits_from), (None, None), "both were evicted");
}

#[test]
fn late_audio_header_reaches_a_reader_in_its_place() {
    let mut ring = ring(&[(VideoHeader, 0), (Keyframe, 0), (AudioHeader, 10), (Audio, 10)]);
    let start = ring.start(&mut None).expect("has a keyframe");
    assert_eq!(start.sequence, 1);
    assert!(start.headers.audio.is_none());
    assert_eq!(ring.get(2).map(|entry| entry.packet.kind), Some(AudioHeader));
}

#[test]
fn changed_video_header_needs_a_new_keyframe_and_an_equal_one_does_not() {
    let mut ring = ring(&[(VideoHeader, 0), (Keyframe, 0), (VideoHeader, 40)]);
    assert!(ring.start(&mut None).is_some());
    ring.push(packet(VideoHeader, 50, 11), 50);
    assert!(ring.start(&mut None).is_none());
    ring.push(packet(Keyframe, 60, 10), 60);
    assert_eq!(ring.start(&mut None).map(|start| start.sequence), Some(4));
}

#[test]
fn audio_only_stream_starts_after_two_seconds() {
    let mut audio = ring(&[(AudioHeader, 0), (Audio, 0), (Audio, 1_900)]);
    assert!(audio.start(&mut None).is_none());
    audio.push(packet(Audio, 2_000, 10), 2_000);
    assert_eq!(
        audio.start(&mut None).map(|start| (start.sequence, start.reason)),
        Some((1, StartReason::AudioOnly)),
        "from the beginning"
    );
    let mut late = ring(&[(AudioHeader, 0), (Audio, 0), (Audio, 2_000), (VideoHeader, 2_010)]);
    assert!(late.start(&mut None).is_none(), "pictures are announced");
    for ms in [4_000, 4_100] {
        audio.push(packet(Audio, ms, 10), ms);
    }
    assert_eq!(audio.start(&mut None).map(|start| start.sequence), Some(4), "the last second");
}

#[test]
fn ring_keeps_ten_seconds() {
    let packets: Vec<_> = (0..2_000).map(|n| (if n % 50 == 0 { Keyframe } else { InterFrame }, n * 20)).collect();
    let ring = ring(&packets);
    assert_eq!((ring.head(), ring.first), (2_000, 2_000 - 501));
    assert!(ring.is_gone(1_498) && ring.get(1_499).is_some());
    assert_eq!(ring.held_bytes(), 501 * (10 + size_of::<Packet>() + entry::ENTRY_BYTES));
}

#[test]
fn ring_keeps_64_mebibytes() {
    let mut ring = Ring::default();
    for n in 0..70 {
        ring.push(packet(Keyframe, n, 1024 * 1024), n);
    }
    assert_eq!(ring.entries.len(), 63, "the overhead of an entry counts");
    assert!(ring.held_bytes() <= KEPT_BYTES_MAX);
}

#[test]
fn packets_without_bytes_are_bounded_by_number() {
    for kind in [Audio, PacketKind::AudioOther, InterFrame, PacketKind::VideoOther, PacketKind::Data] {
        let mut ring = Ring::default();
        (0..100_000).for_each(|_| ring.push(packet(kind, 0, 0), 0));
        assert_eq!(ring.entries.len(), KEPT_PACKETS_MAX, "{kind:?}");
        assert!(ring.held_bytes() > KEPT_PACKETS_MAX * size_of::<Entry>(), "{kind:?}: overhead counts");
    }
}

#[test]
fn evicted_keyframe_is_no_start() {
    let mut packets = vec![(VideoHeader, 0), (Keyframe, 0)];
    packets.extend((1..600).map(|n| (InterFrame, n * 20)));
    assert!(ring(&packets).start(&mut None).is_none(), "no reader waited ten seconds");
}

#[test]
fn changed_audio_header_needs_a_new_keyframe() {
    let mut ring = ring(&[(VideoHeader, 0), (AudioHeader, 0), (Keyframe, 0), (Audio, 10), (InterFrame, 40)]);
    ring.push(packet(AudioHeader, 50, 11), 50);
    assert!(ring.start(&mut None).is_none(), "earlier audio has another format");
    ring.push(packet(Keyframe, 80, 10), 80);
    assert_eq!(ring.start(&mut None).map(|start| start.sequence), Some(6));
}

#[test]
fn reader_starts_with_audio_while_pictures_are_missing() {
    let mut packets = vec![(VideoHeader, 0), (AudioHeader, 0), (Keyframe, 0)];
    packets.extend((0..150).map(|n| (Audio, n * 20)));
    let mut announced = ring(&packets[..2]);
    for n in 0..160 {
        announced.push(packet(Audio, n * 20, 10), n * 20);
        assert_eq!(announced.start(&mut None).is_some(), n * 20 >= 3_000, "no picture at {}", n * 20);
    }
    let start = announced.start(&mut None).expect("starts");
    assert_eq!((start.reason, start.earliest.as_ms(), start.headers.iter().count()), (StartReason::PicturesAway, 0, 2));
    let mut ring = ring(&packets);
    for n in 150..700 {
        ring.push(packet(Audio, n * 20, 10), n * 20);
        let reason = ring.start(&mut None).map(|start| start.reason);
        assert_eq!(
            reason,
            Some(if n * 20 <= 10_000 { StartReason::Keyframe } else { StartReason::PicturesAway }),
            "at {}",
            n * 20
        );
    }
}

#[test]
fn reader_starts_at_any_picture_after_ten_seconds() {
    let mut ring = ring(&[(VideoHeader, 0), (Keyframe, 0)]);
    let mut waits_from = None;
    for ms in (40..30_000).step_by(40) {
        ring.push(packet(InterFrame, ms, 10), ms);
        match ring.start(&mut None).map(|start| start.reason) {
            Some(StartReason::Keyframe) => assert!(ms <= 10_000),
            None => {
                waits_from.get_or_insert(ms);
            }
            reason => {
                assert_eq!(reason, Some(StartReason::NoKeyframe));
                assert!(waits_from.is_some_and(|from| ms - from >= 10_000), "{waits_from:?} {ms}");
            }
        }
    }
    assert_eq!(ring.start(&mut None).map(|start| start.sequence), Some(ring.head() - 1));
    ring.push(packet(Keyframe, 30_000, 10), 30_000);
    assert_eq!(ring.start(&mut None).map(|start| start.reason), Some(StartReason::Keyframe));
}

#[test]
fn late_audio_sets_the_earliest_time() {
    let mut ring = ring(&[(VideoHeader, 60_000), (AudioHeader, 60_000), (Keyframe, 60_000)]);
    assert!(ring.start(&mut None).is_none(), "announced audio has not arrived");
    ring.push(packet(Audio, 0, 10), 60_005);
    assert_eq!(ring.start(&mut None).map(|start| start.earliest.as_ms()), Some(0));
    let mut silent = self::ring(&[(VideoHeader, 0), (AudioHeader, 0), (Keyframe, 0), (InterFrame, 290)]);
    assert!(silent.start(&mut None).is_none());
    silent.push(packet(InterFrame, 300, 10), 300);
    assert_eq!(silent.start(&mut None).map(|start| start.earliest.as_ms()), Some(0), "audio did not arrive");
}

#[test]
fn announcements_and_side_tracks_reach_later_readers() {
    let mut ring = Ring::default();
    let announcement = Bytes::from_static(b"\x02\0\x17onExpectAdditionalMedia");
    let side = |track: u8| Bytes::from([&[0x95, 0x00][..], b"mp4a", &[track, 0x11, 0x90]].concat());
    for (kind, body) in [
        (Announcement, announcement.clone()),
        (VideoHeader, Bytes::from_static(&[0x17])),
        (SideAudioHeader, side(1)),
        (SideAudioHeader, side(2)),
        (SideAudioHeader, side(1)),
        (Keyframe, Bytes::from_static(&[0x17, 1])),
    ] {
        let packet = match kind {
            SideAudioHeader => audio_packet(Timestamp::ZERO, body),
            _ => Packet::opaque(kind, Timestamp::ZERO, body),
        };
        assert_eq!(packet.kind, kind);
        ring.push(packet, 0);
    }
    let kinds: Vec<_> = ring
        .start(&mut None)
        .expect("has a keyframe")
        .headers
        .iter()
        .map(|entry| entry.packet.kind)
        .collect();
    assert_eq!(kinds, [Announcement, VideoHeader, SideAudioHeader, SideAudioHeader]);
    for n in 0..100 {
        ring.push(Packet::opaque(Announcement, Timestamp::ZERO, vec![n; 60].into()), 0);
    }
    assert!(ring.headers().iter().count() < 20, "their number is bounded");
}

/// Sends a packet as a relay does.
fn send(entry: &Entry) {
    let (mut encoder, mut outbox) = (Encoder::default(), Outbox::default());
    let (payload, chunks) = entry.for_platform();
    let header = encoder.header(csid::VIDEO, MessageType::Video, 1, 0, payload.len());
    chunks.send(&header, &payload, encoder.chunk_size(), &mut outbox);
}

#[test]
fn cached_chunks_of_old_packets_are_dropped() {
    let mut ring = Ring::default();
    for n in 0..100 {
        ring.push(packet(if n % 50 == 0 { Keyframe } else { InterFrame }, n * 40, 5_000), n * 40);
        let newest = ring.get(ring.head() - 1).expect("is there");
        send(newest);
    }
    let kept = |ring: &Ring| {
        let has_chunks = |&sequence: &u64| ring.get(sequence).is_some_and(|entry| entry.platform.is_laid_out());
        (0..100).filter(has_chunks).collect::<Vec<_>>()
    };
    assert_eq!(kept(&ring), (87..100).collect::<Vec<_>>(), "the last half second");
    assert_eq!(
        ring.held_bytes() - ring.bytes,
        13 * (5_000 + 12 + 39),
        "with a header, and one byte for each further chunk"
    );
    let old = ring.get(0).expect("is kept");
    assert_eq!((old.packet.flv.len(), old.video_frames_before), (5_000, 0));
    send(old);
    assert_eq!(kept(&ring).first(), Some(&87), "a late reader computes chunks for itself");
}

#[test]
fn missing_audio_does_not_set_the_earliest_time() {
    let mut ring = ring(&[(VideoHeader, 0), (AudioHeader, 0), (Keyframe, 0), (Audio, 0), (Audio, 20)]);
    (1..60).for_each(|n| ring.push(packet(Keyframe, n * 1_000, 10), n * 1_000));
    assert_eq!(ring.start(&mut None).map(|start| start.earliest.as_ms()), Some(59_000));
    ring.push(packet(Audio, 58_500, 10), 59_500);
    ring.push(packet(Keyframe, 60_000, 10), 60_000);
    assert_eq!(ring.start(&mut None).map(|start| start.earliest.as_ms()), Some(58_500), "audio that arrives sets it");
}
