//! Where it is said that something changed.

use std::{
    collections::BTreeSet,
    sync::{Mutex, MutexGuard, PoisonError},
};

use gostream_store::Notification;
use tokio::sync::{Notify, broadcast};
use uuid::Uuid;

/// Changes that a slow listener may fall behind before it has to read everything again.
const CHANGES_MAX: usize = 256;

/// Something that open event streams want to know at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// Rows of this project changed, or whether they are carried out.
    Project(Uuid),
    /// Some session ended.
    Sessions,
    /// An encoder tried an unknown key.
    Stranger,
}

/// Where it is said that something changed. Only commands and the reconciler wake, and the history through
/// [`Wakes::stream_changed`].
#[derive(Debug)]
pub(crate) struct Wakes {
    pending: Mutex<BTreeSet<Uuid>>,
    some: Notify,
    changes: broadcast::Sender<Change>,
    /// Other servers left commands.
    commands: Notify,
    /// What other servers have to be told; nothing is kept where there are none.
    outgoing: Option<Outgoing>,
}

#[derive(Debug, Default)]
struct Outgoing {
    pending: Mutex<BTreeSet<Notification>>,
    some: Notify,
}

impl Default for Wakes {
    fn default() -> Self {
        let (pending, some, commands) = (Mutex::default(), Notify::new(), Notify::new());
        Self { pending, some, changes: broadcast::channel(CHANGES_MAX).0, commands, outgoing: None }
    }
}

impl Wakes {
    /// For a database that other servers may use as well, or not. Those are told what is said here.
    pub(crate) fn new(is_shared: bool) -> Self {
        Self { outgoing: is_shared.then(Outgoing::default), ..Self::default() }
    }

    /// Rows of `project` changed: the reconciler and open event streams read them again, here and at other servers.
    pub(super) fn wake(&self, project: Uuid) {
        self.wake_here(project);
        self.send(Notification::Project(project));
    }

    /// The same for this server alone.
    pub(super) fn wake_here(&self, project: Uuid) {
        lock(&self.pending).insert(project);
        self.some.notify_one();
        self.tell(Change::Project(project));
    }

    /// A stream of `project` begins here: rows that changed since its admission are read.
    pub(crate) fn stream_begins(&self, project: Uuid) {
        self.wake_here(project);
    }

    /// The history of `project` has another state of its stream: other servers show it.
    pub(crate) fn history_changed(&self, project: Uuid) {
        self.send(Notification::History(project));
    }

    /// The history of `project` was mended: open event streams read it again, here and at other servers.
    pub(crate) fn history_mended(&self, project: Uuid) {
        self.wake(project);
    }

    /// Sessions ended: open event streams look whether theirs did, here and at other servers.
    pub(super) fn sessions_ended(&self) {
        self.sessions_ended_elsewhere();
        self.send(Notification::Sessions);
    }

    /// Sessions ended at another server.
    pub(super) fn sessions_ended_elsewhere(&self) {
        self.tell(Change::Sessions);
    }

    /// Commands were left for other servers.
    pub(super) fn commands_left(&self) {
        self.send(Notification::Commands);
    }

    /// Other servers left commands.
    pub(super) fn commands_came(&self) {
        self.commands.notify_one();
    }

    /// Waits until other servers left commands.
    pub(super) async fn commands(&self) {
        self.commands.notified().await;
    }

    /// An encoder tried an unknown key: open event streams look whether it concerns them.
    pub(super) fn stranger_came(&self) {
        self.tell(Change::Stranger);
    }

    /// What is shown of `project` changed, and not its rows: open event streams read it again.
    pub(super) fn view_changed(&self, project: Uuid) {
        self.tell(Change::Project(project));
    }

    /// Every change from now on.
    pub(super) fn subscribe(&self) -> broadcast::Receiver<Change> {
        self.changes.subscribe()
    }

    fn send(&self, notification: Notification) {
        if let Some(outgoing) = &self.outgoing {
            lock(&outgoing.pending).insert(notification);
            outgoing.some.notify_one();
        }
    }

    /// What is to be sent to other servers, as soon as there is something.
    pub(super) async fn outgoing(&self) -> BTreeSet<Notification> {
        let Some(outgoing) = &self.outgoing else { return std::future::pending().await };
        outgoing.some.notified().await;
        std::mem::take(&mut *lock(&outgoing.pending))
    }

    fn tell(&self, change: Change) {
        // Without listeners nobody wants to know.
        let _listeners = self.changes.send(change);
    }

    /// Waits until rows of some project changed.
    pub(super) async fn some(&self) {
        self.some.notified().await;
    }

    /// The projects whose rows changed since the last call.
    pub(super) fn take(&self) -> BTreeSet<Uuid> {
        std::mem::take(&mut *lock(&self.pending))
    }
}

/// A poisoned lock still guards whole values: every critical section here is one call.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
