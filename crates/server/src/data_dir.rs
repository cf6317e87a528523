//! The data directory: made private, holding the secret key and the name of this node.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use gostream_store::backup;
use time::OffsetDateTime;
use uuid::Uuid;

pub(crate) use self::lock::{Held, LOCK_PATIENCE, hold, hold_alone, require_newest};
use crate::config::{SecretKey, SecretKeySource, Settings, parse_secret_key};

mod lock;

/// The file of the key that is made on first start.
pub(crate) const SECRET_KEY_FILE: &str = "secret.key";
/// The file that names this server among others on one database.
pub(crate) const NODE_FILE: &str = "node.id";
/// Why the data directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The directory cannot be made or made private.
    #[error("The data directory {} cannot be used: {source}. Check data_dir and its owner.", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file in it cannot be read or written.
    #[error("The file {} cannot be used: {source}.", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Another server runs here.
    #[error(
        "Another server uses the data directory {}: stop it first, or give this one a directory and ports of its own.",
        path.display()
    )]
    InUse {
        /// The directory.
        path: PathBuf,
    },
    /// The database is not as the server left it.
    #[error(
        "{} is as it was at {written_at}, and this server wrote into it until {noted_at}. Its log, {}, was lost, or stayed behind \
         when the file was copied: bring both back together, or restore a backup. To go on without what is missing, remove {}.",
        path.display(), log.display(), note.display()
    )]
    Outdated {
        /// The database file.
        path: PathBuf,
        /// Its log.
        log: PathBuf,
        /// When the file was last written.
        written_at: OffsetDateTime,
        /// When the server last wrote.
        noted_at: OffsetDateTime,
        /// Where that is noted.
        note: PathBuf,
    },
    /// The secret key's file holds something else.
    #[error("{} must hold 32 bytes in base64, not all zero. Restore it from a backup: destination keys cannot be read without it.",
        path.display())]
    SecretKey {
        /// The file.
        path: PathBuf,
    },
    /// Others may have read the secret key, or may replace it.
    #[error(
        "Other users can read {} (mode {mode:04o}), which opens every stream key: `chmod {allowed:o}` it, and if one of them may \
         have read it, replace the key (`gostream secret rotate`).",
        path.display()
    )]
    Readable {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
        /// What it may be.
        allowed: u32,
    },
}

/// Makes the directory when it is missing and closes it to other users. A volume that belongs to another user, and to a group that
/// this process is in (`fsGroup` of Kubernetes), cannot be closed to that group: its files are.
pub(crate) fn prepare(path: &Path) -> Result<(), Error> {
    let failed = |source| Error::Directory { path: path.to_owned(), source };
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(failed)?;
    let mode = fs::metadata(path).map_err(failed)?.permissions().mode();
    if mode & 0o077 == 0 {
        return Ok(());
    }
    match fs::set_permissions(path, fs::Permissions::from_mode(0o700)) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied && mode & 0o007 == 0 => {
            tracing::warn!(
                path = %path.display(),
                mode = format!("{:04o}", mode & 0o7777),
                "The data directory belongs to another user and stays open to its group; its files are for this user alone."
            );
            close_files(path).map_err(failed)
        }
        closed => closed.map_err(failed),
    }
}

/// Takes the group's rights from our files. Kubernetes gives them to the group of a volume each time that it is mounted.
fn close_files(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        let mode = metadata.permissions().mode();
        if metadata.is_file() && mode & 0o070 != 0 && mode & 0o007 == 0 {
            // What is another's stays as it is; of those that matter it is said when they are read.
            let _ = fs::set_permissions(entry.path(), fs::Permissions::from_mode(0o600));
        }
    }
    Ok(())
}

/// The secret key: as given, or from its file. On first start one is made, which gets its place when there is a database that is
/// written with it ([`KeyFile::adopt_first`]): a key in its place says that there was one.
pub(crate) fn secret_key(settings: &Settings) -> Result<SecretKey, Error> {
    let file = match &settings.secret_key {
        SecretKeySource::Given(key) => return Ok(key.clone()),
        SecretKeySource::File(path) => KeyFile::given(path.clone()),
        SecretKeySource::DataDir => KeyFile::own(settings),
    };
    if matches!(settings.secret_key, SecretKeySource::DataDir) && !file.exists()? {
        let key = SecretKey::random().map_err(|source| file.failed(source))?;
        create_once(&file.first, &key.encoded())?;
        return read_secret_key(file.first, file.allowed);
    }
    file.read()
}

/// The file of the secret key, and the two that stand beside it when the key is replaced.
#[derive(Debug)]
pub(crate) struct KeyFile {
    /// The key in force.
    pub path: PathBuf,
    /// The first key of a server, until its database is there.
    first: PathBuf,
    /// The key that is about to be.
    pub new: PathBuf,
    /// The key that was.
    pub old: PathBuf,
    /// The widest mode of the first two, what its user may aside.
    allowed: u32,
}

impl KeyFile {
    /// Nothing when the settings bring the key itself.
    pub(crate) fn of(settings: &Settings) -> Option<Self> {
        match &settings.secret_key {
            SecretKeySource::Given(_) => None,
            SecretKeySource::File(path) => Some(Self::given(path.clone())),
            SecretKeySource::DataDir => Some(Self::own(settings)),
        }
    }

    /// In the data directory, where we made it.
    fn own(settings: &Settings) -> Self {
        Self::at(settings.data_dir.join(SECRET_KEY_FILE), 0o600)
    }

    /// Where the operator keeps it. Container platforms hand secrets to a group.
    fn given(path: PathBuf) -> Self {
        Self::at(path, 0o640)
    }

    fn at(path: PathBuf, allowed: u32) -> Self {
        let [first, new, old] = ["first", "new", "old"].map(|ending| backup::beside(&path, ending));
        Self { first, new, old, path, allowed }
    }

    pub(crate) fn exists(&self) -> Result<bool, Error> {
        self.path.try_exists().map_err(|source| self.failed(source))
    }

    /// The first key gets its place, if it is still to get it. Another command may do the same at the same moment.
    pub(crate) fn adopt_first(&self) -> Result<(), Error> {
        match fs::hard_link(&self.first, &self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(self.failed(error)),
            _ => {}
        }
        match fs::remove_file(&self.first) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(self.failed(error)),
            _ => Ok(()),
        }
    }

    pub(crate) fn read(&self) -> Result<SecretKey, Error> {
        read_secret_key(self.path.clone(), self.allowed)
    }

    /// The key that is about to be, if a rotation left one.
    pub(crate) fn read_new(&self) -> Result<Option<SecretKey>, Error> {
        if self.new.exists() { read_secret_key(self.new.clone(), self.allowed).map(Some) } else { Ok(None) }
    }

    pub(crate) fn write_new(&self, key: &SecretKey) -> Result<(), Error> {
        replace(&self.new, &key.encoded())
    }

    /// The new key takes its place, and `present` is kept as the old one. There is a key in its place at every moment.
    pub(crate) fn adopt(&self, present: &SecretKey) -> Result<(), Error> {
        replace(&self.old, &present.encoded())?;
        backup::replace(&self.new, &self.path).map_err(|source| self.failed(source))
    }

    pub(crate) fn failed(&self, source: io::Error) -> Error {
        Error::File { path: self.path.clone(), source }
    }
}

fn read_secret_key(path: PathBuf, allowed: u32) -> Result<SecretKey, Error> {
    let failed = |source| Error::File { path: path.clone(), source };
    let mut file = File::open(&path).map_err(failed)?;
    let mode = file.metadata().map_err(failed)?.permissions().mode() & 0o777;
    if mode & 0o077 & !allowed != 0 {
        return Err(Error::Readable { path, mode, allowed });
    }
    let mut text = String::new();
    file.read_to_string(&mut text).map_err(failed)?;
    parse_secret_key(text.trim()).ok_or(Error::SecretKey { path })
}

/// A name for this server that outlives restarts: streams carry it, so that after a crash it closes its own only.
pub(crate) fn node_id(data_dir: &Path) -> Result<String, Error> {
    let path = data_dir.join(NODE_FILE);
    create_once(&path, &Uuid::new_v4().to_string())?;
    let read = || fs::read_to_string(&path).map_err(|source| Error::File { path: path.clone(), source });
    let mut text = read()?;
    // A disk that was full leaves one, and a name that others have as well.
    if text.trim().is_empty() {
        replace(&path, &Uuid::new_v4().to_string())?;
        text = read()?;
    }
    Ok(text.trim().to_owned())
}

/// Writes the file, private and whole, unless it is there already: two commands may start at the same moment.
fn create_once(path: &Path, line: &str) -> Result<(), Error> {
    let failed = |source| Error::File { path: path.to_owned(), source };
    if path.try_exists().map_err(failed)? {
        return Ok(());
    }
    let draft = draft(path, line).map_err(failed)?;
    // A hard link, other than a rename, does not replace what another process just put there.
    let linked = match fs::hard_link(&draft, path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    };
    fs::remove_file(&draft).map_err(failed)?;
    linked.map_err(failed)
}

/// Writes the file, private and whole, whether it is there or not.
pub(crate) fn replace(path: &Path, line: &str) -> Result<(), Error> {
    let failed = |source| Error::File { path: path.to_owned(), source };
    let draft = draft(path, line).map_err(failed)?;
    backup::replace(&draft, path).map_err(failed)
}

/// A private file beside `path`, on the disk.
fn draft(path: &Path, line: &str) -> io::Result<PathBuf> {
    let draft = path.with_extension(format!("{}.new", Uuid::new_v4()));
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
    file.write_all(format!("{line}\n").as_bytes())?;
    file.sync_all()?;
    Ok(draft)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).expect("exists").permissions().mode() & 0o777
    }

    #[test]
    fn directory_and_files_are_private_and_stay_the_same() {
        let temp = tempfile::tempdir().expect("temp dir");
        let dir = temp.path().join("a/b");
        prepare(&dir).expect("made");
        assert_eq!(mode(&dir), 0o700);
        let node = node_id(&dir).expect("named");
        assert_eq!(node_id(&dir).expect("named"), node);
        assert_eq!(mode(&dir.join(NODE_FILE)), 0o600);
        assert_eq!(fs::read_dir(&dir).expect("readable").count(), 1, "no draft is left behind");
    }

    #[test]
    fn an_open_directory_is_closed() {
        let temp = tempfile::tempdir().expect("temp dir");
        fs::set_permissions(temp.path(), fs::Permissions::from_mode(0o755)).expect("chmod");
        prepare(temp.path()).expect("usable");
        assert_eq!(mode(temp.path()), 0o700);
    }

    #[test]
    fn a_spoiled_key_file_is_told_and_not_replaced() {
        let temp = tempfile::tempdir().expect("temp dir");
        let path = temp.path().join(SECRET_KEY_FILE);
        replace(&path, "short").expect("written");
        assert!(matches!(read_secret_key(path.clone(), 0o600), Err(Error::SecretKey { .. })));
        assert_eq!(fs::read_to_string(&path).expect("readable"), "short\n");
        replace(&path, &SecretKey([0; 32]).encoded()).expect("written");
        assert!(matches!(read_secret_key(path, 0o600), Err(Error::SecretKey { .. })), "zeros are no secret");
    }

    #[test]
    fn a_key_that_others_can_read_is_refused() {
        let temp = tempfile::tempdir().expect("temp dir");
        let path = temp.path().join(SECRET_KEY_FILE);
        replace(&path, &SecretKey([7; 32]).encoded()).expect("written");
        for (mode, allowed, is_taken) in [
            (0o600, 0o600, true),
            (0o400, 0o600, true),
            (0o640, 0o600, false),
            (0o644, 0o600, false),
            (0o440, 0o640, true),
            (0o660, 0o640, false),
            (0o644, 0o640, false),
            (0o606, 0o640, false),
        ] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("chmod");
            let read = read_secret_key(path.clone(), allowed);
            assert_eq!(read.is_ok(), is_taken, "{mode:o} where {allowed:o} is allowed: {read:?}");
        }
    }
}
