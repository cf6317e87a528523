//! Plays a case in real time: the modified stream goes into the real program; two HLS watchers and a destination record
//! the output, and the API is polled every second. Many cases run in parallel in one program, each in its own project.

use std::{fmt::Write as _, sync::Arc, time::Duration};

use gostream_testkit::{
    encoder::Encoder,
    platform::{Behaviour, Platform, Visit},
};
use serde_json::{Value, json};
use tokio::{
    task::{JoinHandle, JoinSet},
    time::{Instant, interval, sleep_until},
};
use tokio_util::sync::CancellationToken;

use crate::{
    bend::Schedule,
    checks::Findings,
    measure::Measured,
    show::Show,
    watch::{Watched, watch},
};

/// After the last message, for the watchers to fetch the last listed files.
const TAIL: Duration = Duration::from_millis(1_200);

/// An odd stream and its checks.
#[derive(Clone, Copy)]
pub struct Case {
    /// A short id, for `ODD_CASES`.
    pub id: &'static str,
    /// The behaviour.
    pub name: &'static str,
    /// A second destination is added this long after the start.
    pub late_ms: Option<u64>,
    /// The messages.
    pub sends: fn() -> Schedule,
    /// The checks.
    pub right: fn(&Recording, &mut Findings),
}

/// The recorded output of a case.
pub struct Recording {
    pub schedule: Schedule,
    /// The actual sending time of each message, from the first message on.
    pub sent: Vec<Duration>,
    /// Why the program closed the encoder's connection.
    pub hung_up: Option<String>,
    pub started: Instant,
    /// From the first message to the last.
    pub wall: Duration,
    /// The destination that existed from the start.
    pub visits: Vec<Visit>,
    /// The destination that was added later, and when.
    pub late: Vec<Visit>,
    pub late_added: Option<Instant>,
    pub classic: Watched,
    pub low_latency: Watched,
    /// The project as the API showed it, every second.
    pub samples: Vec<(Duration, Value)>,
    /// The timeline of the stream: every state of the stream and its relays.
    pub timeline: Vec<Value>,
    pub measured: Measured,
}

/// Runs the selected cases in parallel; panics with all failed checks.
pub async fn side_by_side(cases: &[Case]) {
    let chosen = std::env::var("ODD_CASES").ok().filter(|list| !list.is_empty());
    let is_chosen = |case: &&Case| {
        chosen.as_ref().is_none_or(|list| list.split(',').any(|name| name == case.id || name == case.name))
    };
    let cases: Vec<Case> = cases.iter().filter(is_chosen).copied().collect();
    if cases.is_empty() {
        return;
    }
    let making: Vec<_> = cases.iter().map(|case| tokio::task::spawn_blocking(case.sends)).collect();
    let mut schedules = Vec::new();
    for making in making {
        schedules.push(making.await.expect("the stream is made"));
    }
    let show = Arc::new(Show::start(&[("GOSTREAM_QUOTA_LIVE_STREAMS", "100")]).await);
    let mut playing = JoinSet::new();
    for (case, schedule) in cases.into_iter().zip(schedules) {
        let show = Arc::clone(&show);
        playing.spawn(async move {
            let seen = play(&show, &case, schedule).await;
            // Some checks decode.
            let judging = tokio::task::spawn_blocking(move || {
                let mut findings = Findings::default();
                (case.right)(&seen, &mut findings);
                (case, findings, summary(&seen))
            });
            joined(judging).await
        });
    }
    let (mut report, mut wrong) = (String::new(), 0);
    while let Some(played) = playing.join_next().await {
        let (case, findings, summary) = played.expect("is played to its end");
        let findings = findings.list();
        let word = if findings.is_empty() { "right" } else { "WRONG" };
        println!("{word}: {} {}", case.id, case.name);
        if !findings.is_empty() {
            wrong += 1;
            let _ = writeln!(report, "\n{} ({})\n  - {}\n{summary}", case.name, case.id, findings.join("\n  - "));
        }
    }
    assert!(wrong == 0, "{wrong} streams failed their checks:\n{report}");
}

async fn play(show: &Show, case: &Case, schedule: Schedule) -> Recording {
    let project = show.client.post("/api/projects", json!({"name": case.name})).await.json(201);
    let field = |name: &str| project[name].as_str().expect("is text").to_owned();
    let (id, key, playback) = (field("id"), field("streamKey"), field("playbackId"));
    let platform = Platform::start(Behaviour::default()).await.expect("listens");
    add_destination(show, &id, &platform).await;
    let late_platform = Platform::start(Behaviour::default()).await.expect("listens");

    let stop = CancellationToken::new();
    let follow = |path: String| tokio::spawn(watch(show.client.address, path, stop.clone()));
    let classic = follow(format!("/hls/{key}.m3u8"));
    let low_latency = follow(format!("/hls/{playback}/media.m3u8"));
    let samples = tokio::spawn(sample(show.client.clone(), format!("/api/projects/{id}"), stop.clone()));

    let mut encoder = Encoder::publish(show.rtmp, &key).await.expect("is let in");
    let started = Instant::now();
    let late = async {
        let after = Duration::from_millis(case.late_ms?);
        sleep_until(started + after).await;
        add_destination(show, &id, &late_platform).await;
        Some(Instant::now())
    };
    let ((sent, hung_up), late_added) = tokio::join!(send(&mut encoder, &schedule, started), late);
    let wall = started.elapsed();
    sleep_until(Instant::now() + TAIL).await;
    stop.cancel();
    let (classic, low_latency, samples) = (joined(classic).await, joined(low_latency).await, joined(samples).await);
    let timeline = timeline(show, &id, samples.last().map(|(_, project)| project)).await;
    let (visits, late) = (platform.visits(), late_platform.visits());
    let _ = encoder.stop().await;
    let measured = Measured::of(&visits, &classic, &low_latency).await;
    Recording {
        schedule,
        sent,
        hung_up,
        started,
        wall,
        visits,
        late,
        late_added,
        classic,
        low_latency,
        samples,
        timeline,
        measured,
    }
}

async fn joined<T>(task: JoinHandle<T>) -> T {
    task.await.expect("ends well")
}

async fn add_destination(show: &Show, project: &str, platform: &Platform) {
    let body = json!({
        "platform": "custom", "name": "test", "rtmpUrl": platform.url(), "streamKey": "key", "enabled": true,
    });
    show.client.post(&format!("/api/projects/{project}/destinations"), body).await.json(201);
}

/// Sends each message at its time. Returns the sending times, and why the program accepted no more.
async fn send(encoder: &mut Encoder, schedule: &Schedule, started: Instant) -> (Vec<Duration>, Option<String>) {
    let mut sent = Vec::new();
    for item in &schedule.0 {
        sleep_until(started + Duration::from_secs_f64(item.at_ms / 1_000.0)).await;
        let result = async {
            encoder.send(&item.media).await?;
            encoder.read_replies().await
        };
        if let Err(error) = result.await {
            return (sent, Some(error.to_string()));
        }
        sent.push(started.elapsed());
    }
    (sent, None)
}

/// Polls the project every second.
async fn sample(client: crate::http::Client, path: String, stop: CancellationToken) -> Vec<(Duration, Value)> {
    let started = Instant::now();
    let mut samples = Vec::new();
    let mut seconds = interval(Duration::from_secs(1));
    while !stop.is_cancelled() {
        tokio::select! {
            _ = seconds.tick() => samples.push((started.elapsed(), client.get(&path).await.json(200))),
            () = stop.cancelled() => {}
        }
    }
    samples
}

async fn timeline(show: &Show, project: &str, last: Option<&Value>) -> Vec<Value> {
    let Some(stream) = last.and_then(|project| project["stream"]["id"].as_str()) else { return Vec::new() };
    let report = show.client.get(&format!("/api/projects/{project}/streams/{stream}")).await.json(200);
    report["events"].as_array().cloned().unwrap_or_default()
}

/// The measurements, to diagnose a failure.
fn summary(seen: &Recording) -> String {
    let mut out = format!("    sent for {:.1} s", seen.wall.as_secs_f64());
    if let Some(error) = &seen.hung_up {
        let _ = write!(out, ", then the program hung up: {error}");
    }
    for (visit, decoded) in seen.visits.iter().zip(&seen.measured.destination) {
        let _ = write!(out, "\n    destination: {} messages, {decoded}", visit.media.len());
    }
    let forms = [
        ("classic", &seen.classic, &seen.measured.classic),
        ("low latency", &seen.low_latency, &seen.measured.low_latency),
    ];
    for (form, watched, runs) in forms {
        let extinf: Vec<_> = watched.segments.iter().map(|segment| segment.seconds).take(12).collect();
        let (targets, sum) = (watched.target_durations(), watched.listed_seconds());
        let _ = write!(out, "\n    {form}: EXTINF {extinf:?}, together {sum:.2} s, target durations {targets:?}");
        let _ = write!(out, ", polled within {:?}", watched.slowest_poll);
        for run in runs {
            let _ = write!(out, "\n      {run}");
        }
    }
    if let Some((_, project)) = seen.samples.last() {
        let (stream, relay) = (&project["stream"], &project["destinations"][0]["relay"]);
        let _ = write!(out, "\n    API: {} {} {}", stream["video"], stream["audio"], stream["notices"]);
        let _ = write!(out, "\n    relay: {} {} {}", relay["state"], relay["reconnects"], relay["lastError"]);
    }
    out
}
