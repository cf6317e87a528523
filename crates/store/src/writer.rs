//! Changes of one statement: each in a transaction of its own whose commit is asked for, and so answered.
//!
//! A statement outside of a transaction commits by itself when it is read to its end. `INSERT … RETURNING` is read to its first
//! row, and the driver drops the rest with whatever the commit says: on a full disk the row was answered, and never was.

use sea_orm::{ConnectionTrait, DbBackend, DbErr, ExecResult, QueryResult, Statement};

use crate::database::Store;

/// A store for single changes.
#[derive(Debug)]
pub(crate) struct Writer<'a>(pub(crate) &'a Store);

#[sea_orm_migration::prelude::async_trait::async_trait]
impl ConnectionTrait for Writer<'_> {
    fn get_database_backend(&self) -> DbBackend {
        self.0.reader().get_database_backend()
    }

    async fn execute_raw(&self, statement: Statement) -> Result<ExecResult, DbErr> {
        let transaction = self.0.begin().await?;
        let done = transaction.execute_raw(statement).await?;
        transaction.commit().await?;
        Ok(done)
    }

    async fn execute_unprepared(&self, sql: &str) -> Result<ExecResult, DbErr> {
        let transaction = self.0.begin().await?;
        let done = transaction.execute_unprepared(sql).await?;
        transaction.commit().await?;
        Ok(done)
    }

    async fn query_one_raw(&self, statement: Statement) -> Result<Option<QueryResult>, DbErr> {
        let transaction = self.0.begin().await?;
        let row = transaction.query_one_raw(statement).await?;
        transaction.commit().await?;
        Ok(row)
    }

    async fn query_all_raw(&self, statement: Statement) -> Result<Vec<QueryResult>, DbErr> {
        let transaction = self.0.begin().await?;
        let rows = transaction.query_all_raw(statement).await?;
        transaction.commit().await?;
        Ok(rows)
    }
}
