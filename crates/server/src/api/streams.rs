//! Streams: the history of a project.

use axum::{Json as Answer, extract::State};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{
    Ctx,
    auth::Login,
    error::Problem,
    extract::{Id, Links, Query},
    view::{Stream, Viewer},
};

/// A page unless asked otherwise.
const LIMIT_DEFAULT: u32 = 20;
/// The largest page.
const LIMIT_MAX: u32 = 100;

/// Which part of the history.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Page {
    /// How many, 1 to 100; 20 unless said.
    limit: Option<u32>,
    /// `nextCursor` of the page before.
    cursor: Option<String>,
}

/// One page of the history.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct StreamPage {
    items: Vec<Stream>,
    /// For the next page; `null` on the last.
    #[schema(required)]
    next_cursor: Option<String>,
}

/// Lists the streams of a project, newest first.
#[utoipa::path(
    get, path = "/api/projects/{id}/streams", tag = "projects", operation_id = "listStreams", params(("id" = Uuid, Path), Page),
    responses(
        (status = 200, body = StreamPage),
        (status = 401, description = "`unauthorized`", body = Problem),
        (status = 404, description = "`not_found`", body = Problem),
        (status = 422, description = "`validation_failed`", body = Problem),
    )
)]
pub(super) async fn list(
    State(ctx): State<Ctx>,
    login: Login,
    Id(id): Id,
    links: Links,
    Query(page): Query<Page>,
) -> Result<Answer<StreamPage>, Problem> {
    let limit = page.limit.unwrap_or(LIMIT_DEFAULT);
    if !(1..=LIMIT_MAX).contains(&limit) {
        return Err(Problem::field("limit", format!("`limit` is a number from 1 to {LIMIT_MAX}.")));
    }
    if ctx.store.project(login.user.id, id).await?.is_none() {
        return Err(Problem::not_found());
    }
    let found = ctx.store.streams(login.user.id, id, limit, page.cursor.as_deref()).await?;
    let viewer = Viewer { ctx: &ctx, links: &links };
    let items = found.items.into_iter().map(|row| viewer.stream(row)).collect();
    Ok(Answer(StreamPage { items, next_cursor: found.next_cursor }))
}
