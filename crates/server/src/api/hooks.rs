//! The two hooks of nginx-rtmp, for operators with an upstream nginx: whether a key may publish, and that a publisher
//! stopped. For streams that are pulled from that nginx, they also say when to start and stop.
//!
//! nginx-rtmp interprets little of a response: a status from 200 to 299 admits the publisher, and a redirect admits it
//! under the name in `Location`. Without `Connection: close` it waits for ten seconds. So every response closes the
//! connection, and a redirect is used only to rename a stream to its key.

use std::time::Instant;

use axum::{
    extract::{Request, State},
    http::{HeaderName, StatusCode, header},
    response::{IntoResponse, Response},
};
use gostream_engine::{spec::ProjectId, status::PullState};
use gostream_proto::hook::HookCall;
use gostream_store::Project;

use super::{context::Ctx, error::Problem, extract};
use crate::{
    login::refused,
    upstream_publishers::{Departed, Play, Publisher},
};

const CLOSE: [(HeaderName, &str); 1] = [(header::CONNECTION, "close")];

/// Asks whether a stream key may publish. Reads `name` from the form or the query, as nginx-rtmp's `on_publish` sends
/// it with either `notify_method` (so GET works as well). White space around the key is ignored. If the stream is
/// pulled from the server that asks, the response is then 302 with the key as `Location`, so that nginx-rtmp renames
/// the stream to its key.
#[utoipa::path(
    post, path = "/api/streams/on_publish", tag = "hooks", operation_id = "onPublish", security(()),
    params(("name" = Option<String>, Query, description = "The stream key")),
    request_body(content = String, content_type = "application/x-www-form-urlencoded", description = "`name=KEY`"),
    responses(
        (status = 200, description = "The key is known", content_type = "text/plain", body = String),
        (status = 403, description = "`unknown_stream_key`", body = Problem),
        (status = 429, description = "`too_many_requests`, with `Retry-After`: only where the stream is pulled", body = Problem),
    )
)]
pub(super) async fn on_publish(State(ctx): State<Ctx>, request: Request) -> Response {
    let answer = match admit(&ctx, request).await {
        Ok(None) => "ok".into_response(),
        Ok(Some(name)) => (StatusCode::FOUND, [(header::LOCATION, name)]).into_response(),
        Err(problem) => problem.into_response(),
    };
    (CLOSE, answer).into_response()
}

/// Admits a known key. Returns the name that the upstream server should give the stream, if it would otherwise not be
/// found under its key.
async fn admit(ctx: &Ctx, request: Request) -> Result<Option<String>, Problem> {
    let (parts, body) = request.into_parts();
    let address = extract::client_address(&parts);
    let call = read(ctx, Request::from_parts(parts, body)).await?;
    let Some(project) = project(ctx, &call).await? else {
        refused("hook", address);
        let detail = "No project has this stream key. Copy it again from the project's page.";
        return Err(Problem::new(StatusCode::FORBIDDEN, "unknown_stream_key", detail));
    };
    if project.pull_url.is_none() {
        return Ok(None);
    }
    ctx.limits.hook(project.user_id).map_err(Problem::too_many)?;
    let id = ProjectId(project.id);
    let status = ctx.engine.pull_status(id).unwrap_or_default();
    let play = Play { is_live: status.state == PullState::Live, plays: status.plays };
    let name = call.key.clone().filter(|_| call.was_trimmed);
    ctx.upstream_publishers.published(project.id, publisher(call), play, Instant::now());
    ctx.engine.pull_published(id);
    Ok(name)
}

/// Reports that a publisher left; the response is always 200. If the project's stream is pulled from the server that
/// reports it, and this publisher is the one that is played, the stream ends as if its encoder had stopped here.
/// nginx-rtmp also sends this for a second publisher that it refused, with the name of the stream that continues.
#[utoipa::path(
    post, path = "/api/streams/on_publish_done", tag = "hooks", operation_id = "onPublishDone", security(()),
    params(("name" = Option<String>, Query, description = "The stream key")),
    request_body(content = String, content_type = "application/x-www-form-urlencoded", description = "`name=KEY`"),
    responses((status = 200, description = "Received", content_type = "text/plain", body = String))
)]
pub(super) async fn on_publish_done(State(ctx): State<Ctx>, request: Request) -> Response {
    // nginx-rtmp ignores the response. A report that is lost during an outage is detected when no more media arrives.
    if let Err(problem) = part(&ctx, request).await {
        tracing::debug!(?problem, "The report of a publisher's end could not be processed.");
    }
    (CLOSE, "ok").into_response()
}

async fn part(ctx: &Ctx, request: Request) -> Result<(), Problem> {
    let call = read(ctx, request).await?;
    let Some(project) = project(ctx, &call).await?.filter(|project| project.pull_url.is_some()) else {
        return Ok(());
    };
    match ctx.upstream_publishers.left(project.id, &publisher(call)) {
        Departed::NotPlayed => {}
        Departed::NextTakesOver => ctx.engine.pull_published(ProjectId(project.id)),
        Departed::NoneLeft => ctx.engine.pull_unpublished(ProjectId(project.id)),
    }
    Ok(())
}

async fn read(ctx: &Ctx, request: Request) -> Result<HookCall, Problem> {
    let query = request.uri().query().unwrap_or_default().to_owned();
    let form = String::from_utf8_lossy(&extract::body(request, ctx).await?).into_owned();
    Ok(HookCall::parse(&query, &form))
}

async fn project(ctx: &Ctx, call: &HookCall) -> Result<Option<Project>, Problem> {
    match &call.key {
        Some(key) => Ok(ctx.store.project_by_stream_key(key).await?),
        None => Ok(None),
    }
}

fn publisher(call: HookCall) -> Publisher {
    Publisher::Known(call.address, call.client_id)
}
