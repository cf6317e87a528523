//! Monitors whether the database accepts changes: by writing periodically, and after failed requests. A full disk, a
//! read-only database and a damaged file count as outages, like a database that does not respond: streams continue,
//! changes are refused, and readiness, log, metrics and page name the problem.

use std::{
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use gostream_store::{Error, HeartbeatSize, Store, Trouble, backup};
use tokio::{
    sync::{Notify, watch},
    time::{Instant, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::data_dir::DirectoryLock;

/// The interval of checks while there is no problem.
const INTERVAL: Duration = Duration::from_secs(10);
/// A server that has not written for this long has stopped.
pub(crate) const STOPPED_AFTER: Duration = Duration::from_secs(12);
/// The interval of checks during a problem.
const TROUBLE_INTERVAL: Duration = Duration::from_secs(2);
/// The shortest time between checks that failed requests cause. One check serves all requests that fail in between.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);
/// A database that takes longer counts as away. On SQLite another program may hold the lock; after 5 s of waiting
/// SQLite reports that.
const TIMEOUT: Duration = Duration::from_secs(7);
/// Reads find damage that the periodic write does not. A reported damage is shown for this long after it was last seen.
const DAMAGE_SHOWN: Duration = Duration::from_secs(300);

/// The known state of the database.
#[derive(Debug)]
pub(crate) struct DatabaseHealth {
    trouble: watch::Sender<Option<Trouble>>,
    damage_seen: Mutex<Option<Instant>>,
    reported: Notify,
    /// Another server has the same node id.
    is_node_duplicated: AtomicBool,
}

impl Default for DatabaseHealth {
    fn default() -> Self {
        Self {
            trouble: watch::Sender::new(None),
            damage_seen: Mutex::default(),
            reported: Notify::new(),
            is_node_duplicated: AtomicBool::new(false),
        }
    }
}

impl DatabaseHealth {
    /// The current problem, if one is known.
    pub(crate) fn trouble(&self) -> Option<Trouble> {
        *self.trouble.borrow()
    }

    /// Whether another server has the same node id.
    pub(crate) fn is_node_duplicated(&self) -> bool {
        self.is_node_duplicated.load(Ordering::Relaxed)
    }

    /// Sets whether another server has the same node id.
    pub(crate) fn set_node_duplicated(&self, is_node_duplicated: bool) {
        self.is_node_duplicated.store(is_node_duplicated, Ordering::Relaxed);
    }

    /// Reports that a request or an event could not be read or written because of this problem.
    pub(crate) fn report(&self, trouble: Trouble) {
        if trouble == Trouble::Damaged {
            *self.damage_seen.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        }
        self.reported.notify_one();
    }

    /// Checks the database until the server stops. `file` is the database file, if the database is one.
    pub(crate) async fn run(
        self: Arc<Self>,
        store: Store,
        node: String,
        file: Option<DatabaseFile>,
        directory_lock: Arc<DirectoryLock>,
        stop: CancellationToken,
    ) {
        let (mut since, mut is_reported) = (Instant::now(), false);
        loop {
            // A small row may still fit into a file that cannot grow, so a doubtful database gets a large one.
            let heavy = is_reported || self.trouble().is_some();
            if file.as_ref().is_some_and(DatabaseFile::is_elsewhere) {
                store.refuse_changes();
            }
            self.check(&store, &node, if heavy { HeartbeatSize::Large } else { HeartbeatSize::Small }, &mut since)
                .await;
            if self.trouble().is_none() {
                directory_lock.note_written();
            }
            let checked_at = Instant::now();
            let pause = if self.trouble().is_some() { TROUBLE_INTERVAL } else { INTERVAL };
            let report = async {
                self.reported.notified().await;
                sleep_until(checked_at + REPORT_INTERVAL).await;
            };
            is_reported = tokio::select! {
                () = stop.cancelled() => return,
                () = sleep_until(checked_at + pause) => false,
                () = report => true,
            };
        }
    }

    /// Writes a heartbeat, and logs a changed state.
    async fn check(&self, store: &Store, node: &str, size: HeartbeatSize, since: &mut Instant) {
        let written = match timeout(TIMEOUT, store.heartbeat(node, size)).await {
            Ok(written) => written.map_err(|error| (error.trouble().unwrap_or(Trouble::Away), Some(error))),
            Err(_) => Err((Trouble::Away, None)),
        };
        let damaged = || {
            let seen = *self.damage_seen.lock().unwrap_or_else(PoisonError::into_inner);
            seen.is_some_and(|seen| seen.elapsed() < DAMAGE_SHOWN).then_some((Trouble::Damaged, None))
        };
        let found = written.err().or_else(damaged);
        let (before, now) = (self.trouble(), found.as_ref().map(|(trouble, _)| *trouble));
        if now != before {
            let error = found.and_then(|(_, error)| error).map(|error: Error| error.to_string());
            if before.is_none() {
                *since = Instant::now();
            }
            match now {
                Some(trouble) => tracing::error!(error, trouble = name(trouble), "{}", sentence(trouble)),
                None => tracing::info!(seconds = since.elapsed().as_secs(), "The database accepts changes again."),
            }
            self.trouble.send_replace(now);
        }
    }
}

/// The identity of a database file at the time that it was opened.
#[derive(Clone, Debug)]
pub(crate) struct DatabaseFile {
    path: PathBuf,
    id: (u64, u64),
}

impl DatabaseFile {
    /// The file of a database URL that has just been opened.
    pub(crate) fn of(url: &str) -> Option<Self> {
        let path = backup::file(url).ok()?;
        let id = id_of(&path).ok()?;
        Some(Self { path, id })
    }

    /// Whether the path now leads to another file or to none.
    fn is_elsewhere(&self) -> bool {
        match id_of(&self.path) {
            Ok(id) => id != self.id,
            // After any other error the file may still exist.
            Err(error) => error.kind() == io::ErrorKind::NotFound,
        }
    }
}

fn id_of(path: &Path) -> io::Result<(u64, u64)> {
    fs::metadata(path).map(|file| (file.dev(), file.ino()))
}

/// The name of the problem in the API and metrics.
pub(crate) const fn name(trouble: Trouble) -> &'static str {
    match trouble {
        Trouble::Full => "full",
        Trouble::ReadOnly => "read_only",
        Trouble::Damaged => "damaged",
        Trouble::Replaced => "replaced",
        Trouble::Away => "away",
    }
}

/// All problems.
pub(crate) const TROUBLES: [Trouble; 5] =
    [Trouble::Full, Trouble::ReadOnly, Trouble::Damaged, Trouble::Replaced, Trouble::Away];

/// A sentence for users and operators.
pub(crate) const fn sentence(trouble: Trouble) -> &'static str {
    match trouble {
        Trouble::Full => {
            "The disk of the database is full: nothing can be saved until there is room. Live streams continue."
        }
        Trouble::ReadOnly => {
            "The database is read-only: nothing can be saved until that is fixed. Live streams continue."
        }
        Trouble::Damaged => {
            "The database is damaged: the operator has to restore the newest backup. Live streams continue."
        }
        Trouble::Replaced => {
            "The database file was moved or replaced while the server runs: nothing can be saved until the server is \
             restarted. Live streams continue."
        }
        Trouble::Away => "The database does not respond as expected. Try again in a moment.",
    }
}
