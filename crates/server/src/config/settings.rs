//! Every setting, as the rest of the program gets it.

use std::{fmt, net::SocketAddr, path::PathBuf, time::Duration};

use ipnet::IpNet;
use secrecy::{ExposeSecret as _, SecretString};
use url::Url;

use super::{
    log::LogSettings, secret_key::SecretKeySource, signup::Signup, source::Source, table::SETTINGS, tls::Tls, value,
    values::Values,
};

/// Every setting, parsed.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where database and secret key are kept.
    pub data_dir: PathBuf,
    /// `sqlite://…` or `postgres://…`.
    pub database_url: SecretString,
    /// UI, API and HLS.
    pub http_listen: SocketAddr,
    /// Proxies that are believed about whom they speak for.
    pub trusted_proxies: Vec<IpNet>,
    /// RTMP ingest and play.
    pub rtmp_listen: SocketAddr,
    /// RTMPS ingest, when wanted.
    pub rtmps_listen: Option<SocketAddr>,
    /// TCP proxies whose connections begin with a PROXY header.
    pub proxy_protocol: Vec<IpNet>,
    /// The certificate for HTTPS and RTMPS.
    pub tls: Option<Tls>,
    /// Prometheus.
    pub metrics_listen: Option<SocketAddr>,
    /// Base of the links that API and UI show; without it, the request says.
    pub public_url: Option<Url>,
    /// Where the secret key comes from.
    pub secret_key: SecretKeySource,
    /// Whether strangers may make accounts.
    pub signup: Signup,
    /// Address ranges that relays may reach although they are private.
    pub egress_allow: Vec<IpNet>,
    /// What an account may have.
    pub quota: Quota,
    /// How long destinations are held after the encoder dropped.
    pub reconnect_grace: Duration,
    /// Logs.
    pub log: LogSettings,
    pub(super) values: Values,
}

/// What an account may have, so that one cannot take the server from the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// Projects of an account.
    pub projects: u32,
    /// Destinations of a project.
    pub destinations: u32,
    /// Streams of an account that are live at a time.
    pub live_streams: u32,
    /// How fast a stream may come, in kbit/s; `None` for as fast as it does.
    pub ingest_kbps: Option<u32>,
}

impl fmt::Display for Settings {
    /// One setting per line in the form of the file, with its source; secrets masked. Reads as a settings file.
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
