//! The node id, which identifies this server among those on one database.

use std::{fs, path::Path};

use uuid::Uuid;

use super::{
    error::Error,
    file::{create_once, replace},
};

/// The name of the file with the node id.
pub(crate) const NODE_FILE: &str = "node.id";

/// The node id, which is kept across restarts. Streams carry it, so that a server closes only its own streams after a
/// crash.
pub(crate) fn node_id(data_dir: &Path) -> Result<String, Error> {
    let path = data_dir.join(NODE_FILE);
    create_once(&path, &Uuid::new_v4().to_string())?;
    let read = || fs::read_to_string(&path).map_err(|source| Error::File { path: path.clone(), source });
    let mut text = read()?;
    // A full disk leaves an empty file. An empty id would not be unique.
    if text.trim().is_empty() {
        replace(&path, &Uuid::new_v4().to_string())?;
        text = read()?;
    }
    Ok(text.trim().to_owned())
}
