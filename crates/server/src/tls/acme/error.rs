//! Why there is no new certificate: each error has a sentence about the cause, and one about the remedy.

use std::fmt;

use instant_acme::Problem;

use crate::data_dir;

/// The prefix of the problem types of RFC 8555 section 6.7.
const URN: &str = "urn:ietf:params:acme:error:";
/// The longest quoted text of an authority, in characters. Usual texts have one or two lines.
const DETAIL_CHARS_MAX: usize = 400;

/// Why an order failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// The authority returned a problem.
    #[error("{}", sentence(domain.as_deref(), problem))]
    Refused {
        /// The name that the problem is about, if known.
        domain: Option<String>,
        /// The problem document.
        problem: Problem,
    },
    /// The server was not reached, or is not an ACME server.
    #[error(
        "The ACME server does not respond as one: {}. Check acme.directory, acme.ca and this machine's connection to it.",
        chain(.0)
    )]
    Unreachable(#[source] instant_acme::Error),
    /// The order took too long.
    #[error(
        "The ACME server took too long. Check that this machine can reach it and that port 443 of each name leads here."
    )]
    Timeout,
    /// The authority offers only other challenges.
    #[error("The ACME server does not offer TLS-ALPN-01 for {domain}. Allow it there, or use tls.cert and tls.key.")]
    NoChallenge {
        /// The name.
        domain: String,
    },
    /// A certificate or a key is invalid.
    #[error("A certificate cannot be used: {0}.")]
    Unreadable(String),
    /// The data directory.
    #[error(transparent)]
    Store(#[from] data_dir::Error),
}

impl From<instant_acme::Error> for Error {
    fn from(error: instant_acme::Error) -> Self {
        match error {
            instant_acme::Error::Api(problem) => Self::Refused { domain: None, problem },
            instant_acme::Error::Timeout(_) => Self::Timeout,
            other => Self::Unreachable(other),
        }
    }
}

impl Error {
    /// Whether the authority returned a problem of this type.
    pub(super) fn is(&self, wanted: &str) -> bool {
        matches!(self, Self::Refused { problem, .. } if kind(problem) == wanted)
    }

    /// Whether another request soon would make it worse.
    pub(super) fn is_limit(&self) -> bool {
        self.is("rateLimited")
    }
}

fn kind(problem: &Problem) -> &str {
    let kind = problem.r#type.as_deref().unwrap_or_default();
    kind.strip_prefix(URN).unwrap_or(kind)
}

fn sentence(domain: Option<&str>, problem: &Problem) -> String {
    // Only the subproblems may contain the names (RFC 8555 section 6.7.1).
    let parts = problem.subproblems.iter().filter_map(|part| part.detail.as_deref());
    let said: Vec<_> = problem.detail.as_deref().into_iter().chain(parts).collect();
    // The text comes from another server: it is reduced to one line of limited length.
    let said: String = said.join(" ").escape_debug().take(DETAIL_CHARS_MAX).collect();
    let about = domain.map(|domain| format!(" about {domain}")).unwrap_or_default();
    format!("The ACME server says{about}: {} {}", said.trim_end_matches('.').to_owned() + ".", advice(kind(problem)))
}

/// The remedy for a problem of this type.
fn advice(kind: &str) -> &'static str {
    match kind {
        "connection" | "tls" | "incorrectResponse" | "unauthorized" => {
            "Port 443 of the name must lead to http.listen of this server directly: no proxy in between that ends TLS, \
             no other server on an IPv6 address of the name."
        }
        "dns" => "Give the name an A or AAAA record that leads to this server.",
        "caa" => "A CAA record of the name forbids this authority: allow it in the DNS.",
        "rejectedIdentifier" | "unsupportedIdentifier" => {
            "The authority issues no certificate for such a name: check acme.domains."
        }
        "rateLimited" => "Too many requests in a short time; the server tries again later.",
        "invalidContact" | "unsupportedContact" => "Check acme.email.",
        "externalAccountRequired" => {
            "The authority requires an account that was created elsewhere: use another one, or tls.cert and tls.key."
        }
        "userActionRequired" => "The authority's terms have changed and must be agreed to: see its message.",
        _ => "If this continues, use another acme.directory, or tls.cert and tls.key.",
    }
}

/// An error with all its sources: the outermost error of an HTTP client says little.
fn chain(error: &instant_acme::Error) -> impl fmt::Display {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(below) = source {
        let below_text = below.to_string();
        if !text.contains(&below_text) {
            text += &format!(": {below_text}");
        }
        source = below.source();
    }
    text.escape_debug().to_string()
}
