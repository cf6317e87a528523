//! The cookie that carries a login's token for the page.

use axum_extra::extract::cookie::{Cookie, CookieJar};

/// The cookie that carries the token for the page, over plain HTTP.
pub(super) const COOKIE: &str = "gostream_session";
/// The same over HTTPS: browsers take this name only from the host itself, over HTTPS and for all paths, so that neither a
/// neighbour below the same domain nor an attacker on the way can plant one (RFC 6265bis section 4.1.3.2).
pub(super) const HOST_COOKIE: &str = "__Host-gostream_session";

/// Takes the cookie away.
pub(super) fn no_cookie() -> CookieJar {
    let gone = |name: &'static str| Cookie::build((name, "")).path("/").secure(name == HOST_COOKIE).removal();
    CookieJar::new().add(gone(COOKIE)).add(gone(HOST_COOKIE))
}
