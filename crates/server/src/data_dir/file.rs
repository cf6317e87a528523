//! Private files that are written completely or not at all.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use gostream_store::backup;
use uuid::Uuid;

use super::error::Error;

/// Creates a complete, private file unless it exists. Two commands may do this at the same time.
pub(super) fn create_once(path: &Path, line: &str) -> Result<(), Error> {
    let failed = |source| Error::File { path: path.to_owned(), source };
    if path.try_exists().map_err(failed)? {
        return Ok(());
    }
    let draft = draft(path, line).map_err(failed)?;
    // Unlike a rename, a hard link does not replace a file that another process has just created.
    let linked = match fs::hard_link(&draft, path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    };
    fs::remove_file(&draft).map_err(failed)?;
    linked.map_err(failed)
}

/// Writes a complete, private file, and replaces an existing one.
pub(crate) fn replace(path: &Path, line: &str) -> Result<(), Error> {
    let failed = |source| Error::File { path: path.to_owned(), source };
    let draft = draft(path, line).map_err(failed)?;
    backup::replace(&draft, path).map_err(failed)
}

/// Writes a private temporary file beside `path`, and flushes it to the disk.
fn draft(path: &Path, line: &str) -> io::Result<PathBuf> {
    let draft = path.with_extension(format!("{}.new", Uuid::new_v4()));
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
    file.write_all(format!("{line}\n").as_bytes())?;
    file.sync_all()?;
    Ok(draft)
}
