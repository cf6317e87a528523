//! Changes the password, which ends all other access to the account.

use axum::{
    extract::State,
    http::StatusCode,
    response::{IntoResponse as _, Response},
};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use utoipa::ToSchema;

use super::{
    auth::Client,
    context::Ctx,
    error::Problem,
    extract::Json,
    field,
    login::SessionLogin,
    revoke::{self, RevokeOptions},
};
use crate::{
    control::commands::Commands,
    login::{limit::PasswordClient, refused},
};

/// The current password and the new one.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct PasswordChange {
    #[schema(value_type = String, format = Password, max_length = 256)]
    current_password: SecretString,
    /// At least 8 characters, at most 71 bytes, and not easy to guess.
    #[schema(value_type = String, format = Password, min_length = 8, max_length = 256)]
    new_password: SecretString,
    /// Whether every API token of the account ends as well.
    #[serde(default = "revoke::yes")]
    #[schema(default = true)]
    end_tokens: bool,
    /// Whether every project gets a new stream key. Encoders that use the old keys are disconnected.
    #[serde(default)]
    #[schema(default = false)]
    renew_stream_keys: bool,
}

/// Changes the password, and ends all sessions and all logins in progress.
///
/// The response starts a new session: its token is in the session cookie. API tokens end as well unless `endTokens` is
/// `false`.
#[utoipa::path(
    post, path = "/api/auth/password", tag = "auth", operation_id = "changePassword", request_body = PasswordChange,
    responses(
        (status = 204, description = "Changed", headers(("set-cookie" = String, description = "The new session"))),
        (status = 401, description = "`unauthorized`", body = Problem),
        (status = 422, description = "`validation_failed`", body = Problem),
        (status = 429, description = "`too_many_requests`, with `Retry-After`", body = Problem),
        (status = 503, description = "`busy`: too many passwords are waiting to be checked; with `Retry-After`", body = Problem),
    )
)]
pub(super) async fn change(
    State(ctx): State<Ctx>,
    login: SessionLogin,
    client: Client,
    commands: Commands,
    Json(body): Json<PasswordChange>,
) -> Result<Response, Problem> {
    let bad_new = |message| Problem::field("newPassword", message);
    let new = field::new_password(body.new_password.expose_secret()).map_err(bad_new)?;
    // Attempts by others at the same address or for the same account must not delay a user who is logged in.
    ctx.limits
        .password_attempt(&PasswordClient::Session(login.session))
        .map_err(|wait| client.too_many(wait))?;
    let hasher = client.hasher(&ctx, Some(login.user.id));
    hasher.judge(new.clone(), login.user.email.clone()).await?.map_err(bad_new)?;
    let hash = ctx.store.credentials(&login.user.email).await?.map(|found| found.password_hash);
    let current = body.current_password.expose_secret().to_owned();
    if !hasher.verify(current, hash).await? {
        refused("password", client.address);
        commands.count_login_failure(login.user.id).await;
        return Err(Problem::field("currentPassword", "This is not your current password."));
    }
    let hash = hasher.hash(new).await?;
    let options = RevokeOptions { end_tokens: body.end_tokens, renew_stream_keys: body.renew_stream_keys };
    let (revoked, session) = commands.change_password(&login.user, &hash, options.into(), client.session()).await?;
    let (_, cookies) = client.cookies(&ctx, &revoked.user, &session)?;
    Ok((StatusCode::NO_CONTENT, cookies).into_response())
}
