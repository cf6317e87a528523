//! Parses the texts of all settings into [`Settings`]: applies defaults, and checks which settings require or exclude
//! each other.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use ipnet::{IpNet, Ipv4Net};

use super::{
    error::Error,
    log::LogSettings,
    secret_key::SecretKeySource,
    settings::{Quota, Settings},
    signup::Signup,
    value,
    values::Values,
};

impl Values {
    /// Parses all settings.
    pub(super) fn parse(mut self) -> Result<Settings, Error> {
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
}
