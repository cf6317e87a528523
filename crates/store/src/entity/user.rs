//! `users`.

use sea_orm::entity::prelude::*;

use super::moment::Moment;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "users")]
pub(crate) struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub(crate) id: Uuid,
    /// Trimmed and in lower case; unique.
    pub(crate) email: String,
    pub(crate) password_hash: String,
    /// Incremented whenever all logins of the account end.
    pub(crate) login_version: i64,
    pub(crate) created_at: Moment,
    pub(crate) updated_at: Moment,
}

#[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
pub(crate) enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
