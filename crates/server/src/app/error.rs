//! Why the server cannot start.

use std::{io, net::SocketAddr, path::PathBuf};

use crate::{data_dir, tls};

/// A start error; each is a sentence for the operator.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The data directory or a file in it.
    #[error(transparent)]
    DataDir(#[from] data_dir::Error),
    /// The certificate.
    #[error(transparent)]
    Tls(#[from] tls::Error),
    /// The database.
    #[error(transparent)]
    Store(#[from] gostream_store::Error),
    /// The data directory has a secret key but no database.
    #[error(
        "There is no database in {}, but {} is the key of one. If its disk is not mounted, or its file or the log beside it \
         (its name ends in -wal) was moved, bring it back; to begin with a new server, move the key away.",
        path.display(), key.display()
    )]
    NoDatabase {
        /// The expected path of the database.
        path: PathBuf,
        /// The secret key.
        key: PathBuf,
    },
    /// RTMP.
    #[error(transparent)]
    Engine(#[from] gostream_engine::StartError),
    /// An HTTP or metrics port.
    #[error("{setting}: cannot listen on {address}: {source}. Is another server running there?")]
    Listen {
        /// The setting.
        setting: &'static str,
        /// Its value.
        address: SocketAddr,
        /// The cause.
        #[source]
        source: io::Error,
    },
}

impl StartError {
    /// Whether a setting must be changed, as opposed to the environment.
    pub fn is_setting(&self) -> bool {
        use gostream_store::Error;
        matches!(
            self,
            Self::Tls(_)
                | Self::Store(Error::WrongSecretKey | Error::Url | Error::TransactionPooling)
                | Self::DataDir(data_dir::Error::Readable { .. })
        )
    }
}
