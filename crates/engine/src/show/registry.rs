//! The registry: which projects are live here, and who publishes to them.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::{sync::watch, time::Instant};

pub(crate) use super::revoked::Asked;
use super::{
    live::{Applied, Claim, Live, Ticket},
    revoked::Revoked,
};
use crate::{
    events::EndReason,
    outputs::hls,
    spec::{ProjectId, ProjectSpec, StreamKey},
    status::ProjectStatus,
};

/// A publisher that was let in and now wants a seat.
#[derive(Debug)]
pub(crate) struct Request<'a> {
    pub(crate) spec: &'a ProjectSpec,
    /// When that answer was asked for.
    pub(crate) asked: Asked,
    pub(crate) claim: Claim,
    /// How many projects of an account may be live.
    pub(crate) live_max: usize,
}

/// What a request for a seat leads to.
#[derive(Debug)]
pub(crate) enum Seating {
    /// The seat.
    Taken(Arc<Live>, Ticket),
    /// It is taken.
    Occupied,
    /// The account has as many live projects as it may have.
    TooMany,
    /// A broadcast is ending: its relays must have left before others begin.
    Ending(Arc<Live>),
    /// The answer that the request is based on may be outdated.
    AskAgain,
}

/// All live projects, and the status of each to whoever watches.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    tables: Mutex<Tables>,
}

#[derive(Debug, Default)]
struct Tables {
    live: HashMap<ProjectId, Arc<Live>>,
    keys: HashMap<StreamKey, ProjectId>,
    /// What viewers watch, by playback id: a little longer than the project is live, so that players see the end.
    outputs: HashMap<String, (ProjectId, Arc<hls::Output>)>,
    statuses: HashMap<ProjectId, watch::Sender<Option<Arc<ProjectStatus>>>>,
    revoked: Revoked,
}

impl Registry {
    /// To be taken before the control plane is asked, and given back with its answer.
    pub(crate) fn asked(&self) -> Asked {
        self.tables().revoked.asked(Instant::now())
    }

    /// What was answered about this project until now counts no longer.
    pub(crate) fn revoke(&self, project: ProjectId) {
        self.tables().revoked.add(project, Instant::now());
    }

    /// The live project that an answer is about, if it is still what was asked about and has not ended: destinations with a delay
    /// may get the rest for minutes.
    pub(crate) fn answered(&self, spec: &ProjectSpec, asked: Asked) -> Option<Arc<Live>> {
        let tables = self.tables();
        let live = tables.live.get(&spec.id).filter(|_| !tables.revoked.concerns(spec.id, asked, Instant::now()))?;
        let is_it = !live.broadcast.is_ended() && live.spec.borrow().stream_key == spec.stream_key;
        is_it.then(|| Arc::clone(live))
    }

    /// What a publisher of that key was last admitted to, if that has not ended.
    pub(crate) fn spec_by_key(&self, key: &StreamKey) -> Option<ProjectSpec> {
        let live = self.by_key(key).filter(|live| !live.broadcast.is_ended())?;
        let spec = live.spec.borrow().clone();
        Some(spec)
    }

    /// Takes a seat in the live project, or in a new one made by `open`. Whether the answer still counts, how much is live and
    /// who sits where are looked at in one step.
    pub(crate) fn seat(
        &self,
        request: &Request<'_>,
        open: impl FnOnce(watch::Sender<Option<Arc<ProjectStatus>>>) -> Arc<Live>,
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
        // One that is ending leaves by itself, and holds no place.
        let counts = |live: &Live| live.spec.borrow().account == spec.account && !live.broadcast.is_ended();
        if tables.live.values().filter(|live| counts(live)).count() >= live_max {
            return Seating::TooMany;
        }
        let live = tables.insert(spec, open);
        live.claim_seat(claim).map_or(Seating::Occupied, |ticket| Seating::Taken(live, ticket))
    }

    /// The live project of that id.
    pub(crate) fn get(&self, project: ProjectId) -> Option<Arc<Live>> {
        self.tables().live.get(&project).cloned()
    }

    /// The live project of that key.
    pub(crate) fn by_key(&self, key: &StreamKey) -> Option<Arc<Live>> {
        let tables = self.tables();
        tables.live.get(tables.keys.get(key)?).cloned()
    }

    /// What viewers of that playback id watch.
    pub(crate) fn output(&self, playback_id: &str) -> Option<Arc<hls::Output>> {
        self.tables().outputs.get(playback_id).map(|(_, output)| Arc::clone(output))
    }

    /// The project's output, if there is one, has this playback id from now on, and no other.
    pub(crate) fn name_output(&self, project: ProjectId, playback_id: &str) {
        let mut tables = self.tables();
        let named = tables.outputs.iter().find(|(_, (owner, _))| *owner == project).map(|(id, _)| id.clone());
        let output = named.and_then(|old| tables.outputs.remove(&old));
        if let Some(output) = output {
            tables.outputs.insert(playback_id.to_owned(), output);
        }
    }

    /// Viewers have had time to see the end. Nothing happens when they watch another stream by now.
    pub(crate) fn forget_output(&self, output: &Arc<hls::Output>) {
        self.tables().outputs.retain(|_, (_, current)| !Arc::ptr_eq(current, output));
    }

    /// All live projects.
    pub(crate) fn all(&self) -> Vec<(ProjectId, Arc<Live>)> {
        self.tables().live.iter().map(|(&id, live)| (id, Arc::clone(live))).collect()
    }

    /// The project is over.
    pub(crate) fn remove(&self, project: ProjectId) {
        let mut tables = self.tables();
        tables.live.remove(&project);
        tables.keys.retain(|_, id| *id != project);
        let Tables { live, statuses, .. } = &mut *tables;
        statuses.retain(|id, status| status.receiver_count() > 0 || live.contains_key(id));
    }

    /// The status of a project, now and as it changes; `None` while it is not live.
    pub(crate) fn watch(&self, project: ProjectId) -> watch::Receiver<Option<Arc<ProjectStatus>>> {
        let mut tables = self.tables();
        let Tables { live, statuses, .. } = &mut *tables;
        // Nobody may watch a project that never goes live; such entries are swept out when there are many.
        if statuses.len() > 2 * live.len() + 64 {
            statuses.retain(|id, status| status.receiver_count() > 0 || live.contains_key(id));
        }
        statuses.entry(project).or_insert_with(|| watch::Sender::new(None)).subscribe()
    }

    /// Whoever watches the project looks again: something changed that is not in its status.
    pub(crate) fn stir(&self, project: ProjectId) {
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
        open: impl FnOnce(watch::Sender<Option<Arc<ProjectStatus>>>) -> Arc<Live>,
    ) -> Arc<Live> {
        let status = self.statuses.entry(spec.id).or_insert_with(|| watch::Sender::new(None)).clone();
        let live = open(status);
        self.live.insert(spec.id, Arc::clone(&live));
        self.keys.insert(spec.stream_key.clone(), spec.id);
        // What is left of the stream before makes room, whatever its playback id was.
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
    fn watchers_who_left_leave_nothing_behind() {
        let registry = Registry::default();
        let kept = registry.watch(ProjectId(Uuid::new_v4()));
        for _ in 0..10_000 {
            drop(registry.watch(ProjectId(Uuid::new_v4())));
        }
        assert!(registry.tables().statuses.len() < 100, "{}", registry.tables().statuses.len());
        assert!(kept.has_changed().is_ok(), "who watches is told");
    }
}
