//! Who gets a publisher's seat: not a publisher whose admission was revoked, at most as many as an account may have,
//! and not too often.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use gostream_engine::{
    Admission, EndReason, Engine, EngineConfig, EngineEvent, Refusal, events,
    limits::{Limits, StartLimits, StartRate},
    spec::{AccountId, Goodbye, ProjectId, ProjectSpec, StreamKey},
};
use gostream_net::BoxFuture;
use gostream_testkit::{
    PATIENCE,
    encoder::Encoder,
    platform::{Behaviour, Platform},
    script::Script,
};
use tokio::{sync::Notify, time::timeout};
use uuid::Uuid;

use crate::stage::{Stage, config};

/// "End stream", then a new key, while a platform that does not read is still being unpublished: an encoder that
/// reconnected in between must not go live with the old key.
#[tokio::test(flavor = "multi_thread")]
async fn key_revoked_while_a_publisher_waits_is_never_live() {
    let mut stage = Stage::new().await;
    let platform = Platform::start(Behaviour { stop_reading_after: Some(50_000), ..Behaviour::default() });
    let platform = platform.await.expect("listens");
    let spec = stage.project("key", &[&platform]);
    let mut asked = stage.asked();
    let mut encoder = Encoder::publish(stage.address, "key").await.expect("is admitted");
    let much = Script { ms: 4_000, frame_bytes: 30_000, ..Script::default() }.write();
    encoder.send_all(&much).await.expect("is taken");
    platform.until_video(1).await;

    stage.engine.end(spec.id, EndReason::EndedByOwner);
    let address = stage.address;
    let intruder = tokio::spawn(async move { Encoder::publish(address, "key").await.map(drop) });
    timeout(PATIENCE, asked.wait_for(|asked| *asked == 2))
        .await
        .expect("comes back")
        .expect("is watched");
    stage.revoke(&spec);
    let answer = intruder.await.expect("is answered").expect_err("the key is revoked");
    assert_eq!(answer.to_string(), "NetStream.Publish.Denied");
    assert!(*asked.borrow() >= 3, "admission is checked again after the wait");

    stage.until_offline(spec.id).await;
    stage.events.close();
    let mut starts = 0;
    while let Some(event) = stage.events.recv().await {
        starts += usize::from(matches!(event, EngineEvent::StreamStarted { .. }));
    }
    assert_eq!((starts, platform.connections()), (1, 1));
}

/// Admits one key, and delays its response after the lookup.
#[derive(Default)]
struct Slow {
    known: Mutex<Option<ProjectSpec>>,
    looked_up: Notify,
    go: Notify,
}

impl Admission for Slow {
    fn admit<'a>(&'a self, key: &'a StreamKey, _peer: SocketAddr) -> BoxFuture<'a, Result<ProjectSpec, Refusal>> {
        Box::pin(async move {
            let known = self.known.lock().expect("no test panics inside").clone();
            let answer = known.filter(|spec| spec.stream_key == *key).ok_or(Refusal::UnknownKey);
            self.looked_up.notify_one();
            self.go.notified().await;
            answer
        })
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn admission_is_checked_again_after_a_revocation() {
    let spec = ProjectSpec {
        id: ProjectId(Uuid::new_v4()),
        account: AccountId(Uuid::new_v4()),
        stream_key: StreamKey::new("key"),
        playback_id: "playback".to_owned(),
        goodbye: Goodbye::Ends,
        destinations: vec![],
    };
    let slow = Arc::new(Slow { known: Mutex::new(Some(spec.clone())), ..Slow::default() });
    let engine = Engine::start(config(), slow.clone(), events::channel(16).0).await.expect("starts");
    let address = engine.rtmp_addr();
    for play in [false, true] {
        *slow.known.lock().expect("no test panics inside") = Some(spec.clone());
        let intruder = tokio::spawn(async move {
            if play {
                Encoder::play(address, "key").await.map(drop)
            } else {
                Encoder::publish(address, "key").await.map(drop)
            }
        });
        timeout(PATIENCE, slow.looked_up.notified()).await.expect("is asked");
        // First the row, then the engine.
        *slow.known.lock().expect("no test panics inside") = None;
        engine.end(spec.id, EndReason::EndedByOwner);
        slow.go.notify_one();
        if !play {
            timeout(PATIENCE, slow.looked_up.notified()).await.expect("is asked again");
            slow.go.notify_one();
        }
        intruder.await.expect("is answered").expect_err("the key is revoked");
        assert!(engine.live().is_empty());
    }
    engine.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn live_stream_quota_holds_for_concurrent_publishers() {
    let limits = Limits { live_per_account: 2, ..config().limits };
    let stage = Stage::with(EngineConfig { limits, ..config() }).await;
    let account = AccountId(Uuid::new_v4());
    let mut specs = Vec::new();
    for n in 0..12 {
        let spec = ProjectSpec { account, ..stage.project(&format!("key-{n}"), &[]) };
        stage.save(&spec);
        specs.push(spec);
    }
    stage.project("other", &[]);
    let address = stage.address;
    let comers: Vec<_> = (0..12)
        .map(|n| tokio::spawn(async move { Encoder::publish(address, &format!("key-{n}")).await }))
        .collect();
    let mut live = Vec::new();
    for (n, comer) in comers.into_iter().enumerate() {
        if let Ok(encoder) = comer.await.expect("is answered") {
            live.push((n, encoder));
        }
    }
    assert_eq!(live.len(), 2);
    let _other = Encoder::publish(address, "other").await.expect("another account has a number of its own");

    // A live stream can be taken over and can reconnect; an ended one frees its place at once.
    let (n, first) = live.swap_remove(0);
    let again = Encoder::publish(address, &format!("key-{n}")).await.expect("takes over");
    drop(first);
    again.stop().await.expect("says goodbye");
    stage.until_offline(specs[n].id).await;
    let next = (0..12).find(|other| *other != n && *other != live[0].0).expect("there are twelve");
    Encoder::publish(address, &format!("key-{next}")).await.expect("there is room");
}

#[tokio::test(flavor = "multi_thread")]
async fn repeated_starts_are_slowed_down_for_that_publisher_only() {
    let per_key = StartRate { burst: 4, interval: Duration::from_secs(600) };
    let limits = Limits { starts: StartLimits { per_key, ..StartLimits::default() }, ..config().limits };
    let stage = Stage::with(EngineConfig { limits, ..config() }).await;
    let spec = stage.project("key", &[]);
    stage.project("other", &[]);
    for _ in 0..per_key.burst {
        Encoder::publish(stage.address, "key")
            .await
            .expect("is admitted")
            .stop()
            .await
            .expect("says goodbye");
        stage.until_offline(spec.id).await;
    }
    let denied = Encoder::publish(stage.address, "key").await.expect_err("too often");
    assert_eq!(denied.to_string(), "NetStream.Publish.Denied");
    Encoder::publish(stage.address, "other").await.expect("is admitted");
}
