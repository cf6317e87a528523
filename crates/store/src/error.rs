//! What can go wrong, as sentences that hold neither a value nor a credential.

use std::{fmt, io, path::PathBuf};

use sea_orm::{DbErr, SqlErr};
use uuid::Uuid;

/// Why a call to the store failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no such row, or it belongs to somebody else.
    #[error("There is nothing with this id.")]
    NotFound,
    /// There are as many as there may be.
    #[error("There are as many as there may be.")]
    Quota,
    /// Another account has this email address.
    #[error("There is an account with this email address already.")]
    EmailTaken,
    /// What was checked is no longer so: every login of the account ended meanwhile, or the session that asks did.
    #[error("Every login of this account ended meanwhile.")]
    LoginsEnded,
    /// The cursor did not come from a page before.
    #[error("The cursor is not one that a page gave.")]
    BadCursor,
    /// The database was written with another secret key.
    #[error(
        "The secret key is not the one that this database was written with: bring that key back (data_dir/secret.key, or \
         what secret_key sets), restore a backup, or start with a new database."
    )]
    WrongSecretKey,
    /// Somebody else has the database open, or keeps it for himself.
    #[error("Another process is using the database: stop every server on it, and try again.")]
    InUse,
    /// The URL names no database that we speak to.
    #[error("A database URL looks like sqlite:///path/file.db or postgres://user:password@host/database.")]
    Url,
    /// The database file cannot be made.
    #[error("{} cannot be made: {source}", path.display())]
    CreateFile {
        /// The database file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The database does not answer, or does not let us in.
    #[error("No connection to the database: {0}")]
    Connect(#[source] Cause),
    /// The tables cannot be brought up to date.
    #[error("The tables cannot be brought up to date: {0}")]
    Migrate(#[source] Cause),
    /// A query failed.
    #[error("{what} cannot be read: {source}")]
    Read {
        /// What was asked for, as the start of a sentence.
        what: &'static str,
        /// What the database said.
        #[source]
        source: Cause,
    },
    /// A change failed, and nothing of it was kept.
    #[error("{what} cannot be written: {source}")]
    Write {
        /// What was to be changed, as the start of a sentence.
        what: &'static str,
        /// What the database said.
        #[source]
        source: Cause,
    },
    /// A sealed value was changed, or copied from another row or column.
    #[error("The sealed {column} of {table} {row} does not open: it was not sealed there.")]
    Unseal {
        /// The table.
        table: &'static str,
        /// The column.
        column: &'static str,
        /// The row's id.
        row: Uuid,
    },
    /// A value cannot be sealed. It would have to be larger than any key by orders of magnitude.
    #[error("A value of this size cannot be sealed.")]
    Seal,
    /// The system has no random numbers.
    #[error("The system gives no random numbers: {0}")]
    Random(#[source] getrandom::Error),
}

/// What the database said, in one line. The driver's own error also carries the values of the row, which may be a
/// password hash or a name; they are dropped here, so that no log can hold them.
#[derive(Clone, PartialEq, Eq)]
pub struct Cause(String);

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl std::error::Error for Cause {}

impl From<DbErr> for Cause {
    fn from(error: DbErr) -> Self {
        Self(error.to_string())
    }
}

impl From<sqlx::Error> for Cause {
    fn from(error: sqlx::Error) -> Self {
        match error {
            // The pool tries again and again while the port is closed, and forgets why.
            sqlx::Error::PoolTimedOut => {
                Self("it did not answer in time. Is it running, and is its URL right?".to_owned())
            }
            error => Self(error.to_string()),
        }
    }
}

impl Error {
    /// For `map_err`: a read of `what` failed.
    pub(crate) fn reading(what: &'static str) -> impl FnOnce(DbErr) -> Self {
        move |error| Self::Read { what, source: error.into() }
    }

    /// For `map_err`: a change of `what` failed.
    pub(crate) fn writing(what: &'static str) -> impl FnOnce(DbErr) -> Self {
        move |error| Self::Write { what, source: error.into() }
    }

    /// For `map_err`: a row of `what` was to be added; [`Error::NotFound`] if the row it belongs to is gone.
    pub(crate) fn adding(what: &'static str) -> impl FnOnce(DbErr) -> Self {
        move |error| match error.sql_err() {
            Some(SqlErr::ForeignKeyConstraintViolation(_)) => Self::NotFound,
            _ => Self::Write { what, source: error.into() },
        }
    }
}
