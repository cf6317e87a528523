//! Whether the database keeps changes: asked by writing, now and then and when there is reason to doubt it. A full disk, one that
//! may only be read, and a damaged file are outages like a database that is away: streams go on, changes are refused, and
//! readiness, log, metrics and page say which.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use gostream_store::{Error, Store, Trouble, Weight};
use tokio::{
    sync::{Notify, watch},
    time::{Instant, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::data_dir::Held;

/// How often it is asked while nothing is wrong.
const INTERVAL: Duration = Duration::from_secs(10);
/// How often it is asked whether the trouble is over.
const INTERVAL_IN_TROUBLE: Duration = Duration::from_secs(2);
/// Doubts come with each request that fails; an answer to one serves those that come soon after.
const DOUBTS_APART: Duration = Duration::from_secs(1);
/// A database that takes longer is away.
const TIMEOUT: Duration = Duration::from_secs(5);
/// What is damaged shows where it is read, and not where we write: it is believed for so long after it was last seen.
const DAMAGE_BELIEVED: Duration = Duration::from_secs(300);

/// What is known of the database.
#[derive(Debug)]
pub(crate) struct Pulse {
    trouble: watch::Sender<Option<Trouble>>,
    damage_seen: Mutex<Option<Instant>>,
    doubt: Notify,
}

impl Default for Pulse {
    fn default() -> Self {
        Self { trouble: watch::Sender::new(None), damage_seen: Mutex::default(), doubt: Notify::new() }
    }
}

impl Pulse {
    /// What is wrong, as far as is known.
    pub(crate) fn trouble(&self) -> Option<Trouble> {
        *self.trouble.borrow()
    }

    /// A request or an event could not be written or read, because of that.
    pub(crate) fn doubt(&self, trouble: Trouble) {
        if trouble == Trouble::Damaged {
            *self.damage_seen.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        }
        self.doubt.notify_one();
    }

    /// Asks until the server stops.
    pub(crate) async fn run(self: Arc<Self>, store: Store, node: String, held: Arc<Held>, stop: CancellationToken) {
        let (mut since, mut doubted) = (Instant::now(), false);
        loop {
            // A light row may find a place in a file that cannot grow.
            let heavy = doubted || self.trouble().is_some();
            self.ask(&store, &node, if heavy { Weight::Heavy } else { Weight::Light }, &mut since).await;
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
    async fn ask(&self, store: &Store, node: &str, weight: Weight, since: &mut Instant) {
        let written = match timeout(TIMEOUT, store.beat(node, weight)).await {
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

/// The word for programs.
pub(crate) const fn name(trouble: Trouble) -> &'static str {
    match trouble {
        Trouble::Full => "full",
        Trouble::ReadOnly => "read_only",
        Trouble::Damaged => "damaged",
        Trouble::Away => "away",
    }
}

/// Every trouble there is.
pub(crate) const TROUBLES: [Trouble; 4] = [Trouble::Full, Trouble::ReadOnly, Trouble::Damaged, Trouble::Away];

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
        Trouble::Away => "The database does not answer as it should. Try again in a moment.",
    }
}
