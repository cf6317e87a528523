//! The certificate: read from PEM files, and read again when they change, or got by ACME; never is a connection dropped.

pub(crate) mod acme;
mod certificates;
mod error;
mod files;
mod keeper;

use rustls::crypto::aws_lc_rs;

pub use self::error::Error;
pub(crate) use self::{
    certificates::{ACME_TLS_1, Certificates},
    files::roots,
    keeper::Keeper,
};

/// Makes aws-lc-rs the process's TLS provider. Without this, rustls would have to guess.
pub(crate) fn install_provider() {
    // A second call finds the first one's provider, which is the same.
    if aws_lc_rs::default_provider().install_default().is_err() {
        tracing::trace!("The TLS provider is installed already.");
    }
}
