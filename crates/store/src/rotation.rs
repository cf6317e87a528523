//! Replaces the secret key: decrypts everything with the old key and encrypts it with the new one, in one transaction.
//!
//! No other process may have the database open, because a server with the old key would continue to encrypt with it.
//! SQLite locks the file. On PostgreSQL each connection of a server holds a shared lock, and this takes the exclusive
//! one. The lock is held until [`Rotation::end`], so that the caller can store the new key before anyone else reads it.

use sea_orm::{ActiveValue::Set, ColumnTrait as _, DatabaseTransaction, EntityTrait as _, QueryFilter as _};
use secrecy::ExposeSecret as _;

use crate::{
    canary::{CANARY, CANARY_LOCATION},
    database::Store,
    destination,
    entity::{canary, destination as destinations, project as projects, session},
    error::Error,
    project,
    secret::{Keyring, Location},
};

/// A database that is open exclusively with its current key.
#[derive(Debug)]
pub struct Rotation(Store);

/// What was encrypted with the new key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Resealed {
    /// Number of project keys.
    pub projects: usize,
    /// Number of destination keys.
    pub destinations: usize,
}

impl Rotation {
    /// Opens the database at `url` exclusively. [`Error::InUse`] while others have it open, [`Error::WrongSecretKey`]
    /// if `present` is not its key.
    pub async fn begin(url: &str, present: Keyring) -> Result<Self, Error> {
        Store::open_alone(url, present).await.map(Self)
    }

    /// Encrypts everything with `new`, in one transaction. Sessions end, since their tokens are signed with the old
    /// key.
    pub async fn reseal(&self, new: &Keyring) -> Result<Resealed, Error> {
        let transaction = self.0.begin().await.map_err(Error::writing("The sealed keys"))?;
        let resealed = Resealed {
            projects: self.reseal_projects(&transaction, new).await?,
            destinations: self.reseal_destinations(&transaction, new).await?,
        };
        let row = canary::ActiveModel { id: Set(CANARY_LOCATION.row), sealed: Set(new.seal(CANARY_LOCATION, CANARY)?) };
        let changed = canary::Entity::update(row).exec(&transaction).await;
        changed.map_err(Error::writing("The check of the secret key"))?;
        let ended = session::Entity::delete_many().exec(&transaction).await;
        ended.map_err(Error::writing("The sessions"))?;
        transaction.commit().await.map_err(Error::writing("The sealed keys"))?;
        // Earlier changes left values encrypted with the old key in free pages of the file.
        self.0.scrub().await;
        Ok(resealed)
    }

    /// Ends the exclusive access.
    pub async fn end(self) {
        self.0.close().await;
    }

    async fn reseal_projects(&self, transaction: &DatabaseTransaction, new: &Keyring) -> Result<usize, Error> {
        use projects::{Column, Entity};

        // A few hundred bytes each: ten thousand projects take a few megabytes.
        let rows = Entity::find().all(transaction).await.map_err(Error::reading("The projects"))?;
        for row in &rows {
            let location = project::key_of(row.id);
            let key = self.0.keyring().unseal(location, &row.stream_key)?;
            let change = projects::ActiveModel {
                stream_key: Set(new.seal(location, key.expose_secret())?),
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
            let location = destination::key_of(row.id);
            let key = self.0.keyring().unseal(location, &row.stream_key)?;
            let change = destinations::ActiveModel {
                stream_key: Set(new.seal(location, key.expose_secret())?),
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

    /// For nullable columns.
    fn resealed(&self, location: Location, sealed: Option<&Vec<u8>>, new: &Keyring) -> Result<Option<Vec<u8>>, Error> {
        let reseal = |sealed| new.seal(location, self.0.keyring().unseal(location, sealed)?.expose_secret());
        sealed.map(|sealed| reseal(sealed)).transpose()
    }
}
