//! Limits password attempts, and recognizes browsers that logged in before.

use std::net::IpAddr;

use axum::http::HeaderMap;
use axum_extra::extract::cookie::{Cookie, CookieJar, SameSite};
use gostream_net::connection_limiter::client_prefix;
use gostream_store::User;
use time::Duration;
use uuid::Uuid;

use super::{context::Ctx, error::Problem};
use crate::login::{browser::Browser, limit::PasswordClient, refused};

/// The name of the known-browser cookie.
const COOKIE: &str = "gostream_browser";
/// The longest lifetime of a cookie that browsers accept.
const LIFETIME: Duration = Duration::days(400);

/// The known browser of a request, if it logged in before.
pub(super) fn browser(ctx: &Ctx, headers: &HeaderMap) -> Option<Browser> {
    let jar = CookieJar::from_headers(headers);
    jar.get(COOKIE).and_then(|cookie| ctx.browsers.read(cookie.value()))
}

/// The known-browser cookie after a login to `user`. The browser keeps its id.
pub(super) fn cookie(ctx: &Ctx, user: &User, known: Option<Browser>, secure: bool) -> Cookie<'static> {
    let known = known.filter(|browser| browser.user == user.id);
    let id = known.map_or_else(Uuid::new_v4, |browser| browser.id);
    let browser = Browser { user: user.id, id, login_version: user.login_version };
    Cookie::build((COOKIE, ctx.browsers.sign(browser)))
        .path("/api/auth")
        .http_only(true)
        .same_site(SameSite::Strict)
        .secure(secure)
        .max_age(LIFETIME)
        .build()
}

/// Counts one password attempt for an account. Clients that have logged in before have limits of their own; otherwise
/// anyone could lock an account with wrong passwords. Returns the account if it knows the client.
pub(super) async fn check_attempt(
    ctx: &Ctx,
    from: Option<IpAddr>,
    browser: Option<Browser>,
    email: String,
    user: Option<&User>,
) -> Result<Option<Uuid>, Problem> {
    let too_many = |wait| {
        refused("limit", from);
        Problem::too_many(wait)
    };
    let is_its = |browser: &Browser| {
        user.is_some_and(|user| browser.user == user.id && browser.login_version == user.login_version)
    };
    let user_id = user.map(|user| user.id);
    if let Some(browser) = browser.filter(is_its) {
        ctx.limits.password_attempt(&PasswordClient::Browser(browser.id)).map_err(too_many)?;
        return Ok(user_id);
    }
    // A missing account makes the same query, so that both cases take equally long.
    let known = ctx.store.login_addresses(user_id.unwrap_or_default()).await?;
    let mut known = known.iter().filter_map(|address| address.parse().ok()).map(client_prefix);
    let here = from.map(client_prefix).filter(|&here| known.any(|there| there == here));
    if let Err(wait) = ctx.limits.password_attempt(&PasswordClient::Unknown(email.clone())) {
        let known_address = here.map(|here| PasswordClient::KnownAddress(email, here));
        known_address
            .map_or(Err(wait), |known_address| ctx.limits.password_attempt(&known_address))
            .map_err(too_many)?;
    }
    Ok(user_id.filter(|_| here.is_some()))
}
