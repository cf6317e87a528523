//! `stream_commands`: commands to the node that runs a stream.

use sea_orm::entity::prelude::*;

use super::moment::Moment;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "stream_commands")]
pub(crate) struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub(crate) id: Uuid,
    /// The node that runs the stream and executes the command.
    pub(crate) node: String,
    pub(crate) project_id: Uuid,
    pub(crate) stream_id: Uuid,
    /// A value of `stream_command.rs`, or of a newer version.
    pub(crate) kind: String,
    /// Set exactly if the command concerns a destination.
    pub(crate) destination_id: Option<Uuid>,
    pub(crate) created_at: Moment,
}

#[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
pub(crate) enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
