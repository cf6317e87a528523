//! The reconciler: turns rows into a [`ProjectSpec`](gostream_engine::spec::ProjectSpec) and applies it to the engine.
//!
//! A wake carries only a project's id. Requests, publishes and the periodic sweep use the same code, so the next sweep
//! catches anything that was missed. Handlers never call a relay.

use std::{sync::Arc, time::Duration};

use futures::{StreamExt as _, stream::FuturesUnordered};
use gostream_engine::{Applied, EndReason, Engine, spec::ProjectId};
use gostream_store::Error;
use time::OffsetDateTime;
use tokio::{
    sync::Notify,
    time::{Interval, MissedTickBehavior, interval, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    admission::Gate,
    cluster::{INBOX_INTERVAL, Inbox},
    queue::Queue,
    rows,
    sync::{Cause, Noted, SyncErrors},
};
use crate::upstream_publishers::UpstreamPublishers;

/// The interval at which every live project is reconciled. The publisher of a key that another process replaced, such
/// as `gostream user password`, is disconnected within this time.
const SWEEP_INTERVAL: Duration = Duration::from_secs(5);
/// How long one project may take. Its rows take milliseconds. A project that hangs is abandoned before the next sweep.
const PROJECT_TIMEOUT: Duration = Duration::from_secs(4);
/// How long reading the projects to pull may take. It is one query for all of them.
const PULLS_TIMEOUT: Duration = Duration::from_secs(10);

/// Keeps every live project in the state that its rows describe.
#[derive(Debug)]
pub(crate) struct Reconciler {
    /// The admission of encoders. Its store and wakes are used here as well.
    gate: Arc<Gate>,
    engine: Engine,
    upstream_publishers: Arc<UpstreamPublishers>,
    /// The node id of this server.
    node: String,
    /// The failures by project.
    pub(crate) sync_errors: Arc<SyncErrors>,
}

impl Reconciler {
    pub(crate) fn new(
        gate: Arc<Gate>,
        engine: Engine,
        upstream_publishers: Arc<UpstreamPublishers>,
        node: String,
    ) -> Self {
        Self { gate, engine, upstream_publishers, node, sync_errors: Arc::default() }
    }

    /// Runs until `stop`. Projects, pulls and commands of other servers do not wait for each other.
    pub(crate) async fn run(self, stop: CancellationToken) {
        let changed = Notify::new();
        tokio::select! {
            () = stop.cancelled() => {}
            () = self.keep_projects(&changed) => {}
            () = self.keep_pulls(&changed) => {}
            () = self.execute_commands() => {}
        }
    }

    /// Reconciles changed projects, and every live one with each sweep. Several run concurrently.
    async fn keep_projects(&self, changed: &Notify) {
        let (mut queue, mut running) = (Queue::default(), FuturesUnordered::new());
        let mut sweep = every(SWEEP_INTERVAL);
        loop {
            tokio::select! {
                () = self.gate.wakes.some() => {
                    self.gate.wakes.take().into_iter().for_each(|project| queue.wake(ProjectId(project)));
                    changed.notify_one();
                }
                _ = sweep.tick() => {
                    let live = self.engine.live();
                    self.sync_errors.retain(&live).into_iter().for_each(|over| self.gate.wakes.view_changed(over.0));
                    live.into_iter().for_each(|project| queue.sweep(project));
                }
                Some(project) = running.next() => queue.finished(project),
            }
            while let Some(project) = queue.next(|project| self.sync_errors.of(project).is_some()) {
                running.push(async move {
                    self.reconcile(project).await;
                    project
                });
            }
        }
    }

    /// Pulls the streams that this server has claimed, after changes and with each sweep.
    async fn keep_pulls(&self, changed: &Notify) {
        let (mut sweep, mut was_failing) = (every(SWEEP_INTERVAL), false);
        loop {
            tokio::select! {
                () = changed.notified() => {}
                _ = sweep.tick() => {}
            }
            was_failing = !self.pull(was_failing).await;
        }
    }

    /// Executes the commands of other servers.
    async fn execute_commands(&self) {
        let mut inbox = Inbox::new(self.gate.store.clone(), self.engine.clone(), self.node.clone());
        let (mut sweep, mut look) = (every(SWEEP_INTERVAL), every(INBOX_INTERVAL));
        loop {
            tokio::select! {
                _ = sweep.tick() => {}
                _ = look.tick(), if inbox.expects_commands() => {}
                () = self.gate.wakes.commands() => {}
            }
            inbox.execute().await;
        }
    }

    /// Returns whether the rows were read. If not, the current pulls continue.
    async fn pull(&self, was_failing: bool) -> bool {
        let claimed = self.gate.store.claim_pulls(&self.node, OffsetDateTime::now_utc());
        match timeout(PULLS_TIMEOUT, claimed).await {
            Ok(Ok(rows)) => {
                self.upstream_publishers.retain(&rows.iter().map(|row| row.id).collect());
                self.engine.pull(rows.iter().filter_map(rows::pull_spec).collect());
                return true;
            }
            Ok(Err(error)) if !was_failing => tracing::warn!(%error, "The projects to pull could not be read."),
            Err(_) if !was_failing => tracing::warn!("The projects to pull could not be read in time."),
            _ => {}
        }
        false
    }

    /// Reconciles a live project. After a failure the project runs on unchanged, the failure is recorded, and the next
    /// sweep tries again.
    async fn reconcile(&self, project: ProjectId) {
        let result = timeout(PROJECT_TIMEOUT, self.follow(project)).await;
        let failure = match &result {
            Ok(Ok(())) => None,
            Ok(Err(_)) => Some(Cause::Unreadable),
            Err(_) => Some(Cause::Late),
        };
        let noted = self.sync_errors.note(project, failure, OffsetDateTime::now_utc());
        match (noted, result) {
            (Noted::Fails, Ok(Err(error))) => {
                tracing::warn!(%error, project.id = %project, "The rows of a project cannot be read. Its changes are delayed.");
            }
            (Noted::Fails, _) => {
                tracing::warn!(project.id = %project, "The rows of a project cannot be read in time. Its changes are delayed.");
            }
            (Noted::Recovers, _) => {
                tracing::info!(project.id = %project, "Changes of a project are applied again.")
            }
            (Noted::Same | Noted::FailsOtherwise, _) => {}
        }
        if noted != Noted::Same {
            self.gate.wakes.view_changed(project.0);
        }
    }

    async fn follow(&self, project: ProjectId) -> Result<(), Error> {
        if self.engine.live().contains(&project) && self.apply(project).await? == Applied::OtherKey {
            // If the key was replaced and a stream with the new key began during the read, the rows still had the old
            // key. A second read is newer than that stream: if it differs as well, the stream's key was replaced.
            if self.apply(project).await? == Applied::OtherKey {
                self.engine.end(project, EndReason::EndedByOwner);
            }
        }
        Ok(())
    }

    /// Applies the rows to the engine. Ends the stream of a project without rows.
    async fn apply(&self, project: ProjectId) -> Result<Applied, Error> {
        Ok(match rows::read(&self.gate.store, project.0).await? {
            Some((row, destinations)) => self.engine.apply(rows::spec(&row, &destinations)),
            None => {
                self.engine.end(project, EndReason::EndedByOwner);
                Applied::Yes
            }
        })
    }
}

/// Ticks at once and then at this interval. A late tick does not shorten the next interval.
fn every(period: Duration) -> Interval {
    let mut interval = interval(period);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}

#[cfg(test)]
mod tests;
