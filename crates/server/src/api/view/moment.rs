//! Times in the API.

use std::time::SystemTime;

use time::OffsetDateTime;

/// The time in milliseconds, as the database stores it.
pub(super) fn wall(at: SystemTime) -> OffsetDateTime {
    let at = OffsetDateTime::from(at);
    at.replace_millisecond(at.millisecond()).unwrap_or(at)
}
