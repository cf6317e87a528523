//! Accounts and logins, and [`Login`], the proof of one that other handlers ask for.

use axum::{
    extract::{FromRequestParts, State},
    http::{HeaderMap, StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};
use axum_extra::extract::cookie::{Cookie, CookieJar, SameSite};
use gostream_store::{Error, NewSession, Scope, User as Row};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use utoipa::ToSchema;
use uuid::Uuid;

use super::{
    Ctx,
    audit::Audit,
    error::Problem,
    extract::{self, Json},
    field::{self, Fields},
};
use crate::{
    config::Signup,
    login::token::{Claims, LIFETIME},
};

/// The cookie that carries the token for the page.
const COOKIE: &str = "gostream_session";
/// Of the browser's name, this much is kept with the session.
const AGENT_CHARS_MAX: usize = 200;

/// Who asks. Taking this argument is what makes a handler private.
pub(super) struct Login {
    /// The account.
    pub(super) user: Row,
    /// How it was proved.
    pub(super) proof: Proof,
    /// What it may do.
    pub(super) scope: Scope,
}

impl Login {
    /// Whether it may see stream keys, with which anybody can publish.
    pub(super) fn sees_keys(&self) -> bool {
        self.scope == Scope::Full
    }
}

/// What a login rests on; it ends with that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Proof {
    /// A session, begun with the password.
    Session(Uuid),
    /// An API token.
    Token(Uuid),
}

impl Proof {
    /// Of the session, or of the token.
    pub(super) fn id(self) -> Uuid {
        let (Self::Session(id) | Self::Token(id)) = self;
        id
    }

    /// Whether it still counts for that account.
    pub(super) async fn counts(self, ctx: &Ctx, user: Uuid) -> Result<bool, Error> {
        match self {
            Self::Session(id) => Ok(ctx.store.session_user(id).await?.is_some_and(|found| found.id == user)),
            Self::Token(id) => ctx.store.has_token(user, id).await,
        }
    }
}

/// Who asks, and has shown the password: for what decides who may log in. A token that leaks must not lead further.
pub(super) struct Person {
    /// The account.
    pub(super) user: Row,
    /// The session.
    pub(super) session: Uuid,
}

impl FromRequestParts<Ctx> for Person {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, ctx: &Ctx) -> Result<Self, Problem> {
        let login = Login::from_request_parts(parts, ctx).await?;
        match login.proof {
            Proof::Session(session) => Ok(Self { user: login.user, session }),
            Proof::Token(_) => {
                let detail = "An API token cannot do this. Log in with the password.";
                Err(Problem::new(StatusCode::FORBIDDEN, "login_required", detail))
            }
        }
    }
}

impl FromRequestParts<Ctx> for Login {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, ctx: &Ctx) -> Result<Self, Problem> {
        let token = match bearer(&parts.headers) {
            Some(token) => token.to_owned(),
            None => {
                let jar = CookieJar::from_headers(&parts.headers);
                let token = jar.get(COOKIE).ok_or_else(Problem::unauthorized)?.value().to_owned();
                // A browser sends the cookie whoever made the request, so who made it must be known.
                if !parts.method.is_safe() && !is_same_origin(parts, ctx) {
                    let detail = "This request came from another site. Use the page of this server, or a bearer token.";
                    return Err(Problem::new(StatusCode::FORBIDDEN, "bad_origin", detail));
                }
                token
            }
        };
        if token.starts_with(gostream_store::TOKEN_PREFIX) {
            let (user, token) = ctx.store.token_user(&token).await?.ok_or_else(Problem::unauthorized)?;
            if token.scope == Scope::Read && !parts.method.is_safe() {
                let detail = "This API token may only read. Use one with the scope `full`.";
                return Err(Problem::new(StatusCode::FORBIDDEN, "not_allowed", detail));
            }
            return Ok(Self { user, proof: Proof::Token(token.id), scope: token.scope });
        }
        let claims = ctx.tokens.read(&token).ok_or_else(Problem::unauthorized)?;
        let address = extract::client_address(parts).map(|address| address.to_string());
        let user = ctx.store.use_session(claims.sid, address.as_deref()).await?.filter(|user| user.id == claims.sub);
        let user = user.ok_or_else(Problem::unauthorized)?;
        Ok(Self { user, proof: Proof::Session(claims.sid), scope: Scope::Full })
    }
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

fn is_same_origin(parts: &Parts, ctx: &Ctx) -> bool {
    let text = |name: &str| parts.headers.get(name).and_then(|value| value.to_str().ok());
    if text("sec-fetch-site") == Some("same-origin") {
        return true;
    }
    let Some(origin) = text("origin") else { return false };
    if ctx.public_url.as_ref().is_some_and(|url| url.origin().ascii_serialization() == origin) {
        return true;
    }
    let host = origin.strip_prefix("https://").or_else(|| origin.strip_prefix("http://"));
    host.is_some_and(|host| extract::authority(parts).is_some_and(|ours| ours.as_str().eq_ignore_ascii_case(host)))
}

/// Email and password.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Credentials {
    /// The address names the account.
    #[schema(example = "me@example.org", max_length = 254)]
    email: String,
    /// At least 8 characters, at most 71 bytes, and not easy to guess.
    #[schema(value_type = String, format = Password, example = "quiet lamp under rain", min_length = 8, max_length = 256)]
    password: SecretString,
}

/// A login that just began.
#[derive(Serialize, ToSchema)]
pub(super) struct Session {
    /// For `Authorization: Bearer`. The same token is in the `gostream_session` cookie.
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

/// Makes an account and logs in.
#[utoipa::path(
    post, path = "/api/auth/signup", tag = "auth", operation_id = "signUp", security(()), request_body = Credentials,
    responses(
        (status = 201, description = "The account exists and is logged in", body = Session),
        (status = 403, description = "`signup_closed`: accounts are made by `gostream user add`", body = Problem),
        (status = 409, description = "`email_taken`", body = Problem),
        (status = 422, description = "`validation_failed`", body = Problem),
        (status = 429, description = "`too_many_requests`, with `Retry-After`", body = Problem),
    )
)]
pub(super) async fn signup(
    State(ctx): State<Ctx>,
    client: Client,
    audit: Audit,
    Json(body): Json<Credentials>,
) -> Result<Response, Problem> {
    if ctx.signup == Signup::Closed {
        let detail = "This server takes no new accounts here. Ask whoever runs it for one.";
        return Err(Problem::new(StatusCode::FORBIDDEN, "signup_closed", detail));
    }
    let mut fields = Fields::default();
    let email = fields.take("email", field::email(&body.email));
    let password = fields.take("password", field::new_password(body.password.expose_secret(), &body.email));
    let (Some(email), Some(password)) = (email, password) else { return Err(fields.into()) };
    client.may_try(&ctx)?;
    let hash = ctx.passwords.hash(password).await.map_err(|error| Problem::internal(&error))?;
    let user = ctx.store.add_user(&email, &hash).await?;
    audit.note(&ctx, user.id, "signup", None).await;
    client.begin_session(&ctx, user, StatusCode::CREATED).await
}

/// Logs in.
#[utoipa::path(
    post, path = "/api/auth/login", tag = "auth", operation_id = "logIn", security(()), request_body = Credentials,
    responses(
        (status = 200, description = "Logged in", body = Session),
        (status = 401, description = "`invalid_credentials`", body = Problem),
        (status = 422, description = "`validation_failed`", body = Problem),
        (status = 429, description = "`too_many_requests`, with `Retry-After`", body = Problem),
    )
)]
pub(super) async fn login(
    State(ctx): State<Ctx>,
    client: Client,
    audit: Audit,
    Json(body): Json<Credentials>,
) -> Result<Response, Problem> {
    client.may_try(&ctx)?;
    // An address that cannot be one is simply unknown, and takes as long.
    let email = field::email(&body.email).unwrap_or_default();
    ctx.limits.account(&email).map_err(Problem::too_many)?;
    let (user, hash) = match ctx.store.credentials(&email).await? {
        Some(found) => (Some(found.user), Some(found.password_hash)),
        None => (None, None),
    };
    let tried = user.as_ref().map(|user| user.id);
    let right = ctx.passwords.verify(body.password.expose_secret().to_owned(), hash).await;
    match user.filter(|_| matches!(right, Ok(true))) {
        Some(user) => {
            let id = user.id;
            let answer = client.begin_session(&ctx, user, StatusCode::OK).await?;
            audit.note(&ctx, id, "login", None).await;
            Ok(answer)
        }
        None => {
            if let Some(user) = tried {
                audit.note(&ctx, user, "login_failed", None).await;
            }
            right.map_err(|error| Problem::internal(&error))?;
            Err(wrong_credentials())
        }
    }
}

fn wrong_credentials() -> Problem {
    let detail = "There is no account with this email address and password.";
    Problem::new(StatusCode::UNAUTHORIZED, "invalid_credentials", detail)
}

/// Logs out. The session is gone on the server, too: its token is worth nothing from now on.
#[utoipa::path(
    post, path = "/api/auth/logout", tag = "auth", operation_id = "logOut",
    responses((status = 204, description = "Logged out"), (status = 401, description = "`unauthorized`", body = Problem))
)]
pub(super) async fn logout(State(ctx): State<Ctx>, person: Person) -> Result<Response, Problem> {
    ctx.store.end_session(person.session).await?;
    ctx.wakes.sessions_ended();
    Ok((StatusCode::NO_CONTENT, no_cookie()).into_response())
}

/// Takes the cookie away.
pub(super) fn no_cookie() -> CookieJar {
    CookieJar::new().add(Cookie::build((COOKIE, "")).path("/").removal())
}

/// Who is logged in.
#[utoipa::path(
    get, path = "/api/auth/me", tag = "auth", operation_id = "showMe",
    responses((status = 200, body = User), (status = 401, description = "`unauthorized`", body = Problem))
)]
pub(super) async fn me(login: Login) -> axum::Json<User> {
    axum::Json(login.user.into())
}

/// The other end, as far as logging in is concerned.
pub(super) struct Client {
    address: Option<std::net::IpAddr>,
    agent: Option<String>,
    secure: bool,
}

impl FromRequestParts<Ctx> for Client {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, ctx: &Ctx) -> Result<Self, Self::Rejection> {
        let agent = parts.headers.get(header::USER_AGENT).and_then(|value| value.to_str().ok());
        Ok(Self {
            address: extract::client_address(parts),
            agent: agent.map(|agent| agent.chars().take(AGENT_CHARS_MAX).collect()),
            secure: extract::is_secure(parts, ctx),
        })
    }
}

impl Client {
    pub(super) fn may_try(&self, ctx: &Ctx) -> Result<(), Problem> {
        self.address.map_or(Ok(()), |address| ctx.limits.address(address)).map_err(Problem::too_many)
    }

    async fn begin_session(&self, ctx: &Ctx, user: Row, status: StatusCode) -> Result<Response, Problem> {
        let (token, cookie) = self.new_session(ctx, &user).await?;
        Ok((status, cookie, axum::Json(Session { token, user: user.into() })).into_response())
    }

    /// A session of `user`, the account as it was when its password was checked: its token, and the same as a cookie.
    pub(super) async fn new_session(&self, ctx: &Ctx, user: &Row) -> Result<(String, CookieJar), Problem> {
        let now = OffsetDateTime::now_utc();
        let expires_at = now + LIFETIME;
        let address = self.address.map(|address| address.to_string());
        let new = NewSession { expires_at, agent: self.agent.as_deref(), address: address.as_deref() };
        let session = match ctx.store.start_session(user, new).await {
            // A new password, or the end of the account, came first.
            Err(Error::LoginsEnded | Error::NotFound) => return Err(wrong_credentials()),
            started => started?,
        };
        let claims =
            Claims { sub: user.id, sid: session.id, iat: now.unix_timestamp(), exp: expires_at.unix_timestamp() };
        let token = ctx.tokens.sign(&claims).map_err(|error| Problem::internal(&error))?;
        let cookie = Cookie::build((COOKIE, token.clone()))
            .path("/")
            .http_only(true)
            .same_site(SameSite::Lax)
            .secure(self.secure)
            .max_age(LIFETIME);
        Ok((token, CookieJar::new().add(cookie)))
    }
}
