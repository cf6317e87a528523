//! `gostream backup` and `gostream restore`: the database and what belongs to it, as one file and back.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use gostream_store::{
    Error as StoreError, Keyring, SecretString,
    backup::{self, BackupExtras, Unpacked},
};
use secrecy::ExposeSecret as _;
use time::{OffsetDateTime, macros::format_description};
use uuid::Uuid;

use crate::{
    config::{SecretKey, SecretKeySource, Settings, parse_secret_key},
    data_dir,
};

/// Why a backup was not made, or not restored: a sentence each.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The copy.
    #[error(transparent)]
    Backup(#[from] backup::Error),
    /// The data directory or a file in it.
    #[error(transparent)]
    DataDir(#[from] data_dir::Error),
    /// There is something that would be replaced.
    #[error(
        "{} is there already: restore on an empty data_dir, or say --force to put it aside and take the backup's.",
        path.display()
    )]
    Occupied {
        /// What is there.
        path: PathBuf,
    },
    /// The settings bring a secret key, and it is not that of the backup.
    #[error("The backup has another secret key than the setting {0}: take that setting away, and restore again.")]
    OtherKey(&'static str),
    /// What a backup holds is no key.
    #[error("{} holds no secret key: use another copy.", path.display())]
    NoKey {
        /// The backup.
        path: PathBuf,
    },
    /// A file cannot be moved to its place.
    #[error("{} cannot be put in its place: {source}. Restore again, with --force, once it can.", path.display())]
    Place {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl Error {
    /// Whether a setting has to change, rather than the world around.
    pub fn is_setting(&self) -> bool {
        use backup::Error::Store;
        matches!(self, Self::OtherKey(_) | Self::Backup(Store(StoreError::WrongSecretKey | StoreError::Url)))
    }
}

/// Writes the new file `to`, which restores this server on an empty machine. The server may run meanwhile.
pub async fn write(settings: &Settings, to: &Path) -> Result<(), Error> {
    let url = settings.database_url.expose_secret();
    let database = backup::file(url)?;
    // Before the key, which would be made where there is none.
    if !database.exists() {
        return Err(backup::Error::NoDatabase { path: database }.into());
    }
    let key = data_dir::secret_key(settings)?;
    let extras =
        BackupExtras { secret_key: SecretString::from(key.encoded()), node_id: data_dir::node_id(&settings.data_dir)? };
    Ok(backup::write(url, &Keyring::new(key.0), &extras, to).await?)
}

/// Brings a backup back, and tells where what was there before lies now, if anything was.
pub async fn restore(settings: &Settings, from: &Path, force: bool) -> Result<Option<String>, Error> {
    let database = backup::file(settings.database_url.expose_secret())?;
    data_dir::prepare(&settings.data_dir)?;
    // Until the end: a service manager starts a server again and again.
    let _held = data_dir::hold_alone(&settings.data_dir).await?;
    // A key that the operator keeps elsewhere is not ours to write.
    let own = matches!(settings.secret_key, SecretKeySource::DataDir);
    let key_file = own.then(|| settings.data_dir.join(data_dir::SECRET_KEY_FILE));
    let present = [Some(&database), key_file.as_ref()].into_iter().flatten();
    let present: Vec<_> = present.filter(|path| path.exists()).cloned().collect();
    if let (Some(path), false) = (present.first(), force) {
        return Err(Error::Occupied { path: path.clone() });
    }
    if database.exists() {
        backup::ensure_unused(&database).await?;
    }

    // All of it is proved beside its place, before anything is touched.
    let draft = Draft(backup::sibling(&database, &format!("{}.restoring", Uuid::new_v4())));
    let Unpacked { extras, is_verified } = backup::unpack(from, &draft.0).await?;
    if !is_verified {
        tracing::warn!("The backup has no checksum, as older ones: whether it was changed since cannot be told.");
    }
    let key =
        parse_secret_key(extras.secret_key.expose_secret()).ok_or_else(|| Error::NoKey { path: from.to_owned() })?;
    check_given_key(settings, &key)?;
    backup::prove(&draft.0, Keyring::new(key.0)).await?;

    let aside = put_aside(&present, &database)?;
    if let Some(path) = key_file {
        data_dir::replace(&path, &key.encoded())?;
    }
    data_dir::replace(&settings.data_dir.join(data_dir::NODE_FILE), &extras.node_id)?;
    // Last: a restore that stops half-way leaves no database, and not one with the key of another.
    backup::replace(&draft.0, &database).map_err(|source| Error::Place { path: database, source })?;
    Ok(aside)
}

/// A key that the settings bring stays theirs; it has to be the one that the backup was made with.
fn check_given_key(settings: &Settings, key: &SecretKey) -> Result<(), Error> {
    let (setting, given) = match &settings.secret_key {
        SecretKeySource::Given(given) => ("secret_key", given.clone()),
        SecretKeySource::File(_) => ("secret_key_file", data_dir::secret_key(settings)?),
        SecretKeySource::DataDir => return Ok(()),
    };
    if given == *key { Ok(()) } else { Err(Error::OtherKey(setting)) }
}

/// Renames what is there, with SQLite's log of it; tells the ending that the names got.
fn put_aside(present: &[PathBuf], database: &Path) -> Result<Option<String>, Error> {
    if present.is_empty() {
        return Ok(None);
    }
    let format = format_description!("[year][month][day]T[hour][minute][second]");
    let now = OffsetDateTime::now_utc().format(&format).unwrap_or_default();
    let ending = format!("before-restore-{now}");
    let log = ["-wal", "-shm"].map(|ending| {
        let mut name = database.as_os_str().to_owned();
        name.push(ending);
        PathBuf::from(name)
    });
    for path in present.iter().chain(log.iter().filter(|path| path.exists())) {
        fs::rename(path, backup::sibling(path, &ending))
            .map_err(|source| Error::Place { path: path.clone(), source })?;
    }
    Ok(Some(ending))
}

/// A copy that goes away unless it found its place.
struct Draft(PathBuf);

impl Drop for Draft {
    fn drop(&mut self) {
        // Most often it is in its place, and not here any more.
        let _ = fs::remove_file(&self.0);
    }
}
