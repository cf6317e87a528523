//! Odd pictures: the framing of NAL units, and messages between the pictures.

use gostream_proto::rtmp::media::MediaKind;

use crate::{
    bend::{Item, KEY, Schedule, nal_units, packed, parameter_sets, start_coded, unit_type, video_header, with_head},
    checks::{
        Findings, SIZE, SYNC_MS, api_video, destination_keeps_wall_time, forms, has_notice, hls_decodes, hls_in_sync,
        hls_shows, low_latency, newest, no_freeze, one_connection, pictures_are_whole, playlists, plays, plays_in_sync,
    },
    clips::{HevcPicture, clip, hevc, is_video_header},
    measure::units_in_mp4,
    run::{Case, Recording},
    streams::{MS, empty_nal_units, interlaced},
};

/// Supplemental enhancement information.
const SEI: u8 = 6;

/// All of them.
pub const CASES: &[Case] = &[
    Case {
        id: "c5",
        name: "the_slices_of_a_picture_in_messages_of_their_own_are_one_picture",
        late_ms: None,
        sends: || Schedule::of(&clip("four-slices"), MS).instead(one_unit_each),
        right: |seen, findings| {
            plays(seen, findings);
            no_freeze(&forms(seen), findings);
            hls_in_sync(&forms(seen), &[0], SYNC_MS, findings);
            api_video(seen, 30.0, SIZE, findings);
            pictures_are_whole(seen, findings);
        },
    },
    Case {
        id: "c5b",
        name: "pictures_of_four_slices_play",
        late_ms: None,
        sends: || Schedule::of(&clip("four-slices"), MS),
        right: plays_in_sync,
    },
    Case {
        id: "c7",
        name: "the_size_is_that_of_the_parameter_sets_in_band",
        late_ms: None,
        sends: header_of_another_size,
        right: |seen, findings| {
            plays(seen, findings);
            hls_in_sync(&forms(seen), &[0], SYNC_MS, findings);
            hls_shows(&forms(seen), SIZE, findings);
            api_video(seen, 30.0, SIZE, findings);
        },
    },
    Case {
        id: "c8",
        name: "empty_nal_units_are_left_out_of_mp4",
        late_ms: None,
        sends: empty_nal_units,
        right: |seen, findings| {
            plays(seen, findings);
            hls_in_sync(&forms(seen), &[0], SYNC_MS, findings);
            hls_shows(&forms(seen), SIZE, findings);
            api_video(seen, 30.0, SIZE, findings);
            no_empty_units(seen, findings);
        },
    },
    Case {
        id: "c9b",
        name: "start_codes_are_converted_to_lengths_and_told",
        late_ms: None,
        sends: || Schedule::of(&clip("base"), MS).nal_units(|units, _| start_coded(&units)),
        right: |seen, findings| {
            plays(seen, findings);
            hls_in_sync(&forms(seen), &[0], SYNC_MS, findings);
            hls_shows(&forms(seen), SIZE, findings);
            pictures_are_whole(seen, findings);
            has_notice(seen, findings);
        },
    },
    Case { id: "c27", name: "interlaced_pictures_play", late_ms: None, sends: interlaced, right: plays_in_sync },
    Case {
        id: "c28",
        name: "a_hundred_and_twenty_pictures_a_second_play",
        late_ms: None,
        sends: || Schedule::of(&clip("120-fps"), 11_000),
        right: |seen, findings| {
            plays(seen, findings);
            hls_in_sync(&forms(seen), &[0], SYNC_MS, findings);
            api_video(seen, 120.0, SIZE, findings);
        },
    },
    Case {
        id: "c30",
        name: "a_second_track_beside_the_first_is_not_counted",
        late_ms: None,
        sends: two_tracks,
        right: |seen, findings| {
            plays(seen, findings);
            hls_in_sync(&forms(seen), &[0], SYNC_MS, findings);
            api_video(seen, 30.0, SIZE, findings);
        },
    },
    Case {
        id: "c33",
        name: "hevc_main_10_under_codec_id_12_plays",
        late_ms: None,
        sends: || hevc_stream(&[0x1C, 0], [&[0x1C, 1], &[0x2C, 1]]),
        right: hevc_plays,
    },
    Case {
        id: "c33b",
        name: "hevc_main_10_by_enhanced_rtmp_plays",
        late_ms: None,
        sends: || hevc_stream(b"\x90hvc1", [b"\x91hvc1", b"\xA1hvc1"]),
        right: hevc_plays,
    },
    Case {
        id: "c38",
        name: "empty_messages_do_no_harm",
        late_ms: None,
        sends: || Schedule::of(&clip("base"), 10_000).and((5..90).flat_map(empty_messages)),
        right: plays_in_sync,
    },
    Case {
        id: "c38b",
        name: "empty_keyframe_messages_do_no_harm",
        late_ms: None,
        sends: || {
            Schedule::of(&clip("base"), 10_000).instead(|item| {
                let empty = Item::new(item.at_ms, MediaKind::Video, item.media.timestamp, &[KEY, 1, 0, 0, 0][..]);
                if item.is_avc_keyframe() { vec![empty, item] } else { vec![item] }
            })
        },
        right: plays_in_sync,
    },
    Case { id: "c42", name: "captions_reach_every_output", late_ms: None, sends: captioned, right: captions_arrive },
];

fn one_unit_each(item: Item) -> Vec<Item> {
    if !item.is_avc_picture() {
        return vec![item];
    }
    let alone = |unit| {
        let body = with_head(&item, &packed(&[unit]));
        Item::new(item.at_ms, MediaKind::Video, item.media.timestamp, body)
    };
    nal_units(&item.media.body).into_iter().map(alone).collect()
}

/// The header has the parameter sets of another clip; the right ones are in band, after duplicate delimiters.
fn header_of_another_size() -> Schedule {
    const DELIMITER: &[u8] = &[0x09, 0x30];
    let tags = clip("base");
    let right = parameter_sets(&video_header(&tags));
    let wrong = video_header(&clip("portrait"));
    Schedule::of(&tags, MS)
        .each(|item| {
            if is_video_header(&item.media) {
                item.media.body = wrong.clone();
            }
        })
        .nal_units(|units, is_keyframe| {
            let mut out = vec![DELIMITER.into(), DELIMITER.into()];
            out.extend(right.iter().filter(|_| is_keyframe).cloned());
            out.extend(units.into_iter().filter(|unit| !matches!(unit_type(unit), 7 | 8)));
            packed(&out)
        })
}

fn no_empty_units(seen: &Recording, findings: &mut Findings) {
    let units: Vec<_> = seen.low_latency.files().iter().flat_map(units_in_mp4).collect();
    let empty = units.iter().filter(|unit| unit.is_empty()).count();
    findings.expect(empty == 0 && units.len() > 100, || {
        format!("low-latency HLS: {empty} of {} NAL units are empty", units.len())
    });
}

/// OBS with several tracks: a second video and a second audio track (Enhanced RTMP v2, "Multitrack") as track 1.
fn two_tracks() -> Schedule {
    Schedule::of(&clip("base"), 12_000).instead(|item| {
        let body = &item.media.body;
        let is_frame = item.is_avc_picture();
        let second = match item.media.kind {
            MediaKind::Video if is_frame || is_video_header(&item.media) => {
                let content = if is_frame { &body[2..] } else { &body[5..] };
                [&[0x80 | (body[0] & 0x70) | 6, u8::from(is_frame)], &b"avc1\x01"[..], content].concat()
            }
            MediaKind::Audio => [&[0x95, body[1]], &b"mp4a\x01"[..], &body[2..]].concat(),
            _ => return vec![item],
        };
        let second = Item::new(item.at_ms, item.media.kind, item.media.timestamp, second);
        vec![item, second]
    })
}

/// The audio of the base clip with HEVC video: what precedes the header, keyframes and inter frames.
fn hevc_stream(header: &[u8], [key, inter]: [&[u8]; 2]) -> Schedule {
    let (configuration, pictures) = hevc();
    let composition = if header.len() == 2 { &[0; 3][..] } else { &[] };
    let header = Item::new(0.0, MediaKind::Video, 0, [header, composition, &configuration].concat());
    let picture = |picture: HevcPicture| {
        let head = if picture.keyframe { key } else { inter };
        let composition = &picture.composition_ms.to_be_bytes()[1..];
        let body = [head, composition, &picture.body].concat();
        Item::new(picture.decode_ms.into(), MediaKind::Video, picture.decode_ms, body)
    };
    let items = [header].into_iter().chain(pictures.into_iter().map(picture));
    Schedule::of(&clip("base"), 13_000)
        .only(|item| item.media.kind == MediaKind::Audio)
        .and(items.filter(|item| item.at_ms < 13_000.0))
}

/// Only in MP4: players accept HEVC in nothing else (Apple's HLS Authoring Specification 1.5).
fn hevc_plays(seen: &Recording, findings: &mut Findings) {
    let form = [low_latency(seen)];
    one_connection(seen, findings);
    destination_keeps_wall_time(seen, findings);
    playlists(seen, &form, findings);
    hls_decodes(&form, findings);
    no_freeze(&form, findings);
    hls_in_sync(&form, &[0], SYNC_MS, findings);
    hls_shows(&form, SIZE, findings);
    api_video(seen, 30.0, SIZE, findings);
    let codec = &newest(seen)["stream"]["video"]["codec"];
    findings.expect(codec == "hevc", || format!("API: the codec is {codec}"));
}

/// Audio without a byte, audio without a frame, an information frame, and a picture without a NAL unit.
fn empty_messages(tenth: u32) -> [Item; 4] {
    let bodies: [(MediaKind, &'static [u8]); 4] = [
        (MediaKind::Audio, b""),
        (MediaKind::Audio, b"\xAF"),
        (MediaKind::Video, b"\x57\0"),
        (MediaKind::Video, b"\x27\x01\0\0\0"),
    ];
    bodies.map(|(kind, body)| Item::new(f64::from(tenth * 100) + 3.0, kind, tenth * 100, body))
}

/// EIA-608 in ATSC user data (ITU-T T.35, ATSC A/53 part 4).
const CAPTION: &[u8] = b"\x06\x04\x0D\xB5\x00\x31GA94\x03\x41\xFF\xFC\x94\x20\x80";

fn captioned() -> Schedule {
    Schedule::of(&clip("base"), 9_000).nal_units(|units, _| {
        let others = units.into_iter().filter(|unit| unit_type(unit) != SEI);
        packed(&[CAPTION.into()].into_iter().chain(others).collect::<Vec<_>>())
    })
}

fn captions_arrive(seen: &Recording, findings: &mut Findings) {
    plays_in_sync(seen, findings);
    let captions = |bytes: &[u8]| bytes.windows(4).filter(|window| window == b"GA94").count();
    for (form, watched, _) in forms(seen) {
        let found: usize = watched.files().iter().map(|file| captions(file)).sum();
        findings.expect(found as f64 >= watched.listed_seconds() * 25.0, || format!("{form}: {found} captions"));
    }
    let found: usize = seen.visits.iter().flat_map(|visit| &visit.media).map(|media| captions(&media.body)).sum();
    findings.expect(found as f64 >= seen.wall.as_secs_f64() * 25.0, || format!("destination: {found} captions"));
}
