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
        /// The cause.
        #[source]
        source: rustls::pki_types::pem::Error,
    },
    /// Certificate and key do not belong together.
    #[error("tls.cert and tls.key cannot be used together: {0}.")]
    Pair(#[source] rustls::Error),
    /// A file of root certificates contains none.
    #[error("acme.ca: {} holds no certificate that can be trusted.", path.display())]
    NoRoot {
        /// The file.
        path: PathBuf,
    },
    /// There is no certificate yet that the server could be verified with.
    #[error("The server has no certificate in {} yet; has it been started?", path.display())]
    None {
        /// The expected path.
        path: PathBuf,
    },
}
