//! The data directory: private to its user. It contains the secret key and the node id.

use std::{
    fs, io,
    os::unix::fs::{DirBuilderExt as _, PermissionsExt as _},
    path::Path,
};

mod error;
mod file;
mod key;
mod lock;
mod node;

pub use self::error::Error;
pub(crate) use self::{
    file::replace,
    key::{KeyFile, SECRET_KEY_FILE, secret_key},
    lock::{DirectoryLock, LOCK_TIMEOUT, lock, lock_now, require_newest},
    node::{NODE_FILE, node_id},
};

/// Creates the directory if it is missing, and makes it private. A volume that belongs to another user and to a group
/// of this process (`fsGroup` of Kubernetes) must stay open to that group; there the files are made private.
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
                "The data directory belongs to another user and stays open to its group; only this user can read its files."
            );
            close_files(path).map_err(failed)
        }
        closed => closed.map_err(failed),
    }
}

/// Removes the group's permissions from this user's files. Kubernetes adds them each time it mounts the volume.
fn close_files(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        let mode = metadata.permissions().mode();
        if metadata.is_file() && mode & 0o070 != 0 && mode & 0o007 == 0 {
            // Files of other users cannot be changed. Those that matter are checked when they are read.
            let _ = fs::set_permissions(entry.path(), fs::Permissions::from_mode(0o600));
        }
    }
    Ok(())
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
        assert_eq!(fs::read_dir(&dir).expect("readable").count(), 1, "no temporary file remains");
    }

    #[test]
    fn an_open_directory_is_closed() {
        let temp = tempfile::tempdir().expect("temp dir");
        fs::set_permissions(temp.path(), fs::Permissions::from_mode(0o755)).expect("chmod");
        prepare(temp.path()).expect("usable");
        assert_eq!(mode(temp.path()), 0o700);
    }
}
