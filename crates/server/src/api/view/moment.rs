//! Times as the API shows them.

use std::time::SystemTime;

use time::OffsetDateTime;

/// Milliseconds, as the database keeps them.
pub(super) fn wall(at: SystemTime) -> OffsetDateTime {
    let at = OffsetDateTime::from(at);
    at.replace_millisecond(at.millisecond()).unwrap_or(at)
}
