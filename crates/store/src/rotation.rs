//! Replacing the secret key: everything that the old one sealed is sealed with the new one, in one transaction.
//!
//! Nobody else may have the database open meanwhile: a server with the old key would go on sealing with it. SQLite locks the
//! file. On PostgreSQL each connection of a server holds a shared lock, and this takes the exclusive one. It is held until
//! [`Rotation::end`], so that the caller puts the new key into its place before anybody asks for it.

use sea_orm::{
    ActiveValue::Set, ColumnTrait as _, ConnectionTrait, DatabaseTransaction, EntityTrait, QueryFilter as _,
    QuerySelect as _,
};
use secrecy::ExposeSecret as _;
use uuid::Uuid;

use crate::{
    database::{CANARY, CANARY_PLACE, Store},
    destination,
    entity::{canary, destination as destinations, project as projects, session},
    error::Error,
    project,
    secret::Keyring,
};

/// A database that nobody else has open, and that its present key opens.
#[derive(Debug)]
pub struct Rotation(Store);

/// What was sealed anew.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Resealed {
    /// Keys of projects.
    pub projects: usize,
    /// Keys of destinations.
    pub destinations: usize,
}

impl Rotation {
    /// Opens the database at `url` alone. [`Error::InUse`] while others have it open, [`Error::WrongSecretKey`] if
    /// `present` is not its key.
    pub async fn begin(url: &str, present: Keyring) -> Result<Self, Error> {
        Store::open_alone(url, present).await.map(Self)
    }

    /// Seals everything with `new`, or nothing. Sessions end, since the old key signed their tokens.
    pub async fn reseal(&self, new: &Keyring) -> Result<Resealed, Error> {
        let transaction = self.0.begin().await.map_err(Error::writing("The sealed keys"))?;
        let resealed = Resealed {
            projects: self.reseal_projects(&transaction, new).await?,
            destinations: self.reseal_destinations(&transaction, new).await?,
        };
        let row = canary::ActiveModel { id: Set(CANARY_PLACE.row), sealed: Set(new.seal(CANARY_PLACE, CANARY)?) };
        let changed = canary::Entity::update(row).exec(&transaction).await;
        changed.map_err(Error::writing("The check of the secret key"))?;
        let ended = session::Entity::delete_many().exec(&transaction).await;
        ended.map_err(Error::writing("The sessions"))?;
        transaction.commit().await.map_err(Error::writing("The sealed keys"))?;
        Ok(resealed)
    }

    /// Lets others in again.
    pub async fn end(self) {
        self.0.close().await;
    }

    async fn reseal_projects(&self, transaction: &DatabaseTransaction, new: &Keyring) -> Result<usize, Error> {
        use projects::{Column, Entity};

        let rows = rows::<Entity>(transaction, Column::Id, Column::StreamKey, "The projects").await?;
        for &(id, ref sealed) in &rows {
            let place = project::key_of(id);
            let key = self.0.keyring().unseal(place, sealed)?;
            let change = projects::ActiveModel {
                stream_key: Set(new.seal(place, key.expose_secret())?),
                stream_key_hash: Set(new.lookup(key.expose_secret())),
                ..Default::default()
            };
            let changed = Entity::update_many().set(change).filter(Column::Id.eq(id)).exec(transaction).await;
            changed.map_err(Error::writing("The project"))?;
        }
        Ok(rows.len())
    }

    async fn reseal_destinations(&self, transaction: &DatabaseTransaction, new: &Keyring) -> Result<usize, Error> {
        use destinations::{Column, Entity};

        let rows = rows::<Entity>(transaction, Column::Id, Column::StreamKey, "The destinations").await?;
        for &(id, ref sealed) in &rows {
            let place = destination::key_of(id);
            let key = self.0.keyring().unseal(place, sealed)?;
            let stream_key = Set(new.seal(place, key.expose_secret())?);
            let change = destinations::ActiveModel { stream_key, ..Default::default() };
            let changed = Entity::update_many().set(change).filter(Column::Id.eq(id)).exec(transaction).await;
            changed.map_err(Error::writing("The destination"))?;
        }
        Ok(rows.len())
    }
}

/// Ids and sealed values of a whole table. A hundred bytes each: ten thousand projects are a megabyte.
async fn rows<E: EntityTrait>(
    connection: &impl ConnectionTrait,
    id: E::Column,
    sealed: E::Column,
    what: &'static str,
) -> Result<Vec<(Uuid, Vec<u8>)>, Error> {
    let query = E::find().select_only().column(id).column(sealed);
    query.into_tuple().all(connection).await.map_err(Error::reading(what))
}
