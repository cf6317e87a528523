//! Streams above the rate limit.

use bytes::Bytes;
use gostream_engine::{EndReason, EngineConfig, EngineEvent, Excess, limits::Limits};
use gostream_proto::rtmp::{
    client::Event,
    media::{Media, MediaKind},
};
use gostream_testkit::{
    encoder::Encoder,
    platform::{Behaviour, Platform},
    script::Script,
};

use crate::stage::{Stage, config};

fn strict(ingest_kbps: u32) -> EngineConfig {
    EngineConfig { limits: Limits { ingest_kbps: Some(ingest_kbps), ..config().limits }, ..config() }
}

#[tokio::test(flavor = "multi_thread")]
async fn stream_above_the_rate_limit_is_ended_and_its_key_has_a_cooldown() {
    let mut stage = Stage::with(strict(100)).await;
    let platform = Platform::start(Behaviour::default()).await.expect("listens");
    let spec = stage.project("key", &[&platform]);
    let other = stage.project("other", &[]);
    let mut encoder = Encoder::publish(stage.address, "key").await.expect("is admitted");
    let mut modest = Encoder::publish(stage.address, "other").await.expect("is admitted");

    // Ten seconds of 100 kbit/s are 125 kB; this is more, at once.
    let all = Script { ms: 4_000, frame_bytes: 3_000, ..Script::default() }.write();
    // The server may have closed before everything is sent.
    encoder.send_all(&all[..40]).await.expect("is taken");
    platform.until("the relay", |visits| visits.len() == 1 && !visits[0].media.is_empty()).await;
    let _ = encoder.send_all(&all[40..]).await;
    let said = loop {
        match encoder.event().await.expect("gets the reason") {
            Event::Refused { code, description, .. } => break (code, description),
            _ => continue,
        }
    };
    assert_eq!(said.0, "NetStream.Publish.Denied");
    assert!(said.1.contains("100 kbit/s") && said.1.contains("Lower the bitrate"), "{}", said.1);
    encoder.closed().await.expect("is closed");
    stage.until_offline(spec.id).await;
    platform.until("the goodbye", |visits| visits.iter().all(|visit| visit.unpublished)).await;

    let again = Encoder::publish(stage.address, "key").await.expect_err("the key has a cooldown");
    assert_eq!(again.to_string(), "NetStream.Publish.Denied");
    assert_eq!(platform.visits().len(), 1, "repeated attempts start nothing");
    let few = Script { ms: 400, ..Script::default() }.write();
    modest.send_all(&few).await.expect("others continue");
    stage.until(other.id, "measured", |status| status.stream.received_bytes > 0).await;

    let reason = loop {
        match stage.events.recv().await.expect("is reported") {
            EngineEvent::StreamEnded { reason, .. } => break reason,
            _ => continue,
        }
    };
    assert_eq!(reason, EndReason::TooFast(Excess::Bitrate { allowed_kbps: 100 }));
}

#[tokio::test(flavor = "multi_thread")]
async fn stream_of_tiny_messages_is_ended() {
    let config = EngineConfig { limits: Limits { ingest_messages: 100, ..config().limits }, ..config() };
    for (kind, body) in [(MediaKind::Audio, &b""[..]), (MediaKind::Video, b""), (MediaKind::Audio, b"\xAF\x01")] {
        let mut stage = Stage::with(config.clone()).await;
        let spec = stage.project("key", &[]);
        let mut encoder = Encoder::publish(stage.address, "key").await.expect("is admitted");
        let tiny = Media { kind, timestamp: 0, body: Bytes::from_static(body) };
        let _ = encoder.send_all(&vec![tiny; 2_000]).await;
        stage.until_offline(spec.id).await;
        let reason = loop {
            match stage.events.recv().await.expect("is reported") {
                EngineEvent::StreamEnded { reason, .. } => break reason,
                _ => continue,
            }
        };
        assert_eq!(reason, EndReason::TooFast(Excess::Messages { allowed_per_second: 100 }), "{kind:?} {body:?}");
        Encoder::publish(stage.address, "key").await.expect_err("the key has a cooldown");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn reconnecting_does_not_reset_the_rate_limit() {
    let stage = Stage::with(strict(100)).await;
    let spec = stage.project("key", &[]);
    let part = Script { ms: 1_000, ..Script::default() }.write();
    for n in 0.. {
        // 75 kB each: the second is over the limit, however the connections are split.
        match Encoder::publish(stage.address, "key").await {
            Ok(mut encoder) => {
                // Closed while it sends, or after that.
                let _ = encoder.send_all(&part).await;
                let _ = encoder.close().await;
            }
            Err(_) => break,
        }
        assert!(n < 10, "never ended");
    }
    stage.until_offline(spec.id).await;
}
