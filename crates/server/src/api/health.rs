//! Health checks, and the catalogue of platforms.

use std::time::Duration;

use axum::{Json as Answer, extract::State, http::StatusCode};
use gostream_store::Trouble;
use tokio::time::timeout;

use super::{context::Ctx, error::Problem};
use crate::platform::{self, Platform};

/// A database that takes longer counts as away.
const PING_TIMEOUT: Duration = Duration::from_secs(2);

/// Responds while the process runs.
#[utoipa::path(
    get, path = "/healthz", tag = "health", operation_id = "showHealth", security(()),
    responses((status = 200, description = "`ok`", content_type = "text/plain", body = String))
)]
pub(super) async fn healthz() -> &'static str {
    "ok"
}

/// Whether requests, including changes, can be served. They cannot if the disk is full or the database is read-only.
#[utoipa::path(
    get, path = "/readyz", tag = "health", operation_id = "showReadiness", security(()),
    responses(
        (status = 200, description = "`ok`", content_type = "text/plain", body = String),
        (status = 503, description = "`database_unavailable`, `node_in_use` or `stopping`", body = Problem),
    )
)]
pub(super) async fn readyz(State(ctx): State<Ctx>) -> Result<&'static str, Problem> {
    if ctx.stopping.is_cancelled() {
        return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "stopping", "The server is stopping."));
    }
    if ctx.database_health.is_node_duplicated() {
        let detail = "Another server on this database has the same node id: its data directory is a copy.";
        return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "node_in_use", detail));
    }
    if let Some(trouble) = ctx.database_health.trouble() {
        return Err(Problem::database_unavailable(trouble));
    }
    match timeout(PING_TIMEOUT, ctx.store.ping()).await {
        Ok(Ok(())) => Ok("ok"),
        Ok(Err(error)) => {
            tracing::warn!(%error, "The database does not respond.");
            Err(Problem::database_unavailable(error.trouble().unwrap_or(Trouble::Away)))
        }
        Err(_) => Err(Problem::database_unavailable(Trouble::Away)),
    }
}

/// Lists the platforms that destinations can name.
#[utoipa::path(get, path = "/api/platforms", tag = "destinations", operation_id = "listPlatforms", security(()), responses((status = 200, body = [Platform])))]
pub(super) async fn platforms() -> Answer<&'static [Platform]> {
    Answer(platform::catalogue())
}
