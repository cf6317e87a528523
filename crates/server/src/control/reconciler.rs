//! Where control plane and data plane meet: rows become a [`ProjectSpec`](gostream_engine::spec::ProjectSpec), and the engine
//! is told.
//!
//! A wake carries only a project's id. One code path serves the click, the publish and the periodic sweep, so whatever
//! was missed is caught by the next sweep. Handlers never call a relay.

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
use crate::fronts::Fronts;

/// How often every live project is looked at, woken or not. A key that another process replaced, such as `gostream user
/// password`, ends its publisher within this time.
const SWEEP_INTERVAL: Duration = Duration::from_secs(5);
/// How long one project may take. Its rows take milliseconds; one that hangs is given up on before the next sweep tries it again.
const PROJECT_TIMEOUT: Duration = Duration::from_secs(4);
/// How long the projects to pull may take to be read, one query for all of them.
const PULLS_TIMEOUT: Duration = Duration::from_secs(10);

/// Keeps every live project as its rows say.
#[derive(Debug)]
pub(crate) struct Reconciler {
    /// What encoders are asked at.
    gate: Arc<Gate>,
    engine: Engine,
    fronts: Arc<Fronts>,
    /// This server among others on the same database.
    node: String,
    /// Where it is kept what failed.
    pub(crate) sync_errors: Arc<SyncErrors>,
}

impl Reconciler {
    pub(crate) fn new(gate: Arc<Gate>, engine: Engine, fronts: Arc<Fronts>, node: String) -> Self {
        Self { gate, engine, fronts, node, sync_errors: Arc::default() }
    }

    /// Works until `stop`. Projects, pulls and commands of other servers do not wait for each other.
    pub(crate) async fn run(self, stop: CancellationToken) {
        let changed = Notify::new();
        tokio::select! {
            () = stop.cancelled() => {}
            () = self.keep_projects(&changed) => {}
            () = self.keep_pulls(&changed) => {}
            () = self.carry_out_commands() => {}
        }
    }

    /// Reconciles projects side by side: those that changed, and with each sweep every live one.
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

    /// Fetches what is this server's to fetch, whenever rows changed and at each sweep.
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

    /// Carries out what other servers ask for.
    async fn carry_out_commands(&self) {
        let mut inbox = Inbox::new(self.gate.store.clone(), self.engine.clone(), self.node.clone());
        let (mut sweep, mut look) = (every(SWEEP_INTERVAL), every(INBOX_INTERVAL));
        loop {
            tokio::select! {
                _ = sweep.tick() => {}
                _ = look.tick(), if inbox.expects_commands() => {}
                () = self.gate.wakes.commands() => {}
            }
            inbox.carry_out().await;
        }
    }

    /// Tells whether the rows were read; when they cannot be, everything goes on as it was.
    async fn pull(&self, was_failing: bool) -> bool {
        let claimed = self.gate.store.claim_pulls(&self.node, OffsetDateTime::now_utc());
        match timeout(PULLS_TIMEOUT, claimed).await {
            Ok(Ok(rows)) => {
                self.fronts.retain(&rows.iter().map(|row| row.id).collect());
                self.engine.pull(rows.iter().filter_map(rows::pull_spec).collect());
                return true;
            }
            Ok(Err(error)) if !was_failing => tracing::warn!(%error, "The projects to pull could not be read."),
            Err(_) if !was_failing => tracing::warn!("The projects to pull could not be read in time."),
            _ => {}
        }
        false
    }

    /// Makes a live project as its rows say. When that fails, it runs on as it was, the failure is kept, and the next sweep tries
    /// again.
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
                tracing::warn!(%error, project.id = %project, "The rows of a project cannot be read. Its changes wait.");
            }
            (Noted::Fails, _) => {
                tracing::warn!(project.id = %project, "The rows of a project cannot be read in time. Its changes wait.");
            }
            (Noted::Recovers, _) => {
                tracing::info!(project.id = %project, "Changes of a project are carried out again.")
            }
            (Noted::Same | Noted::FailsOtherwise, _) => {}
        }
        if noted != Noted::Same {
            self.gate.wakes.view_changed(project.0);
        }
    }

    async fn follow(&self, project: ProjectId) -> Result<(), Error> {
        if self.engine.live().contains(&project) && self.apply(project).await? == Applied::OtherKey {
            // Rows that were read while the key was replaced, and its next stream began, say the old one. Those that are read
            // now were written before that stream, or say truly that its key was replaced.
            if self.apply(project).await? == Applied::OtherKey {
                self.engine.end(project, EndReason::EndedByOwner);
            }
        }
        Ok(())
    }

    /// Hands the engine what the rows say; ends the stream of a project that has none.
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

/// Ticks at once and then at this interval, which a late tick does not shorten.
fn every(period: Duration) -> Interval {
    let mut interval = interval(period);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}

#[cfg(test)]
mod tests;
