//! Parsers for the texts of settings. Each returns `None` for an invalid text; the table of settings has the error
//! sentence.

use std::{
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};

use base64::{
    Engine as _, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use ipnet::IpNet;
use url::{Host, Url};

use super::{log::LogFormat, secret_key::SecretKey, signup::Signup};

/// The longest grace. Platforms keep a session open for minutes only; more than an hour must be a typing error.
const GRACE_MAX: Duration = Duration::from_secs(3_600);
/// Accepts base64 with and without padding, which is often lost in copying.
const FORGIVING: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);

/// More than any platform accepts and most uplinks carry; a tenth of a usual server's bandwidth.
pub(super) const INGEST_KBPS: u32 = 100_000;

/// A quota of at least one: with zero nothing would work.
pub(super) fn quota(text: &str) -> Option<u32> {
    text.parse().ok().filter(|number| (1..=1_000_000).contains(number))
}

/// A rate in kbit/s, or `Some(None)` for `off`. Less than 100 kbit/s does not suffice even for audio.
pub(super) fn ingest_kbps(text: &str) -> Option<Option<u32>> {
    if text == "off" {
        return Some(None);
    }
    text.parse().ok().filter(|kbps| (100..=10_000_000).contains(kbps)).map(Some)
}

pub(super) fn path(text: &str) -> Option<PathBuf> {
    (!text.is_empty()).then(|| PathBuf::from(text))
}

pub(super) fn address(text: &str) -> Option<SocketAddr> {
    text.parse().ok()
}

/// Domain names in the form of certificates: lower case, and ASCII for other scripts. TLS-ALPN-01 cannot prove
/// wildcards, and public authorities issue certificates only for names with a dot.
pub(super) fn domains(text: &str) -> Option<Vec<String>> {
    let mut domains = Vec::new();
    for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let Ok(Host::Domain(domain)) = Host::parse(part) else { return None };
        let plain =
            |label: &str| !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        if !domain.contains('.') || !domain.split('.').all(plain) {
            return None;
        }
        if !domains.contains(&domain) {
            domains.push(domain);
        }
    }
    (!domains.is_empty()).then_some(domains)
}

/// A rough check of an email address; the authority verifies it.
pub(super) fn email(text: &str) -> Option<String> {
    let (name, domain) = text.rsplit_once('@')?;
    let plain =
        |part: &str| !part.is_empty() && !part.contains([',', '?', ' ', '<', '>']) && !part.contains(char::is_control);
    (plain(name) && plain(domain)).then(|| text.to_owned())
}

pub(super) fn https_url(text: &str) -> Option<Url> {
    Url::parse(text).ok().filter(|url| url.scheme() == "https" && url.has_host())
}

/// An address, or `Some(None)` for `off`.
pub(super) fn optional_address(text: &str) -> Option<Option<SocketAddr>> {
    if text == "off" { Some(None) } else { address(text).map(Some) }
}

/// The URL of the page. The page's links begin at the root, so it cannot be served below a path.
pub(super) fn base_url(text: &str) -> Option<Url> {
    let url = Url::parse(text).ok()?;
    let plain =
        url.query().is_none() && url.fragment().is_none() && url.username().is_empty() && url.password().is_none();
    (matches!(url.scheme(), "http" | "https") && url.has_host() && plain && url.path() == "/").then_some(url)
}

pub(super) fn database_url(text: &str) -> Option<String> {
    let known = ["sqlite:", "postgres://", "postgresql://"].iter().any(|scheme| text.starts_with(scheme));
    (known && (text.starts_with("sqlite:") || !ends_password_late(text))).then(|| text.to_owned())
}

/// Whether an `@` after the host indicates a password that is not percent-encoded. The rest of such a password would be
/// taken for the database name, or for an unknown option, which is logged. An `@` in the value of an option is fine
/// (`?user=me@company`).
fn ends_password_late(url: &str) -> bool {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
    let after_host = path.find(['/', '#']).and_then(|at| path.get(at..)).unwrap_or_default();
    let is_bare = |option: &str| option.split('=').next().is_some_and(|name| name.contains(['@', '#', '/']));
    after_host.contains('@') || query.split('&').any(|option| option.contains('@') && is_bare(option))
}

/// The URL of the default database. Characters with a meaning in URLs are escaped.
pub(super) fn sqlite_url(data_dir: &Path) -> String {
    let file = data_dir.join("gostream.db");
    let file = file.to_string_lossy().replace('%', "%25").replace('?', "%3F").replace('#', "%23");
    format!("sqlite://{file}")
}

/// 32 bytes in base64, in either alphabet, with or without padding. A key of zeros is refused: it indicates a failed
/// copy.
pub(crate) fn secret_key(text: &str) -> Option<SecretKey> {
    let decode = |alphabet| GeneralPurpose::new(alphabet, FORGIVING).decode(text).ok();
    let bytes = decode(&alphabet::STANDARD).or_else(|| decode(&alphabet::URL_SAFE))?;
    let key = bytes.try_into().ok().map(SecretKey)?;
    (key.0 != [0; 32]).then_some(key)
}

pub(super) fn signup(text: &str) -> Option<Signup> {
    match text {
        "open" => Some(Signup::Open),
        "closed" => Some(Signup::Closed),
        _ => None,
    }
}

pub(super) fn networks(text: &str) -> Option<Vec<IpNet>> {
    let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
    // A single address is a range of one.
    parts
        .map(|part| part.parse().ok().or_else(|| part.parse::<IpAddr>().ok().map(IpNet::from)))
        .collect()
}

pub(super) fn duration(text: &str) -> Option<Duration> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits)?;
    let number: u64 = number.parse().ok()?;
    let duration = match unit.trim() {
        "ms" => Duration::from_millis(number),
        "s" => Duration::from_secs(number),
        "m" => Duration::from_secs(number.checked_mul(60)?),
        "h" => Duration::from_secs(number.checked_mul(3_600)?),
        _ => return None,
    };
    (duration <= GRACE_MAX).then_some(duration)
}

pub(super) fn log_format(text: &str) -> Option<LogFormat> {
    match text {
        "text" => Some(LogFormat::Text),
        "json" => Some(LogFormat::Json),
        _ => None,
    }
}

pub(super) fn log_level(text: &str) -> Option<String> {
    // A single unknown word would be taken for the name of a module, and silence the log.
    let known = |part: &str| part.contains('=') || part.parse::<tracing_subscriber::filter::LevelFilter>().is_ok();
    let valid = tracing_subscriber::EnvFilter::try_new(text).is_ok() && text.split(',').all(|part| known(part.trim()));
    valid.then(|| text.to_owned())
}

/// A secret as `gostream config` shows it. A database URL is shown without its secrets, anything else is masked
/// completely.
pub(super) fn masked(text: &str) -> String {
    let nothing = || "****".to_owned();
    let Some((scheme, rest)) = text.split_once("://") else { return nothing() };
    // An `@` after the host indicates a password that is not percent-encoded. All text before it may be part of the
    // password.
    let host_end = rest.find(['/', '?', '#', '\\']).unwrap_or(rest.len());
    if rest.get(host_end..).is_some_and(|rest| rest.contains('@')) {
        return format!("{scheme}://****");
    }
    let Ok(mut url) = Url::parse(text) else { return nothing() };
    if url.password().is_some() && url.set_password(Some("****")).is_err() {
        return nothing();
    }
    // The query may contain a password, too (`?password=`).
    if url.query().is_some() {
        url.set_query(Some("****"));
    }
    if url.fragment().is_some() {
        url.set_fragment(Some("****"));
    }
    url.to_string()
}

/// A value that is not secret, as shown: without credentials in a URL.
pub(super) fn shown(text: &str) -> String {
    if text.contains("://") && text.contains('@') { masked(text) } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_url_with_an_unencoded_password_is_refused() {
        for url in [
            "postgres://me:12/hunter2@db/gostream",
            "postgres://me:12#hunter2@db/gostream",
            "postgres://me:12?hunter2@db/gostream",
            "postgres://me:12?hun=ter2&x@db/gostream",
            "postgres://me:hun@ter2/x@db/gostream",
            "postgres://me:12/a?b@db/gostream",
        ] {
            assert_eq!(database_url(url), None, "{url}");
        }
        for url in [
            "postgres://me:hun@ter2@db/gostream",
            "postgres://me:hun%2Fter2@db/gostream?sslmode=require",
            "postgresql://db/gostream?user=me@company&password=hun@ter2",
            "postgres://db/gostream?host=/run/postgresql",
            "postgres:///gostream",
            "sqlite:///srv/me@example.org/gostream.db",
        ] {
            assert_eq!(database_url(url).as_deref(), Some(url));
        }
    }

    #[test]
    fn a_password_in_a_url_is_masked_completely() {
        for (url, expected) in [
            ("postgres://me:hunter2@db/gostream", "postgres://me:****@db/gostream"),
            ("postgres://me:hun%40ter2@db:5433/gostream", "postgres://me:****@db:5433/gostream"),
            ("postgres://me:hun@ter2@db/gostream", "postgres://me:****@db/gostream"),
            ("postgres://me:@hunter2@db/gostream", "postgres://me:****@db/gostream"),
            ("postgres://me:hun:ter2@db/gostream", "postgres://me:****@db/gostream"),
            ("postgres://me:hun/ter2@db/gostream", "postgres://****"),
            ("postgres://me:12/hunter2@db/gostream", "postgres://****"),
            ("postgres://me:12#hunter2@db/gostream", "postgres://****"),
            ("postgres://me:12?hunter2@db/gostream", "postgres://****"),
            ("postgres://me:/hunter2@db/gostream", "postgres://****"),
            ("postgres://me:12/hun@ter2?x#@y@db/gostream", "postgres://****"),
            ("postgres://me:hun@ter2/x@db/gostream", "postgres://****"),
            ("https://me:12\\hunter2@ca.example/", "https://****"),
            ("postgres://db/gostream?user=me&password=hunter2", "postgres://db/gostream?****"),
            ("postgres://db/gostream?password=hun@ter2", "postgres://****"),
            ("postgres://me:hunter2", "****"),
            ("postgres://db/gostream#hunter2", "postgres://db/gostream#****"),
            ("hunter2", "****"),
            ("me:hunter2@db", "****"),
            ("sqlite:///data/gostream.db?mode=rwc", "sqlite:///data/gostream.db?****"),
        ] {
            let shown = masked(url);
            assert_eq!(shown, expected, "{url}");
            assert!(!shown.contains("ter2") && !shown.contains("hun") && !shown.contains("12"), "{url}: {shown}");
        }
    }
}
