//! A certificate authority of one: a certificate for `localhost` and 127.0.0.1 that only those who are told trust.

use std::{ops::Range, sync::Arc};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, KeyPair};
use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer},
};

/// A self-signed certificate and its key.
#[derive(Debug)]
pub struct Certificate {
    /// What clients have to trust.
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

    /// One that is valid from the first day of the first year to the first day of the last.
    pub fn valid(names: &[&str], years: Range<i32>) -> anyhow::Result<Self> {
        let mut params = params(names)?;
        params.not_before = rcgen::date_time_ymd(years.start, 1, 1);
        params.not_after = rcgen::date_time_ymd(years.end, 1, 1);
        Self::make(params)
    }

    /// One that may sign others, as `openssl req -x509` makes them.
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

    /// A TLS server with it; `versions` are those of [`rustls::version`].
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
    // Clients look for an issuer by name: one authority must not be taken for another.
    params.distinguished_name.push(DnType::CommonName, names.join(" "));
    Ok(params)
}
