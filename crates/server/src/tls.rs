//! The certificate: read from PEM files, and read again when they change, without dropping a connection.
//!
//! HTTPS and RTMPS share one [`Certificates`]; each connection gets whatever certificate is newest at its handshake.

use std::{
    fs, io,
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime},
};

use arc_swap::ArcSwap;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, ServerConfig, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{aws_lc_rs, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject as _},
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use tokio_util::sync::CancellationToken;

use crate::config::TlsFiles;

/// How often the files are looked at. Certificates are renewed days before they end.
const WATCH_INTERVAL: Duration = Duration::from_secs(10);

/// Why a certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file cannot be read or holds no PEM of the right kind.
    #[error("{setting}: {} cannot be used: {source}.", path.display())]
    Read {
        /// `tls.cert` or `tls.key`.
        setting: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: rustls::pki_types::pem::Error,
    },
    /// The files do not belong together.
    #[error("tls.cert and tls.key cannot be used together: {0}.")]
    Pair(#[source] rustls::Error),
}

/// The current certificate and where it comes from.
#[derive(Debug)]
pub(crate) struct Certificates {
    files: TlsFiles,
    current: ArcSwap<CertifiedKey>,
}

/// Makes aws-lc-rs the process's TLS provider. Without this, rustls would have to guess.
pub(crate) fn install_provider() {
    // A second call finds the first one's provider, which is the same.
    if aws_lc_rs::default_provider().install_default().is_err() {
        tracing::trace!("The TLS provider is installed already.");
    }
}

impl Certificates {
    /// Reads the files for the first time.
    pub(crate) fn load(files: TlsFiles) -> Result<Arc<Self>, Error> {
        let current = ArcSwap::from_pointee(read(&files)?);
        Ok(Arc::new(Self { files, current }))
    }

    /// Reads the files again. On an error the certificate in use stays.
    pub(crate) fn reload(&self) -> Result<(), Error> {
        self.current.store(Arc::new(read(&self.files)?));
        Ok(())
    }

    /// A server configuration that always presents the newest certificate. TLS 1.2 and 1.3.
    pub(crate) fn server_config(self: &Arc<Self>, alpn: &[&[u8]]) -> Arc<ServerConfig> {
        let mut config = ServerConfig::builder().with_no_client_auth().with_cert_resolver(self.clone());
        config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
        Arc::new(config)
    }

    /// For a client that expects this server and no other: the certificate it presents has to be ours, whoever signed it and
    /// whatever name it has.
    pub(crate) fn client_config(self: &Arc<Self>) -> Arc<ClientConfig> {
        let config = ClientConfig::builder().dangerous().with_custom_certificate_verifier(self.clone());
        Arc::new(config.with_no_client_auth())
    }

    /// Looks at the files until `stop`, and reads them again after a change.
    pub(crate) async fn watch(self: Arc<Self>, stop: CancellationToken) {
        let mut seen = self.stamp();
        let mut ticks = tokio::time::interval(WATCH_INTERVAL);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = ticks.tick() => {}
            }
            let stamp = self.stamp();
            if stamp == seen {
                continue;
            }
            // Seen even when it fails: half-written files come with another stamp once they are whole.
            seen = stamp;
            match self.reload() {
                Ok(()) => tracing::info!("The certificate was read again."),
                Err(error) => tracing::warn!(%error, "The changed certificate cannot be used; the old one stays."),
            }
        }
    }

    fn stamp(&self) -> [Option<(SystemTime, u64)>; 2] {
        let stamp = |path| -> io::Result<_> {
            let metadata = fs::metadata(path)?;
            Ok((metadata.modified()?, metadata.len()))
        };
        [stamp(&self.files.cert).ok(), stamp(&self.files.key).ok()]
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
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

fn read(files: &TlsFiles) -> Result<CertifiedKey, Error> {
    let failed = |setting, path: &PathBuf| {
        let path = path.clone();
        move |source| Error::Read { setting, path, source }
    };
    let chain = CertificateDer::pem_file_iter(&files.cert)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(failed("tls.cert", &files.cert))?;
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(failed("tls.key", &files.key))?;
    CertifiedKey::from_der(chain, key, &aws_lc_rs::default_provider()).map_err(Error::Pair)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write_pair(files: &TlsFiles) -> Vec<u8> {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("made");
        fs::write(&files.cert, made.cert.pem()).expect("written");
        fs::write(&files.key, made.signing_key.serialize_pem()).expect("written");
        made.cert.der().to_vec()
    }

    fn leaf(certificates: &Certificates) -> Vec<u8> {
        certificates.current.load().cert.first().expect("a leaf").to_vec()
    }

    #[test]
    fn a_changed_pair_is_taken_and_a_spoiled_one_is_not() {
        let temp = tempfile::tempdir().expect("temp dir");
        let files = TlsFiles { cert: temp.path().join("cert.pem"), key: temp.path().join("key.pem") };
        let first = write_pair(&files);
        let certificates = Certificates::load(files.clone()).expect("loads");
        assert_eq!(leaf(&certificates), first);

        let second = write_pair(&files);
        certificates.reload().expect("reloads");
        assert_eq!(leaf(&certificates), second);

        let key = fs::read(&files.key).expect("readable");
        write_pair(&files);
        fs::write(&files.key, key).expect("written");
        assert!(matches!(certificates.reload(), Err(Error::Pair(_))), "certificate and key of two pairs");
        fs::write(&files.cert, "no PEM").expect("written");
        assert!(certificates.reload().is_err());
        assert_eq!(leaf(&certificates), second, "the good one stays");
    }
}
