//! Files that are written whole or not at all, for their user only.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use gostream_store::backup;
use uuid::Uuid;

use super::error::Error;

/// Writes the file, private and whole, unless it is there already: two commands may start at the same moment.
pub(super) fn create_once(path: &Path, line: &str) -> Result<(), Error> {
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
