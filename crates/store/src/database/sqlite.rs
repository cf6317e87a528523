//! SQLite: a file with a write-ahead log beside it.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, ErrorKind, Read as _},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use sea_orm::{
    ConnectionTrait as _, DatabaseConnection, DatabaseTransaction, DbBackend, DbErr, SqlxSqliteConnector, Statement,
};
use sqlx::{
    ConnectOptions as _, Connection as _,
    sqlite::{
        SqliteConnectOptions, SqliteJournalMode, SqliteLockingMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
    },
};

use time::OffsetDateTime;

use super::timeouts::{ACQUIRE_TIMEOUT, ALONE_PATIENCE, BUSY_RETRY};
use crate::{entity::moment::Moment, error::Error};

/// SQLite lets readers go on beside the one writer. More than a few only take turns on the disk.
const SQLITE_READERS_MAX: u32 = 4;
/// How long another process may hold SQLite's write lock. Ours are held for milliseconds.
pub(crate) const SQLITE_BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// SQLite's result code for a lock that another holds. The bytes above the lowest say more precisely which.
const SQLITE_BUSY: i32 = 5;
/// What a database file of ours says in its head that it is, from this version on.
const APPLICATION_ID: u32 = u32::from_be_bytes(*b"GoSt");
/// Where its head says so.
const APPLICATION_ID_AT: usize = 68;
/// The format of a file whose newest changes are in the write-ahead log beside it.
const FORMAT_WITH_LOG: u8 = 2;
/// How long the head is.
const HEAD_BYTES: usize = 100;

/// Says in the head of the file that it is ours.
pub(crate) async fn mark(transaction: &DatabaseTransaction) -> Result<(), DbErr> {
    if transaction.get_database_backend() != DbBackend::Sqlite {
        return Ok(());
    }
    let asked = Statement::from_string(DbBackend::Sqlite, "PRAGMA application_id");
    let found = transaction.query_one_raw(asked).await?.map(|row| row.try_get_by_index::<i64>(0)).transpose()?;
    if found != Some(i64::from(APPLICATION_ID)) {
        transaction.execute_unprepared(&format!("PRAGMA application_id = {APPLICATION_ID}")).await?;
    }
    Ok(())
}

/// Says in its head that all is in the file: the format without a log. While others have it open, it stays as it is.
pub(crate) async fn mark_closed(writer: &DatabaseConnection) {
    if writer.get_database_backend() != DbBackend::Sqlite {
        return;
    }
    if let Err(error) = writer.execute_unprepared("PRAGMA journal_mode = DELETE").await {
        tracing::debug!(%error, "The database is open elsewhere, and keeps its log.");
    }
}

/// Where SQLite keeps the newest changes of a file.
fn log_of(path: &Path) -> PathBuf {
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    log.into()
}

/// A file that was in use when it was last written, and has no log beside it.
#[derive(Clone, Debug)]
pub struct WithoutLog {
    /// The database file.
    pub path: PathBuf,
    /// Where its log would be.
    pub log: PathBuf,
    /// When the server last wrote into it, as far as the file knows.
    pub written_at: OffsetDateTime,
}

/// The file that a URL names, if it is one of SQLite without the log that it was last written with. Either another program folded
/// that into the file, or the file was copied or moved alone: then it is as it was when `node` last wrote into it.
pub async fn without_log(url: &str, node: &str) -> Option<WithoutLog> {
    let options = url.starts_with("sqlite:").then(|| sqlite_options(url).ok()).flatten()?;
    let path = options.get_filename().to_owned();
    let log = log_of(&path);
    let is_ours = head_of(&path).is_some_and(|head| head.is_ours && head.has_log);
    if !is_ours || log.exists() {
        return None;
    }
    // Anything else would begin a new log.
    let mut connection = options.read_only(true).immutable(true).connect().await.ok()?;
    let seen = sqlx::query_scalar("SELECT seen_at FROM nodes WHERE id = ?").bind(node);
    let seen: Option<i64> = seen.fetch_optional(&mut connection).await.ok()?;
    let _ = connection.close().await;
    Some(WithoutLog { path, log, written_at: Moment::from_ms(seen?).into() })
}

/// The file that a URL names, if it is one of SQLite that is not there, or has nothing in it.
pub fn missing_file(url: &str) -> Option<PathBuf> {
    let options = url.starts_with("sqlite:").then(|| sqlite_options(url).ok()).flatten()?;
    let path = options.get_filename();
    let length = |path: &Path| fs::metadata(path).map_or(0, |file| file.len());
    // The first page lists the tables, and each of them has one of its own.
    let first_page = head_of(path).map_or(0, |head| head.page_bytes);
    (length(path) <= first_page && length(&log_of(path)) == 0).then(|| path.to_owned())
}

/// What the head of a database file says (SQLite, "Database File Format", section 1.3).
struct Head {
    page_bytes: u64,
    /// Its newest changes are in a write-ahead log.
    has_log: bool,
    is_ours: bool,
}

/// `None` for a file that is shorter.
fn head_of(path: &Path) -> Option<Head> {
    let mut head = [0; HEAD_BYTES];
    File::open(path).ok()?.read_exact(&mut head).ok()?;
    let [.., high, low, _, format] = *head.first_chunk::<20>()?;
    let page_bytes = match u64::from(u16::from_be_bytes([high, low])) {
        1 => 65_536,
        bytes => bytes,
    };
    let is_ours = head.get(APPLICATION_ID_AT..)?.starts_with(&APPLICATION_ID.to_be_bytes());
    Some(Head { page_bytes, has_log: format == FORMAT_WITH_LOG, is_ours })
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

pub(crate) async fn open_sqlite(
    options: SqliteConnectOptions,
) -> Result<(DatabaseConnection, DatabaseConnection), Error> {
    let path = options.get_filename();
    create_file(path).map_err(|source| Error::CreateFile { path: path.to_owned(), source })?;

    let options = options
        .busy_timeout(SQLITE_BUSY_TIMEOUT)
        .foreign_keys(true)
        // What is answered is on the disk. Without this, a power cut takes what the system had not written yet: half a minute.
        .synchronous(SqliteSynchronous::Full);
    let pool = |connections| {
        SqlitePoolOptions::new()
            .max_connections(connections)
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .idle_timeout(None)
            .max_lifetime(None)
            // SQLite rolls a transaction back by itself when its commit finds no room, and the driver then takes it for open: all
            // that follows would be a part of it, answered and never kept. Such a connection is closed.
            .after_release(|connection, _| {
                Box::pin(async move {
                    // What was told to roll back has by then.
                    connection.ping().await?;
                    Ok(!connection.is_in_transaction())
                })
            })
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
