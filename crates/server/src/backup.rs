//! `gostream backup` and `gostream restore`: copies the database and the files that belong to it into one file, and
//! back.

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

/// Why a backup or a restore failed; each is a sentence for the operator.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Reading or writing the backup.
    #[error(transparent)]
    Backup(#[from] backup::Error),
    /// The data directory or a file in it.
    #[error(transparent)]
    DataDir(#[from] data_dir::Error),
    /// A file that the restore would replace exists.
    #[error(
        "{} exists already: restore into an empty data_dir, or use --force to move it aside and restore the backup.",
        path.display()
    )]
    Occupied {
        /// The existing file.
        path: PathBuf,
    },
    /// The settings contain a secret key that differs from the key in the backup.
    #[error("The backup has another secret key than the setting {0}: remove that setting, and restore again.")]
    OtherKey(&'static str),
    /// The secret key in the backup is invalid.
    #[error("{} holds no secret key: use another copy.", path.display())]
    NoKey {
        /// The backup.
        path: PathBuf,
    },
    /// A restored file cannot be moved to its final path.
    #[error("{} cannot be moved to its place: {source}. Restore again with --force once this is solved.", path.display())]
    Place {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
}

impl Error {
    /// Whether a setting must be changed, as opposed to the environment.
    pub fn is_setting(&self) -> bool {
        use backup::Error::Store;
        matches!(self, Self::OtherKey(_) | Self::Backup(Store(StoreError::WrongSecretKey | StoreError::Url)))
    }
}

/// Writes the new file `to`, which restores this server on an empty machine. The server may be running.
pub async fn write(settings: &Settings, to: &Path) -> Result<(), Error> {
    let url = settings.database_url.expose_secret();
    let database = backup::file(url)?;
    // This comes before the key, which would otherwise be created.
    if !database.exists() {
        return Err(backup::Error::NoDatabase { path: database }.into());
    }
    let key = data_dir::secret_key(settings)?;
    let extras =
        BackupExtras { secret_key: SecretString::from(key.encoded()), node_id: data_dir::node_id(&settings.data_dir)? };
    Ok(backup::write(url, &Keyring::new(key.0), &extras, to).await?)
}

/// Restores a backup. Returns the suffix of the previous files, if there were any.
pub async fn restore(settings: &Settings, from: &Path, force: bool) -> Result<Option<String>, Error> {
    let database = backup::file(settings.database_url.expose_secret())?;
    data_dir::prepare(&settings.data_dir)?;
    // The lock is held to the end: a service manager may try to start the server at any time.
    let _directory_lock = data_dir::lock_now(&settings.data_dir).await?;
    // A key file that the operator keeps elsewhere must not be overwritten.
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

    // Everything is verified in a temporary file before anything is changed.
    let draft = Draft(backup::sibling(&database, &format!("{}.restoring", Uuid::new_v4())));
    let Unpacked { extras, is_verified } = backup::unpack(from, &draft.0).await?;
    if !is_verified {
        tracing::warn!(
            "The backup has no checksum because it is from an older version: changes to it cannot be detected."
        );
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
    // The database comes last: an interrupted restore leaves no database, as opposed to one with the wrong key.
    backup::replace(&draft.0, &database).map_err(|source| Error::Place { path: database, source })?;
    Ok(aside)
}

/// A key in the settings is kept; it must be the key of the backup.
fn check_given_key(settings: &Settings, key: &SecretKey) -> Result<(), Error> {
    let (setting, given) = match &settings.secret_key {
        SecretKeySource::Given(given) => ("secret_key", given.clone()),
        SecretKeySource::File(_) => ("secret_key_file", data_dir::secret_key(settings)?),
        SecretKeySource::DataDir => return Ok(()),
    };
    if given == *key { Ok(()) } else { Err(Error::OtherKey(setting)) }
}

/// Renames the existing files and SQLite's log files. Returns the suffix that was added to their names.
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

/// A temporary file, deleted on drop unless it was moved to its final path.
struct Draft(PathBuf);

impl Drop for Draft {
    fn drop(&mut self) {
        // After a successful restore the file is gone.
        let _ = fs::remove_file(&self.0);
    }
}
