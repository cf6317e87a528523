//! Where a stream can be cut and joined: keyframes that are flagged wrong, far apart, or missing.

use gostream_proto::rtmp::media::MediaKind;

use crate::{
    bend::{INTER, Item, KEY, Schedule, nal_units, unit_type, video_header},
    checks::{
        Findings, SIZE, SYNC_MS, api_video, destination_keeps_wall_time, forms, hls_decodes, hls_in_sync, hls_shows,
        late_destination_gets, newest, one_connection, pictures_are_whole, playlists, plays, plays_in_sync,
    },
    clips::{clip, is_header},
    measure::first_slice,
    run::{Case, Recording},
    streams::MS,
};

/// An IDR picture (H.264 table 7-1).
const IDR: u8 = 5;
/// When a destination is added to a stream whose first picture is no longer in the ring, which holds 10 s.
const LATE_MS: u64 = 12_000;
/// Slightly longer than a destination may wait.
const LATE_STREAM_MS: u32 = 25_000;

/// All of them.
pub const CASES: &[Case] = &[
    Case {
        id: "c4",
        name: "keyframes_that_are_flagged_as_inter_frames_are_found",
        late_ms: Some(8_000),
        sends: || Schedule::of(&clip("base"), MS).flagged(|_| INTER),
        right: |seen, findings| {
            plays_in_sync(seen, findings);
            late_destination_starts_at_an_idr(seen, findings);
        },
    },
    Case {
        id: "c4b",
        name: "inter_frames_that_are_flagged_as_keyframes_are_no_cuts",
        late_ms: Some(7_000),
        sends: || Schedule::of(&clip("base"), MS).flagged(|_| KEY),
        right: |seen, findings| {
            plays_in_sync(seen, findings);
            pictures_are_whole(seen, findings);
            segments_begin_with_an_idr(seen, findings);
            late_destination_starts_at_an_idr(seen, findings);
        },
    },
    Case {
        id: "c16",
        name: "the_target_duration_stays_when_the_gop_grows",
        late_ms: None,
        sends: || Schedule::of(&clip("growing-gop"), 21_000),
        right: plays_in_sync,
    },
    Case {
        id: "c17",
        name: "a_time_lapse_of_one_keyframe_in_five_seconds_plays",
        late_ms: None,
        sends: time_lapse,
        right: |seen, findings| {
            one_connection(seen, findings);
            destination_keeps_wall_time(seen, findings);
            playlists(seen, &forms(seen), findings);
            hls_decodes(&forms(seen), findings);
            hls_shows(&forms(seen), SIZE, findings);
            let fps = newest(seen)["stream"]["video"]["fps"].as_f64().unwrap_or_default();
            findings.expect(fps <= 0.5, || format!("API: {fps} fps"));
        },
    },
    Case {
        id: "c25",
        name: "a_late_destination_of_an_intra_refresh_stream_starts_at_a_recovery_point",
        late_ms: Some(LATE_MS),
        sends: || Schedule::of(&clip("intra-refresh"), LATE_STREAM_MS),
        right: intra_refresh,
    },
    Case {
        id: "c25b",
        name: "a_late_destination_of_an_intra_refresh_stream_without_flags_starts",
        late_ms: Some(LATE_MS),
        sends: || {
            let flag = |item: &Item| if item.at_ms > 500.0 { INTER } else { item.media.body[0] };
            Schedule::of(&clip("intra-refresh"), LATE_STREAM_MS).flagged(flag)
        },
        right: intra_refresh,
    },
    Case {
        id: "c26",
        name: "open_gops_play",
        late_ms: None,
        sends: || Schedule::of(&clip("open-gop"), MS),
        right: plays_in_sync,
    },
];

/// Players may start at any segment.
fn segments_begin_with_an_idr(seen: &Recording, findings: &mut Findings) {
    for (form, watched, _) in forms(seen) {
        let extension = if watched.inits.is_empty() { "ts" } else { "mp4" };
        for segment in watched.segments.iter().skip(1).take(3) {
            let first = first_slice(&watched.alone(segment), extension);
            findings.expect(first == Some(IDR), || {
                format!("{form}: {} begins with a slice in a NAL unit of type {first:?}", segment.name)
            });
        }
    }
}

fn late_destination_starts_at_an_idr(seen: &Recording, findings: &mut Findings) {
    late_destination_gets(seen, MediaKind::Video, findings);
    for visit in &seen.late {
        let mut pictures = visit.media.iter().filter(|media| media.kind == MediaKind::Video && !is_header(media));
        let types: Vec<u8> =
            pictures.next().map(|media| nal_units(&media.body)).iter().flatten().map(unit_type).collect();
        findings.expect(types.contains(&IDR), || format!("late destination: starts with NAL units {types:?}"));
    }
}

fn time_lapse() -> Schedule {
    const EVERY_MS: u32 = 5_000;
    let tags = clip("base");
    let keyframes = Schedule::of(&tags, 30_000).only(Item::is_avc_keyframe).0;
    let slow = keyframes
        .into_iter()
        .take(6)
        .zip(0..)
        .map(|(item, n)| Item::new(f64::from(n * EVERY_MS), MediaKind::Video, n * EVERY_MS, item.media.body));
    Schedule(vec![Item::new(0.0, MediaKind::Video, 0, video_header(&tags))]).and(slow)
}

fn intra_refresh(seen: &Recording, findings: &mut Findings) {
    plays(seen, findings);
    hls_in_sync(&forms(seen), &[0], SYNC_MS, findings);
    api_video(seen, 30.0, SIZE, findings);
    late_destination_gets(seen, MediaKind::Video, findings);
}
