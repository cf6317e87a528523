//! Handlers for projects.

use axum::{Json as Answer, extract::State, http::StatusCode};
use gostream_store::Error;
use serde::Deserialize;
use utoipa::ToSchema;

use super::{
    context::Ctx,
    error::Problem,
    extract::{Id, Json, Links},
    field::{self, Fields},
    login::Login,
    recipient,
    view::{Project, Viewer},
};
use crate::control::commands::Commands;

/// A new project.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct NewProject {
    #[schema(example = "Sunday service", min_length = 1, max_length = 100)]
    name: String,
    /// A server to pull the stream from whenever it is published there under the project's stream key.
    #[schema(example = "rtmp://nginx.example.org/live", max_length = 2048)]
    pull_url: Option<String>,
}

/// The fields to change; absent fields stay the same.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct ProjectChange {
    #[schema(min_length = 1, max_length = 100)]
    name: Option<String>,
    /// Whether "stop streaming" in the encoder counts as a lost connection.
    hold_after_stop: Option<bool>,
    /// A server to pull the stream from; `null` if an encoder sends the stream to this server.
    #[serde(default, deserialize_with = "field::given")]
    #[schema(value_type = Option<String>, max_length = 2048)]
    pull_url: Option<Option<String>>,
}

impl NewProject {
    fn check(self) -> Result<gostream_store::NewProject, Problem> {
        let mut fields = Fields::default();
        let name = fields.take("name", field::name(&self.name));
        let pull_url = fields.take_if_given("pullUrl", self.pull_url.as_deref(), field::rtmp_url);
        match (name, pull_url) {
            (Some(name), Some(pull_url)) => {
                recipient::has_login("pullUrl", pull_url.as_deref())?;
                Ok(gostream_store::NewProject { name, pull_url })
            }
            _ => Err(fields.into()),
        }
    }
}

impl ProjectChange {
    fn check(self) -> Result<gostream_store::ProjectChange, Problem> {
        let mut fields = Fields::default();
        let name = fields.take_if_given("name", self.name.as_deref(), field::name);
        let url = self.pull_url.as_ref().and_then(|given| given.as_deref());
        let pull_url = fields.take_if_given("pullUrl", url, field::rtmp_url);
        match (name, pull_url) {
            (Some(name), Some(pull_url)) => {
                let pull_url = self.pull_url.is_some().then_some(pull_url);
                Ok(gostream_store::ProjectChange { name, hold_after_stop: self.hold_after_stop, pull_url })
            }
            _ => Err(fields.into()),
        }
    }
}

/// Lists the projects, newest first, without their destinations.
#[utoipa::path(
    get, path = "/api/projects", tag = "projects", operation_id = "listProjects",
    responses((status = 200, body = [Project]), (status = 401, description = "`unauthorized`", body = Problem))
)]
pub(super) async fn list(
    State(ctx): State<Ctx>,
    login: Login,
    commands: Commands,
    links: Links,
) -> Result<Answer<Vec<Project>>, Problem> {
    let rows = ctx.store.projects(login.user.id).await?;
    login.note_shown_keys(&commands, &rows.iter().collect::<Vec<_>>()).await;
    let projects = Viewer { ctx: &ctx, links: &links }.projects(rows).await?;
    Ok(Answer(projects.into_iter().map(|project| project.seen_by(&login)).collect()))
}

/// Creates a project with a stream key of its own.
#[utoipa::path(
    post, path = "/api/projects", tag = "projects", operation_id = "createProject", request_body = NewProject,
    responses(
        (status = 201, body = Project),
        (status = 401, description = "`unauthorized`", body = Problem),
        (status = 403, description = "`quota_exceeded`", body = Problem),
        (status = 422, description = "`validation_failed`", body = Problem),
    )
)]
pub(super) async fn create(
    State(ctx): State<Ctx>,
    login: Login,
    commands: Commands,
    links: Links,
    Json(body): Json<NewProject>,
) -> Result<(StatusCode, Answer<Project>), Problem> {
    let new = body.check()?;
    let max = ctx.quota.projects;
    let added = commands.create_project(login.user.id, login.proof, new, u64::from(max)).await;
    let row = added.map_err(|error| match error {
        Error::Quota => {
            Problem::quota(format!("This account may have {max} projects. Delete one that you no longer need."))
        }
        error => error.into(),
    })?;
    let project = Viewer { ctx: &ctx, links: &links }.project(row).await?;
    Ok((StatusCode::CREATED, Answer(project)))
}

/// Shows a project with its destinations.
#[utoipa::path(
    get, path = "/api/projects/{id}", tag = "projects", operation_id = "showProject", params(("id" = Uuid, Path)),
    responses(
        (status = 200, body = Project),
        (status = 401, description = "`unauthorized`", body = Problem),
        (status = 404, description = "`not_found`", body = Problem),
    )
)]
pub(super) async fn show(
    State(ctx): State<Ctx>,
    login: Login,
    commands: Commands,
    Id(id): Id,
    links: Links,
) -> Result<Answer<Project>, Problem> {
    let row = ctx.store.project(login.user.id, id).await?.ok_or_else(Problem::not_found)?;
    login.note_shown_keys(&commands, &[&row]).await;
    Ok(Answer(Viewer { ctx: &ctx, links: &links }.whole_project(row).await?.seen_by(&login)))
}

/// Changes a project.
#[utoipa::path(
    patch, path = "/api/projects/{id}", tag = "projects", operation_id = "changeProject", params(("id" = Uuid, Path)), request_body = ProjectChange,
    responses(
        (status = 200, body = Project),
        (status = 401, description = "`unauthorized`", body = Problem),
        (status = 404, description = "`not_found`", body = Problem),
        (status = 422, description = "`validation_failed`", body = Problem),
    )
)]
pub(super) async fn change(
    State(ctx): State<Ctx>,
    login: Login,
    commands: Commands,
    Id(id): Id,
    links: Links,
    Json(body): Json<ProjectChange>,
) -> Result<Answer<Project>, Problem> {
    let owner = login.user.id;
    let change = body.check()?;
    let row = commands.change_project(owner, id, |old| recipient::check_project(old, change)).await?;
    login.note_shown_keys(&commands, &[&row]).await;
    Ok(Answer(Viewer { ctx: &ctx, links: &links }.whole_project(row).await?))
}

/// Deletes a project with its destinations and history. Its live stream ends.
#[utoipa::path(
    delete, path = "/api/projects/{id}", tag = "projects", operation_id = "deleteProject", params(("id" = Uuid, Path)),
    responses(
        (status = 204, description = "Deleted"),
        (status = 401, description = "`unauthorized`", body = Problem),
        (status = 404, description = "`not_found`", body = Problem),
    )
)]
pub(super) async fn delete(login: Login, commands: Commands, Id(id): Id) -> Result<StatusCode, Problem> {
    commands.delete_project(login.user.id, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Replaces the stream key. A live stream with the old key ends.
#[utoipa::path(
    post, path = "/api/projects/{id}/stream-key", tag = "projects", operation_id = "rotateStreamKey", params(("id" = Uuid, Path)),
    responses(
        (status = 200, body = Project),
        (status = 401, description = "`unauthorized`", body = Problem),
        (status = 404, description = "`not_found`", body = Problem),
    )
)]
pub(super) async fn rotate_stream_key(
    State(ctx): State<Ctx>,
    login: Login,
    commands: Commands,
    Id(id): Id,
    links: Links,
) -> Result<Answer<Project>, Problem> {
    let row = commands.rotate_stream_key(login.user.id, login.proof, id).await?;
    Ok(Answer(Viewer { ctx: &ctx, links: &links }.whole_project(row).await?))
}

/// Replaces the playback id, which is in every URL that viewers use. The old id stops working at once; a live stream
/// continues.
#[utoipa::path(
    post, path = "/api/projects/{id}/playback-id", tag = "projects", operation_id = "rotatePlaybackId", params(("id" = Uuid, Path)),
    responses(
        (status = 200, body = Project),
        (status = 401, description = "`unauthorized`", body = Problem),
        (status = 404, description = "`not_found`", body = Problem),
    )
)]
pub(super) async fn rotate_playback_id(
    State(ctx): State<Ctx>,
    login: Login,
    commands: Commands,
    Id(id): Id,
    links: Links,
) -> Result<Answer<Project>, Problem> {
    let row = commands.rotate_playback_id(login.user.id, id).await?;
    login.note_shown_keys(&commands, &[&row]).await;
    Ok(Answer(Viewer { ctx: &ctx, links: &links }.whole_project(row).await?))
}

/// Ends the live stream now: the encoder is disconnected, and destinations end their broadcast. While the encoder is
/// disconnected, this ends the wait for it. Does nothing if the project is offline. A stream that runs on another
/// server on the same database ends within seconds.
#[utoipa::path(
    post, path = "/api/projects/{id}/stream/end", tag = "projects", operation_id = "endStream", params(("id" = Uuid, Path)),
    responses(
        (status = 200, body = Project),
        (status = 401, description = "`unauthorized`", body = Problem),
        (status = 404, description = "`not_found`", body = Problem),
    )
)]
pub(super) async fn end_stream(
    State(ctx): State<Ctx>,
    login: Login,
    commands: Commands,
    Id(id): Id,
    links: Links,
) -> Result<Answer<Project>, Problem> {
    let row = commands.end_stream(login.user.id, id).await?;
    login.note_shown_keys(&commands, &[&row]).await;
    Ok(Answer(Viewer { ctx: &ctx, links: &links }.whole_project(row).await?))
}
