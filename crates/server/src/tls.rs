//! The certificate: from PEM files that are reloaded after changes, or issued by ACME. A new certificate never
//! interrupts connections.

pub(crate) mod acme;
mod certificate_source;
mod certificates;
mod error;
mod files;

use rustls::crypto::aws_lc_rs;

pub use self::error::Error;
pub(crate) use self::{
    certificate_source::CertificateSource,
    certificates::{ACME_TLS_1, Certificates},
    files::roots,
};

/// Installs aws-lc-rs as the process's TLS provider. Without this, rustls would have to guess.
pub(crate) fn install_provider() {
    // A second call fails because the same provider is installed already.
    if aws_lc_rs::default_provider().install_default().is_err() {
        tracing::trace!("The TLS provider is installed already.");
    }
}
