//! Why the server cannot start.

use std::{io, net::SocketAddr, path::PathBuf};

use crate::{data_dir, tls};

/// A sentence each.
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
    /// A data directory with half of a server.
    #[error(
        "There is no database in {}, but {} is the key of one. If its disk is not mounted, or its file or the log beside it \
         (its name ends in -wal) was moved, bring it back; to begin with a new server, move the key away.",
        path.display(), key.display()
    )]
    NoDatabase {
        /// Where the database would be.
        path: PathBuf,
        /// The secret key.
        key: PathBuf,
    },
    /// RTMP.
    #[error(transparent)]
    Engine(#[from] gostream_engine::StartError),
    /// A port of ours.
    #[error("{setting}: cannot listen on {address}: {source}. Is another server running there?")]
    Listen {
        /// The setting.
        setting: &'static str,
        /// Its value.
        address: SocketAddr,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl StartError {
    /// Whether a setting has to change, rather than the world around.
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
