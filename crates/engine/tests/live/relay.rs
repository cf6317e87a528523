//! Destinations: every message arrives, and a failure at one does not affect the others.

use std::{num::NonZeroU32, time::Duration};

use gostream_engine::status::RelayState;
use gostream_proto::rtmp::media::MediaKind;
use gostream_testkit::{
    certificate::Certificate,
    encoder::Encoder,
    platform::{Behaviour, Platform},
    script::Script,
};
use tokio::time::Instant;

use crate::stage::{ACCOUNT, Stage, assert_same, bodies, config, is_monotonic};

/// A stream of `seconds`, after a first second in which relays join.
fn script(seconds: u32) -> Script {
    Script { ms: seconds * 1_000, ..Script::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_destination_gets_every_message_byte_for_byte() {
    let stage = Stage::new().await;
    let certificate = Certificate::for_names(&["localhost"]).expect("is made");
    let tls = |versions| Behaviour { tls: Some(certificate.server(versions).expect("works")), ..Behaviour::default() };
    let mut platforms = Vec::new();
    for behaviour in
        [Behaviour::default(), Behaviour::default(), tls(&[&rustls::version::TLS12]), tls(&[&rustls::version::TLS13])]
    {
        platforms.push(Platform::start(behaviour).await.expect("listens"));
    }
    let stage_tls = {
        let mut with_trust = config();
        with_trust.trusted = Some(vec![certificate.der.clone()]);
        Stage::with(with_trust).await
    };
    drop(stage);
    let spec = stage_tls.project("key", &platforms.iter().collect::<Vec<_>>());
    let mut encoder = Encoder::publish(stage_tls.address, "key").await.expect("is admitted");
    let all = Script { frame_bytes: 20_000, ..script(3) }.write();
    // Relays join at the first keyframe, which is in the ring.
    let (first, rest) = all.split_at(10);
    encoder.send_all(first).await.expect("is taken");
    stage_tls.until_all_live(&spec).await;
    encoder.send_all(rest).await.expect("is taken");
    encoder.stop().await.expect("says goodbye");
    for platform in &platforms {
        let visits = platform.until("the goodbye", |visits| visits.iter().any(|visit| visit.unpublished)).await;
        assert_eq!(visits.len(), 1);
        assert_same(&visits[0].media, &all);
        assert!(is_monotonic(&visits[0].media));
        assert_eq!(visits[0].media.iter().filter(|media| media.kind == MediaKind::Metadata).count(), 1);
    }
    stage_tls.until_offline(spec.id).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stopping_one_destination_is_immediate_and_the_others_lose_nothing() {
    let stage = Stage::new().await;
    let stays = Platform::start(Behaviour::default()).await.expect("listens");
    let goes = Platform::start(Behaviour::default()).await.expect("listens");
    let mut spec = stage.project("key", &[&stays, &goes]);
    let mut encoder = Encoder::publish(stage.address, "key").await.expect("is admitted");
    let all = script(4).write();
    let (first, rest) = all.split_at(all.len() / 2);
    encoder.send_all(&first[..10]).await.expect("is taken");
    stage.until_all_live(&spec).await;
    encoder.send_all(&first[10..]).await.expect("is taken");

    spec.destinations[1].enabled = false;
    stage.save(&spec);
    goes.until("the goodbye", |visits| visits.iter().any(|visit| visit.unpublished && visit.ended))
        .await;
    stage.until_relay(&spec, 1, RelayState::Off).await;
    encoder.send_all(rest).await.expect("is taken");
    encoder.stop().await.expect("says goodbye");
    let visits = stays.until("the goodbye", |visits| visits.iter().any(|visit| visit.unpublished)).await;
    assert_same(&visits[0].media, &all);
}

#[tokio::test(flavor = "multi_thread")]
async fn late_destination_joins_at_a_keyframe_with_headers_at_time_zero() {
    let stage = Stage::new().await;
    let platform = Platform::start(Behaviour::default()).await.expect("listens");
    let mut spec = stage.project("key", &[&platform]);
    spec.destinations[0].enabled = false;
    stage.save(&spec);
    let mut encoder = Encoder::publish(stage.address, "key").await.expect("is admitted");
    // The timestamps wrap while the destination is connected.
    let all = Script { start: 4_294_960_000, ms: 8_000, ..Script::default() }.write();
    let (first, rest) = all.split_at(all.len() / 2);
    encoder.send_all(first).await.expect("is taken");
    spec.destinations[0].enabled = true;
    stage.save(&spec);
    let asked = Instant::now();
    platform.until_video(2).await;
    println!("from start to the first keyframe: {:?}", asked.elapsed());
    encoder.send_all(rest).await.expect("is taken");
    encoder.stop().await.expect("says goodbye");
    let visits = platform.until("the goodbye", |visits| visits.iter().any(|visit| visit.unpublished)).await;
    let media = &visits[0].media;
    let kinds: Vec<_> = media.iter().take(3).map(|media| (media.kind, media.timestamp)).collect();
    assert_eq!(kinds, [(MediaKind::Metadata, 0), (MediaKind::Video, 0), (MediaKind::Audio, 0)]);
    let keyframe = &media[3];
    assert_eq!((keyframe.kind, keyframe.timestamp, keyframe.body[0]), (MediaKind::Video, 0, 0x17));
    assert!(is_monotonic(media));
    let [_, sent] = bodies(&all);
    let [_, received] = bodies(media);
    assert!(received[1..] == sent[sent.len() - received.len() + 1..], "nothing is missing from the keyframe on");
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_key_is_reported_and_does_not_affect_others() {
    let stage = Stage::new().await;
    let good = Platform::start(Behaviour::default()).await.expect("listens");
    let refuse = Some("NetStream.Publish.Denied");
    let bad = Platform::start(Behaviour { refuse, ..Behaviour::default() }).await.expect("listens");
    let spec = stage.project("key", &[&good, &bad]);
    let mut encoder = Encoder::publish(stage.address, "key").await.expect("is admitted");
    let all = script(2).write();
    encoder.send_all(&all[..10]).await.expect("is taken");
    stage.until_relay(&spec, 0, RelayState::Live).await;
    let status = stage.until_relay(&spec, 1, RelayState::Rejected).await;
    let relay = &status.relays[&spec.destinations[1].id];
    let error = relay.last_error.as_ref().expect("says why");
    assert_eq!(error.code, "key_rejected");
    assert!(error.message.contains("refused by the test platform"), "{}", error.message);
    assert!(relay.next_attempt_at.is_some());
    encoder.send_all(&all[10..]).await.expect("is taken");
    encoder.stop().await.expect("says goodbye");
    let visits = good.until("the goodbye", |visits| visits.iter().any(|visit| visit.unpublished)).await;
    assert_same(&visits[0].media, &all);
}

#[tokio::test(flavor = "multi_thread")]
async fn reset_by_the_platform_is_retried() {
    let stage = Stage::new().await;
    let reset_after = Some(Duration::from_millis(50));
    let platform = Platform::start(Behaviour { reset_after, ..Behaviour::default() }).await.expect("listens");
    let spec = stage.project("key", &[&platform]);
    let mut encoder = Encoder::publish(stage.address, "key").await.expect("is admitted");
    let sending = tokio::spawn(async move { encoder.send_paced(&script(10).write(), 1.0).await });
    let visits = platform.until("the second visit", |visits| visits.len() >= 2).await;
    assert!(visits[0].ended && !visits[0].unpublished, "a lost connection has no unpublish");
    let status = stage
        .until(spec.id, "counted", |status| status.relays.values().all(|relay| relay.reconnects >= 1))
        .await;
    let relay = &status.relays[&spec.destinations[0].id];
    assert_eq!(relay.last_error.as_ref().map(|error| error.code), Some("connection_lost"));
    sending.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_destination_skips_to_keyframes_without_affecting_others() {
    let stage = Stage::new().await;
    let good = Platform::start(Behaviour::default()).await.expect("listens");
    let kbps = NonZeroU32::new(2_000);
    let slow = Platform::start(Behaviour { kbps, ..Behaviour::default() }).await.expect("listens");
    let spec = stage.project("key", &[&good, &slow]);
    let mut encoder = Encoder::publish(stage.address, "key").await.expect("is admitted");
    // 24 s of 10 Mbit/s, sent at four times the speed: far more than the slow platform and its buffers accept.
    let all = Script { frame_bytes: 50_000, ..script(24) }.write();
    encoder.send_all(&all[..10]).await.expect("is taken");
    stage.until_all_live(&spec).await;
    encoder.send_paced(&all[10..], 4.0).await.expect("is taken");
    let id = spec.destinations[1].id;
    stage.until(spec.id, "skipping", |status| status.relays[&id].dropped_frames > 0).await;
    let status = stage.until_relay(&spec, 0, RelayState::Live).await;
    assert_eq!(status.relays[&spec.destinations[0].id].dropped_frames, 0);
    encoder.stop().await.expect("says goodbye");
    let visits = good.until("the goodbye", |visits| visits.iter().any(|visit| visit.unpublished)).await;
    assert_same(&visits[0].media, &all);

    // The slow platform receives whole GOPs: a gap ends at a keyframe.
    let slow_media = slow.visits()[0].media.clone();
    let sent = bodies(&all)[1].clone();
    let mut position = 0;
    for body in &bodies(&slow_media)[1] {
        let at = sent[position..].iter().position(|sent| sent == body).expect("was sent, in this order");
        assert!(at == 0 || body[0] == 0x17, "a gap ends at a keyframe");
        position += at + 1;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn new_key_restarts_only_its_relay_after_the_old_connection_closed() {
    let stage = Stage::new().await;
    let (stays, changes) = (
        Platform::start(Behaviour::default()).await.expect("listens"),
        Platform::start(Behaviour::default()).await.expect("listens"),
    );
    let mut spec = stage.project("key", &[&stays, &changes]);
    let mut encoder = Encoder::publish(stage.address, "key").await.expect("is admitted");
    encoder.send_all(&script(2).write()).await.expect("is taken");
    stage.until_all_live(&spec).await;
    spec.destinations[1].target.key = gostream_engine::spec::StreamKey::new("another?a=b&c:d");
    stage.save(&spec);
    let visits = changes.until("the second visit", |visits| visits.len() == 2 && visits[0].ended).await;
    assert!(visits[0].unpublished, "the old connection was unpublished");
    assert_eq!(
        (visits[1].key.as_str(), visits[1].concurrent),
        ("another", 0),
        "and was closed before the new one opened"
    );
    stage.until_all_live(&spec).await;
    assert_eq!(stays.visits().len(), 1);
    encoder.stop().await.expect("says goodbye");
}

#[tokio::test(flavor = "multi_thread")]
async fn destination_that_stops_reading_is_stalled_and_disconnected() {
    let stage = Stage::new().await;
    let good = Platform::start(Behaviour::default()).await.expect("listens");
    let stop_reading_after = Some(100_000);
    let stuck = Platform::start(Behaviour { stop_reading_after, ..Behaviour::default() }).await.expect("listens");
    let spec = stage.project("key", &[&good, &stuck]);
    let mut encoder = Encoder::publish(stage.address, "key").await.expect("is admitted");
    let all = Script { frame_bytes: 20_000, ..script(40) }.write();
    let sending = tokio::spawn(async move {
        encoder.send_paced(&all, 1.0).await.expect("is taken");
        encoder
    });
    stage.until_relay(&spec, 1, RelayState::Stalled).await;
    let status = stage.until_relay(&spec, 1, RelayState::Backoff).await;
    let relay = &status.relays[&spec.destinations[1].id];
    assert_eq!(relay.last_error.as_ref().map(|error| error.code), Some("stalled"));
    assert_eq!(status.relays[&spec.destinations[0].id].state, RelayState::Live);
    sending.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn destination_is_tested_step_by_step_without_publishing() {
    let stage = Stage::new().await;
    let platform = Platform::start(Behaviour::default()).await.expect("listens");
    let spec = stage.project("key", &[&platform]);
    let steps = stage.engine.probe(ACCOUNT, &spec.destinations[0].target).await.expect("is tried");
    let names: Vec<_> = steps.iter().map(|step| (step.name, step.error.is_none())).collect();
    let expected = ["resolve", "connect", "handshake", "rtmp_connect", "create_stream"];
    assert_eq!(names, expected.map(|name| (name, true)));
    assert!(platform.visits().is_empty(), "nothing was published");

    let address = platform.address();
    platform.stop().await;
    let steps = stage.engine.probe(ACCOUNT, &spec.destinations[0].target).await.expect("is tried");
    let last = steps.last().expect("has steps");
    let code = last.error.as_ref().map(|error| error.code);
    assert_eq!((steps.len(), last.name, code), (2, "connect", Some("connection_refused")), "{address}");
}
