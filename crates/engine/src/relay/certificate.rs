//! Why the certificate of a server is not accepted, and what to do about it.

use rustls::{CertificateError, pki_types::UnixTime};

/// Names of a certificate that a message lists; those of large platforms are for a hundred.
const NAMES_MAX: usize = 3;
/// The longest name of a host (RFC 1035 section 3.1).
const NAME_BYTES_MAX: usize = 253;
const SECONDS_PER_DAY: u64 = 86_400;

/// What is wrong with a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CertificateProblem {
    /// No authority that this machine trusts has signed it.
    UnknownIssuer,
    /// It is for other names.
    WrongName {
        /// Some of them; empty when it has none.
        names: Vec<String>,
    },
    /// It was valid in the past, by the clock of this machine.
    Expired {
        /// Whole days since then, where known.
        days: Option<u64>,
    },
    /// It will be valid in the future, by the clock of this machine.
    NotYetValid {
        /// Whole days until then, where known.
        days: Option<u64>,
    },
    /// It is the certificate of an authority, as `openssl req -x509` makes them unless told otherwise.
    Authority,
    /// Anything else, in the words of rustls.
    Other(String),
}

impl From<&CertificateError> for CertificateProblem {
    fn from(error: &CertificateError) -> Self {
        match error {
            // An authority that was made again under its old name has a new key.
            CertificateError::UnknownIssuer | CertificateError::BadSignature => Self::UnknownIssuer,
            CertificateError::NotValidForName => Self::WrongName { names: Vec::new() },
            CertificateError::NotValidForNameContext { presented, .. } => {
                Self::WrongName { names: presented.iter().filter_map(|name| host_name(name)).take(NAMES_MAX).collect() }
            }
            CertificateError::Expired => Self::Expired { days: None },
            CertificateError::ExpiredContext { time, not_after } => Self::Expired { days: days(*not_after, *time) },
            CertificateError::NotValidYet => Self::NotYetValid { days: None },
            CertificateError::NotValidYetContext { time, not_before } => {
                Self::NotYetValid { days: days(*time, *not_before) }
            }
            // The type inside is that of another crate, which rustls does not pass on.
            CertificateError::Other(inner) if inner.to_string() == "CaUsedAsEndEntity" => Self::Authority,
            other => Self::Other(other.to_string()),
        }
    }
}

impl CertificateProblem {
    /// What happened and what to do, for a server of this name.
    pub(super) fn sentence(&self, host: &str) -> String {
        match self {
            Self::UnknownIssuer => format!(
                "The certificate of {host} is not signed by an authority that this machine knows. With a private authority, the \
                 operator of this machine can add it to those that it trusts; with a public one, {host} may leave out \
                 certificates in between, or another server answers under its name."
            ),
            Self::WrongName { names } if names.is_empty() => {
                format!("The certificate of {host} is not for this name. Check the server name in the URL.")
            }
            Self::WrongName { names } => format!(
                "The certificate of {host} is not for this name, but for {}. Check the server name in the URL.",
                names.join(", ")
            ),
            Self::Expired { days } => format!(
                "The certificate of {host} expired {}by the clock of this machine. If date and time are right here, the operator \
                 of {host} has to renew it.",
                days.map(|days| format!("{} ago ", in_words(days))).unwrap_or_default()
            ),
            Self::NotYetValid { days } => format!(
                "The certificate of {host} is not valid yet{} by the clock of this machine. Check date and time here; if they are \
                 right, the operator of {host} has to replace it.",
                days.map(|days| format!(", and will be in {},", in_words(days))).unwrap_or_default()
            ),
            Self::Authority => format!(
                "The certificate of {host} is one of an authority (CA:TRUE), which a server must not use for itself. The \
                 operator of {host} has to replace it."
            ),
            Self::Other(reason) => {
                format!("The certificate of {host} is not valid ({reason}). The operator of {host} has to replace it.")
            }
        }
    }
}

fn days(from: UnixTime, to: UnixTime) -> Option<u64> {
    to.as_secs().checked_sub(from.as_secs()).map(|seconds| seconds / SECONDS_PER_DAY)
}

fn in_words(days: u64) -> String {
    match days {
        0 => "less than a day".to_owned(),
        1 => "1 day".to_owned(),
        days => format!("{days} days"),
    }
}

/// The name in rustls' form of it (`DnsName("platform.example")`, `IpAddress(192.0.2.1)`), if a host may be called so. It
/// is the other side that chose it.
fn host_name(presented: &str) -> Option<String> {
    let (kind, name) = presented.strip_suffix(')')?.split_once('(')?;
    let name = name.trim_matches('"');
    let is_plausible = name.len() <= NAME_BYTES_MAX
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._*:".contains(&byte));
    (matches!(kind, "DnsName" | "IpAddress") && is_plausible).then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rustls::pki_types::ServerName;

    use super::*;

    fn sentence(error: CertificateError) -> String {
        CertificateProblem::from(&error).sentence("h")
    }

    fn at(seconds: u64) -> UnixTime {
        UnixTime::since_unix_epoch(Duration::from_secs(seconds))
    }

    #[test]
    fn each_problem_has_its_own_advice() {
        let wrong_name = |names: &[&str]| CertificateError::NotValidForNameContext {
            expected: ServerName::try_from("h").expect("is a name"),
            presented: names.iter().map(|name| (*name).to_owned()).collect(),
        };
        let (time, later) = (at(1_000_000), at(1_000_000 + 12 * SECONDS_PER_DAY + 5));
        for (error, expected) in [
            (
                CertificateError::UnknownIssuer,
                &["this machine knows", "private authority, the operator of this machine can add it"][..],
            ),
            (CertificateError::BadSignature, &["this machine knows"]),
            (
                wrong_name(&["DnsName(\"a.example\")", "IpAddress(192.0.2.1)"]),
                &["for a.example, 192.0.2.1.", "in the URL"],
            ),
            (wrong_name(&[]), &["is not for this name. Check the server name"]),
            (
                CertificateError::ExpiredContext { time: later, not_after: time },
                &["expired 12 days ago", "by the clock"],
            ),
            (CertificateError::ExpiredContext { time, not_after: time }, &["expired less than a day ago", "renew it"]),
            (
                CertificateError::NotValidYetContext { time, not_before: later },
                &["in 12 days, by", "Check date and time"],
            ),
            (CertificateError::Revoked, &["not valid (", "has to replace it"]),
        ] {
            let said = sentence(error.clone());
            assert!(expected.iter().all(|words| said.contains(words)), "{error:?}: {said}");
            let is_about_name = matches!(error, CertificateError::NotValidForNameContext { .. });
            assert_eq!(said.contains("Check the server name"), is_about_name, "{said}");
        }
    }

    #[test]
    fn names_that_the_other_side_chose_are_few_and_plain() {
        let long = format!("DnsName(\"{}\")", "a".repeat(254));
        let presented = [
            "DnsName(\"<b>\u{202e}\")",
            &long,
            "UniformResourceIdentifier(\"http://a\")",
            "DirectoryName",
            "DnsName(\"*.a.example\")",
            "DnsName(\"b\")",
            "IpAddress(2001:db8::1)",
            "DnsName(\"d\")",
        ];
        let error = CertificateError::NotValidForNameContext {
            expected: ServerName::try_from("h").expect("is a name"),
            presented: presented.map(str::to_owned).to_vec(),
        };
        assert!(sentence(error).contains("but for *.a.example, b, 2001:db8::1. "));
    }
}
