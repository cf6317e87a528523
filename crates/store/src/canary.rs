//! The canary: a sealed row that tells whether the secret key is the one that the database was written with.

use sea_orm::{ActiveValue::Set, DatabaseTransaction, EntityTrait as _};
use uuid::Uuid;

use crate::{
    entity::canary,
    error::Error,
    secret::{Keyring, Place},
};

/// What the canary says.
pub(crate) const CANARY: &str = "gostream";
/// Where it says it.
pub(crate) const CANARY_PLACE: Place = Place { table: "canary", column: "sealed", row: Uuid::nil() };

/// [`Error::WrongSecretKey`] if the canary was sealed with another key. A new database gets one.
pub(crate) async fn check(keyring: &Keyring, transaction: &DatabaseTransaction) -> Result<(), Error> {
    let place = CANARY_PLACE;
    let found = canary::Entity::find_by_id(place.row).one(transaction).await;
    match found.map_err(Error::reading("The check of the secret key"))? {
        Some(row) => keyring.unseal(place, &row.sealed).map(drop).map_err(|_| Error::WrongSecretKey),
        None => {
            let row = canary::ActiveModel { id: Set(place.row), sealed: Set(keyring.seal(place, CANARY)?) };
            let added = canary::Entity::insert(row).exec_without_returning(transaction).await;
            added.map(drop).map_err(Error::writing("The check of the secret key"))
        }
    }
}
