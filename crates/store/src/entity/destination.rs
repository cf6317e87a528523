//! `destinations`.

use sea_orm::entity::prelude::*;

use super::moment::Moment;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "destinations")]
pub(crate) struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub(crate) id: Uuid,
    pub(crate) project_id: Uuid,
    pub(crate) platform: String,
    pub(crate) name: String,
    /// With `****` instead of its login.
    pub(crate) rtmp_url: String,
    /// Sealed.
    pub(crate) rtmp_login: Option<Vec<u8>>,
    /// With `****` instead of its login.
    pub(crate) backup_url: Option<String>,
    /// Sealed.
    pub(crate) backup_login: Option<Vec<u8>>,
    /// Sealed.
    pub(crate) stream_key: Vec<u8>,
    pub(crate) enabled: bool,
    pub(crate) delay_seconds: i32,
    pub(crate) created_at: Moment,
    pub(crate) updated_at: Moment,
}

#[derive(Clone, Copy, Debug, EnumIter, DeriveRelation)]
pub(crate) enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
