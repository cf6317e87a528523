//! Where it is said that something changed.

use std::{
    collections::BTreeSet,
    sync::{Mutex, MutexGuard, PoisonError},
};

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
}

impl Default for Wakes {
    fn default() -> Self {
        Self { pending: Mutex::default(), some: Notify::new(), changes: broadcast::channel(CHANGES_MAX).0 }
    }
}

impl Wakes {
    /// Rows of `project` changed: the reconciler and open event streams read them again.
    pub(super) fn wake(&self, project: Uuid) {
        lock(&self.pending).insert(project);
        self.some.notify_one();
        self.tell(Change::Project(project));
    }

    /// A stream of `project` began, ended, or was mended in the history.
    pub(crate) fn stream_changed(&self, project: Uuid) {
        self.wake(project);
    }

    /// Sessions ended: open event streams look whether theirs did.
    pub(super) fn sessions_ended(&self) {
        self.tell(Change::Sessions);
    }

    /// An encoder tried an unknown key: open event streams look whether it concerns them.
    pub(super) fn stranger_came(&self) {
        self.tell(Change::Stranger);
    }

    /// Whether changes of `project` are carried out is another now: open event streams read it again.
    pub(super) fn sync_changed(&self, project: Uuid) {
        self.tell(Change::Project(project));
    }

    /// Every change from now on.
    pub(super) fn subscribe(&self) -> broadcast::Receiver<Change> {
        self.changes.subscribe()
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
