//! Pulls: streams that are fetched from another RTMP server, most often an nginx-rtmp that encoders already publish to.
//! A pull plays the stream there and writes into the broadcast as an encoder's connection does.
//!
//! [`state`] decides and [`task`] acts; [`source`] is one connection, [`error`] has the error sentences, [`upstream`]
//! the reports of the other server's hooks. An encoder that publishes here has priority: while it does, nothing is
//! pulled.

mod error;
mod source;
mod state;
mod task;
pub(crate) mod upstream;

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, info_span};

use super::pull::{task::Puller, upstream::Upstream};
use crate::{
    show::shared::Shared,
    spec::{ProjectId, PullSpec, Target},
    status::PullStatus,
};

/// Reports that may wait; a pull takes them within moments.
const REPORTS: usize = 16;

/// A running pull.
#[derive(Debug)]
struct Pull {
    source: Target,
    reports: mpsc::Sender<Upstream>,
    status: watch::Receiver<PullStatus>,
    stop: CancellationToken,
}

impl Drop for Pull {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// All running pulls.
#[derive(Debug, Default)]
pub(crate) struct Pulls(Mutex<HashMap<ProjectId, Pull>>);

impl Pulls {
    /// Starts missing pulls, stops those not listed, and leaves the others alone.
    pub(crate) fn apply(&self, wanted: Vec<PullSpec>, shared: &Arc<Shared>) {
        let mut pulls = self.lock();
        let ids: HashSet<_> = wanted.iter().map(|spec| spec.project).collect();
        pulls.retain(|project, _| ids.contains(project));
        for spec in wanted {
            if pulls.get(&spec.project).is_none_or(|running| running.source != spec.source) {
                pulls.insert(spec.project, Pull::start(spec, shared));
            }
        }
    }

    /// Passes a report to the project's pull, if there is one.
    pub(crate) fn report(&self, project: ProjectId, report: Upstream) {
        if let Some(pull) = self.lock().get(&project) {
            // The channel is only full if the pull is busy; its next connection notices the change.
            let _ = pull.reports.try_send(report);
        }
    }

    /// The status of the project's pull, if there is one.
    pub(crate) fn status(&self, project: ProjectId) -> Option<PullStatus> {
        self.lock().get(&project).map(|pull| pull.status.borrow().clone())
    }

    /// The state stays valid after a panic elsewhere, so a poisoned lock is used.
    fn lock(&self) -> MutexGuard<'_, HashMap<ProjectId, Pull>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pull {
    /// Runs on a thread of the data plane, as its broadcast will.
    fn start(spec: PullSpec, shared: &Arc<Shared>) -> Self {
        let (reports, reported) = mpsc::channel(REPORTS);
        let (status_sender, status) = watch::channel(PullStatus::default());
        let stop = shared.closing.child_token();
        let span = info_span!("pull", pull.project = %spec.project, pull.host = spec.source.url.host());
        let source = spec.source.clone();
        let puller = Puller::new(spec, Arc::clone(shared), reported, status_sender);
        let stopped = stop.clone();
        let task = async move {
            tokio::select! {
                () = stopped.cancelled() => {}
                () = puller.run() => {}
            }
        };
        let task = task.instrument(span);
        match shared.shards.next() {
            None => drop(shared.tasks.spawn(task)),
            Some(shard) => drop(shared.tasks.spawn_on(task, shard)),
        }
        Self { source, reports, status, stop }
    }
}
