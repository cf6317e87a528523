//! `streams`: the history.

use sea_orm::entity::prelude::*;
use serde::Serialize;
use utoipa::ToSchema;

use super::moment::Moment;

/// The status of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, EnumIter, DeriveActiveEnum, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = StreamState)]
#[sea_orm(rs_type = "String", db_type = "Text")]
pub enum StreamStatus {
    /// The encoder is sending.
    #[sea_orm(string_value = "live")]
    Live,
    /// The encoder is disconnected and may return.
    #[sea_orm(string_value = "reconnecting")]
    Reconnecting,
    /// The stream has ended.
    #[sea_orm(string_value = "ended")]
    Ended,
}

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "streams")]
pub(crate) struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub(crate) id: Uuid,
    pub(crate) project_id: Uuid,
    /// The node that runs the stream.
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
