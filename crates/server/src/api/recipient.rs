//! Controls which servers get secrets: a destination's stream key, and credentials in URLs, are sent only to servers
//! that their owner entered them for. A client that can change a URL, for example with a leaked API token, must not be
//! able to obtain them that way.

use gostream_proto::rtmp::url::RtmpUrl;
use gostream_store::{DestinationChange, ProjectChange, is_masked};

use super::error::Problem;

/// The recipient of data that is sent to a URL. Without TLS anyone on the path can read it, so the scheme counts as
/// well.
#[derive(PartialEq, Eq)]
struct Recipient {
    is_tls: bool,
    host: String,
    port: u16,
}

impl Recipient {
    /// `None` for an invalid URL, which the API prevents.
    fn of(url: &str) -> Option<Self> {
        let url = RtmpUrl::parse(url).ok()?;
        Some(Self { is_tls: url.is_tls(), host: url.host().to_ascii_lowercase(), port: url.port() })
    }
}

/// Whether a key or credentials that were entered for `old` may be sent to `new`.
fn is_same(new: &str, old: Option<&str>) -> bool {
    Recipient::of(new).is_some_and(|new| old.and_then(Recipient::of).is_some_and(|old| old == new))
}

/// Checks a change of a destination with these servers.
pub(super) fn check_destination(
    main: &str,
    backup: Option<&str>,
    change: DestinationChange,
) -> Result<DestinationChange, Problem> {
    let main = Some(main);
    let new_backup = change.backup_url.as_ref().and_then(Option::as_deref);
    for url in change.rtmp_url.as_deref().into_iter().chain(new_backup) {
        if change.stream_key.is_none() && !is_same(url, main) && !is_same(url, backup) {
            return Err(Problem::stream_key_required());
        }
    }
    keeps_login("rtmpUrl", change.rtmp_url.as_deref(), main)?;
    keeps_login("backupUrl", new_backup, backup)?;
    Ok(change)
}

/// Checks a change of a project that is pulled from `old`.
pub(super) fn check_project(old: Option<&str>, change: ProjectChange) -> Result<ProjectChange, Problem> {
    let url = change.pull_url.as_ref().and_then(Option::as_deref);
    keeps_login("pullUrl", url, old)?;
    Ok(change)
}

/// Refuses `****` in a new URL, because there are no stored credentials that it could stand for.
pub(super) fn has_login(field: &str, url: Option<&str>) -> Result<(), Problem> {
    keeps_login(field, url, None)
}

/// Permits `****` only for stored credentials of the same server.
fn keeps_login(field: &str, new: Option<&str>, old: Option<&str>) -> Result<(), Problem> {
    match new {
        Some(new) if is_masked(new) && !(old.is_some_and(is_masked) && is_same(new, old)) => Err(Problem::field(
            field,
            "**** stands for the stored login of the same server. Enter the login for this server.",
        )),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_scheme_host_or_port_is_another_recipient() {
        let old = Some("rtmps://Live.example/app");
        for same in ["rtmps://live.example/app", "RTMPS://live.EXAMPLE:443/other?x", "rtmps://me:pw@live.example"] {
            assert!(is_same(same, old), "{same}");
        }
        for other in [
            "rtmp://live.example:443/app",
            "rtmp://live.example/app",
            "rtmps://live.example:444/app",
            "rtmps://live.example@evil.example/app",
            "rtmps://live.example.evil.example/app",
            "rtmps://evil.example/live.example/app",
            "no url",
        ] {
            assert!(!is_same(other, old), "{other}");
        }
        assert!(!is_same("no url", Some("no url")) && !is_same("rtmp://a/b", None));
    }

    /// The store encrypts the credentials that this finds, so both must agree about their position.
    #[test]
    fn credentials_are_where_the_rtmp_client_finds_them() {
        for url in [
            "rtmp://****@h/app",
            "rtmp://****@h",
            "rtmp://****@h?a@b",
            "rtmp://****@[::1]:1936/a@b",
            "rtmp://a@****@h/app",
            "rtmp://****@a@h/app",
            "rtmp://****:@h/app",
            "rtmp://h/****@x",
            "rtmp://h?x/****@y",
            "rtmp://h/rtmp://****@x",
            "rtmp://@h/app",
        ] {
            let parsed = RtmpUrl::parse(url).expect(url);
            let login = parsed.login().map(|login| login.user.as_str());
            let is_whole = login == Some("****") && !url.contains("****:");
            assert_eq!(is_masked(url), is_whole, "{url}");
        }
    }

    #[test]
    fn a_masked_login_is_kept_only_for_the_same_server() {
        let old = Some("rtmp://****@h/app");
        assert!(keeps_login("rtmpUrl", Some("rtmp://****@h:1935/other"), old).is_ok());
        assert!(keeps_login("rtmpUrl", Some("rtmp://h/other"), old).is_ok(), "it is removed");
        assert!(keeps_login("rtmpUrl", Some("rtmp://new:login@other/app"), old).is_ok());
        for refused in ["rtmp://****@h:1936/app", "rtmps://****@h/app", "rtmp://****@other/app"] {
            assert!(keeps_login("rtmpUrl", Some(refused), old).is_err(), "{refused}");
        }
        assert!(keeps_login("rtmpUrl", Some("rtmp://****@h/app"), Some("rtmp://h/app")).is_err());
        assert!(has_login("pullUrl", Some("rtmp://****@h/app")).is_err());
    }
}
