//! The registry: which projects are live on this server, with their publishers' seats.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::{sync::watch, time::Instant};

pub(crate) use super::revoked::Asked;
use super::{
    live::{Applied, Claim, LiveProject, Ticket},
    revoked::Revoked,
};
use crate::{
    events::EndReason,
    outputs::hls,
    spec::{ProjectId, ProjectSpec, StreamKey},
    status::ProjectStatus,
};

/// The request of an admitted publisher for a seat.
#[derive(Debug)]
pub(crate) struct Request<'a> {
    pub(crate) spec: &'a ProjectSpec,
    /// When its admission was asked for.
    pub(crate) asked: Asked,
    pub(crate) claim: Claim,
    /// The maximum of live projects of an account.
    pub(crate) live_max: usize,
}

/// Result of a request for a seat.
#[derive(Debug)]
pub(crate) enum Seating {
    /// The seat was taken.
    Taken(Arc<LiveProject>, Ticket),
    /// The seat is occupied.
    Occupied,
    /// The account has its maximum of live projects.
    TooMany,
    /// The previous broadcast is ending; its relays must close before new ones start.
    Ending(Arc<LiveProject>),
    /// The admission may be outdated.
    AskAgain,
}

/// All live projects, and their status for watchers.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    tables: Mutex<Tables>,
}

#[derive(Debug, Default)]
struct Tables {
    live: HashMap<ProjectId, Arc<LiveProject>>,
    keys: HashMap<StreamKey, ProjectId>,
    /// HLS outputs by playback id. They stay for some seconds after the project ended, so that players see the end.
    outputs: HashMap<String, (ProjectId, Arc<hls::Output>)>,
    statuses: HashMap<ProjectId, watch::Sender<Option<Arc<ProjectStatus>>>>,
    revoked: Revoked,
}

impl Registry {
    /// Returns a token for a question to the control plane, to be taken before the question and passed back with its
    /// answer.
    pub(crate) fn asked(&self) -> Asked {
        self.tables().revoked.asked(Instant::now())
    }

    /// Invalidates all earlier answers about this project.
    pub(crate) fn revoke(&self, project: ProjectId) {
        self.tables().revoked.add(project, Instant::now());
    }

    /// The live project that an answer is about, if the answer is still valid and the broadcast has not ended
    /// (destinations with a delay may receive the rest for minutes).
    pub(crate) fn live_for(&self, spec: &ProjectSpec, asked: Asked) -> Option<Arc<LiveProject>> {
        let tables = self.tables();
        let live = tables.live.get(&spec.id).filter(|_| !tables.revoked.concerns(spec.id, asked, Instant::now()))?;
        let is_it = !live.broadcast.is_ended() && live.spec.borrow().stream_key == spec.stream_key;
        is_it.then(|| Arc::clone(live))
    }

    /// The spec that the publisher with that key was last admitted with, if its broadcast has not ended.
    pub(crate) fn spec_by_key(&self, key: &StreamKey) -> Option<ProjectSpec> {
        let live = self.by_key(key).filter(|live| !live.broadcast.is_ended())?;
        let spec = live.spec.borrow().clone();
        Some(spec)
    }

    /// Takes a seat in the live project, or in a new one made by `open`. The validity of the answer, the number of live
    /// projects and the seat are checked under one lock.
    pub(crate) fn seat(
        &self,
        request: &Request<'_>,
        open: impl FnOnce(watch::Sender<Option<Arc<ProjectStatus>>>) -> Arc<LiveProject>,
    ) -> Seating {
        let Request { spec, asked, claim, live_max } = *request;
        let mut tables = self.tables();
        if tables.revoked.concerns(spec.id, asked, Instant::now()) {
            return Seating::AskAgain;
        }
        if let Some(live) = tables.live.get(&spec.id).map(Arc::clone) {
            if !live.broadcast.is_ended() && live.apply(spec) == Applied::OtherKey {
                live.broadcast.end(EndReason::EndedByOwner);
            }
            if live.broadcast.is_ended() {
                return Seating::Ending(live);
            }
            return live.claim_seat(claim).map_or(Seating::Occupied, |ticket| Seating::Taken(live, ticket));
        }
        // A broadcast that is ending does not count.
        let counts = |live: &LiveProject| live.spec.borrow().account == spec.account && !live.broadcast.is_ended();
        if tables.live.values().filter(|live| counts(live)).count() >= live_max {
            return Seating::TooMany;
        }
        let live = tables.insert(spec, open);
        live.claim_seat(claim).map_or(Seating::Occupied, |ticket| Seating::Taken(live, ticket))
    }

    /// The live project with that id.
    pub(crate) fn get(&self, project: ProjectId) -> Option<Arc<LiveProject>> {
        self.tables().live.get(&project).cloned()
    }

    /// The live project with that key.
    pub(crate) fn by_key(&self, key: &StreamKey) -> Option<Arc<LiveProject>> {
        let tables = self.tables();
        tables.live.get(tables.keys.get(key)?).cloned()
    }

    /// The HLS output with that playback id.
    pub(crate) fn output(&self, playback_id: &str) -> Option<Arc<hls::Output>> {
        self.tables().outputs.get(playback_id).map(|(_, output)| Arc::clone(output))
    }

    /// Changes the playback id of the project's output, if there is one.
    pub(crate) fn name_output(&self, project: ProjectId, playback_id: &str) {
        let mut tables = self.tables();
        let named = tables.outputs.iter().find(|(_, (owner, _))| *owner == project).map(|(id, _)| id.clone());
        let output = named.and_then(|old| tables.outputs.remove(&old));
        if let Some(output) = output {
            tables.outputs.insert(playback_id.to_owned(), output);
        }
    }

    /// Removes an output some seconds after the end, unless another stream of the project replaced it.
    pub(crate) fn forget_output(&self, output: &Arc<hls::Output>) {
        self.tables().outputs.retain(|_, (_, current)| !Arc::ptr_eq(current, output));
    }

    /// All live projects.
    pub(crate) fn all(&self) -> Vec<(ProjectId, Arc<LiveProject>)> {
        self.tables().live.iter().map(|(&id, live)| (id, Arc::clone(live))).collect()
    }

    /// Removes a project that ended.
    pub(crate) fn remove(&self, project: ProjectId) {
        let mut tables = self.tables();
        tables.live.remove(&project);
        tables.keys.retain(|_, id| *id != project);
        let Tables { live, statuses, .. } = &mut *tables;
        statuses.retain(|id, status| status.receiver_count() > 0 || live.contains_key(id));
    }

    /// The current status of a project and its changes; `None` while it is not live.
    pub(crate) fn watch(&self, project: ProjectId) -> watch::Receiver<Option<Arc<ProjectStatus>>> {
        let mut tables = self.tables();
        let Tables { live, statuses, .. } = &mut *tables;
        // Projects that never go live may have been watched; their entries are removed when there are many.
        if statuses.len() > 2 * live.len() + 64 {
            statuses.retain(|id, status| status.receiver_count() > 0 || live.contains_key(id));
        }
        statuses.entry(project).or_insert_with(|| watch::Sender::new(None)).subscribe()
    }

    /// Wakes the project's watchers after a change outside its status.
    pub(crate) fn notify_watchers(&self, project: ProjectId) {
        if let Some(status) = self.tables().statuses.get(&project) {
            status.send_modify(|_| {});
        }
    }

    fn tables(&self) -> MutexGuard<'_, Tables> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Tables {
    fn insert(
        &mut self,
        spec: &ProjectSpec,
        open: impl FnOnce(watch::Sender<Option<Arc<ProjectStatus>>>) -> Arc<LiveProject>,
    ) -> Arc<LiveProject> {
        let status = self.statuses.entry(spec.id).or_insert_with(|| watch::Sender::new(None)).clone();
        let live = open(status);
        self.live.insert(spec.id, Arc::clone(&live));
        self.keys.insert(spec.stream_key.clone(), spec.id);
        // The new output replaces that of the previous stream, whatever its playback id was.
        self.outputs.retain(|_, (project, _)| *project != spec.id);
        self.outputs.insert(spec.playback_id.clone(), (spec.id, Arc::clone(&live.hls)));
        live
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn entries_of_dropped_watchers_are_removed() {
        let registry = Registry::default();
        let kept = registry.watch(ProjectId(Uuid::new_v4()));
        for _ in 0..10_000 {
            drop(registry.watch(ProjectId(Uuid::new_v4())));
        }
        assert!(registry.tables().statuses.len() < 100, "{}", registry.tables().statuses.len());
        assert!(kept.has_changed().is_ok(), "the watched entry stays");
    }
}
