//! Timeouts for both databases.

use std::time::Duration;

/// Retry interval where the database itself does not wait; too short to be noticed at the start.
pub(super) const BUSY_RETRY: Duration = Duration::from_millis(20);
/// How long a call waits for a free connection, or for the database to accept a new one.
pub(super) const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long an exclusive command waits for others: another command finishes in time, a server does not.
pub(super) const ALONE_PATIENCE: Duration = Duration::from_secs(1);
