//! One data directory, one server; and what that server last wrote.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    os::unix::fs::{FileExt as _, OpenOptionsExt as _},
    path::Path,
    time::{Duration, Instant},
};

use gostream_store::{WithoutLog, without_log};
use secrecy::ExposeSecret as _;
use time::OffsetDateTime;

use super::{Error, NODE_FILE};
use crate::config::Settings;

/// The file that a running server holds a lock on (commands do not), with the time at which the database last took a change.
const LOCK_FILE: &str = "lock";
/// How long a server waits for the one before it, which may be stopping: that takes 9 s at most.
const LOCK_PATIENCE: Duration = Duration::from_secs(12);
/// A power cut may take the last moments of a file and not those of another.
const LOSS_TOLERATED: time::Duration = time::Duration::minutes(5);
/// How soon to look again.
const LOCK_RETRY: Duration = Duration::from_millis(50);

/// A data directory that no other server uses until this is dropped, or the process ends in whichever way.
#[derive(Debug)]
pub(crate) struct Held {
    file: File,
}

impl Held {
    /// Notes that the database took a change just now.
    pub(crate) fn note_written(&self) {
        let line = format!("{}\n", OffsetDateTime::now_utc().unix_timestamp());
        // Always as long as before. It is worth little, and a full disk is said elsewhere.
        let _ = self.file.write_at(line.as_bytes(), 0);
    }
}

/// [`Error::Outdated`] where the database file lacks what this server wrote last.
pub(crate) async fn require_newest(settings: &Settings) -> Result<(), Error> {
    let [note, node] = [LOCK_FILE, NODE_FILE].map(|name| settings.data_dir.join(name));
    let noted_at = fs::read_to_string(&note).ok().and_then(|text| text.trim().parse().ok());
    let noted_at = noted_at.and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok());
    let (Some(noted_at), Ok(node)) = (noted_at, fs::read_to_string(&node)) else { return Ok(()) };
    match without_log(settings.database_url.expose_secret(), node.trim()).await {
        Some(WithoutLog { path, log, written_at }) if noted_at - written_at > LOSS_TOLERATED => {
            Err(Error::Outdated { path, log, written_at, noted_at, note })
        }
        _ => Ok(()),
    }
}

/// Waits for a server that is stopping, and takes the directory from everybody else. Two servers in one would take each other's
/// streams for their own that were cut off.
pub(crate) async fn hold(dir: &Path) -> Result<Held, Error> {
    let path = dir.join(LOCK_FILE);
    let failed = |source| Error::File { path: path.clone(), source };
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(failed)?;
    let deadline = Instant::now() + LOCK_PATIENCE;
    let mut is_told = false;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(Held { file }),
            Err(TryLockError::WouldBlock) if Instant::now() < deadline => {
                if !is_told {
                    tracing::warn!("Another server uses this data directory. Waiting for it to stop.");
                    is_told = true;
                }
                tokio::time::sleep(LOCK_RETRY).await;
            }
            Err(TryLockError::WouldBlock) => return Err(Error::InUse { path: dir.to_owned() }),
            Err(TryLockError::Error(error)) => {
                tracing::warn!(%error, "This file system has no locks: nothing keeps a second server out of the data directory.");
                return Ok(Held { file });
            }
        }
    }
}
