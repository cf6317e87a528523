//! Shared by the engine tests: a running engine, the projects that it admits, and waiting for a status.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use gostream_engine::{
    Admission, EndReason, Engine, EngineConfig, Refusal,
    events::{self, EventReceiver},
    limits::Limits,
    spec::{AccountId, DestinationId, DestinationSpec, Goodbye, ProjectId, ProjectSpec, StreamKey, Target},
    status::{ProjectStatus, RelayState},
};
use gostream_net::BoxFuture;
use gostream_proto::rtmp::{
    media::{Media, MediaKind},
    url::RtmpUrl,
};
use gostream_testkit::{PATIENCE, platform::Platform};
use tokio::{sync::watch, time::timeout};
use uuid::Uuid;

/// A running engine and the projects that it admits.
pub struct Stage {
    pub engine: Engine,
    pub address: SocketAddr,
    pub events: EventReceiver,
    projects: Arc<Projects>,
}

/// The owner of all projects of a stage.
pub const ACCOUNT: AccountId = AccountId(Uuid::nil());

#[derive(Default)]
struct Projects {
    known: Mutex<HashMap<String, ProjectSpec>>,
    /// Number of admission requests so far.
    asked: watch::Sender<usize>,
}

impl Admission for Projects {
    fn admit<'a>(&'a self, key: &'a StreamKey, _peer: SocketAddr) -> BoxFuture<'a, Result<ProjectSpec, Refusal>> {
        let spec = self.known.lock().expect("no test panics inside").get(key.expose()).cloned();
        self.asked.send_modify(|asked| *asked += 1);
        Box::pin(async move { spec.ok_or(Refusal::UnknownKey) })
    }
}

/// The configuration of the tests, for them to modify.
pub fn config() -> EngineConfig {
    EngineConfig {
        rtmp_listen: "127.0.0.1:0".parse().expect("is an address"),
        egress_allow: vec!["127.0.0.0/8".parse().expect("is a range"), "::1/128".parse().expect("is a range")],
        limits: Limits { silence: Duration::from_secs(5), ..Limits::default() },
        ..EngineConfig::default()
    }
}

impl Stage {
    pub async fn new() -> Self {
        Self::with(config()).await
    }

    pub async fn with(config: EngineConfig) -> Self {
        let projects = Arc::new(Projects::default());
        let (sender, events) = events::channel(256);
        let engine = Engine::start(config, projects.clone(), sender).await.expect("starts");
        Self { address: engine.rtmp_addr(), engine, events, projects }
    }

    /// Adds a project with that key and these destinations, all enabled.
    pub fn project(&self, key: &str, platforms: &[&Platform]) -> ProjectSpec {
        let destinations = platforms.iter().enumerate().map(|(n, platform)| destination(n, &platform.url())).collect();
        let spec = ProjectSpec {
            account: ACCOUNT,
            id: ProjectId(Uuid::new_v4()),
            stream_key: StreamKey::new(key),
            playback_id: format!("playback-{key}"),
            goodbye: Goodbye::Ends,
            destinations,
        };
        self.save(&spec);
        spec
    }

    /// Does what the control plane does after a change: first the row, then the engine.
    pub fn save(&self, spec: &ProjectSpec) {
        let key = spec.stream_key.expose().to_owned();
        self.projects.known.lock().expect("no test panics inside").insert(key, spec.clone());
        self.engine.apply(spec.clone());
    }

    /// Does what the control plane does when a key is replaced or a project deleted: first the row, then the engine.
    pub fn revoke(&self, spec: &ProjectSpec) {
        self.projects.known.lock().expect("no test panics inside").remove(spec.stream_key.expose());
        self.engine.end(spec.id, EndReason::EndedByOwner);
    }

    /// Number of admission requests so far.
    pub fn asked(&self) -> watch::Receiver<usize> {
        self.projects.asked.subscribe()
    }

    /// Waits for a status; panics with `what` if it does not occur in time.
    pub async fn until(
        &self,
        project: ProjectId,
        what: &str,
        wanted: impl Fn(&ProjectStatus) -> bool,
    ) -> Arc<ProjectStatus> {
        let mut watch = self.engine.watch(project);
        let found = timeout(PATIENCE, watch.wait_for(|status| status.as_deref().is_some_and(&wanted))).await;
        match found {
            Ok(Ok(status)) => status.clone().expect("is wanted"),
            _ => panic!("the status never was {what}: {:#?}", self.engine.status(project)),
        }
    }

    /// Waits until relay `n` has that state.
    pub async fn until_relay(&self, spec: &ProjectSpec, n: usize, state: RelayState) -> Arc<ProjectStatus> {
        let id = spec.destinations[n].id;
        self.until(spec.id, &format!("{state:?} for destination {n}"), |status| {
            status.relays.get(&id).is_some_and(|relay| relay.state == state)
        })
        .await
    }

    /// Waits until all relays are live.
    pub async fn until_all_live(&self, spec: &ProjectSpec) {
        self.until(spec.id, "all live", |status| {
            status.relays.len() == spec.destinations.len()
                && status.relays.values().all(|relay| relay.state == RelayState::Live)
        })
        .await;
    }

    /// Waits until the project is offline.
    pub async fn until_offline(&self, project: ProjectId) {
        let mut watch = self.engine.watch(project);
        timeout(PATIENCE, watch.wait_for(Option::is_none)).await.expect("ends").expect("is watched");
    }
}

/// A destination with the key `key-{n}`.
pub fn destination(n: usize, url: &str) -> DestinationSpec {
    DestinationSpec {
        id: DestinationId(Uuid::from_u128(n as u128)),
        target: Target { url: RtmpUrl::parse(url).expect("is a URL"), key: StreamKey::new(format!("key-{n}")) },
        backup: None,
        enabled: true,
        delay: Duration::ZERO,
    }
}

/// Bodies of audio and of video messages, each in order.
pub fn bodies(media: &[Media]) -> [Vec<bytes::Bytes>; 2] {
    [MediaKind::Audio, MediaKind::Video]
        .map(|kind| media.iter().filter(|media| media.kind == kind).map(|media| media.body.clone()).collect())
}

/// Asserts that audio and video bodies are equal and in order; reports the first difference.
pub fn assert_same(received: &[Media], sent: &[Media]) {
    for (received, sent) in bodies(received).into_iter().zip(bodies(sent)) {
        let differs = received.iter().zip(&sent).position(|(received, sent)| received != sent);
        assert_eq!((received.len(), differs), (sent.len(), None), "messages, first difference");
    }
}

/// Whether times never go back within a track.
pub fn is_monotonic(media: &[Media]) -> bool {
    [MediaKind::Audio, MediaKind::Video].into_iter().all(|kind| {
        let times: Vec<_> = media.iter().filter(|media| media.kind == kind).map(|media| media.timestamp).collect();
        times.is_sorted()
    })
}
