//! Why the data directory cannot be used.

use std::{io, path::PathBuf};

use time::OffsetDateTime;

/// A sentence each.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The directory cannot be made or made private.
    #[error("The data directory {} cannot be used: {source}. Check data_dir and its owner.", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file in it cannot be read or written.
    #[error("The file {} cannot be used: {source}.", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Another server runs here.
    #[error(
        "Another server uses the data directory {}: stop it first, or give this one a directory and ports of its own.",
        path.display()
    )]
    InUse {
        /// The directory.
        path: PathBuf,
    },
    /// The database is not as the server left it.
    #[error(
        "{} is as it was at {written_at}, and this server wrote into it until {noted_at}. Its log, {}, was lost, or stayed behind \
         when the file was copied: bring both back together, or restore a backup. To go on without what is missing, remove {}.",
        path.display(), log.display(), note.display()
    )]
    Outdated {
        /// The database file.
        path: PathBuf,
        /// Its log.
        log: PathBuf,
        /// When the file was last written.
        written_at: OffsetDateTime,
        /// When the server last wrote.
        noted_at: OffsetDateTime,
        /// Where that is noted.
        note: PathBuf,
    },
    /// The secret key's file holds something else.
    #[error("{} must hold 32 bytes in base64, not all zero. Restore it from a backup: destination keys cannot be read without it.",
        path.display())]
    SecretKey {
        /// The file.
        path: PathBuf,
    },
    /// Others may have read the secret key, or may replace it.
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
        /// What it may be.
        allowed: u32,
    },
}
