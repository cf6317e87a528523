//! Handlers for the history of a project's streams.

use std::collections::HashMap;

use axum::{
    Json as Answer,
    extract::{Path, State},
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::{
    context::Ctx,
    error::Problem,
    extract::{Id, Links, Query},
    login::Login,
    view::{Stream, StreamEvent, Viewer},
};

/// The default number of streams per page.
const LIMIT_DEFAULT: u32 = 20;
/// The highest number of streams per page.
const LIMIT_MAX: u32 = 100;
/// The most events shown of one stream. The history keeps no more.
const EVENTS_MAX: u64 = crate::history::EVENTS_MAX as u64;

/// The requested page of the history.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Page {
    /// The number of streams, from 1 to 100; 20 by default.
    #[param(minimum = 1, maximum = 100, default = 20)]
    limit: Option<u32>,
    /// `nextCursor` of the previous page.
    cursor: Option<String>,
}

/// One page of the history.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct StreamPage {
    items: Vec<Stream>,
    /// The cursor of the next page; `null` on the last page.
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
    let ids: Vec<_> = found.items.iter().map(|row| row.id).collect();
    let mut events: HashMap<_, Vec<_>> = HashMap::new();
    for event in ctx.store.stream_events(&ids, EVENTS_MAX * u64::from(limit)).await? {
        events.entry(event.stream_id).or_default().push(event);
    }
    let items = found.items.into_iter().map(|row| {
        let events = events.remove(&row.id).unwrap_or_default();
        viewer.stream(row, &events)
    });
    let items = items.collect();
    Ok(Answer(StreamPage { items, next_cursor: found.next_cursor }))
}

/// A stream with its timeline.
#[derive(Serialize, ToSchema)]
pub(super) struct StreamReport {
    stream: Stream,
    /// The events, oldest first. They are kept for 30 days.
    events: Vec<StreamEvent>,
}

/// Shows a stream with its timeline. It contains no secrets, so it can be shared.
#[utoipa::path(
    get, path = "/api/projects/{id}/streams/{stream}", tag = "projects", operation_id = "showStream",
    params(("id" = Uuid, Path), ("stream" = Uuid, Path)),
    responses(
        (status = 200, body = StreamReport),
        (status = 401, description = "`unauthorized`", body = Problem),
        (status = 404, description = "`not_found`", body = Problem),
    )
)]
pub(super) async fn show(
    State(ctx): State<Ctx>,
    login: Login,
    Path((project, stream)): Path<(String, String)>,
    links: Links,
) -> Result<Answer<StreamReport>, Problem> {
    let id = |text: &str| Uuid::try_parse(text).map_err(|_| Problem::not_found());
    let row = ctx.store.stream(login.user.id, id(&project)?, id(&stream)?).await?.ok_or_else(Problem::not_found)?;
    let events = ctx.store.stream_events(&[row.id], EVENTS_MAX).await?;
    let stream = Viewer { ctx: &ctx, links: &links }.stream(row, &events);
    Ok(Answer(StreamReport { stream, events: events.into_iter().map(StreamEvent::from).collect() }))
}
