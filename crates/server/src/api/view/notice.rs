//! Something about a stream that its owner should know, as the API shows it.

use gostream_engine::status;
use serde::Serialize;
use time::OffsetDateTime;
use utoipa::ToSchema;

use super::moment::wall;

/// What was repaired or left out in the incoming stream, cannot be previewed, or is too slow.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub(in crate::api) struct Notice {
    /// Stable, for programs.
    #[schema(example = "clock_drift")]
    code: &'static str,
    /// What was seen and what to do.
    message: String,
    /// When it was first seen.
    #[serde(with = "time::serde::rfc3339")]
    since: OffsetDateTime,
}

impl From<&status::Notice> for Notice {
    fn from(notice: &status::Notice) -> Self {
        Self { code: notice.code, message: notice.message.clone(), since: wall(notice.since) }
    }
}
