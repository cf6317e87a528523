//! The certificate: read from PEM files, and read again when they change, or got by `acme`; never is a connection dropped.
//!
//! HTTPS and RTMPS share one [`Certificates`]; each connection gets whatever certificate is newest at its handshake.

use std::{
    collections::HashMap,
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use arc_swap::ArcSwap;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, ServerConfig, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{aws_lc_rs, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject as _},
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::{acme::Renewal, config::TlsFiles};

/// How often the files are looked at. Certificates are renewed days before they end.
const WATCH_INTERVAL: Duration = Duration::from_secs(10);

/// What a certificate authority speaks, and nobody else, to see whether a name leads here (RFC 8737 section 3).
pub(crate) const ACME_TLS_1: &[u8] = b"acme-tls/1";

/// Why a certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file cannot be read or holds no PEM of the right kind.
    #[error("{setting}: {} cannot be used: {source}.", path.display())]
    Read {
        /// `tls.cert`, `tls.key` or `acme.ca`.
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
    /// A file for roots holds none.
    #[error("acme.ca: {} holds no certificate that can be trusted.", path.display())]
    NoRoot {
        /// The file.
        path: PathBuf,
    },
    /// Nothing by which the server could be known yet.
    #[error("The server made no certificate yet in {}; did it ever start?", path.display())]
    None {
        /// Where it would be.
        path: PathBuf,
    },
}

/// The current certificate, and what is shown to an authority that looks whether a name leads here.
#[derive(Debug)]
pub(crate) struct Certificates {
    current: ArcSwap<CertifiedKey>,
    challenges: ArcSwap<HashMap<String, Arc<CertifiedKey>>>,
    /// The files are to be read now, changed or not.
    reload_asked: Notify,
}

/// What keeps the current certificate fresh.
#[derive(Debug)]
pub(crate) enum Keeper {
    /// Somebody who writes files.
    Files(TlsFiles),
    /// We.
    Acme(Box<Renewal>),
}

impl Keeper {
    /// Does so until `stop`.
    pub(crate) async fn run(self, certificates: Arc<Certificates>, stop: CancellationToken) {
        match self {
            Self::Files(files) => certificates.watch(files, stop).await,
            Self::Acme(renewal) => renewal.run(certificates, stop).await,
        }
    }
}

/// Makes aws-lc-rs the process's TLS provider. Without this, rustls would have to guess.
pub(crate) fn install_provider() {
    // A second call finds the first one's provider, which is the same.
    if aws_lc_rs::default_provider().install_default().is_err() {
        tracing::trace!("The TLS provider is installed already.");
    }
}

impl Certificates {
    /// Shows this one until there is another.
    pub(crate) fn new(current: Arc<CertifiedKey>) -> Arc<Self> {
        Arc::new(Self { current: ArcSwap::new(current), challenges: ArcSwap::default(), reload_asked: Notify::new() })
    }

    /// Reads the files for the first time.
    pub(crate) fn load(files: &TlsFiles) -> Result<Arc<Self>, Error> {
        Ok(Self::new(Arc::new(read(files)?)))
    }

    /// Reads the files again. On an error the certificate in use stays.
    pub(crate) fn reload(&self, files: &TlsFiles) -> Result<(), Error> {
        self.show(Arc::new(read(files)?));
        Ok(())
    }

    /// Has the files read again soon, by who watches them.
    pub(crate) fn ask_to_reload(&self) {
        self.reload_asked.notify_one();
    }

    /// New connections get this one; those that are open stay.
    pub(crate) fn show(&self, certificate: Arc<CertifiedKey>) {
        self.current.store(certificate);
    }

    /// What an authority sees that asks for a name, until the next call.
    pub(crate) fn challenge(&self, challenges: HashMap<String, Arc<CertifiedKey>>) {
        self.challenges.store(Arc::new(challenges));
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

    /// Looks at the files until `stop`, and reads them again after a change, or when asked to.
    async fn watch(&self, files: TlsFiles, stop: CancellationToken) {
        let mut seen = stamps(&files);
        let mut ticks = tokio::time::interval(WATCH_INTERVAL);
        loop {
            let asked = tokio::select! {
                () = stop.cancelled() => return,
                () = self.reload_asked.notified() => true,
                _ = ticks.tick() => false,
            };
            let stamp = stamps(&files);
            if stamp == seen && !asked {
                continue;
            }
            // Seen even when it fails: half-written files come with another stamp once they are whole.
            seen = stamp;
            match self.reload(&files) {
                Ok(()) => tracing::info!("The certificate was read again."),
                Err(error) => tracing::warn!(%error, "The changed certificate cannot be used; the old one stays."),
            }
        }
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        // An authority offers this protocol alone, so that no visitor ever gets a certificate that proves nothing to him.
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

fn stamps(files: &TlsFiles) -> [Option<(SystemTime, u64)>; 2] {
    let stamp = |path| -> io::Result<_> {
        let metadata = fs::metadata(path)?;
        Ok((metadata.modified()?, metadata.len()))
    };
    [stamp(&files.cert).ok(), stamp(&files.key).ok()]
}

/// The roots that a file holds, and nothing else.
pub(crate) fn roots(path: &Path) -> Result<RootCertStore, Error> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let read = read.map_err(|source| Error::Read { setting: "acme.ca", path: path.to_owned(), source })?;
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(read);
    if roots.is_empty() { Err(Error::NoRoot { path: path.to_owned() }) } else { Ok(roots) }
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

    #[tokio::test(start_paused = true)]
    async fn files_are_read_again_at_once_when_asked_for() {
        let temp = tempfile::tempdir().expect("temp dir");
        let files = TlsFiles { cert: temp.path().join("cert.pem"), key: temp.path().join("key.pem") };
        write_pair(&files);
        let certificates = Certificates::load(&files).expect("loads");
        let stop = CancellationToken::new();
        let watching = tokio::spawn({
            let (certificates, files, stop) = (certificates.clone(), files.clone(), stop.clone());
            async move { certificates.watch(files, stop).await }
        });
        let begun = tokio::time::Instant::now();
        tokio::task::yield_now().await;
        let second = write_pair(&files);
        certificates.ask_to_reload();
        while leaf(&certificates) != second {
            tokio::task::yield_now().await;
        }
        assert!(begun.elapsed() < WATCH_INTERVAL, "not only when it is looked at the next time");
        stop.cancel();
        watching.await.expect("ends");
    }

    #[test]
    fn a_changed_pair_is_taken_and_a_spoiled_one_is_not() {
        let temp = tempfile::tempdir().expect("temp dir");
        let files = TlsFiles { cert: temp.path().join("cert.pem"), key: temp.path().join("key.pem") };
        let first = write_pair(&files);
        let certificates = Certificates::load(&files).expect("loads");
        assert_eq!(leaf(&certificates), first);

        let second = write_pair(&files);
        certificates.reload(&files).expect("reloads");
        assert_eq!(leaf(&certificates), second);

        let key = fs::read(&files.key).expect("readable");
        write_pair(&files);
        fs::write(&files.key, key).expect("written");
        assert!(matches!(certificates.reload(&files), Err(Error::Pair(_))), "certificate and key of two pairs");
        fs::write(&files.cert, "no PEM").expect("written");
        assert!(certificates.reload(&files).is_err());
        assert_eq!(leaf(&certificates), second, "the good one stays");
    }
}
