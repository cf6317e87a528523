//! Who somebody is: password hashes, tokens and the limits on guessing. Knows nothing of HTTP.

use std::net::IpAddr;

pub(crate) mod browser;
pub(crate) mod limit;
pub(crate) mod password;
pub(crate) mod proof;
pub(crate) mod token;

/// Logs that a caller was refused, in a line that fail2ban finds (docs/running.md): `login`, `password`, `token`, `stream_key` or
/// `hook` was wrong, or it was tried too often (`limit`). The line has no other field, and as text no span,
/// so that nothing which a caller chose comes before the address. As JSON it ends with the span of the request.
pub(crate) fn refused(what: &'static str, address: Option<IpAddr>) {
    if let Some(address) = address {
        tracing::warn!(parent: None, "auth.failed address={} what={what}", address.to_canonical());
    }
}
