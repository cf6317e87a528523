//! The handle that all else goes through: connections to read and to write with, and the keys.

use std::{net::IpAddr, sync::Arc};

use sea_orm::{ConnectionTrait as _, DatabaseConnection, DatabaseTransaction, DbBackend, DbErr};

use super::{sqlite::mark_closed, writer::Writer};
use crate::{error::Error, secret::Keyring};

/// The database and the keys to it. Clones share one pool.
#[derive(Clone, Debug)]
pub struct Store {
    reader: DatabaseConnection,
    /// On SQLite a single connection: writers queue here, in order, instead of colliding in the file. On PostgreSQL the
    /// same pool as `reader`.
    writer: Writer,
    keyring: Arc<Keyring>,
    /// For whom changes are made, in the audit log.
    pub(crate) address: Option<IpAddr>,
}

impl Store {
    /// Over these connections, which may be one and the same.
    pub(crate) fn new(reader: DatabaseConnection, writer: DatabaseConnection, keyring: Keyring) -> Self {
        Self { reader, writer: Writer::new(writer), keyring: Arc::new(keyring), address: None }
    }

    /// Whether the database answers.
    pub async fn ping(&self) -> Result<(), Error> {
        self.reader.execute_unprepared("SELECT 1").await.map(drop).map_err(Error::reading("The database"))
    }

    /// Closes every connection; calls that still run may finish. Every clone is closed with it.
    pub async fn close(&self) {
        // SQLite folds its log into the file when the last connection closes, which has to be one that may write.
        for pool in [&self.reader, self.writer.connection()] {
            if std::ptr::eq(pool, self.writer.connection()) {
                mark_closed(pool).await;
            }
            if let Err(error) = pool.close_by_ref().await {
                tracing::warn!(%error, "The database was not closed cleanly.");
            }
        }
    }

    /// For queries.
    pub(crate) fn reader(&self) -> &DatabaseConnection {
        &self.reader
    }

    /// For changes of one statement.
    pub(crate) fn writer(&self) -> &Writer {
        &self.writer
    }

    #[cfg(test)]
    pub(crate) fn raw_writer(&self) -> &DatabaseConnection {
        self.writer.connection()
    }

    /// From now on every change is refused: what it would be written to is no longer what the next start finds.
    pub fn refuse_changes(&self) {
        self.writer.refuse_all();
    }

    pub(crate) fn keyring(&self) -> &Keyring {
        &self.keyring
    }

    /// A transaction that may write; see [`Writer`].
    pub(crate) async fn begin(&self) -> Result<DatabaseTransaction, DbErr> {
        self.writer.begin().await
    }

    /// Writes a SQLite file again: what was overwritten earlier is left in its free parts, until something else is written
    /// there. Another server that has the file open may keep it from that.
    pub(crate) async fn scrub(&self) {
        if self.reader.get_database_backend() != DbBackend::Sqlite {
            return;
        }
        for step in ["VACUUM", "PRAGMA wal_checkpoint(TRUNCATE)"] {
            if let Err(error) = self.writer.connection().execute_unprepared(step).await {
                tracing::warn!(%error, "Old values may be left in free parts of the database file.");
            }
        }
    }
}
