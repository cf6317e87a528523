//! Writing down who did what: in the database for the account page, and in the log for the operator. The store writes the
//! line of a change itself, in the transaction of the change; here is the rest.

use std::{
    collections::HashSet,
    convert::Infallible,
    net::IpAddr,
    sync::{Mutex, MutexGuard, PoisonError},
};

use axum::{extract::FromRequestParts, http::request::Parts};
use gostream_store::{Project, Store};
use uuid::Uuid;

use super::{
    Ctx, extract,
    proof::{Login, Proof},
};
use crate::control::commands::Commands;

/// Beyond so many pairs everything is forgotten, and written down once more: some megabytes.
const SHOWN_MAX: usize = 100_000;

/// Which login, or token, has been shown the stream keys of which projects. Every answer about a project holds its key, and a
/// line for each would bury the rest; the first time tells who had it.
#[derive(Debug, Default)]
pub(crate) struct Shown(Mutex<HashSet<(Uuid, Uuid)>>);

impl Shown {
    /// Whether this login sees the key of this project for the first time.
    fn is_new(&self, login: Proof, project: Uuid) -> bool {
        !self.lock().contains(&(login.id(), project))
    }

    /// It is written down that this login saw the key of this project.
    fn noted(&self, login: Proof, project: Uuid) {
        let mut shown = self.lock();
        if shown.len() >= SHOWN_MAX {
            shown.clear();
        }
        shown.insert((login.id(), project));
    }

    /// The project has a new key, which nobody has seen.
    pub(super) fn renewed(&self, project: Uuid) {
        self.lock().retain(|&(_, known)| known != project);
    }

    /// The project has a new key, which only this login has seen: making it is written down as such.
    pub(super) fn made_by(&self, login: Proof, project: Uuid) {
        self.renewed(project);
        self.noted(login, project);
    }

    /// A poisoned lock still guards a whole set.
    fn lock(&self) -> MutexGuard<'_, HashSet<(Uuid, Uuid)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where a request came from, to be noted with what it did.
pub(super) struct Audit {
    address: Option<IpAddr>,
}

impl<S: Send + Sync> FromRequestParts<S> for Audit {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Infallible> {
        Ok(Self { address: extract::client_address(parts) })
    }
}

impl Audit {
    /// The store, which notes each change with where it came from.
    pub(super) fn store(&self, ctx: &Ctx) -> Store {
        ctx.store.acting_from(self.address)
    }

    /// Changes that note where they came from.
    pub(super) fn commands<'a>(&self, ctx: &'a Ctx) -> Commands<'a> {
        Commands { store: self.store(ctx), engine: &ctx.engine, node: &ctx.node }
    }

    /// Counts a wrong password.
    pub(super) async fn login_failed(&self, ctx: &Ctx, user: Uuid) {
        if let Err(error) = self.store(ctx).add_login_failure(user).await {
            tracing::warn!(%error, audit.action = "login_failed", audit.user = %user, "The audit log could not be written.");
        }
    }

    /// Notes that an answer holds the keys of these projects, once for each login.
    pub(super) async fn keys_shown(&self, ctx: &Ctx, login: &Login, projects: &[&Project]) {
        if !login.sees_keys() {
            return;
        }
        let new: Vec<_> = projects.iter().filter(|project| ctx.shown.is_new(login.proof, project.id)).collect();
        let object = match new.as_slice() {
            [] => return,
            [only] => only.name.clone(),
            more => format!("{} projects", more.len()),
        };
        // What could not be written is written the next time.
        if self.commands(ctx).note(login.user.id, "stream_key_shown", Some(&object)).await {
            new.iter().for_each(|project| ctx.shown.noted(login.proof, project.id));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_saw_which_key_is_remembered_within_bounds() {
        let shown = Shown::default();
        let (login, kept) = (Proof::Session(Uuid::new_v4()), Uuid::new_v4());
        shown.made_by(login, kept);
        assert!(!shown.is_new(login, kept));
        assert!(shown.is_new(Proof::Token(Uuid::new_v4()), kept), "another login");
        for _ in 1..SHOWN_MAX {
            shown.noted(login, Uuid::new_v4());
        }
        assert!(!shown.is_new(login, kept));
        // Projects that are made and deleted leave pairs, which count as well.
        shown.made_by(login, Uuid::new_v4());
        assert_eq!(shown.lock().len(), 1);
    }
}
