//! SQLite: a database file with a write-ahead log next to it.

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

/// SQLite allows readers in parallel with the one writer; with more readers, they only compete for the disk.
const SQLITE_READERS_MAX: u32 = 4;
/// How long another process may hold SQLite's write lock. Our own locks last milliseconds.
pub(crate) const SQLITE_BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// SQLite's result code for a lock held by another connection; its higher bytes tell which.
const SQLITE_BUSY: i32 = 5;
/// The application id in the header of our database files, from this version on.
const APPLICATION_ID: u32 = u32::from_be_bytes(*b"GoSt");
/// Offset of the application id in the header.
const APPLICATION_ID_AT: usize = 68;
/// Header format value of a file whose newest changes are in the write-ahead log.
const FORMAT_WITH_LOG: u8 = 2;
/// Bytes of the header.
const HEAD_BYTES: usize = 100;

/// Writes the application id.
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

/// Marks in the header that the file is complete, by switching to the format without a log. Has no effect while others
/// have the file open.
pub(crate) async fn mark_closed(writer: &DatabaseConnection) {
    if writer.get_database_backend() != DbBackend::Sqlite {
        return;
    }
    if let Err(error) = writer.execute_unprepared("PRAGMA journal_mode = DELETE").await {
        tracing::debug!(%error, "The database is open in another process and keeps its log.");
    }
}

/// The path of a file's write-ahead log.
fn log_of(path: &Path) -> PathBuf {
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    log.into()
}

/// A file that was last written with a write-ahead log, which is now missing.
#[derive(Clone, Debug)]
pub struct WithoutLog {
    /// The database file.
    pub path: PathBuf,
    /// The expected path of its log.
    pub log: PathBuf,
    /// When the server last wrote to it, according to the file.
    pub written_at: OffsetDateTime,
}

/// The SQLite file of a URL, if the write-ahead log that it was last written with is missing. Either another program
/// merged the log into the file, or the file was copied or moved without it; then the file is in the state of `node`'s
/// last checkpoint.
pub async fn without_log(url: &str, node: &str) -> Option<WithoutLog> {
    let options = url.starts_with("sqlite:").then(|| sqlite_options(url).ok()).flatten()?;
    let path = options.get_filename().to_owned();
    let log = log_of(&path);
    let is_ours = head_of(&path).is_some_and(|head| head.is_ours && head.has_log);
    if !is_ours || log.exists() {
        return None;
    }
    // Any other mode would create a new log.
    let mut connection = options.read_only(true).immutable(true).connect().await.ok()?;
    let seen = sqlx::query_scalar("SELECT seen_at FROM nodes WHERE id = ?").bind(node);
    let seen: Option<i64> = seen.fetch_optional(&mut connection).await.ok()?;
    let _ = connection.close().await;
    Some(WithoutLog { path, log, written_at: Moment::from_ms(seen?).into() })
}

/// The SQLite file of a URL, if it does not exist or is empty.
pub fn missing_file(url: &str) -> Option<PathBuf> {
    let options = url.starts_with("sqlite:").then(|| sqlite_options(url).ok()).flatten()?;
    let path = options.get_filename();
    let length = |path: &Path| fs::metadata(path).map_or(0, |file| file.len());
    // The first page lists the tables, and each table has a page of its own.
    let first_page = head_of(path).map_or(0, |head| head.page_bytes);
    (length(path) <= first_page && length(&log_of(path)) == 0).then(|| path.to_owned())
}

/// The header of a database file (SQLite, "Database File Format", section 1.3).
struct Head {
    page_bytes: u64,
    /// The newest changes are in a write-ahead log.
    has_log: bool,
    is_ours: bool,
}

/// `None` if the file is shorter than a header.
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

/// The connection options of a SQLite URL.
pub(crate) fn sqlite_options(url: &str) -> Result<SqliteConnectOptions, Error> {
    let options: SqliteConnectOptions = url.parse().map_err(|_| Error::Url)?;
    // The two pools would open two different databases.
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
        // Acknowledged changes are on the disk. Without this, a power cut would lose what the system had not yet
        // written: up to half a minute.
        .synchronous(SqliteSynchronous::Full);
    let pool = |connections| {
        SqlitePoolOptions::new()
            .max_connections(connections)
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .idle_timeout(None)
            .max_lifetime(None)
            // If a commit fails on a full disk, SQLite rolls the transaction back itself, and the driver still
            // considers it open: later statements would be part of it, acknowledged and never committed. Such a
            // connection is closed.
            .after_release(|connection, _| {
                Box::pin(async move {
                    // A pending rollback is executed by now.
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

/// Opens the file and switches it to a write-ahead log. The first switch of a new file needs exclusive access, and
/// SQLite fails at once if another server is about to write, whatever the timeout is. So this waits instead.
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

/// Opens a file exclusively until the connection is closed; fails if another process has it open. Overwritten and
/// deleted content leaves no trace in the file.
pub(crate) async fn open_sqlite_alone(options: SqliteConnectOptions) -> Result<DatabaseConnection, Error> {
    let options = options
        .busy_timeout(ALONE_PATIENCE)
        .foreign_keys(true)
        .synchronous(SqliteSynchronous::Full)
        // With a write-ahead log, every connection holds a shared lock on the file from its first access until it is
        // closed.
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

/// Creates the database file, readable by its user only. SQLite gives its log the same mode.
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
