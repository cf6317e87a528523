//! Handlers for accounts and logins.

use std::{net::IpAddr, time::Duration};

use axum::{
    extract::{FromRequestParts, State},
    http::{StatusCode, header, request::Parts},
    response::{AppendHeaders, IntoResponse, Response},
};
use axum_extra::extract::cookie::{Cookie, SameSite};
use gostream_store::{Error, NewSession, Session as Begun, User as Row};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use utoipa::ToSchema;
use uuid::Uuid;

use super::{
    context::Ctx,
    cookie::{COOKIE, HOST_COOKIE, no_cookie},
    error::Problem,
    extract::{self, Json},
    field::{self, Fields},
    login::{Login, SessionLogin},
    password_attempts,
};
use crate::{
    config::Signup,
    control::commands::Commands,
    login::{
        browser::Browser,
        password::Hasher,
        refused,
        token::{Claims, LIFETIME},
    },
};

/// The longest stored `User-Agent`, in characters. The rest is cut off.
const AGENT_CHARS_MAX: usize = 200;

/// Email and password.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Credentials {
    /// The email address of the account.
    #[schema(example = "me@example.org", min_length = 3, max_length = 254)]
    email: String,
    /// At least 8 characters, at most 71 bytes, and not easy to guess.
    #[schema(value_type = String, format = Password, example = "quiet lamp under rain", min_length = 8, max_length = 256)]
    password: SecretString,
}

/// A new login.
#[derive(Serialize, ToSchema)]
pub(super) struct Session {
    /// For `Authorization: Bearer`. The same token is in the cookie: `gostream_session`, over HTTPS
    /// `__Host-gostream_session`.
    token: String,
    user: User,
}

/// An account.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct User {
    id: Uuid,
    #[schema(example = "me@example.org")]
    email: String,
    #[serde(with = "time::serde::rfc3339")]
    created_at: OffsetDateTime,
}

impl From<Row> for User {
    fn from(row: Row) -> Self {
        Self { id: row.id, email: row.email, created_at: row.created_at }
    }
}

/// Creates an account and logs in.
#[utoipa::path(
    post, path = "/api/auth/signup", tag = "auth", operation_id = "signUp", security(()), request_body = Credentials,
    responses(
        (status = 201, description = "The account exists and is logged in", body = Session),
        (status = 403, description = "`signup_closed`: only the operator creates accounts, with `gostream user add`", body = Problem),
        (status = 409, description = "`email_taken`", body = Problem),
        (status = 422, description = "`validation_failed`", body = Problem),
        (status = 429, description = "`too_many_requests`, with `Retry-After`", body = Problem),
        (status = 503, description = "`busy`: too many passwords are waiting to be checked; with `Retry-After`", body = Problem),
    )
)]
pub(super) async fn signup(
    State(ctx): State<Ctx>,
    client: Client,
    commands: Commands,
    Json(body): Json<Credentials>,
) -> Result<Response, Problem> {
    if ctx.signup == Signup::Closed {
        let detail = "Sign-up is closed on this server. Ask its operator for an account.";
        return Err(Problem::new(StatusCode::FORBIDDEN, "signup_closed", detail));
    }
    let mut fields = Fields::default();
    let email = fields.take("email", field::email(&body.email));
    let password = fields.take("password", field::new_password(body.password.expose_secret()));
    let (Some(email), Some(password)) = (email, password) else { return Err(fields.into()) };
    client.may_try(&ctx)?;
    let hasher = client.hasher(&ctx, None);
    let judged = hasher.judge(password.clone(), email.clone()).await?;
    judged.map_err(|message| Problem::field("password", message))?;
    let hash = hasher.hash(password).await?;
    let (user, session) = commands.sign_up(&email, &hash, client.session()).await?;
    client.logged_in(&ctx, user, &session, StatusCode::CREATED)
}

/// Logs in.
#[utoipa::path(
    post, path = "/api/auth/login", tag = "auth", operation_id = "logIn", security(()), request_body = Credentials,
    responses(
        (status = 200, description = "Logged in", body = Session),
        (status = 401, description = "`invalid_credentials`", body = Problem),
        (status = 422, description = "`validation_failed`", body = Problem),
        (status = 429, description = "`too_many_requests`, with `Retry-After`", body = Problem),
        (status = 503, description = "`busy`: too many passwords are waiting to be checked; with `Retry-After`", body = Problem),
    )
)]
pub(super) async fn login(
    State(ctx): State<Ctx>,
    client: Client,
    commands: Commands,
    Json(body): Json<Credentials>,
) -> Result<Response, Problem> {
    client.may_try(&ctx)?;
    // An invalid address is an unknown account, and takes equally long.
    let email = field::email(&body.email).unwrap_or_default();
    let (user, hash) = match ctx.store.credentials(&email).await? {
        Some(found) => (Some(found.user), Some(found.password_hash)),
        None => (None, None),
    };
    let tried = user.as_ref().map(|user| user.id);
    let known = password_attempts::check_attempt(&ctx, client.address, client.browser, email, user.as_ref()).await?;
    let right = client.hasher(&ctx, known).verify(body.password.expose_secret().to_owned(), hash).await?;
    match user.filter(|_| right) {
        Some(user) => {
            match commands.log_in(&user, client.session()).await {
                // The password was changed, or the account removed, during the login.
                Err(Error::LoginsEnded | Error::NotFound) => {
                    refused("login", client.address);
                    Err(wrong_credentials())
                }
                started => client.logged_in(&ctx, user, &started?, StatusCode::OK),
            }
        }
        None => {
            refused("login", client.address);
            if let Some(user) = tried {
                commands.count_login_failure(user).await;
            }
            Err(wrong_credentials())
        }
    }
}

fn wrong_credentials() -> Problem {
    let detail = "There is no account with this email address and password.";
    Problem::new(StatusCode::UNAUTHORIZED, "invalid_credentials", detail)
}

/// Logs out. The session ends on the server, too: its token becomes invalid.
#[utoipa::path(
    post, path = "/api/auth/logout", tag = "auth", operation_id = "logOut",
    responses((status = 204, description = "Logged out"), (status = 401, description = "`unauthorized`", body = Problem))
)]
pub(super) async fn logout(login: SessionLogin, commands: Commands) -> Result<Response, Problem> {
    commands.log_out(login.session).await?;
    Ok((StatusCode::NO_CONTENT, no_cookie()).into_response())
}

/// Shows the account that is logged in.
#[utoipa::path(
    get, path = "/api/auth/me", tag = "auth", operation_id = "showMe",
    responses((status = 200, body = User), (status = 401, description = "`unauthorized`", body = Problem))
)]
pub(super) async fn me(login: Login) -> axum::Json<User> {
    axum::Json(login.user.into())
}

/// The session cookie and the known-browser cookie.
type Cookies = AppendHeaders<[(header::HeaderName, String); 2]>;

/// The client of a login.
pub(super) struct Client {
    pub(super) address: Option<IpAddr>,
    /// The browser, if it logged in before.
    browser: Option<Browser>,
    agent: Option<String>,
    secure: bool,
}

impl FromRequestParts<Ctx> for Client {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, ctx: &Ctx) -> Result<Self, Self::Rejection> {
        let agent = parts.headers.get(header::USER_AGENT).and_then(|value| value.to_str().ok());
        Ok(Self {
            address: extract::client_address(parts),
            browser: password_attempts::browser(ctx, &parts.headers),
            agent: agent.map(|agent| agent.chars().take(AGENT_CHARS_MAX).collect()),
            secure: extract::is_secure(parts, ctx),
        })
    }
}

impl Client {
    /// A new session of this client.
    pub(super) fn session(&self) -> NewSession<'_> {
        NewSession { expires_at: OffsetDateTime::now_utc() + LIFETIME, agent: self.agent.as_deref() }
    }

    fn may_try(&self, ctx: &Ctx) -> Result<(), Problem> {
        self.address
            .map_or(Ok(()), |address| ctx.limits.address(address))
            .map_err(|wait| self.too_many(wait))
    }

    pub(super) fn too_many(&self, wait: Duration) -> Problem {
        refused("limit", self.address);
        Problem::too_many(wait)
    }

    /// The client's share of the password hasher: that of the account if it knows the client, otherwise that of the
    /// address.
    pub(super) fn hasher(&self, ctx: &Ctx, known: Option<Uuid>) -> Hasher {
        known.map_or_else(|| ctx.passwords.of(self.address), |user| ctx.passwords.of_known(user, self.address))
    }

    fn logged_in(&self, ctx: &Ctx, user: Row, session: &Begun, status: StatusCode) -> Result<Response, Problem> {
        let (token, cookies) = self.cookies(ctx, &user, session)?;
        let body = Session { token, user: user.into() };
        Ok((status, cookies, axum::Json(body)).into_response())
    }

    /// The token of a new session, and the cookies for the browser.
    pub(super) fn cookies(&self, ctx: &Ctx, user: &Row, session: &Begun) -> Result<(String, Cookies), Problem> {
        let (iat, exp) = (session.created_at.unix_timestamp(), session.expires_at.unix_timestamp());
        let claims = Claims { sub: session.user_id, sid: session.id, iat, exp };
        let token = ctx.tokens.sign(&claims).map_err(|error| Problem::internal(&error))?;
        let name = if self.secure { HOST_COOKIE } else { COOKIE };
        let cookie = Cookie::build((name, token.clone()))
            .path("/")
            .http_only(true)
            .same_site(SameSite::Lax)
            .secure(self.secure)
            .max_age(LIFETIME);
        let cookies = [cookie.build(), password_attempts::cookie(ctx, user, self.browser, self.secure)]
            .map(|cookie| (header::SET_COOKIE, cookie.to_string()));
        Ok((token, AppendHeaders(cookies)))
    }
}
