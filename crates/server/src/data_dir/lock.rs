//! The lock that lets one server use a data directory, and the record of its last write.

use std::{
    fs::{self, File, Metadata, OpenOptions, TryLockError},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use gostream_store::{WithoutLog, without_log};
use secrecy::ExposeSecret as _;
use time::OffsetDateTime;
use uuid::Uuid;

use super::{error::Error, node::NODE_FILE};
use crate::config::Settings;

/// The lock file of a running server, and of commands that need exclusive access.
const LOCK_FILE: &str = "lock";
/// The file with the time of the last change that the database accepted.
const WRITTEN_FILE: &str = "written";
/// How long a server waits for the previous one, which may be stopping: a stop takes at most 9 s.
pub(crate) const LOCK_TIMEOUT: Duration = Duration::from_secs(12);
/// A power cut may lose the last moments of one file but not of another.
const LOSS_TOLERATED: time::Duration = time::Duration::minutes(5);
/// A temporary file that is older than this was left by a killed process.
const DRAFT_LASTS: Duration = Duration::from_secs(60);
/// The interval between two attempts.
const LOCK_RETRY: Duration = Duration::from_millis(50);

/// The exclusive use of a data directory. It ends when this is dropped, or with the process.
#[derive(Debug)]
pub(crate) struct DirectoryLock {
    _file: File,
    note: PathBuf,
}

impl DirectoryLock {
    /// Records that the database has just accepted a change.
    pub(crate) fn note_written(&self) {
        let line = format!("{}\n", OffsetDateTime::now_utc().unix_timestamp());
        // A failure matters little, and a full disk is reported elsewhere.
        let _ = fs::write(&self.note, line);
    }
}

/// Fails with [`Error::Outdated`] if the database file lacks the last changes of this server.
pub(crate) async fn require_newest(settings: &Settings) -> Result<(), Error> {
    let [note, node] = [WRITTEN_FILE, NODE_FILE].map(|name| settings.data_dir.join(name));
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

/// Locks the directory. Waits at most `timeout` for a server that is stopping. Two servers in one directory would
/// close each other's streams as abandoned.
pub(crate) async fn lock(dir: &Path, timeout: Duration) -> Result<DirectoryLock, Error> {
    let path = dir.join(LOCK_FILE);
    let failed = |source| Error::File { path: path.clone(), source };
    let directory_lock = |file| DirectoryLock { _file: file, note: dir.join(WRITTEN_FILE) };
    let deadline = Instant::now() + timeout;
    let mut is_told = false;
    loop {
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(failed)?;
        match file.try_lock() {
            Ok(()) if is_at(&file, &path) => {
                remove_drafts(dir);
                return Ok(directory_lock(file));
            }
            // The file was removed, and another process may have locked a new one at the path.
            Ok(()) => continue,
            Err(TryLockError::WouldBlock) if Instant::now() < deadline => {
                if !is_told && timeout == LOCK_TIMEOUT {
                    tracing::warn!("Another server uses this data directory. Waiting for it to stop.");
                    is_told = true;
                }
                tokio::time::sleep(LOCK_RETRY).await;
            }
            Err(TryLockError::WouldBlock) => return Err(Error::InUse { path: dir.to_owned() }),
            Err(TryLockError::Error(error)) => {
                tracing::warn!(%error, "This file system does not support locks: a second server could use the same data directory.");
                return Ok(directory_lock(file));
            }
        }
    }
}

/// Locks the directory for a command that needs exclusive access. Does not wait.
pub(crate) async fn lock_now(dir: &Path) -> Result<DirectoryLock, Error> {
    lock(dir, Duration::ZERO).await
}

/// Whether the path still leads to this open file.
fn is_at(file: &File, path: &Path) -> bool {
    let same = |one: &Metadata, other: &Metadata| (one.dev(), one.ino()) == (other.dev(), other.ino());
    file.metadata().is_ok_and(|one| fs::metadata(path).is_ok_and(|other| same(&one, &other)))
}

/// Removes the temporary files of a killed process: `secret.<uuid>.new`, `node.<uuid>.new` and the like.
fn remove_drafts(dir: &Path) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let is_draft = name.to_str().and_then(|name| name.strip_suffix(".new")?.rsplit_once('.'));
        let is_draft = is_draft.is_some_and(|(_, middle)| Uuid::try_parse(middle).is_ok());
        let age = entry.metadata().and_then(|file| file.modified()).ok().and_then(|at| at.elapsed().ok());
        if is_draft && age.is_some_and(|age| age > DRAFT_LASTS) {
            let _ = fs::remove_file(entry.path());
        }
    }
}
