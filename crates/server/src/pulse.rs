//! Whether the database keeps changes: asked by writing, now and then and when there is reason to doubt it. A full disk, one that
//! may only be read, and a damaged file are outages like a database that is away: streams go on, changes are refused, and
//! readiness, log, metrics and page say which.

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

use crate::data_dir::Held;

/// How often it is asked while nothing is wrong.
const INTERVAL: Duration = Duration::from_secs(10);
/// A server that did not write for so long has stopped.
pub(crate) const SURE_SIGN: Duration = Duration::from_secs(12);
/// How often it is asked whether the trouble is over.
const INTERVAL_IN_TROUBLE: Duration = Duration::from_secs(2);
/// Doubts come with each request that fails; an answer to one serves those that come soon after.
const DOUBTS_APART: Duration = Duration::from_secs(1);
/// A database that takes longer is away. On SQLite another program may hold the lock, which is waited for 5 s, and then said.
const TIMEOUT: Duration = Duration::from_secs(7);
/// What is damaged shows where it is read, and not where we write: it is believed for so long after it was last seen.
const DAMAGE_BELIEVED: Duration = Duration::from_secs(300);

/// What is known of the database.
#[derive(Debug)]
pub(crate) struct Pulse {
    trouble: watch::Sender<Option<Trouble>>,
    damage_seen: Mutex<Option<Instant>>,
    doubt: Notify,
    /// Another server has the name of this one.
    is_double: AtomicBool,
}

impl Default for Pulse {
    fn default() -> Self {
        Self {
            trouble: watch::Sender::new(None),
            damage_seen: Mutex::default(),
            doubt: Notify::new(),
            is_double: AtomicBool::new(false),
        }
    }
}

impl Pulse {
    /// What is wrong, as far as is known.
    pub(crate) fn trouble(&self) -> Option<Trouble> {
        *self.trouble.borrow()
    }

    /// Whether another server has the name of this one.
    pub(crate) fn is_double(&self) -> bool {
        self.is_double.load(Ordering::Relaxed)
    }

    /// Takes whether another server has the name of this one.
    pub(crate) fn set_double(&self, is_double: bool) {
        self.is_double.store(is_double, Ordering::Relaxed);
    }

    /// A request or an event could not be written or read, because of that.
    pub(crate) fn doubt(&self, trouble: Trouble) {
        if trouble == Trouble::Damaged {
            *self.damage_seen.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        }
        self.doubt.notify_one();
    }

    /// Asks until the server stops. `file` is that of the database, if it is one.
    pub(crate) async fn run(
        self: Arc<Self>,
        store: Store,
        node: String,
        file: Option<Opened>,
        held: Arc<Held>,
        stop: CancellationToken,
    ) {
        let (mut since, mut doubted) = (Instant::now(), false);
        loop {
            // A light row may find a place in a file that cannot grow.
            let heavy = doubted || self.trouble().is_some();
            if file.as_ref().is_some_and(Opened::is_elsewhere) {
                store.refuse_changes();
            }
            self.ask(&store, &node, if heavy { HeartbeatSize::Large } else { HeartbeatSize::Small }, &mut since)
                .await;
            if self.trouble().is_none() {
                held.note_written();
            }
            let asked = Instant::now();
            let pause = if self.trouble().is_some() { INTERVAL_IN_TROUBLE } else { INTERVAL };
            let doubt = async {
                self.doubt.notified().await;
                sleep_until(asked + DOUBTS_APART).await;
            };
            doubted = tokio::select! {
                () = stop.cancelled() => return,
                () = sleep_until(asked + pause) => false,
                () = doubt => true,
            };
        }
    }

    /// Writes, and says what changed.
    async fn ask(&self, store: &Store, node: &str, size: HeartbeatSize, since: &mut Instant) {
        let written = match timeout(TIMEOUT, store.heartbeat(node, size)).await {
            Ok(written) => written.map_err(|error| (error.trouble().unwrap_or(Trouble::Away), Some(error))),
            Err(_) => Err((Trouble::Away, None)),
        };
        let damaged = || {
            let seen = *self.damage_seen.lock().unwrap_or_else(PoisonError::into_inner);
            seen.is_some_and(|seen| seen.elapsed() < DAMAGE_BELIEVED).then_some((Trouble::Damaged, None))
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
                None => tracing::info!(seconds = since.elapsed().as_secs(), "The database keeps changes again."),
            }
            self.trouble.send_replace(now);
        }
    }
}

/// A database file, as it was when it was opened.
#[derive(Clone, Debug)]
pub(crate) struct Opened {
    path: PathBuf,
    id: (u64, u64),
}

impl Opened {
    /// The one of a URL, which just was opened.
    pub(crate) fn of(url: &str) -> Option<Self> {
        let path = backup::file(url).ok()?;
        let id = id_of(&path).ok()?;
        Some(Self { path, id })
    }

    /// Whether the path leads to another file now, or to none.
    fn is_elsewhere(&self) -> bool {
        match id_of(&self.path) {
            Ok(id) => id != self.id,
            // What cannot be asked for now may be there all the same.
            Err(error) => error.kind() == io::ErrorKind::NotFound,
        }
    }
}

fn id_of(path: &Path) -> io::Result<(u64, u64)> {
    fs::metadata(path).map(|file| (file.dev(), file.ino()))
}

/// The word for programs.
pub(crate) const fn name(trouble: Trouble) -> &'static str {
    match trouble {
        Trouble::Full => "full",
        Trouble::ReadOnly => "read_only",
        Trouble::Damaged => "damaged",
        Trouble::Replaced => "replaced",
        Trouble::Away => "away",
    }
}

/// Every trouble there is.
pub(crate) const TROUBLES: [Trouble; 5] =
    [Trouble::Full, Trouble::ReadOnly, Trouble::Damaged, Trouble::Replaced, Trouble::Away];

/// What it means for those who use the server.
pub(crate) const fn sentence(trouble: Trouble) -> &'static str {
    match trouble {
        Trouble::Full => {
            "The disk of the database is full: nothing can be saved until there is room. Streams that are live go on."
        }
        Trouble::ReadOnly => {
            "The database can only be read: nothing can be saved until that is mended. Streams that are live go on."
        }
        Trouble::Damaged => {
            "The database is damaged: its operator has to restore the newest backup. Streams that are live go on."
        }
        Trouble::Replaced => {
            "The file of the database was moved or replaced while the server runs: nothing can be saved until the server is \
             started again. Streams that are live go on."
        }
        Trouble::Away => "The database does not answer as it should. Try again in a moment.",
    }
}
