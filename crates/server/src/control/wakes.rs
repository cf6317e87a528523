//! Announces changes to the reconciler, to open event streams, and to other servers.

use std::{
    collections::BTreeSet,
    sync::{Mutex, MutexGuard, PoisonError},
};

use gostream_store::Notification;
use tokio::sync::{Notify, broadcast};
use uuid::Uuid;

/// The most changes that a slow event stream may be behind. Beyond that it has to read everything again.
const CHANGES_MAX: usize = 256;

/// A change that open event streams react to at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// The rows of this project changed, or whether they are applied.
    Project(Uuid),
    /// A session ended.
    Sessions,
    /// An encoder tried an unknown key.
    UnknownKey,
}

/// Announces changes. Only commands, the reconciler and the history writer use it.
#[derive(Debug)]
pub(crate) struct Wakes {
    pending: Mutex<BTreeSet<Uuid>>,
    some: Notify,
    changes: broadcast::Sender<Change>,
    /// Wakes for commands of other servers.
    commands: Notify,
    /// Notifications for other servers; `None` if there are none.
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
    /// For a database that is or is not shared with other servers, which are notified of changes here.
    pub(crate) fn new(is_shared: bool) -> Self {
        Self { outgoing: is_shared.then(Outgoing::default), ..Self::default() }
    }

    /// Rows of `project` changed: the reconciler and open event streams read them again, on all servers.
    pub(super) fn wake(&self, project: Uuid) {
        self.wake_here(project);
        self.send(Notification::Project(project));
    }

    /// Like [`Self::wake`], on this server only.
    pub(super) fn wake_here(&self, project: Uuid) {
        lock(&self.pending).insert(project);
        self.some.notify_one();
        self.publish(Change::Project(project));
    }

    /// A stream of `project` starts on this server: rows that changed since its admission are read.
    pub(crate) fn stream_begins(&self, project: Uuid) {
        self.wake_here(project);
    }

    /// The stream of `project` changed its status in the history, which other servers show.
    pub(crate) fn history_changed(&self, project: Uuid) {
        self.send(Notification::History(project));
    }

    /// The history of `project` was repaired: open event streams read it again, on all servers.
    pub(crate) fn history_repaired(&self, project: Uuid) {
        self.wake(project);
    }

    /// Sessions ended: open event streams check their own session, on all servers.
    pub(super) fn sessions_ended(&self) {
        self.sessions_ended_elsewhere();
        self.send(Notification::Sessions);
    }

    /// Sessions ended on another server.
    pub(super) fn sessions_ended_elsewhere(&self) {
        self.publish(Change::Sessions);
    }

    /// Commands were written for other servers.
    pub(super) fn commands_left(&self) {
        self.send(Notification::Commands);
    }

    /// Other servers wrote commands.
    pub(super) fn commands_came(&self) {
        self.commands.notify_one();
    }

    /// Waits until other servers write commands.
    pub(super) async fn commands(&self) {
        self.commands.notified().await;
    }

    /// An encoder tried an unknown key: open event streams check whether to show it.
    pub(super) fn unknown_key_tried(&self) {
        self.publish(Change::UnknownKey);
    }

    /// The view of `project` changed, but not its rows: open event streams read it again.
    pub(super) fn view_changed(&self, project: Uuid) {
        self.publish(Change::Project(project));
    }

    /// Receives every change from now on.
    pub(super) fn subscribe(&self) -> broadcast::Receiver<Change> {
        self.changes.subscribe()
    }

    fn send(&self, notification: Notification) {
        if let Some(outgoing) = &self.outgoing {
            lock(&outgoing.pending).insert(notification);
            outgoing.some.notify_one();
        }
    }

    /// The pending notifications for other servers, as soon as there are any.
    pub(super) async fn outgoing(&self) -> BTreeSet<Notification> {
        let Some(outgoing) = &self.outgoing else { return std::future::pending().await };
        outgoing.some.notified().await;
        std::mem::take(&mut *lock(&outgoing.pending))
    }

    fn publish(&self, change: Change) {
        // Without event streams there is no receiver.
        let _listeners = self.changes.send(change);
    }

    /// Waits until the rows of any project change.
    pub(super) async fn some(&self) {
        self.some.notified().await;
    }

    /// The projects whose rows changed since the last call.
    pub(super) fn take(&self) -> BTreeSet<Uuid> {
        std::mem::take(&mut *lock(&self.pending))
    }
}

/// Locks a mutex. Its value is intact even if a thread panicked while it held the lock: every critical section here is
/// one call.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
