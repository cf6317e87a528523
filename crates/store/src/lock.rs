//! Row locks for transactions that decide by the content of a row.

use sea_orm::{DatabaseTransaction, EntityTrait as _, QuerySelect as _, sea_query::LockType};
use uuid::Uuid;

use crate::{entity::user, error::Error};

/// Locks the account's row until the transaction ends. On SQLite the lock covers the whole database.
/// [`Error::NotFound`] if the account is gone.
pub(crate) async fn lock_user(transaction: &DatabaseTransaction, id: Uuid) -> Result<user::Model, Error> {
    // Rows that refer to the account may be added and removed meanwhile.
    let found = user::Entity::find_by_id(id).lock(LockType::NoKeyUpdate).one(transaction).await;
    found.map_err(Error::reading("The account"))?.ok_or(Error::NotFound)
}
