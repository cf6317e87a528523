//! The store handle: connections for reading and writing, and the encryption keys.

use std::{net::IpAddr, sync::Arc};

use sea_orm::{ConnectionTrait as _, DatabaseConnection, DatabaseTransaction, DbBackend, DbErr};

use super::{sqlite::mark_closed, writer::Writer};
use crate::{error::Error, secret::Keyring};

/// The database and its encryption keys. Clones share one pool.
#[derive(Clone, Debug)]
pub struct Store {
    reader: DatabaseConnection,
    /// On SQLite a single connection: writers queue here, in order, instead of failing on the file lock. On PostgreSQL
    /// the same pool as `reader`.
    writer: Writer,
    keyring: Arc<Keyring>,
    /// The client address for the audit log.
    pub(crate) address: Option<IpAddr>,
}

impl Store {
    /// A store over these connections, which may be the same.
    pub(crate) fn new(reader: DatabaseConnection, writer: DatabaseConnection, keyring: Keyring) -> Self {
        Self { reader, writer: Writer::new(writer), keyring: Arc::new(keyring), address: None }
    }

    /// Checks that the database responds.
    pub async fn ping(&self) -> Result<(), Error> {
        self.reader.execute_unprepared("SELECT 1").await.map(drop).map_err(Error::reading("The database"))
    }

    /// Closes every connection, also for all clones. Running calls may finish.
    pub async fn close(&self) {
        // SQLite merges its log into the file when the last connection closes, which must be a writable one.
        for pool in [&self.reader, self.writer.connection()] {
            if std::ptr::eq(pool, self.writer.connection()) {
                mark_closed(pool).await;
            }
            if let Err(error) = pool.close_by_ref().await {
                tracing::warn!(%error, "The database was not closed cleanly.");
            }
        }
    }

    /// The connection for queries.
    pub(crate) fn reader(&self) -> &DatabaseConnection {
        &self.reader
    }

    /// The connection for single-statement changes.
    pub(crate) fn writer(&self) -> &Writer {
        &self.writer
    }

    #[cfg(test)]
    pub(crate) fn raw_writer(&self) -> &DatabaseConnection {
        self.writer.connection()
    }

    /// Refuses every change from now on, because the database file was moved or replaced.
    pub fn refuse_changes(&self) {
        self.writer.refuse_all();
    }

    pub(crate) fn keyring(&self) -> &Keyring {
        &self.keyring
    }

    /// A write transaction; see [`Writer`].
    pub(crate) async fn begin(&self) -> Result<DatabaseTransaction, DbErr> {
        self.writer.begin().await
    }

    /// Rewrites a SQLite file: values that were overwritten earlier remain in its free pages until those are reused.
    /// Another server that has the file open may prevent this.
    pub(crate) async fn scrub(&self) {
        if self.reader.get_database_backend() != DbBackend::Sqlite {
            return;
        }
        for step in ["VACUUM", "PRAGMA wal_checkpoint(TRUNCATE)"] {
            if let Err(error) = self.writer.connection().execute_unprepared(step).await {
                tracing::warn!(%error, "Old values may remain in free pages of the database file.");
            }
        }
    }
}
