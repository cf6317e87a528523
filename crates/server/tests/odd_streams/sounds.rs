//! Odd audio: codecs and formats that players do not accept directly, and tracks that pause or never start.

use std::time::Duration;

use gostream_proto::rtmp::media::MediaKind;

use crate::{
    bend::{Schedule, with_adts},
    checks::{
        Findings, SIZE, SYNC_MS, api_video, destination_begins_within, destination_keeps_wall_time, forms, has_notice,
        hls_decodes, hls_in_sync, hls_shows, hls_sounds_or_says_why, late_destination_gets, newest, no_freeze,
        no_hole_in_sound, notices, one_connection, playlists, plays, plays_in_sync,
    },
    clips::{clip, is_audio_header, is_header},
    run::{Case, Recording},
    streams::{MS, mp3, program_config_element, sound_pauses},
};

/// When the camera is switched off.
const CAMERA_OFF_MS: u32 = 4_000;
/// When a destination is added: the last picture is no longer in the ring, which holds 10 s.
const LATE_MS: u64 = 15_500;
/// How long a low-latency playlist may have no new part.
const PAUSE_S: f64 = 2.5;

/// All of them.
pub const CASES: &[Case] = &[
    Case {
        id: "c10",
        name: "a_camera_that_is_switched_off_leaves_the_sound_playing",
        late_ms: Some(LATE_MS),
        sends: || {
            Schedule::of(&clip("base"), 26_000).only(|item| !item.is_video() || item.media.timestamp <= CAMERA_OFF_MS)
        },
        right: camera_off,
    },
    Case {
        id: "c11",
        name: "sound_does_not_wait_for_pictures_that_never_come",
        late_ms: Some(9_000),
        sends: || Schedule::of(&clip("base"), 22_000).only(|item| !item.is_video() || is_header(&item.media)),
        right: |seen, findings| {
            destination_begins_within(seen, Duration::from_secs(10), findings);
            one_connection(seen, findings);
            late_destination_gets(seen, MediaKind::Audio, findings);
            has_notice(seen, findings);
        },
    },
    Case {
        id: "c14",
        name: "a_program_config_element_decodes_in_ts_and_leaves_the_picture_in_mp4",
        late_ms: None,
        sends: program_config_element,
        right: |seen, findings| {
            plays(seen, findings);
            hls_shows(&forms(seen), SIZE, findings);
            let beeps: usize = seen.measured.classic.iter().map(|run| run.beeps.len()).sum();
            findings.expect(beeps >= 4, || format!("classic HLS: {beeps} beeps"));
        },
    },
    Case {
        id: "c14b",
        name: "six_channels_play",
        late_ms: None,
        sends: || Schedule::of(&clip("5.1"), MS),
        right: |seen, findings| {
            plays_in_sync(seen, findings);
            for (form, _, runs) in forms(seen) {
                let channels: Vec<_> = runs.iter().map(|run| run.channels).collect();
                findings.expect(channels == [Some(6)], || format!("{form}: {channels:?} channels"));
            }
        },
    },
    Case {
        id: "c15",
        name: "he_aac_with_explicit_signalling_plays",
        late_ms: None,
        sends: he_aac,
        right: plays_in_sync,
    },
    Case {
        id: "c23",
        name: "g_711_leaves_the_picture_and_shows_its_rate",
        late_ms: None,
        sends: || Schedule::of(&clip("a-law"), MS),
        right: |seen, findings| {
            plays(seen, findings);
            hls_shows(&forms(seen), SIZE, findings);
            api_video(seen, 30.0, SIZE, findings);
            let rate = &newest(seen)["stream"]["audio"]["sampleRate"];
            findings.expect(rate.is_null() || rate == 8_000, || format!("API: the audio has {rate} Hz"));
        },
    },
    Case {
        id: "c23b",
        name: "mp3_beside_pictures_sounds_or_is_told",
        late_ms: None,
        sends: mp3,
        right: |seen, findings| {
            plays(seen, findings);
            hls_shows(&forms(seen), SIZE, findings);
            hls_sounds_or_says_why(seen, findings);
        },
    },
    Case {
        id: "c23c",
        name: "mp3_alone_has_a_playlist_and_sounds_or_is_told",
        late_ms: None,
        sends: || mp3().only(|item| !item.is_video()),
        right: |seen, findings| {
            one_connection(seen, findings);
            destination_keeps_wall_time(seen, findings);
            let forms = forms(seen);
            // An output that cannot carry the audio may lack it if a notice says so.
            let there = if notices(seen).is_empty() { &forms[..] } else { &forms[..1] };
            playlists(seen, there, findings);
            hls_decodes(there, findings);
            hls_sounds_or_says_why(seen, findings);
        },
    },
    Case {
        id: "c23d",
        name: "adts_headers_without_a_config_sound",
        late_ms: None,
        sends: || Schedule::of(&clip("base"), MS).only(|item| !is_audio_header(&item.media)).each(add_adts),
        right: adts_sounds,
    },
    Case {
        id: "c23e",
        name: "adts_headers_beside_a_config_sound",
        late_ms: None,
        sends: || Schedule::of(&clip("base"), MS).each(add_adts),
        right: adts_sounds,
    },
    Case {
        id: "c24",
        name: "sound_that_is_away_for_ten_seconds_comes_back_in_sync",
        late_ms: None,
        sends: sound_pauses,
        right: |seen, findings| {
            plays(seen, findings);
            no_freeze(&forms(seen), findings);
            api_video(seen, 30.0, SIZE, findings);
            no_hole_in_sound(&forms(seen), findings);
            flashes_with_sound_are_in_sync(seen, findings);
        },
    },
];

fn camera_off(seen: &Recording, findings: &mut Findings) {
    one_connection(seen, findings);
    destination_keeps_wall_time(seen, findings);
    playlists(seen, &forms(seen), findings);
    hls_decodes(&forms(seen), findings);
    hls_in_sync(&forms(seen), &[0], SYNC_MS, findings);
    late_destination_gets(seen, MediaKind::Audio, findings);
    let pause = seen.low_latency.longest_pause(seen.wall);
    findings.expect(pause <= PAUSE_S, || format!("low-latency HLS: nothing new for {pause:.1} s"));
    let fps = &newest(seen)["stream"]["video"]["fps"];
    findings.expect(fps.is_null() || fps == 0.0, || format!("API: {fps} fps"));
}

/// Beeps within half a second of a flash are in sync, and there is one again at the end.
fn flashes_with_sound_are_in_sync(seen: &Recording, findings: &mut Findings) {
    for (form, _, runs) in forms(seen) {
        let after: Vec<i64> = runs.iter().flat_map(|run| run.beeps_after_flashes()).collect();
        let near = |after: &&i64| after.abs() < 500;
        let right = after.iter().filter(near).all(|after| after.abs() <= SYNC_MS);
        let returned = after.last().is_some_and(|after| near(&after));
        findings.expect(right && returned, || format!("{form}: beeps come {after:?} ms after flashes"));
    }
}

/// HE-AAC, signalled explicitly: the core at 24 kHz, the output at 48 kHz (ISO/IEC 14496-3 1.6.5). The frames are those
/// of a stream without the extension.
fn he_aac() -> Schedule {
    const HEADER: &[u8] = &[0xAF, 0, 0x2B, 0x11, 0x88, 0x00];
    Schedule::of(&clip("aac-24-khz"), MS).each(|item| {
        if is_audio_header(&item.media) {
            item.media.body = HEADER.into();
        }
    })
}

fn add_adts(item: &mut crate::bend::Item) {
    if item.is_audio() && !is_audio_header(&item.media) {
        item.media.body = with_adts(&item.media.body);
    }
}

fn adts_sounds(seen: &Recording, findings: &mut Findings) {
    plays(seen, findings);
    hls_in_sync(&forms(seen), &[0], SYNC_MS, findings);
    hls_shows(&forms(seen), SIZE, findings);
}
