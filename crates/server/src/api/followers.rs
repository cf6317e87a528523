//! Who follows events, counted by accounts.

use std::sync::Arc;

use gostream_net::connection_limiter::{ConnectionLimiter, ConnectionLimits, Permit};
use uuid::Uuid;

use super::error::Problem;

/// How many projects' events an account may follow at once, each of which reads rows every `RECHECK`: a script follows
/// all of its projects, a hundred by default, and people leave pages open.
const PLACES: ConnectionLimits = ConnectionLimits {
    waiting: usize::MAX,
    waiting_per_address: usize::MAX,
    connections: usize::MAX,
    connections_per_address: 256,
    proxies: 0,
};

/// Counts who follows.
#[derive(Debug)]
pub(crate) struct Followers(Arc<ConnectionLimiter<Uuid>>);

impl Default for Followers {
    fn default() -> Self {
        Self(ConnectionLimiter::new(PLACES))
    }
}

impl Followers {
    /// A place, until dropped.
    pub(super) fn enter(&self, account: Uuid) -> Result<Permit<Uuid>, Problem> {
        self.0.enter(Some(account)).ok_or_else(one_too_many)
    }
}

fn one_too_many() -> Problem {
    let most = PLACES.connections_per_address;
    Problem::quota(format!(
        "This account follows {most} projects' events already. Close a page, or a script, that does."
    ))
}
