//! Why the certificate of a server is not accepted, and what to do about it.

use rustls::{CertificateError, pki_types::UnixTime};

use time::OffsetDateTime;

/// Names of a certificate that a message lists; those of large platforms are for a hundred.
const NAMES_MAX: usize = 3;
/// The longest name of a host (RFC 1035 section 3.1).
const NAME_BYTES_MAX: usize = 253;
const SECONDS_PER_DAY: u64 = 86_400;
/// A clock before this moment, 2026-11-01, is wrong: this was written later. Small computers without a battery begin in 1970, or
/// where they stopped, until a time server answers.
const WRITTEN_AFTER: u64 = 1_793_491_200;

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
        /// What that clock says.
        clock: UnixTime,
    },
    /// It will be valid in the future, by the clock of this machine.
    NotYetValid {
        /// Whole days until then, where known.
        days: Option<u64>,
        /// What that clock says.
        clock: UnixTime,
    },
    /// The clock of this machine is wrong, so that nothing can be said about the certificate.
    WrongClock {
        /// What it says.
        clock: UnixTime,
    },
    /// It is the certificate of an authority, as `openssl req -x509` makes them unless told otherwise.
    Authority,
    /// Anything else, in the words of rustls.
    Other(String),
}

impl CertificateProblem {
    /// What rustls found while this machine's clock said `clock`.
    pub(crate) fn found_at(error: &CertificateError, clock: UnixTime) -> Self {
        match error {
            // An authority that was made again under its old name has a new key.
            CertificateError::UnknownIssuer | CertificateError::BadSignature => Self::UnknownIssuer,
            CertificateError::NotValidForName => Self::WrongName { names: Vec::new() },
            CertificateError::NotValidForNameContext { presented, .. } => {
                Self::WrongName { names: presented.iter().filter_map(|name| host_name(name)).take(NAMES_MAX).collect() }
            }
            CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. }
                if clock.as_secs() < WRITTEN_AFTER =>
            {
                Self::WrongClock { clock }
            }
            CertificateError::Expired => Self::Expired { days: None, clock },
            CertificateError::ExpiredContext { time, not_after } => {
                Self::Expired { days: days(*not_after, *time), clock }
            }
            CertificateError::NotValidYet => Self::NotYetValid { days: None, clock },
            CertificateError::NotValidYetContext { time, not_before } => {
                Self::NotYetValid { days: days(*time, *not_before), clock }
            }
            // The type inside is that of another crate, which rustls does not pass on.
            CertificateError::Other(inner) if inner.to_string() == "CaUsedAsEndEntity" => Self::Authority,
            other => Self::Other(other.to_string()),
        }
    }

    /// What happened and what to do, for a server of this name.
    pub(crate) fn sentence(&self, host: &str) -> String {
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
            Self::Expired { days, clock } => format!(
                "The certificate of {host} expired {}by the clock of this server, which says {}. If that is right, the operator \
                 of {host} has to renew it.",
                days.map(|days| format!("{} ago ", in_words(days))).unwrap_or_default(),
                said_by(*clock)
            ),
            Self::NotYetValid { days, clock } => format!(
                "The certificate of {host} is not valid yet{}. This server\u{2019}s clock says {}; is it right? If it is, the \
                 operator of {host} has to replace the certificate.",
                days.map(|days| format!(", but in {}", in_words(days))).unwrap_or_default(),
                said_by(*clock)
            ),
            Self::WrongClock { clock } => format!(
                "This server\u{2019}s clock says {}, which is wrong, so the certificate of {host} cannot be checked. The operator of \
                 this machine has to set its clock (`timedatectl set-ntp true`).",
                said_by(*clock)
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

/// `2026-11-27 16:20 UTC`.
fn said_by(clock: UnixTime) -> String {
    let seconds = i64::try_from(clock.as_secs()).unwrap_or(i64::MAX);
    OffsetDateTime::from_unix_timestamp(seconds).map_or_else(
        |_| "a year that no calendar has".to_owned(),
        |time| format!("{} {:02}:{:02} UTC", time.date(), time.hour(), time.minute()),
    )
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

    /// By a clock that says 2026-11-27 16:20.
    fn sentence(error: CertificateError) -> String {
        CertificateProblem::found_at(&error, at(1_795_796_400)).sentence("h")
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
                &["expired 12 days ago", "which says 2026-11-27 16:20 UTC"],
            ),
            (CertificateError::ExpiredContext { time, not_after: time }, &["expired less than a day ago", "renew it"]),
            (
                CertificateError::NotValidYetContext { time, not_before: later },
                &["in 12 days.", "clock says 2026-11-27 16:20 UTC; is it right?"],
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
    fn a_clock_that_is_plainly_wrong_is_named_instead_of_the_certificate() {
        let (then, later) = (at(840), at(WRITTEN_AFTER + 5));
        for error in [
            CertificateError::NotValidYet,
            CertificateError::NotValidYetContext { time: then, not_before: later },
            CertificateError::Expired,
        ] {
            let said = CertificateProblem::found_at(&error, then).sentence("h");
            assert!(said.starts_with("This server\u{2019}s clock says 1970-01-01 00:14 UTC, which is wrong"), "{said}");
            let said = CertificateProblem::found_at(&error, later).sentence("h");
            assert!(said.starts_with("The certificate of h "), "{said}");
        }
        let said = CertificateProblem::found_at(&CertificateError::NotValidForName, then).sentence("h");
        assert!(said.contains("Check the server name"), "{said}");
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
