//! Writing down who did what: in the database for the account page, and in the log for whoever runs the server.

use std::{
    collections::HashSet,
    convert::Infallible,
    sync::{Mutex, MutexGuard, PoisonError},
};

use axum::{extract::FromRequestParts, http::request::Parts};
use gostream_store::Project;
use uuid::Uuid;

use super::{Ctx, auth::Login, extract};

/// Beyond so many pairs everything is forgotten, and written down once more: some megabytes.
const SHOWN_MAX: usize = 100_000;

/// Which login, or token, has been shown the stream keys of which projects. Every answer about a project holds its key, and a
/// line for each would bury the rest; the first time tells who had it.
#[derive(Debug, Default)]
pub(crate) struct Shown(Mutex<HashSet<(Uuid, Uuid)>>);

impl Shown {
    /// Whether this login sees the key of this project for the first time.
    fn is_new(&self, login: &Login, project: Uuid) -> bool {
        let mut shown = self.lock();
        if shown.len() >= SHOWN_MAX {
            shown.clear();
        }
        shown.insert((login.proof.id(), project))
    }

    /// The project has a new key, which nobody has seen.
    pub(super) fn renewed(&self, project: Uuid) {
        self.lock().retain(|&(_, known)| known != project);
    }

    /// The project has a new key, which only this login has seen: making it is written down as such.
    pub(super) fn made_by(&self, login: &Login, project: Uuid) {
        let mut shown = self.lock();
        shown.retain(|&(_, known)| known != project);
        shown.insert((login.proof.id(), project));
    }

    /// A poisoned lock still guards a whole set.
    fn lock(&self) -> MutexGuard<'_, HashSet<(Uuid, Uuid)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where a request came from, to be noted with what it did.
pub(super) struct Audit {
    address: Option<String>,
}

impl<S: Send + Sync> FromRequestParts<S> for Audit {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Infallible> {
        Ok(Self { address: extract::client_address(parts).map(|address| address.to_string()) })
    }
}

impl Audit {
    /// Notes what `user` did, to what. It was done already, so a database that is away fails nothing; the log has it either way.
    pub(super) async fn note(&self, ctx: &Ctx, user: Uuid, action: &'static str, object: Option<&str>) {
        tracing::info!(
            audit.action = action,
            audit.user = %user,
            audit.object = object,
            audit.address = self.address.as_deref(),
            "An account was used."
        );
        let (object, address) = (object.map(str::to_owned), self.address.clone());
        if let Err(error) = ctx.store.add_audit(user, action, object, address).await {
            tracing::warn!(%error, "The audit log could not be written.");
        }
    }

    /// Notes that an answer holds the keys of these projects, once for each login.
    pub(super) async fn keys_shown(&self, ctx: &Ctx, login: &Login, projects: &[&Project]) {
        if !login.sees_keys() {
            return;
        }
        let new: Vec<_> = projects.iter().filter(|project| ctx.shown.is_new(login, project.id)).collect();
        let object = match new.as_slice() {
            [] => return,
            [only] => only.name.clone(),
            more => format!("{} projects", more.len()),
        };
        self.note(ctx, login.user.id, "stream_key_shown", Some(&object)).await;
    }
}
