//! Streams that are pulled from another server: here a second engine, which plays what an encoder publishes to it.

use std::fmt::Display;

use gostream_engine::{
    EndReason, EngineConfig, EngineEvent, Excess,
    limits::Limits,
    spec::{ProjectSpec, PullSpec, Target},
    status::{PullState, PullStatus, StreamPhase},
};
use gostream_proto::rtmp::url::RtmpUrl;
use gostream_testkit::{
    PATIENCE,
    encoder::Encoder,
    platform::{Behaviour, Platform},
    script::Script,
};
use tokio::time::timeout;

use crate::stage::{Stage, assert_same, config};

const KEY: &str = "front-door";

/// Makes the project pull its stream from `from`.
pub fn pull(stage: &Stage, spec: &ProjectSpec, from: impl Display) {
    let url = RtmpUrl::parse(&format!("rtmp://{from}/live")).expect("is a URL");
    let source = Target { url, key: spec.stream_key.clone() };
    stage.engine.pull(vec![PullSpec { account: spec.account, project: spec.id, source }]);
}

/// Waits until the pull has the wanted status. Watchers of the project are notified, live or not.
pub async fn until_pull(stage: &Stage, spec: &ProjectSpec, wanted: impl Fn(&PullStatus) -> bool) -> PullStatus {
    let mut changes = stage.engine.watch(spec.id);
    let look = async {
        loop {
            match stage.engine.pull_status(spec.id) {
                Some(status) if wanted(&status) => return status,
                _ => changes.changed().await.expect("is watched"),
            }
        }
    };
    let found = timeout(PATIENCE, look).await;
    found.unwrap_or_else(|_| panic!("never as wanted: {:?}", stage.engine.pull_status(spec.id)))
}

/// The end reason of the stream.
async fn end_reason(stage: &mut Stage) -> EndReason {
    let ended = async {
        loop {
            let event = stage.events.recv().await.expect("the engine runs");
            if let EngineEvent::StreamEnded { reason, .. } = event {
                return reason;
            }
        }
    };
    timeout(PATIENCE, ended).await.expect("it ends")
}

async fn until_live(stage: &Stage, spec: &ProjectSpec) {
    stage.until(spec.id, "live", |status| status.stream.phase == StreamPhase::Live).await;
}

async fn until_held(stage: &Stage, spec: &ProjectSpec) {
    let held = |phase| matches!(phase, StreamPhase::Reconnecting { .. });
    stage.until(spec.id, "held", |status| held(status.stream.phase)).await;
}

/// A front server, and one that pulls from it.
async fn front_and_back(platforms: &[&Platform]) -> (Stage, Stage, ProjectSpec) {
    let (front, back) = (Stage::new().await, Stage::new().await);
    front.project(KEY, &[]);
    let spec = back.project(KEY, platforms);
    (front, back, spec)
}

#[tokio::test]
async fn pulled_stream_is_unchanged_and_ends_with_its_source() {
    let platform = Platform::start(Behaviour::default()).await.expect("listens");
    let (front, mut back, spec) = front_and_back(&[&platform]).await;
    let mut encoder = Encoder::publish(front.address, KEY).await.expect("admitted");
    let sent = Script::default().write();
    encoder.send_all(&sent[..20]).await.expect("taken");
    pull(&back, &spec, front.address);
    back.until_all_live(&spec).await;
    assert_eq!(
        back.engine.pull_status(spec.id),
        Some(PullStatus { state: PullState::Live, plays: 1, last_error: None })
    );
    encoder.send_all(&sent[20..]).await.expect("taken");
    let frames = sent.iter().filter(|media| media.kind == gostream_proto::rtmp::media::MediaKind::Video).count();
    let visits = platform.until_video(frames).await;
    assert_same(&visits[0].media, &sent);

    encoder.stop().await.expect("stops");
    until_held(&back, &spec).await;
    back.engine.pull_unpublished(spec.id);
    assert_eq!(end_reason(&mut back).await, EndReason::EncoderStopped);
    let visits = platform.until("the goodbye", |visits| visits[0].unpublished).await;
    assert_eq!(visits.len(), 1);
}

#[tokio::test]
async fn pull_ends_at_once_on_the_publish_done_hook() {
    let (front, mut back, spec) = front_and_back(&[]).await;
    let mut encoder = Encoder::publish(front.address, KEY).await.expect("admitted");
    encoder.send_all(&Script::default().write()).await.expect("taken");
    pull(&back, &spec, front.address);
    until_live(&back, &spec).await;
    back.engine.pull_unpublished(spec.id);
    assert_eq!(end_reason(&mut back).await, EndReason::EncoderStopped);
}

#[tokio::test]
async fn pull_starts_at_once_on_the_publish_hook() {
    let (front, back, spec) = front_and_back(&[]).await;
    pull(&back, &spec, front.address);
    // The front reported no publisher; the next attempt would be seconds away.
    until_pull(&back, &spec, |status| *status == PullStatus::default()).await;
    let mut encoder = Encoder::publish(front.address, KEY).await.expect("admitted");
    back.engine.pull_published(spec.id);
    encoder.send_all(&Script::default().write()).await.expect("taken");
    until_live(&back, &spec).await;
}

#[tokio::test]
async fn encoder_has_priority_over_a_pull() {
    let (front, back, spec) = front_and_back(&[]).await;
    let mut there = Encoder::publish(front.address, KEY).await.expect("admitted");
    there.send_all(&Script::default().write()).await.expect("taken");
    pull(&back, &spec, front.address);
    until_pull(&back, &spec, |status| status.state == PullState::Live).await;
    let stream = back.engine.status(spec.id).expect("is live").stream.id;

    let mut here = Encoder::publish(back.address, KEY).await.expect("admitted");
    here.send_all(&Script { seed: 1, ..Script::default() }.write()).await.expect("taken");
    until_pull(&back, &spec, |status| status.state == PullState::Waiting).await;
    // Even if a hook reports a publisher at the front.
    back.engine.pull_published(spec.id);
    let more = Script { seed: 1, start: 4_000, ..Script::default() };
    here.send_all(&more.frames()).await.expect("still takes");

    here.reset().expect("resets");
    until_held(&back, &spec).await;
    let frames = Script { start: 4_000, ..Script::default() }.frames();
    there.send_all(&frames).await.expect("taken");
    until_live(&back, &spec).await;
    assert_eq!(back.engine.status(spec.id).expect("is live").stream.id, stream, "it is the same stream");
}

#[tokio::test]
async fn pull_reconnects_when_its_source_restarts() {
    let platform = Platform::start(Behaviour::default()).await.expect("listens");
    let (front, back, spec) = front_and_back(&[&platform]).await;
    let mut encoder = Encoder::publish(front.address, KEY).await.expect("admitted");
    encoder.send_all(&Script::default().write()).await.expect("taken");
    pull(&back, &spec, front.address);
    back.until_all_live(&spec).await;
    let stream = back.engine.status(spec.id).expect("is live").stream.id;

    let address = front.address;
    front.engine.shutdown().await;
    until_held(&back, &spec).await;
    let again = Stage::with(EngineConfig { rtmp_listen: address, ..config() }).await;
    again.project(KEY, &[]);
    let mut encoder = Encoder::publish(address, KEY).await.expect("admitted");
    encoder.send_all(&Script { seed: 2, ..Script::default() }.write()).await.expect("taken");
    until_live(&back, &spec).await;
    back.until_all_live(&spec).await;
    assert_eq!(back.engine.status(spec.id).expect("is live").stream.id, stream);
    assert_eq!(platform.visits().len(), 1, "the platform kept its connection");
}

#[tokio::test]
async fn private_server_is_refused_with_a_sentence() {
    let front = Stage::new().await;
    let back = Stage::with(EngineConfig { egress_allow: vec![], ..config() }).await;
    let spec = back.project(KEY, &[]);
    pull(&back, &spec, front.address);
    let status = until_pull(&back, &spec, |status| status.state == PullState::Failing).await;
    let error = status.last_error.expect("says why");
    assert_eq!(error.code, "address_forbidden");
    assert_eq!(
        error.message,
        "127.0.0.1 is in a private network, or is this server itself, and no stream is sent to or taken from there. The \
         operator can allow it with `egress.allow`."
    );
}

#[tokio::test]
async fn server_does_not_pull_from_itself() {
    let stage = Stage::new().await;
    let spec = stage.project(KEY, &[]);
    let mut encoder = Encoder::publish(stage.address, KEY).await.expect("admitted");
    encoder.send_all(&Script::default().write()).await.expect("taken");
    until_live(&stage, &spec).await;
    pull(&stage, &spec, stage.address);
    // What players get while the encoder is disconnected must not count as the stream.
    encoder.reset().expect("resets");
    let status = until_pull(&stage, &spec, |status| status.state == PullState::Failing).await;
    let error = status.last_error.expect("says why");
    assert_eq!(error.code, "play_refused");
    assert!(error.message.contains("cannot pull a stream from itself"), "{}", error.message);
    until_held(&stage, &spec).await;
}

#[tokio::test]
async fn stream_ended_by_its_owner_is_pulled_again_after_a_new_publish() {
    let (front, mut back, spec) = front_and_back(&[]).await;
    let mut encoder = Encoder::publish(front.address, KEY).await.expect("admitted");
    encoder.send_all(&Script::default().write()).await.expect("taken");
    pull(&back, &spec, front.address);
    until_live(&back, &spec).await;
    back.engine.end(spec.id, EndReason::EndedByOwner);
    assert_eq!(end_reason(&mut back).await, EndReason::EndedByOwner);
    let declined = |status: &PullStatus| status.last_error.as_ref().is_some_and(|error| error.code == "ended_by_owner");
    until_pull(&back, &spec, declined).await;
    back.until_offline(spec.id).await;

    encoder.stop().await.expect("stops");
    front.until_offline(front.project(KEY, &[]).id).await;
    let mut encoder = Encoder::publish(front.address, KEY).await.expect("admitted");
    encoder.send_all(&Script::default().write()).await.expect("taken");
    back.engine.pull_published(spec.id);
    until_live(&back, &spec).await;
}

#[tokio::test]
async fn removed_pull_ends_like_a_lost_encoder() {
    let (front, back, spec) = front_and_back(&[]).await;
    let mut encoder = Encoder::publish(front.address, KEY).await.expect("admitted");
    encoder.send_all(&Script::default().write()).await.expect("taken");
    pull(&back, &spec, front.address);
    until_live(&back, &spec).await;
    back.engine.pull(vec![]);
    until_held(&back, &spec).await;
    assert_eq!(back.engine.pull_status(spec.id), None);
}

#[tokio::test]
async fn pulled_stream_above_the_rate_limit_is_ended_and_has_a_cooldown() {
    let front = Stage::new().await;
    front.project(KEY, &[]);
    let limits = Limits { ingest_kbps: Some(100), ..config().limits };
    let mut back = Stage::with(EngineConfig { limits, ..config() }).await;
    let spec = back.project(KEY, &[]);
    let mut encoder = Encoder::publish(front.address, KEY).await.expect("admitted");
    encoder.send_all(&Script { ms: 1_000, ..Script::default() }.write()).await.expect("taken");
    pull(&back, &spec, front.address);
    until_live(&back, &spec).await;
    let more = Script { start: 1_000, ms: 60_000, ..Script::default() };
    encoder.send_all(&more.frames()).await.expect("taken");
    assert_eq!(end_reason(&mut back).await, EndReason::TooFast(Excess::Bitrate { allowed_kbps: 100 }));
    let too_fast = |status: &PullStatus| status.last_error.as_ref().is_some_and(|error| error.code == "too_fast");
    until_pull(&back, &spec, too_fast).await;
    back.until_offline(spec.id).await;
}
