//! PostgreSQL: a connection pool. Each session holds a shared lock; a command that needs exclusive access takes it
//! exclusively.

use std::time::{Duration, Instant};

use sea_orm::{DatabaseConnection, SqlxPostgresConnector};
use sha2::{Digest as _, Sha256};
use sqlx::{
    Connection as _, Executor as _, PgConnection, Row as _,
    postgres::{PgConnectOptions, PgPoolOptions},
};

use super::timeouts::{ACQUIRE_TIMEOUT, ALONE_PATIENCE, BUSY_RETRY};
use crate::error::{Cause, Error};

/// PostgreSQL allows 100 connections by default, which several servers and a `psql` share.
const POSTGRES_CONNECTIONS_MAX: u32 = 10;
/// Longer than any of our queries. PostgreSQL cancels the statement, whatever it waits for.
const STATEMENT_TIMEOUT: &str = "SET statement_timeout TO '30s'";
/// A connection whose query was cancelled is tested before it is reused. Without a response within this time it is
/// closed.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(5);
/// Interval between attempts to take the node lock.
const NODE_RETRY: Duration = Duration::from_millis(500);
/// Interval at which a server checks that it still holds its node lock; shorter than [`NODE_RETRY`], so that it notices
/// before another server takes it.
const NODE_CHECK: Duration = Duration::from_millis(250);
/// Identifies a database process uniquely.
const OWN_SESSION: &str =
    "SELECT pid || ' ' || extract(epoch FROM backend_start) FROM pg_stat_activity WHERE pid = pg_backend_pid()";
/// Terminates that process if it holds the lock, and waits until it is gone. `pg_locks` shows an advisory lock of 8
/// bytes as two halves (PostgreSQL, section 54.12).
const END_SESSION: &str = "SELECT pg_terminate_backend(a.pid, 2000) FROM pg_stat_activity a JOIN pg_locks l ON l.pid = a.pid \
    WHERE a.pid || ' ' || extract(epoch FROM a.backend_start) = $1 AND l.locktype = 'advisory' AND l.granted \
    AND l.classid::bigint = $2 & 4294967295 AND l.objid::bigint = $3";
/// PostgreSQL releases the lock 25 s after the connection was lost.
const NODE_KEEPALIVE: &str =
    "SET tcp_keepalives_idle TO 10; SET tcp_keepalives_interval TO 5; SET tcp_keepalives_count TO 3";
/// The advisory lock that each connection holds as shared, and an exclusive command as exclusive.
const USE_LOCK: i64 = i64::from_be_bytes(*b"gs-inuse");

pub(crate) async fn open_postgres(url: &str) -> Result<(DatabaseConnection, DatabaseConnection), Error> {
    let options: PgConnectOptions = url.parse().map_err(|_| Error::Url)?;
    require_sessions(&options).await?;
    let pool = PgPoolOptions::new()
        .max_connections(POSTGRES_CONNECTIONS_MAX)
        // At least one, to hold the lock.
        .min_connections(1)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .after_connect(|connection, _| {
            Box::pin(async move {
                let lock = sqlx::query("SELECT pg_advisory_lock_shared($1)").bind(USE_LOCK);
                lock.execute(&mut *connection).await?;
                connection.execute(STATEMENT_TIMEOUT).await.map(drop)
            })
        })
        // The pool would test the connection too, but without a timeout: a hanging database would block the pool.
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

/// [`Error::TransactionPooling`] behind a pooler that uses one session for two open connections: session locks and
/// timeouts would not belong to a single connection.
async fn require_sessions(options: &PgConnectOptions) -> Result<(), Error> {
    // Without prepared statements, which such a pooler may not support.
    let process = async |session: &mut PgConnection| -> Result<i32, sqlx::Error> {
        session.fetch_one("SELECT pg_backend_pid()").await?.try_get(0)
    };
    let asked = async {
        let mut one = PgConnection::connect_with(options).await?;
        let first = process(&mut one).await?;
        let mut other = PgConnection::connect_with(options).await?;
        let is_same = process(&mut other).await? == first;
        other.close().await?;
        one.close().await?;
        Ok(is_same)
    };
    match tokio::time::timeout(ACQUIRE_TIMEOUT, asked).await.unwrap_or(Err(sqlx::Error::PoolTimedOut)) {
        Ok(true) => Err(Error::TransactionPooling),
        Ok(false) => Ok(()),
        Err(error) => Err(Error::Connect(Cause::from(error))),
    }
}

/// A lock that excludes other servers with the same node id. It is held by a separate connection, so that it ends with
/// the process, or soon after its machine fails.
#[derive(Debug)]
pub struct NodeLock {
    options: PgConnectOptions,
    key: i64,
    session: Option<PgConnection>,
    /// The database process of this connection, past or present, with its start time.
    process: Option<String>,
    /// Another server held the lock when this one started.
    had_to_wait: bool,
}

impl NodeLock {
    /// Takes the lock, waiting at most `patience` for a server that is stopping or whose machine failed; PostgreSQL
    /// notices the latter within 25 s. `None` on SQLite, where the data directory has a lock. [`Error::NodeInUse`] if
    /// the other server does not stop.
    pub async fn take(url: &str, node: &str, patience: Duration) -> Result<Option<Self>, Error> {
        if url.starts_with("sqlite:") {
            return Ok(None);
        }
        let options: PgConnectOptions = url.parse().map_err(|_| Error::Url)?;
        let digest = Sha256::digest(format!("gostream node {node}"));
        let key = digest.first_chunk().map_or(0, |bytes| i64::from_be_bytes(*bytes));
        let options = options.application_name("gostream");
        let mut lock = Self { options, key, session: None, process: None, had_to_wait: false };
        let deadline = Instant::now() + patience;
        while !lock.try_take().await.map_err(|error| Error::Connect(Cause::from(error)))? {
            if Instant::now() > deadline {
                return Err(Error::NodeInUse);
            }
            if !lock.had_to_wait {
                tracing::warn!("Another server with the same node id is using the database. Waiting for it to stop.");
                lock.had_to_wait = true;
            }
            tokio::time::sleep(NODE_RETRY).await;
        }
        Ok(Some(lock))
    }

    /// Whether another server held the lock before. It may only have lost its connection, and continue.
    pub fn had_to_wait(&self) -> bool {
        self.had_to_wait
    }

    /// Keeps the lock until dropped, and takes it again after a database outage. Reports to `by_other` whether another
    /// server holds it.
    pub async fn keep(mut self, by_other: impl Fn(bool)) {
        let mut was_taken = false;
        loop {
            tokio::time::sleep(NODE_CHECK).await;
            let alive = match &mut self.session {
                Some(session) => {
                    let answer = tokio::time::timeout(RELEASE_TIMEOUT, session.ping()).await;
                    answer.is_ok_and(|answer| answer.is_ok())
                }
                None => false,
            };
            if alive {
                continue;
            }
            self.session = None;
            // A database outage is reported elsewhere.
            let is_taken = matches!(self.try_take().await, Ok(false));
            if is_taken && !was_taken {
                tracing::error!(
                    "Another server has the name of this one: two data directories have the same node.id. Stop the one that \
                     began later, remove its node.id, and start it again."
                );
            }
            if is_taken != was_taken {
                by_other(is_taken);
            }
            was_taken = is_taken;
        }
    }

    /// Opens a session with the lock, if the lock is free.
    async fn try_take(&mut self) -> Result<bool, sqlx::Error> {
        let opened = tokio::time::timeout(ACQUIRE_TIMEOUT, self.open());
        opened.await.unwrap_or(Err(sqlx::Error::PoolTimedOut))
    }

    async fn open(&mut self) -> Result<bool, sqlx::Error> {
        let mut session = PgConnection::connect_with(&self.options).await?;
        session.execute(NODE_KEEPALIVE).await?;
        if let Some(process) = &self.process {
            // The previous session, whose connection failed on our side only.
            let end = sqlx::query(END_SESSION).bind(process).bind(self.key >> 32).bind(self.key & 0xFFFF_FFFF);
            end.execute(&mut session).await?;
        }
        let lock = sqlx::query_scalar("SELECT pg_try_advisory_lock($1)").bind(self.key);
        let is_ours: bool = lock.fetch_one(&mut session).await?;
        if is_ours {
            self.process = Some(sqlx::query_scalar(OWN_SESSION).fetch_one(&mut session).await?);
            self.session = Some(session);
        } else {
            session.close().await?;
        }
        Ok(is_ours)
    }
}

/// A single connection that holds the exclusive lock, which keeps all others out until it is closed.
pub(crate) async fn open_postgres_alone(url: &str) -> Result<DatabaseConnection, Error> {
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

#[cfg(test)]
mod tests {
    use gostream_testkit::postgres::Postgres;

    use super::*;

    /// As after a firewall dropped the connection: this side has none, and PostgreSQL still holds its lock.
    #[tokio::test]
    async fn a_lock_of_our_own_dead_connection_is_taken_over() {
        let url = Postgres::shared().database();
        let mut lock = NodeLock::take(&url, "one", Duration::ZERO).await.expect("is free").expect("is one");
        let forgotten = lock.session.take().expect("has it");
        assert!(lock.try_take().await.expect("is asked"), "it is ours");
        let mut stranger = NodeLock { process: None, session: None, options: lock.options.clone(), ..lock };
        assert!(!stranger.try_take().await.expect("is asked"), "and nobody else's");
        drop(forgotten);
    }
}
