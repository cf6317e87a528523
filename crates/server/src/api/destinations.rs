//! Handlers for destinations: saved servers to send to, and whether their relay should run. The reconciler starts and
//! stops relays.

use axum::{Json as Answer, extract::State, http::StatusCode};
use gostream_engine::spec::AccountId;
use gostream_store::{DestinationChange, Error, NewDestination};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use utoipa::ToSchema;

use super::{
    context::Ctx,
    error::Problem,
    extract::{Id, Json, Links},
    field::{self, Fields},
    login::Login,
    recipient,
    view::{Destination, Probe, Viewer},
};
use crate::control::{commands::Commands, rows::destination_spec};

/// A new destination.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct DestinationInput {
    /// An id of `GET /api/platforms`, or `custom`.
    #[schema(example = "twitch")]
    platform: String,
    #[schema(example = "My channel", min_length = 1, max_length = 100)]
    name: String,
    #[schema(example = "rtmp://live.twitch.tv/app", max_length = 2048)]
    rtmp_url: String,
    /// A second server of the same platform. It gets the same stream under the same key over a separate connection.
    #[schema(example = "rtmps://b.rtmps.youtube.com:443/live2?backup=1", max_length = 2048)]
    backup_url: Option<String>,
    /// Stored unchanged and encrypted, and never shown again.
    #[schema(value_type = String, format = Password, min_length = 1, max_length = 1024)]
    stream_key: SecretString,
    /// Whether a relay should run while the project is live. Off by default.
    #[serde(default)]
    #[schema(required = false, default = false)]
    enabled: bool,
    /// The delay of the destination in seconds.
    #[serde(default)]
    #[schema(required = false, default = 0, minimum = 0, maximum = 300)]
    delay_seconds: i64,
}

/// The fields to change; absent fields stay the same.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct DestinationPatch {
    platform: Option<String>,
    #[schema(min_length = 1, max_length = 100)]
    name: Option<String>,
    #[schema(max_length = 2048)]
    rtmp_url: Option<String>,
    /// `null` removes the backup server.
    #[serde(default, deserialize_with = "field::given")]
    #[schema(value_type = Option<String>, max_length = 2048)]
    backup_url: Option<Option<String>>,
    #[schema(value_type = Option<String>, format = Password, min_length = 1, max_length = 1024)]
    stream_key: Option<SecretString>,
    enabled: Option<bool>,
    /// While live, the relay continues at the next suitable keyframe over the same connection: viewers see a part
    /// twice, or miss a part.
    #[schema(minimum = 0, maximum = 300)]
    delay_seconds: Option<i64>,
}

/// Adds a destination to a project.
#[utoipa::path(
    post, path = "/api/projects/{id}/destinations", tag = "destinations", operation_id = "createDestination", params(("id" = Uuid, Path)),
    request_body = DestinationInput,
    responses(
        (status = 201, body = Destination),
        (status = 401, description = "`unauthorized`", body = Problem),
        (status = 403, description = "`quota_exceeded`", body = Problem),
        (status = 404, description = "`not_found`", body = Problem),
        (status = 422, description = "`validation_failed`", body = Problem),
    )
)]
pub(super) async fn create(
    State(ctx): State<Ctx>,
    login: Login,
    commands: Commands,
    Id(project): Id,
    links: Links,
    Json(body): Json<DestinationInput>,
) -> Result<(StatusCode, Answer<Destination>), Problem> {
    let new = body.check()?;
    let max = ctx.quota.destinations;
    let added = commands.create_destination(login.user.id, project, new, u64::from(max)).await;
    let row = added.map_err(|error| match error {
        Error::Quota => {
            Problem::quota(format!("A project may have {max} destinations. Delete one that you no longer need."))
        }
        error => error.into(),
    })?;
    Ok((StatusCode::CREATED, Answer(Viewer { ctx: &ctx, links: &links }.destination(row))))
}

impl DestinationInput {
    fn check(self) -> Result<NewDestination, Problem> {
        let mut fields = Fields::default();
        let platform = fields.take("platform", field::platform(&self.platform));
        let name = fields.take("name", field::name(&self.name));
        let rtmp_url = fields.take("rtmpUrl", field::rtmp_url(&self.rtmp_url));
        let stream_key = fields.take("streamKey", field::stream_key(self.stream_key.expose_secret()));
        let backup_url = fields.take_if_given("backupUrl", self.backup_url.as_deref(), field::rtmp_url);
        let delay = fields.take("delaySeconds", field::delay(self.delay_seconds));
        match (platform, name, rtmp_url, stream_key, backup_url, delay) {
            (Some(platform), Some(name), Some(rtmp_url), Some(stream_key), Some(backup_url), Some(delay_seconds)) => {
                recipient::has_login("rtmpUrl", Some(&rtmp_url))?;
                recipient::has_login("backupUrl", backup_url.as_deref())?;
                let enabled = self.enabled;
                Ok(NewDestination { platform, name, rtmp_url, backup_url, stream_key, enabled, delay_seconds })
            }
            _ => Err(fields.into()),
        }
    }
}

impl DestinationPatch {
    fn check(self) -> Result<DestinationChange, Problem> {
        let mut fields = Fields::default();
        let platform = fields.take_if_given("platform", self.platform.as_deref(), field::platform);
        let name = fields.take_if_given("name", self.name.as_deref(), field::name);
        let rtmp_url = fields.take_if_given("rtmpUrl", self.rtmp_url.as_deref(), field::rtmp_url);
        let key = self.stream_key.as_ref().map(|key| key.expose_secret());
        let stream_key = fields.take_if_given("streamKey", key, field::stream_key);
        let backup = self.backup_url.as_ref().and_then(|given| given.as_deref());
        let backup_url = fields.take_if_given("backupUrl", backup, field::rtmp_url);
        let delay = self.delay_seconds.map(|seconds| fields.take("delaySeconds", field::delay(seconds)));
        let is_delay_right = delay.is_none_or(|delay| delay.is_some());
        match (platform, name, rtmp_url, stream_key, backup_url) {
            (Some(platform), Some(name), Some(rtmp_url), Some(stream_key), Some(backup_url)) if is_delay_right => {
                let delay_seconds = delay.flatten();
                let enabled = self.enabled;
                let backup_url = self.backup_url.is_some().then_some(backup_url);
                Ok(DestinationChange { platform, name, rtmp_url, backup_url, stream_key, enabled, delay_seconds })
            }
            _ => Err(fields.into()),
        }
    }
}

/// Changes a destination. Its relay restarts only if URL or key changed; other relays are not affected.
///
/// A URL with another scheme, host or port requires the stream key again. Credentials in a URL are shown as `****`;
/// sending `****` back keeps them.
#[utoipa::path(
    patch, path = "/api/destinations/{id}", tag = "destinations", operation_id = "changeDestination", params(("id" = Uuid, Path)),
    request_body = DestinationPatch,
    responses(
        (status = 200, body = Destination),
        (status = 401, description = "`unauthorized`", body = Problem),
        (status = 404, description = "`not_found`", body = Problem),
        (status = 422, description = "`validation_failed`, or `stream_key_required`: the server differs from the one that the key was given for", body = Problem),
    )
)]
pub(super) async fn change(
    State(ctx): State<Ctx>,
    login: Login,
    commands: Commands,
    Id(id): Id,
    links: Links,
    Json(body): Json<DestinationPatch>,
) -> Result<Answer<Destination>, Problem> {
    let change = body.check()?;
    let decide = |main: &str, backup: Option<&str>| recipient::check_destination(main, backup, change);
    let row = commands.change_destination(login.user.id, id, decide).await?;
    Ok(Answer(Viewer { ctx: &ctx, links: &links }.destination(row)))
}

/// Deletes a destination and stops its relay.
#[utoipa::path(
    delete, path = "/api/destinations/{id}", tag = "destinations", operation_id = "deleteDestination", params(("id" = Uuid, Path)),
    responses(
        (status = 204, description = "Deleted"),
        (status = 401, description = "`unauthorized`", body = Problem),
        (status = 404, description = "`not_found`", body = Problem),
    )
)]
pub(super) async fn delete(login: Login, commands: Commands, Id(id): Id) -> Result<StatusCode, Problem> {
    commands.delete_destination(login.user.id, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Switches the relay on. It sends now if the project is live, otherwise it waits for the stream.
#[utoipa::path(
    post, path = "/api/destinations/{id}/relay/start", tag = "destinations", operation_id = "startRelay", params(("id" = Uuid, Path)),
    responses(
        (status = 200, body = Destination),
        (status = 401, description = "`unauthorized`", body = Problem),
        (status = 404, description = "`not_found`", body = Problem),
    )
)]
pub(super) async fn start(
    State(ctx): State<Ctx>,
    login: Login,
    commands: Commands,
    Id(id): Id,
    links: Links,
) -> Result<Answer<Destination>, Problem> {
    let row = commands.start_relay(login.user.id, id).await?;
    Ok(Answer(Viewer { ctx: &ctx, links: &links }.destination(row)))
}

/// Switches the relay off. Other relays are not affected.
#[utoipa::path(
    post, path = "/api/destinations/{id}/relay/stop", tag = "destinations", operation_id = "stopRelay", params(("id" = Uuid, Path)),
    responses(
        (status = 200, body = Destination),
        (status = 401, description = "`unauthorized`", body = Problem),
        (status = 404, description = "`not_found`", body = Problem),
    )
)]
pub(super) async fn stop(
    State(ctx): State<Ctx>,
    login: Login,
    commands: Commands,
    Id(id): Id,
    links: Links,
) -> Result<Answer<Destination>, Problem> {
    let row = commands.stop_relay(login.user.id, id).await?;
    Ok(Answer(Viewer { ctx: &ctx, links: &links }.destination(row)))
}

/// Reconnects now instead of after the pause. Does nothing unless the relay waits for its next attempt. If the stream
/// runs on another server on the same database, this takes some seconds.
#[utoipa::path(
    post, path = "/api/destinations/{id}/relay/retry", tag = "destinations", operation_id = "retryRelay", params(("id" = Uuid, Path)),
    responses(
        (status = 200, body = Destination),
        (status = 401, description = "`unauthorized`", body = Problem),
        (status = 404, description = "`not_found`", body = Problem),
        (status = 429, description = "`too_many_requests`, with `Retry-After`", body = Problem),
    )
)]
pub(super) async fn retry(
    State(ctx): State<Ctx>,
    login: Login,
    commands: Commands,
    Id(id): Id,
    links: Links,
) -> Result<Answer<Destination>, Problem> {
    let row = ctx.store.destination(login.user.id, id).await?.ok_or_else(Problem::not_found)?;
    ctx.limits.dial(login.user.id).map_err(Problem::too_many)?;
    commands.retry_relay(login.user.id, &row).await?;
    Ok(Answer(Viewer { ctx: &ctx, links: &links }.destination(row)))
}

/// Tests the destination: resolves, connects, shakes hands and creates a stream, but does not publish, so nothing goes
/// on air. A wrong stream key is only detected when the relay starts.
#[utoipa::path(
    post, path = "/api/destinations/{id}/test", tag = "destinations", operation_id = "testDestination", params(("id" = Uuid, Path)),
    responses(
        (status = 200, body = Probe),
        (status = 401, description = "`unauthorized`", body = Problem),
        (status = 404, description = "`not_found`", body = Problem),
        (status = 429, description = "`too_many_requests`, with `Retry-After`", body = Problem),
        (status = 503, description = "`busy`: too many destinations are being tested; with `Retry-After`", body = Problem),
    )
)]
pub(super) async fn test(State(ctx): State<Ctx>, login: Login, Id(id): Id) -> Result<Answer<Probe>, Problem> {
    let row = ctx.store.destination(login.user.id, id).await?.ok_or_else(Problem::not_found)?;
    let spec = destination_spec(&row).ok_or_else(Problem::not_found)?;
    ctx.limits.dial(login.user.id).map_err(Problem::too_many)?;
    // The test waits for other servers and makes no changes here.
    drop(login.permit);
    let steps = ctx.engine.probe(AccountId(login.user.id), &spec.target).await;
    Ok(Answer(steps.map_err(|_| Problem::busy())?.into()))
}
