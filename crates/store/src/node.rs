//! The servers of a database. Each writes a row at intervals, and thereby detects whether changes are stored.

use sea_orm::{
    ActiveValue::Set, ColumnTrait as _, DbBackend, DbErr, EntityTrait as _, QuerySelect as _, sea_query::OnConflict,
};
use time::OffsetDateTime;

use crate::{
    database::{Reader, Store},
    entity::{audit, moment::Moment, node, session, stream},
    error::Error,
};

/// If there is space for this many bytes, there is space for the changes of a request.
const LARGE_BYTES: usize = 64 * 1_024;

/// How much [`Store::heartbeat`] writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeartbeatSize {
    /// A few bytes, which may fit into a file that cannot grow.
    Small,
    /// More than any of our changes.
    Large,
}

impl Reader {
    /// When `node` last wrote; `None` after it left.
    pub async fn seen_at(&self, node: &str) -> Result<Option<OffsetDateTime>, Error> {
        let found = node::Entity::find_by_id(node).one(self.reader()).await;
        Ok(found.map_err(Error::reading("The server"))?.map(|row| row.seen_at.into()))
    }

    /// The newest time among audit lines, stream starts and session uses.
    pub async fn newest_entry(&self) -> Result<Option<OffsetDateTime>, Error> {
        let failed = Error::reading("The newest entries");
        let newest = async || -> Result<[Option<Option<Moment>>; 3], DbErr> {
            let connection = self.reader();
            let audit = audit::Entity::find().select_only().column_as(audit::Column::At.max(), "at");
            let streams = stream::Entity::find().select_only().column_as(stream::Column::StartedAt.max(), "at");
            let sessions = session::Entity::find().select_only().column_as(session::Column::LastSeenAt.max(), "at");
            Ok([
                audit.into_tuple().one(connection).await?,
                streams.into_tuple().one(connection).await?,
                sessions.into_tuple().one(connection).await?,
            ])
        };
        let newest = newest().await.map_err(failed)?;
        Ok(newest.into_iter().flatten().flatten().map(OffsetDateTime::from).max())
    }
}

impl Store {
    /// Records that `node` stopped, so that a server that takes its name need not wait. Does nothing on SQLite.
    pub async fn leave(&self, node: &str) -> Result<(), Error> {
        if self.reader().get_database_backend() == DbBackend::Sqlite {
            return Ok(());
        }
        let gone = node::Entity::delete_by_id(node).exec(self.writer()).await;
        gone.map(drop).map_err(Error::writing("The server"))
    }

    /// Writes the row of `node` in the same way as any change. If this fails, changes are not stored.
    pub async fn heartbeat(&self, node: &str, size: HeartbeatSize) -> Result<(), Error> {
        let padding = match size {
            HeartbeatSize::Small => String::new(),
            HeartbeatSize::Large => " ".repeat(LARGE_BYTES),
        };
        let row = node::ActiveModel { id: Set(node.to_owned()), seen_at: Set(Moment::now()), padding: Set(padding) };
        let mut latest = OnConflict::column(node::Column::Id);
        latest.update_columns([node::Column::SeenAt, node::Column::Padding]);
        let written = node::Entity::insert(row).on_conflict(latest).exec_without_returning(self.writer()).await;
        written.map(drop).map_err(Error::writing("The database"))
    }
}
