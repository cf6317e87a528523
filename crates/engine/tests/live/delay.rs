//! Destinations with a delay.

use std::time::Duration;

use gostream_engine::{
    EndReason,
    spec::{ProjectSpec, Target},
    status::{ProjectStatus, RelayState, StreamPhase},
};
use gostream_proto::rtmp::{
    media::{Media, MediaKind},
    url::RtmpUrl,
};
use gostream_testkit::{
    encoder::Encoder,
    platform::{Behaviour, Platform, Visit},
    script::Script,
};
use tokio::time::Instant;

use crate::stage::{Stage, assert_same, is_monotonic};

const SECOND: Duration = Duration::from_secs(1);

async fn platform() -> Platform {
    Platform::start(Behaviour::default()).await.expect("listens")
}

async fn until_goodbye(platform: &Platform) -> Visit {
    let visits = platform.until("the goodbye", |visits| visits.iter().any(|visit| visit.unpublished)).await;
    assert_eq!(visits.len(), 1, "one connection throughout");
    visits[0].clone()
}

/// Media with arrival times.
fn arrived(visit: &Visit) -> Vec<(&Media, Instant)> {
    visit.media.iter().zip(visit.arrivals.iter().copied()).collect()
}

fn with_delay(stage: &Stage, spec: &mut ProjectSpec, n: usize, delay: Duration) {
    spec.destinations[n].delay = delay;
    stage.save(spec);
}

fn delay_ms(status: &ProjectStatus, spec: &ProjectSpec, n: usize) -> u32 {
    status.relays[&spec.destinations[n].id].delay_ms
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_three_gets_the_same_bytes_three_seconds_later() {
    let stage = Stage::new().await;
    let (first, later, third) = (platform().await, platform().await, platform().await);
    let mut spec = stage.project("key", &[&first, &later, &third]);
    with_delay(&stage, &mut spec, 1, 3 * SECOND);
    let mut encoder = Encoder::publish(stage.address, "key").await.expect("is admitted");
    let all = Script { ms: 8_000, ..Script::default() }.write();
    let began = Instant::now();
    let sending = tokio::spawn(async move {
        encoder.send_paced(&all, 1.0).await.expect("is taken");
        encoder.stop().await.expect("says goodbye");
        all
    });
    stage.until_relay(&spec, 0, RelayState::Live).await;
    let status = stage.until_relay(&spec, 1, RelayState::Waiting).await;
    assert_eq!([0, 1, 2].map(|n| delay_ms(&status, &spec, n)), [0, 3_000, 0]);
    stage.until_relay(&spec, 1, RelayState::Live).await;
    assert!(began.elapsed() >= 3 * SECOND, "it connects when its first packet is due");

    let status = stage
        .until(spec.id, "ending", |status| matches!(status.stream.phase, StreamPhase::Ending { .. }))
        .await;
    assert_eq!(status.relays[&spec.destinations[1].id].state, RelayState::Live, "it receives the rest");
    assert!(status.relays[&spec.destinations[1].id].lag_ms < 2_000, "the delay does not count as lag: {status:#?}");
    let over = |status: &ProjectStatus| status.relays[&spec.destinations[0].id].state == RelayState::Off;
    stage.until(spec.id, "over for the others", over).await;
    let all = sending.await.expect("is sent");
    let visits = [until_goodbye(&first).await, until_goodbye(&later).await, until_goodbye(&third).await];
    for visit in &visits {
        assert_same(&visit.media, &all);
        assert!(is_monotonic(&visit.media));
    }
    let (now, delayed) = (arrived(&visits[0]), arrived(&visits[1]));
    assert_eq!(now.len(), delayed.len());
    for ((before, came), (after, came_later)) in now.into_iter().zip(delayed) {
        assert_eq!((before.kind, before.timestamp, &before.body), (after.kind, after.timestamp, &after.body));
        let later = came_later - came;
        // The headers and the first pictures arrive with the first read.
        assert!(later >= 2 * SECOND + SECOND / 2 && later <= 5 * SECOND, "{later:?} later at {}", after.timestamp);
    }
    stage.until_offline(spec.id).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn delay_changes_while_live_without_a_reconnect() {
    let stage = Stage::new().await;
    let (primary, backup) = (platform().await, platform().await);
    let mut spec = stage.project("key", &[&primary]);
    let url = RtmpUrl::parse(&backup.url()).expect("is a URL");
    spec.destinations[0].backup = Some(Target { url, key: spec.destinations[0].target.key.clone() });
    stage.save(&spec);
    let mut encoder = Encoder::publish(stage.address, "key").await.expect("is admitted");
    let sending = tokio::spawn(async move {
        let all = Script { ms: 60_000, ..Script::default() }.write();
        let _ = encoder.send_paced(&all, 1.0).await;
    });
    stage.until_all_live(&spec).await;
    let mut seen = 0;
    for delay in [3 * SECOND, SECOND, Duration::ZERO] {
        with_delay(&stage, &mut spec, 0, delay);
        let wanted = delay.as_millis() as u32;
        stage.until(spec.id, "at its new delay", |status| delay_ms(status, &spec, 0) == wanted).await;
        // A keyframe interval later, plus a margin.
        let pictures = |visit: &Visit| visit.media.iter().filter(|media| media.kind == MediaKind::Video).count();
        seen = pictures(&primary.visits()[0]).max(seen) + 40;
        primary.until_video(seen).await;
        backup.until_video(seen).await;
    }
    sending.abort();
    stage.engine.end(spec.id, EndReason::EndedByOwner);
    let mut times = Vec::new();
    for platform in [&primary, &backup] {
        let visit = until_goodbye(platform).await;
        assert!(is_monotonic(&visit.media));
        let video: Vec<_> = arrived(&visit).into_iter().filter(|(media, _)| media.kind == MediaKind::Video).collect();
        for pair in video[2..].windows(2) {
            let step_ms = pair[1].0.timestamp - pair[0].0.timestamp;
            assert!(step_ms < 1_000, "no gap over a keyframe interval: {step_ms} ms");
            assert!(pair[1].1 - pair[0].1 < 2 * SECOND, "no pause at {}", pair[1].0.timestamp);
        }
        times.push(video.iter().map(|(media, _)| (media.body.clone(), media.timestamp)).collect::<Vec<_>>());
    }
    let frames = times[0].iter().map(|(body, _)| body).collect::<std::collections::HashSet<_>>().len();
    assert!(times[0].len() > frames + 25, "the longer delay repeated a part");
    let common = times[0].len().min(times[1].len());
    assert_eq!(times[0][..common], times[1][..common], "one clock for both legs");
}

#[tokio::test(flavor = "multi_thread")]
async fn rest_of_a_delayed_stream_is_cut_short_by_urgent_events() {
    for cut in ["a new stream", "the owner", "the destination is switched off", "the server stops"] {
        let stage = Stage::new().await;
        let platforms = [platform().await, platform().await];
        let mut spec = stage.project("key", &[&platforms[0], &platforms[1]]);
        with_delay(&stage, &mut spec, 1, 60 * SECOND);
        let mut encoder = Encoder::publish(stage.address, "key").await.expect("is admitted");
        encoder.send_all(&Script::default().write()).await.expect("is taken");
        stage.until_relay(&spec, 0, RelayState::Live).await;
        let stream = stage.engine.status(spec.id).expect("is live").stream.id;
        let began = Instant::now();
        encoder.stop().await.expect("says goodbye");
        until_goodbye(&platforms[0]).await;
        let ending = |status: &ProjectStatus| matches!(status.stream.phase, StreamPhase::Ending { .. });
        stage.until(spec.id, "ending", ending).await;
        let refusal = Encoder::play(stage.address, "key").await.expect_err("no new stream to play");
        assert_eq!(refusal.to_string(), "NetStream.Play.StreamNotFound");
        match cut {
            "a new stream" => {
                let encoder = Encoder::publish(stage.address, "key").await.expect("is admitted");
                let status = stage.until(spec.id, "another stream", |status| status.stream.id != stream).await;
                assert_eq!(status.stream.phase, StreamPhase::Live);
                encoder.stop().await.expect("says goodbye");
            }
            "the owner" => {
                stage.engine.end(spec.id, EndReason::EndedByOwner);
                stage.until_offline(spec.id).await;
            }
            "the server stops" => stage.engine.shutdown().await,
            _ => {
                spec.destinations[1].enabled = false;
                stage.save(&spec);
                stage.until_offline(spec.id).await;
            }
        }
        assert!(began.elapsed() < 10 * SECOND, "{cut}: {:?}", began.elapsed());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn stream_shorter_than_its_delay_arrives_completely() {
    let stage = Stage::new().await;
    let platform = platform().await;
    let mut spec = stage.project("key", &[&platform]);
    with_delay(&stage, &mut spec, 0, 4 * SECOND);
    let mut encoder = Encoder::publish(stage.address, "key").await.expect("is admitted");
    let all = Script { ms: 2_000, ..Script::default() }.write();
    encoder.send_paced(&all, 1.0).await.expect("is taken");
    encoder.stop().await.expect("says goodbye");
    assert_same(&until_goodbye(&platform).await.media, &all);
    stage.until_offline(spec.id).await;

    // Sent and due almost at once, and still delivered, from a keyframe on.
    let mut encoder = Encoder::publish(stage.address, "key").await.expect("is admitted");
    encoder.send_all(&all).await.expect("is taken");
    encoder.stop().await.expect("says goodbye");
    let both = |visits: &[Visit]| visits.len() == 2 && visits[1].unpublished;
    let visits = platform.until("the second goodbye", both).await;
    let [last, received] = [&all, &visits[1].media].map(|media| media.last().expect("has media").body.clone());
    assert_eq!(received, last);
}

#[tokio::test(flavor = "multi_thread")]
async fn connection_lost_after_the_end_is_restored_for_the_rest() {
    let stage = Stage::new().await;
    let platform = platform().await;
    let address = platform.address();
    let mut spec = stage.project("key", &[&platform]);
    with_delay(&stage, &mut spec, 0, 6 * SECOND);
    let mut encoder = Encoder::publish(stage.address, "key").await.expect("is admitted");
    let all = Script { ms: 5_000, ..Script::default() }.write();
    encoder.send_paced(&all, 1.0).await.expect("is taken");
    encoder.stop().await.expect("says goodbye");
    platform.until_video(2).await;
    platform.stop().await;
    stage.until_relay(&spec, 0, RelayState::Backoff).await;
    let platform = Platform::start_at(address, Behaviour::default()).await.expect("listens again");
    stage.engine.retry(spec.id, spec.destinations[0].id);
    let visit = until_goodbye(&platform).await;
    let last = all.iter().rfind(|media| media.kind == MediaKind::Video).expect("has pictures");
    assert_eq!(visit.media.iter().rfind(|media| media.kind == MediaKind::Video).map(|m| &m.body), Some(&last.body));
}
