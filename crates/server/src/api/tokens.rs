//! API tokens, and what was done with the account.

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
    login::Person,
    view::Recorded,
};
use crate::control::commands::Commands;

/// Of changes, and of lines about who got in; a person looks at the last weeks.
const AUDIT_SHOWN: u64 = 200;
/// Tokens of an account that count: one for each script and each button of a large studio.
const TOKENS_MAX: u64 = 50;
/// How long a token counts unless its maker says otherwise: forgotten ones end, and nobody has to renew one before each show.
const LIFETIME: Duration = Duration::days(365);

/// A new token.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct NewToken {
    #[schema(example = "Stream deck", min_length = 1, max_length = 100)]
    name: String,
    /// What it may do.
    #[serde(default)]
    #[schema(default = "full")]
    scope: Scope,
    /// When it ends: a time in the future. Without this field after 365 days, with `null` never.
    #[serde(default, deserialize_with = "field::given")]
    #[schema(value_type = Option<String>, format = DateTime, example = "2027-11-27T00:00:00Z")]
    expires_at: Option<Option<String>>,
}

/// A token, without what it is.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct ApiToken {
    id: Uuid,
    name: String,
    #[serde(with = "time::serde::rfc3339")]
    created_at: OffsetDateTime,
    /// To the minute; `null` if it never was.
    #[serde(with = "time::serde::rfc3339::option")]
    #[schema(required)]
    last_used_at: Option<OffsetDateTime>,
    scope: Scope,
    /// From when on it is worth nothing; `null` for one that does not end.
    #[serde(with = "time::serde::rfc3339::option")]
    #[schema(required)]
    expires_at: Option<OffsetDateTime>,
}

/// A token that was just made.
#[derive(Serialize, ToSchema)]
pub(super) struct MadeToken {
    /// For `Authorization: Bearer`. It is shown this once.
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

/// Lists the tokens of the account that have not ended, newest first.
#[utoipa::path(
    get, path = "/api/auth/tokens", tag = "auth", operation_id = "listTokens",
    responses(
        (status = 200, body = [ApiToken]),
        (status = 401, description = "`unauthorized`", body = Problem),
        (status = 403, description = "`login_required`: a token cannot do this", body = Problem),
    )
)]
pub(super) async fn list(State(ctx): State<Ctx>, person: Person) -> Result<Answer<Vec<ApiToken>>, Problem> {
    let rows = ctx.store.tokens(person.user.id).await?;
    Ok(Answer(rows.into_iter().map(ApiToken::from).collect()))
}

/// Makes a token for scripts.
///
/// It can do what the account can, except change how one logs in, or only look (`scope`). An account has 50 at most.
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
    person: Person,
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
    let added = commands.create_token(person.user.id, person.session, new, TOKENS_MAX).await;
    let (row, token) = added.map_err(|error| match error {
        Error::Quota => {
            Problem::quota(format!("This account may have {TOKENS_MAX} tokens. End one that you no longer need."))
        }
        error => error.into(),
    })?;
    Ok((StatusCode::CREATED, Answer(MadeToken { token, about: row.into() })))
}

/// Ends a token: it is worth nothing from now on.
#[utoipa::path(
    delete, path = "/api/auth/tokens/{id}", tag = "auth", operation_id = "deleteToken", params(("id" = Uuid, Path)),
    responses(
        (status = 204, description = "Ended"),
        (status = 401, description = "`unauthorized`", body = Problem),
        (status = 403, description = "`login_required`: a token cannot do this", body = Problem),
        (status = 404, description = "`not_found`", body = Problem),
    )
)]
pub(super) async fn delete(person: Person, commands: Commands, Id(id): Id) -> Result<StatusCode, Problem> {
    commands.delete_token(person.user.id, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// One thing that was done with the account.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct AuditEntry {
    #[serde(with = "time::serde::rfc3339")]
    at: OffsetDateTime,
    #[schema(value_type = Action)]
    action: Recorded<Action>,
    /// What it was done to, by name.
    #[schema(required)]
    object: Option<String>,
    /// From where; `null` for what the operator of the server did, and for wrong passwords from many addresses.
    #[schema(required, example = "203.0.113.7")]
    address: Option<String>,
    /// What it changed. Secrets are shown as `****`.
    changes: Vec<FieldChange>,
    /// How many times within an hour, the last of them at `at`: failures of one address are counted together.
    #[schema(example = 1, minimum = 1)]
    count: u64,
}

/// A field that was changed.
#[derive(Serialize, ToSchema)]
pub(super) struct FieldChange {
    #[schema(example = "name")]
    field: String,
    /// `null` for what was not there.
    #[schema(required)]
    old: Option<String>,
    /// `null` for what is gone.
    #[schema(required)]
    new: Option<String>,
}

impl From<gostream_store::FieldChange> for FieldChange {
    fn from(gostream_store::FieldChange { field, old, new }: gostream_store::FieldChange) -> Self {
        Self { field, old, new }
    }
}

/// Lists what was done with the account, newest first, of the last 90 days: the last 200 changes, the last 200 lines about who got
/// in (logins, sessions, tokens, passwords), and of wrong passwords the last 50. Of a value, the first 200 characters are kept.
#[utoipa::path(
    get, path = "/api/auth/audit", tag = "auth", operation_id = "listAudit",
    responses(
        (status = 200, body = [AuditEntry]),
        (status = 401, description = "`unauthorized`", body = Problem),
        (status = 403, description = "`login_required`: a token cannot do this", body = Problem),
    )
)]
pub(super) async fn audit(State(ctx): State<Ctx>, person: Person) -> Result<Answer<Vec<AuditEntry>>, Problem> {
    let rows = ctx.store.audit(person.user.id, AUDIT_SHOWN).await?;
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
