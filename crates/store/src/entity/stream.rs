//! `streams`: the history.

use sea_orm::entity::prelude::*;

use super::moment::Moment;
use crate::stream::StreamStatus;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "streams")]
pub(crate) struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub(crate) id: Uuid,
    pub(crate) project_id: Uuid,
    /// The server process that owns the stream.
    pub(crate) node: String,
    pub(crate) status: StreamStatus,
    pub(crate) started_at: Moment,
    /// Set exactly when `status` is ended.
    pub(crate) ended_at: Option<Moment>,
    pub(crate) end_reason: Option<String>,
}

#[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
pub(crate) enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
