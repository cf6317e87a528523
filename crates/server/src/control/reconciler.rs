//! Where control plane and data plane meet: rows become a [`ProjectSpec`](gostream_engine::spec::ProjectSpec), and the engine
//! is told.
//!
//! A wake carries only a project's id. One code path serves the click, the publish and the periodic sweep, so whatever
//! was missed is caught by the next sweep. Handlers never call a relay.

use std::{sync::Arc, time::Duration};

use gostream_engine::{Applied, EndReason, Engine, spec::ProjectId};
use time::OffsetDateTime;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use super::{
    admission::Gate,
    cluster::{INBOX_INTERVAL, Inbox},
    rows,
};
use crate::fronts::Fronts;

/// How long the rows of one project may take: a database that hangs must not hold up the reconciler for ever.
const ROWS_TIMEOUT: Duration = Duration::from_secs(10);
/// How often every live project is looked at, woken or not. A key that another process replaced, such as `gostream user
/// password`, ends its publisher within this time.
const SWEEP_INTERVAL: Duration = Duration::from_secs(5);

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
                () = self.gate.wakes.some() => self.gate.wakes.take().into_iter().map(ProjectId).collect(),
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
        self.engine.pull(rows.iter().filter_map(rows::pull_spec).collect());
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
        match timeout(ROWS_TIMEOUT, rows::read(&self.gate.store, project.0)).await {
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
            Ok(Ok(Some((row, destinations)))) => Some(self.engine.apply(rows::spec(&row, &destinations))),
        }
    }
}

#[cfg(test)]
mod tests;
