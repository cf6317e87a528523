//! Options beyond one connection per destination: a backup server, and holding destinations after an unpublish; and the
//! history events of all of it.

use std::collections::BTreeMap;

use gostream_engine::{
    EndReason, EngineEvent,
    spec::{DestinationSpec, Goodbye, Leg, RelayId, Target},
    status::{RelayState, StreamPhase},
};
use gostream_proto::rtmp::{
    media::{Media, MediaKind},
    url::RtmpUrl,
};
use gostream_testkit::{
    encoder::Encoder,
    platform::{Behaviour, Platform},
    script::Script,
};

use crate::stage::{Stage, assert_same, is_monotonic};

async fn platform() -> Platform {
    Platform::start(Behaviour::default()).await.expect("listens")
}

fn with_backup(mut destination: DestinationSpec, backup: &Platform) -> DestinationSpec {
    let url = RtmpUrl::parse(&backup.url()).expect("is a URL");
    destination.backup = Some(Target { url, key: destination.target.key.clone() });
    destination
}

/// Times by body, to compare two connections.
fn times(media: &[Media]) -> BTreeMap<bytes::Bytes, u32> {
    media
        .iter()
        .filter(|media| media.kind == MediaKind::Video && media.body[1] != 0)
        .map(|media| (media.body.clone(), media.timestamp))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn backup_server_has_the_same_bytes_and_times_whenever_it_joins() {
    let stage = Stage::new().await;
    let (primary, backup) = (platform().await, platform().await);
    let mut spec = stage.project("key", &[&primary]);
    let address = backup.address();
    spec.destinations[0] = with_backup(spec.destinations[0].clone(), &backup);
    stage.save(&spec);
    let id = spec.destinations[0].id;
    let mut encoder = Encoder::publish(stage.address, "key").await.expect("is admitted");
    let all = Script { ms: 8_000, ..Script::default() }.write();
    let (first, rest) = all.split_at(all.len() / 2);
    encoder.send_all(&first[..10]).await.expect("is taken");
    let both_live = |status: &gostream_engine::status::ProjectStatus| {
        status.relays[&id].state == RelayState::Live && status.backups[&id].state == RelayState::Live
    };
    stage.until(spec.id, "live on both servers", both_live).await;
    encoder.send_all(&first[10..]).await.expect("is taken");
    backup.until_video(101).await;
    let before = backup.visits()[0].clone();
    backup.stop().await;
    stage
        .until(spec.id, "without a backup", |status| status.backups[&id].state == RelayState::Backoff)
        .await;
    let status = stage.engine.status(spec.id).expect("is live");
    assert_eq!(status.relays[&id].state, RelayState::Live, "the primary is not affected");

    let backup = Platform::start_at(address, Behaviour::default()).await.expect("listens again");
    stage.engine.retry(spec.id, id);
    stage.until(spec.id, "live on both servers again", both_live).await;
    encoder.send_all(rest).await.expect("is taken");
    encoder.stop().await.expect("says goodbye");
    let seen = primary.until("the goodbye", |visits| visits.iter().any(|visit| visit.unpublished)).await;
    let after = backup.until("the goodbye", |visits| visits.iter().any(|visit| visit.unpublished)).await;
    assert_eq!((seen.len(), after.len()), (1, 1));
    assert_same(&seen[0].media, &all);
    assert!(is_monotonic(&after[0].media));
    let primary_times = times(&seen[0].media);
    for media in [&before.media, &after[0].media] {
        let leg_times = times(media);
        assert!(leg_times.len() > 50);
        assert!(leg_times.iter().all(|(body, time)| primary_times[body] == *time), "one clock for both legs");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn backup_server_added_while_live_joins_the_running_clock() {
    let stage = Stage::new().await;
    let (primary, backup) = (platform().await, platform().await);
    let mut spec = stage.project("key", &[&primary]);
    let id = spec.destinations[0].id;
    let mut encoder = Encoder::publish(stage.address, "key").await.expect("is admitted");
    let all = Script { ms: 8_000, ..Script::default() }.write();
    let (first, rest) = all.split_at(all.len() / 2);
    encoder.send_all(&first[..10]).await.expect("is taken");
    stage.until_all_live(&spec).await;
    encoder.send_all(&first[10..]).await.expect("is taken");
    spec.destinations[0] = with_backup(spec.destinations[0].clone(), &backup);
    stage.save(&spec);
    stage
        .until(spec.id, "live on the backup too", |status| {
            status.backups.get(&id).is_some_and(|relay| relay.state == RelayState::Live)
        })
        .await;
    encoder.send_all(rest).await.expect("is taken");
    encoder.stop().await.expect("says goodbye");
    let seen = primary.until("the goodbye", |visits| visits.iter().any(|visit| visit.unpublished)).await;
    let added = backup.until("the goodbye", |visits| visits.iter().any(|visit| visit.unpublished)).await;
    assert_eq!((seen.len(), added.len()), (1, 1), "the primary is not affected");
    let (primary_times, backup_times) = (times(&seen[0].media), times(&added[0].media));
    assert!(backup_times.len() > 50);
    assert!(backup_times.iter().all(|(body, time)| primary_times[body] == *time), "one clock for both legs");
}

#[tokio::test(flavor = "multi_thread")]
async fn removing_the_backup_ends_only_its_connection() {
    let stage = Stage::new().await;
    let (primary, backup) = (platform().await, platform().await);
    let mut spec = stage.project("key", &[&primary]);
    spec.destinations[0] = with_backup(spec.destinations[0].clone(), &backup);
    stage.save(&spec);
    let mut encoder = Encoder::publish(stage.address, "key").await.expect("is admitted");
    encoder.send_all(&Script::default().write()).await.expect("is taken");
    backup.until_video(2).await;
    stage.until_all_live(&spec).await;
    spec.destinations[0].backup = None;
    stage.save(&spec);
    backup.until("the goodbye", |visits| visits[0].unpublished && visits[0].ended).await;
    let status = stage.until(spec.id, "without a backup", |status| status.backups.is_empty()).await;
    assert_eq!(status.relays[&spec.destinations[0].id].state, RelayState::Live);
    assert!(!primary.visits()[0].unpublished);
    encoder.stop().await.expect("says goodbye");
}

#[tokio::test(flavor = "multi_thread")]
async fn unpublish_can_count_as_a_disconnect() {
    let stage = Stage::new().await;
    let platform = platform().await;
    let mut spec = stage.project("key", &[&platform]);
    spec.goodbye = Goodbye::Holds;
    stage.save(&spec);
    for seed in 1..=2 {
        let mut encoder = Encoder::publish(stage.address, "key").await.expect("is admitted");
        encoder.send_all(&Script { ms: 1_000, seed, ..Script::default() }.write()).await.expect("is taken");
        platform.until_video(1 + 25 * usize::from(seed)).await;
        encoder.stop().await.expect("says goodbye");
        stage
            .until(spec.id, "held", |status| matches!(status.stream.phase, StreamPhase::Reconnecting { .. }))
            .await;
    }
    assert_eq!(platform.visits().len(), 1, "one connection throughout");
    stage.engine.end(spec.id, EndReason::EndedByOwner);
    platform.until("the goodbye", |visits| visits[0].unpublished).await;
    stage.until_offline(spec.id).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn history_has_every_state_of_every_relay_with_its_reason() {
    let mut stage = Stage::new().await;
    let good = platform().await;
    let refuse = Some("NetStream.Publish.Denied");
    let bad = Platform::start(Behaviour { refuse, ..Behaviour::default() }).await.expect("listens");
    let spec = stage.project("key", &[&good, &bad]);
    let mut encoder = Encoder::publish(stage.address, "key").await.expect("is admitted");
    encoder.send_all(&Script::default().write()).await.expect("is taken");
    stage.until_relay(&spec, 0, RelayState::Live).await;
    stage.until_relay(&spec, 1, RelayState::Rejected).await;
    let status = stage
        .until(spec.id, "measured", |status| status.relays[&spec.destinations[0].id].rtt_ms.is_some())
        .await;
    assert!(status.relays[&spec.destinations[0].id].rtt_ms.is_some_and(|ms| ms > 0.0 && ms < 1_000.0));
    encoder.stop().await.expect("says goodbye");
    stage.until_offline(spec.id).await;

    stage.events.close();
    let (mut states, mut totals) = (BTreeMap::<RelayId, Vec<_>>::new(), BTreeMap::new());
    while let Some(event) = stage.events.recv().await {
        match event {
            EngineEvent::RelayChanged { relay, state, error, .. } => {
                states.entry(relay).or_default().push((state, error.map(|error| error.code)));
            }
            EngineEvent::RelayEnded { relay, totals: done, .. } => {
                totals.insert(relay, done);
            }
            _ => {}
        }
    }
    let [good, bad] = [0, 1].map(|n| RelayId { destination: spec.destinations[n].id, leg: Leg::Primary });
    assert_eq!(states[&good], [(RelayState::Connecting, None), (RelayState::Live, None)]);
    assert_eq!(states[&bad], [(RelayState::Connecting, None), (RelayState::Rejected, Some("key_rejected"))]);
    assert!(totals[&good].sent_bytes > 10_000 && totals[&good].reconnects == 0);
    assert_eq!(totals[&bad].sent_bytes, 0);
}
