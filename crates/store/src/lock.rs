//! Locks on rows that transactions hold while they decide by them.

use sea_orm::{DatabaseTransaction, EntityTrait as _, QuerySelect as _, sea_query::LockType};
use uuid::Uuid;

use crate::{entity::user, error::Error};

/// The account's row, which nobody else changes before the transaction ends. SQLite's lock is that of the whole database.
/// [`Error::NotFound`] if the account is gone.
pub(crate) async fn lock_user(transaction: &DatabaseTransaction, id: Uuid) -> Result<user::Model, Error> {
    // Rows that refer to the account may come and go meanwhile.
    let found = user::Entity::find_by_id(id).lock(LockType::NoKeyUpdate).one(transaction).await;
    found.map_err(Error::reading("The account"))?.ok_or(Error::NotFound)
}
