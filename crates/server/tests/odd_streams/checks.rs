//! The checks of a stream; each case combines some of them.

use std::{collections::HashMap, time::Duration};

use bytes::Bytes;
use gostream_proto::rtmp::media::MediaKind;
use gostream_testkit::platform::Visit;
use serde_json::Value;

use crate::{clips::is_header, measure::Decoded, run::Recording, watch::Watched};

/// Tolerance of durations compared with the wall clock.
pub const SPAN_S: f64 = 0.5;
/// Tolerance of sync: one picture at 30 fps, one AAC frame, and the windows in which both are measured.
pub const SYNC_MS: i64 = 100;
/// Time limit for the first media of a destination that is added late.
const LATE_START: Duration = Duration::from_secs(12);
/// Interval of the flashes and beeps.
const PERIOD_MS: i64 = 2_000;

/// Failed checks.
#[derive(Default)]
pub struct Findings(Vec<String>);

impl Findings {
    /// Records `what` unless `right`.
    pub fn expect(&mut self, right: bool, what: impl FnOnce() -> String) {
        if !right {
            self.0.push(what());
        }
    }

    pub fn list(self) -> Vec<String> {
        self.0
    }
}

/// A message that reached a destination, with its index in the schedule.
#[derive(Clone, Copy, Debug)]
pub struct Passed {
    /// Index in the schedule.
    pub index: usize,
    /// The destination's timestamp minus the encoder's, in ms.
    pub shift_ms: i64,
    /// The destination's timestamp minus the sending time, in ms.
    pub lead_ms: i64,
}

/// The messages of a track that reached the destination unchanged, without headers.
pub fn passed(seen: &Recording, visit: &Visit, kind: MediaKind) -> Vec<Passed> {
    let mut places: HashMap<&Bytes, Vec<usize>> = HashMap::new();
    for (index, item) in seen.schedule.0.iter().enumerate().take(seen.sent.len()) {
        if item.media.kind == kind && !is_header(&item.media) {
            places.entry(&item.media.body).or_default().push(index);
        }
    }
    let (mut found, mut next) = (Vec::new(), 0);
    for media in visit.media.iter().filter(|media| media.kind == kind && !is_header(media)) {
        let place = places.get(&media.body).and_then(|places| places.iter().find(|&&index| index >= next));
        if let Some(&index) = place {
            let (sent, at) = (seen.schedule.0[index].media.timestamp, seen.sent[index].as_millis() as i64);
            let shift_ms = i64::from(media.timestamp.wrapping_sub(sent) as i32);
            found.push(Passed { index, shift_ms, lead_ms: i64::from(media.timestamp) - at });
            next = index + 1;
        }
    }
    found
}

pub fn median(values: impl IntoIterator<Item = i64>) -> Option<i64> {
    let mut values: Vec<_> = values.into_iter().collect();
    values.sort_unstable();
    values.get(values.len() / 2).copied()
}

fn is_video_or_audio(kind: MediaKind) -> bool {
    matches!(kind, MediaKind::Video | MediaKind::Audio)
}

// --- Destinations ---

/// A single connection that received media to the end.
pub fn one_connection(seen: &Recording, findings: &mut Findings) {
    connections(seen, 1, findings);
}

/// At most `most` connections, none of which failed; the newest received media to the end.
pub fn connections(seen: &Recording, most: usize, findings: &mut Findings) {
    let visits = seen.visits.len();
    findings.expect((1..=most).contains(&visits), || format!("destination: {visits} connections, not {most}"));
    let relays = seen.timeline.iter().filter(|event| !event["relay"].is_null());
    let failures = relays.filter(|event| event["state"] == "backoff" || event["state"] == "rejected");
    let failures: Vec<_> = failures.map(|event| format!("{} because of {}", event["state"], event["code"])).collect();
    findings.expect(failures.is_empty(), || format!("destination: the relay is in {failures:?}"));
    let newest = seen.visits.last().and_then(|visit| visit.arrivals.last());
    let age = newest.map(|at| (seen.started + seen.wall).saturating_duration_since(*at));
    findings.expect(age.is_some_and(|age| age < Duration::from_secs(2)), || {
        format!("destination: the newest message is {age:?} old at the end")
    });
}

/// The duration of each track on each connection equals the time that sending took.
pub fn destination_keeps_wall_time(seen: &Recording, findings: &mut Findings) {
    for visit in &seen.visits {
        for kind in [MediaKind::Video, MediaKind::Audio] {
            let Some((stamped, wall)) = spans(seen, visit, kind) else { continue };
            findings.expect((stamped - wall).abs() <= SPAN_S, || {
                format!("destination: {kind:?} lasts {stamped:.2} s and was sent for {wall:.2} s")
            });
        }
    }
}

/// Duration from the first message of a track to the last, in seconds: by the destination's timestamps, and by the wall
/// clock.
fn spans(seen: &Recording, visit: &Visit, kind: MediaKind) -> Option<(f64, f64)> {
    let arrived =
        || visit.media.iter().zip(&visit.arrivals).filter(|(media, _)| media.kind == kind && !is_header(media));
    let (first, last) = (arrived().next()?, arrived().next_back()?);
    let stamped = f64::from(last.0.timestamp.wrapping_sub(first.0.timestamp) as i32) / 1_000.0;
    let passed = passed(seen, visit, kind);
    let recognised = 2 * passed.len() > arrived().count();
    let wall = match (passed.first(), passed.last()) {
        (Some(first), Some(last)) if recognised => seen.sent[last.index].saturating_sub(seen.sent[first.index]),
        // Its content was changed by the program.
        _ => last.1.saturating_duration_since(*first.1),
    };
    Some((stamped, wall.as_secs_f64()))
}

/// The destination's media can be decoded. A destination that had to start within a GOP first gets pictures that refer to
/// missing ones; a notice says so.
pub fn destination_decodes(seen: &Recording, findings: &mut Findings) {
    if notices(seen).iter().any(|notice| notice["code"] == "no_keyframe") {
        return;
    }
    for decoded in &seen.measured.destination {
        findings.expect(decoded.errors.is_empty(), || format!("destination: {} errors", decoded.errors.len()));
    }
}

/// The skew between the tracks is the one that was sent.
pub fn destination_keeps_skew(seen: &Recording, findings: &mut Findings) {
    let shift = |kind| {
        let all = seen.visits.iter().flat_map(|visit| passed(seen, visit, kind));
        median(all.map(|passed| passed.shift_ms))
    };
    let moved = shift(MediaKind::Video).zip(shift(MediaKind::Audio)).map(|(video, audio)| video - audio);
    findings.expect(moved.is_some_and(|moved| moved.abs() <= SYNC_MS), || {
        format!("destination: the tracks are moved by {moved:?} ms against each other")
    });
}

/// From that time on, pictures have the timestamps of the audio that arrived with them.
pub fn destination_in_sync_by_arrival(seen: &Recording, from_ms: f64, most_ms: i64, findings: &mut Findings) {
    let lead = |kind| {
        let all = seen.visits.iter().flat_map(|visit| passed(seen, visit, kind));
        median(all.filter(|passed| seen.schedule.0[passed.index].at_ms >= from_ms).map(|passed| passed.lead_ms))
    };
    let apart = lead(MediaKind::Video).zip(lead(MediaKind::Audio)).map(|(video, audio)| video - audio);
    findings.expect(apart.is_some_and(|apart| apart.abs() <= most_ms), || {
        format!("destination: pictures are {apart:?} ms after the audio that they arrive with")
    });
}

/// No picture is sent twice, and at most `lost` are missing.
pub fn pictures_arrive_once(seen: &Recording, lost: usize, findings: &mut Findings) {
    let pictures = |media: &&gostream_proto::rtmp::media::Media| media.kind == MediaKind::Video && !is_header(media);
    let arrived: Vec<&Bytes> = seen
        .visits
        .iter()
        .flat_map(|visit| visit.media.iter().filter(pictures).map(|media| &media.body))
        .collect();
    let mut distinct = arrived.clone();
    distinct.sort_unstable();
    distinct.dedup();
    let twice = arrived.len() - distinct.len();
    findings.expect(twice == 0, || format!("destination: {twice} pictures arrived twice"));
    let sent = seen.schedule.0.iter().map(|item| &item.media).filter(pictures).count();
    findings.expect(distinct.len() + lost >= sent, || {
        format!("destination: {} of {sent} pictures came, {lost} may be missing", distinct.len())
    });
}

/// The destination that was added late got media in time: video if `kind` says so.
pub fn late_destination_gets(seen: &Recording, kind: MediaKind, findings: &mut Findings) {
    let frames = |visit: &Visit| {
        let all = visit.media.iter().zip(&visit.arrivals);
        all.filter(|(media, _)| media.kind == kind && !is_header(media)).map(|(_, at)| *at).min()
    };
    let first = seen.late.iter().filter_map(frames).min();
    let waited = first.zip(seen.late_added).map(|(first, added)| first.saturating_duration_since(added));
    findings.expect(waited.is_some_and(|waited| waited <= LATE_START), || {
        format!("late destination: the first {kind:?} arrived after {waited:?}")
    });
}

/// The destination got its first message within that time.
pub fn destination_begins_within(seen: &Recording, patience: Duration, findings: &mut Findings) {
    let frames = seen.visits.iter().flat_map(|visit| visit.media.iter().zip(&visit.arrivals));
    let frames = frames.filter(|(media, _)| is_video_or_audio(media.kind) && !is_header(media));
    let waited = frames.map(|(_, at)| at.saturating_duration_since(seen.started)).min();
    findings.expect(waited.is_some_and(|waited| waited <= patience), || {
        format!("destination: the first frame arrived after {waited:?}")
    });
}

// --- HLS ---

/// One HLS output: its name, what was fetched, and the decoded media.
pub type Form<'a> = (&'static str, &'a Watched, &'a [Decoded]);

/// Both HLS outputs.
pub fn forms(seen: &Recording) -> [Form<'_>; 2] {
    [("classic HLS", &seen.classic, &seen.measured.classic), low_latency(seen)]
}

/// The output over fragmented MP4.
pub fn low_latency(seen: &Recording) -> Form<'_> {
    ("low-latency HLS", &seen.low_latency, &seen.measured.low_latency)
}

/// Playlists are valid, their duration matches the wall clock, and they continue to the end.
pub fn playlists(seen: &Recording, forms: &[Form<'_>], findings: &mut Findings) {
    for (form, watched, _) in forms {
        if watched.segments.is_empty() {
            findings.expect(false, || format!("{form}: no segment was ever listed"));
            continue;
        }
        let targets = watched.target_durations();
        findings.expect(targets.len() == 1, || format!("{form}: the target duration changes: {targets:?}"));
        let long = watched.too_long();
        findings.expect(long.is_empty(), || format!("{form}: {long:?}"));
        findings.expect(watched.missing.is_empty(), || format!("{form}: listed but gone: {:?}", watched.missing));
        let off_most = SPAN_S + watched.slowest_poll.as_secs_f64() + late_s(seen);
        let off = watched.listed_and_passed().map(|(listed, passed)| listed - passed);
        findings.expect(off.is_none_or(|off| off.abs() <= off_most), || {
            format!("{form}: EXTINF is {:.2} s off the wall clock", off.unwrap_or_default())
        });
        // At most one segment is not listed yet.
        let (listed, wall) = (watched.listed_seconds(), seen.wall.as_secs_f64());
        let least = wall - watched.longest_seconds() - 2.0;
        findings.expect(listed >= least && listed <= wall + SPAN_S, || {
            format!("{form}: {listed:.2} s are listed of {wall:.2} s that were sent")
        });
    }
}

/// The largest delay of a message when sent, in seconds: the fault of a busy machine, not of the program.
fn late_s(seen: &Recording) -> f64 {
    let late = seen.schedule.0.iter().zip(&seen.sent).map(|(item, sent)| sent.as_secs_f64() - item.at_ms / 1_000.0);
    late.fold(0.0, f64::max)
}

/// All files can be decoded.
pub fn hls_decodes(forms: &[Form<'_>], findings: &mut Findings) {
    for (form, _, runs) in forms {
        for run in *runs {
            findings.expect(run.errors.is_empty(), || format!("{form}: {} errors", run.errors.len()));
        }
    }
}

/// Pictures follow each other without a freeze.
pub fn no_freeze(forms: &[Form<'_>], findings: &mut Findings) {
    for (form, _, runs) in forms {
        let longest = runs.iter().map(Decoded::longest_freeze).fold(0.0, f64::max);
        findings.expect(longest <= FREEZE_S, || format!("{form}: the picture freezes for {longest:.2} s"));
    }
}

/// Audio, where present, has no gap and lasts as long as the pictures: a player stalls when one of its buffers is
/// empty.
pub fn no_hole_in_sound(forms: &[Form<'_>], findings: &mut Findings) {
    for (form, _, runs) in forms {
        for run in *runs {
            let Some((first, last)) = run.sound else { continue };
            let picture = run.pictures.first().zip(run.pictures.last());
            let missing = picture.map_or(0.0, |(begin, end)| (first - begin).max(end - last));
            let hole = run.longest_hole.max(missing);
            findings.expect(hole <= HOLE_S, || format!("{form}: the audio has a gap of {hole:.2} s"));
        }
    }
}

/// Beeps come a certain time after flashes, in ms: each beep by one of `allowed`, the last beep by the last of them.
pub fn hls_in_sync(forms: &[Form<'_>], allowed: &[i64], most_ms: i64, findings: &mut Findings) {
    for (form, _, runs) in forms {
        let after: Vec<i64> = runs.iter().flat_map(Decoded::beeps_after_flashes).collect();
        let near = |after: i64, wanted: i64| {
            let off = (after - wanted).rem_euclid(PERIOD_MS);
            off.min(PERIOD_MS - off) <= most_ms
        };
        let right = after.iter().all(|&after| allowed.iter().any(|&wanted| near(after, wanted)));
        let last = after.last().zip(allowed.last()).is_some_and(|(&after, &wanted)| near(after, wanted));
        findings.expect(right && last, || format!("{form}: beeps come {after:?} ms after flashes, not {allowed:?}"));
    }
}

/// Both outputs have audio, or the API reports why not.
pub fn hls_sounds_or_says_why(seen: &Recording, findings: &mut Findings) {
    for (form, _, runs) in forms(seen) {
        let beeps: usize = runs.iter().map(|run| run.beeps.len()).sum();
        findings.expect(beeps >= 2 || !notices(seen).is_empty(), || format!("{form}: silent, and no notice"));
    }
}

/// Pictures have that size.
pub fn hls_shows(forms: &[Form<'_>], size: (u64, u64), findings: &mut Findings) {
    for (form, _, runs) in forms {
        let right = !runs.is_empty() && runs.iter().all(|run| run.size == Some(size) && !run.pictures.is_empty());
        let found: Vec<_> = runs.iter().map(|run| (run.size, run.pictures.len())).collect();
        findings.expect(right, || format!("{form}: sizes and pictures are {found:?}, not {size:?}"));
    }
}

/// Exactly 30 pictures per second are shown.
pub fn pictures_are_whole(seen: &Recording, findings: &mut Findings) {
    for (form, watched, runs) in forms(seen) {
        let shown: usize = runs.iter().map(|run| run.pictures.len()).sum();
        let wanted = watched.listed_seconds() * 30.0;
        findings.expect((shown as f64 - wanted).abs() <= 6.0, || format!("{form}: {shown} pictures, not {wanted:.0}"));
    }
}

// --- API ---

/// The newest state of the project.
pub fn newest(seen: &Recording) -> &Value {
    seen.samples.last().map_or(&Value::Null, |(_, project)| project)
}

/// The stream's notices.
pub fn notices(seen: &Recording) -> Vec<Value> {
    newest(seen)["stream"]["notices"].as_array().cloned().unwrap_or_default()
}

/// The owner got a notice.
pub fn has_notice(seen: &Recording, findings: &mut Findings) {
    findings.expect(!notices(seen).is_empty(), || "API: no notice".to_owned());
}

/// The picture's rate, within ten percent, and its size.
pub fn api_video(seen: &Recording, fps: f64, size: (u64, u64), findings: &mut Findings) {
    let video = &newest(seen)["stream"]["video"];
    let measured = video["fps"].as_f64().unwrap_or_default();
    findings.expect((measured - fps).abs() <= fps / 10.0, || format!("API: {measured} fps, not {fps}"));
    let shown = video["width"].as_u64().zip(video["height"].as_u64());
    findings.expect(shown == Some(size), || format!("API: {shown:?}, not {size:?}"));
}

// --- Together ---

/// The size of the clips.
pub const SIZE: (u64, u64) = (320, 180);
/// Six pictures at 30 per second; a viewer does not notice less.
const FREEZE_S: f64 = 0.2;
/// A gap that players skip without a pause.
const HOLE_S: f64 = 0.5;

/// One connection and both previews, with the duration of the wall clock, and decodable.
pub fn plays(seen: &Recording, findings: &mut Findings) {
    findings.expect(seen.hung_up.is_none(), || format!("the program hung up: {:?}", seen.hung_up));
    one_connection(seen, findings);
    destination_keeps_wall_time(seen, findings);
    playlists(seen, &forms(seen), findings);
    hls_decodes(&forms(seen), findings);
}

/// The same for a stream at 30 fps whose pictures and audio are in sync and never pause.
pub fn plays_in_sync(seen: &Recording, findings: &mut Findings) {
    plays(seen, findings);
    destination_decodes(seen, findings);
    destination_keeps_skew(seen, findings);
    no_freeze(&forms(seen), findings);
    no_hole_in_sound(&forms(seen), findings);
    hls_in_sync(&forms(seen), &[0], SYNC_MS, findings);
    hls_shows(&forms(seen), SIZE, findings);
    api_video(seen, 30.0, SIZE, findings);
}
