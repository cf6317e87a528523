//! Handlers that list and end the sessions of an account.

use axum::{
    Json as Answer,
    extract::State,
    http::StatusCode,
    response::{IntoResponse as _, Response},
};
use serde::Serialize;
use time::OffsetDateTime;
use utoipa::ToSchema;
use uuid::Uuid;

use super::{
    auth::User,
    context::Ctx,
    cookie::no_cookie,
    error::Problem,
    extract::{Id, Query},
    login::{Login, SessionLogin},
    revoke::RevokeOptions,
};
use crate::control::commands::Commands;

/// The visitor of the page.
#[derive(Serialize, ToSchema)]
pub(super) struct Visitor {
    /// `null` for a visitor who is not logged in.
    #[schema(required)]
    user: Option<User>,
}

/// A valid session.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct SessionView {
    id: Uuid,
    /// The browser's `User-Agent` at the login.
    #[schema(required)]
    agent: Option<String>,
    #[serde(with = "time::serde::rfc3339")]
    created_at: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339")]
    expires_at: OffsetDateTime,
    /// The address of the last use, to the minute; `null` if it was not recorded.
    #[schema(required, example = "203.0.113.7")]
    address: Option<String>,
    /// The time of the last use, to the minute.
    #[serde(with = "time::serde::rfc3339::option")]
    #[schema(required)]
    last_seen_at: Option<OffsetDateTime>,
    /// Whether this is the session of the request.
    current: bool,
}

/// Shows who is logged in. It is not an error if nobody is: a page requests this first.
#[utoipa::path(
    get, path = "/api/auth/session", tag = "auth", operation_id = "showVisitor", security(()),
    responses((status = 200, body = Visitor))
)]
pub(super) async fn visitor(login: Result<Login, Problem>) -> Result<Answer<Visitor>, Problem> {
    match login {
        Ok(login) => Ok(Answer(Visitor { user: Some(login.user.into()) })),
        Err(problem) if problem.status() == StatusCode::UNAUTHORIZED => Ok(Answer(Visitor { user: None })),
        Err(problem) => Err(problem),
    }
}

/// Lists the sessions of the account, newest first.
#[utoipa::path(
    get, path = "/api/auth/sessions", tag = "auth", operation_id = "listSessions",
    responses((status = 200, body = [SessionView]), (status = 401, description = "`unauthorized`", body = Problem))
)]
pub(super) async fn list(State(ctx): State<Ctx>, login: SessionLogin) -> Result<Answer<Vec<SessionView>>, Problem> {
    let rows = ctx.store.sessions(login.user.id).await?;
    let view = |row: gostream_store::Session| SessionView {
        id: row.id,
        agent: row.agent,
        created_at: row.created_at,
        expires_at: row.expires_at,
        address: row.address,
        last_seen_at: row.last_seen_at,
        current: row.id == login.session,
    };
    Ok(Answer(rows.into_iter().map(view).collect()))
}

/// Ends one session of the account.
#[utoipa::path(
    delete, path = "/api/auth/sessions/{id}", tag = "auth", operation_id = "endSession", params(("id" = Uuid, Path)),
    responses(
        (status = 204, description = "Ended"),
        (status = 401, description = "`unauthorized`", body = Problem),
        (status = 404, description = "`not_found`", body = Problem),
    )
)]
pub(super) async fn end(login: SessionLogin, commands: Commands, Id(id): Id) -> Result<StatusCode, Problem> {
    commands.end_session(login.user.id, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Ends all sessions, including this one, and all logins in progress.
///
/// API tokens end as well unless `endTokens` is `false`.
#[utoipa::path(
    delete, path = "/api/auth/sessions", tag = "auth", operation_id = "endSessions", params(RevokeOptions),
    responses(
        (status = 204, description = "Ended"),
        (status = 401, description = "`unauthorized`", body = Problem),
        (status = 422, description = "`validation_failed`", body = Problem),
    )
)]
pub(super) async fn end_all(
    login: SessionLogin,
    commands: Commands,
    Query(options): Query<RevokeOptions>,
) -> Result<Response, Problem> {
    commands.end_sessions(login.user.id, options.into()).await?;
    Ok((StatusCode::NO_CONTENT, no_cookie()).into_response())
}
