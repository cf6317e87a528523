//! SQLite and PostgreSQL: opening, and the handles to either.

mod handle;
mod listener;
mod postgres;
mod sqlite;
mod timeouts;
mod writer;

pub use self::{
    handle::{Reader, Store},
    listener::{Listener, ListenerEvent, Notification, Notifier},
    postgres::NodeLock,
    sqlite::{WithoutLog, missing_file, without_log},
};
pub(crate) use self::{
    postgres::{open_postgres, open_postgres_alone},
    sqlite::{SQLITE_BUSY_TIMEOUT, mark, mark_closed, open_sqlite, open_sqlite_alone, sqlite_options},
};
