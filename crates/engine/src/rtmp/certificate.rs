//! Problems with a server's certificate, and what to do about them.

use rustls::{CertificateError, pki_types::UnixTime};

use time::OffsetDateTime;

/// Names of a certificate to list in a message; large platforms have a hundred.
const NAMES_MAX: usize = 3;
/// The longest host name, in bytes (RFC 1035 section 3.1).
const NAME_BYTES_MAX: usize = 253;
const SECONDS_PER_DAY: u64 = 86_400;
/// 2026-11-01, in seconds since 1970. A clock before this time is wrong, since this code is newer. Computers without a
/// battery start in 1970, or at the time of their shutdown, until a time server answers.
const WRITTEN_AFTER: u64 = 1_793_491_200;

/// What is wrong with a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CertificateProblem {
    /// No authority that this machine trusts has signed it.
    UnknownIssuer,
    /// The certificate is for other names.
    WrongName {
        /// Some of its names; empty when it has none.
        names: Vec<String>,
    },
    /// It has expired, by the clock of this machine.
    Expired {
        /// Whole days since then, where known.
        days: Option<u64>,
        /// The clock of this machine.
        clock: UnixTime,
    },
    /// It is not valid yet, by the clock of this machine.
    NotYetValid {
        /// Whole days until then, where known.
        days: Option<u64>,
        /// The clock of this machine.
        clock: UnixTime,
    },
    /// The clock of this machine is wrong, so the certificate cannot be checked.
    WrongClock {
        /// The clock of this machine.
        clock: UnixTime,
    },
    /// It is a CA certificate, which `openssl req -x509` makes by default.
    Authority,
    /// Any other problem, as rustls describes it.
    Other(String),
}

impl CertificateProblem {
    /// The problem that rustls found when this machine's clock was `clock`.
    pub(crate) fn found_at(error: &CertificateError, clock: UnixTime) -> Self {
        match error {
            // An authority that was recreated under the same name has a new key.
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
            // The inner type belongs to another crate, which rustls does not re-export.
            CertificateError::Other(inner) if inner.to_string() == "CaUsedAsEndEntity" => Self::Authority,
            other => Self::Other(other.to_string()),
        }
    }

    /// What happened and what to do, for a server with this name.
    pub(crate) fn sentence(&self, host: &str) -> String {
        match self {
            Self::UnknownIssuer => format!(
                "The certificate of {host} is not signed by an authority that this machine knows. With a private \
                 authority, the operator of this machine can add it to those that it trusts; with a public one, {host} \
                 may leave out certificates in between, or another server answers under its name."
            ),
            Self::WrongName { names } if names.is_empty() => {
                format!("The certificate of {host} is not for this name. Check the server name in the URL.")
            }
            Self::WrongName { names } => format!(
                "The certificate of {host} is not for this name, but for {}. Check the server name in the URL.",
                names.join(", ")
            ),
            Self::Expired { days, clock } => format!(
                "The certificate of {host} expired {}by the clock of this server, which says {}. If that is right, the \
                 operator of {host} has to renew it.",
                days.map(|days| format!("{} ago ", in_words(days))).unwrap_or_default(),
                format_clock(*clock)
            ),
            Self::NotYetValid { days, clock } => format!(
                "The certificate of {host} is not valid yet{}. This server\u{2019}s clock says {}; is it right? If it \
                 is, the operator of {host} has to replace the certificate.",
                days.map(|days| format!(", but in {}", in_words(days))).unwrap_or_default(),
                format_clock(*clock)
            ),
            Self::WrongClock { clock } => format!(
                "This server\u{2019}s clock says {}, which is wrong, so the certificate of {host} cannot be checked. \
                 The operator of this machine has to set its clock (`timedatectl set-ntp true`).",
                format_clock(*clock)
            ),
            Self::Authority => format!(
                "The certificate of {host} is one of an authority (CA:TRUE), which a server must not use for itself. \
                 The operator of {host} has to replace it."
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
fn format_clock(clock: UnixTime) -> String {
    let seconds = i64::try_from(clock.as_secs()).unwrap_or(i64::MAX);
    OffsetDateTime::from_unix_timestamp(seconds).map_or_else(
        |_| "an invalid date".to_owned(),
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

/// The host name in rustls' notation (`DnsName("platform.example")`, `IpAddress(192.0.2.1)`), if it is plausible. The
/// peer chose it, so it is not trusted.
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

    /// The sentence for a clock of 2026-11-27 16:20.
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
            let advice = sentence(error.clone());
            assert!(expected.iter().all(|words| advice.contains(words)), "{error:?}: {advice}");
            let is_about_name = matches!(error, CertificateError::NotValidForNameContext { .. });
            assert_eq!(advice.contains("Check the server name"), is_about_name, "{advice}");
        }
    }

    #[test]
    fn wrong_clock_is_reported_instead_of_the_certificate() {
        let (then, later) = (at(840), at(WRITTEN_AFTER + 5));
        for error in [
            CertificateError::NotValidYet,
            CertificateError::NotValidYetContext { time: then, not_before: later },
            CertificateError::Expired,
        ] {
            let advice = CertificateProblem::found_at(&error, then).sentence("h");
            assert!(
                advice.starts_with("This server\u{2019}s clock says 1970-01-01 00:14 UTC, which is wrong"),
                "{advice}"
            );
            let advice = CertificateProblem::found_at(&error, later).sentence("h");
            assert!(advice.starts_with("The certificate of h "), "{advice}");
        }
        let advice = CertificateProblem::found_at(&CertificateError::NotValidForName, then).sentence("h");
        assert!(advice.contains("Check the server name"), "{advice}");
    }

    #[test]
    fn names_in_certificates_are_limited_and_checked() {
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
