//! Where control plane and data plane meet: rows become a [`ProjectSpec`], and the engine is told.
//!
//! A wake carries only a project's id. One code path serves the click, the publish and the periodic sweep, so whatever
//! was missed is caught by the next sweep. Handlers never call a relay.

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use gostream_engine::{
    Admission, Applied, EndReason, Engine, Refusal,
    net::BoxFuture,
    spec::{AccountId, DestinationId, DestinationSpec, Goodbye, ProjectId, ProjectSpec, PullSpec, StreamKey, Target},
};
use gostream_proto::rtmp::url::RtmpUrl;
use gostream_store::{Destination, Project, Store};
use secrecy::ExposeSecret as _;
use time::OffsetDateTime;
use tokio::{
    sync::{Notify, broadcast},
    time::{MissedTickBehavior, interval, sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{
    control::cluster::{INBOX_INTERVAL, Inbox},
    fronts::Fronts,
    login::{limit::Limits, refused},
    strangers::Strangers,
};

/// How long an encoder waits for the database before it is told to come back.
const ADMISSION_TIMEOUT: Duration = Duration::from_secs(2);
/// How long the rows of one project may take: a database that hangs must not hold up the reconciler for ever.
const ROWS_TIMEOUT: Duration = Duration::from_secs(10);
/// How long an address that keeps trying unknown keys waits for each answer. It holds one of its few places meanwhile.
const GUESS_DELAY: Duration = Duration::from_secs(2);
/// How often every live project is looked at, woken or not. A key that another process replaced, such as `gostream user
/// password`, ends its publisher within this time.
const SWEEP_INTERVAL: Duration = Duration::from_secs(5);
/// Changes that a slow listener may fall behind before it has to read everything again.
const CHANGES_MAX: usize = 256;

/// Something that open event streams want to know at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// Rows of this project changed.
    Project(Uuid),
    /// Some session ended.
    Sessions,
    /// An encoder tried an unknown key.
    Stranger,
}

/// Where handlers say that something changed.
#[derive(Debug)]
pub(crate) struct Wakes {
    pending: Mutex<BTreeSet<Uuid>>,
    some: Notify,
    changes: broadcast::Sender<Change>,
}

impl Default for Wakes {
    fn default() -> Self {
        Self { pending: Mutex::default(), some: Notify::new(), changes: broadcast::channel(CHANGES_MAX).0 }
    }
}

impl Wakes {
    /// Rows of `project` changed: the reconciler and open event streams read them again.
    pub(crate) fn wake(&self, project: Uuid) {
        lock(&self.pending).insert(project);
        self.some.notify_one();
        self.tell(Change::Project(project));
    }

    /// Sessions ended: open event streams look whether theirs did.
    pub(crate) fn sessions_ended(&self) {
        self.tell(Change::Sessions);
    }

    /// An encoder tried an unknown key: open event streams look whether it concerns them.
    pub(crate) fn stranger_came(&self) {
        self.tell(Change::Stranger);
    }

    /// Every change from now on.
    pub(crate) fn subscribe(&self) -> broadcast::Receiver<Change> {
        self.changes.subscribe()
    }

    fn tell(&self, change: Change) {
        // Without listeners nobody wants to know.
        let _listeners = self.changes.send(change);
    }

    fn take(&self) -> BTreeSet<Uuid> {
        std::mem::take(&mut *lock(&self.pending))
    }
}

/// A poisoned lock still guards whole values: every critical section here is one call.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Answers the engine's one question from the database, until `stopping`.
#[derive(Debug)]
pub(crate) struct Gate {
    pub(crate) store: Store,
    pub(crate) wakes: Arc<Wakes>,
    pub(crate) strangers: Arc<Strangers>,
    pub(crate) limits: Arc<Limits>,
    pub(crate) stopping: CancellationToken,
}

impl Gate {
    async fn spec_of(&self, key: &StreamKey) -> Result<ProjectSpec, Refusal> {
        let unavailable = |error| {
            tracing::warn!(%error, "The database did not answer for an encoder.");
            Refusal::Unavailable
        };
        let project = self.store.project_by_stream_key(key.expose()).await.map_err(unavailable)?;
        let project = project.ok_or(Refusal::UnknownKey)?;
        let destinations = self.store.destinations(project.id).await.map_err(unavailable)?;
        Ok(spec(&project, &destinations))
    }
}

impl Admission for Gate {
    fn admit<'a>(&'a self, key: &'a StreamKey, peer: SocketAddr) -> BoxFuture<'a, Result<ProjectSpec, Refusal>> {
        Box::pin(async move {
            if self.stopping.is_cancelled() {
                return Err(Refusal::Unavailable);
            }
            let answer = timeout(ADMISSION_TIMEOUT, self.spec_of(key)).await.unwrap_or(Err(Refusal::Unavailable));
            if matches!(answer, Err(Refusal::UnknownKey)) {
                refused("stream_key", Some(peer.ip()));
                if self.strangers.tried(peer.ip(), SystemTime::now()) {
                    self.wakes.stranger_came();
                }
                if self.limits.stream_key(peer.ip()).is_err() {
                    sleep(GUESS_DELAY).await;
                }
            }
            let spec = answer?;
            self.strangers.found_home(peer.ip());
            Ok(spec)
        })
    }
}

/// Keeps every live project as its rows say.
#[derive(Debug)]
pub(crate) struct Reconciler {
    /// What encoders are asked at.
    pub(crate) gate: Arc<Gate>,
    pub(crate) engine: Engine,
    pub(crate) fronts: Arc<Fronts>,
    /// This server among others on the same database.
    pub(crate) node: String,
}

impl Reconciler {
    /// Works until `stop`.
    pub(crate) async fn run(self, stop: CancellationToken) {
        let mut sweep = interval(SWEEP_INTERVAL);
        sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut look = interval(INBOX_INTERVAL);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut inbox = Inbox::new(self.gate.store.clone(), self.engine.clone(), self.node.clone());
        loop {
            let projects: Vec<ProjectId> = tokio::select! {
                () = stop.cancelled() => return,
                () = self.gate.wakes.some.notified() => self.gate.wakes.take().into_iter().map(ProjectId).collect(),
                _ = sweep.tick() => {
                    inbox.carry_out().await;
                    self.engine.live()
                }
                _ = look.tick(), if inbox.expects_commands() => {
                    inbox.carry_out().await;
                    continue;
                }
            };
            for project in projects {
                self.reconcile(project).await;
            }
            self.pull().await;
        }
    }

    /// Fetches what is this server's to fetch. When the rows cannot be read, everything goes on as it was.
    async fn pull(&self) {
        let claimed = self.gate.store.claim_pulls(&self.node, OffsetDateTime::now_utc());
        let rows = match timeout(ROWS_TIMEOUT, claimed).await {
            Ok(Ok(rows)) => rows,
            Ok(Err(error)) => return tracing::warn!(%error, "The projects to pull could not be read."),
            Err(_) => return tracing::warn!("The projects to pull could not be read in time."),
        };
        self.fronts.retain(&rows.iter().map(|row| row.id).collect());
        self.engine.pull(rows.iter().filter_map(pull_spec).collect());
    }

    async fn reconcile(&self, project: ProjectId) {
        if !self.engine.live().contains(&project) {
            return;
        }
        if self.apply(project).await == Some(Applied::OtherKey) {
            // Rows that were read while the key was replaced, and its next stream began, say the old one. Those that are read
            // now were written before that stream, or say truly that its key was replaced.
            if self.apply(project).await == Some(Applied::OtherKey) {
                self.engine.end(project, EndReason::EndedByOwner);
            }
        }
    }

    /// Hands the engine what the rows say; ends the stream of a project that has none. `None` when they cannot be read: the
    /// next sweep tries again, and until then everything runs on as it was.
    async fn apply(&self, project: ProjectId) -> Option<Applied> {
        match timeout(ROWS_TIMEOUT, self.rows(project.0)).await {
            Err(_) => {
                tracing::warn!(project.id = %project, "The rows of a project could not be read in time.");
                None
            }
            Ok(Err(error)) => {
                tracing::warn!(%error, project.id = %project, "The rows of a project could not be read.");
                None
            }
            Ok(Ok(None)) => {
                self.engine.end(project, EndReason::EndedByOwner);
                Some(Applied::Yes)
            }
            Ok(Ok(Some((row, destinations)))) => Some(self.engine.apply(spec(&row, &destinations))),
        }
    }

    async fn rows(&self, project: Uuid) -> Result<Option<(Project, Vec<Destination>)>, gostream_store::Error> {
        let Some(row) = self.gate.store.project_by_id(project).await? else { return Ok(None) };
        let destinations = self.gate.store.destinations(project).await?;
        Ok(Some((row, destinations)))
    }
}

/// What should be, from what is saved.
fn spec(project: &Project, destinations: &[Destination]) -> ProjectSpec {
    ProjectSpec {
        id: ProjectId(project.id),
        account: AccountId(project.user_id),
        stream_key: StreamKey::new(project.stream_key.expose_secret()),
        playback_id: project.playback_id.clone(),
        goodbye: if project.hold_after_stop { Goodbye::Holds } else { Goodbye::Ends },
        destinations: destinations.iter().filter_map(destination_spec).collect(),
    }
}

/// Where a project's stream is fetched from; `None` for one that comes by itself, or a row that the API could not have written.
fn pull_spec(row: &Project) -> Option<PullSpec> {
    match RtmpUrl::parse(row.pull_server()?.expose_secret()) {
        Ok(url) => {
            let source = Target { url, key: StreamKey::new(row.stream_key.expose_secret()) };
            Some(PullSpec { account: AccountId(row.user_id), project: ProjectId(row.id), source })
        }
        Err(error) => {
            tracing::warn!(%error, project.id = %row.id, "A saved project has no usable URL to pull from.");
            None
        }
    }
}

/// What a saved destination means to the engine; `None` for a row that the API could not have written.
pub(crate) fn destination_spec(row: &Destination) -> Option<DestinationSpec> {
    let key = StreamKey::new(row.stream_key.expose_secret());
    let backup = row.backup_server().map(|url| RtmpUrl::parse(url.expose_secret())).transpose();
    match RtmpUrl::parse(row.server().expose_secret()).and_then(|url| Ok((url, backup?))) {
        Ok((url, backup)) => Some(DestinationSpec {
            id: DestinationId(row.id),
            backup: backup.map(|url| Target { url, key: key.clone() }),
            target: Target { url, key },
            enabled: row.enabled,
            delay: Duration::from_secs(row.delay_seconds.into()),
        }),
        // The API takes only URLs that parse, so somebody wrote to the database.
        Err(error) => {
            tracing::warn!(%error, destination.id = %row.id, "A saved destination has no usable URL.");
            None
        }
    }
}

#[cfg(test)]
mod tests;
