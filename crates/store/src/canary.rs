//! The canary: an encrypted row that shows whether the secret key belongs to the database.

use sea_orm::{ActiveValue::Set, DatabaseTransaction, EntityTrait as _};
use uuid::Uuid;

use crate::{
    entity::canary,
    error::Error,
    secret::{Keyring, Location},
};

/// The canary's plain text.
pub(crate) const CANARY: &str = "gostream";
/// The canary's location.
pub(crate) const CANARY_LOCATION: Location = Location { table: "canary", column: "sealed", row: Uuid::nil() };

/// [`Error::WrongSecretKey`] if the canary was encrypted with another key. A new database gets a canary.
pub(crate) async fn check(keyring: &Keyring, transaction: &DatabaseTransaction) -> Result<(), Error> {
    let location = CANARY_LOCATION;
    let found = canary::Entity::find_by_id(location.row).one(transaction).await;
    match found.map_err(Error::reading("The check of the secret key"))? {
        Some(row) => keyring.unseal(location, &row.sealed).map(drop).map_err(|_| Error::WrongSecretKey),
        None => {
            let row = canary::ActiveModel { id: Set(location.row), sealed: Set(keyring.seal(location, CANARY)?) };
            let added = canary::Entity::insert(row).exec_without_returning(transaction).await;
            added.map(drop).map_err(Error::writing("The check of the secret key"))
        }
    }
}
