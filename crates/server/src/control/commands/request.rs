//! What commands work with.

use std::{net::IpAddr, sync::Arc};

use gostream_engine::{EndReason, Engine, spec::ProjectId};
use gostream_store::{Action, Listener, Notifier, Project, Store};
use tokio::sync::broadcast;
use uuid::Uuid;

use crate::{
    control::{
        link::Link,
        shown::Shown,
        wakes::{Change, Wakes},
    },
    login::proof::Proof,
};

/// What commands change: rows, what runs here, and who is told.
#[derive(Debug)]
pub(crate) struct Control {
    store: Store,
    pub(super) engine: Engine,
    pub(super) wakes: Arc<Wakes>,
    pub(super) shown: Shown,
    /// This server among others on the same database.
    pub(super) node: String,
}

/// The commands of one request.
#[derive(Debug)]
pub(crate) struct Commands {
    pub(super) control: Arc<Control>,
    /// Notes where the request came from.
    pub(super) store: Store,
    pub(super) address: Option<IpAddr>,
}

impl Control {
    pub(crate) fn new(store: Store, engine: Engine, wakes: Arc<Wakes>, node: String) -> Self {
        Self { store, engine, wakes, shown: Shown::default(), node }
    }

    /// Commands of a request from `address`.
    pub(crate) fn commands(self: &Arc<Self>, address: Option<IpAddr>) -> Commands {
        Commands { control: self.clone(), store: self.store.acting_from(address), address }
    }

    /// Joins this server with the others on its database.
    pub(crate) fn link(&self, ends: (Notifier, Listener)) -> Link {
        Link::new(ends, self.wakes.clone(), self.engine.clone())
    }

    /// Every change from now on, for open event streams.
    pub(crate) fn changes(&self) -> broadcast::Receiver<Change> {
        self.wakes.subscribe()
    }
}

impl Commands {
    /// Notes that an answer to `user` holds the keys of these projects, once for each login.
    pub(crate) async fn note_shown_keys(&self, user: Uuid, login: Proof, projects: &[&Project]) {
        let new: Vec<_> = projects.iter().filter(|project| self.control.shown.is_new(login, project.id)).collect();
        let object = match new.as_slice() {
            [] => return,
            [only] => only.name.clone(),
            more => format!("{} projects", more.len()),
        };
        // What could not be written is written the next time.
        if self.note(user, Action::StreamKeyShown, Some(&object)).await {
            new.iter().for_each(|project| self.control.shown.noted(login, project.id));
        }
    }

    /// Notes what `user` did that changed no row. It was done already, so a database that is away fails nothing.
    pub(super) async fn note(&self, user: Uuid, action: Action, object: Option<&str>) -> bool {
        match self.store.add_audit(user, action, object.map(str::to_owned)).await {
            Ok(()) => true,
            Err(error) => {
                tracing::warn!(%error, audit.action = action.name(), audit.user = %user, "The audit log could not be written.");
                false
            }
        }
    }

    /// The project is gone, or has a new key: who publishes with the old one is closed.
    pub(super) fn close_publisher(&self, project: Uuid) {
        self.control.engine.end(ProjectId(project), EndReason::EndedByOwner);
        self.control.wakes.wake(project);
    }
}
