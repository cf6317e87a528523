//! Errors of the store. Their sentences contain no values and no credentials.

use std::{fmt, io, path::PathBuf};

use sea_orm::{DbErr, RuntimeErr, SqlErr};
use uuid::Uuid;

/// Why a call to the store failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No such row, or it belongs to another account.
    #[error("There is nothing with this id.")]
    NotFound,
    /// The limit is reached.
    #[error("The limit is reached.")]
    Quota,
    /// Another account has this email address.
    #[error("There is an account with this email address already.")]
    EmailTaken,
    /// All logins of the account, or the session of the request, ended after they were checked.
    #[error("All logins of this account were ended in the meantime.")]
    LoginsEnded,
    /// The cursor is not from a previous page.
    #[error("The cursor is not from a previous page.")]
    BadCursor,
    /// The database was encrypted with another secret key.
    #[error(
        "This database was encrypted with another secret key: restore that key (data_dir/secret.key, or \
         what secret_key sets), restore a backup, or start with a new database."
    )]
    WrongSecretKey,
    /// Another process has the database open, or has exclusive access.
    #[error("Another process is using the database: stop every server on it, and try again.")]
    InUse,
    /// The database was never written to.
    #[error("The database is empty.")]
    Empty,
    /// A pooler in front of PostgreSQL that does not keep sessions.
    #[error(
        "database.url leads to a pooler that may use another session for each transaction: set its pool_mode to \
         session, or use the address of PostgreSQL itself."
    )]
    TransactionPooling,
    /// The listening connection receives no notifications.
    #[error("notifications from other connections do not arrive: a pooler may assign a session per transaction")]
    Deaf,
    /// Another server on the database has the same node id.
    #[error(
        "Another server with the same node id uses the database: stop it, or, if this data directory is a copy, \
         remove node.id here."
    )]
    NodeInUse,
    /// The URL is not that of a supported database.
    #[error("A database URL looks like sqlite:///path/file.db or postgres://user:password@host/database.")]
    Url,
    /// The database file cannot be created.
    #[error("{} cannot be created: {source}", path.display())]
    CreateFile {
        /// The database file.
        path: PathBuf,
        /// The system's error.
        #[source]
        source: io::Error,
    },
    /// The database does not respond, or refuses the connection.
    #[error("No connection to the database: {0}")]
    Connect(#[source] Cause),
    /// A migration failed.
    #[error("The tables cannot be migrated: {0}")]
    Migrate(#[source] Cause),
    /// A query failed.
    #[error("{what} cannot be read: {source}")]
    Read {
        /// The object of the query, as the start of a sentence.
        what: &'static str,
        /// The database's error.
        #[source]
        source: Cause,
    },
    /// A change failed and was rolled back.
    #[error("{what} cannot be written: {source}")]
    Write {
        /// The object of the change, as the start of a sentence.
        what: &'static str,
        /// The database's error.
        #[source]
        source: Cause,
    },
    /// A sealed value was modified, or copied from another row or column.
    #[error("The sealed {column} of {table} {row} cannot be decrypted: it belongs to another row, or was changed.")]
    Unseal {
        /// The table.
        table: &'static str,
        /// The column.
        column: &'static str,
        /// The row's id.
        row: Uuid,
    },
    /// A value cannot be sealed, because it is larger than any key by orders of magnitude.
    #[error("A value of this size cannot be sealed.")]
    Seal,
    /// The system's random number generator failed.
    #[error("The system's random number generator failed: {0}")]
    Random(#[source] getrandom::Error),
}

/// A condition in which the database stores no changes. Reads may still work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The disk is full.
    Full,
    /// The database or its disk is read-only.
    ReadOnly,
    /// The database file is damaged.
    Damaged,
    /// The database file was moved or replaced.
    Replaced,
    /// The database does not respond.
    Away,
}

/// A database error in one line. The driver's own error also contains values of the row, which may be a password hash
/// or a name; they are removed here, so that no log can contain them.
#[derive(Clone, PartialEq, Eq)]
pub struct Cause {
    message: String,
    trouble: Option<Trouble>,
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match self.trouble {
            Some(Trouble::Full) => f.write_str(". Its disk is full: make room there"),
            Some(Trouble::ReadOnly) => f.write_str(". It is read-only: check its mount, its locks and its failover"),
            Some(Trouble::Damaged) => f.write_str(". Its file is damaged: restore the newest backup"),
            Some(Trouble::Replaced | Trouble::Away) | None => Ok(()),
        }
    }
}

impl fmt::Debug for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.message, f)
    }
}

impl std::error::Error for Cause {}

impl From<DbErr> for Cause {
    fn from(error: DbErr) -> Self {
        let trouble = match &error {
            DbErr::Conn(RuntimeErr::SqlxError(cause))
            | DbErr::Exec(RuntimeErr::SqlxError(cause))
            | DbErr::Query(RuntimeErr::SqlxError(cause)) => trouble_of(cause),
            DbErr::ConnectionAcquire(_) | DbErr::Conn(_) => Some(Trouble::Away),
            // The writer's own error.
            DbErr::Custom(_) => Some(Trouble::Replaced),
            _ => None,
        };
        Self { message: error.to_string(), trouble }
    }
}

impl From<sqlx::Error> for Cause {
    fn from(error: sqlx::Error) -> Self {
        let said = match &error {
            // While the port is closed, the pool retries and loses the original error.
            sqlx::Error::PoolTimedOut => "it did not answer in time. Is it running, and is its URL right?".to_owned(),
            sqlx::Error::Io(error) => format!("{error}. Is it running, and is its URL right?"),
            error => error.to_string(),
        };
        Self { message: said, trouble: trouble_of(&error) }
    }
}

/// The condition that an error code shows: SQLite "Result and Error Codes" (lowest byte), PostgreSQL appendix A.
fn trouble_of(error: &sqlx::Error) -> Option<Trouble> {
    let code = match error {
        sqlx::Error::Database(error) => error.code()?,
        sqlx::Error::Io(_) | sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed => return Some(Trouble::Away),
        _ => return None,
    };
    if let Some(code) = code.parse::<i32>().ok().filter(|_| code.len() < 5) {
        return match code & 0xFF {
            13 => Some(Trouble::Full),
            8 => Some(Trouble::ReadOnly),
            11 | 26 => Some(Trouble::Damaged),
            10 | 14 => Some(Trouble::Away),
            _ => None,
        };
    }
    match &*code {
        "53100" => Some(Trouble::Full),
        "25006" => Some(Trouble::ReadOnly),
        "XX001" | "XX002" => Some(Trouble::Damaged),
        "58030" | "53300" => Some(Trouble::Away),
        code if code.starts_with("08") || code.starts_with("57P") => Some(Trouble::Away),
        _ => None,
    }
}

impl Error {
    /// The condition of the database, if this error shows one.
    pub fn trouble(&self) -> Option<Trouble> {
        match self {
            Self::Connect(cause) | Self::Migrate(cause) => cause.trouble,
            Self::Read { source, .. } | Self::Write { source, .. } => source.trouble,
            _ => None,
        }
    }

    /// For `map_err`: reading `what` failed.
    pub(crate) fn reading(what: &'static str) -> impl FnOnce(DbErr) -> Self {
        move |error| Self::Read { what, source: error.into() }
    }

    /// For `map_err`: changing `what` failed.
    pub(crate) fn writing(what: &'static str) -> impl FnOnce(DbErr) -> Self {
        move |error| Self::Write { what, source: error.into() }
    }

    /// For `map_err`: adding a row of `what` failed; [`Error::NotFound`] if the row that it refers to is gone.
    pub(crate) fn adding(what: &'static str) -> impl FnOnce(DbErr) -> Self {
        move |error| match error.sql_err() {
            Some(SqlErr::ForeignKeyConstraintViolation(_)) => Self::NotFound,
            _ => Self::Write { what, source: error.into() },
        }
    }
}
