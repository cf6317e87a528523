//! All settings, parsed.

use std::{fmt, net::SocketAddr, path::PathBuf, time::Duration};

use ipnet::IpNet;
use secrecy::{ExposeSecret as _, SecretString};
use url::Url;

use super::{
    log::LogSettings, secret_key::SecretKeySource, signup::Signup, source::Source, table::SETTINGS, tls::Tls, value,
    values::Values,
};

/// All settings, parsed.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The directory of database and secret key.
    pub data_dir: PathBuf,
    /// A URL of the form `sqlite://…` or `postgres://…`.
    pub database_url: SecretString,
    /// The address of the page, the API and HLS.
    pub http_listen: SocketAddr,
    /// Proxies whose `X-Forwarded-For` header is trusted.
    pub trusted_proxies: Vec<IpNet>,
    /// The address of RTMP ingest and play.
    pub rtmp_listen: SocketAddr,
    /// The address of RTMPS ingest; `None` if it is off.
    pub rtmps_listen: Option<SocketAddr>,
    /// TCP proxies whose connections begin with a PROXY header.
    pub proxy_protocol: Vec<IpNet>,
    /// The certificate for HTTPS and RTMPS.
    pub tls: Option<Tls>,
    /// The address of the Prometheus metrics; `None` if they are off.
    pub metrics_listen: Option<SocketAddr>,
    /// The base of links in the API and the page; `None` means the host of the request.
    pub public_url: Option<Url>,
    /// The source of the secret key.
    pub secret_key: SecretKeySource,
    /// Whether sign-up is open.
    pub signup: Signup,
    /// Private address ranges that relays may reach.
    pub egress_allow: Vec<IpNet>,
    /// The quota of each account.
    pub quota: Quota,
    /// How long destinations are held after the encoder's connection was lost.
    pub reconnect_grace: Duration,
    /// Format and level of the log.
    pub log: LogSettings,
    pub(super) values: Values,
}

/// The quota of an account, so that it cannot use up the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// The most projects per account.
    pub projects: u32,
    /// The most destinations per project.
    pub destinations: u32,
    /// The most live streams per account at a time.
    pub live_streams: u32,
    /// The highest bitrate of a stream in kbit/s; `None` for no limit.
    pub ingest_kbps: Option<u32>,
}

impl fmt::Display for Settings {
    /// One setting per line in the form of the settings file, with its source. Secrets are masked. The output is a
    /// valid settings file.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for setting in SETTINGS {
            let given = self.values.0.get(setting.key);
            let source = given.map_or(Source::Default, |(_, source)| source.clone());
            let text = given.map_or(setting.default, |(text, _)| text.expose_secret());
            let line = match (text, given) {
                ("", _) => format!("# {} is not set", setting.key),
                (prose, None) if prose.contains(' ') => format!("# {}: {prose}", setting.key),
                (text, Some(_)) if setting.secret => {
                    format!("{} = {:?}", setting.key, value::masked(text))
                }
                (text, _) => format!("{} = {:?}", setting.key, value::shown(text)),
            };
            writeln!(f, "{line:<48}  # {source}")?;
        }
        Ok(())
    }
}
