//! PostgreSQL: a pool of sessions, each of which shares a lock that a command takes which must be alone.

use std::time::{Duration, Instant};

use sea_orm::{DatabaseConnection, SqlxPostgresConnector};
use sha2::{Digest as _, Sha256};
use sqlx::{
    Connection as _, Executor as _, PgConnection, Row as _,
    postgres::{PgConnectOptions, PgPoolOptions},
};

use super::{ACQUIRE_TIMEOUT, ALONE_PATIENCE, BUSY_RETRY};
use crate::error::{Cause, Error};

/// PostgreSQL allows 100 connections by default; several servers and a person with `psql` share them.
const POSTGRES_CONNECTIONS_MAX: u32 = 10;
/// Longer than any query of ours takes. PostgreSQL gives up on the statement, whatever it waits for.
const STATEMENT_TIMEOUT: &str = "SET statement_timeout TO '30s'";
/// A connection whose query was given up on is tried before it is used again; without an answer by then it is closed.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(5);
/// How soon it looks again.
const NODE_RETRY: Duration = Duration::from_millis(500);
/// How often a server looks whether it still has its name.
const NODE_CHECK: Duration = Duration::from_secs(5);
/// PostgreSQL gives the lock up 25 s after it last heard of the other end.
const NODE_KEEPALIVE: &str =
    "SET tcp_keepalives_idle TO 10; SET tcp_keepalives_interval TO 5; SET tcp_keepalives_count TO 3";
/// PostgreSQL's advisory lock that each connection shares, and that a command takes for itself that must be alone.
const USE_LOCK: i64 = i64::from_be_bytes(*b"gs-inuse");
pub(super) async fn open_postgres(url: &str) -> Result<(DatabaseConnection, DatabaseConnection), Error> {
    let options: PgConnectOptions = url.parse().map_err(|_| Error::Url)?;
    require_sessions(&options).await?;
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

/// [`Error::TransactionPooling`] behind a pooler that gives two connections which are open at the same time one session: locks and
/// timeouts of a session would be anybody's.
async fn require_sessions(options: &PgConnectOptions) -> Result<(), Error> {
    // Without prepared statements, which such a pooler may not know.
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

/// That no other server with the same name runs on the database. Held by a connection of its own, so that it ends with the
/// process, or soon after its machine.
#[derive(Debug)]
pub struct NodeLock {
    options: PgConnectOptions,
    key: i64,
    session: Option<PgConnection>,
}

impl NodeLock {
    /// Waits as long for a server that is stopping, or whose machine vanished, which PostgreSQL notices within 25 s. `None` where there are no others: on SQLite, where the data directory has a lock.
    /// [`Error::NodeInUse`] if that one does not stop.
    pub async fn take(url: &str, node: &str, patience: Duration) -> Result<Option<Self>, Error> {
        if url.starts_with("sqlite:") {
            return Ok(None);
        }
        let options: PgConnectOptions = url.parse().map_err(|_| Error::Url)?;
        let digest = Sha256::digest(format!("gostream node {node}"));
        let key = digest.first_chunk().map_or(0, |bytes| i64::from_be_bytes(*bytes));
        let mut lock = Self { options: options.application_name("gostream"), key, session: None };
        let deadline = Instant::now() + patience;
        let mut is_told = false;
        while !lock.try_take().await.map_err(|error| Error::Connect(Cause::from(error)))? {
            if Instant::now() > deadline {
                return Err(Error::NodeInUse);
            }
            if !is_told {
                tracing::warn!("Another server with the name of this one uses the database. Waiting for it to stop.");
                is_told = true;
            }
            tokio::time::sleep(NODE_RETRY).await;
        }
        Ok(Some(lock))
    }

    /// Keeps it until dropped: after an outage of the database it is taken again.
    pub async fn keep(mut self) {
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
            // A database that is away is said elsewhere.
            let is_taken = tokio::time::timeout(RELEASE_TIMEOUT, self.try_take()).await;
            let by_other = matches!(is_taken, Ok(Ok(false)));
            if by_other && !was_taken {
                tracing::error!(
                    "Another server took the name of this one: two data directories have the same node.id. Stop one of \
                     them, remove its node.id, and start it again."
                );
            }
            was_taken = by_other;
        }
    }

    /// Opens a session with the lock, if that is free.
    async fn try_take(&mut self) -> Result<bool, sqlx::Error> {
        let mut session = PgConnection::connect_with(&self.options).await?;
        session.execute(NODE_KEEPALIVE).await?;
        let lock = sqlx::query_scalar("SELECT pg_try_advisory_lock($1)").bind(self.key);
        let is_ours: bool = lock.fetch_one(&mut session).await?;
        if is_ours {
            self.session = Some(session);
        } else {
            session.close().await?;
        }
        Ok(is_ours)
    }
}

/// One connection, which holds the lock that keeps all others out until it is closed.
pub(super) async fn open_postgres_alone(url: &str) -> Result<DatabaseConnection, Error> {
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
