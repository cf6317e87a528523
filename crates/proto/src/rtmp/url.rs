//! RTMP URLs, split without changing a byte.
//!
//! Platforms give meaning to every byte of a URL: `live2?backup=1` is an application name, `live/input` is one too, and
//! some URLs have none. General URL libraries move the query, decode escapes and add ports, so this parser is our own.
//! The stream key is never part of the URL here.

use std::fmt;

/// The default port of `rtmp://` (RTMP 1.0 section 1).
const RTMP_PORT: u16 = 1935;
/// The default port of `rtmps://`, which every platform and FFmpeg use.
const RTMPS_PORT: u16 = 443;
/// The longest URL accepted, in bytes; those of platforms have less than 300.
const URL_BYTES_MAX: usize = 2_048;

/// The server and application to connect to.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct RtmpUrl {
    tls: bool,
    authority: String,
    host: String,
    port: u16,
    app: String,
    login: Option<Login>,
}

/// The user name and password before the host (`rtmp://user:pass@host/app`), for Adobe publish authentication.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Login {
    /// The user name.
    pub user: String,
    /// The password.
    pub password: String,
}

/// Why a text is not an RTMP URL. Its message is a sentence for the user who typed the URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The scheme is missing or not RTMP.
    #[error("The URL must start with rtmp:// or rtmps://.")]
    Scheme,
    /// The host is missing.
    #[error("The URL names no server: write rtmp://server/app.")]
    NoHost,
    /// The host contains invalid characters.
    #[error("The server name in the URL is not valid.")]
    Host,
    /// The port is not a number from 1 to 65535.
    #[error("The port in the URL must be a number from 1 to 65535.")]
    Port,
    /// White space or control characters.
    #[error("The URL contains a space or a control character.")]
    Character,
    /// Longer than any platform's URL.
    #[error("The URL is longer than 2048 characters.")]
    TooLong,
}

impl RtmpUrl {
    /// Parses `text`. White space around it and one trailing slash are ignored.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let text = text.trim();
        if text.len() > URL_BYTES_MAX {
            return Err(Error::TooLong);
        }
        let (tls, rest) = split_scheme(text).ok_or(Error::Scheme)?;
        if rest.chars().any(|c| c.is_whitespace() || c.is_control()) {
            return Err(Error::Character);
        }
        let (authority, path) = match rest.find(['/', '?']) {
            Some(at) => rest.split_at(at),
            None => (rest, ""),
        };
        // A password may contain an `@`: the login ends at the last one.
        let (login, authority) = match authority.rsplit_once('@') {
            Some((login, host)) => (Some(Login::parse(login)), host),
            None => (None, authority),
        };
        let (host, port) = split_authority(authority)?;
        let app = path.strip_prefix('/').unwrap_or(path);
        let app = app.strip_suffix('/').unwrap_or(app);
        Ok(Self {
            tls,
            authority: authority.to_owned(),
            host: host.to_owned(),
            port: port.unwrap_or(if tls { RTMPS_PORT } else { RTMP_PORT }),
            app: app.to_owned(),
            login,
        })
    }

    /// Whether the connection uses TLS. Only the scheme decides, not the port: Aparat uses plain RTMP on 443.
    pub fn is_tls(&self) -> bool {
        self.tls
    }

    /// The host name or address; an IPv6 address has no brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port; the scheme's default if the URL has none.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The application with its query, as sent in `connect`. May be empty.
    pub fn app(&self) -> &str {
        &self.app
    }

    /// The login before the host, if any.
    pub fn login(&self) -> Option<&Login> {
        self.login.as_ref()
    }

    /// The `tcUrl` of `connect`: as typed, without login and trailing slash, and without adding a port.
    pub fn tc_url(&self) -> String {
        self.tc_url_with_app(&self.app)
    }

    /// The `tcUrl` for another application on the same server; authentication adds its query to the application.
    pub fn tc_url_with_app(&self, app: &str) -> String {
        let scheme = if self.tls { "rtmps" } else { "rtmp" };
        format!("{scheme}://{}/{app}", self.authority)
    }

    /// Resolves the URL of a redirect or reconnect request: absolute, or relative to this one (Enhanced RTMP v2,
    /// reconnect request: `tcUrl` may be a relative reference).
    pub fn join(&self, reference: &str) -> Result<Self, Error> {
        let mut joined = if split_scheme(reference).is_some() {
            Self::parse(reference)?
        } else if let Some(authority_and_path) = reference.strip_prefix("//") {
            Self::parse(&format!("{}://{authority_and_path}", if self.tls { "rtmps" } else { "rtmp" }))?
        } else {
            Self::parse(&self.tc_url_with_app(reference.trim_start_matches('/')))?
        };
        joined.login = joined.login.or_else(|| self.login.clone());
        Ok(joined)
    }
}

impl Login {
    fn parse(text: &str) -> Self {
        let (user, password) = text.split_once(':').unwrap_or((text, ""));
        Self { user: user.to_owned(), password: password.to_owned() }
    }
}

impl fmt::Display for RtmpUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.tc_url())
    }
}

impl fmt::Debug for RtmpUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RtmpUrl({self})")
    }
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Login({}, ****)", self.user)
    }
}

fn split_scheme(text: &str) -> Option<(bool, &str)> {
    let (scheme, rest) = text.split_once("://")?;
    if scheme.eq_ignore_ascii_case("rtmp") {
        Some((false, rest))
    } else if scheme.eq_ignore_ascii_case("rtmps") {
        Some((true, rest))
    } else {
        None
    }
}

fn split_authority(authority: &str) -> Result<(&str, Option<u16>), Error> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (address, after) = rest.split_once(']').ok_or(Error::Host)?;
            address.parse::<std::net::Ipv6Addr>().map_err(|_| Error::Host)?;
            match after.strip_prefix(':') {
                Some(port) => (address, Some(port)),
                None if after.is_empty() => (address, None),
                None => return Err(Error::Host),
            }
        }
        None => match authority.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        },
    };
    if host.is_empty() {
        return Err(Error::NoHost);
    }
    let plausible = |c: char| c.is_alphanumeric() || matches!(c, '.' | '-' | '_' | ':');
    if !host.chars().all(plausible) {
        return Err(Error::Host);
    }
    let port = match port {
        None => None,
        Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => {
            Some(digits.parse().ok().filter(|&port| port != 0).ok_or(Error::Port)?)
        }
        Some(_) => return Err(Error::Port),
    };
    Ok((host, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn app(text: &str) -> (String, String) {
        let url = RtmpUrl::parse(text).expect(text);
        (url.app().to_owned(), url.tc_url())
    }

    fn pair(app: &str, tc_url: &str) -> (String, String) {
        (app.to_owned(), tc_url.to_owned())
    }

    #[test]
    fn app_is_everything_after_the_host() {
        assert_eq!(app("rtmp://a/live"), pair("live", "rtmp://a/live"));
        assert_eq!(app("rtmp://a/live/"), pair("live", "rtmp://a/live"));
        assert_eq!(app("rtmp://a/live//"), pair("live/", "rtmp://a/live/"));
        assert_eq!(app("rtmp://b:80/live2?backup=1"), pair("live2?backup=1", "rtmp://b:80/live2?backup=1"));
        assert_eq!(app("rtmp://a/live/input"), pair("live/input", "rtmp://a/live/input"));
        assert_eq!(app("rtmp://stream.shareplay.tv"), pair("", "rtmp://stream.shareplay.tv/"));
        assert_eq!(app("rtmps://a:443/a%20b+c"), pair("a%20b+c", "rtmps://a:443/a%20b+c"));
    }

    #[test]
    fn tls_follows_the_scheme_not_the_port() {
        let plain = RtmpUrl::parse("rtmp://rtmp.cdn.example:443/event").expect("parses");
        assert!(!plain.is_tls() && plain.port() == 443);
        let tls = RtmpUrl::parse("RTMPS://live.example/app").expect("parses");
        assert!(tls.is_tls() && tls.port() == 443);
        assert_eq!(RtmpUrl::parse("rtmp://live.example/app").expect("parses").port(), 1935);
    }

    #[test]
    fn login_ends_at_the_last_at_sign_and_stays_out_of_the_tc_url() {
        let url = RtmpUrl::parse("rtmp://me:p@ss:w@host:1940/live").expect("parses");
        let login = url.login().expect("has a login");
        assert_eq!((login.user.as_str(), login.password.as_str()), ("me", "p@ss:w"));
        assert_eq!(url.tc_url(), "rtmp://host:1940/live");
        assert!(!format!("{url:?} {login:?}").contains("p@ss"));
    }

    #[test]
    fn ipv6_hosts_are_accepted() {
        let url = RtmpUrl::parse("rtmp://[2001:db8::1]:1936/live").expect("parses");
        assert_eq!((url.host(), url.port()), ("2001:db8::1", 1936));
    }

    #[test]
    fn errors_name_what_is_wrong_with_the_url() {
        for (text, error) in [
            ("", Error::Scheme),
            ("http://a/b", Error::Scheme),
            ("a.example/live", Error::Scheme),
            ("rtmp:///live", Error::NoHost),
            ("rtmp://a:0/live", Error::Port),
            ("rtmp://a:65536/live", Error::Port),
            ("rtmp://a:+80/live", Error::Port),
            ("rtmp://a b/live", Error::Character),
            ("rtmp://a/li ve", Error::Character),
            ("rtmp://<script>/live", Error::Host),
            ("rtmp://[::1/live", Error::Host),
        ] {
            assert_eq!(RtmpUrl::parse(text), Err(error), "{text}");
        }
        assert_eq!(RtmpUrl::parse(&format!("rtmp://a/{}", "x".repeat(2_048))), Err(Error::TooLong));
    }

    #[test]
    fn redirects_may_be_relative() {
        let base = RtmpUrl::parse("rtmps://me:pw@one.example:444/app").expect("parses");
        assert_eq!(base.join("rtmp://two.example/live").expect("joins").tc_url(), "rtmp://two.example/live");
        assert_eq!(base.join("//two.example/live").expect("joins").tc_url(), "rtmps://two.example/live");
        assert_eq!(base.join("/other").expect("joins").tc_url(), "rtmps://one.example:444/other");
    }
}
