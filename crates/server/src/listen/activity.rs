//! Tracks whether a connection is idle, which means that it has no open request. An unfinished head is not a request.
//! Idle connections may be evicted for new ones, and are closed after a while, even if they answer HTTP/2 pings.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use gostream_net::connection_limiter::Permit;
use tokio::{
    sync::Notify,
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;

/// The open requests of one connection, and its permit.
#[derive(Debug)]
pub(super) struct Activity {
    permit: Permit,
    first_request: Notify,
    requests: Mutex<Requests>,
}

#[derive(Debug)]
struct Requests {
    open: usize,
    idle_since: Instant,
}

/// An open request; it ends when this is dropped.
#[derive(Debug)]
pub(super) struct ActiveRequest(Arc<Activity>);

impl Activity {
    pub(super) fn new(permit: Permit) -> Arc<Self> {
        let requests = Mutex::new(Requests { open: 0, idle_since: Instant::now() });
        Arc::new(Self { permit, first_request: Notify::new(), requests })
    }

    pub(super) fn begin(self: &Arc<Self>) -> ActiveRequest {
        let mut requests = self.requests();
        requests.open += 1;
        if requests.open == 1 {
            self.permit.busy();
        }
        drop(requests);
        self.permit.admit();
        self.first_request.notify_one();
        ActiveRequest(Arc::clone(self))
    }

    /// Returns with the first request.
    pub(super) async fn first_request(&self) {
        self.first_request.notified().await;
    }

    /// Returns once the connection has been idle for `patience`.
    pub(super) async fn idle_for(&self, patience: Duration) {
        loop {
            let Requests { open, idle_since } = *self.requests();
            let due = if open == 0 { idle_since } else { Instant::now() } + patience;
            if due <= Instant::now() {
                return;
            }
            sleep_until(due).await;
        }
    }

    /// Cancelled when the connection must close to make room for another.
    pub(super) fn evicted(&self) -> CancellationToken {
        self.permit.evicted()
    }

    fn requests(&self) -> MutexGuard<'_, Requests> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for ActiveRequest {
    fn drop(&mut self) {
        let mut requests = self.0.requests();
        requests.open -= 1;
        if requests.open == 0 {
            requests.idle_since = Instant::now();
            self.0.permit.idle();
        }
    }
}
