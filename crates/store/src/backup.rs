//! Backups: one file with the SQLite database, the secret key that decrypts it, and the node id.
//!
//! The file is itself a SQLite database: a copy of the server's database with one more table, `gostream_backup`, for the data that is
//! stored outside the database. So a backup is either complete or not a backup; a checksum detects changes, and there
//! is no second file to lose. A backup is read as untrusted input: everything that can execute inside SQLite (triggers,
//! views, virtual tables) is refused. SQLite copies a database in use consistently; for PostgreSQL, use `pg_dump`.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, ErrorKind},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use secrecy::SecretString;
use sqlx::{
    ConnectOptions as _, Connection as _, Row as _, SqliteConnection,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous},
};

use self::checksum::Verdict;
use crate::{
    canary::CANARY_LOCATION,
    database::{SQLITE_BUSY_TIMEOUT, Store, mark_closed, open_sqlite_alone, sqlite_options},
    error::{Cause, Error as StoreError},
    secret::Keyring,
};

mod checksum;

/// SQLite's result code for an invalid statement, such as one that names a missing table.
const SQLITE_ERROR: i32 = 1;
/// SQLite's result code for a file that is not a database.
const SQLITE_NOTADB: i32 = 26;

/// What a server needs in addition to its database.
#[derive(Debug)]
pub struct BackupExtras {
    /// The secret key, in the format of its file.
    pub secret_key: SecretString,
    /// The server's node id.
    pub node_id: String,
}

/// The result of [`unpack`].
#[derive(Debug)]
pub struct Unpacked {
    /// The data from outside the database.
    pub extras: BackupExtras,
    /// Whether the checksum matched. Older backups have no checksum.
    pub is_verified: bool,
}

/// Why a backup could not be written or restored; each message is a sentence.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The data is in PostgreSQL.
    #[error(
        "The data is in PostgreSQL: copy it with pg_dump, bring it back with pg_restore, and keep the secret key with the \
         copy, which is useless without it."
    )]
    NotSqlite,
    /// The database file does not exist.
    #[error("There is no database at {}: check data_dir and database.url.", path.display())]
    NoDatabase {
        /// Its expected path.
        path: PathBuf,
    },
    /// The target file already exists.
    #[error("{} exists, and a backup overwrites nothing: name another file.", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// The file is not a backup.
    #[error("{} is no backup of GoStream: give a file that `gostream backup` wrote.", path.display())]
    NotABackup {
        /// The file.
        path: PathBuf,
    },
    /// The content is damaged.
    #[error("{} is damaged ({found}): use another copy.", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What SQLite or the checksum found, in one line.
        found: String,
    },
    /// The file contains an object that GoStream never creates and that would execute in the restored database.
    #[error("{} was changed: it holds the {kind} `{name}`, which GoStream does not make. Use another copy.", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// A trigger, a view.
        kind: String,
        /// The object's name.
        name: String,
    },
    /// A file cannot be read or written.
    #[error("{} cannot be used: {source}.", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// SQLite could not write the copy.
    #[error("{} cannot be written: {source}.", path.display())]
    Copy {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: Cause,
    },
    /// The key does not match, or the migrations failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Copies the SQLite database at `url`, in use or not, with `extras` into the new file `to`, readable by its user only.
/// Before it returns, the copy is checked and opened with `keyring`.
pub async fn write(url: &str, keyring: &Keyring, extras: &BackupExtras, to: &Path) -> Result<(), Error> {
    let from = file(url)?;
    if !from.exists() {
        return Err(Error::NoDatabase { path: from });
    }
    // An empty file reserves the name; the copy is written next to it and replaces it when complete.
    let taken = Draft::create(to.to_owned())?;
    let draft = Draft::create(sibling(to, "part"))?;
    copy(&from, &draft.path).await?;
    let mut connection = open(&draft.path).await.map_err(|error| copy_failed(to, error))?;
    let packed = pack(&mut connection, extras).await.map_err(|error| copy_failed(to, error));
    let checked = match packed {
        Ok(()) => check(&mut connection, keyring, to).await,
        failed => failed,
    };
    let closed = connection.close().await.map_err(|error| copy_failed(to, error));
    checked.and(closed)?;
    checksum::write(&draft.path).map_err(|source| Error::File { path: to.to_owned(), source })?;
    draft.keep_as(to)?;
    taken.keep();
    Ok(())
}

/// Extracts a backup into the new file `to`: the database is checked, migrated, and freed of the extras.
pub async fn unpack(from: &Path, to: &Path) -> Result<Unpacked, Error> {
    let failed = |source| Error::File { path: from.to_owned(), source };
    // Opening a pipe would wait for its writer.
    if !fs::metadata(from).map_err(failed)?.is_file() {
        return Err(Error::NotABackup { path: from.to_owned() });
    }
    let mut source = File::open(from).map_err(failed)?;
    let draft = Draft::create(to.to_owned())?;
    let mut target = OpenOptions::new()
        .write(true)
        .open(to)
        .map_err(|source| Error::File { path: to.to_owned(), source })?;
    io::copy(&mut source, &mut target).map_err(failed)?;
    // Verifies the copy, because the copy is what is used.
    let verdict = checksum::verify(to).map_err(failed)?;
    if verdict == Verdict::Changed {
        let found = "its content does not match its checksum".to_owned();
        return Err(Error::Damaged { path: from.to_owned(), found });
    }
    let mut connection = open(to).await.map_err(|error| unreadable(from, error))?;
    let taken = take(&mut connection, from).await;
    let closed = connection.close().await.map_err(|error| copy_failed(to, error));
    let extras = taken.and_then(|extras| closed.map(|()| extras))?;
    draft.keep_as(to)?;
    Ok(Unpacked { extras, is_verified: verdict == Verdict::Same })
}

/// Opens the database file `path` as a server with `keyring` would, and closes it.
pub async fn prove(path: &Path, keyring: Keyring) -> Result<(), Error> {
    let store = Store::open_options(SqliteConnectOptions::new().filename(path), keyring).await?;
    store.close().await;
    Ok(())
}

/// [`StoreError::InUse`] while a server has the database file `path` open. A file that is not a database is never in
/// use.
pub async fn ensure_unused(path: &Path) -> Result<(), Error> {
    match open_sqlite_alone(SqliteConnectOptions::new().filename(path)).await {
        Ok(connection) => {
            mark_closed(&connection).await;
            connection.close().await.map_err(|error| copy_failed(path, error))
        }
        Err(StoreError::InUse) => Err(StoreError::InUse.into()),
        Err(_) => Ok(()),
    }
}

/// The path of a SQLite database URL.
pub fn file(url: &str) -> Result<PathBuf, Error> {
    match url.split_once(':') {
        Some(("sqlite", _)) => Ok(sqlite_options(url)?.get_filename().to_owned()),
        _ => Err(Error::NotSqlite),
    }
}

/// Flushes and renames a file durably: after the return, the change survives a power cut.
pub fn replace(draft: &Path, path: &Path) -> io::Result<()> {
    File::open(draft)?.sync_all()?;
    fs::rename(draft, path)?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}

/// A path in the same folder.
pub fn sibling(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(ending);
    name.into()
}

/// `VACUUM INTO` reads a consistent snapshot, however long it takes, and blocks no writer.
async fn copy(from: &Path, to: &Path) -> Result<(), Error> {
    let failed = |error: sqlx::Error| copy_failed(to, error);
    let options = SqliteConnectOptions::new().filename(from).busy_timeout(SQLITE_BUSY_TIMEOUT);
    let mut connection = options.disable_statement_logging().connect().await.map_err(failed)?;
    let target = to.to_str().ok_or_else(|| Error::File {
        path: to.to_owned(),
        source: io::Error::new(ErrorKind::InvalidFilename, "its name is not UTF-8"),
    })?;
    let copied = sqlx::query("VACUUM INTO ?").bind(target).execute(&mut connection).await;
    let closed = connection.close().await;
    copied.map(drop).and(closed).map_err(failed)
}

/// Opens a single file: no write-ahead log, flushed at each commit, and deleted content is overwritten.
async fn open(path: &Path) -> Result<SqliteConnection, sqlx::Error> {
    let options = SqliteConnectOptions::new()
        .filename(path)
        .journal_mode(SqliteJournalMode::Delete)
        .synchronous(SqliteSynchronous::Full)
        .pragma("secure_delete", "ON")
        .pragma("trusted_schema", "OFF");
    options.disable_statement_logging().connect().await
}

async fn pack(connection: &mut SqliteConnection, extras: &BackupExtras) -> Result<(), sqlx::Error> {
    use secrecy::ExposeSecret as _;

    let table = "CREATE TABLE gostream_backup (secret_key TEXT NOT NULL, node_id TEXT NOT NULL, version TEXT NOT NULL, \
                 checksum TEXT NOT NULL)";
    let mut transaction = connection.begin().await?;
    sqlx::query(table).execute(&mut *transaction).await?;
    sqlx::query("INSERT INTO gostream_backup VALUES (?, ?, ?, ?)")
        .bind(extras.secret_key.expose_secret())
        .bind(&extras.node_id)
        .bind(env!("CARGO_PKG_VERSION"))
        .bind(checksum::placeholder())
        .execute(&mut *transaction)
        .await?;
    transaction.commit().await
}

/// Checks that every page and index is valid, and that the key decrypts the canary.
async fn check(connection: &mut SqliteConnection, keyring: &Keyring, path: &Path) -> Result<(), Error> {
    check_integrity(connection, path).await?;
    let sealed = sqlx::query("SELECT sealed FROM canary").fetch_optional(&mut *connection).await;
    let sealed = sealed.and_then(|row| row.map(|row| row.try_get::<Vec<u8>, _>(0)).transpose());
    match sealed.map_err(|error| copy_failed(path, error))? {
        Some(sealed) => {
            keyring.unseal(CANARY_LOCATION, &sealed).map(drop).map_err(|_| StoreError::WrongSecretKey.into())
        }
        None => Err(StoreError::WrongSecretKey.into()),
    }
}

async fn check_integrity(connection: &mut SqliteConnection, path: &Path) -> Result<(), Error> {
    let damaged = |found: String| Error::Damaged { path: path.to_owned(), found: found.replace('\n', ", ") };
    let found = sqlx::query("PRAGMA integrity_check(1)").fetch_one(connection).await;
    let found = found.and_then(|row| row.try_get::<String, _>(0)).map_err(|error| damaged(error.to_string()))?;
    if found == "ok" { Ok(()) } else { Err(damaged(found)) }
}

/// Only tables and indexes are pure data; anything else could execute.
async fn refuse_foreign(connection: &mut SqliteConnection, path: &Path) -> Result<(), Error> {
    let foreign = "SELECT type, name FROM sqlite_master WHERE type NOT IN ('table', 'index') \
                   OR (type = 'table' AND sql LIKE 'CREATE VIRTUAL%') LIMIT 1";
    let found = sqlx::query(foreign).fetch_optional(connection).await;
    let found = found.and_then(|row| row.map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).transpose());
    match found.map_err(|error| unreadable(path, error))? {
        None => Ok(()),
        Some((kind, name)) => Err(Error::Foreign { path: path.to_owned(), kind, name }),
    }
}

async fn take(connection: &mut SqliteConnection, path: &Path) -> Result<BackupExtras, Error> {
    // First, because reading from a view would execute it.
    refuse_foreign(connection, path).await?;
    let query = sqlx::query("SELECT secret_key, node_id FROM gostream_backup");
    let row = query.fetch_one(&mut *connection).await;
    let read = row.and_then(|row| Ok((row.try_get::<String, _>(0)?, row.try_get::<String, _>(1)?)));
    let (secret_key, node_id) = read.map_err(|error| unreadable(path, error))?;
    check_integrity(connection, path).await?;
    let dropped = sqlx::query("DROP TABLE gostream_backup").execute(connection).await;
    dropped.map_err(|error| unreadable(path, error))?;
    Ok(BackupExtras { secret_key: secret_key.into(), node_id })
}

/// SQLite reports a file that is not a database, and a missing table in one that is not a backup.
fn unreadable(path: &Path, error: sqlx::Error) -> Error {
    let code = error.as_database_error().and_then(|error| error.code()?.parse::<i32>().ok());
    match code {
        Some(SQLITE_ERROR | SQLITE_NOTADB) => Error::NotABackup { path: path.to_owned() },
        _ => Error::Damaged { path: path.to_owned(), found: Cause::from(error).to_string() },
    }
}

fn copy_failed(path: &Path, error: impl Into<Cause>) -> Error {
    Error::Copy { path: path.to_owned(), source: error.into() }
}

/// A new file, readable by its user only, that is removed unless it is kept.
struct Draft {
    path: PathBuf,
    kept: bool,
}

impl Draft {
    fn create(path: PathBuf) -> Result<Self, Error> {
        match OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path) {
            Ok(_) => Ok(Self { path, kept: false }),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Err(Error::Exists { path }),
            Err(source) => Err(Error::File { path, source }),
        }
    }

    fn keep_as(self, path: &Path) -> Result<(), Error> {
        replace(&self.path, path).map_err(|source| Error::File { path: path.to_owned(), source })?;
        self.keep();
        Ok(())
    }

    fn keep(mut self) {
        self.kept = true;
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if !self.kept {
            // The earlier failure is already reported.
            let _ = fs::remove_file(&self.path);
        }
    }
}
