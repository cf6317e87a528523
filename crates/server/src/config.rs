//! Settings: flag, then environment, then `gostream.toml`, then default.
//!
//! [`SETTINGS`] is the one table of what can be set; everything else here reads it. Values are collected as text with
//! the place they came from, then parsed once into [`Settings`], which the rest of the program gets by value.

use std::{
    collections::BTreeMap,
    fmt, io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};

use ipnet::{IpNet, Ipv4Net};
use secrecy::SecretString;
use url::Url;

mod env;
mod secret_key;
mod table;
#[cfg(test)]
mod tests;
mod tls;
mod value;

pub use secret_key::SecretKey;
pub use table::{SETTINGS, Setting};
pub use tls::{Acme, Tls, TlsFiles};
pub(crate) use value::secret_key as parse_secret_key;

/// The file that is read when it exists and no `--config` names another.
const DEFAULT_FILE: &str = "gostream.toml";

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
    values: Values,
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

/// Where the 32 secret bytes come from.
#[derive(Clone, Debug)]
pub enum SecretKeySource {
    /// Given as a setting, decoded.
    Given(SecretKey),
    /// In a file that the operator keeps.
    File(PathBuf),
    /// In `data_dir/secret.key`, made on first start.
    DataDir,
}

/// Who may make accounts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signup {
    /// Anybody who reaches the page.
    Open,
    /// Nobody: accounts are made by `gostream user add`.
    Closed,
}

/// How and how much is logged.
#[derive(Clone, Debug)]
pub struct LogSettings {
    /// One form or the other; `None` is text on a terminal, else JSON.
    pub format: Option<LogFormat>,
    /// Filter directives such as `info` or `gostream=debug`.
    pub level: String,
}

/// The form of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For programs.
    Json,
}

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A command line flag, with its dashes.
    Flag(&'static str),
    /// An environment variable.
    Env(&'static str),
    /// The settings file.
    File(PathBuf),
    /// Nobody said anything.
    Default,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(flag) => write!(f, "--{flag}"),
            Self::Env(name) => f.write_str(name),
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Default => f.write_str("default"),
        }
    }
}

/// Why the settings cannot be used: one line that names the setting and what it takes.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file names a key that does not exist.
    #[error("{}: `{key}` is not a setting; `gostream --help` lists them all.", file.display())]
    UnknownKey {
        /// The file.
        file: PathBuf,
        /// The key as written.
        key: String,
    },
    /// A variable with our prefix is none of ours.
    #[error("{name} is not a setting; `gostream --help` lists them all.")]
    UnknownVariable {
        /// The variable.
        name: String,
    },
    /// A value that does not parse.
    #[error("{key} (from {from}) takes {takes}{}.", shown(value))]
    Value {
        /// The setting.
        key: &'static str,
        /// Where the value came from.
        from: Source,
        /// What the setting takes.
        takes: &'static str,
        /// The value, unless it is a secret.
        value: Option<String>,
    },
    /// Settings that only make sense together.
    #[error("{0}")]
    Together(&'static str),
    /// The file cannot be read.
    #[error("--config takes a readable file; {} cannot be read: {source}.", file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file is no TOML.
    #[error("{}, line {line}: {message}.", file.display())]
    Syntax {
        /// The file.
        file: PathBuf,
        /// Counted from 1.
        line: usize,
        /// What the parser says, without its picture.
        message: String,
    },
}

fn shown(value: &Option<String>) -> String {
    value.as_ref().map(|value| format!(", not `{}`", value.escape_debug())).unwrap_or_default()
}

/// The texts of all settings that were given, and by whom.
#[derive(Clone, Debug, Default)]
struct Values(BTreeMap<&'static str, (SecretString, Source)>);

/// Collects and parses everything. `flags` holds the flags that were given, by setting key.
pub fn load(
    flags: impl IntoIterator<Item = (&'static str, String)>,
    file: Option<&Path>,
    env: impl IntoIterator<Item = (String, String)>,
) -> Result<Settings, Error> {
    let mut values = Values::default();
    // The weakest first: what comes later replaces it.
    read_file(file, &mut values)?;
    env::read(env, &mut values)?;
    for (key, text) in flags {
        if let Some(setting) = SETTINGS.iter().find(|setting| setting.key == key) {
            values.put(setting, text, Source::Flag(setting.flag));
        }
    }
    values.parse()
}

fn read_file(file: Option<&Path>, values: &mut Values) -> Result<(), Error> {
    let path = file.unwrap_or(Path::new(DEFAULT_FILE));
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound && file.is_none() => return Ok(()),
        Err(source) => return Err(Error::Read { file: path.to_owned(), source }),
    };
    let table: toml::Table = toml::from_str(&text).map_err(|error| Error::Syntax {
        file: path.to_owned(),
        line: error
            .span()
            .map_or(1, |span| 1 + text.bytes().take(span.start).filter(|&byte| byte == b'\n').count()),
        message: error.message().replace('\n', ", "),
    })?;
    let mut leaves = Vec::new();
    flatten("", &table, &mut leaves);
    for (key, text) in leaves {
        let Some(setting) = SETTINGS.iter().find(|setting| setting.key == key) else {
            return Err(Error::UnknownKey { file: path.to_owned(), key });
        };
        values.put(setting, text, Source::File(path.to_owned()));
    }
    Ok(())
}

fn flatten(prefix: &str, table: &toml::Table, leaves: &mut Vec<(String, String)>) {
    for (name, value) in table {
        let key = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
        match value {
            toml::Value::Table(inner) => flatten(&key, inner, leaves),
            toml::Value::Array(items) => leaves.push((key, items.iter().map(text_of).collect::<Vec<_>>().join(","))),
            scalar => leaves.push((key, text_of(scalar))),
        }
    }
}

fn text_of(value: &toml::Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

impl Values {
    fn put(&mut self, setting: &'static Setting, text: String, source: Source) {
        self.0.insert(setting.key, (text.into(), source));
    }

    fn parse(mut self) -> Result<Settings, Error> {
        let data_dir: PathBuf = self.take("data_dir", value::path)?.unwrap_or_else(|| "./data".into());
        let data_dir = std::path::absolute(&data_dir).unwrap_or(data_dir);
        let tls = self.tls()?;
        let rtmps_listen = self.take("rtmps.listen", value::optional_address)?.flatten();
        if rtmps_listen.is_some() && tls.is_none() {
            return Err(Error::Together(
                "rtmps.listen needs a certificate: set tls.cert and tls.key, or acme.domains.",
            ));
        }
        let secret_key = match (self.take("secret_key", value::secret_key)?, self.take("secret_key_file", value::path)?)
        {
            (Some(_), Some(_)) => {
                return Err(Error::Together("secret_key and secret_key_file exclude each other: set one."));
            }
            (Some(key), None) => SecretKeySource::Given(key),
            (None, Some(file)) => SecretKeySource::File(file),
            (None, None) => SecretKeySource::DataDir,
        };
        let database_url = self.take("database.url", value::database_url)?;
        Ok(Settings {
            database_url: database_url.unwrap_or_else(|| value::sqlite_url(&data_dir)).into(),
            http_listen: self.listen("http.listen", 8080)?,
            trusted_proxies: match self.take("http.trusted_proxies", value::networks)? {
                Some(networks) => networks,
                None => vec![
                    IpNet::from(Ipv4Net::new_assert(Ipv4Addr::new(127, 0, 0, 0), 8)),
                    IpNet::from(IpAddr::from(Ipv6Addr::LOCALHOST)),
                ],
            },
            rtmp_listen: self.listen("rtmp.listen", 1935)?,
            rtmps_listen,
            proxy_protocol: self.take("proxy_protocol.from", value::networks)?.unwrap_or_default(),
            tls,
            metrics_listen: match self.take("metrics.listen", value::optional_address)? {
                Some(address) => address,
                None => Some(SocketAddr::from(([127, 0, 0, 1], 9464))),
            },
            public_url: self.take("public_url", value::base_url)?,
            secret_key,
            signup: self.take("signup", value::signup)?.unwrap_or(Signup::Open),
            egress_allow: self.take("egress.allow", value::networks)?.unwrap_or_default(),
            quota: Quota {
                projects: self.take("quota.projects", value::quota)?.unwrap_or(100),
                destinations: self.take("quota.destinations", value::quota)?.unwrap_or(100),
                live_streams: self.take("quota.live_streams", value::quota)?.unwrap_or(20),
                ingest_kbps: self.take("quota.ingest_bitrate", value::ingest_kbps)?.unwrap_or(Some(value::INGEST_KBPS)),
            },
            reconnect_grace: self.take("ingest.reconnect_grace", value::duration)?.unwrap_or(Duration::from_secs(60)),
            log: LogSettings {
                format: self.take("log.format", value::log_format)?,
                level: self.take("log.level", value::log_level)?.unwrap_or_else(|| "info".to_owned()),
            },
            data_dir,
            values: self,
        })
    }

    fn listen(&mut self, key: &'static str, port: u16) -> Result<SocketAddr, Error> {
        let everywhere = SocketAddr::from((std::net::Ipv6Addr::UNSPECIFIED, port));
        Ok(self.take(key, value::address)?.unwrap_or(everywhere))
    }

    /// Parses one value, if it was given.
    fn take<T>(&mut self, key: &'static str, parse: impl Fn(&str) -> Option<T>) -> Result<Option<T>, Error> {
        use secrecy::ExposeSecret;
        let Some((text, from)) = self.0.get(key) else { return Ok(None) };
        if let Some(value) = parse(text.expose_secret().trim()) {
            return Ok(Some(value));
        }
        let setting = SETTINGS.iter().find(|setting| setting.key == key);
        let secret = setting.is_none_or(|setting| setting.secret);
        Err(Error::Value {
            key,
            from: from.clone(),
            takes: setting.map_or("another value", |setting| setting.takes),
            value: (!secret).then(|| value::shown(text.expose_secret())),
        })
    }
}

impl fmt::Display for Settings {
    /// One setting per line in the form of the file, with its source; secrets masked. Reads as a settings file.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use secrecy::ExposeSecret;
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
