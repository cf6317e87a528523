//! Why a certificate cannot be used.

use std::path::PathBuf;

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
