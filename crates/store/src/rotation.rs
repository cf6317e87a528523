//! Replacing the secret key: everything that the old one sealed is sealed with the new one, in one transaction.
//!
//! Nobody else may have the database open meanwhile: a server with the old key would go on sealing with it. SQLite locks the
//! file. On PostgreSQL each connection of a server holds a shared lock, and this takes the exclusive one. It is held until
//! [`Rotation::end`], so that the caller puts the new key into its place before anybody asks for it.

use sea_orm::{ActiveValue::Set, ColumnTrait as _, DatabaseTransaction, EntityTrait as _, QueryFilter as _};
use secrecy::ExposeSecret as _;

use crate::{
    canary::{CANARY, CANARY_PLACE},
    database::Store,
    destination,
    entity::{canary, destination as destinations, project as projects, session},
    error::Error,
    project,
    secret::{Keyring, Place},
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
        // What changed before this has left values of the old key in the file.
        self.0.scrub().await;
        Ok(resealed)
    }

    /// Lets others in again.
    pub async fn end(self) {
        self.0.close().await;
    }

    async fn reseal_projects(&self, transaction: &DatabaseTransaction, new: &Keyring) -> Result<usize, Error> {
        use projects::{Column, Entity};

        // Some hundred bytes each: ten thousand projects are a few megabytes.
        let rows = Entity::find().all(transaction).await.map_err(Error::reading("The projects"))?;
        for row in &rows {
            let place = project::key_of(row.id);
            let key = self.0.keyring().unseal(place, &row.stream_key)?;
            let change = projects::ActiveModel {
                stream_key: Set(new.seal(place, key.expose_secret())?),
                stream_key_hash: Set(new.lookup(key.expose_secret())),
                pull_login: Set(self.resealed(project::pull_login_of(row.id), row.pull_login.as_ref(), new)?),
                ..Default::default()
            };
            let changed = Entity::update_many().set(change).filter(Column::Id.eq(row.id)).exec(transaction).await;
            changed.map_err(Error::writing("The project"))?;
        }
        Ok(rows.len())
    }

    async fn reseal_destinations(&self, transaction: &DatabaseTransaction, new: &Keyring) -> Result<usize, Error> {
        use destinations::{Column, Entity};

        let rows = Entity::find().all(transaction).await.map_err(Error::reading("The destinations"))?;
        for row in &rows {
            let place = destination::key_of(row.id);
            let key = self.0.keyring().unseal(place, &row.stream_key)?;
            let change = destinations::ActiveModel {
                stream_key: Set(new.seal(place, key.expose_secret())?),
                rtmp_login: Set(self.resealed(destination::login_of(row.id), row.rtmp_login.as_ref(), new)?),
                backup_login: Set(self.resealed(
                    destination::backup_login_of(row.id),
                    row.backup_login.as_ref(),
                    new,
                )?),
                ..Default::default()
            };
            let changed = Entity::update_many().set(change).filter(Column::Id.eq(row.id)).exec(transaction).await;
            changed.map_err(Error::writing("The destination"))?;
        }
        Ok(rows.len())
    }

    /// A value that not every row has.
    fn resealed(&self, place: Place, sealed: Option<&Vec<u8>>, new: &Keyring) -> Result<Option<Vec<u8>>, Error> {
        let reseal = |sealed| new.seal(place, self.0.keyring().unseal(place, sealed)?.expose_secret());
        sealed.map(|sealed| reseal(sealed)).transpose()
    }
}
