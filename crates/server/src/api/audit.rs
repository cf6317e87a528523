//! Writing down who did what: in the database for the account page, and in the log for whoever runs the server.

use std::convert::Infallible;

use axum::{extract::FromRequestParts, http::request::Parts};
use uuid::Uuid;

use super::{Ctx, extract};

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
}
