//! State that connections, live projects and pulls share, and the start of a live project.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{mpsc, watch},
    time::timeout,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use uuid::Uuid;

use super::{
    cooldown::Cooldown,
    delay_room::DelayRoom,
    live::LiveProject,
    registry::Registry,
    starts::Starts,
    supervisor::{Setup, supervise},
    uplink::Uplink,
};
pub use crate::admission::Admission;
use crate::{
    broadcast::Broadcast,
    events::EventSender,
    limits::Limits,
    outputs::hls,
    rtmp::dial::Dialer,
    shards::Shards,
    shares::Shares,
    spec::{AccountId, ProjectSpec, StreamId},
    status::ProjectStatus,
};

/// How long viewers can fetch the last segments of a stream that ended; players are a few seconds late.
const OUTPUT_LINGER: Duration = Duration::from_secs(10);

/// Retry requests of one project that may wait.
const RETRIES: usize = 16;

/// State that connections and supervisors share.
pub(crate) struct Shared {
    pub(crate) admission: Arc<dyn Admission>,
    pub(crate) registry: Registry,
    pub(crate) limits: Limits,
    pub(crate) cooldown: Cooldown,
    pub(crate) starts: Starts,
    /// Cancelled when the server stops.
    pub(crate) closing: CancellationToken,
    pub(crate) tasks: TaskTracker,
    pub(crate) shards: Shards,
    pub(crate) dialer: Dialer,
    pub(crate) probes: Arc<Shares<AccountId>>,
    /// `flashVer` of pulls, by which this server recognises its own.
    pub(crate) identity: String,
    pub(crate) events: EventSender,
    pub(crate) grace: Duration,
    pub(crate) uplink: Arc<Uplink>,
    pub(crate) delay_room: Arc<DelayRoom>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("registry", &self.registry).finish_non_exhaustive()
    }
}

impl Shared {
    pub(crate) fn begin(
        self: &Arc<Self>,
        spec: &ProjectSpec,
        status: watch::Sender<Option<Arc<ProjectStatus>>>,
    ) -> Arc<LiveProject> {
        let broadcast = Broadcast::new(spec.id, StreamId(Uuid::now_v7()));
        let (retries, retry_requests) = mpsc::channel(RETRIES);
        let (spec_sender, spec_seen) = watch::channel(spec.clone());
        let output = Arc::new(hls::Output::new(broadcast.started_at));
        let live = LiveProject::new(Arc::clone(&broadcast), spec_sender, retries, Arc::clone(&output));
        let setup = Setup {
            broadcast,
            hls: output,
            spec: spec_seen,
            retries: retry_requests,
            status,
            events: self.events.of(spec.account),
            dialer: self.dialer.of(spec.account),
            grace: self.grace,
            uplink: Arc::clone(&self.uplink),
            delay_room: Arc::clone(&self.delay_room),
        };
        let (shared, ending) = (Arc::clone(self), Arc::clone(&live));
        self.tasks.spawn(async move {
            supervise(setup).await;
            shared.registry.remove(ending.broadcast.project);
            ending.finished.cancel();
            // Frees the broadcast's packets; the output keeps the last segments.
            let output = Arc::clone(&ending.hls);
            drop(ending);
            let _closing = timeout(OUTPUT_LINGER, shared.closing.cancelled()).await;
            shared.registry.forget_output(&output);
        });
        live
    }
}
