//! Messages as encoders send them, and the packets that they become.

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::{
    codec::{aac, avc, nal},
    limits::MESSAGE_BYTES_MAX,
    track::{AudioCodec, VideoCodec},
};
use PacketKind::{
    Audio, AudioHeader, AudioOther, InterFrame, Keyframe, SideAudio, SideAudioHeader, SideVideo, SideVideoHeader,
    Slices, VideoHeader, VideoOther,
};

const SPS: &[u8] = &[
    0x67, 0x42, 0xC0, 0x1E, 0xDA, 0x02, 0x80, 0xBF, 0xE5, 0xC0, 0x44, 0x00, 0x00, 0x03, 0x00, 0x04, 0x00, 0x00, 0x03,
    0x00, 0xF0, 0x3C, 0x58,
];
const PPS: &[u8] = &[0x68, 0xCE, 0x0F, 0xC8];
/// First and second slices of an IDR picture and of a P picture.
const IDR: &[u8] = &[0x65, 0x88, 0x80, 0x40];
const IDR_MORE: &[u8] = &[0x65, 0x12, 0x20];
const P: &[u8] = &[0x41, 0x9A, 0x20];
const P_MORE: &[u8] = &[0x41, 0x13, 0x20];
const RECOVERY_POINT: &[u8] = &[0x06, 6, 1, 0x84, 0x80];

fn record(sps: &[u8], pps: &[u8]) -> Bytes {
    avc::Config::record(&[Bytes::copy_from_slice(sps)], &[Bytes::copy_from_slice(pps)]).expect("has a profile")
}

fn header(record: &[u8]) -> Bytes {
    [&[0x17, 0, 0, 0, 0], record].concat().into()
}

fn tag(flag: u8, units: &[&[u8]]) -> Bytes {
    [&[flag, 1, 0, 0, 0], nal::length_prefixed(units.iter().copied(), 4).as_ref()].concat().into()
}

fn key(units: &[&[u8]]) -> Bytes {
    tag(0x17, units)
}

fn inter(units: &[&[u8]]) -> Bytes {
    tag(0x27, units)
}

/// Normalises video messages, each given with its timestamp in ms.
fn packets(messages: &[(u32, Bytes)]) -> (Vec<Packet>, Oddities) {
    let (mut normaliser, mut out) = (Normaliser::default(), Vec::new());
    for (wire, body) in messages {
        normaliser.video(body.clone(), *wire, &mut out);
    }
    (unstamped(out), normaliser.oddities())
}

fn unstamped(stamped: Vec<Stamped>) -> Vec<Packet> {
    stamped.into_iter().map(|stamped| stamped.packet).collect()
}

fn video(bodies: &[Bytes]) -> (Vec<Packet>, Oddities) {
    packets(&bodies.iter().cloned().zip(0..).map(|(body, n)| (n * 40, body)).collect::<Vec<_>>())
}

fn kinds(packets: &[Packet]) -> Vec<PacketKind> {
    packets.iter().map(|packet| packet.kind).collect()
}

#[test]
fn ordinary_stream_is_unchanged() {
    let bodies = [header(&record(SPS, PPS)), key(&[IDR]), inter(&[P]), inter(&[P, P_MORE])];
    let (packets, oddities) = video(&bodies);
    assert_eq!(kinds(&packets), [VideoHeader, Keyframe, InterFrame, InterFrame]);
    for (packet, body) in packets.iter().zip(&bodies) {
        assert_eq!(packet.flv, body);
        assert_eq!(packet.payload, body.slice(5..));
        assert_eq!(packet.payload.as_ptr(), packet.flv[5..].as_ptr(), "without a copy");
    }
    assert_eq!(oddities, Oddities::default());
}

#[test]
fn bitstream_overrides_keyframe_flags() {
    let (packets, oddities) = video(&[
        header(&record(SPS, PPS)),
        inter(&[IDR]),
        key(&[P]),
        key(&[RECOVERY_POINT, P]),
        inter(&[RECOVERY_POINT, P]),
        // An intra picture with the keyframe flag, and one without.
        key(&[&[0x41, 0x88, 0x80]]),
        inter(&[&[0x41, 0x88, 0x80]]),
    ]);
    assert_eq!(kinds(&packets), [VideoHeader, Keyframe, InterFrame, Keyframe, Keyframe, Keyframe, InterFrame]);
    assert!(oddities.wrong_flags);
    let hevc = |flag: u8, kind: u8| {
        Bytes::from(vec![flag, b'h', b'v', b'c', b'1', 0, 0, 0, 0, 0, 0, 4, kind << 1, 1, 0x80, 7])
    };
    let (packets, _) = video(&[hevc(0xA1, 20), hevc(0xA1, 21), hevc(0x91, 1)]);
    assert_eq!(kinds(&packets), [Keyframe, Keyframe, InterFrame]);
    // An AV1 temporal unit: a delimiter, then a frame whose header contradicts the flag.
    let av1 = |flag: u8, frame: u8| Bytes::from(vec![flag, b'a', b'v', b'0', b'1', 0x12, 0, 0x32, 2, frame, 7]);
    let (packets, _) = video(&[av1(0xA1, 0x10), av1(0x91, 0x30), av1(0x91, 0x90)]);
    assert_eq!(kinds(&packets), [Keyframe, InterFrame, InterFrame]);
}

#[test]
fn equivalent_header_is_not_a_header() {
    let usual = record(SPS, PPS);
    let other = record(&[&SPS[..3], &[0x1F], &SPS[4..]].concat(), PPS);
    let (packets, oddities) = video(&[
        header(&usual),
        header(&usual),
        header(&[&usual[..], &[0, 0]].concat()),
        header(&record(&[SPS, &[0]].concat(), PPS)),
        header(&other),
        header(&usual),
    ]);
    assert_eq!(kinds(&packets), [VideoHeader, VideoOther, VideoOther, VideoOther, VideoHeader, VideoHeader]);
    assert_eq!(oddities, Oddities::default());
}

#[test]
fn slices_in_separate_messages_become_one_picture() {
    let sets = [&[9, 0x10][..], SPS, PPS];
    let mut messages = vec![(0, header(&record(SPS, PPS)))];
    messages.extend(sets.iter().chain(&[IDR, IDR_MORE, IDR_MORE]).map(|unit| (0, key(&[unit]))));
    messages.extend([(40, inter(&[P])), (40, inter(&[P_MORE])), (80, inter(&[P])), (120, inter(&[P]))]);
    let mut normaliser = Normaliser::default();
    let mut out = Vec::new();
    messages.iter().for_each(|(wire, body)| normaliser.video(body.clone(), *wire, &mut out));
    let seen: Vec<_> = out.iter().map(|stamped| (stamped.packet.kind, stamped.wire)).collect();
    assert_eq!(
        seen,
        [(VideoHeader, 0), (Keyframe, 0), (InterFrame, 40), (InterFrame, 80)],
        "the last picture may have more slices"
    );
    let picture = &out[1].packet;
    let units: Vec<_> = nal::units(&picture.payload, 4).collect();
    assert_eq!(units, [&sets[..], &[IDR, IDR_MORE, IDR_MORE]].concat());
    assert_eq!(picture.flv, key(&units));
    assert!(normaliser.oddities().split_pictures && !normaliser.oddities().wrong_flags);
    // The first picture has no predecessor, so it is not known to be split.
    let messages =
        [(0, key(&[IDR])), (0, key(&[IDR_MORE])), (40, inter(&[P])), (40, inter(&[P_MORE])), (80, inter(&[P]))];
    assert_eq!(kinds(&packets(&messages).0), [Keyframe, Slices, InterFrame]);
}

#[test]
fn start_codes_become_length_prefixes() {
    let stream = [&[0, 0, 0, 1][..], &[9, 0x10], &[0, 0, 0, 1], IDR, &[0, 0, 1], IDR_MORE].concat();
    let sets = [&[0, 0, 0, 1][..], SPS, &[0, 0, 0, 1], PPS].concat();
    let body = Bytes::from([&[0x17, 1, 0, 0, 5][..], &stream].concat());
    let (packets, oddities) = video(&[header(&sets), body]);
    assert_eq!(kinds(&packets), [VideoHeader, Keyframe]);
    assert_eq!(packets[0].payload, record(SPS, PPS));
    assert_eq!(packets[1].flv, [&[0x17, 1, 0, 0, 5][..], &packets[1].payload].concat());
    assert_eq!(nal::units(&packets[1].payload, 4).collect::<Vec<_>>(), [&[9, 0x10][..], IDR, IDR_MORE]);
    assert!(oddities.start_codes);
    // Units joined by start codes under one length prefix.
    let glued = [RECOVERY_POINT, &[0, 0, 0, 1], IDR].concat();
    let (packets, _) = video(&[header(&record(SPS, PPS)), key(&[&glued])]);
    assert_eq!(kinds(&packets), [VideoHeader, Keyframe]);
    assert_eq!(packets[1].flv, key(&[&glued]), "decoders accept this");
    assert_eq!(nal::units(&packets[1].payload, 4).collect::<Vec<_>>(), [RECOVERY_POINT, IDR]);
}

#[test]
fn empty_units_and_empty_messages_are_not_pictures() {
    let (packets, oddities) = video(&[
        header(&record(SPS, PPS)),
        key(&[&[], IDR, &[]]),
        Bytes::from_static(&[0x17, 1, 0, 0, 0]),
        Bytes::from_static(&[0x57, 0]),
        key(&[&[]]),
        Bytes::new(),
    ]);
    assert_eq!(kinds(&packets), [VideoHeader, Keyframe, VideoOther, VideoOther, VideoOther, VideoOther]);
    assert_eq!(packets[1].flv, key(&[IDR]), "platform decoders refuse empty units");
    assert_eq!(packets[1].payload, packets[1].flv.slice(5..));
    assert!(oddities.empty_units);
}

#[test]
fn in_band_parameter_sets_replace_a_bad_header() {
    let in_band = key(&[SPS, PPS, IDR]);
    // No header, an empty one, and one without parameter sets.
    let cases: [&[Bytes]; 3] =
        [&[], &[Bytes::from_static(&[0x17, 0, 0, 0, 0])], &[header(&[1, 0x42, 0, 0x1E, 0xFF, 0xE0, 0])]];
    for before in cases {
        let (packets, oddities) = video(&[before, &[in_band.clone(), inter(&[P]), in_band.clone()]].concat());
        let made = packets.iter().filter(|packet| packet.kind == VideoHeader && packet.payload == record(SPS, PPS));
        assert_eq!(made.map(|packet| packet.flv.clone()).collect::<Vec<_>>(), [header(&record(SPS, PPS))]);
        assert!(oddities.missing_header && !oddities.contradicted_header);
    }
    let other = [&SPS[..3], &[0x1F], &SPS[4..]].concat();
    let (packets, oddities) =
        video(&[header(&record(&other, PPS)), in_band.clone(), header(&record(&other, PPS)), in_band]);
    assert_eq!(kinds(&packets), [VideoHeader, VideoHeader, Keyframe, VideoOther, Keyframe]);
    assert_eq!(
        (packets[1].flv.len(), &packets[1].payload),
        (0, &record(SPS, PPS)),
        "relays keep the encoder's own header"
    );
    assert!(oddities.contradicted_header && !oddities.missing_header);
}

/// A message with start codes of three bytes.
fn start_coded(flag: u8, units: &[&[u8]]) -> Bytes {
    let stream: Vec<u8> = units.iter().flat_map(|unit| [&[0, 0, 1], *unit].concat()).collect();
    [&[flag, 1, 0, 0, 0], stream.as_slice()].concat().into()
}

#[test]
fn leading_units_stay_before_their_picture_after_repair() {
    for picture in [start_coded(0x17, &[IDR, IDR_MORE]), key(&[&[], IDR, &[], IDR_MORE])] {
        let (packets, _) =
            packets(&[(0, header(&record(SPS, PPS))), (0, key(&[SPS, PPS])), (0, picture), (40, inter(&[P]))]);
        assert_eq!(kinds(&packets), [VideoHeader, Keyframe]);
        assert_eq!(packets[1].flv, key(&[SPS, PPS, IDR, IDR_MORE]));
        assert_eq!(packets[1].payload, packets[1].flv.slice(5..));
    }
}

#[test]
fn waiting_units_do_not_keep_their_message_in_memory() {
    let mut normaliser = Normaliser::default();
    let message = key(&[SPS, PPS]);
    normaliser.video(message.clone(), 0, &mut Vec::new());
    assert!(normaliser.oddities().split_pictures && message.is_unique());
    // Small messages are counted, too.
    let mut out = Vec::new();
    (0..3_000).for_each(|_| normaliser.video(key(&[&[9]]), 0, &mut out));
    normaliser.video(key(&[IDR]), 0, &mut out);
    normaliser.video(inter(&[P]), 40, &mut out);
    let picture = out.last().expect("is there");
    assert_eq!((picture.packet.kind, out[0].packet.kind), (Keyframe, VideoOther));
    assert!((1_000..3_000).contains(&nal::units(&picture.packet.payload, 4).count()));
}

#[test]
fn endless_picture_is_bounded_by_the_message_size() {
    let more = [IDR_MORE, &[0x55; 64 * 1024]].concat();
    // A picture that is not known to be split, and one that is.
    for before in [&[][..], &[key(&[&[9, 0x10]])]] {
        let mut messages: Vec<_> = before.iter().map(|body| (0, body.clone())).collect();
        messages.push((0, key(&[IDR])));
        messages.extend((0..300).map(|_| (0, key(&[&more]))));
        messages.extend([(40, inter(&[P])), (80, inter(&[P]))]);
        let (packets, _) = packets(&messages);
        assert!(packets.iter().all(|packet| packet.flv.len() <= MESSAGE_BYTES_MAX));
        let in_picture = packets.iter().filter(|packet| matches!(packet.kind, Keyframe | Slices));
        let bytes: usize = in_picture.map(|packet| packet.payload.len()).sum();
        assert!((MESSAGE_BYTES_MAX - 70_000..=MESSAGE_BYTES_MAX).contains(&bytes), "{bytes}");
        assert_eq!(packets.last().expect("is there").kind, InterFrame);
        let passed = packets.iter().filter(|packet| packet.kind == VideoOther && packet.payload.is_empty());
        assert!(passed.count() > 40, "the rest passes through");
    }
}

#[test]
fn messages_that_repair_would_make_too_long_are_unchanged() {
    let slice = [IDR, &[0x55; 4_000]].concat();
    let units = vec![slice.as_slice(); MESSAGE_BYTES_MAX / (slice.len() + 3)];
    let body = start_coded(0x17, &units);
    let (packets, _) = video(&[header(&record(SPS, PPS)), body.clone()]);
    assert!(packets[1].flv == body);
    assert_eq!(nal::units(&packets[1].payload, 4).count(), units.len());
}

#[test]
fn multitrack_messages_are_unchanged() {
    let track =
        |number: u8, content: &[u8]| [&[number][..], &(content.len() as u32).to_be_bytes()[1..], content].concat();
    let several = |flag: u8, units: Bytes| -> Bytes {
        let content = units.slice(2..);
        [&[flag, 0x11][..], b"avc1", &track(0, &content), &track(1, &content)].concat().into()
    };
    let bodies = [
        header(&record(SPS, PPS)),
        several(0x96, start_coded(0x17, &[IDR])),
        several(0xA6, inter(&[&[], P])),
        several(0xA6, inter(&[P_MORE])),
        several(0xA6, inter(&[SPS, PPS])),
        several(0x96, key(&[IDR])),
    ];
    let (packets, _) = packets(&[0, 0, 40, 40, 40, 80].into_iter().zip(bodies.clone()).collect::<Vec<_>>());
    assert_eq!(kinds(&packets), [VideoHeader, Keyframe, InterFrame, Slices, VideoOther, Keyframe]);
    assert_eq!(packets.iter().map(|packet| packet.flv.clone()).collect::<Vec<_>>(), bodies);
    assert_eq!(packets[1].payload, key(&[IDR]).slice(5..));
    assert_eq!(packets[2].payload, inter(&[P]).slice(5..));
}

#[test]
fn packets_keep_the_order_of_their_messages() {
    let split = [(0, key(&[&[9, 0x10]])), (0, key(&[IDR])), (0, key(&[IDR_MORE]))];
    let broken = Bytes::from_static(&[0x27, 1, 0, 0, 0, 1, 2, 3, 4, 5]);
    let av1 = Bytes::from_static(b"\xA1av01\x12\0\x32\x02\x30\x07");
    let end = Bytes::from_static(&[0x17, 2, 0, 0, 0]);
    let side = Bytes::from_static(b"\xA6\x01avc1\x01\0\0\0\x01");
    let empty = Bytes::from_static(&[0x57, 0]);
    for (next, kind) in
        [(broken, InterFrame), (av1, InterFrame), (end, VideoOther), (side, SideVideo), (empty, VideoOther)]
    {
        let (packets, _) = packets(&[&split[..], &[(40, next.clone())]].concat());
        assert_eq!(kinds(&packets), [Keyframe, kind]);
        assert_eq!(packets[1].flv, next);
    }
}

#[test]
fn header_of_another_codec_is_not_used_for_pictures() {
    let av1 = Bytes::from_static(b"\x90av01\x81\x05\x0C\0");
    let (packets, _) = video(&[av1.clone(), key(&[SPS, PPS, IDR]), inter(&[P]), av1]);
    assert_eq!(kinds(&packets), [VideoHeader, VideoHeader, Keyframe, InterFrame, VideoHeader]);
    assert_eq!(packets[1].payload, record(SPS, PPS));
}

#[test]
fn side_tracks_have_their_own_kinds() {
    let mut normaliser = Normaliser::default();
    let mut out = Vec::new();
    for (first, framing) in [(0x96, 0x00), (0x96, 0x01), (0xA6, 0x01)] {
        normaliser.video([&[first, framing][..], b"avc1", &[1, 0, 0, 0, 1, 2]].concat().into(), 0, &mut out);
    }
    for framing in [0, 1] {
        normaliser.audio([&[0x95, framing][..], b"mp4a", &[1, 0x11, 0x90]].concat().into(), 0, &mut out);
    }
    assert_eq!(kinds(&unstamped(out)), [SideVideoHeader, SideVideo, SideVideo, SideAudioHeader, SideAudio]);
}

fn audio(bodies: &[&[u8]]) -> (Vec<Packet>, Oddities) {
    let (mut normaliser, mut out) = (Normaliser::default(), Vec::new());
    bodies.iter().for_each(|body| normaliser.audio(Bytes::copy_from_slice(body), 0, &mut out));
    (unstamped(out), normaliser.oddities())
}

#[test]
fn audio_frames_are_distinguished_from_markers() {
    let (packets, oddities) = audio(&[
        &[0xAF, 0, 0x11, 0x90],
        &[0xAF, 1, 0x21, 7],
        &[0xAF, 0, 0x11, 0x90, 0x56, 0xE5, 0x00],
        &[0xAF, 0, 0x12, 0x10],
        &[],
        &[0xAF],
        &[0xAF, 1],
        &[0xAF, 0],
        &[0x2F, 0xFF, 0xFB, 0x70, 0x44],
    ]);
    assert_eq!(
        kinds(&packets),
        [AudioHeader, Audio, AudioOther, AudioHeader, AudioOther, AudioOther, AudioOther, AudioOther, Audio]
    );
    assert_eq!(packets[8].codec, crate::track::Codec::Audio(AudioCodec::Mp3));
    assert_eq!(oddities, Oddities::default());
}

#[test]
fn adts_headers_are_removed_and_a_missing_header_is_built() {
    let config = aac::Config::parse(&[0x11, 0x90]).expect("parses");
    let framed = |frame: &[u8]| [&config.adts_header(frame.len()).expect("fits")[..], frame].concat();
    let two = [&[0xAF, 1][..], &framed(&[0x21, 1]), &framed(&[0x21, 2])].concat();
    for before in [&[][..], &[0xAF, 0, 0x11, 0x90]] {
        let bodies: Vec<&[u8]> = [before, &two].into_iter().filter(|body| !body.is_empty()).collect();
        let (packets, oddities) = audio(&bodies);
        assert_eq!(kinds(&packets), [AudioHeader, Audio, Audio]);
        assert_eq!(packets[0].flv.as_ref(), [0xAF, 0, 0x11, 0x90]);
        let frames: Vec<_> = packets[1..].iter().map(|packet| (packet.dts.as_ms(), packet.flv.to_vec())).collect();
        assert_eq!(frames, [(0, vec![0xAF, 1, 0x21, 1]), (21, vec![0xAF, 1, 0x21, 2])]);
        assert!(oddities.adts);
    }
    // More than any encoder puts into one message.
    let many = [&[0xAF, 1][..], &framed(&[0x21]).repeat(300)].concat();
    let (packets, oddities) = audio(&[&many]);
    assert_eq!((packets.len(), packets[0].flv.len()), (1, many.len()));
    assert!(!oddities.adts);
}

proptest! {
    #[test]
    fn arbitrary_messages_lose_nothing(
        bodies in prop::collection::vec(
            (any::<bool>(), prop::collection::vec(prop_oneof![Just(0_u8), Just(1), any::<u8>()], 0..50)),
            0..20,
        ),
    ) {
        let mut normaliser = Normaliser::default();
        for (is_video, body) in bodies {
            let mut out = Vec::new();
            let body = Bytes::from([if is_video { &[0x17, 1, 0, 0, 0][..] } else { &[0xAF, 1] }, &body].concat());
            if is_video {
                normaliser.video(body.clone(), 0, &mut out);
            } else {
                normaliser.audio(body.clone(), 0, &mut out);
            }
            let odd = normaliser.oddities();
            let rewritten = odd.start_codes || odd.adts || odd.empty_units || odd.split_pictures;
            prop_assert!(rewritten || out.iter().any(|out| out.packet.flv == body), "{body:02x?} {out:02x?}");
        }
    }
}

#[test]
fn other_codecs_are_classified_by_their_flags() {
    let vp9 = |flag: u8| Bytes::from(vec![flag, b'v', b'p', b'0', b'9', 1, 2]);
    let (packets, _) = video(&[vp9(0x91), vp9(0xA1)]);
    assert_eq!(kinds(&packets), [Keyframe, InterFrame]);
    assert_eq!(packets[0].codec, crate::track::Codec::Video(VideoCodec::Vp9));
}

#[test]
fn endless_picture_is_bounded() {
    const BYTES_MAX: usize = 20 * 1024 * 1024;
    let mut normaliser = Normaliser::default();
    let mut out = Vec::new();
    // The second picture is known to be split and is held back.
    normaliser.video(key(&[SPS]), 0, &mut out);
    normaliser.video(key(&[IDR]), 0, &mut out);
    let mut slices = vec![0x55; 1024 * 1024];
    slices[..2].copy_from_slice(&[0x41, 0x13]);
    let more = inter(&[&slices]);
    for _ in 0..40 {
        normaliser.video(more.clone(), 0, &mut out);
    }
    let given: usize = out.iter().map(|stamped| stamped.packet.flv.len()).sum();
    assert!((40 * slices.len()).saturating_sub(given) < BYTES_MAX, "{given}");
}

#[test]
fn waiting_units_hold_no_other_memory() {
    let mut normaliser = Normaliser::default();
    let mut out = Vec::new();
    let block = Bytes::from(vec![0; 120 * 1024]);
    let sei = tag(0x17, &[RECOVERY_POINT]);
    let body = Bytes::from([sei.as_ref(), block.as_ref()].concat());
    normaliser.video(body.slice(..sei.len()), 0, &mut out);
    assert!(out.is_empty() && body.is_unique(), "the block is freed");
}
