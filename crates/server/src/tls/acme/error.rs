//! Why there is no new certificate: a sentence that says what happened, and one that says what to do.

use std::fmt;

use instant_acme::Problem;

use crate::data_dir;

/// The types of problems of RFC 8555 section 6.7 begin like this.
const URN: &str = "urn:ietf:params:acme:error:";
/// What an authority may say before it is cut; theirs are a line or two.
const DETAIL_CHARS_MAX: usize = 400;

/// Why an order came to nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// The authority said no.
    #[error("{}", sentence(domain.as_deref(), problem))]
    Refused {
        /// Which name it is about, where that is known.
        domain: Option<String>,
        /// What it said.
        problem: Problem,
    },
    /// It was not reached, or what answers is none.
    #[error(
        "The ACME server does not answer as one: {}. Check acme.directory, acme.ca and this machine's way to it.",
        chain(.0)
    )]
    Unreachable(#[source] instant_acme::Error),
    /// It took too long.
    #[error(
        "The ACME server took too long. Check that this machine reaches it and that port 443 of each name leads here."
    )]
    Timeout,
    /// It knows other proofs only.
    #[error("The ACME server does not offer TLS-ALPN-01 for {domain}. Allow it there, or use tls.cert and tls.key.")]
    NoChallenge {
        /// The name.
        domain: String,
    },
    /// A certificate or a key that makes no sense.
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
    /// Whether the authority gave this type of problem.
    pub(super) fn is(&self, wanted: &str) -> bool {
        matches!(self, Self::Refused { problem, .. } if kind(problem) == wanted)
    }

    /// Whether asking again soon makes it worse.
    pub(super) fn is_limit(&self) -> bool {
        self.is("rateLimited")
    }
}

fn kind(problem: &Problem) -> &str {
    let kind = problem.r#type.as_deref().unwrap_or_default();
    kind.strip_prefix(URN).unwrap_or(kind)
}

fn sentence(domain: Option<&str>, problem: &Problem) -> String {
    // The names may stand in the parts of a problem alone (RFC 8555 section 6.7.1).
    let parts = problem.subproblems.iter().filter_map(|part| part.detail.as_deref());
    let said: Vec<_> = problem.detail.as_deref().into_iter().chain(parts).collect();
    // Somebody else's text: one line, and not without end.
    let said: String = said.join(" ").escape_debug().take(DETAIL_CHARS_MAX).collect();
    let about = domain.map(|domain| format!(" about {domain}")).unwrap_or_default();
    format!("The ACME server says{about}: {} {}", said.trim_end_matches('.').to_owned() + ".", advice(kind(problem)))
}

/// What the operator can do about a problem of this type.
fn advice(kind: &str) -> &'static str {
    match kind {
        "connection" | "tls" | "incorrectResponse" | "unauthorized" => {
            "Port 443 of the name must lead to http.listen of this server, as it is: no proxy in front that ends TLS, \
             no other server on an IPv6 address of the name."
        }
        "dns" => "Give the name an A or AAAA record that leads to this server.",
        "caa" => "A CAA record of the name forbids this authority: allow it in the DNS.",
        "rejectedIdentifier" | "unsupportedIdentifier" => {
            "It gives no certificate for such a name: check acme.domains."
        }
        "rateLimited" => "Too much was asked for in too short a time; it is tried again later.",
        "invalidContact" | "unsupportedContact" => "Check acme.email.",
        "externalAccountRequired" => {
            "It wants an account that was made elsewhere: use another one, or tls.cert and tls.key."
        }
        "userActionRequired" => "Its terms changed and have to be agreed to: see what it says.",
        _ => "If it goes on, use another acme.directory, or tls.cert and tls.key.",
    }
}

/// An error with everything below it: the outermost of an HTTP client says little.
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
