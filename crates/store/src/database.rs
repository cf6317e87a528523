//! The store's handle: opens the database, brings its tables up to date, and checks that the secret key fits.

use std::{
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use sea_orm::{
    ActiveValue::Set, ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbBackend, DbErr, EntityTrait as _,
    SqliteTransactionMode, TransactionOptions, TransactionTrait as _,
};
use sea_orm_migration::{MigratorTrait as _, SchemaManager};
use sqlx::sqlite::SqliteConnectOptions;
use tracing::{instrument::WithSubscriber as _, subscriber::NoSubscriber};
use uuid::Uuid;

pub(crate) use self::sqlite::{SQLITE_BUSY_TIMEOUT, mark_closed, open_sqlite_alone, sqlite_options};
pub use self::{
    postgres::NodeLock,
    sqlite::{WithoutLog, missing_file, without_log},
};
use self::{
    postgres::{open_postgres, open_postgres_alone},
    sqlite::open_sqlite,
};
use crate::{
    clear_logins,
    entity::canary,
    error::Error,
    migration::Migrator,
    secret::{Keyring, Place},
    writer::Writer,
};

mod postgres;
mod sqlite;

/// How soon to try again where the database itself does not wait. A person does not notice it at the start.
const BUSY_RETRY: Duration = Duration::from_millis(20);
/// How long a call waits for a free connection, or for the database to answer a new one.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);
/// PostgreSQL's advisory lock that one starting server holds while it migrates: "gostream" in ASCII.
const MIGRATION_LOCK: i64 = i64::from_be_bytes(*b"gostream");
/// How long a command waits for others to leave the database: another command does, a server does not.
const ALONE_PATIENCE: Duration = Duration::from_secs(1);
/// What the canary says.
pub(crate) const CANARY: &str = "gostream";
/// Where it says it.
pub(crate) const CANARY_PLACE: Place = Place { table: "canary", column: "sealed", row: Uuid::nil() };

/// The database and the keys to it. Clones share one pool.
#[derive(Clone, Debug)]
pub struct Store {
    reader: DatabaseConnection,
    /// On SQLite a single connection: writers queue here, in order, instead of colliding in the file. On PostgreSQL the
    /// same pool as `reader`.
    writer: DatabaseConnection,
    keyring: Arc<Keyring>,
    /// For whom changes are made, in the audit log.
    pub(crate) address: Option<IpAddr>,
    /// What is written goes nowhere; see [`Store::refuse_changes`].
    lost: Arc<AtomicBool>,
}

/// What to do with a database that was never written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Begin {
    /// Make the tables.
    IfEmpty,
    /// Leave it.
    Not,
}

async fn open_any(url: &str) -> Result<(DatabaseConnection, DatabaseConnection), Error> {
    match url.split_once(':') {
        Some(("sqlite", _)) => open_sqlite(sqlite_options(url)?).await,
        Some(("postgres" | "postgresql", _)) => open_postgres(url).await,
        _ => Err(Error::Url),
    }
}

impl Store {
    /// Opens `sqlite:///path/file.db` (made if missing, for this user only) or `postgres://…`, and brings its tables up
    /// to date. [`Error::WrongSecretKey`] if the database was written with other keys.
    pub async fn open(url: &str, keyring: Keyring) -> Result<Self, Error> {
        let (reader, writer) = open_any(url).await?;
        Self::prepared(reader, writer, keyring, Begin::IfEmpty).await
    }

    /// The same for a database that was written to before: [`Error::Empty`], and nothing is changed, for one that was not.
    pub async fn open_existing(url: &str, keyring: Keyring) -> Result<Self, Error> {
        let (reader, writer) = open_any(url).await?;
        Self::prepared(reader, writer, keyring, Begin::Not).await
    }

    /// The same while nobody else has the database open, and nobody else may open it: [`Error::InUse`].
    pub(crate) async fn open_alone(url: &str, keyring: Keyring) -> Result<Self, Error> {
        let connection = match url.split_once(':') {
            Some(("sqlite", _)) => open_sqlite_alone(sqlite_options(url)?).await?,
            Some(("postgres" | "postgresql", _)) => open_postgres_alone(url).await?,
            _ => return Err(Error::Url),
        };
        Self::prepared(connection.clone(), connection, keyring, Begin::IfEmpty).await
    }

    /// The same with a SQLite file.
    pub(crate) async fn open_options(options: SqliteConnectOptions, keyring: Keyring) -> Result<Self, Error> {
        let (reader, writer) = open_sqlite(options).await?;
        Self::prepared(reader, writer, keyring, Begin::IfEmpty).await
    }

    async fn prepared(
        reader: DatabaseConnection,
        writer: DatabaseConnection,
        keyring: Keyring,
        begin: Begin,
    ) -> Result<Self, Error> {
        let store = Self { reader, writer, keyring: Arc::new(keyring), address: None, lost: Arc::default() };
        match store.prepare(begin).await {
            Ok(()) => Ok(store),
            Err(error) => {
                // Whoever tries another key next finds no connection of this one.
                store.close().await;
                Err(error)
            }
        }
    }

    /// Whether the database answers.
    pub async fn ping(&self) -> Result<(), Error> {
        self.reader.execute_unprepared("SELECT 1").await.map(drop).map_err(Error::reading("The database"))
    }

    /// Closes every connection; calls that still run may finish. Every clone is closed with it.
    pub async fn close(&self) {
        // SQLite folds its log into the file when the last connection closes, which has to be one that may write.
        for pool in [&self.reader, &self.writer] {
            if std::ptr::eq(pool, &self.writer) {
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
    pub(crate) fn writer(&self) -> Writer<'_> {
        Writer(self)
    }

    #[cfg(test)]
    pub(crate) fn raw_writer(&self) -> &DatabaseConnection {
        &self.writer
    }

    /// From now on every change is refused: what it would be written to is no longer what the next start finds.
    pub fn refuse_changes(&self) {
        self.lost.store(true, Ordering::Relaxed);
    }

    pub(crate) fn keyring(&self) -> &Keyring {
        &self.keyring
    }

    /// A transaction that may write. On SQLite it takes the write lock at once: a transaction that first reads and then
    /// finds the lock taken would fail instead of waiting.
    pub(crate) async fn begin(&self) -> Result<DatabaseTransaction, DbErr> {
        if self.lost.load(Ordering::Relaxed) {
            return Err(DbErr::Custom("the file was moved or replaced".to_owned()));
        }
        let immediate = Some(SqliteTransactionMode::Immediate);
        self.writer
            .begin_with_options(TransactionOptions { sqlite_transaction_mode: immediate, ..Default::default() })
            .await
    }

    /// Migrates and checks the key in one transaction, so that servers that start together take turns.
    async fn prepare(&self, begin: Begin) -> Result<(), Error> {
        let failed = |error: DbErr| Error::Migrate(error.into());
        let transaction = self.begin().await.map_err(failed)?;
        if transaction.get_database_backend() == DbBackend::Postgres {
            // A migration may take its time, and so may another server's that we wait for.
            let lock = format!("SET LOCAL statement_timeout TO 0; SELECT pg_advisory_xact_lock({MIGRATION_LOCK})");
            transaction.execute_unprepared(&lock).await.map_err(failed)?;
        }
        if begin == Begin::Not && !SchemaManager::new(&transaction).has_table("canary").await.map_err(failed)? {
            return Err(Error::Empty);
        }
        // The library would announce each step, in words of its own.
        Migrator::up(&transaction, None).with_subscriber(NoSubscriber::new()).await.map_err(failed)?;
        self.check_canary(&transaction).await?;
        sqlite::mark(&transaction).await.map_err(failed)?;
        let sealed = clear_logins::seal_all(&self.keyring, &transaction).await?;
        transaction.commit().await.map_err(failed)?;
        if sealed > 0 {
            self.scrub().await;
        }
        Ok(())
    }

    /// Writes a SQLite file again: what was overwritten earlier is left in its free parts, until something else is written
    /// there. Another server that has the file open may keep it from that.
    pub(crate) async fn scrub(&self) {
        if self.writer.get_database_backend() != DbBackend::Sqlite {
            return;
        }
        for step in ["VACUUM", "PRAGMA wal_checkpoint(TRUNCATE)"] {
            if let Err(error) = self.writer.execute_unprepared(step).await {
                tracing::warn!(%error, "Old values may be left in free parts of the database file.");
            }
        }
    }

    async fn check_canary(&self, transaction: &DatabaseTransaction) -> Result<(), Error> {
        let place = CANARY_PLACE;
        let found = canary::Entity::find_by_id(place.row).one(transaction).await;
        match found.map_err(Error::reading("The check of the secret key"))? {
            Some(row) => self.keyring.unseal(place, &row.sealed).map(drop).map_err(|_| Error::WrongSecretKey),
            None => {
                let row = canary::ActiveModel { id: Set(place.row), sealed: Set(self.keyring.seal(place, CANARY)?) };
                let added = canary::Entity::insert(row).exec_without_returning(transaction).await;
                added.map(drop).map_err(Error::writing("The check of the secret key"))
            }
        }
    }
}
