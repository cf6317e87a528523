//! Limits the concurrent requests of each account. The database serves requests in the order of their arrival, and on
//! SQLite one change at a time. So only a few requests of one account run at a time, and the others wait without
//! delaying those of other accounts.

use std::{net::IpAddr, sync::Arc};

use axum::http::Method;
use gostream_engine::shares::{Bounds, Share, Shares};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::error::Problem;

/// The limits of changes. The queue has room for all requests of an address, because a refused client retries at once,
/// which costs processor time. The total is large enough for others while requests wait for their bodies.
const CHANGES: Bounds = Bounds { running: 128, running_each: 2, waiting: 16_384, waiting_each: 4_096 };
/// More reads than changes may run at a time.
const READS: Bounds = Bounds { running_each: 4, ..CHANGES };

/// The queues.
#[derive(Clone, Debug)]
pub(crate) struct RequestQueues {
    changes: Arc<Shares<QueueOwner>>,
    reads: Arc<Shares<QueueOwner>>,
}

/// The owner of a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum QueueOwner {
    Account(Uuid),
    Session(Uuid),
    /// The subscriber prefix of clients with API tokens. Owner and validity of a token are known only after reading the
    /// database.
    Tokens(Option<IpAddr>),
}

/// The permission to use the database, valid until dropped.
pub(super) type RequestPermit = Share<QueueOwner>;

impl Default for RequestQueues {
    fn default() -> Self {
        Self { changes: Shares::new(CHANGES), reads: Shares::new(READS) }
    }
}

impl RequestQueues {
    /// Waits for a turn. Fails with [`Problem::busy`] if too many wait, or when the server stops.
    pub(super) async fn take(
        &self,
        method: &Method,
        queue_owner: QueueOwner,
        stop: &CancellationToken,
    ) -> Result<RequestPermit, Problem> {
        let pool = if method.is_safe() { &self.reads } else { &self.changes };
        tokio::select! {
            biased;
            permit = pool.take(queue_owner) => permit.map_err(|_| Problem::busy()),
            () = stop.cancelled() => Err(Problem::busy()),
        }
    }
}
