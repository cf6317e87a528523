//! `gostream secret rotate`: another secret key, so that a crash at any moment leaves a server that starts.
//!
//! ```text
//! secret.key        the key in force
//! secret.key.new    written before the database is changed; takes the place of secret.key after it was
//! secret.key.old    the key before; older dumps of the database need it
//! ```
//! Which of the first two is right, the database's canary knows: a start whose `secret.key` does not open it tries
//! `secret.key.new`, and finishes what was interrupted ([`open_store`](crate::app::open_store)). A key that the operator
//! sets elsewhere comes from him, so that he has both before anything changes.

use std::{io, path::PathBuf};

use gostream_store::{Error as StoreError, Keyring, Resealed, Rotation, SecretString};
use secrecy::ExposeSecret as _;

use crate::{
    config::{SecretKey, Settings, parse_secret_key},
    data_dir::{self, KeyFile},
};

/// Why the key was not replaced: a sentence each.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The data directory or a file in it.
    #[error(transparent)]
    DataDir(#[from] data_dir::Error),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What came as the new key is none.
    #[error(
        "A new secret key is 32 bytes in base64, not all zero, such as `openssl rand -base64 32` makes; nothing was changed."
    )]
    NewKey,
    /// The new key is the one in force.
    #[error("The new secret key is the one in force; nothing was changed.")]
    SameKey,
    /// The new key cannot be read.
    #[error("The new secret key could not be read: {0}.")]
    Read(#[source] io::Error),
    /// The database has the new key already.
    #[error("{source} The database has the new key, in {}; the next start puts it into its place.", new.display())]
    Adopt {
        /// Where the new key lies.
        new: PathBuf,
        /// Why it is not in its place.
        #[source]
        source: data_dir::Error,
    },
}

impl Error {
    /// Whether a setting has to change, rather than the world around.
    pub fn is_setting(&self) -> bool {
        matches!(self, Self::Store(StoreError::WrongSecretKey | StoreError::Url))
    }
}

/// What was done.
#[derive(Debug)]
pub struct Rotated {
    /// What was sealed anew.
    pub resealed: Resealed,
    /// Where the key before lies, when it is a file.
    pub old: Option<PathBuf>,
}

/// Replaces the secret key. `read` gives the new one where the settings bring the present one.
pub async fn rotate(settings: &Settings, read: impl FnOnce() -> io::Result<SecretString>) -> Result<Rotated, Error> {
    data_dir::prepare(&settings.data_dir)?;
    let _held = data_dir::hold_alone(&settings.data_dir).await?;
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
    // From here to the end of the rotation nobody else opens the database, so nobody else touches these files.
    let resealed = match file.write_new(&new) {
        Ok(()) => rotation.reseal(&Keyring::new(new.0)).await.map_err(Error::from),
        Err(error) => Err(error.into()),
    };
    // When a commit fails, nobody knows whether it was done. The new key stays: the canary knows.
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

/// Opens the database with the key in force, which is the new one where a rotation before was interrupted.
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
