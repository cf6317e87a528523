use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, SystemTime},
};

use gostream_engine::{
    Admission, EndReason, EngineConfig, Refusal,
    events::{self, EventReceiver},
    spec::{AccountId, DestinationId, Goodbye, ProjectId, ProjectSpec, RelayId, StreamId, StreamKey},
    status::{RelayState, StreamPhase},
};
use gostream_net::BoxFuture;
use gostream_store::{Keyring, Store, Stream, StreamStatus};
use gostream_testkit::{PATIENCE, encoder::Encoder, script::Script};
use tempfile::TempDir;
use time::OffsetDateTime;
use tokio::time::timeout;
use uuid::Uuid;

use super::{line::wall, *};
use crate::metrics::Metrics;

/// Admits every key to one project.
struct Open(ProjectSpec);

impl Admission for Open {
    fn admit<'a>(&'a self, _: &'a StreamKey, _: SocketAddr) -> BoxFuture<'a, Result<ProjectSpec, Refusal>> {
        Box::pin(async { Ok(self.0.clone()) })
    }
}

/// A store with a project, an engine whose events are lost, and a writer that receives none.
struct Fixture {
    store: Store,
    owner: Uuid,
    project: Uuid,
    engine: Engine,
    writer: Writer,
    received: EventReceiver,
    _lost: EventReceiver,
    _data: TempDir,
}

impl Fixture {
    async fn new() -> Self {
        let data = TempDir::new().expect("is made");
        let url = format!("sqlite://{}/store.db", data.path().display());
        let store = Store::open(&url, Keyring::new([7; 32])).await.expect("opens");
        let owner = store.add_user("me@example.org", "hash").await.expect("is added").id;
        let project = store.add_project(owner, "Sunday service").await.expect("is added").id;
        let spec = ProjectSpec {
            id: ProjectId(project),
            account: AccountId(owner),
            stream_key: StreamKey::new("key"),
            playback_id: "playback".to_owned(),
            goodbye: Goodbye::Ends,
            destinations: vec![],
        };
        let config = EngineConfig { rtmp_listen: SocketAddr::from(([127, 0, 0, 1], 0)), ..EngineConfig::default() };
        let (sender, lost) = events::channel(1);
        let engine = Engine::start(config, Arc::new(Open(spec)), sender).await.expect("starts");
        let (metrics, received) = (Arc::new(Metrics::new(engine.clone(), Arc::default())), events::channel(1).1);
        let writer = Writer::new(store.clone(), "node".to_owned(), Arc::default(), metrics);
        Self { store, owner, project, engine, writer, received, _lost: lost, _data: data }
    }

    async fn repair(&mut self) {
        self.writer.repair(&self.engine, &self.received).await;
    }

    async fn row(&self) -> Stream {
        let page = self.store.streams(self.owner, self.project, 10, None).await.expect("is read");
        let [row] = page.items.try_into().expect("one show, one row");
        row
    }

    async fn lines(&self) -> Vec<String> {
        let events = self.store.stream_events(&[self.row().await.id], 100).await.expect("is read");
        events.into_iter().map(|event| event.state).collect()
    }

    async fn take(&mut self, event: EngineEvent) {
        assert!(self.writer.take(event, &CancellationToken::new()).await, "is written");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_show_whose_events_are_all_lost_is_in_the_history() {
    let mut fixture = Fixture::new().await;
    let mut watch = fixture.engine.watch(ProjectId(fixture.project));
    let mut encoder = Encoder::publish(fixture.engine.rtmp_addr(), "key").await.expect("is admitted");
    encoder.send_all(&Script::default().write()).await.expect("is taken");
    fixture.repair().await;
    fixture.repair().await;
    let row = fixture.row().await;
    assert_eq!((row.status, fixture.lines().await), (StreamStatus::Live, vec!["live".to_owned()]));

    encoder.reset().expect("resets");
    let away = |status: &Option<Arc<gostream_engine::status::ProjectStatus>>| {
        status
            .as_ref()
            .is_some_and(|status| matches!(status.stream.phase, StreamPhase::Reconnecting { .. }))
    };
    timeout(PATIENCE, watch.wait_for(away)).await.expect("drops").expect("is watched");
    fixture.repair().await;
    assert_eq!(fixture.row().await.status, StreamStatus::Reconnecting);
    let _encoder = Encoder::publish(fixture.engine.rtmp_addr(), "key").await.expect("comes back");
    fixture.repair().await;
    assert_eq!(fixture.row().await.status, StreamStatus::Live);

    fixture.engine.end(ProjectId(fixture.project), EndReason::EndedByOwner);
    timeout(PATIENCE, watch.wait_for(Option::is_none)).await.expect("ends").expect("is watched");
    let gone = async {
        while !fixture.engine.live().is_empty() {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, gone).await.expect("leaves the registry a moment later");
    fixture.repair().await;
    let row = fixture.row().await;
    assert_eq!((row.status, row.end_reason.as_deref()), (StreamStatus::Ended, Some("not_recorded")));
    let ended_at = row.ended_at.expect("is over");
    assert!(row.started_at <= ended_at && ended_at <= OffsetDateTime::now_utc());
    assert_eq!(fixture.lines().await, ["live", "reconnecting", "live", "ended"]);
    assert!(fixture.writer.written.is_empty(), "ended streams are forgotten");
    fixture.engine.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn abandoned_rows_are_closed_except_those_of_other_servers() {
    let mut fixture = Fixture::new().await;
    let (lost, elsewhere, at) = (Uuid::now_v7(), Uuid::now_v7(), OffsetDateTime::now_utc());
    fixture.store.start_stream(lost, fixture.project, "node", at).await.expect("is written");
    fixture
        .store
        .start_stream(elsewhere, fixture.project, "another node", at)
        .await
        .expect("is written");
    fixture.repair().await;
    let open = fixture.store.open_streams(&[fixture.project]).await.expect("is read");
    assert_eq!(open.into_iter().map(|row| row.id).collect::<Vec<_>>(), [elsewhere]);
    fixture.engine.shutdown().await;
}

#[tokio::test]
async fn a_stream_with_a_lost_start_gets_its_row_with_the_next_event() {
    let mut fixture = Fixture::new().await;
    let (project, stream) = (ProjectId(fixture.project), StreamId(Uuid::now_v7()));
    let at = SystemTime::now();
    fixture
        .take(EngineEvent::StreamEnded { project, stream, at, reason: EndReason::EncoderStopped })
        .await;
    let row = fixture.row().await;
    assert_eq!((row.id, row.end_reason.as_deref()), (stream.0, Some("encoder_stopped")));
    assert!((wall(at) - row.started_at).abs() < time::Duration::SECOND, "its id contains the start time");
    assert_eq!(fixture.lines().await, ["live", "ended"]);
    fixture.engine.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn relays_of_deleted_destinations_are_forgotten() {
    let mut fixture = Fixture::new().await;
    let _encoder = Encoder::publish(fixture.engine.rtmp_addr(), "key").await.expect("is admitted");
    fixture.repair().await;
    let (project, stream) = (ProjectId(fixture.project), StreamId(fixture.row().await.id));
    for n in 0..100 {
        let relay = RelayId::primary(DestinationId(Uuid::from_u128(n)));
        let (at, state) = (SystemTime::now(), RelayState::Live);
        fixture.take(EngineEvent::RelayChanged { project, stream, relay, at, state, error: None }).await;
    }
    assert_eq!(fixture.writer.written[&stream].relays.len(), 100);
    fixture.repair().await;
    assert!(fixture.writer.written[&stream].relays.is_empty());
    fixture.engine.shutdown().await;
}

/// There are thirty disconnects, and the return of every fourth one is lost. The timeline still has as many returns as disconnects.
#[tokio::test]
async fn a_disconnect_after_a_lost_return_is_not_recorded_twice() {
    let mut fixture = Fixture::new().await;
    let (project, stream, at) = (ProjectId(fixture.project), StreamId(Uuid::now_v7()), SystemTime::now());
    fixture.take(EngineEvent::StreamStarted { project, stream, at }).await;
    for n in 0..60 {
        let (at, reconnecting) = (at + Duration::from_secs(n), n % 2 == 0);
        if n % 8 != 1 {
            fixture.take(EngineEvent::StreamPhase { project, stream, at, reconnecting }).await;
        }
    }
    let lines = fixture.lines().await;
    assert!(lines.windows(2).all(|pair| pair[0] != pair[1]), "{lines:?}");
    assert_eq!(fixture.row().await.status, StreamStatus::Live);
    fixture.engine.shutdown().await;
}
