//! `stream_events`: the timeline of every stream.

use sea_orm::entity::prelude::*;

use super::moment::Moment;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "stream_events")]
pub(crate) struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub(crate) id: Uuid,
    pub(crate) stream_id: Uuid,
    pub(crate) at: Moment,
    /// Set for events of a relay, `NULL` for events of the stream. The destination may have been deleted.
    pub(crate) destination_id: Option<Uuid>,
    /// Its name at the time of the event.
    pub(crate) destination_name: Option<String>,
    pub(crate) platform: Option<String>,
    pub(crate) leg: Option<String>,
    pub(crate) state: String,
    pub(crate) code: Option<String>,
    pub(crate) message: Option<String>,
    pub(crate) sent_bytes: Option<i64>,
    pub(crate) dropped_frames: Option<i64>,
}

#[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
pub(crate) enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
