//! What can go wrong, as sentences that hold neither a value nor a credential.

use std::{fmt, io, path::PathBuf};

use sea_orm::{DbErr, RuntimeErr, SqlErr};
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
    /// Nothing was ever written there.
    #[error("There is nothing in the database.")]
    Empty,
    /// A pooler in front of PostgreSQL.
    #[error(
        "database.url leads to a pooler that gives a connection another session for each transaction: set its pool_mode to \
         session, or name PostgreSQL itself."
    )]
    TransactionPooling,
    /// The connection that listens hears nothing.
    #[error(
        "what is sent to the connection that listens does not arrive: a pooler may give each transaction another session"
    )]
    Deaf,
    /// Another server on the database has the same name.
    #[error(
        "Another server with the name of this one uses the database: stop it, or, if this data directory is a copy of its, \
         remove node.id here."
    )]
    NodeInUse,
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

/// A state in which a database keeps no change, whichever it is. What it is asked for it may still know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// Its disk has no room.
    Full,
    /// It, or its disk, may only be read.
    ReadOnly,
    /// What is stored cannot be read, or makes no sense.
    Damaged,
    /// Its file was moved or replaced.
    Replaced,
    /// It does not answer.
    Away,
}

/// What the database said, in one line. The driver's own error also carries the values of the row, which may be a
/// password hash or a name; they are dropped here, so that no log can hold them.
#[derive(Clone, PartialEq, Eq)]
pub struct Cause {
    said: String,
    trouble: Option<Trouble>,
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.said)?;
        match self.trouble {
            Some(Trouble::Full) => f.write_str(". Its disk is full: make room there"),
            Some(Trouble::ReadOnly) => {
                f.write_str(". It can only be read: see who mounted, locked or failed over what")
            }
            Some(Trouble::Damaged) => f.write_str(". Its file is damaged: restore the newest backup"),
            Some(Trouble::Replaced | Trouble::Away) | None => Ok(()),
        }
    }
}

impl fmt::Debug for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.said, f)
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
            // The only one that is ours.
            DbErr::Custom(_) => Some(Trouble::Replaced),
            _ => None,
        };
        Self { said: error.to_string(), trouble }
    }
}

impl From<sqlx::Error> for Cause {
    fn from(error: sqlx::Error) -> Self {
        let said = match &error {
            // The pool tries again and again while the port is closed, and forgets why.
            sqlx::Error::PoolTimedOut => "it did not answer in time. Is it running, and is its URL right?".to_owned(),
            sqlx::Error::Io(error) => format!("{error}. Is it running, and is its URL right?"),
            error => error.to_string(),
        };
        Self { said, trouble: trouble_of(&error) }
    }
}

/// What the codes of SQLite (the lowest byte of "Result and Error Codes") and PostgreSQL (appendix A) say of the whole.
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
    /// Whether the database as a whole is in trouble, and what kind of.
    pub fn trouble(&self) -> Option<Trouble> {
        match self {
            Self::Connect(cause) | Self::Migrate(cause) => cause.trouble,
            Self::Read { source, .. } | Self::Write { source, .. } => source.trouble,
            _ => None,
        }
    }

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
