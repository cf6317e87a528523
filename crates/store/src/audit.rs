//! The audit log: who did what, from where.

use sea_orm::{
    ActiveValue::Set, ColumnTrait as _, EntityTrait as _, QueryFilter as _, QueryOrder as _, QuerySelect as _,
};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::{
    database::Store,
    entity::{audit, moment::Moment},
    error::Error,
};

/// What is noted when the right password was given.
const LOGINS: [&str; 2] = ["login", "signup"];
/// Of the addresses that a user logged in from, this many are told: somebody travels much.
const ADDRESSES_MAX: u64 = 256;

/// One thing that somebody did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditEntry {
    /// When.
    pub at: OffsetDateTime,
    /// What, as a stable word.
    pub action: String,
    /// To what, as its owner calls it.
    pub object: Option<String>,
    /// From which address.
    pub address: Option<String>,
}

impl Store {
    /// Writes down what a user did. [`Error::NotFound`] if the account is gone.
    pub async fn add_audit(
        &self,
        user: Uuid,
        action: &'static str,
        object: Option<String>,
        address: Option<String>,
    ) -> Result<(), Error> {
        let row = audit::ActiveModel {
            id: Set(Uuid::now_v7()),
            user_id: Set(user),
            at: Set(Moment::now()),
            action: Set(action.to_owned()),
            object: Set(object),
            address: Set(address),
        };
        let added = audit::Entity::insert(row).exec_without_returning(self.writer()).await;
        added.map(drop).map_err(Error::adding("The audit log"))
    }

    /// What a user did last, newest first.
    pub async fn audit(&self, user: Uuid, limit: u64) -> Result<Vec<AuditEntry>, Error> {
        let found = audit::Entity::find()
            .filter(audit::Column::UserId.eq(user))
            .order_by_desc(audit::Column::At)
            .order_by_desc(audit::Column::Id)
            .limit(limit)
            .all(self.reader())
            .await;
        let entry = |row: audit::Model| AuditEntry {
            at: row.at.into(),
            action: row.action,
            object: row.object,
            address: row.address,
        };
        Ok(found.map_err(Error::reading("The audit log"))?.into_iter().map(entry).collect())
    }

    /// The addresses from which a user logged in, as far as the log goes back, each once.
    pub async fn login_addresses(&self, user: Uuid) -> Result<Vec<String>, Error> {
        let found = audit::Entity::find()
            .select_only()
            .column(audit::Column::Address)
            .distinct()
            .filter(audit::Column::UserId.eq(user))
            .filter(audit::Column::Action.is_in(LOGINS))
            .filter(audit::Column::Address.is_not_null())
            .limit(ADDRESSES_MAX)
            .into_tuple()
            .all(self.reader())
            .await;
        found.map_err(Error::reading("The audit log"))
    }

    /// Forgets what was done before a moment, and tells how much that was.
    pub async fn forget_audit(&self, before: OffsetDateTime) -> Result<u64, Error> {
        let gone = audit::Entity::delete_many()
            .filter(audit::Column::At.lt(Moment::from(before)))
            .exec(self.writer())
            .await;
        Ok(gone.map_err(Error::writing("The audit log"))?.rows_affected)
    }
}
