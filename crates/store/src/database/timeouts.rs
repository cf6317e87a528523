//! How long a database is waited for, whichever it is.

use std::time::Duration;

/// How soon to try again where the database itself does not wait. A person does not notice it at the start.
pub(super) const BUSY_RETRY: Duration = Duration::from_millis(20);
/// How long a call waits for a free connection, or for the database to answer a new one.
pub(super) const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a command waits for others to leave the database: another command does, a server does not.
pub(super) const ALONE_PATIENCE: Duration = Duration::from_secs(1);
