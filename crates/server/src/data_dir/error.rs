//! Why the data directory cannot be used.

use std::{io, path::PathBuf};

use time::OffsetDateTime;

/// An error of the data directory; each is a sentence for the operator.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The directory cannot be created or made private.
    #[error("The data directory {} cannot be used: {source}. Check data_dir and its owner.", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// A file in it cannot be read or written.
    #[error("The file {} cannot be used: {source}.", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// Another server uses the directory.
    #[error(
        "Another server uses the data directory {}: stop it first, or give this one a directory and ports of its own.",
        path.display()
    )]
    InUse {
        /// The directory.
        path: PathBuf,
    },
    /// The database file lacks the last changes of this server.
    #[error(
        "{} was last written at {written_at}, but this server wrote to it until {noted_at}. Its log, {}, was lost, or was not copied \
         with the file: bring both back together, or restore a backup. To continue without the missing changes, remove {}.",
        path.display(), log.display(), note.display()
    )]
    Outdated {
        /// The database file.
        path: PathBuf,
        /// Its write-ahead log.
        log: PathBuf,
        /// When the file was last written.
        written_at: OffsetDateTime,
        /// When the server last wrote.
        noted_at: OffsetDateTime,
        /// The file that records the last write.
        note: PathBuf,
    },
    /// The secret key file is invalid.
    #[error("{} must hold 32 bytes in base64, not all zero. Restore it from a backup: destination keys cannot be read without it.",
        path.display())]
    SecretKey {
        /// The file.
        path: PathBuf,
    },
    /// Other users may have read the secret key, or may replace it.
    #[error(
        "Other users can read {} (mode {mode:04o}), which opens every stream key: `chmod {allowed:o}` it, and if one of them may \
         have read it, replace the key (`gostream secret rotate`).",
        path.display()
    )]
    Readable {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
        /// The widest permitted mode.
        allowed: u32,
    },
}
