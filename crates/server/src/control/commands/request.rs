//! The state that commands work with.

use std::{net::IpAddr, sync::Arc};

use gostream_engine::{EndReason, Engine, spec::ProjectId};
use gostream_store::{Action, Listener, Notifier, Project, Store};
use tokio::sync::broadcast;
use uuid::Uuid;

use crate::{
    control::{
        key_disclosure::KeyDisclosure,
        link::Link,
        wakes::{Change, Wakes},
    },
    login::proof::Proof,
};

/// What commands change: rows, the engine, and the receivers of wakes.
#[derive(Debug)]
pub(crate) struct Control {
    store: Store,
    pub(super) engine: Engine,
    pub(super) wakes: Arc<Wakes>,
    pub(super) key_disclosure: KeyDisclosure,
    /// The node id of this server.
    pub(super) node: String,
}

/// The commands of one request.
#[derive(Debug)]
pub(crate) struct Commands {
    pub(super) control: Arc<Control>,
    /// A store handle that records the client's address.
    pub(super) store: Store,
    pub(super) address: Option<IpAddr>,
}

impl Control {
    pub(crate) fn new(store: Store, engine: Engine, wakes: Arc<Wakes>, node: String) -> Self {
        Self { store, engine, wakes, key_disclosure: KeyDisclosure::default(), node }
    }

    /// The commands of a request from `address`.
    pub(crate) fn commands(self: &Arc<Self>, address: Option<IpAddr>) -> Commands {
        Commands { control: self.clone(), store: self.store.acting_from(address), address }
    }

    /// The link to the other servers on the database.
    pub(crate) fn link(&self, ends: (Notifier, Listener)) -> Link {
        Link::new(ends, self.wakes.clone(), self.engine.clone())
    }

    /// Receives every change from now on, for open event streams.
    pub(crate) fn changes(&self) -> broadcast::Receiver<Change> {
        self.wakes.subscribe()
    }
}

impl Commands {
    /// Records once per login that a response to `user` contains the keys of these projects.
    pub(crate) async fn note_shown_keys(&self, user: Uuid, login: Proof, projects: &[&Project]) {
        let new: Vec<_> =
            projects.iter().filter(|project| self.control.key_disclosure.is_new(login, project.id)).collect();
        let object = match new.as_slice() {
            [] => return,
            [only] => only.name.clone(),
            more => format!("{} projects", more.len()),
        };
        // A failed record is tried again with the next response.
        if self.note(user, Action::StreamKeyShown, Some(&object)).await {
            new.iter().for_each(|project| self.control.key_disclosure.record(login, project.id));
        }
    }

    /// Records an action of `user` that changed no row. The action is done already, so a failure is only logged.
    pub(super) async fn note(&self, user: Uuid, action: Action, object: Option<&str>) -> bool {
        match self.store.add_audit(user, action, object.map(str::to_owned)).await {
            Ok(()) => true,
            Err(error) => {
                tracing::warn!(%error, audit.action = action.name(), audit.user = %user, "The audit log could not be written.");
                false
            }
        }
    }

    /// Disconnects the publisher of a project that was deleted or has a new key.
    pub(super) fn close_publisher(&self, project: Uuid) {
        self.control.engine.end(ProjectId(project), EndReason::EndedByOwner);
        self.control.wakes.wake(project);
    }
}
