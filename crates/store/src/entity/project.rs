//! `projects`.

use sea_orm::entity::prelude::*;

use super::moment::Moment;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "projects")]
pub(crate) struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub(crate) id: Uuid,
    pub(crate) user_id: Uuid,
    pub(crate) name: String,
    /// Sealed; shown to the owner.
    pub(crate) stream_key: Vec<u8>,
    /// Keyed hash of the stream key, for lookups; unique.
    pub(crate) stream_key_hash: Vec<u8>,
    /// Unique.
    pub(crate) playback_id: String,
    pub(crate) hold_after_stop: bool,
    /// With `****` instead of its login.
    pub(crate) pull_url: Option<String>,
    /// Sealed.
    pub(crate) pull_login: Option<Vec<u8>>,
    /// The node that pulls it, until `pull_until`.
    pub(crate) pull_node: Option<String>,
    pub(crate) pull_until: Option<Moment>,
    pub(crate) created_at: Moment,
    pub(crate) updated_at: Moment,
}

#[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
pub(crate) enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
