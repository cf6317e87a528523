//! The current certificate. HTTPS and RTMPS share one [`Certificates`]; each handshake uses the newest certificate.

use std::{collections::HashMap, sync::Arc};

use arc_swap::ArcSwap;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, ServerConfig, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{aws_lc_rs, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use tokio::sync::Notify;

/// The protocol that only certificate authorities offer, to verify that a name leads to this server (RFC 8737 section
/// 3).
pub(crate) const ACME_TLS_1: &[u8] = b"acme-tls/1";

/// The current certificate, and the certificates that answer challenges.
#[derive(Debug)]
pub(crate) struct Certificates {
    pub(super) current: ArcSwap<CertifiedKey>,
    challenges: ArcSwap<HashMap<String, Arc<CertifiedKey>>>,
    /// A request to read the files now, whether or not they changed.
    pub(super) reload_requested: Notify,
}

impl Certificates {
    /// Uses this certificate until the next one.
    pub(crate) fn new(current: Arc<CertifiedKey>) -> Arc<Self> {
        Arc::new(Self {
            current: ArcSwap::new(current),
            challenges: ArcSwap::default(),
            reload_requested: Notify::new(),
        })
    }

    /// Asks the task that watches the files to read them again.
    pub(crate) fn request_reload(&self) {
        self.reload_requested.notify_one();
    }

    /// Uses this certificate for new connections. Open ones are kept.
    pub(crate) fn show(&self, certificate: Arc<CertifiedKey>) {
        self.current.store(certificate);
    }

    /// Sets the challenge certificates by name. They replace the previous ones.
    pub(crate) fn challenge(&self, challenges: HashMap<String, Arc<CertifiedKey>>) {
        self.challenges.store(Arc::new(challenges));
    }

    /// A server configuration that always presents the newest certificate. TLS 1.2 and 1.3.
    pub(crate) fn server_config(self: &Arc<Self>, alpn: &[&[u8]]) -> Arc<ServerConfig> {
        let mut config = ServerConfig::builder().with_no_client_auth().with_cert_resolver(self.clone());
        config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
        Arc::new(config)
    }

    /// A client configuration that accepts only this server: the presented certificate must be the current one. Its
    /// issuer and its names are not checked.
    pub(crate) fn client_config(self: &Arc<Self>) -> Arc<ClientConfig> {
        let config = ClientConfig::builder().dangerous().with_custom_certificate_verifier(self.clone());
        Arc::new(config.with_no_client_auth())
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        // Only an authority offers this protocol alone, so no other client gets a challenge certificate.
        if hello.alpn().is_some_and(|offered| offered.eq([ACME_TLS_1])) {
            return self.challenges.load().get(hello.server_name()?).cloned();
        }
        Some(self.current.load_full())
    }
}

impl ServerCertVerifier for Certificates {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        match self.current.load().cert.first() {
            Some(ours) if ours == end_entity => Ok(ServerCertVerified::assertion()),
            _ => Err(CertificateError::ApplicationVerificationFailure.into()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &aws_lc_rs::default_provider().signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &aws_lc_rs::default_provider().signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        aws_lc_rs::default_provider().signature_verification_algorithms.supported_schemes()
    }
}
