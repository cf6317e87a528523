//! A certificate authority of one: a certificate for `localhost` and 127.0.0.1 that only those who are told trust.

use std::sync::Arc;

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
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let made = rcgen::generate_simple_self_signed(names)?;
        Ok(Self {
            der: made.cert.der().clone(),
            pem: made.cert.pem(),
            key_pem: made.signing_key.serialize_pem(),
            key: made.signing_key.serialize_der(),
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
