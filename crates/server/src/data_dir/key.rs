//! The file of the secret key.

use std::{
    fs::{self, File},
    io::{self, Read as _},
    os::unix::fs::PermissionsExt as _,
    path::PathBuf,
};

use gostream_store::backup;

use super::{
    error::Error,
    file::{create_once, replace},
};
use crate::config::{SecretKey, SecretKeySource, Settings, parse_secret_key};

/// The name of the key file that is created on the first start.
pub(crate) const SECRET_KEY_FILE: &str = "secret.key";

/// The secret key from the settings or from its file. On the first start a new key is created; it is moved to its final
/// path once a database uses it ([`KeyFile::adopt_first`]). So a key at that path means that there was a database.
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

/// The paths of the secret key, and of its temporary files during a rotation.
#[derive(Debug)]
pub(crate) struct KeyFile {
    /// The current key.
    pub path: PathBuf,
    /// The first key of a server, until its database exists.
    first: PathBuf,
    /// The next key, during a rotation.
    pub new: PathBuf,
    /// The previous key.
    pub old: PathBuf,
    /// The widest permitted mode of the first two files.
    allowed: u32,
}

impl KeyFile {
    /// `None` if the settings contain the key itself.
    pub(crate) fn of(settings: &Settings) -> Option<Self> {
        match &settings.secret_key {
            SecretKeySource::Given(_) => None,
            SecretKeySource::File(path) => Some(Self::given(path.clone())),
            SecretKeySource::DataDir => Some(Self::own(settings)),
        }
    }

    /// The key file in the data directory, which this server created.
    fn own(settings: &Settings) -> Self {
        Self::at(settings.data_dir.join(SECRET_KEY_FILE), 0o600)
    }

    /// A key file that the operator provides. Container platforms make secrets readable by a group.
    fn given(path: PathBuf) -> Self {
        Self::at(path, 0o640)
    }

    fn at(path: PathBuf, allowed: u32) -> Self {
        let [first, new, old] = ["first", "new", "old"].map(|ending| backup::sibling(&path, ending));
        Self { first, new, old, path, allowed }
    }

    pub(crate) fn exists(&self) -> Result<bool, Error> {
        self.path.try_exists().map_err(|source| self.failed(source))
    }

    /// Moves the first key to its final path, unless this has been done. Another command may do this at the same time.
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

    /// The next key, if an interrupted rotation left one.
    pub(crate) fn read_new(&self) -> Result<Option<SecretKey>, Error> {
        if self.new.exists() { read_secret_key(self.new.clone(), self.allowed).map(Some) } else { Ok(None) }
    }

    pub(crate) fn write_new(&self, key: &SecretKey) -> Result<(), Error> {
        replace(&self.new, &key.encoded())
    }

    /// Makes the new key the current one and keeps `present` as the previous one. A key is at the final path at every
    /// moment.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_invalid_key_file_is_reported_and_not_replaced() {
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
