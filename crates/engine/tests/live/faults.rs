//! Many destinations, some of them faulty in every way, at the same time.

use std::{num::NonZeroU32, time::Duration};

use gostream_engine::status::RelayState;
use gostream_proto::rtmp::media::{Media, MediaKind};
use gostream_testkit::{
    encoder::Encoder,
    platform::{Behaviour, Platform, Visit},
    script::Script,
};
use tokio::time::Instant;

use crate::stage::{Stage, assert_same, is_monotonic};

/// 25 frames per second of 12 kB: 2.4 Mbit/s.
const SHOW: Script =
    Script { start: 0, ms: 20_000, gop_ms: 1_000, frame_bytes: 12_000, video: true, audio: true, seed: 0 };

async fn platforms(behaviours: Vec<Behaviour>) -> Vec<Platform> {
    let mut platforms = Vec::new();
    for behaviour in behaviours {
        platforms.push(Platform::start(behaviour).await.expect("listens"));
    }
    platforms
}

/// Streams to six good destinations and to `others`; returns the video delays of the six.
async fn run(others: Vec<Behaviour>) -> Vec<Duration> {
    let stage = Stage::new().await;
    let good = platforms(vec![Behaviour::default(); 6]).await;
    let bad = platforms(others).await;
    let spec = stage.project("key", &good.iter().chain(&bad).collect::<Vec<_>>());
    let mut encoder = Encoder::publish(stage.address, "key").await.expect("is admitted");
    let all = SHOW.write();
    encoder.send_all(&all[..10]).await.expect("is taken");
    for n in 0..good.len() {
        stage.until_relay(&spec, n, RelayState::Live).await;
    }
    let started = Instant::now();
    encoder.send_paced(&all[10..], 1.0).await.expect("is taken");
    encoder.stop().await.expect("says goodbye");
    let mut delays = Vec::new();
    for platform in &good {
        let visits = platform.until("the goodbye", |visits| visits.iter().any(|visit| visit.unpublished)).await;
        assert_eq!(visits.len(), 1, "one connection throughout");
        assert_same(&visits[0].media, &all);
        assert!(is_monotonic(&visits[0].media));
        delays.extend(delays_of(&visits[0], &all, started));
    }
    delays.sort();
    delays
}

/// From the time when a frame was due at the encoder to its arrival.
fn delays_of(visit: &Visit, all: &[Media], started: Instant) -> Vec<Duration> {
    let first = all[10].timestamp;
    let arrived = visit.media.iter().zip(&visit.arrivals).filter(|(media, _)| media.kind == MediaKind::Video);
    arrived
        .filter(|(media, _)| media.timestamp > first)
        .map(|(media, at)| {
            let due = started + Duration::from_millis((media.timestamp - first).into());
            at.saturating_duration_since(due)
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn four_faulty_destinations_do_not_affect_the_other_six() {
    let quiet = run(Vec::new()).await;
    let faulty = run(vec![
        Behaviour { mute: true, ..Behaviour::default() },
        Behaviour { kbps: NonZeroU32::new(1_200), ..Behaviour::default() },
        Behaviour { reset_after: Some(Duration::from_secs(5)), ..Behaviour::default() },
        Behaviour { refuse: Some("NetStream.Publish.Denied"), ..Behaviour::default() },
    ])
    .await;
    for (name, delays) in [("without faults", quiet), ("with four broken", faulty)] {
        let at = |share: f64| delays[((delays.len() - 1) as f64 * share) as usize];
        println!("{name}: delay p50 {:?}, p99 {:?}, max {:?}", at(0.5), at(0.99), at(1.0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn destination_that_repeatedly_restarts_is_always_reconnected() {
    let stage = Stage::new().await;
    let first = Platform::start(Behaviour::default()).await.expect("listens");
    let address = first.address();
    let spec = stage.project("key", &[&first]);
    let mut encoder = Encoder::publish(stage.address, "key").await.expect("is admitted");
    let sending = tokio::spawn(async move {
        // Longer than the test, which aborts it.
        let show = Script { ms: 120_000, frame_bytes: 2_000, ..SHOW };
        let _ = encoder.send_paced(&show.write(), 1.0).await;
    });
    let mut platform = first;
    for round in 1..=20_u32 {
        platform.until_video(3).await;
        stage.until_relay(&spec, 0, RelayState::Live).await;
        platform.stop().await;
        platform = Platform::start_at(address, Behaviour::default()).await.expect("listens again");
        let id = spec.destinations[0].id;
        // A retry may be requested before the loss was detected, so it is repeated.
        let waiting = async {
            loop {
                stage.engine.retry(spec.id, id);
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::select! {
            () = waiting => {}
            _ = platform.until_video(1) => {}
        }
        let status = stage.until_relay(&spec, 0, RelayState::Live).await;
        assert!(status.relays[&id].reconnects >= round, "each loss is counted");
    }
    sending.abort();
}
