//! The store handles: connections for reading and writing, and the encryption keys.

use std::{net::IpAddr, ops::Deref, sync::Arc};

use sea_orm::{ConnectionTrait as _, DatabaseConnection, DatabaseTransaction, DbBackend, DbErr};

use super::{sqlite::mark_closed, writer::Writer};
use crate::{error::Error, secret::Keyring};

/// A handle for queries only: the database and its encryption keys. Clones share one pool.
#[derive(Clone, Debug)]
pub struct Reader {
    connection: DatabaseConnection,
    keyring: Arc<Keyring>,
}

/// A handle for queries and changes: the database and its encryption keys. Clones share one pool.
#[derive(Clone, Debug)]
pub struct Store {
    reader: Reader,
    /// On SQLite a single connection: writers queue here, in order, instead of failing on the file lock. On PostgreSQL
    /// the same pool as `reader`.
    writer: Writer,
    /// The client address for the audit log.
    pub(crate) address: Option<IpAddr>,
}

impl Reader {
    /// Checks that the database responds.
    pub async fn ping(&self) -> Result<(), Error> {
        self.connection
            .execute_unprepared("SELECT 1")
            .await
            .map(drop)
            .map_err(Error::reading("The database"))
    }

    /// Whether other servers can use the same database.
    pub fn is_shared(&self) -> bool {
        self.connection.get_database_backend() == DbBackend::Postgres
    }

    /// The connection for queries.
    pub(crate) fn reader(&self) -> &DatabaseConnection {
        &self.connection
    }

    pub(crate) fn keyring(&self) -> &Keyring {
        &self.keyring
    }
}

/// Every handle that can write can read.
impl Deref for Store {
    type Target = Reader;

    fn deref(&self) -> &Reader {
        &self.reader
    }
}

impl Store {
    /// A store over these connections, which may be the same.
    pub(crate) fn new(reader: DatabaseConnection, writer: DatabaseConnection, keyring: Keyring) -> Self {
        let reader = Reader { connection: reader, keyring: Arc::new(keyring) };
        Self { reader, writer: Writer::new(writer), address: None }
    }

    /// A handle to the same database for queries only.
    pub fn read_only(&self) -> Reader {
        self.reader.clone()
    }

    /// Closes every connection, also for all clones. Running calls may finish.
    pub async fn close(&self) {
        // SQLite merges its write-ahead log into the file when the last connection closes. That connection must be a
        // writer.
        for pool in [self.reader(), self.writer.connection()] {
            if std::ptr::eq(pool, self.writer.connection()) {
                mark_closed(pool).await;
            }
            if let Err(error) = pool.close_by_ref().await {
                tracing::warn!(%error, "The database was not closed cleanly.");
            }
        }
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

    /// A write transaction; see [`Writer`].
    pub(crate) async fn begin(&self) -> Result<DatabaseTransaction, DbErr> {
        self.writer.begin().await
    }

    /// Rewrites a SQLite file: values that were overwritten earlier remain in its free pages until those are reused.
    /// Another server that has the file open may prevent this.
    pub(crate) async fn scrub(&self) {
        if self.is_shared() {
            return;
        }
        for step in ["VACUUM", "PRAGMA wal_checkpoint(TRUNCATE)"] {
            if let Err(error) = self.writer.connection().execute_unprepared(step).await {
                tracing::warn!(%error, "Old values may remain in free pages of the database file.");
            }
        }
    }
}
