//! The name of this server among others on one database.

use std::{fs, path::Path};

use uuid::Uuid;

use super::{
    error::Error,
    file::{create_once, replace},
};

/// The file that names this server among others on one database.
pub(crate) const NODE_FILE: &str = "node.id";

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
