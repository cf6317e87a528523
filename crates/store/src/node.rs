//! The servers on a database: each writes a row from time to time, and so finds out whether changes are kept.

use sea_orm::{ActiveValue::Set, ColumnTrait as _, DbErr, EntityTrait as _, QuerySelect as _, sea_query::OnConflict};
use time::OffsetDateTime;

use crate::{
    database::Store,
    entity::{audit, moment::Moment, node, session, stream},
    error::Error,
};

/// Where there is room for so much, there is for what a request changes.
const WEIGHT_BYTES: usize = 64 * 1_024;

/// How much a [`Store::beat`] writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weight {
    /// A few bytes, which may find a place in a file that cannot grow.
    Light,
    /// More than any change of ours.
    Heavy,
}

impl Store {
    /// When something was last written that says when: who did what, what was live, who was here.
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

    /// Writes that `node` is there, as any change is written: when this fails, changes are not kept.
    pub async fn beat(&self, node: &str, weight: Weight) -> Result<(), Error> {
        let padding = match weight {
            Weight::Light => String::new(),
            Weight::Heavy => " ".repeat(WEIGHT_BYTES),
        };
        let row = node::ActiveModel { id: Set(node.to_owned()), seen_at: Set(Moment::now()), padding: Set(padding) };
        let mut latest = OnConflict::column(node::Column::Id);
        latest.update_columns([node::Column::SeenAt, node::Column::Padding]);
        let written = node::Entity::insert(row).on_conflict(latest).exec_without_returning(&self.writer()).await;
        written.map(drop).map_err(Error::writing("The database"))
    }
}
