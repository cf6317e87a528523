//! The store's handle: opens the database, brings its tables up to date, and checks that the secret key fits.

use std::{
    fs::OpenOptions,
    io::{self, ErrorKind},
    net::IpAddr,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use sea_orm::{
    ActiveValue::Set, ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbBackend, DbErr, EntityTrait as _,
    SqliteTransactionMode, SqlxPostgresConnector, SqlxSqliteConnector, TransactionOptions, TransactionTrait as _,
};
use sea_orm_migration::MigratorTrait as _;
use sqlx::{
    Connection as _, Executor as _,
    postgres::{PgConnectOptions, PgPoolOptions},
    sqlite::{
        SqliteConnectOptions, SqliteJournalMode, SqliteLockingMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
    },
};
use tracing::{instrument::WithSubscriber as _, subscriber::NoSubscriber};
use uuid::Uuid;

use crate::{
    entity::canary,
    error::{Cause, Error},
    migration::Migrator,
    secret::{Keyring, Place},
};

/// PostgreSQL allows 100 connections by default; several servers and a person with `psql` share them.
const POSTGRES_CONNECTIONS_MAX: u32 = 10;
/// SQLite lets readers go on beside the one writer. More than a few only take turns on the disk.
const SQLITE_READERS_MAX: u32 = 4;
/// How long another process may hold SQLite's write lock. Ours are held for milliseconds.
pub(crate) const SQLITE_BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// How soon to try again where the database itself does not wait. A person does not notice it at the start.
const BUSY_RETRY: Duration = Duration::from_millis(20);
/// SQLite's result code for a lock that another holds. The bytes above the lowest say more precisely which.
const SQLITE_BUSY: i32 = 5;
/// How long a call waits for a free connection, or for the database to answer a new one.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);
/// Longer than any query of ours takes. PostgreSQL gives up on the statement, whatever it waits for.
const STATEMENT_TIMEOUT: &str = "SET statement_timeout TO '30s'";
/// A connection whose query was given up on is tried before it is used again; without an answer by then it is closed.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(5);
/// PostgreSQL's advisory lock that one starting server holds while it migrates: "gostream" in ASCII.
const MIGRATION_LOCK: i64 = i64::from_be_bytes(*b"gostream");
/// PostgreSQL's advisory lock that each connection shares, and that a command takes for itself that must be alone.
const USE_LOCK: i64 = i64::from_be_bytes(*b"gs-inuse");
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
}

impl Store {
    /// Opens `sqlite:///path/file.db` (made if missing, for this user only) or `postgres://…`, and brings its tables up
    /// to date. [`Error::WrongSecretKey`] if the database was written with other keys.
    pub async fn open(url: &str, keyring: Keyring) -> Result<Self, Error> {
        let (reader, writer) = match url.split_once(':') {
            Some(("sqlite", _)) => open_sqlite(sqlite_options(url)?).await?,
            Some(("postgres" | "postgresql", _)) => open_postgres(url).await?,
            _ => return Err(Error::Url),
        };
        Self::prepared(reader, writer, keyring).await
    }

    /// The same while nobody else has the database open, and nobody else may open it: [`Error::InUse`].
    pub(crate) async fn open_alone(url: &str, keyring: Keyring) -> Result<Self, Error> {
        let connection = match url.split_once(':') {
            Some(("sqlite", _)) => open_sqlite_alone(sqlite_options(url)?).await?,
            Some(("postgres" | "postgresql", _)) => open_postgres_alone(url).await?,
            _ => return Err(Error::Url),
        };
        Self::prepared(connection.clone(), connection, keyring).await
    }

    /// The same with a SQLite file.
    pub(crate) async fn open_options(options: SqliteConnectOptions, keyring: Keyring) -> Result<Self, Error> {
        let (reader, writer) = open_sqlite(options).await?;
        Self::prepared(reader, writer, keyring).await
    }

    async fn prepared(reader: DatabaseConnection, writer: DatabaseConnection, keyring: Keyring) -> Result<Self, Error> {
        let store = Self { reader, writer, keyring: Arc::new(keyring), address: None };
        match store.prepare().await {
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
            if let Err(error) = pool.close_by_ref().await {
                tracing::warn!(%error, "The database was not closed cleanly.");
            }
        }
    }

    /// For queries.
    pub(crate) fn reader(&self) -> &DatabaseConnection {
        &self.reader
    }

    /// For changes.
    pub(crate) fn writer(&self) -> &DatabaseConnection {
        &self.writer
    }

    pub(crate) fn keyring(&self) -> &Keyring {
        &self.keyring
    }

    /// A transaction that may write. On SQLite it takes the write lock at once: a transaction that first reads and then
    /// finds the lock taken would fail instead of waiting.
    pub(crate) async fn begin(&self) -> Result<DatabaseTransaction, DbErr> {
        let immediate = Some(SqliteTransactionMode::Immediate);
        self.writer
            .begin_with_options(TransactionOptions { sqlite_transaction_mode: immediate, ..Default::default() })
            .await
    }

    /// Migrates and checks the key in one transaction, so that servers that start together take turns.
    async fn prepare(&self) -> Result<(), Error> {
        let failed = |error: DbErr| Error::Migrate(error.into());
        let transaction = self.begin().await.map_err(failed)?;
        if transaction.get_database_backend() == DbBackend::Postgres {
            // A migration may take its time, and so may another server's that we wait for.
            let lock = format!("SET LOCAL statement_timeout TO 0; SELECT pg_advisory_xact_lock({MIGRATION_LOCK})");
            transaction.execute_unprepared(&lock).await.map_err(failed)?;
        }
        // The library would announce each step, in words of its own.
        Migrator::up(&transaction, None).with_subscriber(NoSubscriber::new()).await.map_err(failed)?;
        self.check_canary(&transaction).await?;
        let sealed = self.seal_logins(&transaction).await?;
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

/// What a URL says about a file.
pub(crate) fn sqlite_options(url: &str) -> Result<SqliteConnectOptions, Error> {
    let options: SqliteConnectOptions = url.parse().map_err(|_| Error::Url)?;
    // Two pools would see two databases.
    if url.contains(":memory:") || url.contains("mode=memory") || options.get_filename().as_os_str().is_empty() {
        return Err(Error::Url);
    }
    Ok(options)
}

async fn open_sqlite(options: SqliteConnectOptions) -> Result<(DatabaseConnection, DatabaseConnection), Error> {
    let path = options.get_filename();
    create_file(path).map_err(|source| Error::CreateFile { path: path.to_owned(), source })?;

    let options = options
        .busy_timeout(SQLITE_BUSY_TIMEOUT)
        .foreign_keys(true)
        // With the log in between, a power cut may lose the last moment but never breaks the file.
        .synchronous(SqliteSynchronous::Normal);
    let pool = |connections| {
        SqlitePoolOptions::new()
            .max_connections(connections)
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .idle_timeout(None)
            .max_lifetime(None)
    };
    let writer = options.clone().journal_mode(SqliteJournalMode::Wal);
    let writer = connect_writer(pool(1), writer, SQLITE_BUSY_TIMEOUT).await?;
    let reader = pool(SQLITE_READERS_MAX).connect_lazy_with(options.pragma("query_only", "ON"));
    Ok((SqlxSqliteConnector::from_sqlx_sqlite_pool(reader), SqlxSqliteConnector::from_sqlx_sqlite_pool(writer)))
}

/// Opens the file and switches it to a write-ahead log. The first switch of a new file needs the file alone, and SQLite
/// gives up at once when another server is about to write, whatever the timeout. So we wait in its place.
async fn connect_writer(
    pool: SqlitePoolOptions,
    options: SqliteConnectOptions,
    patience: Duration,
) -> Result<SqlitePool, Error> {
    let deadline = Instant::now() + patience;
    loop {
        match pool.clone().connect_with(options.clone()).await {
            Err(error) if is_busy(&error) && Instant::now() < deadline => tokio::time::sleep(BUSY_RETRY).await,
            Err(error) if is_busy(&error) => return Err(Error::InUse),
            done => return done.map_err(|error| Error::Connect(error.into())),
        }
    }
}

/// Opens a file that nobody else has open, and keeps everybody else out until the connection is closed. What is
/// overwritten or deleted leaves no trace in the file.
pub(crate) async fn open_sqlite_alone(options: SqliteConnectOptions) -> Result<DatabaseConnection, Error> {
    let options = options
        .busy_timeout(ALONE_PATIENCE)
        .foreign_keys(true)
        .synchronous(SqliteSynchronous::Full)
        // Every connection to a write-ahead log holds a shared lock on the file, from its first look at it to its end.
        .locking_mode(SqliteLockingMode::Exclusive)
        .journal_mode(SqliteJournalMode::Wal)
        .pragma("secure_delete", "ON");
    let pool = SqlitePoolOptions::new().max_connections(1).idle_timeout(None).max_lifetime(None);
    let pool = connect_writer(pool.acquire_timeout(ACQUIRE_TIMEOUT), options, ALONE_PATIENCE).await?;
    Ok(SqlxSqliteConnector::from_sqlx_sqlite_pool(pool))
}

fn is_busy(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|error| error.code()?.parse::<i32>().ok());
    code.is_some_and(|code| code & 0xFF == SQLITE_BUSY)
}

/// Makes the database file for this user only. SQLite gives its log the same mode as the file.
fn create_file(path: &Path) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    match options.open(path) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

async fn open_postgres(url: &str) -> Result<(DatabaseConnection, DatabaseConnection), Error> {
    let options: PgConnectOptions = url.parse().map_err(|_| Error::Url)?;
    let pool = PgPoolOptions::new()
        .max_connections(POSTGRES_CONNECTIONS_MAX)
        // One at least, for its lock.
        .min_connections(1)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .after_connect(|connection, _| {
            Box::pin(async move {
                let lock = sqlx::query("SELECT pg_advisory_lock_shared($1)").bind(USE_LOCK);
                lock.execute(&mut *connection).await?;
                connection.execute(STATEMENT_TIMEOUT).await.map(drop)
            })
        })
        // The pool tries it as well, and would wait for ever: a database that hangs would take the pool with it.
        .after_release(|connection, _| {
            Box::pin(async move {
                let answer = tokio::time::timeout(RELEASE_TIMEOUT, connection.ping()).await;
                answer.unwrap_or(Err(sqlx::Error::PoolTimedOut)).map(|()| true)
            })
        })
        .connect_with(options.application_name("gostream"))
        .await
        .map_err(|error: sqlx::Error| Error::Connect(Cause::from(error)))?;
    let connection = SqlxPostgresConnector::from_sqlx_postgres_pool(pool);
    Ok((connection.clone(), connection))
}

/// One connection, which holds the lock that keeps all others out until it is closed.
async fn open_postgres_alone(url: &str) -> Result<DatabaseConnection, Error> {
    let options: PgConnectOptions = url.parse().map_err(|_| Error::Url)?;
    let failed = |error: sqlx::Error| Error::Connect(Cause::from(error));
    let pool = PgPoolOptions::new().max_connections(1).idle_timeout(None).max_lifetime(None);
    let pool = pool.acquire_timeout(ACQUIRE_TIMEOUT).connect_with(options.application_name("gostream"));
    let pool = pool.await.map_err(failed)?;
    let deadline = Instant::now() + ALONE_PATIENCE;
    loop {
        let lock = sqlx::query_scalar("SELECT pg_try_advisory_lock($1)").bind(USE_LOCK);
        if lock.fetch_one(&pool).await.map_err(failed)? {
            return Ok(SqlxPostgresConnector::from_sqlx_postgres_pool(pool));
        }
        if Instant::now() > deadline {
            pool.close().await;
            return Err(Error::InUse);
        }
        tokio::time::sleep(BUSY_RETRY).await;
    }
}
