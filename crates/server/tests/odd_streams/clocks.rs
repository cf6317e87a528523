//! Odd clocks: tracks that disagree, clocks that jump, and wrong times.

use gostream_proto::rtmp::media::MediaKind;

use crate::{
    bend::{Item, Schedule, video_header},
    checks::{
        Findings, SYNC_MS, destination_decodes, destination_in_sync_by_arrival, destination_keeps_skew, forms,
        has_notice, hls_in_sync, median, no_freeze, passed, plays, plays_in_sync,
    },
    clips::{clip, is_header, is_video_header},
    run::{Case, Recording},
    streams::{MS, ordinary, pictures_leave_late, presentation_times},
};

/// Tolerance for pictures on a new clock: two pictures more than usual.
const NEW_CLOCK_SYNC_MS: i64 = 150;

/// All of them.
pub const CASES: &[Case] = &[
    Case { id: "c0", name: "an_ordinary_stream_plays_as_sent", late_ms: None, sends: ordinary, right: plays_in_sync },
    Case {
        id: "c1",
        name: "a_picture_clock_a_minute_ahead_stays_ahead_and_is_told",
        late_ms: None,
        sends: || ahead(MediaKind::Video, 60_000),
        right: skewed,
    },
    Case {
        id: "c1b",
        name: "a_sound_clock_two_seconds_ahead_stays_ahead_and_is_told",
        late_ms: None,
        sends: || ahead(MediaKind::Audio, 2_000),
        right: skewed,
    },
    Case {
        id: "c1c",
        name: "pictures_that_leave_the_encoder_late_stay_in_sync",
        late_ms: None,
        sends: || pictures_leave_late(1_200),
        right: plays_in_sync,
    },
    Case {
        id: "c1e",
        name: "pictures_that_return_on_a_new_clock_go_on_beside_the_sound",
        late_ms: None,
        sends: pictures_return,
        right: |seen, findings| {
            plays(seen, findings);
            destination_in_sync_by_arrival(seen, 9_000.0, NEW_CLOCK_SYNC_MS, findings);
            hls_in_sync(&forms(seen), &[0, 1_000], NEW_CLOCK_SYNC_MS, findings);
        },
    },
    Case {
        id: "c3",
        name: "pictures_that_begin_late_on_a_clock_of_their_own_go_beside_the_sound",
        late_ms: None,
        sends: || pictures_leave_late(2_500),
        right: |seen, findings| {
            plays(seen, findings);
            destination_in_sync_by_arrival(seen, 2_500.0, NEW_CLOCK_SYNC_MS, findings);
            hls_in_sync(&forms(seen), &[-500], NEW_CLOCK_SYNC_MS, findings);
        },
    },
    Case {
        id: "c18",
        name: "presentation_times_without_composition_times_pass_as_sent",
        late_ms: None,
        sends: presentation_times,
        right: |seen, findings| {
            plays(seen, findings);
            times_pass_as_sent(seen, findings);
            pictures_have_times_of_their_own(seen, findings);
            no_freeze(&forms(seen), findings);
            hls_in_sync(&forms(seen), &[0], SYNC_MS, findings);
        },
    },
    Case {
        id: "c18b",
        name: "b_frames_with_composition_times_play_as_sent",
        late_ms: None,
        sends: || Schedule::of(&clip("b-frames"), MS),
        right: |seen, findings| {
            plays_in_sync(seen, findings);
            pictures_have_times_of_their_own(seen, findings);
        },
    },
    Case {
        id: "c19",
        name: "a_picture_stamped_hours_away_is_repaired_alone",
        late_ms: None,
        sends: || outliers(0),
        right: only_outliers_change,
    },
    Case {
        id: "c19b",
        name: "a_picture_stamped_hours_away_in_an_old_stream_is_repaired_alone",
        late_ms: None,
        sends: || outliers(14_400_000),
        right: only_outliers_change,
    },
    Case {
        id: "c32",
        name: "sound_that_begins_six_seconds_late_is_in_sync",
        late_ms: None,
        sends: late_sound,
        right: |seen, findings| {
            plays(seen, findings);
            hls_in_sync(&forms(seen), &[0], SYNC_MS, findings);
            destination_decodes(seen, findings);
            destination_keeps_skew(seen, findings);
        },
    },
    Case {
        id: "c34",
        name: "pictures_that_begin_eight_seconds_late_are_in_sync",
        late_ms: None,
        sends: late_pictures,
        right: |seen, findings| {
            plays(seen, findings);
            hls_in_sync(&forms(seen), &[0], SYNC_MS, findings);
            destination_decodes(seen, findings);
            destination_keeps_skew(seen, findings);
        },
    },
    Case {
        id: "c39",
        name: "picture_times_that_step_back_a_little_do_no_harm",
        late_ms: None,
        sends: jittery,
        right: plays_in_sync,
    },
    Case {
        id: "c40",
        name: "clocks_that_are_set_back_leave_no_freeze",
        late_ms: None,
        sends: || set_by(-900),
        right: clock_change_is_not_seen,
    },
    Case {
        id: "c40b",
        name: "clocks_that_are_set_ahead_leave_no_hole",
        late_ms: None,
        sends: || set_by(8_000),
        right: clock_change_is_not_seen,
    },
];

fn ahead(kind: MediaKind, ms: i64) -> Schedule {
    Schedule::of(&clip("base"), MS)
        .stamped(|item| i64::from(item.media.timestamp) + if item.media.kind == kind { ms } else { 0 })
}

fn skewed(seen: &Recording, findings: &mut Findings) {
    plays_in_sync(seen, findings);
    has_notice(seen, findings);
}

/// Pictures pause for 3 s and return with timestamps from 0; the audio continues.
fn pictures_return() -> Schedule {
    Schedule::of(&clip("base"), 18_000)
        .only(|item| !item.is_video() || !(6_000..8_000).contains(&item.media.timestamp))
        .each(|item| {
            if item.is_video() && item.media.timestamp >= 8_000 {
                item.at_ms += 1_000.0;
                item.media.timestamp -= 8_000;
            }
        })
}

/// Every step between messages is unchanged.
fn times_pass_as_sent(seen: &Recording, findings: &mut Findings) {
    let shifts = seen.visits.iter().flat_map(|visit| passed(seen, visit, MediaKind::Video));
    let mut shifts: Vec<i64> = shifts.map(|passed| passed.shift_ms).collect();
    shifts.sort_unstable();
    shifts.dedup();
    findings.expect(shifts.len() == 1, || format!("destination: pictures are moved by {shifts:?} ms"));
}

fn pictures_have_times_of_their_own(seen: &Recording, findings: &mut Findings) {
    for run in seen.measured.classic.iter().chain(&seen.measured.low_latency) {
        let shared = run.pictures_at_one_time();
        findings.expect(shared == 0, || format!("HLS: {shared} pictures have the time of another one"));
    }
}

/// How far an outlier's timestamp is off.
const AWAY_MS: i64 = 9_800_000;

/// Every 2 s the timestamp of one picture is hours ahead or back.
fn outliers(start: i64) -> Schedule {
    let mut pictures = 0;
    Schedule::of(&clip("base"), MS).stamped(|item| {
        let stamp = start + i64::from(item.media.timestamp);
        pictures += i32::from(item.is_video());
        match pictures % 120 {
            31 if item.is_video() => stamp + AWAY_MS,
            91 if item.is_video() && start == 0 => 0,
            91 if item.is_video() => stamp - AWAY_MS,
            _ => stamp,
        }
    })
}

fn only_outliers_change(seen: &Recording, findings: &mut Findings) {
    plays_in_sync(seen, findings);
    for visit in &seen.visits {
        let passed = passed(seen, visit, MediaKind::Video);
        let usual = median(passed.iter().map(|passed| passed.shift_ms)).unwrap_or_default();
        let stamped = |index: usize| seen.schedule.0[index].media.timestamp;
        let is_outlier =
            |index: usize| f64::from(stamped(index)) - f64::from(stamped(0)) != seen.schedule.0[index].at_ms;
        let moved = passed.iter().filter(|passed| !is_outlier(passed.index));
        let moved = moved.filter(|passed| (passed.shift_ms - usual).abs() > 50).count();
        findings.expect(moved == 0, || format!("destination: {moved} pictures with good times were moved"));
        let leads = median(passed.iter().map(|passed| passed.lead_ms)).unwrap_or_default();
        let away = passed.iter().filter(|passed| is_outlier(passed.index) && (passed.lead_ms - leads).abs() > 300);
        let away = away.count();
        findings.expect(away == 0, || format!("destination: {away} outliers are still far from their neighbours"));
    }
}

fn late_sound() -> Schedule {
    const LATE_MS: u32 = 6_000;
    Schedule::of(&clip("base"), 16_000)
        .only(|item| !item.is_audio() || is_header(&item.media) || item.media.timestamp >= LATE_MS)
        .each(|item| {
            if item.is_audio() && is_header(&item.media) {
                (item.at_ms, item.media.timestamp) = (LATE_MS.into(), LATE_MS);
            }
        })
}

fn late_pictures() -> Schedule {
    const HEADER_MS: u32 = 6_900;
    let tags = clip("base");
    let header = Item::new(HEADER_MS.into(), MediaKind::Video, HEADER_MS, video_header(&tags));
    Schedule::of(&tags, 18_000)
        .only(|item| !item.is_video() || (item.media.timestamp >= 8_000 && !is_video_header(&item.media)))
        .and([header])
}

fn jittery() -> Schedule {
    let mut pictures = 0;
    Schedule::of(&clip("base"), 12_000).stamped(|item| {
        let stamp = i64::from(item.media.timestamp);
        if !item.is_video() {
            return stamp;
        }
        pictures += 1;
        (stamp + [0, 14, -12, 5, -20, 9][pictures % 6]).max(0)
    })
}

/// Both clocks jump after 6 s.
fn set_by(ms: i64) -> Schedule {
    Schedule::of(&clip("base"), MS).stamped(|item| {
        let stamp = i64::from(item.media.timestamp);
        if stamp > 6_000 { stamp + ms } else { stamp }
    })
}

fn clock_change_is_not_seen(seen: &Recording, findings: &mut Findings) {
    plays_in_sync(seen, findings);
    for visit in &seen.visits {
        for kind in [MediaKind::Video, MediaKind::Audio] {
            let leads: Vec<_> = passed(seen, visit, kind).iter().map(|passed| passed.lead_ms).collect();
            let (first, last) =
                (median(leads[..leads.len() / 3].to_vec()), median(leads[2 * leads.len() / 3..].to_vec()));
            let moved = first.zip(last).map(|(first, last)| last - first);
            findings.expect(moved.is_some_and(|moved| moved.abs() <= 150), || {
                format!("destination: {kind:?} is moved by {moved:?} ms against the wall clock")
            });
        }
    }
}
