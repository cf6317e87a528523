//! `api_tokens`.

use sea_orm::entity::prelude::*;

use super::moment::Moment;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "api_tokens")]
pub(crate) struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub(crate) id: Uuid,
    pub(crate) user_id: Uuid,
    pub(crate) name: String,
    /// SHA-256 of the token, which has enough entropy for a plain hash; unique.
    pub(crate) hash: Vec<u8>,
    pub(crate) created_at: Moment,
    pub(crate) last_used_at: Option<Moment>,
    /// `full` or `read`.
    pub(crate) scope: String,
    pub(crate) expires_at: Option<Moment>,
}

#[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
pub(crate) enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
