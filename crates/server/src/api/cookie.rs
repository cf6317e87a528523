//! The session cookie of the page.

use axum_extra::extract::cookie::{Cookie, CookieJar};

/// The name of the session cookie over plain HTTP.
pub(super) const COOKIE: &str = "gostream_session";
/// The name over HTTPS. Browsers accept it only from the host itself, over HTTPS and for all paths, so that neither
/// another host of the same domain nor an attacker on the network can set it (RFC 6265bis section 4.1.3.2).
pub(super) const HOST_COOKIE: &str = "__Host-gostream_session";

/// Removes the session cookie.
pub(super) fn no_cookie() -> CookieJar {
    let gone = |name: &'static str| Cookie::build((name, "")).path("/").secure(name == HOST_COOKIE).removal();
    CookieJar::new().add(gone(COOKIE)).add(gone(HOST_COOKIE))
}
