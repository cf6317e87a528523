//! Handlers for API tokens and the audit log.

use axum::{Json as Answer, extract::State, http::StatusCode};
use gostream_store::{Action, Error, Scope};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize, Serializer};
use time::{Duration, OffsetDateTime};
use utoipa::ToSchema;
use uuid::Uuid;

use super::{
    context::Ctx,
    error::Problem,
    extract::{Id, Json},
    field::{self, Fields},
    login::SessionLogin,
    view::Recorded,
};
use crate::control::commands::Commands;

/// The number of shown lines about access, and about changes. Users look at the last weeks.
const AUDIT_SHOWN: u64 = 200;
/// The most valid tokens of an account: one for each script and button of a large studio.
const TOKENS_MAX: u64 = 50;
/// The default lifetime of a token: forgotten tokens expire, and tokens in use need no renewal before each show.
const LIFETIME: Duration = Duration::days(365);

/// A new token.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct NewToken {
    #[schema(example = "Stream deck", min_length = 1, max_length = 100)]
    name: String,
    /// The permitted actions.
    #[serde(default)]
    #[schema(default = "full")]
    scope: Scope,
    /// When the token expires: a time in the future. The default is after 365 days; `null` means never.
    #[serde(default, deserialize_with = "field::given")]
    #[schema(value_type = Option<String>, format = DateTime, example = "2027-11-27T00:00:00Z")]
    expires_at: Option<Option<String>>,
}

/// A token's metadata, without its secret.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct ApiToken {
    id: Uuid,
    name: String,
    #[serde(with = "time::serde::rfc3339")]
    created_at: OffsetDateTime,
    /// The last use, to the minute; `null` if the token was never used.
    #[serde(with = "time::serde::rfc3339::option")]
    #[schema(required)]
    last_used_at: Option<OffsetDateTime>,
    scope: Scope,
    /// The time from which the token is invalid; `null` for a token that does not expire.
    #[serde(with = "time::serde::rfc3339::option")]
    #[schema(required)]
    expires_at: Option<OffsetDateTime>,
}

/// A new token.
#[derive(Serialize, ToSchema)]
pub(super) struct MadeToken {
    /// For `Authorization: Bearer`. It is shown only once.
    #[serde(serialize_with = "expose")]
    #[schema(value_type = String, example = "gst_3q2-7wAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA")]
    token: SecretString,
    #[serde(flatten)]
    about: ApiToken,
}

fn expose<S: Serializer>(token: &SecretString, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(token.expose_secret())
}

impl From<gostream_store::ApiToken> for ApiToken {
    fn from(row: gostream_store::ApiToken) -> Self {
        Self {
            id: row.id,
            name: row.name,
            created_at: row.created_at,
            last_used_at: row.last_used_at,
            scope: row.scope,
            expires_at: row.expires_at,
        }
    }
}

/// Lists the valid tokens of the account, newest first.
#[utoipa::path(
    get, path = "/api/auth/tokens", tag = "auth", operation_id = "listTokens",
    responses(
        (status = 200, body = [ApiToken]),
        (status = 401, description = "`unauthorized`", body = Problem),
        (status = 403, description = "`login_required`: a token cannot do this", body = Problem),
    )
)]
pub(super) async fn list(State(ctx): State<Ctx>, login: SessionLogin) -> Result<Answer<Vec<ApiToken>>, Problem> {
    let rows = ctx.store.tokens(login.user.id).await?;
    Ok(Answer(rows.into_iter().map(ApiToken::from).collect()))
}

/// Creates a token for scripts.
///
/// It permits all actions of the account except those that control access to it, or only reading (`scope`). An account
/// has at most 50 tokens.
#[utoipa::path(
    post, path = "/api/auth/tokens", tag = "auth", operation_id = "createToken", request_body = NewToken,
    responses(
        (status = 201, body = MadeToken),
        (status = 401, description = "`unauthorized`", body = Problem),
        (status = 403, description = "`login_required`: a token cannot do this, or `quota_exceeded`", body = Problem),
        (status = 422, description = "`validation_failed`", body = Problem),
    )
)]
pub(super) async fn create(
    login: SessionLogin,
    commands: Commands,
    Json(body): Json<NewToken>,
) -> Result<(StatusCode, Answer<MadeToken>), Problem> {
    let now = OffsetDateTime::now_utc();
    let mut fields = Fields::default();
    let name = fields.take("name", field::name(&body.name));
    let expires_at = match body.expires_at {
        None => Some(Some(now + LIFETIME)),
        Some(given) => fields.take_if_given("expiresAt", given.as_deref(), |text| field::future(text, now)),
    };
    let (Some(name), Some(expires_at)) = (name, expires_at) else { return Err(fields.into()) };
    let new = gostream_store::NewToken { name: &name, scope: body.scope, expires_at };
    let added = commands.create_token(login.user.id, login.session, new, TOKENS_MAX).await;
    let (row, token) = added.map_err(|error| match error {
        Error::Quota => {
            Problem::quota(format!("This account may have {TOKENS_MAX} tokens. Delete one that you no longer need."))
        }
        error => error.into(),
    })?;
    Ok((StatusCode::CREATED, Answer(MadeToken { token, about: row.into() })))
}

/// Revokes a token, which becomes invalid at once.
#[utoipa::path(
    delete, path = "/api/auth/tokens/{id}", tag = "auth", operation_id = "deleteToken", params(("id" = Uuid, Path)),
    responses(
        (status = 204, description = "Ended"),
        (status = 401, description = "`unauthorized`", body = Problem),
        (status = 403, description = "`login_required`: a token cannot do this", body = Problem),
        (status = 404, description = "`not_found`", body = Problem),
    )
)]
pub(super) async fn delete(login: SessionLogin, commands: Commands, Id(id): Id) -> Result<StatusCode, Problem> {
    commands.delete_token(login.user.id, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// An action on the account.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct AuditEntry {
    #[serde(with = "time::serde::rfc3339")]
    at: OffsetDateTime,
    #[schema(value_type = Action)]
    action: Recorded<Action>,
    /// The name of the changed object.
    #[schema(required)]
    object: Option<String>,
    /// The client's address; `null` for actions of the server's operator, and for wrong passwords from many addresses.
    #[schema(required, example = "203.0.113.7")]
    address: Option<String>,
    /// The changed fields. Secrets are shown as `****`.
    changes: Vec<FieldChange>,
    /// How often this happened within an hour, the last time at `at`: failures from one address are counted together.
    #[schema(example = 1, minimum = 1)]
    count: u64,
}

/// A changed field.
#[derive(Serialize, ToSchema)]
pub(super) struct FieldChange {
    #[schema(example = "name")]
    field: String,
    /// The previous value; `null` if there was none.
    #[schema(required)]
    old: Option<String>,
    /// The new value; `null` if it was removed.
    #[schema(required)]
    new: Option<String>,
}

impl From<gostream_store::FieldChange> for FieldChange {
    fn from(gostream_store::FieldChange { field, old, new }: gostream_store::FieldChange) -> Self {
        Self { field, old, new }
    }
}

/// Lists the actions on the account in the last 90 days, newest first: the last 200 changes, the last 200 actions that
/// concern access (logins, sessions, tokens, passwords), and the last 50 wrong passwords. Values are cut to their first
/// 200 characters.
#[utoipa::path(
    get, path = "/api/auth/audit", tag = "auth", operation_id = "listAudit",
    responses(
        (status = 200, body = [AuditEntry]),
        (status = 401, description = "`unauthorized`", body = Problem),
        (status = 403, description = "`login_required`: a token cannot do this", body = Problem),
    )
)]
pub(super) async fn audit(State(ctx): State<Ctx>, login: SessionLogin) -> Result<Answer<Vec<AuditEntry>>, Problem> {
    let rows = ctx.store.audit(login.user.id, AUDIT_SHOWN).await?;
    let entry = |row: gostream_store::AuditEntry| AuditEntry {
        at: row.at,
        action: Recorded::read(row.action),
        object: row.object,
        address: row.address,
        changes: row.changes.into_iter().map(FieldChange::from).collect(),
        count: row.count,
    };
    Ok(Answer(rows.into_iter().map(entry).collect()))
}
