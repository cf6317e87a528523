//! The source of the current certificate.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::{acme::Renewal, certificates::Certificates};
use crate::config::TlsFiles;

/// The source of the current certificate.
#[derive(Debug)]
pub(crate) enum CertificateSource {
    /// PEM files that the operator maintains.
    Files(TlsFiles),
    /// Renewal by ACME.
    Acme(Box<Renewal>),
}

impl CertificateSource {
    /// Keeps the certificate up to date until `stop`.
    pub(crate) async fn run(self, certificates: Arc<Certificates>, stop: CancellationToken) {
        match self {
            Self::Files(files) => certificates.watch(files, stop).await,
            Self::Acme(renewal) => renewal.run(certificates, stop).await,
        }
    }
}
