//! The extractor for [`Commands`], which handlers need to make changes.

use std::convert::Infallible;

use axum::{extract::FromRequestParts, http::request::Parts};

use super::{context::Ctx, extract};
use crate::control::commands::Commands;

impl FromRequestParts<Ctx> for Commands {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, ctx: &Ctx) -> Result<Self, Infallible> {
        Ok(ctx.control.commands(extract::client_address(parts)))
    }
}
