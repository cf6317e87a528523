//! `gostream secret rotate`: replaces the secret key. A crash at any moment leaves a server that starts.
//!
//! ```text
//! secret.key        the current key
//! secret.key.new    the next key, written before the database is changed; replaces secret.key afterwards
//! secret.key.old    the previous key, which older backups of the database need
//! ```
//! A canary in the database tells which of the first two is right: if `secret.key` does not open it, a start tries
//! `secret.key.new` and completes the interrupted rotation ([`open_store`](crate::app::open_store)). If the settings
//! contain the key, the operator provides the new one, and so has both before anything changes.

use std::{io, path::PathBuf};

use gostream_store::{Error as StoreError, Keyring, Resealed, Rotation, SecretString};
use secrecy::ExposeSecret as _;

use crate::{
    config::{SecretKey, Settings, parse_secret_key},
    data_dir::{self, KeyFile},
};

/// Why the key was not replaced; each is a sentence for the operator.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The data directory or a file in it.
    #[error(transparent)]
    DataDir(#[from] data_dir::Error),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The new key is invalid.
    #[error(
        "A new secret key is 32 bytes in base64, not all zero, such as `openssl rand -base64 32` makes; nothing was changed."
    )]
    NewKey,
    /// The new key equals the current one.
    #[error("The new secret key is the current one; nothing was changed.")]
    SameKey,
    /// The new key cannot be read.
    #[error("The new secret key could not be read: {0}.")]
    Read(#[source] io::Error),
    /// The database uses the new key already, but the file could not be replaced.
    #[error("{source} The database uses the new key, in {}; the next start moves it to its place.", new.display())]
    Adopt {
        /// The path of the new key.
        new: PathBuf,
        /// The cause.
        #[source]
        source: data_dir::Error,
    },
}

impl Error {
    /// Whether a setting must be changed, as opposed to the environment.
    pub fn is_setting(&self) -> bool {
        matches!(self, Self::Store(StoreError::WrongSecretKey | StoreError::Url))
    }
}

/// The result of a rotation.
#[derive(Debug)]
pub struct Rotated {
    /// The number of rows that were encrypted again.
    pub resealed: Resealed,
    /// The path of the previous key, if it is a file.
    pub old: Option<PathBuf>,
}

/// Replaces the secret key. `read` reads the new key if the settings contain the current one.
pub async fn rotate(settings: &Settings, read: impl FnOnce() -> io::Result<SecretString>) -> Result<Rotated, Error> {
    data_dir::prepare(&settings.data_dir)?;
    let _directory_lock = data_dir::lock_now(&settings.data_dir).await?;
    match KeyFile::of(settings) {
        Some(file) => {
            file.adopt_first()?;
            rotate_file(settings, &file).await
        }
        None => rotate_given(settings, read).await,
    }
}

async fn rotate_file(settings: &Settings, file: &KeyFile) -> Result<Rotated, Error> {
    let (rotation, present) = begin(settings, file).await?;
    let new = SecretKey::random().map_err(|source| file.failed(source))?;
    // The rotation locks the database until its end, so no other process changes these files.
    let resealed = match file.write_new(&new) {
        Ok(()) => rotation.reseal(&Keyring::new(new.0)).await.map_err(Error::from),
        Err(error) => Err(error.into()),
    };
    // A failed commit may have been executed. The new key file is kept: the canary decides.
    let adopted = match resealed {
        Ok(resealed) => file
            .adopt(&present)
            .map(|()| resealed)
            .map_err(|source| Error::Adopt { new: file.new.clone(), source }),
        Err(error) => Err(error),
    };
    rotation.end().await;
    Ok(Rotated { resealed: adopted?, old: Some(file.old.clone()) })
}

/// Opens the database with the current key, which is the new one if a previous rotation was interrupted.
async fn begin(settings: &Settings, file: &KeyFile) -> Result<(Rotation, SecretKey), Error> {
    let url = settings.database_url.expose_secret();
    let present = file.read()?;
    match (Rotation::begin(url, Keyring::new(present.0)).await, file.read_new()?) {
        (Err(StoreError::WrongSecretKey), Some(new)) => {
            let rotation = Rotation::begin(url, Keyring::new(new.0)).await?;
            file.adopt(&present)?;
            Ok((rotation, new))
        }
        (begun, _) => Ok((begun?, present)),
    }
}

async fn rotate_given(settings: &Settings, read: impl FnOnce() -> io::Result<SecretString>) -> Result<Rotated, Error> {
    let present = data_dir::secret_key(settings)?;
    let new = read().map_err(Error::Read)?;
    let new = parse_secret_key(new.expose_secret().trim()).ok_or(Error::NewKey)?;
    if new == present {
        return Err(Error::SameKey);
    }
    let rotation = Rotation::begin(settings.database_url.expose_secret(), Keyring::new(present.0)).await?;
    let resealed = rotation.reseal(&Keyring::new(new.0)).await;
    rotation.end().await;
    Ok(Rotated { resealed: resealed?, old: None })
}
