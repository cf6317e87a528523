//! Changes of a single statement, each in an explicit transaction, so that the result of the commit is known.
//!
//! A statement outside of a transaction commits when it has been read to its end. `INSERT … RETURNING` is only read to
//! its first row, and the driver drops the rest together with the result of the commit: on a full disk the row was
//! returned, but never stored.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use sea_orm::{
    ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbBackend, DbErr, ExecResult, QueryResult,
    SqliteTransactionMode, Statement, TransactionOptions, TransactionTrait as _,
};

/// The connection for changes. Clones share one pool.
#[derive(Clone, Debug)]
pub(crate) struct Writer {
    connection: DatabaseConnection,
    /// Every change is refused; see [`Writer::refuse_all`].
    lost: Arc<AtomicBool>,
}

impl Writer {
    pub(super) fn new(connection: DatabaseConnection) -> Self {
        Self { connection, lost: Arc::default() }
    }

    /// For statements that cannot run in a transaction, such as `VACUUM`.
    pub(super) fn connection(&self) -> &DatabaseConnection {
        &self.connection
    }

    /// Refuses every change from now on.
    pub(super) fn refuse_all(&self) {
        self.lost.store(true, Ordering::Relaxed);
    }

    /// A write transaction. On SQLite it takes the write lock at once: a transaction that first reads and then finds
    /// the lock taken would fail instead of waiting.
    pub(super) async fn begin(&self) -> Result<DatabaseTransaction, DbErr> {
        if self.lost.load(Ordering::Relaxed) {
            return Err(DbErr::Custom("the file was moved or replaced".to_owned()));
        }
        let immediate = Some(SqliteTransactionMode::Immediate);
        self.connection
            .begin_with_options(TransactionOptions { sqlite_transaction_mode: immediate, ..Default::default() })
            .await
    }
}

#[sea_orm_migration::prelude::async_trait::async_trait]
impl ConnectionTrait for Writer {
    fn get_database_backend(&self) -> DbBackend {
        self.connection.get_database_backend()
    }

    async fn execute_raw(&self, statement: Statement) -> Result<ExecResult, DbErr> {
        let transaction = self.begin().await?;
        let done = transaction.execute_raw(statement).await?;
        transaction.commit().await?;
        Ok(done)
    }

    async fn execute_unprepared(&self, sql: &str) -> Result<ExecResult, DbErr> {
        let transaction = self.begin().await?;
        let done = transaction.execute_unprepared(sql).await?;
        transaction.commit().await?;
        Ok(done)
    }

    async fn query_one_raw(&self, statement: Statement) -> Result<Option<QueryResult>, DbErr> {
        let transaction = self.begin().await?;
        let row = transaction.query_one_raw(statement).await?;
        transaction.commit().await?;
        Ok(row)
    }

    async fn query_all_raw(&self, statement: Statement) -> Result<Vec<QueryResult>, DbErr> {
        let transaction = self.begin().await?;
        let rows = transaction.query_all_raw(statement).await?;
        transaction.commit().await?;
        Ok(rows)
    }
}
