//! Who asks: [`Login`] and [`Person`], one of which a private handler takes.

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
    turns::{Turn, Whose},
};
use crate::{
    control::commands::Commands,
    login::{proof::Proof, refused, token::Claims},
};

/// Who asks. Taking this argument is what makes a handler private.
pub(super) struct Login {
    /// The account.
    pub(super) user: Row,
    /// How it was proved.
    pub(super) proof: Proof,
    /// What it may do.
    pub(super) scope: Scope,
    /// Held until the handler ends; what keeps a login for longer gives it back.
    pub(super) turn: Option<Turn>,
}

impl Login {
    /// Whether it may see stream keys, with which anybody can publish.
    pub(super) fn sees_keys(&self) -> bool {
        self.scope == Scope::Full
    }

    /// Notes that an answer holds the keys of these projects, if this login sees them.
    pub(super) async fn note_shown_keys(&self, commands: &Commands, projects: &[&Project]) {
        if self.sees_keys() {
            commands.note_shown_keys(self.user.id, self.proof, projects).await;
        }
    }

    /// Whether it still counts.
    pub(super) async fn counts(&self, ctx: &Ctx) -> Result<bool, Error> {
        match self.proof {
            Proof::Session(id) => Ok(ctx.store.session_user(id).await?.is_some_and(|found| found.id == self.user.id)),
            Proof::Token(id) => ctx.store.has_token(self.user.id, id).await,
        }
    }
}

/// Who asks, and has shown the password: for what decides who may log in. A token that leaks must not lead further.
pub(super) struct Person {
    /// The account.
    pub(super) user: Row,
    /// The session.
    pub(super) session: Uuid,
    /// Held until the handler ends.
    _turn: Option<Turn>,
}

impl FromRequestParts<Ctx> for Person {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, ctx: &Ctx) -> Result<Self, Problem> {
        let login = Login::proved(parts, ctx, Line::Session).await?;
        match login.proof {
            Proof::Session(session) => Ok(Self { user: login.user, session, _turn: login.turn }),
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
        Self::proved(parts, ctx, Line::Account).await
    }
}

impl Login {
    /// Waits for a turn first: asking the database who it is would be a flood as well.
    async fn proved(parts: &Parts, ctx: &Ctx, line: Line) -> Result<Self, Problem> {
        let token = match bearer(&parts.headers) {
            Some(token) => token.to_owned(),
            None => {
                let jar = CookieJar::from_headers(&parts.headers);
                // Logins from before the name changed have the plain one until they end.
                let cookie = jar.get(HOST_COOKIE).or_else(|| jar.get(COOKIE));
                let token = cookie.ok_or_else(Problem::unauthorized)?.value().to_owned();
                // A browser sends the cookie whoever made the request, so who made it must be known.
                if !parts.method.is_safe() && !is_same_origin(parts, ctx) {
                    let detail = "This request came from another site. Use the page of this server, or a bearer token.";
                    return Err(Problem::new(StatusCode::FORBIDDEN, "bad_origin", detail));
                }
                token
            }
        };
        let address = extract::client_address(parts);
        let stranger = || {
            refused("token", address);
            Problem::unauthorized()
        };
        let sent = Sent::read(&token, ctx).ok_or_else(stranger)?;
        let turn = ctx.turns.take(&parts.method, sent.whose(line, address), &ctx.stopping).await?;
        // A session that ended is no try to get in: a page that was left open asks with it.
        let is_session = matches!(sent, Sent::Session(_));
        let login = prove(sent, address, turn, ctx).await?;
        let login = login.ok_or_else(|| if is_session { Problem::unauthorized() } else { stranger() })?;
        if login.scope == Scope::Read && !parts.method.is_safe() {
            let detail = "This API token may only read. Use one with the scope `full`.";
            return Err(Problem::new(StatusCode::FORBIDDEN, "not_allowed", detail));
        }
        Ok(login)
    }
}

/// In which line a login stands.
#[derive(Clone, Copy)]
enum Line {
    /// That of all logins of the account.
    Account,
    /// Its own: whoever floods the account cannot keep its owner from ending that.
    Session,
}

/// What was sent to prove a login.
enum Sent<'a> {
    Token(&'a str),
    Session(Claims),
}

impl<'a> Sent<'a> {
    /// `None` for what is forged.
    fn read(token: &'a str, ctx: &Ctx) -> Option<Self> {
        if token.starts_with(gostream_store::TOKEN_PREFIX) {
            return Some(Self::Token(token));
        }
        ctx.tokens.read(token).map(Self::Session)
    }

    /// In whose line it waits.
    fn whose(&self, line: Line, address: Option<IpAddr>) -> Whose {
        match (self, line) {
            (Self::Token(_), _) => Whose::Tokens(address.map(subscriber_prefix)),
            (Self::Session(claims), Line::Account) => Whose::Account(claims.sub),
            (Self::Session(claims), Line::Session) => Whose::Session(claims.sid),
        }
    }
}

/// Whose login that is; nobody's when it has ended.
async fn prove(sent: Sent<'_>, address: Option<IpAddr>, turn: Turn, ctx: &Ctx) -> Result<Option<Login>, Error> {
    let turn = Some(turn);
    let commands = ctx.control.commands(address);
    let claims = match sent {
        Sent::Session(claims) => claims,
        Sent::Token(token) => {
            let found = commands.use_token(token).await?;
            let login = |(user, token): (Row, ApiToken)| Login {
                user,
                proof: Proof::Token(token.id),
                scope: token.scope,
                turn,
            };
            return Ok(found.map(login));
        }
    };
    let user = commands.use_session(claims.sid).await?.filter(|user| user.id == claims.sub);
    Ok(user.map(|user| Login { user, proof: Proof::Session(claims.sid), scope: Scope::Full, turn }))
}

/// The token that is sent as `Authorization: Bearer`.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// Whether our own page made the request, as far as its browser says.
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
