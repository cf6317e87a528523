//! Authentication of requests: a private handler takes [`Login`] or [`SessionLogin`] as an argument.

use std::net::IpAddr;

use axum::{
    extract::FromRequestParts,
    http::{HeaderMap, StatusCode, header, request::Parts},
};
use axum_extra::extract::cookie::CookieJar;
use gostream_net::connection_limiter::subscriber_prefix;
use gostream_store::{ApiToken, Error, Project, Scope, User as Row};
use uuid::Uuid;

use super::{
    context::Ctx,
    cookie::{COOKIE, HOST_COOKIE},
    error::Problem,
    extract,
    request_queues::{QueueOwner, RequestPermit},
};
use crate::{
    control::commands::Commands,
    login::{proof::Proof, refused, token::Claims},
};

/// The login of a request. A handler with this argument is private.
pub(super) struct Login {
    /// The account.
    pub(super) user: Row,
    /// The credential that was verified.
    pub(super) proof: Proof,
    /// The permitted actions.
    pub(super) scope: Scope,
    /// Held until the handler ends. Handlers that keep a login for longer release it.
    pub(super) permit: Option<RequestPermit>,
}

impl Login {
    /// Whether this login may see stream keys, with which anyone can publish.
    pub(super) fn sees_keys(&self) -> bool {
        self.scope == Scope::Full
    }

    /// Records that a response contains the keys of these projects, if this login can see them.
    pub(super) async fn note_shown_keys(&self, commands: &Commands, projects: &[&Project]) {
        if self.sees_keys() {
            commands.note_shown_keys(self.user.id, self.proof, projects).await;
        }
    }

    /// Whether the login is still valid.
    pub(super) async fn counts(&self, ctx: &Ctx) -> Result<bool, Error> {
        match self.proof {
            Proof::Session(id) => Ok(ctx.store.session_user(id).await?.is_some_and(|found| found.id == self.user.id)),
            Proof::Token(id) => ctx.store.has_token(self.user.id, id).await,
        }
    }
}

/// A login with the password, as opposed to an API token. Handlers that control access to the account require it, so
/// that a leaked token gives no further access.
pub(super) struct SessionLogin {
    /// The account.
    pub(super) user: Row,
    /// The session.
    pub(super) session: Uuid,
    /// Held until the handler ends.
    _permit: Option<RequestPermit>,
}

impl FromRequestParts<Ctx> for SessionLogin {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, ctx: &Ctx) -> Result<Self, Problem> {
        let login = Login::verified(parts, ctx, Queue::Session).await?;
        match login.proof {
            Proof::Session(session) => Ok(Self { user: login.user, session, _permit: login.permit }),
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
        Self::verified(parts, ctx, Queue::Account).await
    }
}

impl Login {
    /// Waits for a turn before it reads the database: otherwise these reads themselves could flood it.
    async fn verified(parts: &Parts, ctx: &Ctx, queue: Queue) -> Result<Self, Problem> {
        let token = match bearer(&parts.headers) {
            Some(token) => token.to_owned(),
            None => {
                let jar = CookieJar::from_headers(&parts.headers);
                // Sessions from before the rename have the old cookie until they end.
                let cookie = jar.get(HOST_COOKIE).or_else(|| jar.get(COOKIE));
                let token = cookie.ok_or_else(Problem::unauthorized)?.value().to_owned();
                // Browsers send the cookie with requests of any site, so the origin must be checked.
                if !parts.method.is_safe() && !is_same_origin(parts, ctx) {
                    let detail = "This request came from another site. Use this server's own page, or a bearer token.";
                    return Err(Problem::new(StatusCode::FORBIDDEN, "bad_origin", detail));
                }
                token
            }
        };
        let address = extract::client_address(parts);
        let invalid = || {
            refused("token", address);
            Problem::unauthorized()
        };
        let credential = Credential::read(&token, ctx).ok_or_else(invalid)?;
        let permit = ctx
            .request_queues
            .take(&parts.method, credential.queue_owner(queue, address), &ctx.stopping)
            .await?;
        // An ended session is not an attack: a page that was left open still sends it.
        let is_session = matches!(credential, Credential::Session(_));
        let login = verify(credential, address, permit, ctx).await?;
        let login = login.ok_or_else(|| if is_session { Problem::unauthorized() } else { invalid() })?;
        if login.scope == Scope::Read && !parts.method.is_safe() {
            let detail = "This API token is read-only. Use one with the scope `full`.";
            return Err(Problem::new(StatusCode::FORBIDDEN, "not_allowed", detail));
        }
        Ok(login)
    }
}

/// The queue that a login waits in.
#[derive(Clone, Copy)]
enum Queue {
    /// The queue of all logins of the account.
    Account,
    /// The queue of the session alone, so that a flood on the account cannot keep its owner from stopping it.
    Session,
}

/// The credential that was sent.
enum Credential<'a> {
    Token(&'a str),
    Session(Claims),
}

impl<'a> Credential<'a> {
    /// `None` for a forged credential.
    fn read(token: &'a str, ctx: &Ctx) -> Option<Self> {
        if token.starts_with(gostream_store::TOKEN_PREFIX) {
            return Some(Self::Token(token));
        }
        ctx.tokens.read(token).map(Self::Session)
    }

    /// The owner of the queue.
    fn queue_owner(&self, queue: Queue, address: Option<IpAddr>) -> QueueOwner {
        match (self, queue) {
            (Self::Token(_), _) => QueueOwner::Tokens(address.map(subscriber_prefix)),
            (Self::Session(claims), Queue::Account) => QueueOwner::Account(claims.sub),
            (Self::Session(claims), Queue::Session) => QueueOwner::Session(claims.sid),
        }
    }
}

/// Verifies a credential; `None` if it has ended or was revoked.
async fn verify(
    credential: Credential<'_>,
    address: Option<IpAddr>,
    permit: RequestPermit,
    ctx: &Ctx,
) -> Result<Option<Login>, Error> {
    let permit = Some(permit);
    let commands = ctx.control.commands(address);
    let claims = match credential {
        Credential::Session(claims) => claims,
        Credential::Token(token) => {
            let found = commands.use_token(token).await?;
            let login = |(user, token): (Row, ApiToken)| Login {
                user,
                proof: Proof::Token(token.id),
                scope: token.scope,
                permit,
            };
            return Ok(found.map(login));
        }
    };
    let user = commands.use_session(claims.sid).await?.filter(|user| user.id == claims.sub);
    Ok(user.map(|user| Login { user, proof: Proof::Session(claims.sid), scope: Scope::Full, permit }))
}

/// The token in `Authorization: Bearer`.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// Whether this server's own page made the request, according to the browser.
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
