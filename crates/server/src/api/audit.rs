//! Writing down who did what: in the database for the account page, and in the log for the operator. The store writes the
//! line of a change itself, in the transaction of the change; here is the rest.

use std::{convert::Infallible, net::IpAddr};

use axum::{extract::FromRequestParts, http::request::Parts};
use gostream_store::{Project, Store};
use uuid::Uuid;

use super::{context::Ctx, extract, login::Login};
use crate::control::commands::Commands;

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
