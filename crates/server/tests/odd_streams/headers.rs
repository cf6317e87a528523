//! Codec headers and announcements: what must come first, and changes during the stream.

use bytes::Bytes;
use gostream_proto::rtmp::{command::set_data_frame, media::MediaKind};
use gostream_testkit::platform::Visit;

use crate::{
    bend::{Item, Schedule, announcement, sound_from, video_header},
    checks::{
        Findings, SYNC_MS, connections, destination_decodes, destination_keeps_wall_time, forms, hls_decodes,
        hls_in_sync, no_freeze, pictures_arrive_once, playlists, plays_in_sync,
    },
    clips::{clip, is_audio_header, is_header, is_video_header},
    run::{Case, Recording},
    streams::turned_twice,
};

/// When the audio header changes.
const CHANGE_MS: u32 = 7_000;
/// Pictures that may be missing after a reconnect: a GOP, and a second to connect.
const LOST: usize = 90;

/// All of them.
pub const CASES: &[Case] = &[
    Case {
        id: "c12",
        name: "a_header_with_other_bytes_after_the_same_sets_changes_nothing",
        late_ms: None,
        sends: repeated_headers,
        right: |seen, findings| {
            plays_in_sync(seen, findings);
            pictures_arrive_once(seen, 0, findings);
            let cuts = [&seen.classic, &seen.low_latency].map(|watched| watched.discontinuities());
            findings.expect(cuts == [0, 0], || format!("HLS: {cuts:?} discontinuities"));
        },
    },
    Case {
        id: "c13",
        name: "sound_that_changes_within_a_long_gop_reconnects_at_most_once",
        late_ms: None,
        sends: || headset("long-gop", 25_000),
        // The previews start a segment where the audio changes, within a GOP, so only the pictures up to the next
        // keyframe decode.
        right: |seen, findings| {
            changes(seen, 1, findings);
            second_connection_has_the_new_sound(seen, findings);
            pictures_arrive_once(seen, usize::MAX / 2, findings);
        },
    },
    Case {
        id: "c13b",
        name: "sound_that_changes_within_a_short_gop_reconnects_at_most_once",
        late_ms: None,
        sends: || headset("base", 16_000),
        right: |seen, findings| {
            changes(seen, 1, findings);
            second_connection_has_the_new_sound(seen, findings);
            pictures_arrive_once(seen, LOST, findings);
            hls_decodes(&forms(seen), findings);
            hls_in_sync(&forms(seen), &[0], SYNC_MS, findings);
            no_freeze(&forms(seen), findings);
        },
    },
    Case {
        id: "c29",
        name: "a_camera_that_is_turned_twice_reconnects_at_most_twice",
        late_ms: None,
        sends: turned_twice,
        right: |seen, findings| {
            changes(seen, 2, findings);
            pictures_arrive_once(seen, 2 * LOST, findings);
            hls_decodes(&forms(seen), findings);
            hls_in_sync(&forms(seen), &[0], SYNC_MS, findings);
            for (form, runs) in [("classic", &seen.measured.classic), ("low latency", &seen.measured.low_latency)] {
                let sizes: Vec<_> = runs.iter().filter_map(|run| run.size).collect();
                let right = sizes == [(320, 180), (180, 320), (320, 180)];
                findings.expect(right, || format!("{form} HLS: the pictures are {sizes:?} one after the other"));
            }
            for visit in &seen.visits {
                begins_with_its_header(visit, findings);
            }
        },
    },
    Case {
        id: "announced",
        name: "an_announcement_before_the_first_keyframe_reaches_a_late_destination",
        late_ms: Some(4_000),
        sends: || announced(announcement()),
        right: |seen, findings| announcement_comes_first(seen, &announcement(), findings),
    },
    Case {
        id: "announced-wrapped",
        name: "an_announcement_keeps_its_set_data_frame",
        late_ms: Some(4_000),
        sends: || announced(set_data_frame(&announcement())),
        right: |seen, findings| announcement_comes_first(seen, &set_data_frame(&announcement()), findings),
    },
];

/// The header again before each keyframe but the first, followed by no, one or two zero bytes.
fn repeated_headers() -> Schedule {
    let tags = clip("base");
    let header = video_header(&tags);
    let mut count = 0;
    Schedule::of(&tags, 14_000).instead(|item| {
        if !item.is_avc_keyframe() || item.media.timestamp == 0 {
            return vec![item];
        }
        count += 1;
        let body = [&header, &[0; 2][..count % 3]].concat();
        vec![Item::new(item.at_ms, MediaKind::Video, item.media.timestamp, body), item]
    })
}

/// A headset is plugged in: mono at 44.1 kHz after stereo at 48 kHz.
fn headset(name: &'static str, ms: u32) -> Schedule {
    Schedule::of(&clip(name), ms)
        .only(|item| !item.is_audio() || item.media.timestamp < CHANGE_MS)
        .and(sound_from(&clip("mono"), CHANGE_MS..ms))
}

/// At most `count` connections more than the first, and durations equal to the wall clock.
fn changes(seen: &Recording, count: usize, findings: &mut Findings) {
    findings.expect(seen.hung_up.is_none(), || format!("the program hung up: {:?}", seen.hung_up));
    connections(seen, 1 + count, findings);
    destination_keeps_wall_time(seen, findings);
    destination_decodes(seen, findings);
    playlists(seen, &forms(seen), findings);
}

fn second_connection_has_the_new_sound(seen: &Recording, findings: &mut Findings) {
    let new = crate::bend::audio_header(&clip("mono"));
    for visit in seen.visits.iter().skip(1) {
        let first = visit.media.iter().find(|media| media.kind == MediaKind::Audio).map(|media| &media.body);
        findings.expect(first == Some(&new), || format!("destination: the next connection begins with {first:02x?}"));
    }
    let headers = seen.visits.iter().flat_map(|visit| &visit.media).filter(|media| is_audio_header(media));
    findings.expect(headers.into_iter().any(|media| media.body == new), || {
        "destination: the new audio header never arrived".to_owned()
    });
}

/// The first video message of a connection is a header, and its first picture belongs to that header.
fn begins_with_its_header(visit: &Visit, findings: &mut Findings) {
    let first = visit.media.iter().find(|media| media.kind == MediaKind::Video);
    findings
        .expect(first.is_some_and(is_video_header), || "destination: no header before the first picture".to_owned());
}

/// OBS sends it after the headers and before the first picture.
fn announced(body: Bytes) -> Schedule {
    let mut wanted = true;
    Schedule::of(&clip("base"), 9_000).instead(|item| {
        let is_first_frame = wanted && item.media.kind != MediaKind::Metadata && !is_header(&item.media);
        if !is_first_frame {
            return vec![item];
        }
        wanted = false;
        vec![Item::new(item.at_ms, MediaKind::Data, item.media.timestamp, body.clone()), item]
    })
}

fn announcement_comes_first(seen: &Recording, body: &Bytes, findings: &mut Findings) {
    plays_in_sync(seen, findings);
    for (name, visits) in [("destination", &seen.visits), ("late destination", &seen.late)] {
        findings.expect(!visits.is_empty(), || format!("{name}: no connection"));
        for visit in visits {
            let data = visit.media.iter().position(|media| media.kind == MediaKind::Data);
            let is_frame = |kind| matches!(kind, MediaKind::Video | MediaKind::Audio);
            let frame = visit.media.iter().position(|media| is_frame(media.kind) && !is_header(media));
            let first = data.zip(frame).is_some_and(|(data, frame)| data < frame);
            findings.expect(first, || format!("{name}: announced at {data:?}, the first frame at {frame:?}"));
            let came = data.map(|at| &visit.media[at].body);
            findings.expect(came.is_none_or(|came| came == body), || format!("{name}: the announcement is {came:?}"));
        }
    }
}
