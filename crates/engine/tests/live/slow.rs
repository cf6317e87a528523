//! Encoders and networks that are too slow, and how this is reported.

use gostream_engine::{
    EngineEvent,
    spec::ProjectSpec,
    status::{ProjectStatus, RelayError, RelayState},
};
use gostream_testkit::{
    PATIENCE,
    encoder::Encoder,
    platform::{Behaviour, Platform},
    script::Script,
    uplink::Uplink,
};
use tokio::{task::JoinHandle, time::timeout};

use crate::stage::{Stage, destination};

/// The codes of the stream's notices.
fn codes(status: &ProjectStatus) -> Vec<&'static str> {
    status.stream.notices.iter().map(|notice| notice.code).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_encoder_is_reported_until_it_keeps_up() {
    let stage = Stage::new().await;
    let spec = stage.project("key", &[]);
    let mut encoder = Encoder::publish(stage.address, "key").await.expect("is admitted");
    let all = Script { ms: 60_000, ..Script::default() }.write();
    let sending = tokio::spawn(async move {
        // 12 s of media in 24 s, then real time.
        let turn = all.iter().position(|media| media.timestamp >= 12_000).expect("is longer");
        encoder.send_paced(&all[..turn], 0.5).await?;
        encoder.send_paced(&all[turn..], 1.0).await
    });
    let status = stage.until(spec.id, "slow", |status| codes(status) == ["slow_encoder"]).await;
    let message = &status.stream.notices[0].message;
    let percent = status.stream.speed_percent.expect("is known");
    assert!((45..=55).contains(&percent), "{percent} %");
    assert!(message.starts_with(&format!("Your encoder or its line manages {percent} % of real time")), "{message}");
    let video = status.stream.video.as_ref().expect("comes");
    assert!(video.fps.is_some_and(|fps| (11.0..14.0).contains(&fps)), "by the wall clock: {video:?}");
    let status = stage.until(spec.id, "as fast as it should be", |status| codes(status).is_empty()).await;
    assert!(status.stream.speed_percent >= Some(97), "{:?}", status.stream.speed_percent);
    sending.abort();
}

/// 25 frames per second of 12 kB, and audio: 2.5 Mbit/s.
const SHOW: Script =
    Script { start: 0, ms: 120_000, gop_ms: 1_000, frame_bytes: 12_000, video: true, audio: true, seed: 0 };

/// Sends the script in real time, until its end or the end of the test.
async fn on_air(stage: &Stage) -> JoinHandle<()> {
    let mut encoder = Encoder::publish(stage.address, "key").await.expect("is admitted");
    tokio::spawn(async move { drop(encoder.send_paced(&SHOW.write(), 1.0).await) })
}

/// A project with a destination for each server of the uplink.
fn over_uplink(stage: &Stage, uplink: &Uplink, servers: usize) -> ProjectSpec {
    let mut spec = stage.project("key", &[]);
    spec.destinations = (0..servers).map(|n| destination(n, &uplink.url(n))).collect();
    stage.save(&spec);
    spec
}

fn trouble(status: &ProjectStatus) -> Vec<Option<&'static str>> {
    status.relays.values().map(|relay| relay.last_error.as_ref().map(|error| error.code)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_destination_is_degraded_with_the_reason_until_it_catches_up() {
    let mut stage = Stage::new().await;
    let [good, slow] = [
        Platform::start(Behaviour::default()).await.expect("listens"),
        Platform::start(Behaviour::default()).await.expect("listens"),
    ];
    let uplink = Uplink::start(1_000, &[slow.address()]).await.expect("listens");
    let mut spec = over_uplink(&stage, &uplink, 1);
    spec.destinations.push(destination(1, &good.url()));
    stage.save(&spec);
    let sending = on_air(&stage).await;
    stage.until_all_live(&spec).await;
    let status = stage.until_relay(&spec, 0, RelayState::Degraded).await;
    assert_eq!(trouble(&status), [Some("slow_server"), None]);
    assert_eq!(status.relays[&spec.destinations[1].id].state, RelayState::Live);
    let degraded = next_degraded(&mut stage).await;
    assert!(degraded.message.starts_with("127.0.0.2 takes the stream too slowly"), "{degraded:?}");
    stage
        .until(spec.id, "skipping", |status| status.relays.values().any(|relay| relay.dropped_frames > 0))
        .await;
    assert!(codes(&stage.engine.status(spec.id).expect("is live")).is_empty(), "one of two is not the uplink");
    uplink.set_kbps(100_000);
    let status = stage.until_relay(&spec, 0, RelayState::Live).await;
    assert_eq!(trouble(&status), [None, None]);
    assert_eq!(status.relays[&spec.destinations[0].id].reconnects, 0, "on one connection throughout");
    sending.abort();
}

/// The error of the next relay that is degraded, from the timeline.
async fn next_degraded(stage: &mut Stage) -> RelayError {
    let looking = async {
        loop {
            let event = stage.events.recv().await.expect("the engine runs");
            if let EngineEvent::RelayChanged { state: RelayState::Degraded, error, .. } = event {
                return error.expect("has a reason");
            }
        }
    };
    timeout(PATIENCE, looking).await.expect("is reported")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_small_uplink_is_reported_once_instead_of_platform_errors() {
    let stage = Stage::new().await;
    let mut platforms = Vec::new();
    for _ in 0..3 {
        platforms.push(Platform::start(Behaviour::default()).await.expect("listens"));
    }
    let servers: Vec<_> = platforms.iter().map(Platform::address).collect();
    let uplink = Uplink::start(4_000, &servers).await.expect("listens");
    let spec = over_uplink(&stage, &uplink, 3);
    let sending = on_air(&stage).await;
    stage.until_all_live(&spec).await;
    let status = stage
        .until(spec.id, "all behind", |status| {
            codes(status) == ["uplink_too_small"]
                && status.relays.values().all(|relay| relay.state == RelayState::Degraded)
        })
        .await;
    assert_eq!(trouble(&status), [Some("uplink_too_small"); 3]);
    let message = &status.stream.notices[0].message;
    let figures: Vec<f64> = message.split(' ').filter_map(|word| word.parse().ok()).collect();
    let [destinations, needed, through] = figures[..] else { panic!("{message}") };
    assert!(message.starts_with("Your server's uplink is too small: 3 destinations need "), "{message}");
    assert!(destinations == 3.0 && (7.0..8.0).contains(&needed) && (3.0..5.0).contains(&through), "{message}");
    uplink.set_kbps(100_000);
    stage
        .until(spec.id, "as it should be", |status| {
            codes(status).is_empty() && status.relays.values().all(|relay| relay.state == RelayState::Live)
        })
        .await;
    sending.abort();
}
