//! Authentication: password hashes, tokens and the limits on guessing. Independent of HTTP.

use std::net::IpAddr;

pub(crate) mod browser;
pub(crate) mod limit;
pub(crate) mod password;
pub(crate) mod proof;
pub(crate) mod token;

/// Logs a failed authentication in a line for fail2ban (docs/running.md). `what` names the wrong item: `login`,
/// `password`, `token`, `stream_key` or `hook`; it is `limit` after too many attempts. The line has no other field and
/// no span as text, so that no client-chosen data precedes the address. As JSON, the span of the request follows at the
/// end.
pub(crate) fn refused(what: &'static str, address: Option<IpAddr>) {
    if let Some(address) = address {
        tracing::warn!(parent: None, "auth.failed address={} what={what}", address.to_canonical());
    }
}
