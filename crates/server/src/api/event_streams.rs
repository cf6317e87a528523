//! Limits the open event streams of each account.

use std::sync::Arc;

use gostream_net::connection_limiter::{ConnectionLimiter, ConnectionLimits, Permit};
use uuid::Uuid;

use super::error::Problem;

/// The limit of open event streams per account. Each of them reads rows every `RECHECK`. A script may follow all of an
/// account's projects, which are at most 100 by default, and users leave pages open.
const LIMITS: ConnectionLimits = ConnectionLimits {
    waiting: usize::MAX,
    waiting_per_address: usize::MAX,
    connections: usize::MAX,
    connections_per_address: 256,
    proxies: 0,
};

/// Counts open event streams by account.
#[derive(Debug)]
pub(crate) struct EventStreams(Arc<ConnectionLimiter<Uuid>>);

impl Default for EventStreams {
    fn default() -> Self {
        Self(ConnectionLimiter::new(LIMITS))
    }
}

impl EventStreams {
    /// A permit for one more event stream, valid until dropped.
    pub(super) fn enter(&self, account: Uuid) -> Result<Permit<Uuid>, Problem> {
        self.0.enter(Some(account)).ok_or_else(too_many_streams)
    }
}

fn too_many_streams() -> Problem {
    let most = LIMITS.connections_per_address;
    Problem::quota(format!(
        "This account has {most} open event streams already. Close a page, or a script, that uses one."
    ))
}
