//! `audit`: the audit log.

use sea_orm::entity::prelude::*;

use super::moment::Moment;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "audit")]
pub(crate) struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub(crate) id: Uuid,
    pub(crate) user_id: Uuid,
    pub(crate) at: Moment,
    pub(crate) action: String,
    pub(crate) object: Option<String>,
    pub(crate) address: Option<String>,
    /// Changed fields with old and new values, as JSON.
    pub(crate) changes: Option<String>,
    /// Number of occurrences; failures are counted together.
    pub(crate) count: i64,
}

#[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
pub(crate) enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
