//! Test certificates, such as for `localhost` and 127.0.0.1, trusted only by clients that are configured to.

use std::{ops::Range, sync::Arc};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, KeyPair};
use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer},
};

/// A self-signed certificate with its private key.
#[derive(Debug)]
pub struct Certificate {
    /// The certificate that clients must trust.
    pub der: CertificateDer<'static>,
    /// The same as a PEM file.
    pub pem: String,
    /// The private key as a PEM file.
    pub key_pem: String,
    key: Vec<u8>,
}

impl Certificate {
    /// A certificate for these names.
    pub fn for_names(names: &[&str]) -> anyhow::Result<Self> {
        Self::make(params(names)?)
    }

    /// A certificate that is valid from the first day of the first year to the first day of the last.
    pub fn valid(names: &[&str], years: Range<i32>) -> anyhow::Result<Self> {
        let mut params = params(names)?;
        params.not_before = rcgen::date_time_ymd(years.start, 1, 1);
        params.not_after = rcgen::date_time_ymd(years.end, 1, 1);
        Self::make(params)
    }

    /// A certificate that may sign others, like those from `openssl req -x509`.
    pub fn authority(names: &[&str]) -> anyhow::Result<Self> {
        let mut params = params(names)?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self::make(params)
    }

    fn make(params: CertificateParams) -> anyhow::Result<Self> {
        let key = KeyPair::generate()?;
        let certificate = params.self_signed(&key)?;
        Ok(Self {
            der: certificate.der().clone(),
            pem: certificate.pem(),
            key_pem: key.serialize_pem(),
            key: key.serialize_der(),
        })
    }

    /// The configuration of a TLS server with it; `versions` are from [`rustls::version`].
    pub fn server(&self, versions: &[&'static rustls::SupportedProtocolVersion]) -> anyhow::Result<Arc<ServerConfig>> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.key.clone()));
        let config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)?
            .with_no_client_auth()
            .with_single_cert(vec![self.der.clone()], key)?;
        Ok(Arc::new(config))
    }
}

fn params(names: &[&str]) -> anyhow::Result<CertificateParams> {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names.clone())?;
    // Clients look up an issuer by name, so each authority needs its own.
    params.distinguished_name.push(DnType::CommonName, names.join(" "));
    Ok(params)
}
